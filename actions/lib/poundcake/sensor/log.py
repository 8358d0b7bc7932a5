"""The sensor's log: one line of JSON per event.

``{"event": "dispatched", "text": "HostDown: attempt 1", "request_id": ..., "fingerprint": ...}``;
the logger adds time and level. JSON escapes line breaks, so no outside text can forge a line. A
line about an alert has its fingerprint and alertname, but no other text of it, no reason and no
error: these are in its row.
"""

import json
import logging
import time
import traceback
from typing import Any, Dict, List, Mapping, Optional, Tuple

from poundcake.core.alert import EXHAUSTED, FAILED, REMEDIATED, UNMATCHED
from poundcake.core.decisions import DUPLICATE, REJECTED, SUPPRESS, Decision
from poundcake.st2 import triggers

LONGEST = 300  # characters of a field
FRAMES = 8  # of a traceback
SELDOM_SECONDS = 60
MOST_SELDOM = 1000  # texts that are remembered

# Info: normal operation. Warning: something went wrong, and PoundCake or Alertmanager handles it.
# Error: a person is needed.
EVENTS = {
    "listening": logging.INFO,  # the port is open
    "loaded": logging.INFO,  # the rows are in memory after a start
    "accepted": logging.INFO,  # a notification is in the inbox
    "decided": logging.INFO,  # every alert of a request has its decision
    "held": logging.INFO,  # an attempt waits, or its cause has changed
    "dispatched": logging.INFO,  # a trigger for an attempt is sent
    "ended": logging.INFO,  # an attempt succeeded
    "rule_switched": logging.INFO,  # a rule of the pack, as enabled_rules says
    "declined": logging.INFO,  # a person was asked and said no
    "breaker_closed": logging.INFO,  # a remediation succeeded after the breaker was open
    "heartbeat_returned": logging.INFO,  # the heartbeat has come again
    "closed": logging.WARNING,  # a connection that took too long, or one of too many
    "starved": logging.ERROR,  # the process has no file descriptors left
    "refused": logging.WARNING,  # credentials are missing or wrong
    "rejected": logging.WARNING,  # a notification, or one alert of it, can never be used
    "unavailable": logging.WARNING,  # Alertmanager must send it again
    "failed": logging.WARNING,  # an attempt failed
    "unmatched": logging.WARNING,  # no rule took the alert
    "retried": logging.WARNING,  # StackStorm lost it
    "canceled": logging.WARNING,  # an execution whose alert resolved, or that never started
    "unanswered": logging.WARNING,  # a person was asked and did not answer
    "away": logging.WARNING,  # StackStorm, or its message bus
    "restarting": logging.WARNING,  # the sensor ends, and StackStorm starts it again
    "exhausted": logging.ERROR,  # no attempt is left; a person is needed
    "breaker_opened": logging.ERROR,  # too many failures in a row; its alertname is not remediated
    "heartbeat_missing": logging.ERROR,  # the alert that always fires has not come
    "set_aside": logging.ERROR,  # what cannot be read, decided or written; the rest goes on
    "unsendable": logging.ERROR,  # StackStorm would drop this trigger
    "fault": logging.ERROR,  # a bug in PoundCake
}
# The logged changes of state; the others follow from events that are already logged.
_EVENT_OF_STATE = {
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
    """Writes events to a logger."""

    def __init__(self, log: Any):
        self._log = log
        # (event, text) -> when it was last written, and how many came since
        self._seldom: Dict[Tuple[str, str], Tuple[float, int]] = {}

    def record(
        self, event: str, text: str, error: Optional[BaseException] = None, **fields: Any
    ) -> None:
        """Write the line of an event of EVENTS, at its level.

        :param text: the message for people.
        :param error: an exception; its type and place are logged, not its message.
        :param fields: empty ones are left out.
        """
        level = EVENTS[event]
        if self._log.isEnabledFor(level):
            if error is not None:
                fields.update(error=type(error).__name__, where=_where(error))
            self._log.log(level, "%s", line(event, text, **fields))

    def record_seldom(
        self, event: str, text: str, error: Optional[BaseException] = None, **fields: Any
    ) -> None:
        """Write the line of something that others can cause as often as they like.

        A text is written once a minute; ``count`` says how often it came since the line before.
        """
        now, key = time.monotonic(), (event, text)
        written_at, count = self._seldom.get(key, (float("-inf"), 0))
        if now - written_at < SELDOM_SECONDS:
            self._seldom[key] = (written_at, count + 1)
            return
        if len(self._seldom) >= MOST_SELDOM:
            self._seldom.clear()
        self._seldom[key] = (now, 0)
        self.record(event, text, error, count=count + 1 if count else None, **fields)

    def record_held(
        self, event: str, row: Mapping[str, Any], cause: str, request_id: Optional[str]
    ) -> None:
        """Log that an alert waits, with the cause."""
        self.record(
            event,
            f"{row['alertname']} waits: {cause}",
            request_id=request_id,
            fingerprint=row["fingerprint"],
            alertname=row["alertname"],
            cause=cause,
        )

    def record_decision(self, decision: Decision, row: Mapping[str, Any], request_id: str) -> bool:
        """Log a decision on an alert if it is new; the request counts repetitions.

        :returns: whether a line was written.
        """
        repeated = decision.kind == DUPLICATE
        still_held = decision.kind == SUPPRESS and not decision.hold
        if repeated or (still_held and not decision.exhausted):
            return False
        self.record(
            "rejected" if decision.kind == REJECTED else "decided",
            f"{row['alertname']}: {decision.kind}, {decision.cause}",
            request_id=request_id,
            fingerprint=row["fingerprint"],
            alertname=row["alertname"],
            decision=decision.kind,
            cause=decision.cause,
        )
        return True

    def record_change(self, change: Mapping[str, Any]) -> None:
        """Log a payload of ``poundcake.lifecycle`` if its new state has an event."""
        event = _EVENT_OF_STATE.get(change["to"])
        if event:
            message = f"{change['alertname']}: {change['to'].replace('_', ' ')}"
            if change["execution_id"]:
                message += "; st2 execution get " + change["execution_id"]
            names = ("request_id", "fingerprint", "alertname", "attempt", "execution_id")
            self.record(event, message, **{name: change[name] for name in names})


def line(event: str, text: str, **fields: Any) -> str:
    """Return an event as one line of JSON in ASCII."""
    entry = {"event": event, "text": _short(text)}
    entry.update((name, _short(value)) for name, value in fields.items() if value or value == 0)
    return json.dumps(entry)


def _short(value: Any) -> Any:
    return value[:LONGEST] if isinstance(value, str) else value


def _where(error: BaseException) -> List[str]:
    """Return where an exception was raised, innermost first, without source code or message."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    places = [f"{f.filename.rpartition('/')[2]}:{f.lineno} {f.name}" for f in frames]
    return places[::-1]
