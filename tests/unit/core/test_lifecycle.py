"""Lifecycle states are derived from facts, whatever the order in which these arrive."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from poundcake import clock
from poundcake.core import lifecycle, payload
from poundcake.core.alert import (
    ENDED_STATUSES,
    STATES,
    awaits_approval,
    counted_attempts,
    current_episode,
    current_hold,
    held_since,
    next_attempt_number,
    open_attempts,
    upgraded,
)
from poundcake.core.history import transitions

from tests.support import facts
from tests.support.alerts import alert, notification
from tests.support.fakes import NOW, PROPERTY, load_fixture

EPISODE = "2026-11-21T08:00:00.000000000Z"
LATER_EPISODE = "2026-11-21T09:00:00.000000000Z"


def at(seconds):
    """Return a moment of the test as text."""
    return clock.to_text(NOW + seconds)


def fact(kind, when, episode=EPISODE, **more):
    return facts.fact(kind, fingerprint="f1", episode=episode, at=at(when), **more)


def notified(
    when, status="firing", request_id=None, episode=EPISODE, summary="down", starts_at=None
):
    parsed = payload.parse(notification(alert()))
    described = facts.described(parsed.alerts[0], parsed)
    described["annotations"] = {"summary": summary}
    request_id = request_id or "request%04d" % when
    more = {"request_id": request_id, "starts_at": starts_at or episode, "alert": described}
    return fact("notified", when, episode, status=status, **more)


def held(
    when, state="pending", cause="window", attempt=1, episode=EPISODE, reason="no room", **more
):
    named = {"attempt": attempt, "state": state, "cause": cause, "reason": reason}
    return fact("held", when, episode, request_id="request0000", **dict(named, **more))


def of_attempt(kind, when, number, episode, **more):
    return fact(kind, when, episode, dispatch_id="%s/%d" % (episode, number), **more)


def dispatched(when, attempt=1, episode=EPISODE, **more):
    more.setdefault("request_id", "request0000")
    return of_attempt("dispatched", when, attempt, episode, attempt=attempt, **more)


def executed(when, status, attempt=1, number=1, episode=EPISODE, error="", ran=True):
    ended = status in ENDED_STATUSES
    execution = {
        "execution_id": "%s/%d/%d" % (episode, attempt, number),
        "status": status,
        "rule_ref": "poundcake.service_down",
        "action_ref": "poundcake.service_down",
        "started_at": at(when - 1),
        "ended_at": at(when) if ended else None,
        "error": error,
        "ran": ran,
    }
    return of_attempt("executed", when, attempt, episode, execution=execution)


def asked(when, attempt=1, number=1, inquiry="i1", until=None, episode=EPISODE):
    more = _inquiry(attempt, number, inquiry, episode)
    return of_attempt("asked", when, attempt, episode, until=until, **more)


def answered(when, attempt=1, number=1, inquiry="i1", approved=True, episode=EPISODE):
    more = dict(_inquiry(attempt, number, inquiry, episode), approved=approved)
    return of_attempt("answered", when, attempt, episode, **more)


def _inquiry(attempt, number, inquiry, episode):
    return {"execution_id": "%s/%d/%d" % (episode, attempt, number), "inquiry_id": inquiry}


def settled(when, attempt=1, reason="", episode=EPISODE):
    return of_attempt("settled", when, attempt, episode, reason=reason)


def ineffective(when, attempt=1, episode=EPISODE):
    return of_attempt("ineffective", when, attempt, episode)


def exhausted(when, attempt=1, episode=EPISODE, reason="1 of 1 attempts are used"):
    more = {"reason": reason, "request_id": "request0000"}
    return of_attempt("exhausted", when, attempt, episode, **more)


def acknowledged(when, by="ann", dismissed=False, episode=EPISODE):
    more = {"by": by, "reason": "known", "dismissed": dismissed}
    return fact("acknowledged", when, episode, request_id="request%04d" % when, **more)


def apply_all(facts, row=None):
    for item in facts:
        row = lifecycle.apply(row, item)
    return row


def states(row):
    return [entry["state"] for entry in row["history"]]


# --- the ways of an alert -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "facts, wanted",
    [
        ([notified(0)], ["received"]),
        ([notified(0), held(1)], ["received", "pending"]),
        ([notified(0), dispatched(1)], ["received", "remediating"]),
        ([notified(0), dispatched(1), settled(2)], ["received", "remediating", "unmatched"]),
        (
            [notified(0), dispatched(1), settled(2), executed(3, "running")],
            ["received", "remediating"],
        ),
        (
            [notified(0), dispatched(1), executed(2, "succeeded")],
            ["received", "remediating"],  # another rule may still start one
        ),
        (
            [notified(0), held(1), dispatched(2), executed(4, "succeeded"), settled(3)],
            ["received", "pending", "remediating", "remediated"],
        ),
        (
            [notified(0), dispatched(1), executed(3, "failed"), settled(2)],
            ["received", "remediating", "failed"],
        ),
        (
            [
                notified(0),
                dispatched(1),
                executed(3, "succeeded"),
                settled(2),
                notified(5, "resolved"),
            ],
            ["received", "remediating", "remediated", "resolved"],
        ),
        ([notified(0), held(1), notified(5, "resolved")], ["received", "pending", "resolved"]),
        ([notified(0, "resolved")], ["received", "resolved"]),
    ],
)
def test_the_history_tells_every_state_in_order(facts, wanted):
    """And the state of the row is the last of them."""
    row = apply_all(facts)
    assert states(row) == wanted
    assert row["state"] == wanted[-1]
    assert row["state_since"] == row["history"][-1]["at"]


@pytest.mark.parametrize("status", ["failed", "timeout", "abandoned", "canceled"])
def test_an_execution_that_did_not_succeed_fails_the_alert_with_its_error(status):
    """The reason says which action, how it ended and why."""
    facts = [notified(0), dispatched(1), executed(3, status, error="no such unit"), settled(2)]
    row = apply_all(facts)
    assert row["state"] == "failed"
    assert row["reason"] == "poundcake.service_down %s: no such unit" % status


@pytest.mark.parametrize(
    "second, wanted",
    [
        ("running", "remediating"),
        ("pausing", "remediating"),
        ("succeeded", "remediated"),
        ("failed", "failed"),
    ],
)
def test_several_executions_of_one_dispatch_count_together(second, wanted):
    """Remediating while one runs, remediated when all succeeded, failed when one failed."""
    facts = [notified(0), dispatched(1), settled(2), executed(3, "succeeded")]
    assert apply_all(facts + [executed(4, second, number=2)])["state"] == wanted


def test_a_dispatch_that_no_rule_took_keeps_the_reason_of_the_enforcement():
    """A rule whose template named an absent label does not fire; the reason is all there is."""
    row = apply_all([notified(0), dispatched(1), settled(2, reason="'dict' has no 'x'")])
    assert (row["state"], row["reason"]) == ("unmatched", "'dict' has no 'x'")
    row = apply_all([notified(0), dispatched(1), settled(2)])
    assert row["reason"] == "no rule on poundcake.alert matched"


def test_an_execution_that_never_ran_fails_the_alert_and_does_not_count():
    """StackStorm could not even start it; the reason says so."""
    facts = [notified(0), dispatched(1), settled(2)]
    row = apply_all(facts + [executed(3, "failed", ran=False, error="no such pack")])
    assert row["state"] == "failed"
    assert row["reason"] == "it never ran: poundcake.service_down failed: no such pack"
    assert counted_attempts(row, EPISODE) == 0 and next_attempt_number(row) == 2


def test_one_execution_of_several_that_ran_makes_the_attempt_count():
    """Something was done to the machine."""
    facts = [notified(0), dispatched(1), settled(2), executed(3, "failed", ran=False)]
    row = apply_all(facts + [executed(4, "failed", number=2)])
    assert row["attempts"][0]["outcome"] == "failed" and counted_attempts(row, EPISODE) == 1


def test_an_attempt_that_no_rule_took_does_not_count_and_one_that_runs_does():
    """What may have done something is counted as if it had."""
    row = apply_all([notified(0), dispatched(1), settled(2)])
    assert counted_attempts(row, EPISODE) == 0
    row = apply_all([dispatched(3, attempt=2), executed(4, "running", attempt=2)], row)
    assert counted_attempts(row, EPISODE) == 1


def test_an_attempt_never_ends_before_it_began():
    """The clocks of StackStorm and of the sensor differ a little."""
    row = apply_all([notified(0), dispatched(10), executed(5, "succeeded"), settled(11)])
    assert states(row) == ["received", "remediating", "remediated"]
    assert row["history"][-1]["at"] >= row["history"][-2]["at"]


def test_a_clock_that_steps_back_does_not_turn_the_order_of_states_round():
    """What was dispatched was received and released before, whatever the times say."""
    facts = [notified(100), held(101), dispatched(50), executed(60, "succeeded"), settled(61)]
    row = apply_all(facts)
    assert states(row) == ["received", "pending", "remediating", "remediated"]
    assert row["state"] == "remediated"


# --- held back ------------------------------------------------------------------------------------


def test_what_holds_an_attempt_back_is_in_the_history_with_its_reason():
    """Each state in turn, and what a person asked for with the name."""
    facts = [notified(0), held(1), held(2, "suppressed", "paused", reason="deploying", by="ann")]
    row = apply_all(facts + [held(3), dispatched(4)])
    wanted = ["received", "pending", "suppressed", "pending", "remediating"]
    assert states(row) == wanted
    assert row["history"][2]["reason"] == "deploying (by ann)"


def test_the_latest_hold_counts_until_the_attempt_is_dispatched():
    """And since when it waits does not change with the cause."""
    row = apply_all([notified(0), held(1), held(2, "suppressed", "paused")])
    assert current_hold(row)["cause"] == "paused" and held_since(row) == at(1)
    row = lifecycle.apply(row, dispatched(3))
    assert current_hold(row) is None
    row = apply_all([settled(4), held(5, "pending", "retry", attempt=2)], row)
    assert current_hold(row)["cause"] == "retry" and held_since(row) == at(5)


@pytest.mark.parametrize(
    "facts, cause",
    [
        ([notified(9, "resolved")], None),
        ([acknowledged(9)], None),
        ([acknowledged(9), held(10)], None),
        ([acknowledged(9), held(10, forced=True, by="bob")], "window"),
        ([held(8, forced=True, by="bob"), acknowledged(9)], None),
        ([notified(3600, episode=LATER_EPISODE)], None),
    ],
)
def test_what_ends_a_hold(facts, cause):
    """Resolved, taken over by a person, replaced; the later word of a person stands."""
    hold = current_hold(apply_all([notified(0), held(1)] + facts))
    assert (hold and hold["cause"]) == cause


# --- attempts, and a person -----------------------------------------------------------------------

ONE_FAILED = [notified(0), dispatched(1), settled(2), executed(3, "failed", error="boom")]


def test_an_ineffective_attempt_is_marked_and_the_state_stays():
    """The alert was remediated and fires on; the next attempt changes the state."""
    facts = [notified(0), dispatched(1), settled(2), executed(3, "succeeded"), ineffective(300)]
    row = apply_all(facts)
    assert row["state"] == "remediated" and row["attempts"][0]["ineffective_at"] == at(300)
    row = lifecycle.apply(row, dispatched(301, attempt=2, reason="it fires on"))
    assert row["reason"] == "attempt 2: it fires on"


def test_an_exhausted_alert_says_so_after_its_last_attempt():
    """With what has been used up."""
    row = apply_all(ONE_FAILED + [exhausted(4)])
    assert states(row) == ["received", "remediating", "failed", "exhausted"]
    assert row["reason"] == "1 of 1 attempts are used"


def test_after_exhaustion_an_attempt_by_hand_goes_on():
    """Who and why stand in the history."""
    facts = ONE_FAILED + [exhausted(4), dispatched(5, attempt=2, by="ann", reason="fixed the disk")]
    row = apply_all(facts)
    assert (row["state"], row["reason"]) == ("remediating", "attempt 2: fixed the disk (by ann)")
    row = apply_all([settled(6, attempt=2), executed(7, "failed", attempt=2)], row)
    assert states(row)[-3:] == ["exhausted", "remediating", "failed"]


@pytest.mark.parametrize("dismissed, word", [(False, "acknowledged"), (True, "dismissed")])
def test_an_alert_that_a_person_took_over_is_suppressed_and_says_who_and_why(dismissed, word):
    """Whatever it was before."""
    row = apply_all(ONE_FAILED + [acknowledged(5, by="ann", dismissed=dismissed)])
    assert (row["state"], row["reason"]) == ("suppressed", word + ": known (by ann)")


def test_an_acknowledgement_while_a_remediation_runs_leaves_it_running():
    """It is noted at once; how the remediation ends is told as ever."""
    row = apply_all([notified(0), dispatched(1), settled(2), executed(3, "running")])
    row = lifecycle.apply(row, acknowledged(4))
    assert (row["state"], row["reason"]) == ("remediating", "acknowledged: known (by ann)")
    row = lifecycle.apply(row, executed(5, "succeeded"))
    assert states(row) == ["received", "remediating", "remediating", "remediated"]


def test_the_first_acknowledgement_of_an_episode_stands_and_a_new_episode_is_free():
    """A second person changes nothing; what fires anew is remediated again."""
    row = apply_all([notified(0), acknowledged(2, by="ann"), acknowledged(3, by="bob")])
    assert current_episode(row)["acknowledged"]["by"] == "ann"
    row = lifecycle.apply(row, notified(3600, episode=LATER_EPISODE))
    assert row["state"] == "received" and current_episode(row)["acknowledged"] is None


# --- episodes in the history ----------------------------------------------------------------------


def test_a_new_episode_starts_over_and_keeps_the_history():
    """A new startsAt after a resolve is a new episode."""
    first = [notified(0), dispatched(1), settled(2), notified(5, "resolved")]
    row = apply_all(first + [notified(3600, episode=LATER_EPISODE)])
    assert states(row) == ["received", "remediating", "unmatched", "resolved", "received"]
    assert (row["state"], row["starts_at"], row["occurrences"]) == ("received", LATER_EPISODE, 1)


def test_a_late_fact_of_an_old_episode_leaves_the_new_one_alone():
    """The state is that of the latest episode."""
    row = apply_all([notified(0), notified(3600, episode=LATER_EPISODE), dispatched(1)])
    assert (row["state"], row["starts_at"]) == ("received", LATER_EPISODE)


def test_what_happens_after_the_resolve_is_told_and_changes_no_state():
    """A remediation that was running is in the history, with what it came to."""
    facts = [notified(0), dispatched(1), notified(2, "resolved"), settled(3)]
    row = apply_all(facts + [executed(4, "failed", error="gone")])
    assert row["state"] == "resolved"
    assert row["history"][-1]["reason"].startswith("after the resolve: failed")


def test_every_notification_counts_once():
    """Alertmanager repeats a notification; a repeated fact is none."""
    row = apply_all([notified(0), notified(60), notified(120), notified(60)])
    assert row["occurrences"] == 3
    assert row["request_ids"] == ["request0000", "request0060", "request0120"]


def test_the_latest_notification_describes_the_alert():
    """Annotations change while an alert fires; a late notification changes nothing back."""
    row = apply_all([notified(60, summary="new"), notified(0, summary="old")])
    assert row["annotations"] == {"summary": "new"}


def test_a_row_that_is_given_is_not_changed():
    """Whoever holds the old version still has it."""
    row = apply_all([notified(0)])
    before = copy.deepcopy(row)
    after = lifecycle.apply(row, dispatched(1))
    assert row == before and after["rev"] > before["rev"]


def test_a_known_fact_gives_the_same_row_and_revision():
    """So nothing is written again."""
    row = apply_all([notified(0), dispatched(1)])
    assert lifecycle.apply(row, dispatched(1)) is row


def test_a_row_that_was_forgotten_comes_again_with_a_newer_revision():
    """Else the datastore's old row would win over it."""
    old = apply_all([notified(i) for i in range(20)])
    assert apply_all([notified(3600)])["rev"] > old["rev"]


def test_old_episodes_leave_and_the_row_stays_small():
    """A flapping alert does not grow without limit; rates look back over the latest attempts."""
    row = None
    for number in range(lifecycle.KEPT_ATTEMPTS + 9):
        episode = "2026-11-21T%02d:%02d:00.000000000Z" % divmod(number, 60)
        when = number * 60
        facts = [notified(when, episode=episode), dispatched(when + 1, episode=episode)]
        row = apply_all(facts + [settled(when + 2, episode=episode)], row)
    assert len(row["episodes"]) == lifecycle.KEPT_EPISODES
    assert len(row["attempts"]) == lifecycle.KEPT_ATTEMPTS
    assert row["attempts"][-1]["episode"] == row["episode"] == episode


def test_an_attempt_ends_even_when_its_episode_is_no_longer_kept():
    """A long remediation of a flapping alert must give its slot back."""
    row = apply_all([notified(0), dispatched(1), settled(2), executed(3, "running")])
    for hour in range(9, 9 + lifecycle.KEPT_EPISODES):
        episode = "2026-11-21T%02d:00:00.000000000Z" % hour
        row = apply_all([notified(hour * 60, episode=episode)], row)
    assert len(open_attempts(row)) == 1
    row = lifecycle.apply(row, executed(3600, "succeeded"))
    assert open_attempts(row) == []


# --- episodes -------------------------------------------------------------------------------------


def an_alert(**more):
    return payload.parse(notification(dict(alert(), **more))).alerts[0]


def test_an_episode_opens_with_a_notification_when_none_is_open():
    """Its id is the time of that, whatever startsAt says."""
    assert lifecycle.episode_of(None, "firing", at(0)) == clock.canonical(at(0))
    row = apply_all([notified(0)])
    assert lifecycle.episode_of(row, "firing", at(60)) == EPISODE
    row = apply_all([notified(5, "resolved")], row)
    assert lifecycle.episode_of(row, "firing", at(60)) == clock.canonical(at(60))


def test_a_resolve_belongs_to_the_last_episode():
    """However often it is repeated."""
    row = apply_all([notified(0), notified(5, "resolved")])
    assert lifecycle.episode_of(row, "resolved", at(60)) == EPISODE


def test_an_episode_that_opens_while_the_clock_steps_back_comes_last():
    """Ids sort in the order of arrival."""
    row = apply_all([notified(0), notified(5, "resolved")])
    before = "2026-11-20T00:00:00Z"
    assert lifecycle.episode_of(row, "firing", before) == "2026-11-21T08:00:00.001000000Z"


def test_the_earliest_start_heard_is_shown():
    """Alertmanager moves it back when another Prometheus saw the alert earlier."""
    starts = ["2026-11-21T07:59:30.000000000Z", "2026-11-21T07:59:00.000000000Z"]
    row = apply_all([notified(n, starts_at=start) for n, start in enumerate(starts)])
    assert row["starts_at"] == starts[1] and len(row["episodes"]) == 1


# --- transitions ----------------------------------------------------------------------------------


def test_each_change_of_state_is_told_once():
    """As (from, to, entry); what is known already is not told again."""
    told = []
    row = None
    facts = [notified(0), held(1), dispatched(2), settled(3), executed(4, "succeeded")]
    for item in facts + [notified(60), notified(90, "resolved"), notified(95, "resolved")]:
        after = lifecycle.apply(row, item)
        told += [(a, b) for a, b, _ in transitions(row, after)]
        row = after
    assert told[:3] == [(None, "received"), ("received", "pending"), ("pending", "remediating")]
    assert told[-1] == ("remediated", "resolved")
    assert len([pair for pair in told if pair[1] == "resolved"]) == 1


def test_what_follows_a_resolve_is_no_change_of_state():
    """Nobody is told twice that an alert has resolved."""
    row = apply_all([notified(0), dispatched(1), notified(2, "resolved")])
    after = apply_all([executed(4, "failed"), settled(3)], row)
    assert transitions(row, after) == []


# --- a person in the loop -------------------------------------------------------------------------


BEGUN = [notified(0), dispatched(1), executed(2, "paused"), settled(2)]


def test_an_attempt_that_waits_for_a_person_awaits_approval():
    """Since it was asked, and the reason says how to answer and until when."""
    row = apply_all(BEGUN + [asked(5, until=at(65))])
    assert states(row) == ["received", "remediating", "awaiting_approval"]
    assert (row["state"], row["state_since"]) == ("awaiting_approval", at(5))
    assert "st2 inquiry respond i1" in row["reason"] and at(65) in row["reason"]
    assert awaits_approval(row["attempts"][0])


def test_the_answer_lets_it_go_on():
    """Whatever it is: what comes of it the workflow says."""
    facts = BEGUN + [asked(5), answered(9)]
    row = apply_all(facts)
    assert states(row)[2:] == ["awaiting_approval", "remediating"]
    assert row["reason"] == "approved"
    assert not awaits_approval(row["attempts"][0])
    ended = apply_all([executed(12, "succeeded")], row)
    assert states(ended)[2:] == ["awaiting_approval", "remediating", "remediated"]
    asked_again = apply_all([asked(15, inquiry="i2")], row)
    assert states(asked_again)[2:] == ["awaiting_approval", "remediating", "awaiting_approval"]


def test_an_attempt_of_which_something_runs_is_remediating():
    """A second rule took the dispatch; when what it started has ended, only the person is left."""
    row = apply_all(BEGUN + [executed(3, "running", number=2), asked(5)])
    assert row["state"] == "remediating" and not awaits_approval(row["attempts"][0])
    row = apply_all([executed(8, "succeeded", number=2)], row)
    assert (row["state"], row["state_since"]) == ("awaiting_approval", at(8))
    assert awaits_approval(row["attempts"][0])


def test_an_attempt_that_ended_unanswered_awaits_nothing():
    """It was canceled while a person was asked."""
    row = apply_all(BEGUN + [asked(5), executed(9, "canceled")])
    assert states(row)[2:] == ["awaiting_approval", "failed"]
    assert not awaits_approval(row["attempts"][0])


def test_a_row_of_an_earlier_version_goes_on():
    """Its startsAt was the identity of its episode; what runs ends, and what resolves is over."""
    older = load_fixture("row_of_form_1")
    row = upgraded(older)
    assert (row["form"], row["episode"]) == (2, older["starts_at"])
    assert lifecycle.episode_of(row, "resolved", at(60)) == older["starts_at"]
    assert [a["outcome"] for a in row["attempts"]] == ["never_ran", None]
    about = {"dispatch_id": "d2", "episode": row["episode"], "fingerprint": row["fingerprint"]}
    assert not awaits_approval(row["attempts"][1])
    ended = dict(row["attempts"][1]["executions"][0], status="succeeded", ended_at=at(60))
    row = lifecycle.apply(row, facts.fact("executed", at=at(60), execution=ended, **about))
    assert row["state"] == "remediated"
    assert upgraded(row) is row


# --- any order ------------------------------------------------------------------------------------


HOLDS = [("pending", "window"), ("pending", "retry"), ("suppressed", "paused")]


@st.composite
def lives(draw):
    """Some facts of one alert: up to four episodes with attempts, every fact at its own moment."""
    facts = []
    for hour in range(draw(st.integers(1, 4))):
        episode = {"episode": "2026-11-21T%02d:00:00.000000000Z" % hour}
        facts.append((notified, dict(episode, status="firing")))
        if draw(st.booleans()):
            facts.append((notified, dict(episode, status="resolved")))
        for dismissed in draw(st.lists(st.booleans(), max_size=2)):
            facts.append((acknowledged, dict(episode, dismissed=dismissed)))
        attempts = draw(st.integers(0, 3))
        for state, cause in draw(st.lists(st.sampled_from(HOLDS), max_size=4)):
            more = {"attempt": draw(st.integers(1, attempts + 1)), "forced": draw(st.booleans())}
            facts.append((held, dict(episode, state=state, cause=cause, **more)))
        for attempt in range(1, 1 + attempts):
            facts += draw(facts_of_an_attempt(dict(episode, attempt=attempt)))
    moments = draw(
        st.lists(st.integers(0, 9999), unique=True, min_size=len(facts), max_size=len(facts))
    )
    return [make(when, **more) for (make, more), when in zip(facts, moments)]


@st.composite
def facts_of_an_attempt(draw, more):
    facts = [(dispatched, dict(more, by=draw(st.sampled_from(["", "ann"]))))]
    for number in range(draw(st.integers(0, 2))):
        end = draw(st.sampled_from(ENDED_STATUSES + (None,)))
        ran = draw(st.booleans()) or end == "succeeded"
        for status in ("requested", "running", end):
            if status:
                facts.append((executed, dict(more, status=status, number=number, ran=ran)))
        for name in draw(st.lists(st.sampled_from(["i1", "i2"]), unique=True)):
            inquiry = dict(more, number=number, inquiry="%s of %d" % (name, number))
            facts.append((asked, inquiry))
            if draw(st.booleans()):
                facts.append((answered, inquiry))
    if draw(st.booleans()):
        facts.append((settled, dict(more, reason=draw(st.sampled_from(["", "why"])))))
    for make in draw(st.lists(st.sampled_from([ineffective, exhausted]), max_size=3)):
        facts.append((make, more))
    return facts


def told(row):
    """What a row says, apart from its revision and from where a running execution stands."""
    attempts = copy.deepcopy(row["attempts"])
    for attempt in attempts:
        for execution in attempt["executions"]:
            if execution["status"] not in ENDED_STATUSES:
                execution.clear()
    return dict(row, attempts=attempts, rev=None), current_hold(row)


@PROPERTY
@given(lives(), st.randoms(use_true_random=False))
def test_facts_in_any_order_and_repeated_tell_the_same(facts, random):
    """Facts arrive late and twice after a crash; the truth does not depend on it."""
    shuffled = facts + random.sample(facts, random.randint(0, len(facts)))
    random.shuffle(shuffled)
    assert told(apply_all(shuffled)) == told(apply_all(facts))


@PROPERTY
@given(st.lists(st.integers(0, 99), unique=True), st.randoms(use_true_random=False))
def test_of_many_holds_the_latest_are_kept_whatever_their_order(moments, random):
    """An alert that is held back in turn by one thing and another does not grow without limit."""
    facts = [notified(0)] + [held(1 + moment) for moment in moments]
    shuffled = random.sample(facts, len(facts))
    row = apply_all(shuffled)
    assert told(row) == told(apply_all(facts))
    latest = [at(1 + moment) for moment in sorted(moments)[-lifecycle.KEPT_HOLDS :]]
    assert [item["at"] for item in current_episode(row)["holds"]] == latest


@PROPERTY
@given(lives())
def test_nothing_is_held_back_that_must_not_go(facts):
    """No next attempt waits for what is resolved, or for what a person took over since."""
    row = apply_all(facts)
    hold, episode = current_hold(row), current_episode(row)
    if hold:
        assert not episode["resolved_at"] and hold["attempt"] == next_attempt_number(row)
        said = episode["acknowledged"]
        assert not said or (hold["forced"] and hold["at"] >= said["at"])
        assert held_since(row) <= hold["at"]


@PROPERTY
@given(lives())
def test_resolved_is_final_in_its_episode(facts):
    """Whatever is learnt afterwards, and every later entry of the episode says resolved."""
    row = apply_all(facts)
    for episode in row["episodes"]:
        found = [e["state"] for e in row["history"] if e["episode"] == episode["id"]]
        if episode["resolved_at"]:
            assert found[-1] == "resolved"
            assert set(found[found.index("resolved") :]) == {"resolved"}
        else:
            assert "resolved" not in found
    latest = current_episode(row)
    assert (row["state"] == "resolved") == bool(latest["resolved_at"])


@PROPERTY
@given(lives())
def test_every_state_is_one_of_the_lifecycle(facts):
    """In every history, in order of time, with transitions that begin where the last one ended."""
    row = None
    last = {}
    for item in facts:
        after = lifecycle.apply(row, item)
        for entry in after["history"]:
            assert entry["state"] in STATES
        for episode in after["episodes"]:
            times = [e["at"] for e in after["history"] if e["episode"] == episode["id"]]
            assert times == sorted(times)
        for came_from, went_to, entry in transitions(row, after):
            assert came_from != went_to
            last[entry["episode"]] = went_to
        row = after
    assert set(last) <= {episode["id"] for episode in row["episodes"]}
