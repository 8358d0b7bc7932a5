"""The row of a request: what came in one notification or command, and what became of it. Pure."""

import collections
from typing import Any, Dict, Iterable, List, Optional, Tuple

from poundcake.core.alert import (
    NEVER_RAN,
    RESOLVED,
    Row,
    attempts_of,
    current_hold,
    find_episode,
    request_ids_of,
)
from poundcake.core.decisions import DISPATCH, PEND, REJECTED
from poundcake.core.payload import Notification

Request = Dict[str, Any]
Entry = Dict[str, Any]  # what a request says of one of its alerts

# Where a request came from, when Alertmanager did not send it.
BY_HAND = "by_hand"
REBUILT = "rebuilt"

MOST_REJECTED = 20  # of the rejected alerts, a request names so many
# Characters of each of its thousands of alerts.
MOST_OF_NAME = 200
MOST_OF_REASON = 500


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
    left_out = notification.left_out if notification else 0
    if left_out:
        counts[REJECTED] += left_out
    named, warnings = _named(entries)
    row: Request = {
        "request_id": request_id,
        "received_at": received_at,
        "completed_at": None,
        "source": source,
        "receiver": notification.receiver if notification else "",
        "group_key": notification.group_key if notification else "",
        "truncated_alerts": notification.truncated_alerts if notification else 0,
        "warnings": (notification.warnings if notification else []) + warnings,
        "counts": dict(counts, alerts=len(entries) + left_out),
        "alerts": named,
    }
    return dict(row, command=command) if command else row


def _named(entries: List[Entry]) -> Tuple[List[Entry], List[str]]:
    """Return the entries that a request names, and a sentence about those that it does not."""
    rejected = [place for place, entry in enumerate(entries) if entry["decision"] == REJECTED]
    unnamed = set(rejected[MOST_REJECTED:])
    if not unnamed:
        return entries, []
    text = f"alerts: {len(unnamed)} more rejected ones are counted and not named"
    return [entry for place, entry in enumerate(entries) if place not in unnamed], [text]


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
        "alertname": alertname[:MOST_OF_NAME],
        "episode": episode,
        "decision": decision,
        "reason": reason[:MOST_OF_REASON],
        "dispatch_id": dispatch_id,
        "outcome": outcome,
    }


def waiting_entries(request: Request) -> Dict[str, List[int]]:
    """Return the places of the entries that wait for their outcome, by fingerprint.

    An entry waits while its alert has an attempt that has not ended, or waits for one.
    """
    places: Dict[str, List[int]] = {}
    for place, entry in enumerate(request["alerts"]):
        if entry["decision"] in (DISPATCH, PEND) and not entry["outcome"]:
            places.setdefault(entry["fingerprint"], []).append(place)
    return places


def with_outcomes(request: Request, row: Row, retries: bool, places: Iterable[int]) -> Request:
    """Return the row of a request with the outcomes of one of its alerts.

    :param row: of the alert.
    :param retries: True when the latest attempt of the alert is followed by another by itself.
    :param places: where the entries of the alert stand that wait. The others are not looked at: a
        request of thousands of alerts gets thousands of outcomes, one after another.
    """
    changed = {}
    for place in places:
        known = request["alerts"][place]
        entry = _with_outcome(known, request["request_id"], row, retries)
        if entry != known:
            changed[place] = entry
    if not changed:
        return request
    entries = list(request["alerts"])
    for place, entry in changed.items():
        entries[place] = entry
    return dict(request, alerts=entries)


def _with_outcome(known: Entry, request_id: str, row: Row, retries: bool) -> Entry:
    entry = dict(known)
    identity = entry["episode"] if "episode" in entry else entry["starts_at"]  # before 0.3.0
    latest = row["episode"] == identity
    for attempt in attempts_of(row, identity):
        if request_id in request_ids_of(row, identity, attempt["attempt"]):
            entry["dispatch_id"] = attempt["dispatch_id"]
            entry["outcome"] = attempt["outcome"]
            if attempt["outcome"] == NEVER_RAN and latest and (retries or current_hold(row)):
                entry["outcome"] = None
    if entry["dispatch_id"]:
        return entry
    episode = find_episode(row, identity)
    if episode and episode["resolved_at"]:
        entry["outcome"] = RESOLVED
    elif episode and episode["acknowledged"]:
        entry["outcome"] = "acknowledged"
    elif not latest:
        entry["outcome"] = "superseded by a newer episode"
    return entry
