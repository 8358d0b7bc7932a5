"""Sends triggers, remembers what is not sent yet, and knows whether the message bus works.

A dispatch is sent at once. Reports (``poundcake.lifecycle``, ``alert_resolved``) are sent as the
bus has room. Nothing is lost with the process: dispatches are in the rows, reports in the outbox.
"""

import collections
from typing import Any, Callable, Deque, Dict, Iterable, List, Optional, Tuple

from poundcake import clock
from poundcake.core.alert import Attempt, Row
from poundcake.errors import BusBroken, SchemaError
from poundcake.ids import new_uuid7
from poundcake.sensor.log import EventLog
from poundcake.sensor.metrics import Metrics
from poundcake.st2 import executions, outbox, triggers
from poundcake.st2.client import StackStorm
from poundcake.st2.listeners import Listeners
from poundcake.st2.outbox import Report

# Reports are triggers too, and StackStorm's rules engine must process each one. While remediations
# run, 20 a second are more than it can process.
REPORTS_AT_ONCE = 50
REPORTS_AT_ONCE_BUSY = 2
PROBE_SECONDS = 60
PROBE_AGAIN_SECONDS = 5
LOST_SECONDS = 15
# The rules engine works on 50 triggers at a time, and a probe, which has no rules, overtakes the
# others. So one that is not done is given up only when it takes this much longer than a probe.
TIMES_A_PROBE = 10
TIDY_SECONDS = 10
# StackStorm's publisher never recovers by itself from an outage of the message bus.
BROKEN_SECONDS = 15


class Publisher:
    """Sends triggers.

    :param dispatch: callable ``(trigger, payload, trace_tag)`` that puts a trigger on the bus and
        raises when it cannot.
    :param bus_answers: callable that returns whether the message bus can be reached over a new
        connection.
    :param log: a logger.
    :param now: the clock.
    """

    def __init__(
        self,
        stackstorm: StackStorm,
        dispatch: Callable[[str, Dict[str, Any], Optional[str]], None],
        bus_answers: Callable[[], bool],
        schemas: triggers.Schemas,
        log: Any,
        now: Callable[[], float],
        metrics: Optional[Metrics] = None,
    ):
        self._stackstorm = stackstorm
        self._dispatch = dispatch
        self._bus_answers = bus_answers
        self._schemas = schemas
        self._log = EventLog(log)
        self._now = now
        self._metrics = metrics or Metrics()
        self._dispatches: Deque[Report] = collections.deque()
        self._reports: Deque[Report] = collections.deque()
        self._listeners = Listeners(stackstorm, now)
        self._has_reported = False  # since the last save
        self._sent_at: Dict[str, float] = {}  # dispatch_id -> when last sent; infinite when not yet
        self._began_at = now()
        self._probe: Optional[Tuple[str, float]] = None  # (probe_id, sent_at) under way
        self._probe_due = 0.0
        self._probe_took = 0.0  # seconds until the latest probe had arrived or was given up
        self._seen_at = 0.0  # when the latest probe that arrived was sent
        self._failing_since: Optional[float] = None
        self._saved: Tuple[str, int, float] = ("", 0, 0.0)  # last save: newest batch, unsent, when
        self.state: Dict[str, Any] = {"ok": True, "detail": "nothing sent yet"}

    @property
    def has_reports(self) -> bool:
        """Whether any reports are unsent."""
        return bool(self._reports)

    def load(self, reports: Iterable[Report]) -> None:
        """Start with the reports that an earlier process may not have sent."""
        self.add_reports(reports)
        self._began_at = self._now()

    def add_dispatch(self, row: Row, attempt: Attempt) -> None:
        """Queue a dispatch for the next ``send``. Raises SchemaError if it can never be sent."""
        payload = triggers.alert_payload(row, attempt)
        self._schemas.check(triggers.ALERT, payload)
        self._sent_at[attempt["dispatch_id"]] = float("inf")
        self._dispatches.append((triggers.ALERT, payload, attempt["request_id"]))

    def withdraw(self, fingerprint: str) -> List[str]:
        """Drop the unsent dispatches of an alert; return their ids."""
        unsent = [item for item in self._dispatches if item[1]["fingerprint"] == fingerprint]
        for item in unsent:
            self._dispatches.remove(item)
            self.forget(item[1]["dispatch_id"])
        return [payload["dispatch_id"] for _, payload, _ in unsent]

    def add_reports(self, reports: Iterable[Report]) -> None:
        """Queue the reports that a rule listens to, to be sent as the bus has room."""
        self._reports.extend(item for item in reports if self._listeners.hear(*item[:2]))

    def send(self, busy: bool) -> None:
        """Send what is queued; reports are sent slowly while remediations run (``busy``)."""
        most = REPORTS_AT_ONCE_BUSY if busy else REPORTS_AT_ONCE
        for queue, count in ((self._dispatches, len(self._dispatches)), (self._reports, most)):
            for _ in range(min(count, len(queue))):
                trigger, payload, trace_tag = queue[0]
                if not self.emit(trigger, payload, trace_tag):
                    return
                if trigger == triggers.ALERT:
                    self._sent_at[payload["dispatch_id"]] = self._now()
                    self._record_dispatch(payload)
                else:
                    self._has_reported = True
                queue.popleft()

    def emit(self, trigger: str, payload: Dict[str, Any], trace_tag: Optional[str] = None) -> bool:
        """Send one trigger; return False when the bus is away and it must be tried again."""
        try:
            self._schemas.check(trigger, payload)
        except SchemaError as error:
            self._metrics.dispatch_failed(trigger)
            message = (
                f"{trigger} is not sent, as StackStorm would drop it because of its field "
                f"{error.field}"
            )
            self._log.record("unsendable", message)
            return True
        try:
            self._dispatch(trigger, payload, trace_tag)
        except Exception as error:
            self._metrics.dispatch_failed(trigger)
            self._failed(error)
            return False
        self._failing_since = None
        return True

    def forget(self, dispatch_id: str) -> None:
        """Forget a dispatch whose result StackStorm knows."""
        self._sent_at.pop(dispatch_id, None)

    @property
    def patience(self) -> float:
        """How many seconds the rules engine may take over a trigger, at its present pace."""
        took = self._probe_took
        if self._probe:
            took = max(took, self._now() - self._probe[1])
        return max(executions.STUCK_SECONDS, TIMES_A_PROBE * took)

    def is_lost(self, dispatch_id: str) -> bool:
        """Return whether a dispatch that StackStorm does not know is lost.

        The rules engine may also be behind. The bus keeps the order, so once a probe that was sent
        later has been processed, the dispatch is lost.
        """
        # The time for what an earlier process sent starts with this process.
        sent_at = self._sent_at.get(dispatch_id, self._began_at)
        if self._now() - sent_at <= LOST_SECONDS:
            return False
        if sent_at >= self._seen_at and self._probe is None:
            self._send_probe()
        return sent_at < self._seen_at

    def check(self) -> None:
        """Check, with a probe from time to time, that the bus and the rules engine work.

        Raises BusBroken when the bus is up, but this process can no longer send.
        """
        now = self._now()
        if self._failing_since is not None and now - self._failing_since > BROKEN_SECONDS:
            if self._bus_answers():
                raise BusBroken(
                    f"the bus answers, but dispatching has failed for {BROKEN_SECONDS} s"
                )
        if self._probe:
            probe_id, sent_at = self._probe
            if now < self._probe_due <= now + 1.0:
                return
            self._probe_due = now + 1.0
            self._probe_took = max(0.0, now - sent_at)
            if self._has_arrived(probe_id, sent_at):
                self.state = {"ok": True, "detail": "a probe arrived"}
                self._seen_at, self._probe = sent_at, None
                self._probe_due = now + PROBE_SECONDS
            elif abs(now - sent_at) > PROBE_SECONDS:
                detail = f"a probe sent {int(now - sent_at)} s ago has not passed the rules engine"
                self.state = {"ok": False, "detail": detail}
                self._probe = None
        elif not now < self._probe_due <= now + PROBE_SECONDS:
            self._send_probe()

    def save(self, newest_batch: str) -> None:
        """Store the unsent reports, before ``track`` removes the batches that contain them."""
        batch_id, count, at = self._saved
        # A stale copy only means repeated reports after a crash, so tidying can wait.
        is_stale = count or (self._has_reported and batch_id != newest_batch)
        tidy = is_stale and not at <= self._now() < at + TIDY_SECONDS
        if self._reports or tidy:
            self._has_reported = False
            outbox.save_reports(self._stackstorm, newest_batch, self._reports)
            self._saved = (newest_batch, len(self._reports), self._now())

    def _failed(self, error: Exception) -> None:
        now = self._now()
        if self._failing_since is None:
            self._failing_since = now
        self.state = {"ok": False, "detail": f"dispatch failed: {type(error).__name__}"}
        self._probe_due = now + PROBE_AGAIN_SECONDS
        self._log.record("away", "the message bus is away, trying again", error)

    def _record_dispatch(self, payload: Dict[str, Any]) -> None:
        names = ("request_id", "fingerprint", "alertname", "dispatch_id", "attempt")
        message = f"{payload['alertname']}: attempt {payload['attempt']}"
        self._log.record("dispatched", message, **{name: payload[name] for name in names})

    def _send_probe(self) -> None:
        probe_id = new_uuid7()
        self._probe_due = self._now() + PROBE_AGAIN_SECONDS
        if self.emit(triggers.PROBE, {"probe_id": probe_id}):
            self._probe = (probe_id, self._now())
            self._probe_due = self._now()

    def _has_arrived(self, probe_id: str, sent_at: float) -> bool:
        since = clock.to_text(sent_at - executions.WIDE_MARGIN_SECONDS)
        instances = self._stackstorm.list_trigger_instances(triggers.PROBE, since)
        return any(
            instance["payload"].get("probe_id") == probe_id
            and instance["status"] in executions.DONE
            for instance in instances
        )
