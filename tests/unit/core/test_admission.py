"""Admission: one decision with a reason for every alert, and never too much of anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from poundcake import clock
from poundcake.core import admission, consequences, lifecycle, payload, target
from poundcake.core.alert import (
    ESCALATED,
    NOT_NEEDED,
    counted_attempts,
    current_episode,
    current_hold,
    next_attempt_number,
)
from poundcake.core.controls import Controls, Window
from poundcake.core.decisions import (
    DECISIONS,
    DISPATCH,
    DUPLICATE,
    MAINTENANCE,
    PEND,
    RATE,
    REJECTED,
    REOPENED,
    RESOLVE,
    RETRY,
    SUPPRESS,
)
from poundcake.core.facts import Dispatched
from poundcake.matchers import parse
from poundcake.sensor.ledger import Ledger

from tests.support.alerts import alert, notification
from tests.support.facts import fact as make
from tests.support.fakes import NOW, PROPERTY, make_settings

START = "2026-11-21T08:00:00Z"
LATER = "2026-11-21T09:00:00Z"
BY_ANN = {"by": "ann", "reason": "deploying", "at": "2026-11-21T08:00:00Z"}
NOTHING_SET = Controls({}, (), {})
EVERYTHING_PAUSED = Controls({"": dict(BY_ANN, alertname="")}, (), {})
# How an attempt ends: the status of its execution (none for unmatched), and whether that ran.
ENDS = {
    "succeeded": ("succeeded", True),
    "failed": ("failed", True),
    "canceled": ("canceled", True),
    "never_ran": ("failed", False),
    "not_needed": ("succeeded", True),
    "escalated": ("succeeded", True),
    "unmatched": None,
}


class Desk:
    """Decides on notifications over a Ledger, as the controller does, without StackStorm."""

    def __init__(self, **config):
        self.settings = make_settings(**dict({"max_concurrent": 2}, **config))
        self.ledger = Ledger(self.settings)
        self.now = NOW
        self.controls = NOTHING_SET
        self.dispatches = []  # (fingerprint, episode, attempt)

    def receive(self, entry):
        """Decide on one entry of ``alerts[]`` and apply what follows; return the Decision."""
        parsed = payload.parse(notification(entry))
        one = parsed.alerts[0]
        row = self.ledger.alerts.get(one.fingerprint)
        subject = target.read(one.labels, self.settings.target)
        at, request_id = self._moment()
        episode = lifecycle.episode_of(row, one.status, at)
        decision = admission.decide(one, subject, episode, row, self._standing(), self.settings)
        told = consequences.of_notification(one, subject, parsed, episode, request_id, at, False)
        self._carry_out(decision, self._apply(told), request_id)
        return decision

    def order(self, number):
        """Have one more attempt made by hand of the alert with a number; return the Decision."""
        row = self.row(number)
        decision = admission.by_hand(row, self._standing(), self.settings)
        self._carry_out(decision, row, self._moment()[1], {"by": "ann", "reason": ""})
        return decision

    def release(self):
        """Let go what may go; return the hosts of it."""
        found = admission.release(self.ledger.held, self._standing(), self.settings)
        for row, hold in found:
            self._apply([consequences.of_release(row, hold, self._moment()[0])])
        return [row["host"] for row, hold in found if hold is None]

    def end(self, how="succeeded", index=0):
        """End a dispatch that is in flight, if there is one, and do what follows from that."""
        running = sorted(self.ledger.open_dispatches(), key=lambda item: item[1]["dispatch_id"])
        if not running:
            return
        row, attempt = running[index % len(running)]
        of = {"episode": attempt["episode"], "dispatch_id": attempt["dispatch_id"]}
        if ENDS[how]:
            status, ran = ENDS[how]
            execution = {"execution_id": attempt["dispatch_id"], "status": status, "ran": ran}
            execution.update(rule_ref="mine.fix", action_ref="mine.fix", error="")
            if how in (NOT_NEEDED, ESCALATED):
                execution.update(outcome=how, remediation="told ann")
            execution.update(started_at=attempt["dispatched_at"], ended_at=self._at())
            self.apply("executed", row["fingerprint"], execution=execution, **of)
        row = self.apply("settled", row["fingerprint"], reason="", **of)
        fact = admission.after_attempt(row, self.settings, self._moment()[0])
        if fact:
            self._apply([fact])

    def pass_time(self, seconds):
        self.now += seconds

    def row(self, number=1):
        """Return the row of the alert with a number."""
        (row,) = [r for r in self.ledger.alerts.values() if r["host"] == "web%d" % number]
        return row

    def hold(self, number=1):
        return current_hold(self.row(number))

    def _standing(self):
        return self.ledger.standing(self.now, self.controls)

    def _carry_out(self, decision, row, request_id, command=None):
        if decision.kind == DISPATCH:
            assert decision.attempt == next_attempt_number(row)
        at = self._moment()[0]
        self._apply(consequences.of_decision(decision, row, request_id, at, command))

    def apply(self, kind, fingerprint, episode, **more):
        """Apply one fact, a moment later; return the row."""
        at, request_id = self._moment()
        about = {"fingerprint": fingerprint, "episode": episode, "at": at}
        return self._apply([make(kind, **dict(about, request_id=request_id, **more))])

    def _apply(self, facts):
        for fact in facts:
            row = self.ledger.apply(fact).after
            if isinstance(fact, Dispatched):
                self.dispatches.append((fact.fingerprint, fact.episode, fact.attempt))
        return row if facts else None

    def _moment(self):
        """Let a moment go by; return it as text, and an id of a request of then."""
        self.now += 0.001
        return self._at(), f"request{self.now:014.3f}"

    def _at(self):
        return clock.to_text(self.now)


@pytest.fixture
def desk():
    return Desk()


def kinds(decisions):
    return [decision.kind for decision in decisions]


# --- decisions ------------------------------------------------------------------------------------


def test_a_new_episode_is_dispatched_while_there_is_room(desk):
    """As its first attempt."""
    decision = desk.receive(alert(1))
    assert (decision.kind, decision.attempt) == (DISPATCH, 1)


def test_an_alert_without_room_is_pending_and_says_why(desk):
    """The window is max_concurrent."""
    decisions = [desk.receive(alert(n)) for n in (1, 2, 3)]
    assert kinds(decisions) == ["dispatch", "dispatch", "pend"]
    assert decisions[2].reason == "2 remediations in flight, max_concurrent is 2"


def test_nobody_overtakes_who_waits(desk):
    """A new alert waits behind the pending ones, although there is room again."""
    for number in (1, 2, 3):
        desk.receive(alert(number))
    desk.end()
    decision = desk.receive(alert(4))
    assert (decision.kind, decision.reason) == ("pend", "1 alerts wait before it")


@pytest.mark.parametrize("waits", [False, True])
def test_the_same_episode_again_is_a_duplicate(desk, waits):
    """Whether it is remediating or pending."""
    for number in (1, 2) if waits else ():
        desk.receive(alert(number))
    desk.receive(alert(9))
    assert desk.receive(alert(9)).kind == DUPLICATE


def test_a_resolve_is_a_resolve_once(desk):
    """And a duplicate from then on."""
    desk.receive(alert(1))
    resolves = [desk.receive(alert(1, status="resolved")) for _ in range(2)]
    assert kinds(resolves) == ["resolve", "duplicate"]


def test_a_resolve_of_an_unknown_alert_is_a_resolve(desk):
    """PoundCake may have been installed while the alert fired."""
    assert desk.receive(alert(1, status="resolved")).kind == RESOLVE


# --- episodes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("starts_at", ["2026-11-21T07:00:00Z", LATER, None])
def test_a_start_that_moves_is_the_same_episode(desk, starts_at):
    """Alertmanager keeps the earliest start of a pair of Prometheus servers."""
    desk.receive(alert(1))
    assert desk.receive(alert(1, starts_at=starts_at)).kind == DUPLICATE
    assert desk.receive(alert(1, status="resolved", starts_at=starts_at)).kind == RESOLVE
    assert desk.row()["state"] == "resolved"
    assert desk.row()["starts_at"] == min(starts_at or START, START)[:19] + ".000000000Z"


def test_a_firing_soon_after_a_resolve_waits_for_a_peer_that_lags(desk):
    """And is dropped when the resolve is repeated."""
    desk.receive(alert(1))
    desk.end()
    desk.receive(alert(1, status="resolved"))
    desk.pass_time(10)
    decision = desk.receive(alert(1))
    assert (decision.kind, decision.cause) == (PEND, REOPENED)
    assert desk.receive(alert(1)).kind == DUPLICATE
    assert desk.row()["state"] == "pending" and "a peer of Alertmanager" in desk.row()["reason"]
    assert desk.receive(alert(1, status="resolved")).kind == RESOLVE
    desk.pass_time(100)
    assert desk.release() == [] and len(desk.dispatches) == 1


def test_a_firing_soon_after_a_resolve_goes_on_as_a_new_episode(desk):
    """When nobody says for reopen_seconds that it is over."""
    desk.receive(alert(1))
    desk.end()
    desk.receive(alert(1, status="resolved"))
    desk.pass_time(10)
    desk.receive(alert(1))
    desk.pass_time(49)
    assert desk.release() == []
    desk.pass_time(2)
    assert desk.release() == ["web1"]
    assert [attempt for *_, attempt in desk.dispatches] == [1, 1]


def test_a_firing_later_after_a_resolve_is_a_new_episode_at_once(desk):
    """Prometheus was away, Alertmanager resolved by itself, and the start is as it was."""
    desk.receive(alert(1))
    desk.end()
    desk.receive(alert(1, status="resolved"))
    desk.pass_time(61)
    assert desk.receive(alert(1)).kind == DISPATCH


def test_what_began_after_the_end_is_a_new_episode_at_once(desk):
    """No peer lags that knows of it; the clock of Prometheus may be an hour ahead."""
    ended = dict(alert(1, status="resolved", starts_at=LATER), endsAt="2026-11-21T09:05:00Z")
    desk.receive(alert(1, starts_at=LATER))
    desk.end()
    desk.receive(ended)
    desk.pass_time(5)
    again = "2026-11-21T09:05:01Z"
    assert desk.receive(alert(1, starts_at=again)).kind == DISPATCH


def test_what_began_before_the_end_by_a_clock_that_is_ahead_waits(desk):
    """The times of Prometheus are compared with each other and not with this clock."""
    ended = dict(alert(1, status="resolved", starts_at=LATER), endsAt="2026-11-21T09:05:00Z")
    desk.receive(alert(1, starts_at=LATER))
    desk.end()
    desk.receive(ended)
    assert desk.receive(alert(1, starts_at="2026-11-21T09:02:00Z")).cause == REOPENED


def test_a_firing_that_its_resolve_overtook_waits(desk):
    """And a resolve of what is over is a duplicate."""
    desk.receive(alert(1, status="resolved"))
    assert desk.receive(alert(1)).cause == REOPENED
    assert kinds([desk.receive(alert(1, status="resolved")) for _ in range(2)]) == [
        "resolve",
        "duplicate",
    ]


def test_the_clock_may_step_back_between_episodes(desk):
    """The order of episodes is that of arrival."""
    desk.receive(alert(1))
    desk.end()
    desk.receive(alert(1, status="resolved"))
    desk.pass_time(-3600)
    desk.receive(alert(1))
    assert desk.row()["state"] != "resolved" and len(desk.row()["episodes"]) == 2
    desk.receive(alert(1, status="resolved"))
    assert desk.row()["state"] == "resolved"


def test_zero_reopen_seconds_turn_the_wait_off():
    """A single Alertmanager has no peers."""
    desk = Desk(reopen_seconds=0)
    desk.receive(alert(1))
    desk.end()
    desk.receive(alert(1, status="resolved"))
    assert desk.receive(alert(1)).kind == DISPATCH


def test_two_episodes_of_one_alert_are_not_remediated_at_the_same_time(desk):
    """The second waits for the first, whatever room there is."""
    desk.receive(alert(1))
    desk.receive(alert(1, status="resolved"))
    decision = desk.receive(alert(1, starts_at=LATER))
    assert decision.kind == PEND and "previous episode" in decision.reason
    assert desk.release() == []
    desk.end()
    assert desk.release() == ["web1"]


# --- attempts, cooldown, backoff ------------------------------------------------------------------


@pytest.fixture
def lone():
    """A desk at which nothing but the attempts themselves limits them."""
    return Desk(rate_limit=(), breaker_failures=0)


@pytest.mark.parametrize("how", sorted(ENDS))
def test_after_an_attempt_notifications_are_duplicates_until_the_cooldown_is_over(lone, how):
    """However it ended; counted from its end, and the reason says until when."""
    lone.receive(alert(1))
    lone.pass_time(1000)
    lone.end(how)
    if how in ("never_ran", "escalated"):
        return
    lone.pass_time(299)
    decision = lone.receive(alert(1))
    assert decision.kind == DUPLICATE and "within its cooldown" in decision.reason
    lone.pass_time(2)
    assert lone.receive(alert(1)).kind == DISPATCH


def test_each_further_attempt_waits_longer(lone):
    """By backoff_factor, and no attempt follows before."""
    lone.receive(alert(1))
    waited = []
    for _ in range(2):
        lone.end("failed")
        ended = lone.now
        while lone.receive(alert(1)).kind == DUPLICATE:
            lone.pass_time(10)
        waited.append(lone.now - ended)
    assert 300 <= waited[0] < 311 and 600 <= waited[1] < 611


def test_without_backoff_every_wait_is_the_same():
    """A factor of 1."""
    desk = Desk(backoff_factor=1, max_attempts=5, rate_limit=())
    desk.receive(alert(1))
    for _ in range(4):
        desk.end("succeeded")
        desk.pass_time(301)
        assert desk.receive(alert(1)).kind == DISPATCH


def test_a_backoff_that_grows_for_long_stays_a_number_of_seconds():
    """Rules that never match are tried for years."""
    attempts = [{"ended_at": START}] * 5000
    ends = admission.cooldown_ends(attempts, make_settings(backoff_factor=100))
    assert ends == admission.cooldown_ends(attempts[:11], make_settings(backoff_factor=100))


def exhaust(desk, how="failed"):
    """Use up every attempt of an alert; return the decisions."""
    decisions = []
    for _ in range(desk.settings.admission.max_attempts):
        desk.pass_time(100000)
        decisions.append(desk.receive(alert(1)))
        desk.end(how)
    return decisions


def test_an_alert_whose_last_attempt_failed_is_exhausted_at_once_and_once(lone):
    """A person need not wait for the next notification, and is told one time."""
    decisions = exhaust(lone)
    assert [d.attempt for d in decisions] == [1, 2, 3]
    assert lone.row()["state"] == "exhausted"
    why = "3 of 3 attempts are used; a person is needed; the last one failed: mine.fix failed"
    assert lone.row()["reason"] == why
    for seconds in (0, 100000, 100000):
        lone.pass_time(seconds)
        decision = lone.receive(alert(1))
        assert (decision.kind, decision.exhausted) == (SUPPRESS, "")
        assert decision.reason.startswith("attempts exhausted: ")
    assert [e["state"] for e in lone.row()["history"]].count("exhausted") == 1


def test_an_alert_that_fires_on_after_its_last_success_is_exhausted_after_the_cooldown(lone):
    """Only then it is known that the last attempt did not help."""
    exhaust(lone, "succeeded")
    assert lone.row()["state"] == "remediated"
    assert lone.receive(alert(1)).kind == DUPLICATE
    lone.pass_time(100000)
    decision = lone.receive(alert(1))
    last = lone.row()["attempts"][-1]
    assert decision.exhausted == decision.ineffective == last["dispatch_id"]
    assert lone.row()["state"] == "exhausted"
    assert lone.receive(alert(1)).exhausted == ""


def test_a_new_episode_has_all_its_attempts(lone):
    """What was used up belongs to the old one."""
    exhaust(lone)
    lone.receive(alert(1, status="resolved"))
    lone.pass_time(100)
    decision = lone.receive(alert(1))
    assert (decision.kind, decision.attempt) == (DISPATCH, 1)


def test_an_alert_of_which_a_person_was_told_gets_no_attempt_by_itself(lone):
    """Telling them again and again helps nobody; by hand it is tried again."""
    lone.receive(alert(1))
    lone.end("escalated")
    assert lone.row()["state"] == "escalated"
    lone.pass_time(100000)
    decision = lone.receive(alert(1))
    assert (decision.kind, decision.cause) == (SUPPRESS, "escalated")
    assert decision.reason == "attempt 1 has told a person; retry_alert tries again (told ann)"
    assert lone.order(1).kind == DISPATCH


def test_an_alert_that_needed_nothing_is_looked_at_again(lone):
    """After the cooldown, as often as any other; it was not ineffective."""
    lone.receive(alert(1))
    lone.end("not_needed")
    assert lone.row()["state"] == "not_needed"
    lone.pass_time(301)
    decision = lone.receive(alert(1))
    assert (decision.kind, decision.ineffective) == (DISPATCH, "")
    assert decision.reason == "still firing after attempt 1: not_needed"


def test_a_success_after_which_the_alert_fires_on_was_ineffective(lone):
    """It is told with the next decision, whatever that is; a failure is no such thing."""
    lone.receive(alert(1))
    lone.end("succeeded")
    lone.pass_time(301)
    lone.controls = EVERYTHING_PAUSED
    decision = lone.receive(alert(1))
    assert decision.kind == SUPPRESS
    first = lone.row()["attempts"][0]
    assert decision.ineffective == first["dispatch_id"] and first["ineffective_at"]
    lone.controls = NOTHING_SET
    lone.release()
    lone.end("failed")
    lone.pass_time(601)
    assert lone.receive(alert(1)).ineffective == ""


def test_a_success_within_its_cooldown_is_not_ineffective(lone):
    """Prometheus needs its time to see that the alert is over."""
    lone.receive(alert(1))
    lone.end("succeeded")
    lone.pass_time(299)
    assert lone.receive(alert(1)).ineffective == ""


def test_attempts_that_no_rule_took_are_made_again_and_never_exhaust(lone):
    """A rule may be enabled tomorrow; nothing was done, so nothing is used up."""
    for attempt in range(1, 8):
        decision = lone.receive(alert(1))
        assert (decision.kind, decision.attempt) == (DISPATCH, attempt)
        lone.end("unmatched")
        assert lone.row()["state"] == "unmatched"
        lone.pass_time(100000)


def test_an_attempt_that_never_ran_is_made_again_without_a_notification(lone):
    """After a short while that grows each time, and without being counted."""
    lone.receive(alert(1))
    for retry in range(3):
        lone.end("never_ran")
        assert lone.hold()["cause"] == RETRY and lone.row()["state"] == "pending"
        assert lone.receive(alert(1)).kind == DUPLICATE
        lone.pass_time(admission.RETRY_SECONDS * 2**retry - 1)
        assert lone.release() == []
        lone.pass_time(2)
        assert lone.release() == ["web1"]
    assert counted_attempts(lone.row(), lone.row()["episode"]) == 1, "the one that runs"


def test_what_never_runs_is_not_tried_for_ever(lone):
    """After some retries the next notification after the cooldown brings it, if it fires on."""
    lone.receive(alert(1))
    for _ in range(admission.MOST_RETRIES + 1):
        lone.end("never_ran")
        lone.pass_time(1000)
        lone.release()
    assert lone.hold() is None and lone.row()["state"] == "failed"
    assert len(lone.dispatches) == admission.MOST_RETRIES + 1
    lone.pass_time(100000)
    assert lone.receive(alert(1)).kind == DISPATCH


@pytest.mark.parametrize("how", ["failed", "never_ran"])
def test_what_a_person_took_over_while_it_ran_is_neither_exhausted_nor_tried_again(how):
    """They know already."""
    desk = Desk(max_attempts=1)
    desk.receive(alert(1))
    said = {"by": "ann", "reason": "known", "dismissed": False}
    desk.apply("acknowledged", desk.row()["fingerprint"], desk.row()["episode"], **said)
    desk.pass_time(1)
    desk.end(how)
    assert desk.row()["state"] == "failed"
    assert current_episode(desk.row())["holds"] == []


def test_an_alert_that_resolved_is_not_tried_again(lone):
    """Although its attempt never ran."""
    lone.receive(alert(1))
    lone.receive(alert(1, status="resolved"))
    lone.end("never_ran")
    assert lone.hold() is None and lone.row()["state"] == "resolved"


# --- one at a time --------------------------------------------------------------------------------


def test_two_alerts_of_one_host_are_remediated_one_after_the_other():
    """The second says for whom it waits; other hosts go on."""
    desk = Desk(max_concurrent=5)
    desk.receive(alert(1))
    decision = desk.receive(alert(1, alertname="HostDown"))
    assert decision.kind == PEND
    assert 'same target, "web1", is in flight' in decision.reason
    assert desk.receive(alert(2)).kind == DISPATCH
    desk.end(index=0)
    desk.end(index=0)
    assert desk.release() == ["web1"]


def test_what_is_serialized_by_is_any_label():
    """And alerts without it do not wait for each other."""
    desk = Desk(max_concurrent=9, serialize_by="cluster")
    first = [desk.receive(alert(n, cluster="a")).kind for n in (1, 2)]
    assert first == ["dispatch", "pend"]
    others = [alert(3), alert(4), alert(5, cluster="b")]
    assert [desk.receive(other).kind for other in others] == ["dispatch"] * 3


@pytest.mark.parametrize("serialize_by, wanted", [("none", "dispatch"), ("host", "pend")])
def test_none_switches_it_off(serialize_by, wanted):
    """Only the window counts then."""
    desk = Desk(max_concurrent=9, serialize_by=serialize_by)
    desk.receive(alert(1))
    assert desk.receive(alert(1, alertname="HostDown")).kind == wanted


# --- the order of release -------------------------------------------------------------------------


def test_pending_alerts_are_released_by_severity_and_then_by_age(desk):
    """Critical first, then error, warning and the rest; within one the oldest first."""
    for number in (1, 2):
        desk.receive(alert(number))
    severities = ["info", "warning", "critical", "Critical", "error", "none", "critical"]
    for number, severity in enumerate(severities, 3):
        desk.receive(alert(number, severity=severity))
    released = []
    while desk.ledger.waiting:
        desk.end()
        released += desk.release()
    assert released == ["web5", "web6", "web9", "web7", "web4", "web3", "web8"]


def test_what_a_person_asked_for_goes_first_and_its_age_counts_from_the_first_hold():
    """Before everything critical; a pause in between does not send an alert to the end."""
    desk = Desk(max_concurrent=1, rate_limit=())
    desk.receive(alert(4, severity="info"))
    desk.end("failed")
    for number in (1, 2):
        desk.receive(alert(number))
    desk.controls = Controls({"Other": dict(BY_ANN, alertname="Other")}, (), {})
    desk.receive(alert(5, alertname="Other"))
    desk.controls = NOTHING_SET
    desk.receive(alert(3))
    assert desk.order(4).kind == PEND
    released = []
    while desk.ledger.held:
        desk.end()
        released += desk.release()
    assert released == ["web4", "web2", "web5", "web3"]


def test_what_cannot_go_does_not_stand_in_the_way_of_others():
    """An alert whose host is busy waits, the next one goes."""
    desk = Desk(max_concurrent=2)
    for made in (alert(1), alert(9), alert(1, alertname="HostDown"), alert(2, severity="info")):
        desk.receive(made)
    desk.end(index=1)
    assert desk.release() == ["web2"]


def test_nothing_is_released_when_more_is_in_flight_than_allowed():
    """The setting may have been lowered meanwhile."""
    desk = Desk()
    for number in (1, 2, 3):
        desk.receive(alert(number))
    desk.settings = make_settings(max_concurrent=1)
    assert desk.release() == []


def test_a_resolved_alert_is_not_released(desk):
    """It needs no remediation any more."""
    for number in (1, 2, 3):
        desk.receive(alert(number))
    desk.receive(alert(3, status="resolved"))
    desk.end()
    assert desk.release() == []


# --- rate cap -------------------------------------------------------------------------------------


def flap(desk, times, number=1, seconds=60, **labels):
    """Let an alert fire, be remediated and resolve again and again; return the decisions."""
    decisions = []
    for _ in range(times):
        desk.pass_time(seconds)
        starts_at = clock.to_text(desk.now)
        decisions.append(desk.receive(alert(number, starts_at=starts_at, **labels)).kind)
        desk.end()
        desk.receive(alert(number, starts_at=starts_at, status="resolved", **labels))
    return decisions


def test_a_flapping_alert_is_remediated_so_often_in_a_span_and_no_more():
    """Every span holds; the reason says when the next one may go."""
    desk = Desk(rate_limit=("3/1h", "4/1d"))
    assert flap(desk, 5) == ["dispatch"] * 3 + ["suppress"] * 2
    desk.pass_time(3600)
    assert flap(desk, 2) == ["dispatch", "suppress"]
    decision = desk.receive(alert(1, starts_at=clock.to_text(desk.now)))
    assert decision.reason.startswith("rate limit reached: 4 in 86400 s; the next may start at ")
    assert desk.hold()["cause"] == RATE


def test_what_the_rate_held_back_goes_when_the_span_is_over_if_it_still_fires():
    """Without a further notification."""
    desk = Desk(rate_limit=("1/1h",))
    flap(desk, 1)
    desk.receive(alert(1, starts_at=clock.to_text(desk.now)))
    desk.pass_time(3500)
    assert desk.release() == []
    desk.pass_time(101)
    assert desk.release() == ["web1"]


def test_rates_are_counted_for_an_alertname_on_a_host():
    """Neither another host nor another alertname uses them up."""
    desk = Desk(rate_limit=("1/1h",))
    assert flap(desk, 1) == flap(desk, 1, number=2) == ["dispatch"]
    assert flap(desk, 1, alertname="HostDown") == ["dispatch"]
    assert flap(desk, 1, disk="b") == ["suppress"], "another disk of the same host"


def test_alerts_without_a_host_have_a_rate_each():
    """Else one alertname without hosts would be one remediation an hour in all."""
    desk = Desk(rate_limit=("1/1h",), serialize_by="none")
    for name in ("a", "b"):
        assert desk.receive(alert(1, instance="", queue=name)).kind == DISPATCH


def test_what_did_nothing_uses_up_no_rate():
    """No rule took it."""
    desk = Desk(rate_limit=("1/1h",), cooldown_seconds=0)
    for _ in range(3):
        assert desk.receive(alert(1)).kind == DISPATCH
        desk.end("unmatched")
        desk.pass_time(1)


def test_what_is_released_together_is_counted_together():
    """A pause that ends lets no flood through."""
    desk = Desk(max_concurrent=9, rate_limit=("1/1h",), serialize_by="none")
    desk.controls = EVERYTHING_PAUSED
    for disk in "abc":
        desk.receive(alert(1, disk=disk))
    desk.controls = NOTHING_SET
    assert desk.release() == ["web1"]
    causes = [current_hold(row)["cause"] for row in desk.ledger.held]
    assert causes == [RATE] * 2


def test_the_rate_follows_the_workload_when_only_the_pod_changes():
    """A remediation that deletes the pod does not loop for ever."""
    desk = Desk()
    pods = [{"namespace": "shop", "pod": f"cart-7d9f6-{n:05d}", "instance": ""} for n in range(12)]
    decisions = [flap(desk, 1, **labels)[0] for labels in pods]
    assert decisions == ["dispatch"] * 3 + ["suppress"] * 9


def test_an_alertname_has_a_rate_over_all_targets():
    """A loop in which the target changes as well ends too."""
    desk = Desk(alertname_rate_limit=("4/1h",))
    assert [flap(desk, 1, number)[0] for number in range(5)] == ["dispatch"] * 4 + ["suppress"]
    desk.receive(alert(5))
    assert desk.hold(5)["cause"] == "alertname_rate"
    assert flap(desk, 1, 1, alertname="HostDown") == ["dispatch"]


def test_a_target_has_a_rate_over_all_alertnames():
    """Twelve alerts of one broken host are not twelve remediations."""
    desk = Desk()
    decisions = [flap(desk, 1, alertname=f"Broken{number}")[0] for number in range(12)]
    assert decisions == ["dispatch"] * 6 + ["suppress"] * 6
    assert flap(desk, 1, number=2) == ["dispatch"]


def test_a_pending_alert_says_what_it_waits_for_now():
    """First for the window, then for its host."""
    desk = Desk(max_concurrent=1)
    desk.receive(alert(1))
    desk.receive(alert(2, severity="warning"))
    desk.receive(alert(2, alertname="HostDown"))
    causes = [current_hold(row)["cause"] for row in desk.ledger.held]
    assert causes == ["window", "window"]
    desk.settings = make_settings(max_concurrent=5)
    desk.end()
    assert desk.release() == ["web2"]
    (waiting,) = desk.ledger.held
    assert current_hold(waiting)["cause"] == "serialized"
    assert 'the same target, "web2"' in waiting["reason"]


def test_an_empty_list_of_rates_limits_nothing():
    """It is switched off."""
    desk = Desk(rate_limit=(), alertname_rate_limit=(), target_rate_limit=())
    assert flap(desk, 20) == ["dispatch"] * 20


# --- breaker --------------------------------------------------------------------------------------


@pytest.fixture
def breaking():
    """A desk whose breaker opens after two failures, for ten minutes."""
    return Desk(breaker_failures=2, breaker_seconds=600, max_concurrent=9)


def fail(desk, *numbers, how="failed"):
    for number in numbers:
        desk.receive(alert(number))
        desk.end(how)
        desk.pass_time(1)


@pytest.mark.parametrize("how", ["not_needed", "escalated"])
def test_what_is_no_failure_does_not_open_the_breaker(breaking, how):
    """A person is told of the sixth host, too."""
    fail(breaking, 1, 2, 3, 4, how=how)
    assert breaking.receive(alert(5)).kind == DISPATCH


def test_failures_in_a_row_across_hosts_stop_an_alertname(breaking):
    """The others go on; the reason says why and when one is tried."""
    fail(breaking, 1, 2)
    decision = breaking.receive(alert(3))
    assert decision.kind == SUPPRESS
    assert decision.reason.startswith(
        "the breaker of ServiceDown is open after 2 failures in a row"
    )
    assert breaking.receive(alert(4, alertname="HostDown")).kind == DISPATCH


@pytest.mark.parametrize("how", ["unmatched", "never_ran", "canceled"])
def test_what_says_nothing_about_the_remediation_opens_no_breaker(breaking, how):
    """It was not tried, or a person or a resolve stopped it."""
    fail(breaking, 1, 2, 3, how=how)
    assert breaking.receive(alert(9)).kind != SUPPRESS


def test_a_success_starts_the_count_anew(breaking):
    """In a row means in a row."""
    fail(breaking, 1)
    fail(breaking, 2, how="succeeded")
    fail(breaking, 3)
    assert breaking.receive(alert(4)).kind == DISPATCH


def test_after_the_pause_one_goes_and_the_others_wait_for_it(breaking):
    """Its success lets them go."""
    fail(breaking, 1, 2)
    for number in (3, 4, 5):
        breaking.receive(alert(number))
    breaking.pass_time(590)
    assert breaking.release() == []
    breaking.pass_time(20)
    assert breaking.release() == ["web3"]
    assert breaking.release() == []
    assert breaking.receive(alert(6)).reason.endswith("one remediation is being tried")
    breaking.end("succeeded")
    assert breaking.release() == ["web4", "web5", "web6"]


def test_a_trial_that_fails_opens_it_again_for_as_long(breaking):
    """Then the next one is tried."""
    fail(breaking, 1, 2)
    for number in (3, 4):
        breaking.receive(alert(number))
    breaking.pass_time(601)
    breaking.release()
    breaking.end("failed")
    breaking.pass_time(590)
    assert breaking.release() == []
    breaking.pass_time(11)
    assert breaking.release() == ["web4"]


@pytest.mark.parametrize("how", ["unmatched", "canceled"])
def test_a_trial_that_says_nothing_is_followed_by_another(breaking, how):
    """The alertname is not stopped for good."""
    fail(breaking, 1, 2)
    for number in (3, 4):
        breaking.receive(alert(number))
    breaking.pass_time(601)
    breaking.release()
    breaking.end(how)
    assert breaking.release() == ["web4"]


def test_what_was_running_when_it_opened_does_not_prolong_the_pause(breaking):
    """Only a trial that failed does."""
    for number in (1, 2, 3):
        breaking.receive(alert(number))
    for _ in range(2):
        breaking.end("failed")
    breaking.receive(alert(4))
    breaking.pass_time(500)
    breaking.end("failed")
    breaking.pass_time(101)
    assert breaking.release() == ["web4"]


def test_zero_switches_the_breaker_off():
    """However much fails."""
    desk = Desk(breaker_failures=0)
    fail(desk, *range(1, 20))
    assert desk.receive(alert(20)).kind == DISPATCH


# --- pause, maintenance, dry run ------------------------------------------------------------------


def test_what_comes_while_everything_is_paused_is_remediated_afterwards(desk):
    """If it still fires then; who paused and why stands on the row."""
    desk.controls = EVERYTHING_PAUSED
    for number in (1, 2):
        assert desk.receive(alert(number)).kind == SUPPRESS
    assert desk.row(1)["state"] == "suppressed" and "deploying" in desk.row(1)["reason"]
    desk.receive(alert(2, status="resolved"))
    assert desk.release() == []
    desk.controls = NOTHING_SET
    assert desk.release() == ["web1"]


def test_a_pause_holds_what_was_pending_already():
    """And it is pending no more, so that a person sees why."""
    desk = Desk(max_concurrent=1)
    for number in (1, 2):
        desk.receive(alert(number))
    desk.controls = EVERYTHING_PAUSED
    desk.end()
    assert desk.release() == [] and desk.row(2)["state"] == "suppressed"
    assert desk.release() == []
    desk.controls = NOTHING_SET
    assert desk.release() == ["web2"]


def test_a_pause_of_one_alertname_leaves_the_others(desk):
    """As the row of the pause says."""
    desk.controls = Controls({"HostDown": dict(BY_ANN, alertname="HostDown")}, (), {})
    assert desk.receive(alert(1, alertname="HostDown")).kind == SUPPRESS
    assert desk.receive(alert(2)).kind == DISPATCH


def test_maintenance_holds_what_it_matches_until_it_ends(desk):
    """By itself."""
    row = {"id": "w1", "matchers": ['team="db"'], "by": "ann", "reason": "new disks"}
    row["ends_at"] = clock.to_text(NOW + 600)
    desk.controls = Controls({}, (Window(row, parse('team="db"'), NOW + 600),), {})
    assert desk.receive(alert(1, team="db")).kind == SUPPRESS
    assert desk.hold()["cause"] == MAINTENANCE
    assert desk.receive(alert(2, team="web")).kind == DISPATCH
    assert desk.release() == []
    desk.pass_time(601)
    assert desk.release() == ["web1"]


@pytest.mark.parametrize(
    "config, names",
    [
        ({"dry_run": True}, ["ServiceDown", "HostDown"]),
        ({"dry_run_alertnames": ("HostDown",)}, ["HostDown"]),
    ],
)
def test_a_dry_run_decides_and_dispatches_nothing(config, names):
    """Everything or some alertnames; the next notification is suppressed likewise, no loop."""
    desk = Desk(max_concurrent=9, **config)
    for number, name in enumerate(["ServiceDown", "HostDown"]):
        decisions = [desk.receive(alert(number, alertname=name)) for _ in range(3)]
        kinds_wanted = [SUPPRESS] * 3 if name in names else ["dispatch"] + ["duplicate"] * 2
        assert kinds(decisions) == kinds_wanted
        if name in names:
            assert decisions[0].reason == "dry run: it would have been dispatched"
            assert len(desk.row(number)["history"]) == 2
    desk.pass_time(100000)
    assert desk.release() == []
    assert len(desk.dispatches) == 2 - len(names)


def test_what_was_dry_is_remediated_with_its_next_notification_when_dry_run_is_over():
    """Not all at once when the setting changes."""
    desk = Desk(dry_run=True)
    desk.receive(alert(1))
    desk.settings = make_settings()
    assert desk.release() == []
    assert desk.receive(alert(1)).kind == DISPATCH


def test_a_dry_run_that_begins_while_a_person_waits_for_an_attempt_dispatches_nothing():
    """Dry means dry, whoever asked."""
    desk = Desk(max_concurrent=1, rate_limit=())
    desk.receive(alert(2))
    desk.end("failed")
    desk.receive(alert(1))
    assert desk.order(2).kind == PEND
    desk.end()
    desk.settings = make_settings(dry_run=True)
    assert desk.release() == []


# --- by hand --------------------------------------------------------------------------------------


def test_a_person_gets_one_more_attempt_whatever_the_limits_say(breaking):
    """Exhausted, paused, the breaker open, the rate used up: each alone and all together."""
    breaking.settings = make_settings(rate_limit=("1/1d",), max_attempts=1, breaker_failures=1)
    fail(breaking, 1)
    breaking.controls = EVERYTHING_PAUSED
    assert breaking.row()["state"] == "exhausted"
    decision = breaking.order(1)
    assert (decision.kind, decision.attempt) == (DISPATCH, 2)
    assert breaking.row()["attempts"][-1]["by"] == "ann"


def test_a_person_does_not_get_more_than_the_window():
    """It waits there, at the head, and no pause holds it."""
    desk = Desk(max_concurrent=1, rate_limit=())
    desk.receive(alert(1))
    desk.end("failed")
    desk.receive(alert(2))
    assert desk.order(1).kind == PEND
    desk.controls = EVERYTHING_PAUSED
    assert desk.release() == []
    desk.end()
    assert desk.release() == ["web1"]


def test_a_person_does_not_get_two_at_once(desk):
    """One remediation of an episode at a time, whoever asks."""
    desk.receive(alert(1))
    decision = desk.order(1)
    assert (decision.kind, decision.reason) == (
        REJECTED,
        "a remediation of it runs: one at a time",
    )


def test_what_has_resolved_or_is_dry_is_not_retried(desk):
    """The reason says which."""
    desk.receive(alert(1))
    desk.end("failed")
    desk.settings = make_settings(dry_run=True)
    assert desk.order(1).reason == "dry_run: nothing is dispatched"
    desk.receive(alert(1, status="resolved"))
    assert desk.order(1).reason.startswith("resolved at ")


@pytest.mark.parametrize("dismissed, word", [(False, "acknowledged"), (True, "dismissed")])
def test_what_a_person_took_over_gets_no_attempt_in_this_episode(lone, dismissed, word):
    """Notifications are suppressed with the name; a new episode is remediated."""
    lone.receive(alert(1))
    lone.end("failed")
    row = lone.row()
    said = {"by": "ann", "reason": "known", "dismissed": dismissed}
    lone.apply("acknowledged", row["fingerprint"], row["episode"], **said)
    lone.pass_time(100000)
    decision = lone.receive(alert(1))
    assert (decision.kind, decision.reason) == (SUPPRESS, word + " by ann: known")
    lone.receive(alert(1, status="resolved"))
    lone.pass_time(100)
    assert lone.receive(alert(1)).kind == DISPATCH


# --- any sequence ---------------------------------------------------------------------------------

_STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("receive"),
            st.integers(1, 5),
            st.sampled_from(["firing", "firing", "resolved"]),
            st.sampled_from(["2026-11-21T08:00:00Z", LATER, "2026-11-21T10:00:00Z", None]),
        ),
        st.tuples(st.just("end"), st.sampled_from(sorted(ENDS)), st.integers(0, 5)),
        st.tuples(st.just("pass_time"), st.sampled_from([1, 16, 301, 3601])),
        st.tuples(st.just("release")),
    ),
    max_size=60,
)


def walk(desk, steps):
    """Take the steps; yield after each."""
    for step in steps:
        if step[0] == "receive":
            decision = desk.receive(alert(step[1], status=step[2], starts_at=step[3]))
            assert decision.kind in DECISIONS and decision.reason
            assert (decision.kind == DISPATCH) == bool(decision.attempt)
            assert (decision.kind == DISPATCH) <= (decision.hold is None)
        else:
            getattr(desk, step[0])(*step[1:])
        yield


@PROPERTY
@given(_STEPS, st.integers(1, 3), st.integers(1, 3))
def test_in_flight_never_exceeds_the_window_and_nothing_is_done_twice(steps, window, attempts):
    """For any order of notifications, ends and releases; every decision has a reason."""
    desk = Desk(max_concurrent=window, max_attempts=attempts, breaker_failures=3)
    for _ in walk(desk, steps):
        busy = [row["fingerprint"] for row, _ in desk.ledger.open_dispatches()]
        assert desk.ledger.in_flight == len(busy) <= window
        assert len(set(busy)) == len(busy), "one alert is remediated twice at the same time"
        assert len(set(desk.dispatches)) == len(desk.dispatches), "an attempt is made twice"
        for row in desk.ledger.alerts.values():
            for episode in row["episodes"]:
                assert counted_attempts(row, episode["starts_at"]) <= attempts


@PROPERTY
@given(_STEPS)
def test_everything_that_waits_gets_its_turn(steps):
    """When the remediations end one by one, no alert stays pending."""
    desk = Desk(max_concurrent=1)
    for _ in walk(desk, steps):
        pass
    desk.pass_time(86400)
    for _ in range(2 * len(steps) + 2):
        desk.end()
        desk.release()
        desk.pass_time(3600)
    assert desk.ledger.waiting == 0 and desk.ledger.in_flight == 0
    assert all(row["state"] != "pending" for row in desk.ledger.alerts.values())
