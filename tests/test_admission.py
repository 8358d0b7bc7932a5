"""Admission: one decision with a reason for every alert, and never too much in flight."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from poundcake import admission, clock, lifecycle, payload
from poundcake.ids import dispatch_id
from poundcake.ledger import Ledger
from poundcake.settings import Settings

from tests.fakes import NOW, PROPERTY, alert, notification

SETTINGS = Settings(max_concurrent=2)
EPISODE = "2026-11-21T08:00:00.000000000Z"
LATER = "2026-11-21T09:00:00Z"


class Desk:
    """Decides on notifications over a Ledger, as the controller does, without StackStorm."""

    def __init__(self, settings=SETTINGS):
        self.settings = settings
        self.ledger = Ledger()
        self.seconds = 0
        self.dispatches = []

    def receive(self, entry):
        """Decide on one entry of ``alerts[]`` and apply what follows; return the Decision."""
        parsed = payload.parse(notification(entry))
        one = parsed.alerts[0]
        row = self.ledger.alerts.get(one.fingerprint)
        episode = lifecycle.episode_of(row, one, self._at())
        view = self.ledger.view_for(one.fingerprint)
        decision = admission.decide(one, episode, view, self.settings)
        described = lifecycle.describe(one, parsed)
        self._apply("notified", one.fingerprint, episode, status=one.status, alert=described)
        if decision.kind == admission.DISPATCH:
            self._dispatch(one.fingerprint, episode)
        elif decision.kind == admission.PEND:
            self._apply("pended", one.fingerprint, episode, reason=decision.reason)
        return decision

    def release(self):
        """Dispatch the pending alerts for which there is room; return their fingerprints."""
        ledger = self.ledger
        found = admission.release(ledger.waiting, ledger.in_flight, ledger.busy, self.settings)
        for fingerprint in found:
            self._dispatch(fingerprint, ledger.alerts[fingerprint]["starts_at"])
        return found

    def settle(self, index=0):
        """End a dispatch that is in flight, if there is one; no rule took it."""
        flights = sorted(self.ledger.flights(), key=lambda flight: flight[1]["dispatch_id"])
        if flights:
            row, attempt = flights[index % len(flights)]
            more = {"dispatch_id": attempt["dispatch_id"], "reason": ""}
            self._apply("settled", row["fingerprint"], attempt["starts_at"], **more)

    def _dispatch(self, fingerprint, episode):
        identity = dispatch_id(fingerprint, episode, 1)
        self.dispatches.append((fingerprint, episode))
        self._apply("dispatched", fingerprint, episode, dispatch_id=identity, attempt=1)

    def _apply(self, kind, fingerprint, episode, **more):
        self.seconds += 1
        fact = {"kind": kind, "fingerprint": fingerprint, "episode": episode, "at": self._at()}
        fact["request_id"] = "request%06d" % self.seconds
        fact.update(more)
        self.ledger.apply(fact)

    def _at(self):
        return clock.to_text(NOW + self.seconds)


@pytest.fixture
def desk():
    return Desk()


def kinds(decisions):
    return [decision.kind for decision in decisions]


# --- decisions ------------------------------------------------------------------------------------


def test_a_new_episode_is_dispatched_while_there_is_room(desk):
    """As its first attempt."""
    decision = desk.receive(alert(1))
    assert (decision.kind, decision.attempt) == (admission.DISPATCH, 1)


def test_an_alert_without_room_is_pending_and_says_why(desk):
    """The window is max_concurrent."""
    decisions = [desk.receive(alert(n)) for n in (1, 2, 3)]
    assert kinds(decisions) == ["dispatch", "dispatch", "pend"]
    assert decisions[2].reason == "2 remediations in flight, max_concurrent is 2"


def test_nobody_overtakes_who_waits(desk):
    """A new alert waits behind the pending ones, although there is room again."""
    for number in (1, 2, 3):
        desk.receive(alert(number))
    desk.settle()
    decision = desk.receive(alert(4))
    assert (decision.kind, decision.reason) == ("pend", "1 alerts wait before it")


@pytest.mark.parametrize("waits", [False, True])
def test_the_same_episode_again_is_a_duplicate(desk, waits):
    """Whether it is remediating or pending."""
    for number in (1, 2) if waits else ():
        desk.receive(alert(number))
    desk.receive(alert(9))
    assert desk.receive(alert(9)).kind == admission.DUPLICATE


def test_an_episode_that_was_remediated_once_stays_a_duplicate(desk):
    """Alertmanager repeats an alert that fires on; it is one episode still."""
    desk.receive(alert(1))
    desk.settle()
    decision = desk.receive(alert(1))
    assert (decision.kind, decision.reason) == ("duplicate", "this episode is unmatched")


def test_a_resolve_is_a_resolve_once(desk):
    """And a duplicate from then on."""
    desk.receive(alert(1))
    resolves = [desk.receive(alert(1, status="resolved")) for _ in range(2)]
    assert kinds(resolves) == ["resolve", "duplicate"]


def test_a_resolve_of_an_unknown_alert_is_a_resolve(desk):
    """PoundCake may have been installed while the alert fired."""
    assert desk.receive(alert(1, status="resolved")).kind == admission.RESOLVE


def test_a_firing_that_comes_after_its_resolve_is_late(desk):
    """Notifications overtake each other; what has resolved is not remediated."""
    desk.receive(alert(1, status="resolved"))
    decision = desk.receive(alert(1))
    assert decision.kind == admission.DUPLICATE and decision.reason.startswith("late: ")


def test_a_firing_of_an_older_episode_is_late(desk):
    """Known or not, it is not remediated any more."""
    desk.receive(alert(1, starts_at=LATER))
    for _ in range(2):
        decision = desk.receive(alert(1))
        assert decision.kind == admission.DUPLICATE and decision.reason.startswith("late: ")


def test_a_new_start_after_a_resolve_is_a_new_episode(desk):
    """And is remediated again."""
    desk.receive(alert(1))
    desk.settle()
    desk.receive(alert(1, status="resolved"))
    assert desk.receive(alert(1, starts_at=LATER)).kind == admission.DISPATCH


def test_two_episodes_of_one_alert_are_not_remediated_at_the_same_time(desk):
    """The second waits for the first, whatever room there is."""
    desk.receive(alert(1))
    desk.receive(alert(1, status="resolved"))
    decision = desk.receive(alert(1, starts_at=LATER))
    assert decision.kind == admission.PEND and "previous episode" in decision.reason
    assert desk.release() == []
    desk.settle()
    assert len(desk.release()) == 1


# --- release --------------------------------------------------------------------------------------


def test_pending_alerts_are_released_by_severity_and_then_by_age(desk):
    """Critical first, then error, warning and the rest; within one the oldest first."""
    for number in (1, 2):
        desk.receive(alert(number))
    severities = ["info", "warning", "critical", "Critical", "error", "none", "critical"]
    for number, severity in enumerate(severities, 3):
        desk.receive(alert(number, severity=severity))
    released = []
    while desk.ledger.waiting:
        desk.settle()
        released += [desk.ledger.alerts[f] for f in desk.release()]
    assert [row["severity"].lower() for row in released] == (
        ["critical"] * 3 + ["error", "warning", "info", "none"]
    )
    hosts = [row["host"] for row in released]
    assert hosts == ["web5", "web6", "web9", "web7", "web4", "web3", "web8"]


def test_nothing_is_released_when_more_is_in_flight_than_allowed():
    """The setting may have been lowered meanwhile."""
    desk = Desk()
    for number in (1, 2, 3):
        desk.receive(alert(number))
    desk.settings = Settings(max_concurrent=1)
    assert desk.release() == []


def test_a_resolved_alert_is_not_released(desk):
    """It needs no remediation any more."""
    for number in (1, 2, 3):
        desk.receive(alert(number))
    desk.receive(alert(3, status="resolved"))
    desk.settle()
    assert desk.release() == []


# --- any sequence ---------------------------------------------------------------------------------

_STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("receive"),
            st.integers(1, 5),
            st.sampled_from(["firing", "firing", "resolved"]),
            st.sampled_from(["2026-11-21T08:00:00Z", LATER, "2026-11-21T10:00:00Z", None]),
        ),
        st.tuples(st.just("settle"), st.integers(0, 5)),
        st.tuples(st.just("release")),
    ),
    max_size=60,
)


@PROPERTY
@given(_STEPS, st.integers(1, 3))
def test_in_flight_never_exceeds_the_window_and_nothing_is_done_twice(steps, window):
    """For any order of notifications, ends and releases; every decision has a reason."""
    desk = Desk(Settings(max_concurrent=window))
    for step in steps:
        if step[0] == "receive":
            decision = desk.receive(alert(step[1], status=step[2], starts_at=step[3]))
            assert decision.kind in admission.DECISIONS and decision.reason
            assert (decision.kind == admission.DISPATCH) == bool(decision.attempt)
        elif step[0] == "settle":
            desk.settle(step[1])
        else:
            desk.release()
        busy = [row["fingerprint"] for row, _ in desk.ledger.flights()]
        assert desk.ledger.in_flight == len(busy) <= window
        assert len(set(busy)) == len(busy), "one alert is remediated twice at the same time"
        assert len(set(desk.dispatches)) == len(desk.dispatches), "an episode is dispatched twice"


@PROPERTY
@given(_STEPS)
def test_everything_that_waits_gets_its_turn(steps):
    """When the remediations end one by one, no alert stays pending."""
    desk = Desk(Settings(max_concurrent=1))
    for step in steps:
        if step[0] == "receive":
            desk.receive(alert(step[1], status=step[2], starts_at=step[3]))
    for _ in range(2 * len(steps) + 2):
        desk.settle()
        desk.release()
    assert desk.ledger.waiting == [] and desk.ledger.in_flight == 0
    assert all(row["state"] != "pending" for row in desk.ledger.alerts.values())
