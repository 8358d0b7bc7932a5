"""What a person decides about one alert: one more attempt now, no more attempts, or dismissed.

The actions change no rows. They put a command into the inbox, and the sensor, which decides
everything else too, obeys it.
"""

import time

import requests

from poundcake import clock, lifecycle, queries, rows
from poundcake.ids import new_uuid7
from poundcake.queries import QueryError

SOURCE = "by_hand"
RETRY = "retry"
ACKNOWLEDGE = "acknowledge"
DISMISS = "dismiss"

LONGEST_NAME = 200
LONGEST_REASON = 1000


def command(stackstorm, do, fingerprint, reason, by, now=None):
    """Put a command about an alert into the inbox and return what became of it.

    The entry has the shape of a notification's, with ``command`` (do, fingerprint, by, reason) in
    place of ``notification``.

    :param do: RETRY, ACKNOWLEDGE or DISMISS.
    :param now: Unix time in seconds; the clock when None.
    :returns: status, request_id, fingerprint, alertname, and the alert's state at present.
    :raises QueryError: when the alert is not known or is resolved, when it is to be retried while
        its remediation runs, and when ``by`` or ``reason`` does not do.
    """
    by, reason = person(by), why(reason)
    alert = queries.get_alert(stackstorm, fingerprint)
    _check_state(do, alert)
    entry = {
        "request_id": new_uuid7(),
        "received_at": clock.to_text(time.time() if now is None else now),
        "source": SOURCE,
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


def operator(action_service, by):
    """Return the name of whoever acts: ``by``, else StackStorm's user of this execution.

    It is "" when StackStorm does not know: without authentication it has no user to tell about,
    and answers with an error.
    """
    if by:
        return by
    try:
        return action_service.get_user_info()["username"]
    except requests.HTTPError:
        return ""


def person(by):
    """Return the name of a person on one line; QueryError when it is none or too long."""
    return _line("by", by, LONGEST_NAME, "StackStorm does not say who you are, so give your name")


def why(reason):
    """Return a reason on one line; QueryError when it is none or too long."""
    return _line("reason", reason, LONGEST_REASON, "say why, for whoever reads it later")


def _line(parameter, text, longest, remedy):
    text = " ".join(text.split())
    if not text:
        raise QueryError("%s: is empty; %s" % (parameter, remedy))
    if len(text) > longest:
        many = "%s: has %d characters; %d is the most" % (parameter, len(text), longest)
        raise QueryError(many)
    return text


def _check_state(do, alert):
    name = "fingerprint: %s (%s)" % (alert["fingerprint"], alert["alertname"])
    if alert["state"] == lifecycle.RESOLVED:
        text = "%s resolved at %s: there is nothing to %s; when it fires again, it is a new episode"
        raise QueryError(text % (name, alert["state_since"], do))
    if do == RETRY and alert["state"] == lifecycle.REMEDIATING:
        running = [
            "%s %s" % (item["action_ref"], item["execution_id"])
            for attempt in lifecycle.open_attempts(alert)
            for item in attempt["executions"]
            if item["status"] not in lifecycle.ENDED_STATUSES
        ]
        text = "%s is being remediated (%s), one remediation at a time; retry when that has ended"
        raise QueryError(text % (name, ", ".join(running) or "no execution yet"))
