"""Admission: one decision with a reason for every alert of every notification. Pure.

What may be dispatched is asked in two places: when a notification comes (``decide``), and when
something has changed for an alert whose next attempt is held back (``release``).
"""

from typing import List, Optional, Tuple

from poundcake import clock
from poundcake.core import payload
from poundcake.core.alert import (
    ESCALATED,
    FAILED,
    LATEST,
    NEVER_RAN,
    PENDING,
    REMEDIATED,
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
    NEW,
    NEW_EPISODE,
    PEND,
    REJECTED,
    REOPENED,
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
from poundcake.core.history import outcome_reason
from poundcake.core.limits import Standing, hold_by
from poundcake.core.target import Target
from poundcake.settings import Settings

# An attempt that never ran is tried again so soon, and so often, without a further notification.
RETRY_SECONDS = 15
MOST_RETRIES = 5
MOST_DOUBLINGS = 10  # of a wait, whatever the attempts
# A pending alert shows what it waits for now. In a storm that changes for thousands at once, and
# each change is a row to write, so only so many of the most urgent are brought up to date a time.
MOST_RELABELED = 100

_SEVERITIES = {"critical": 0, "error": 1, "warning": 2}


def decide(
    alert: payload.Alert,
    target: Target,
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
    attempts: List[Attempt] = []
    if row and known:
        attempts = attempts_of(row, episode)
        settled = _nothing_new(row, known, attempts, standing.now, settings)
        if settled:
            return settled
    if row and attempts:
        wanted = _next_attempt(row, attempts, settings)
    else:
        wanted = Decision(DISPATCH, NEW_EPISODE, NEW, 1)
    if wanted.kind != DISPATCH:
        return wanted
    hold = None if known else _reopened(alert, row, standing.now, settings)
    hold = hold or _hold(alert, target, row, standing, settings)
    if hold is None:
        return wanted
    return Decision(hold.decision, hold.reason, hold.cause, 0, hold, wanted.ineffective)


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
    relabeled = 0
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
        elif new.cause != hold["cause"]:
            stays_pending = new.state == hold["state"] == PENDING
            relabeled += stays_pending
            if not stays_pending or relabeled <= MOST_RELABELED:
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
    attempts = attempts_of(row, row["episode"])
    last = attempts[-1]
    if current_episode(row)["acknowledged"] or last["exhausted"] or current_hold(row):
        return None
    if last["outcome"] == FAILED:
        return _exhausted(row, last, settings, at)
    if last["outcome"] == NEVER_RAN:
        return _tried_again(row, attempts, at)
    return None


def cooldown_ends(attempts: List[Attempt], settings: Settings) -> float:
    """Return until when (Unix time) notifications of an episode are duplicates of its attempts."""
    doublings = min(len(attempts) - 1, MOST_DOUBLINGS)
    wait: float = settings.admission.cooldown_seconds * settings.admission.backoff_factor**doublings
    return clock.to_seconds(ended_at(attempts[-1])) + wait


def _next_attempt(row: Row, attempts: List[Attempt], settings: Settings) -> Decision:
    """Return the Decision that an episode wants that has had attempts and is still firing."""
    last = attempts[-1]
    ineffective = last["dispatch_id"] if last["outcome"] == REMEDIATED else ""
    reason = f"still firing after attempt {last['attempt']}: {last['outcome']}"
    most = settings.admission.max_attempts
    if counted_attempts(row, row["episode"]) >= most:
        exhausted = "" if last["exhausted"] else last["dispatch_id"]
        reason = f"attempts exhausted: {_with_reason(reason, last)}; max_attempts is {most}"
        return Decision(SUPPRESS, reason, EXHAUSTED, 0, None, ineffective, exhausted)
    number = next_attempt_number(row)
    return Decision(DISPATCH, reason, AGAIN, number, ineffective=ineffective)


def _reopened(
    alert: payload.Alert, row: Optional[Row], now: float, settings: Settings
) -> Optional[Hold]:
    """Return the Hold on an alert that fires so soon after its resolve that a peer may lag."""
    if row is None or not row["episodes"]:
        return None
    last = current_episode(row)
    if not last["resolved_at"] or _began_after(last, alert.starts_at):
        return None
    until = clock.to_seconds(last["resolved_at"]) + settings.admission.reopen_seconds
    if now >= until:
        return None
    ends = clock.to_text(until)
    reason = (
        f"it fires again after it resolved at {last['resolved_at']}, which may be a peer of "
        f"Alertmanager that lags; it goes on at {ends} unless it resolves (reopen_seconds)"
    )
    return Hold(PENDING, REOPENED, reason, ends)


def _began_after(episode: Episode, starts_at: Optional[str]) -> bool:
    """Return whether an alert began after an episode had ended, by the clock of its Prometheus.

    A peer that lags repeats what was over; it does not know of anything that began later.
    """
    if not starts_at or (episode["last_starts_at"] and starts_at <= episode["last_starts_at"]):
        return False
    return starts_at > (episode["ends_at"] or episode["resolved_at"] or LATEST)


def _hold(
    alert: payload.Alert,
    target: Target,
    row: Optional[Row],
    standing: Standing,
    settings: Settings,
) -> Optional[Hold]:
    """Return what holds an attempt back that is wanted now, None when it may be dispatched."""
    about: Row = {
        "fingerprint": alert.fingerprint,
        "alertname": alert.alertname,
        "host": target.host,
        "target": target.name,
        "labels": alert.labels,
        "attempts": row["attempts"] if row else [],
    }
    hold = hold_by(about, standing, settings)
    if hold is None and standing.waiting:
        return Hold(PENDING, WINDOW, f"{standing.waiting} alerts wait before it")
    return hold


def _with_reason(reason: str, attempt: Attempt) -> str:
    why = outcome_reason(attempt)
    return f"{reason} ({why})" if why else reason


def _exhausted(row: Row, last: Attempt, settings: Settings, at: str) -> Optional[Exhausted]:
    used, most = counted_attempts(row, row["episode"]), settings.admission.max_attempts
    if used < most:
        return None
    why = f"a person is needed; the last one failed: {outcome_reason(last)}"
    reason = f"{used} of {most} attempts are used; {why}"
    about = (row["fingerprint"], row["episode"], at)
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
        row["episode"],
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
    return any(a["episode"] == row["episode"] for a in open_attempts(row))


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
    if attempts and attempts[-1]["outcome"] == ESCALATED:
        reason = f"attempt {attempts[-1]['attempt']} has told a person; retry_alert tries again"
        return Decision(SUPPRESS, _with_reason(reason, attempts[-1]), ESCALATED)
    if attempts:
        last, ends = attempts[-1], cooldown_ends(attempts, settings)
        if now < ends and not last["exhausted"]:
            ended = f"attempt {last['attempt']} {last['outcome']} at {last['ended_at']}"
            text = f"{ended}; within its cooldown, which ends at {clock.to_text(ends)}"
            return Decision(DUPLICATE, text, COOLDOWN)
    return None
