"""The facts that follow from a notification, a decision, a release or a command. Pure.

The sensor applies them to its ledger; a Dispatched among them is also to be sent.
"""

from typing import Dict, List, Optional

from poundcake.core import lifecycle, payload
from poundcake.core.alert import Row, current_hold, next_attempt_number
from poundcake.core.decisions import DISPATCH, NEW_EPISODE, Decision, Hold
from poundcake.core.facts import (
    Acknowledged,
    Dispatched,
    Exhausted,
    Fact,
    Heartbeat,
    Held,
    Ineffective,
    Notified,
)
from poundcake.core.target import Target
from poundcake.ids import dispatch_id


def of_notification(
    alert: payload.Alert,
    target: Target,
    notification: payload.Notification,
    episode: str,
    request_id: str,
    received_at: str,
    is_heartbeat: bool,
) -> List[Fact]:
    """Return the facts that an alert in a notification tells, whatever is decided on it."""
    about = (alert.fingerprint, episode, received_at)
    described = lifecycle.describe(alert, target, notification)
    facts: List[Fact] = [Notified(*about, request_id, alert.status, alert.starts_at, described)]
    if is_heartbeat and alert.status == payload.FIRING:
        facts.append(Heartbeat(*about, missing=False))
    return facts


def of_decision(
    decision: Decision,
    row: Row,
    request_id: str,
    at: str,
    command: Optional[Dict[str, str]] = None,
) -> List[Fact]:
    """Return the facts that follow from a decision.

    :param row: the alert's row, with the notification in it.
    :param at: RFC 3339.
    :param command: what a person asked for (``by`` and ``reason``), None when nobody did.
    """
    about = (row["fingerprint"], row["episode"], at)
    by, reason = (command["by"], command["reason"]) if command else ("", "")
    facts: List[Fact] = []
    if decision.ineffective:
        facts.append(Ineffective(*about, decision.ineffective))
    if decision.exhausted:
        facts.append(Exhausted(*about, decision.exhausted, decision.reason, request_id))
    if decision.hold:
        forced = command is not None
        facts.append(_held(row, decision.hold, request_id, at, reason, by=by, forced=forced))
    elif decision.kind == DISPATCH:
        if command is None and decision.reason != NEW_EPISODE:
            reason = decision.reason
        facts.append(_dispatched(row, request_id, at, reason, by))
    return facts


def of_release(row: Row, hold: Optional[Hold], at: str) -> Fact:
    """Return the fact about an alert whose next attempt was held back.

    :param hold: what holds it back now, None when it may go.
    :param at: RFC 3339.
    """
    known = current_hold(row)
    assert known, "only what is held is released"
    request_id, by = known["request_id"], known["by"]
    if hold is None:
        return _dispatched(row, request_id, at, f"it was {known['state']}: {known['reason']}", by)
    return _held(row, hold, request_id, at, by=by, forced=known["forced"])


def of_acknowledgement(row: Row, command: Dict[str, str], request_id: str, at: str) -> Acknowledged:
    """Return the fact that a person has taken the alert over, or dismissed it."""
    about = (row["fingerprint"], row["episode"], at)
    dismissed = command["do"] == "dismiss"
    return Acknowledged(*about, request_id, command["by"], command["reason"], dismissed)


def _held(
    row: Row,
    hold: Hold,
    request_id: Optional[str],
    at: str,
    reason: str = "",
    by: str = "",
    forced: bool = False,
) -> Held:
    return Held(
        row["fingerprint"],
        row["episode"],
        at,
        request_id,
        attempt=next_attempt_number(row),
        state=hold.state,
        cause=hold.cause,
        reason="; ".join(filter(None, (reason, hold.reason))),
        until=hold.until,
        by=by,
        forced=forced,
    )


def _dispatched(row: Row, request_id: Optional[str], at: str, reason: str, by: str) -> Dispatched:
    fingerprint, episode, attempt = row["fingerprint"], row["episode"], next_attempt_number(row)
    identity = dispatch_id(fingerprint, episode, attempt)
    return Dispatched(fingerprint, episode, at, identity, attempt, request_id, reason, by)
