"""What the sensor's log says: one line of JSON an event.

``{"event": "dispatched", "text": "HostDown: attempt 1", "request_id": ..., "fingerprint": ...}``;
time and level are the logger's. JSON escapes what would begin another line, so nothing that came
from outside can forge one. Of an alert a line has its fingerprint and alertname and no other text,
no reason and no error: they are in its row.
"""

import json
import logging
import traceback

from poundcake.core.alert import EXHAUSTED, FAILED, REMEDIATED, UNMATCHED
from poundcake.core.decisions import DUPLICATE, REJECTED, SUPPRESS
from poundcake.st2 import triggers

LONGEST = 300  # characters of a field
FRAMES = 8  # of a traceback

# Info: as it should be. Warning: something went wrong, and PoundCake or Alertmanager goes on with
# it. Error: a person is needed.
EVENTS = {
    "listening": logging.INFO,
    "loaded": logging.INFO,
    "accepted": logging.INFO,
    "decided": logging.INFO,
    "held": logging.INFO,
    "dispatched": logging.INFO,
    "ended": logging.INFO,
    "declined": logging.INFO,  # a person was asked, and said no
    "breaker_closed": logging.INFO,
    "heartbeat_returned": logging.INFO,
    "refused": logging.WARNING,  # credentials are missing or wrong
    "rejected": logging.WARNING,  # a notification, or one alert of it, can never be used
    "unavailable": logging.WARNING,  # Alertmanager was told to send again
    "failed": logging.WARNING,
    "unmatched": logging.WARNING,
    "retried": logging.WARNING,  # what StackStorm lost
    "canceled": logging.WARNING,
    "unanswered": logging.WARNING,  # likewise, and nobody said anything
    "away": logging.WARNING,  # StackStorm, or its message bus
    "restarting": logging.WARNING,
    "exhausted": logging.ERROR,
    "breaker_opened": logging.ERROR,
    "heartbeat_missing": logging.ERROR,
    "unreadable": logging.ERROR,  # a control that counts as a pause of everything
    "unsendable": logging.ERROR,
    "fault": logging.ERROR,  # PoundCake's own
}
# The changes of state that are told here; the others follow from what is told already.
_OF_STATE = {
    REMEDIATED: "ended",
    FAILED: "failed",
    UNMATCHED: "unmatched",
    EXHAUSTED: "exhausted",
    triggers.BREAKER_OPENED: "breaker_opened",
    triggers.BREAKER_CLOSED: "breaker_closed",
    triggers.HEARTBEAT_MISSING: "heartbeat_missing",
    triggers.HEARTBEAT_RETURNED: "heartbeat_returned",
}


class EventLog:
    """Tells events to a logger."""

    def __init__(self, log):
        self._log = log

    def record(self, event, text, error=None, **fields):
        """Write the line of an event of EVENTS, at its level.

        :param text: for people.
        :param error: an exception; its type and where it was raised are told, not what it says.
        :param fields: what is empty is left out.
        """
        level = EVENTS[event]
        if self._log.isEnabledFor(level):
            if error is not None:
                fields.update(error=type(error).__name__, where=_where(error))
            self._log.log(level, "%s", line(event, text, **fields))

    def record_held(self, event, row, cause, request_id):
        """Tell that an alert waits, and for what in a word."""
        self.record(
            event,
            "%s waits: %s" % (row["alertname"], cause),
            request_id=request_id,
            fingerprint=row["fingerprint"],
            alertname=row["alertname"],
            cause=cause,
        )

    def record_decision(self, decision, row, request_id):
        """Tell a Decision on an alert when it is news: a repetition is in the request's counts."""
        repeated = decision.kind == DUPLICATE
        held_on = decision.kind == SUPPRESS and not decision.hold
        if repeated or (held_on and not decision.exhausted):
            return
        self.record(
            "rejected" if decision.kind == REJECTED else "decided",
            "%s: %s, %s" % (row["alertname"], decision.kind, decision.cause),
            request_id=request_id,
            fingerprint=row["fingerprint"],
            alertname=row["alertname"],
            decision=decision.kind,
            cause=decision.cause,
        )

    def record_change(self, change):
        """Tell a payload of ``poundcake.lifecycle`` when it ends something."""
        event = _OF_STATE.get(change["to"])
        if event:
            text = "%s: %s" % (change["alertname"], change["to"].replace("_", " "))
            if change["execution_id"]:
                text += "; st2 execution get " + change["execution_id"]
            names = ("request_id", "fingerprint", "alertname", "attempt", "execution_id")
            self.record(event, text, **{name: change[name] for name in names})


def line(event, text, **fields):
    """Return an event as one line of JSON in ASCII."""
    found = {"event": event, "text": _short(text)}
    found.update((name, _short(value)) for name, value in fields.items() if value or value == 0)
    return json.dumps(found)


def _short(value):
    return value[:LONGEST] if isinstance(value, str) else value


def _where(error):
    """Return where an exception was raised, innermost first; no source and no message."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    places = ["%s:%d %s" % (f.filename.rpartition("/")[2], f.lineno, f.name) for f in frames]
    return places[::-1]
