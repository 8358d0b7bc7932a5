"""What a person decides about one alert: one more attempt now, no more attempts, or dismissed.

The actions change no rows. They put a command into the inbox, and the sensor, which decides
everything else too, obeys it.
"""

import time

from poundcake import clock
from poundcake.core.alert import ENDED_STATUSES, REMEDIATING, RESOLVED, open_attempts
from poundcake.core.requests import BY_HAND
from poundcake.errors import ExpectedError
from poundcake.ids import new_uuid7
from poundcake.people import person, why
from poundcake.st2 import rows
from poundcake.views import queries

RETRY = "retry"
ACKNOWLEDGE = "acknowledge"
DISMISS = "dismiss"


def command(stackstorm, do, fingerprint, reason, by, now=None):
    """Put a command about an alert into the inbox and return what became of it.

    The entry has the shape of a notification's, with ``command`` (do, fingerprint, by, reason) in
    place of ``notification``.

    :param do: RETRY, ACKNOWLEDGE or DISMISS.
    :param now: Unix time in seconds; the clock when None.
    :returns: status, request_id, fingerprint, alertname, and the alert's state at present.
    :raises ExpectedError: when the alert is not known or is resolved, when it is to be retried while
        its remediation runs, and when ``by`` or ``reason`` does not do.
    """
    by, reason = person(by), why(reason)
    alert = queries.get_alert(stackstorm, fingerprint)
    _check_state(do, alert)
    entry = {
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
        "alertname": alert["alertname"],
        "state": alert["state"],
    }


def _check_state(do, alert):
    name = "fingerprint: %s (%s)" % (alert["fingerprint"], alert["alertname"])
    if alert["state"] == RESOLVED:
        text = "%s resolved at %s: there is nothing to %s; when it fires again, it is a new episode"
        raise ExpectedError(text % (name, alert["state_since"], do))
    if do == RETRY and alert["state"] == REMEDIATING:
        running = [
            "%s %s" % (item["action_ref"], item["execution_id"])
            for attempt in open_attempts(alert)
            for item in attempt["executions"]
            if item["status"] not in ENDED_STATUSES
        ]
        text = "%s is being remediated (%s), one remediation at a time; retry when that has ended"
        raise ExpectedError(text % (name, ", ".join(running) or "no execution yet"))
