"""The dead man's switch: an alert that always fires, whose absence is the news. Pure.

Prometheus sends such an alert ("Watchdog") as long as it works, and Alertmanager repeats it. Each
alert of that name is a heartbeat of its own, so that one of several Prometheus servers is missed
when it falls silent. Its row has under ``heartbeat`` when it came last (``seen_at``), when it was
last told that it is missing (``missing_at``), and why (``reason``); an alert that was never seen
firing has nothing there, and is not missed.
"""

import shlex

from poundcake import clock
from poundcake.core.alert import current_episode
from poundcake.core.facts import Heartbeat


def missed(row, settings, now, heard_from):
    """Return the fact that a heartbeat is missing; None when it is not, or that is known.

    :param row: of an alert that has ``heartbeat``.
    :param now: Unix time in seconds.
    :param heard_from: Unix time since when PoundCake itself could have heard of it.
    """
    reason = "" if is_missing(row) else _absence(row, settings, now, heard_from)
    if not reason:
        return None
    about = (row["fingerprint"], row["starts_at"], clock.to_text(now))
    return Heartbeat(*about, missing=True, reason=reason)


def is_missing(row):
    """True when a heartbeat is known to be missing, and has not come again since."""
    known = (row or {}).get("heartbeat")
    return bool(known) and known["missing_at"] > known["seen_at"]


def absence(row, settings, now, heard_from):
    """Return why a heartbeat is missing at present, "" when it is not; arguments as ``missed``."""
    if is_missing(row) and not _is_dismissed(row):
        return row["heartbeat"]["reason"]
    return _absence(row, settings, now, heard_from)


def health(found, settings, now, heard_from):
    """Return ``{"ok", "detail"}`` for the rows of the heartbeats that are known."""
    name = settings.admission.watchdog_alertname
    found = [row for row in found if not _is_dismissed(row)]
    for row in found:
        why = absence(row, settings, now, heard_from)
        if why:
            return {"ok": False, "detail": "%s: %s; %s" % (name, why, _remedy(row, settings))}
    if not found:
        return {"ok": True, "detail": "no %s is known, so none is missed" % name}
    return {"ok": True, "detail": "%s came last at %s" % (name, min(map(_seen_at, found)))}


def counts(found, settings, now, heard_from):
    """Return how many heartbeats are ``missing``, and when the oldest was ``last_seen``.

    That is Unix time in seconds, None when there is none.
    """
    found = [row for row in found if not _is_dismissed(row)]
    missing = sum(1 for row in found if absence(row, settings, now, heard_from))
    last_seen = min((clock.to_seconds(_seen_at(row)) for row in found), default=None)
    return {"missing": missing, "last_seen": last_seen}


def _absence(row, settings, now, heard_from):
    if _is_dismissed(row):
        return ""
    seen_at, resolved_at = _seen_at(row), current_episode(row)["resolved_at"]
    if resolved_at and resolved_at >= seen_at:
        return "Alertmanager says that it resolved at %s: nobody sends it any more" % resolved_at
    if now - max(clock.to_seconds(seen_at), heard_from) <= settings.admission.watchdog_seconds:
        return ""
    text = "it came last at %s, more than %d s ago (watchdog_seconds)"
    return text % (seen_at, settings.admission.watchdog_seconds)


def _remedy(row, settings):
    text = (
        "see that Prometheus runs and fires it, and that Alertmanager runs and repeats it here "
        "well within watchdog_seconds; one that is wanted no longer "
    )
    if current_episode(row)["resolved_at"]:
        rest = "is forgotten after its resolve, as every alert (alert_retention_seconds)"
        return text + rest
    command = "st2 run poundcake.dismiss_alert fingerprint=" + shlex.quote(row["fingerprint"])
    return text + "is dismissed by " + command + ' reason="..."'


def _seen_at(row):
    return row["heartbeat"]["seen_at"]


def _is_dismissed(row):
    said = current_episode(row)["acknowledged"]
    return bool(said and said["dismissed"])
