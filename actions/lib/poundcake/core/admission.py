"""Admission: one decision with a reason for every alert of every notification. Pure.

What may be dispatched is asked in two places: when a notification comes (``decide``), and when
something has changed for an alert whose next attempt is held back (``release``).
"""

from dataclasses import dataclass, field

from poundcake import clock
from poundcake.core import payload
from poundcake.core.alert import (
    FAILED,
    NEVER_RAN,
    PENDING,
    SUCCEEDED,
    SUPPRESSED,
    UNMATCHED,
    attempts_of,
    counted_attempts,
    current_episode,
    current_hold,
    find_episode,
    held_since,
    next_attempt_number,
    open_attempts,
)
from poundcake.core.decisions import (
    AGAIN,
    BREAKER,
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
    PREVIOUS,
    RATE,
    REJECTED,
    RESOLVE,
    RESOLVED,
    RETRY,
    SERIALIZED,
    SUPPRESS,
    UNDER_WAY,
    WINDOW,
    Decision,
    Hold,
)
from poundcake.core.facts import Exhausted, Held
from poundcake.matchers import labels_of

# An attempt that never ran is tried again so soon, and so often, without a further notification.
RETRY_SECONDS = 15
MOST_RETRIES = 5
MOST_DOUBLINGS = 10  # of a wait, whatever the attempts

_SEVERITIES = {"critical": 0, "error": 1, "warning": 2}


@dataclass
class Standing:
    """What admission knows besides the alert itself, at one moment.

    ``now``: Unix time. ``in_flight``: dispatches that have not ended; ``busy``: the ``place`` of
    each. ``waiting``: how many alerts wait for room. ``times_of``: callable, ``rate_key`` -> Unix
    times of dispatches. ``breaker_of``: callable, alertname -> Breaker. ``controls``:
    controls.Controls, what an operator has paused.
    """

    now: float
    in_flight: int
    busy: set
    waiting: int
    times_of: object
    breaker_of: object
    controls: object
    started: list = field(default_factory=list)  # rows

    def start(self, row, settings):
        """Count one more dispatch, which the callables do not know yet."""
        self.in_flight += 1
        self.busy.add(place(row, settings))
        self.started.append(row)


@dataclass(frozen=True)
class Breaker:
    """How the remediations of one alertname have fared of late.

    ``failures``: in a row, without a success since. ``opened_at``: Unix time of the failure that
    opened it, None while it is closed. ``trial``: a dispatch since the pause was over has not
    ended.
    """

    failures: int = 0
    opened_at: object = None
    trial: bool = False


def decide(alert, episode, row, standing, settings):
    """Return the Decision for one alert of a notification.

    :param alert: payload.Alert.
    :param episode: ``lifecycle.episode_of`` it.
    :param row: the alert's row before this notification, None when it is new.
    :param standing: Standing.
    :param settings: settings.Settings.
    """
    known = find_episode(row, episode) if row else None
    if alert.status == payload.RESOLVED:
        if known and known["resolved_at"]:
            return Decision(DUPLICATE, "resolved already at %s" % known["resolved_at"], RESOLVED)
        return Decision(RESOLVE, "Alertmanager says resolved", RESOLVED)
    if known is None and row and row["episodes"] and episode < row["starts_at"]:
        return Decision(DUPLICATE, "late: a newer episode began at %s" % row["starts_at"], LATE)
    if known and known["resolved_at"]:
        return Decision(DUPLICATE, "late: this episode resolved at %s" % known["resolved_at"], LATE)
    if known and row["starts_at"] != episode:
        return Decision(DUPLICATE, "late: a newer episode began at %s" % row["starts_at"], LATE)
    attempts = attempts_of(row, episode) if known else []
    if known:
        settled = _settled_before(row, known, attempts, standing.now, settings)
        if settled:
            return settled
    reason, cause, ineffective, attempt = NEW_EPISODE, NEW, "", 1
    if attempts:
        last, attempt, cause = attempts[-1], next_attempt_number(row), AGAIN
        ineffective = last["dispatch_id"] if last["outcome"] == "succeeded" else ""
        reason = "it fires on after attempt %d: %s" % (last["attempt"], last["outcome"])
        used = counted_attempts(row, episode)
        if used >= settings.admission.max_attempts:
            text = "attempts exhausted: %s; max_attempts is %d" % (
                reason,
                settings.admission.max_attempts,
            )
            exhausted = "" if last["exhausted"] else last["dispatch_id"]
            return Decision(SUPPRESS, text, EXHAUSTED, 0, None, ineffective, exhausted)
    about = {
        "fingerprint": alert.fingerprint,
        "alertname": alert.alertname,
        "host": alert.host,
        "labels": alert.labels,
        "attempts": row["attempts"] if row else [],
    }
    hold = _hindrance(about, standing, settings)
    if hold is None and standing.waiting:
        hold = Hold(PENDING, WINDOW, "%d alerts wait before it" % standing.waiting)
    if hold:
        return Decision(hold.decision, hold.reason, hold.cause, 0, hold, ineffective)
    return Decision(DISPATCH, reason, cause, attempt, ineffective=ineffective)


def release(held, standing, settings):
    """Go through the alerts whose next attempt is held back, in the order in which they may go.

    What a person asked for goes first; then by severity (critical, error, warning, others), then
    by the time since when they wait.

    :param held: rows of alerts for which ``hold`` is something.
    :param standing: Standing; what is released is counted in it.
    :returns: list of ``(row, Hold)`` of what has changed: None is free to go, and a Hold is what
        holds it back now.
    """
    changed = []
    for row in sorted(held, key=_release_order):
        hold = current_hold(row)
        if hold["cause"] == DRY_RUN:
            continue  # when dry run is over, the next notification brings it
        if hold["until"] and standing.now < clock.to_seconds(hold["until"]):
            continue
        new = _hindrance(row, standing, settings, forced=hold["forced"])
        if new is None:
            standing.start(row, settings)
            changed.append((row, None))
        elif new.state != hold["state"] or (SUPPRESSED == new.state and new.cause != hold["cause"]):
            changed.append((row, new))
    return changed


def by_hand(row, standing, settings):
    """Return the Decision on one more attempt that a person asked for.

    The limits do not matter, the invariants do: one at a time, and ``max_concurrent``.
    """
    episode = current_episode(row)
    if episode["resolved_at"]:
        text = "resolved at %s: nothing to remediate" % episode["resolved_at"]
        return Decision(REJECTED, text, RESOLVED)
    if _runs(row):
        return Decision(REJECTED, "a remediation of it runs: one at a time", UNDER_WAY)
    if settings.admission.is_dry(row["alertname"]):
        return Decision(REJECTED, "dry_run: nothing is dispatched", DRY_RUN)
    if settings.admission.is_heartbeat(row["alertname"]):
        return Decision(REJECTED, HEARTBEAT_TEXT, HEARTBEAT)
    hold = _hindrance(row, standing, settings, forced=True)
    if hold:
        return Decision(PEND, hold.reason, hold.cause, hold=hold)
    return Decision(DISPATCH, "by hand", FORCED, next_attempt_number(row))


def after_attempt(row, settings, at):
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


def _exhausted(row, last, settings, at):
    used, most = counted_attempts(row, row["starts_at"]), settings.admission.max_attempts
    if used < most:
        return None
    reason = f"{used} of {most} attempts are used; a person is needed"
    about = (row["fingerprint"], row["starts_at"], at)
    return Exhausted(*about, last["dispatch_id"], reason, last["request_id"])


def _tried_again(row, attempts, at):
    """Return the fact that the next attempt waits a little, after one that never ran."""
    last = attempts[-1]
    never_ran = sum(1 for attempt in attempts if attempt["outcome"] == NEVER_RAN)
    if never_ran > MOST_RETRIES:
        return None
    until = clock.to_seconds(last["ended_at"]) + RETRY_SECONDS * 2 ** (never_ran - 1)
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


def breaker(attempts, settings):
    """Return the Breaker of an alertname from its attempts, across hosts and episodes.

    :param attempts: attempts as rows have them, in any order.
    """
    failures, opened_at = 0, None
    ended = filter(_tells_how_it_fares, attempts)
    for attempt in sorted(ended, key=lambda a: (a["ended_at"], a["dispatch_id"])):
        if attempt["outcome"] == "succeeded":
            failures, opened_at = 0, None
            continue
        failures += 1
        if settings.admission.breaker_failures and failures >= settings.admission.breaker_failures:
            # What began before the trial may fail meanwhile; that is no news.
            if opened_at is None or _is_trial(attempt, opened_at, settings):
                opened_at = clock.to_seconds(attempt["ended_at"])
    trial = opened_at is not None and any(
        not a["outcome"] and _is_trial(a, opened_at, settings) for a in attempts
    )
    return Breaker(failures, opened_at, trial)


def place(row, settings):
    """Return the value that no two remediations may share at a time, None when there is none."""
    name = settings.admission.serialize_by
    value = row["host"] if name == "host" else row["labels"].get(name, "")
    return value or None


def rate_key(row):
    """Return what a rate is counted for: the alertname on a host, or the alert if it has none."""
    return row["alertname"], row["host"] or row["fingerprint"]


def cooldown_ends(attempts, settings):
    """Return until when (Unix time) notifications of an episode are duplicates of its attempts."""
    ended_at = clock.to_seconds(attempts[-1]["ended_at"])
    doublings = min(len(attempts) - 1, MOST_DOUBLINGS)
    return (
        ended_at
        + settings.admission.cooldown_seconds * settings.admission.backoff_factor**doublings
    )


def _release_order(row):
    severity = _SEVERITIES.get(row["severity"].lower(), len(_SEVERITIES))
    forced = current_hold(row)["forced"]
    return not forced, severity, held_since(row), row["fingerprint"]


def _tells_how_it_fares(attempt):
    """True when an attempt succeeded or failed; one that was canceled did neither."""
    bad = [e["status"] for e in attempt["executions"] if e["status"] != SUCCEEDED]
    failed = attempt["outcome"] == "failed" and set(bad) != {"canceled"}
    return failed or attempt["outcome"] == "succeeded"


def _is_trial(attempt, opened_at, settings):
    """True when an attempt began after the pause of a breaker that opened then."""
    began = attempt["dispatched_at"]
    return bool(began) and clock.to_seconds(began) >= opened_at + settings.admission.breaker_seconds


def _runs(row):
    """True when an attempt of the alert's latest episode has not ended."""
    return any(a["starts_at"] == row["starts_at"] for a in open_attempts(row))


def _settled_before(row, known, attempts, now, settings):
    """Return the Decision on an episode about which nothing new is to be decided, None if so."""
    if _runs(row):
        return Decision(DUPLICATE, "this episode is %s" % row["state"], UNDER_WAY)
    hold = current_hold(row)
    if hold and (hold["cause"] != DRY_RUN or settings.admission.is_dry(row["alertname"])):
        kind = DUPLICATE if hold["state"] == PENDING else SUPPRESS
        text = "this episode is %s: %s" % (hold["state"], hold["reason"])
        return Decision(kind, text, hold["cause"])
    said = known["acknowledged"]
    if said:
        what = "dismissed" if said["dismissed"] else "acknowledged"
        return Decision(SUPPRESS, "%s by %s: %s" % (what, said["by"], said["reason"]), what)
    if attempts:
        ends = cooldown_ends(attempts, settings)
        if now < ends and not attempts[-1]["exhausted"]:
            text = "attempt %d %s at %s; within its cooldown, which ends at %s"
            last = attempts[-1]
            ended = (last["attempt"], last["outcome"], last["ended_at"], clock.to_text(ends))
            return Decision(DUPLICATE, text % ended, COOLDOWN)
    return None


def _hindrance(row, standing, settings, forced=False):
    """Return the Hold on the next attempt of an alert, None when it may be dispatched."""
    if open_attempts(row):
        text = "the remediation of this alert's previous episode has not ended"
        return Hold(PENDING, PREVIOUS, text)
    if settings.admission.is_heartbeat(row["alertname"]):
        return Hold(SUPPRESSED, HEARTBEAT, HEARTBEAT_TEXT)
    if not forced:
        hold = _limit(row, standing, settings)
        if hold:
            return hold
    if settings.admission.is_dry(row["alertname"]):
        return Hold(SUPPRESSED, DRY_RUN, "dry run: it would have been dispatched")
    if standing.in_flight >= settings.admission.max_concurrent:
        text = "%d remediations in flight, max_concurrent is %d"
        return Hold(PENDING, WINDOW, text % (standing.in_flight, settings.admission.max_concurrent))
    value = place(row, settings)
    if value is not None and value in standing.busy:
        text = 'a remediation for the same %s, "%s", is in flight (serialize_by)'
        return Hold(PENDING, SERIALIZED, text % (settings.admission.serialize_by, value))
    return None


def _limit(row, standing, settings):
    """Return the Hold by a limit that a person has set, None when there is none."""
    name, now = row["alertname"], standing.now
    found = standing.controls and standing.controls.hindrance(name, labels_of(row), now)
    if found:
        return Hold(SUPPRESSED, *found)
    known = standing.breaker_of(name)
    if known.opened_at is not None:
        ends = known.opened_at + settings.admission.breaker_seconds
        text = "the breaker of %s is open after %d failures in a row" % (name, known.failures)
        if now < ends:
            text += "; one remediation is tried at %s" % clock.to_text(ends)
            return Hold(SUPPRESSED, BREAKER, text)
        if known.trial or any(started["alertname"] == name for started in standing.started):
            return Hold(SUPPRESSED, BREAKER, text + "; one remediation is being tried")
    key = rate_key(row)
    used = standing.times_of(key) + [now for item in standing.started if rate_key(item) == key]
    for count, seconds in settings.admission.rates:
        times = [at for at in used if at > now - seconds]
        if len(times) >= count:
            ends = clock.to_text(sorted(times)[-count] + seconds)
            text = "rate limit: %d in %d s are used; the next one may go at %s"
            return Hold(SUPPRESSED, RATE, text % (count, seconds, ends))
    return None
