"""The write-ahead inbox: a notification is in the datastore before it is acknowledged.

Both ways in use ``accept``: the sensor's listener and the action ``receive_webhook``.
"""

import time
from typing import Any, Dict, List, Optional, Tuple

from poundcake import clock
from poundcake.core import payload
from poundcake.errors import PayloadError, UnwritableRow
from poundcake.ids import new_uuid7
from poundcake.st2 import rows
from poundcake.st2.client import StackStorm
from poundcake.turns import Turns

LISTENER = "listener"
ST2_WEBHOOK = "st2_webhook"


def accept(
    stackstorm: StackStorm,
    document: Any,
    source: str,
    now: Optional[float] = None,
    max_alerts: Optional[int] = None,
) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """Check a decoded notification and write it to the inbox.

    :param document: the decoded JSON body.
    :param source: LISTENER or ST2_WEBHOOK.
    :param max_alerts: how many of its alerts are looked at; the others are counted as rejected.
    :returns: ``(entry, answer)``: the inbox entry as ``entries`` returns it, and the answer to the
        sender: status, request_id, alerts_received (all in the notification) and alerts_rejected
        (how many of them cannot be used).
    :raises PayloadError: when the notification can never be accepted.
    :raises StackStormError: when it could not be written; it must not be acknowledged then.
    """
    document, left_out = payload.bounded(document, max_alerts) if max_alerts else (document, 0)
    notification = payload.parse(document, left_out, Turns())
    entry = {
        "request_id": new_uuid7(),
        "received_at": clock.to_text(time.time() if now is None else now),
        "source": source,
        "notification": document,
    }
    if left_out:
        entry["left_out"] = left_out
    try:
        rows.write(stackstorm, rows.INBOX, entry["request_id"], entry)
    except UnwritableRow as error:
        raise PayloadError(f"body: the datastore does not take it ({error.reason})")
    answer = {
        "status": "accepted",
        "request_id": entry["request_id"],
        "alerts_received": len(notification.entries) + left_out,
        "alerts_rejected": len(notification.rejected) + left_out,
    }
    return entry, answer


def entries(
    stackstorm: StackStorm, skip: int = 0, unreadable: rows.OnUnreadable = rows.ignore
) -> List[Dict[str, Any]]:
    """Return the entries of the inbox, oldest first, except the ``skip`` oldest.

    :param unreadable: as ``rows.read_all`` takes it.
    """
    return rows.read_all(stackstorm, rows.INBOX, skip, unreadable)


def remove(stackstorm: StackStorm, request_id: str) -> None:
    """Remove an entry that is decided and tracked."""
    rows.delete(stackstorm, rows.INBOX, request_id)
