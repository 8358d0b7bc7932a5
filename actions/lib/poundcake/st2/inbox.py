"""The write-ahead inbox: what has been acknowledged is in the datastore first.

Both entrances use ``accept``: the sensor's listener and the action ``receive_webhook``.
"""

import time

from poundcake import clock
from poundcake.core import payload
from poundcake.ids import new_uuid7
from poundcake.st2 import rows

LISTENER = "listener"
ST2_WEBHOOK = "st2_webhook"


def accept(stackstorm, document, source, now=None):
    """Check a decoded notification and write it to the inbox.

    :param document: the decoded JSON body.
    :param source: LISTENER or ST2_WEBHOOK.
    :returns: ``(entry, answer)``: the inbox entry as ``entries`` gives it back, and the answer to
        the sender: status, request_id, alerts_received (all in the notification) and, of these,
        alerts_rejected.
    :raises payload.PayloadError: when the notification can never be accepted.
    :raises stackstorm.StackStormError: when it could not be written; nothing is acknowledged then.
    """
    notification = payload.parse(document)
    entry = {
        "request_id": new_uuid7(),
        "received_at": clock.to_text(time.time() if now is None else now),
        "source": source,
        "notification": document,
    }
    rows.write(stackstorm, rows.INBOX, entry["request_id"], entry)
    answer = {
        "status": "accepted",
        "request_id": entry["request_id"],
        "alerts_received": len(notification.entries),
        "alerts_rejected": len(notification.rejected),
    }
    return entry, answer


def entries(stackstorm, skip=0):
    """Return the entries of the inbox, oldest first; ``skip`` leaves out as many of the oldest."""
    return rows.read_all(stackstorm, rows.INBOX, skip)


def remove(stackstorm, request_id):
    """Remove an entry that is decided and tracked."""
    rows.delete(stackstorm, rows.INBOX, request_id)
