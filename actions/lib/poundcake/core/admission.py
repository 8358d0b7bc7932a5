"""Admission: one decision with a reason for every alert of every notification. Pure.

What may be dispatched is asked in two places: when a notification comes (``decide``), and when
something has changed for an alert whose next attempt is held back (``release``).
"""

from typing import List, Optional, Tuple

from poundcake import clock
from poundcake.core import payload
from poundcake.core.alert import (
    FAILED,
    NEVER_RAN,
    PENDING,
    SUPPRESSED,
    UNMATCHED,
    Attempt,
    Episode,
    Row,
    attempts_of,
    counted_attempts,
    current_episode,
    current_hold,
    ended_at,
    find_episode,
    held_since,
    next_attempt_number,
    open_attempts,
)
from poundcake.core.decisions import (
    AGAIN,
    COOLDOWN,
    DISPATCH,
    DRY_RUN,
    DUPLICATE,
    EXHAUSTED,
    FORCED,
    HEARTBEAT,
    HEARTBEAT_TEXT,
    LATE,
    NEW,
    NEW_EPISODE,
    PEND,
    REJECTED,
    RESOLVE,
    RESOLVED,
    RETRY,
    SUPPRESS,
    UNDER_WAY,
    WINDOW,
    Decision,
    Hold,
)
from poundcake.core.facts import Exhausted, Fact, Held
from poundcake.core.limits import Standing, hold_by
from poundcake.settings import Settings

# An attempt that never ran is tried again so soon, and so often, without a further notification.
RETRY_SECONDS = 15
MOST_RETRIES = 5
MOST_DOUBLINGS = 10  # of a wait, whatever the attempts

_SEVERITIES = {"critical": 0, "error": 1, "warning": 2}


def decide(
    alert: payload.Alert,
    episode: str,
    row: Optional[Row],
    standing: Standing,
    settings: Settings,
) -> Decision:
    """Return the Decision for one alert of a notification.

    :param episode: ``lifecycle.episode_of`` it.
    :param row: the alert's row before this notification, None when it is new.
    """
    known = find_episode(row, episode) if row else None
    if alert.status == payload.RESOLVED:
        if known and known["resolved_at"]:
            return Decision(DUPLICATE, f"already resolved at {known['resolved_at']}", RESOLVED)
        return Decision(RESOLVE, "Alertmanager says resolved", RESOLVED)
    if row is None or known is None:
        if row and row["episodes"] and episode < row["starts_at"]:
            return _late(row)
        return _admit(alert, row, standing, settings, Decision(DISPATCH, NEW_EPISODE, NEW, 1))
    if known["resolved_at"]:
        text = f"late: this episode resolved at {known['resolved_at']}"
        return Decision(DUPLICATE, text, LATE)
    if row["starts_at"] != episode:
        return _late(row)
    attempts = attempts_of(row, episode)
    settled = _nothing_new(row, known, attempts, standing.now, settings)
    return settled or _next_attempt(alert, row, attempts, standing, settings)


def release(
    held: List[Row], standing: Standing, settings: Settings
) -> List[Tuple[Row, Optional[Hold]]]:
    """Go through the alerts whose next attempt is held back, in the order in which they may go.

    What a person asked for goes first; then by severity (critical, error, warning, others), then
    by the time since when they wait.

    :param held: rows of alerts for which ``current_hold`` is something.
    :param standing: what is released is counted in it.
    :returns: what has changed: with None a row is free to go, with a Hold that holds it back now.
    """
    changed: List[Tuple[Row, Optional[Hold]]] = []
    for row in sorted(held, key=_release_order):
        hold = current_hold(row)
        if hold is None or hold["cause"] == DRY_RUN:
            continue  # when dry run is over, the next notification brings it
        if hold["until"] and standing.now < clock.to_seconds(hold["until"]):
            continue
        new = hold_by(row, standing, settings, forced=hold["forced"])
        if new is None:
            standing.start(row, settings)
            changed.append((row, None))
        elif new.state != hold["state"] or (SUPPRESSED == new.state and new.cause != hold["cause"]):
            changed.append((row, new))
    return changed


def by_hand(row: Row, standing: Standing, settings: Settings) -> Decision:
    """Return the Decision on one more attempt that a person asked for.

    The limits do not matter, the invariants do: one at a time, and ``max_concurrent``.
    """
    episode = current_episode(row)
    if episode["resolved_at"]:
        text = f"resolved at {episode['resolved_at']}: nothing to remediate"
        return Decision(REJECTED, text, RESOLVED)
    if _runs(row):
        return Decision(REJECTED, "a remediation of it runs: one at a time", UNDER_WAY)
    if settings.admission.is_dry(row["alertname"]):
        return Decision(REJECTED, "dry_run: nothing is dispatched", DRY_RUN)
    if settings.admission.is_heartbeat(row["alertname"]):
        return Decision(REJECTED, HEARTBEAT_TEXT, HEARTBEAT)
    hold = hold_by(row, standing, settings, forced=True)
    if hold:
        return Decision(PEND, hold.reason, hold.cause, hold=hold)
    return Decision(DISPATCH, "by hand", FORCED, next_attempt_number(row))


def after_attempt(row: Optional[Row], settings: Settings, at: str) -> Optional[Fact]:
    """Return the fact that follows from the end of an alert's latest attempt.

    It is exhausted when its last attempt failed, and an attempt that never ran is to be tried
    again; None when nothing follows before the next notification.

    :param at: RFC 3339.
    """
    if row is None or row["state"] not in (FAILED, UNMATCHED):
        return None
    attempts = attempts_of(row, row["starts_at"])
    last = attempts[-1]
    if current_episode(row)["acknowledged"] or last["exhausted"] or current_hold(row):
        return None
    if last["outcome"] == "failed":
        return _exhausted(row, last, settings, at)
    if last["outcome"] == NEVER_RAN:
        return _tried_again(row, attempts, at)
    return None


def cooldown_ends(attempts: List[Attempt], settings: Settings) -> float:
    """Return until when (Unix time) notifications of an episode are duplicates of its attempts."""
    doublings = min(len(attempts) - 1, MOST_DOUBLINGS)
    wait: float = settings.admission.cooldown_seconds * settings.admission.backoff_factor**doublings
    return clock.to_seconds(ended_at(attempts[-1])) + wait


def _late(row: Row) -> Decision:
    return Decision(DUPLICATE, f"late: a newer episode began at {row['starts_at']}", LATE)


def _next_attempt(
    alert: payload.Alert,
    row: Row,
    attempts: List[Attempt],
    standing: Standing,
    settings: Settings,
) -> Decision:
    """Return the Decision on an episode that is known and is still firing."""
    if not attempts:
        return _admit(alert, row, standing, settings, Decision(DISPATCH, NEW_EPISODE, NEW, 1))
    last = attempts[-1]
    ineffective = last["dispatch_id"] if last["outcome"] == "succeeded" else ""
    reason = f"still firing after attempt {last['attempt']}: {last['outcome']}"
    most = settings.admission.max_attempts
    if counted_attempts(row, row["starts_at"]) >= most:
        text = f"attempts exhausted: {reason}; max_attempts is {most}"
        exhausted = "" if last["exhausted"] else last["dispatch_id"]
        return Decision(SUPPRESS, text, EXHAUSTED, 0, None, ineffective, exhausted)
    number = next_attempt_number(row)
    wanted = Decision(DISPATCH, reason, AGAIN, number, ineffective=ineffective)
    return _admit(alert, row, standing, settings, wanted)


def _admit(
    alert: payload.Alert,
    row: Optional[Row],
    standing: Standing,
    settings: Settings,
    wanted: Decision,
) -> Decision:
    """Return the Decision that is wanted, or the one that holds the attempt back."""
    about: Row = {
        "fingerprint": alert.fingerprint,
        "alertname": alert.alertname,
        "host": alert.host,
        "labels": alert.labels,
        "attempts": row["attempts"] if row else [],
    }
    hold = hold_by(about, standing, settings)
    if hold is None and standing.waiting:
        hold = Hold(PENDING, WINDOW, f"{standing.waiting} alerts wait before it")
    if hold is None:
        return wanted
    return Decision(hold.decision, hold.reason, hold.cause, 0, hold, wanted.ineffective)


def _exhausted(row: Row, last: Attempt, settings: Settings, at: str) -> Optional[Exhausted]:
    used, most = counted_attempts(row, row["starts_at"]), settings.admission.max_attempts
    if used < most:
        return None
    reason = f"{used} of {most} attempts are used; a person is needed"
    about = (row["fingerprint"], row["starts_at"], at)
    return Exhausted(*about, last["dispatch_id"], reason, last["request_id"])


def _tried_again(row: Row, attempts: List[Attempt], at: str) -> Optional[Held]:
    """Return the fact that the next attempt waits a little, after one that never ran."""
    last = attempts[-1]
    never_ran = sum(1 for attempt in attempts if attempt["outcome"] == NEVER_RAN)
    if never_ran > MOST_RETRIES:
        return None
    until = clock.to_seconds(ended_at(last)) + RETRY_SECONDS * 2 ** (never_ran - 1)
    return Held(
        row["fingerprint"],
        row["starts_at"],
        at,
        last["request_id"],
        attempt=next_attempt_number(row),
        state=PENDING,
        cause=RETRY,
        reason=f"attempt {last['attempt']} never ran; it does not count",
        until=clock.to_text(until),
    )


def _release_order(row: Row) -> Tuple[bool, int, str, str]:
    severity = _SEVERITIES.get(row["severity"].lower(), len(_SEVERITIES))
    hold = current_hold(row)
    forced = bool(hold and hold["forced"])
    return not forced, severity, held_since(row), row["fingerprint"]


def _runs(row: Row) -> bool:
    """Return whether an attempt of the alert's latest episode has not ended."""
    return any(a["starts_at"] == row["starts_at"] for a in open_attempts(row))


def _nothing_new(
    row: Row,
    known: Episode,
    attempts: List[Attempt],
    now: float,
    settings: Settings,
) -> Optional[Decision]:
    """Return the Decision on an episode about which nothing new is to be decided, else None."""
    if _runs(row):
        return Decision(DUPLICATE, f"this episode is {row['state']}", UNDER_WAY)
    hold = current_hold(row)
    if hold and (hold["cause"] != DRY_RUN or settings.admission.is_dry(row["alertname"])):
        kind = DUPLICATE if hold["state"] == PENDING else SUPPRESS
        text = f"this episode is {hold['state']}: {hold['reason']}"
        return Decision(kind, text, hold["cause"])
    said = known["acknowledged"]
    if said:
        what = "dismissed" if said["dismissed"] else "acknowledged"
        return Decision(SUPPRESS, f"{what} by {said['by']}: {said['reason']}", what)
    if attempts:
        last, ends = attempts[-1], cooldown_ends(attempts, settings)
        if now < ends and not last["exhausted"]:
            ended = f"attempt {last['attempt']} {last['outcome']} at {last['ended_at']}"
            text = f"{ended}; within its cooldown, which ends at {clock.to_text(ends)}"
            return Decision(DUPLICATE, text, COOLDOWN)
    return None
