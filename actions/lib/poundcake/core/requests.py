"""The row of a request: what came in one notification or command, and what became of it. Pure."""

import collections
import copy
from typing import Any, Dict, List, Optional

from poundcake.core.alert import (
    NEVER_RAN,
    RESOLVED,
    Row,
    attempts_of,
    current_hold,
    find_episode,
    request_ids_of,
)
from poundcake.core.decisions import DISPATCH, PEND
from poundcake.core.payload import Notification

Request = Dict[str, Any]

# Where a request came from, when Alertmanager did not send it.
BY_HAND = "by_hand"
REBUILT = "rebuilt"


def new_request(
    request_id: str,
    received_at: str,
    source: str,
    entries: List[Dict[str, Any]],
    notification: Optional[Notification] = None,
    command: Optional[Dict[str, str]] = None,
) -> Request:
    """Return the row of a request whose alerts are all decided.

    :param entries: what ``new_entry`` returned for each alert.
    :param notification: payload.Notification, None when a person asked for it.
    :param command: what a person asked for, None when it is a notification.
    """
    counts = collections.Counter(entry["decision"] for entry in entries)
    row: Request = {
        "request_id": request_id,
        "received_at": received_at,
        "completed_at": None,
        "source": source,
        "receiver": notification.receiver if notification else "",
        "group_key": notification.group_key if notification else "",
        "truncated_alerts": notification.truncated_alerts if notification else 0,
        "warnings": notification.warnings if notification else [],
        "counts": dict(counts, alerts=len(entries)),
        "alerts": entries,
    }
    return dict(row, command=command) if command else row


def new_entry(
    fingerprint: str,
    alertname: str,
    episode: Optional[str],
    decision: str,
    reason: str,
    *,
    dispatch_id: Optional[str] = None,
    outcome: Optional[str] = None,
) -> Dict[str, Any]:
    """Return what a request's row says of one alert."""
    return {
        "fingerprint": fingerprint,
        "alertname": alertname,
        "episode": episode,
        "decision": decision,
        "reason": reason,
        "dispatch_id": dispatch_id,
        "outcome": outcome,
    }


def waits_for_outcome(request: Request) -> bool:
    """True when an alert of the request has an attempt, or waits for one, that has not ended."""
    return any(
        entry["decision"] in (DISPATCH, PEND) and not entry["outcome"]
        for entry in request["alerts"]
    )


def completed(request: Request, at: str) -> Request:
    """Return the row, completed at this time when none of its alerts waits any longer."""
    if request["completed_at"] or waits_for_outcome(request):
        return request
    return dict(request, completed_at=at)


def with_outcomes(request: Request, row: Row, retries: bool) -> Request:
    """Return the row of a request with the outcomes of one of its alerts.

    :param row: of the alert.
    :param retries: True when the latest attempt of the alert is followed by another by itself.
    """
    request = copy.deepcopy(request)
    for entry in request["alerts"]:
        waits = entry["decision"] in (DISPATCH, PEND) and not entry["outcome"]
        if waits and entry["fingerprint"] == row["fingerprint"]:
            _set_outcome(entry, request["request_id"], row, retries)
    return request


def _set_outcome(entry: Dict[str, Any], request_id: str, row: Row, retries: bool) -> None:
    identity = entry["episode"] if "episode" in entry else entry["starts_at"]  # before 0.3.0
    latest = row["episode"] == identity
    for attempt in attempts_of(row, identity):
        if request_id in request_ids_of(row, identity, attempt["attempt"]):
            entry["dispatch_id"] = attempt["dispatch_id"]
            entry["outcome"] = attempt["outcome"]
            if attempt["outcome"] == NEVER_RAN and latest and (retries or current_hold(row)):
                entry["outcome"] = None
    if entry["dispatch_id"]:
        return
    episode = find_episode(row, identity)
    if episode and episode["resolved_at"]:
        entry["outcome"] = RESOLVED
    elif episode and episode["acknowledged"]:
        entry["outcome"] = "acknowledged"
    elif not latest:
        entry["outcome"] = "superseded by a newer episode"
