"""The dead man's switch: an alert that always fires, whose absence is the news. Pure.

Prometheus sends such an alert ("Watchdog") as long as it works, and Alertmanager repeats it. Each
alert of that name is a heartbeat of its own, so that one of several Prometheus servers is missed
when it falls silent. Its row has under ``heartbeat`` when it came last (``seen_at``), when it was
last told that it is missing (``missing_at``), and why (``reason``); an alert that was never seen
firing has nothing there, and is not missed.
"""

import shlex
from typing import Any, Dict, List, Optional

from poundcake import clock
from poundcake.core.alert import Row, current_episode
from poundcake.core.facts import Heartbeat
from poundcake.settings import Settings


def missed(row: Row, settings: Settings, now: float, heard_from: float) -> Optional[Heartbeat]:
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


def is_missing(row: Optional[Row]) -> bool:
    """True when a heartbeat is known to be missing, and has not come again since."""
    known = row.get("heartbeat") if row else None
    return known is not None and known["missing_at"] > known["seen_at"]


def absence(row: Row, settings: Settings, now: float, heard_from: float) -> str:
    """Return why a heartbeat is missing at present, "" when it is not; arguments as ``missed``."""
    if is_missing(row) and not _is_dismissed(row):
        return row["heartbeat"]["reason"]
    return _absence(row, settings, now, heard_from)


def health(
    heartbeats: List[Row], settings: Settings, now: float, heard_from: float
) -> Dict[str, Any]:
    """Return ``{"ok", "detail"}`` for the rows of the heartbeats that are known."""
    name = settings.admission.watchdog_alertname
    wanted = [row for row in heartbeats if not _is_dismissed(row)]
    for row in wanted:
        why = absence(row, settings, now, heard_from)
        if why:
            return {"ok": False, "detail": "%s: %s; %s" % (name, why, _remedy(row, settings))}
    if not wanted:
        return {"ok": True, "detail": "no %s is known, so none is missed" % name}
    return {"ok": True, "detail": "%s came last at %s" % (name, min(map(_seen_at, wanted)))}


def counts(
    heartbeats: List[Row], settings: Settings, now: float, heard_from: float
) -> Dict[str, Any]:
    """Return how many heartbeats are ``missing``, and when the oldest was ``last_seen``.

    That is Unix time in seconds, None when there is none.
    """
    wanted = [row for row in heartbeats if not _is_dismissed(row)]
    missing = sum(1 for row in wanted if absence(row, settings, now, heard_from))
    last_seen = min((clock.to_seconds(_seen_at(row)) for row in wanted), default=None)
    return {"missing": missing, "last_seen": last_seen}


def _absence(row: Row, settings: Settings, now: float, heard_from: float) -> str:
    if _is_dismissed(row):
        return ""
    seen_at, resolved_at = _seen_at(row), current_episode(row)["resolved_at"]
    if resolved_at and resolved_at >= seen_at:
        return "Alertmanager says that it resolved at %s: nobody sends it any more" % resolved_at
    if now - max(clock.to_seconds(seen_at), heard_from) <= settings.admission.watchdog_seconds:
        return ""
    text = "it came last at %s, more than %d s ago (watchdog_seconds)"
    return text % (seen_at, settings.admission.watchdog_seconds)


def _remedy(row: Row, settings: Settings) -> str:
    text = (
        "see that Prometheus runs and fires it, and that Alertmanager runs and repeats it here "
        "well within watchdog_seconds; one that is wanted no longer "
    )
    if current_episode(row)["resolved_at"]:
        rest = "is forgotten after its resolve, as every alert (alert_retention_seconds)"
        return text + rest
    command = "st2 run poundcake.dismiss_alert fingerprint=" + shlex.quote(row["fingerprint"])
    return text + "is dismissed by " + command + ' reason="..."'


def _seen_at(row: Row) -> str:
    return row["heartbeat"]["seen_at"]


def _is_dismissed(row: Row) -> bool:
    said = current_episode(row)["acknowledged"]
    return bool(said and said["dismissed"])
