"""Admission: one decision with a reason for every alert of every notification. Pure."""

from dataclasses import dataclass

from poundcake import lifecycle, payload
from poundcake.lifecycle import PENDING

DISPATCH = "dispatch"
PEND = "pend"
DUPLICATE = "duplicate"
RESOLVE = "resolve"
REJECTED = "rejected"
DECISIONS = (DISPATCH, PEND, DUPLICATE, RESOLVE, REJECTED)

_SEVERITIES = {"critical": 0, "error": 1, "warning": 2}


@dataclass(frozen=True)
class Decision:
    """What to do with an alert and why. ``attempt`` counts from 1 and is set for a dispatch."""

    kind: str
    reason: str
    attempt: int = 0


@dataclass(frozen=True)
class Ledger:
    """What admission knows besides the alert itself.

    ``row``: the alert's row before this notification, None when it is new.
    ``in_flight``: dispatches that have not ended. ``waiting``: pending alerts.
    """

    row: object
    in_flight: int
    waiting: int


def decide(alert, episode, ledger, settings):
    """Return the Decision for one alert of a notification.

    :param alert: payload.Alert.
    :param episode: ``lifecycle.episode_of`` it.
    :param ledger: Ledger.
    :param settings: settings.Settings.
    """
    row = ledger.row
    known = _known_episode(row, episode)
    if alert.status == payload.RESOLVED:
        if known and known["resolved_at"]:
            return Decision(DUPLICATE, "resolved already at %s" % known["resolved_at"])
        return Decision(RESOLVE, "Alertmanager says resolved")
    if known is None and row and row["episodes"] and episode < row["starts_at"]:
        return Decision(DUPLICATE, "late: a newer episode began at %s" % row["starts_at"])
    if known and known["resolved_at"]:
        return Decision(DUPLICATE, "late: this episode resolved at %s" % known["resolved_at"])
    if known and row["starts_at"] != episode:
        return Decision(DUPLICATE, "late: a newer episode began at %s" % row["starts_at"])
    if known and (known["pended"] or lifecycle.attempts_of(row, episode)):
        return Decision(DUPLICATE, "this episode is %s" % row["state"])
    hindrance = _hindrance(ledger, settings)
    if hindrance:
        return Decision(PEND, hindrance)
    return Decision(DISPATCH, "new episode", attempt=1)


def release(waiting, in_flight, busy, settings):
    """Return the fingerprints of the pending alerts that may be dispatched now, in order.

    By severity (critical, error, warning, others), then by the time since when they wait.

    :param waiting: rows of alerts in state pending.
    :param in_flight: number of dispatches that have not ended.
    :param busy: fingerprints with a dispatch that has not ended.
    """
    room = settings.max_concurrent - in_flight
    free = [row for row in waiting if row["state"] == PENDING and row["fingerprint"] not in busy]
    free.sort(key=_release_order)
    return [row["fingerprint"] for row in free[: max(0, room)]]


def _release_order(row):
    severity = _SEVERITIES.get(row["severity"].lower(), len(_SEVERITIES))
    return severity, lifecycle.current(row)["pended"]["at"], row["fingerprint"]


def _known_episode(row, episode):
    for known in row["episodes"] if row else []:
        if known["starts_at"] == episode:
            return known
    return None


def _hindrance(ledger, settings):
    if ledger.row and lifecycle.open_attempts(ledger.row):
        return "the remediation of this alert's previous episode has not ended"
    if ledger.in_flight >= settings.max_concurrent:
        text = "%d remediations in flight, max_concurrent is %d"
        return text % (ledger.in_flight, settings.max_concurrent)
    if ledger.waiting:
        return "%d alerts wait before it" % ledger.waiting
    return ""
