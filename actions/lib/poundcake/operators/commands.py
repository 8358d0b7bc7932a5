"""What a person decides about one alert: retry it now, acknowledge it, or dismiss it.

The actions change no rows. They put a command into the inbox, and the sensor, which makes all
decisions, carries it out.
"""

import time
from typing import Any, Dict, Optional, Tuple

from poundcake import clock
from poundcake.core.alert import ENDED_STATUSES, REMEDIATING, RESOLVED, Row, open_attempts
from poundcake.core.requests import BY_HAND
from poundcake.errors import ExpectedError
from poundcake.ids import new_uuid7
from poundcake.people import person, why
from poundcake.st2 import rows
from poundcake.st2.client import StackStorm
from poundcake.views import queries

Selector = Tuple[str, str, str]  # fingerprint, alertname, host

RETRY = "retry"
ACKNOWLEDGE = "acknowledge"
DISMISS = "dismiss"


def command(
    stackstorm: StackStorm,
    do: str,
    alert: Selector,
    reason: str,
    by: str,
    now: Optional[float] = None,
) -> Dict[str, Any]:
    """Put a command about an alert into the inbox and return what was accepted.

    The entry looks like that of a notification, with ``command`` (do, fingerprint, by, reason)
    instead of ``notification``.

    :param do: RETRY, ACKNOWLEDGE or DISMISS.
    :param alert: the parameters of ``queries.find_alert``.
    :param now: Unix time in seconds; the clock when None.
    :returns: status, request_id, fingerprint, alertname, and the present state of the alert.
    :raises ExpectedError: when the alert is unknown or resolved, when a retry is asked for while a
        remediation runs, and when ``by`` or ``reason`` is empty or too long.
    """
    by, reason = person(by), why(reason)
    row = queries.find_alert(stackstorm, *alert)
    _check_state(do, row)
    fingerprint = row["fingerprint"]
    entry: Dict[str, Any] = {
        "request_id": new_uuid7(),
        "received_at": clock.to_text(time.time() if now is None else now),
        "source": BY_HAND,
        "command": {"do": do, "fingerprint": fingerprint, "by": by, "reason": reason},
    }
    rows.write(stackstorm, rows.INBOX, entry["request_id"], entry)
    return {
        "status": "accepted",
        "request_id": entry["request_id"],
        "fingerprint": fingerprint,
        "alertname": row["alertname"],
        "state": row["state"],
    }


def _check_state(do: str, alert: Row) -> None:
    name = f"{alert['fingerprint']} ({alert['alertname']})"
    if alert["state"] == RESOLVED:
        problem = f"{name} resolved at {alert['state_since']}, so there is nothing to {do}"
        remedy = "If it fires again, that is a new episode"
        raise ExpectedError("fingerprint", problem, remedy=remedy)
    if do == RETRY and alert["state"] == REMEDIATING:
        running = [
            f"{item['action_ref']} {item['execution_id']}"
            for attempt in open_attempts(alert)
            for item in attempt["executions"]
            if item["status"] not in ENDED_STATUSES
        ]
        executions = ", ".join(running) or "no execution yet"
        problem = f"{name} is already being remediated ({executions})"
        remedy = "An alert has one remediation at a time; retry when this one has ended"
        raise ExpectedError("fingerprint", problem, remedy=remedy)
