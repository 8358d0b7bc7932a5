"""The way out: sends triggers, remembers what is not sent yet, and knows whether the bus works.

A dispatch goes out at once; what only tells of one (``poundcake.lifecycle``, ``alert_resolved``)
goes out as the bus has room. Nothing is lost with the process: dispatches are in the rows, reports
in the outbox.
"""

import collections

from poundcake import clock
from poundcake.ids import new_uuid7
from poundcake.sensor.log import EventLog
from poundcake.sensor.metrics import Metrics
from poundcake.st2 import executions, outbox, triggers

# What only tells of dispatches is a trigger as well, which StackStorm must take through its rules:
# while remediations run, 20 a second are more than it makes of them.
REPORTS_AT_ONCE = 50
REPORTS_AT_ONCE_BUSY = 2
PROBE_SECONDS = 60
PROBE_AGAIN_SECONDS = 5
LOST_SECONDS = 15
TIDY_SECONDS = 10
# StackStorm's publisher never recovers by itself when the message bus was away.
BROKEN_SECONDS = 15


class BusBroken(Exception):
    """The bus is there and this process cannot send any more; only a new process can."""


class Publisher:
    """Sends triggers.

    :param stackstorm: stackstorm.StackStorm.
    :param dispatch: callable ``(trigger, payload, trace_tag)`` that puts a trigger on the bus and
        raises when it could not.
    :param answers: callable that says whether the message bus itself can be reached, by a
        connection of its own.
    :param schemas: triggers.Schemas.
    :param log: a logger.
    :param now: the clock.
    :param metrics: metrics.Metrics.
    """

    def __init__(self, stackstorm, dispatch, answers, schemas, log, now, metrics=None):
        self._stackstorm = stackstorm
        self._dispatch = dispatch
        self._answers = answers
        self._schemas = schemas
        self._log = EventLog(log)
        self._now = now
        self._metrics = metrics or Metrics()
        self._dispatches = collections.deque()
        self._reports = collections.deque()
        self._sent_at = {}  # dispatch_id -> when this process sent it last; endless when it did not
        self._began_at = now()
        self._probe = None  # (probe_id, sent_at) under way
        self._probe_due = 0.0
        self._seen_at = 0.0  # when the latest probe that has come through was sent
        self._failing_since = None
        self._saved = ("", 0, 0.0)  # newest batch, how many unsent, when: as saved last
        self.state = {"ok": True, "detail": "nothing sent yet"}

    @property
    def has_reports(self):
        return bool(self._reports)

    def load(self, reports):
        """Begin with the reports that an earlier process may not have sent."""
        self._reports.extend(reports)
        self._began_at = self._now()

    def add_dispatch(self, row, attempt):
        """Have a dispatch sent with the next ``send``. Raises ValueError when it never can be."""
        payload = triggers.alert_payload(row, attempt)
        self._schemas.check(triggers.ALERT, payload)
        self._sent_at[attempt["dispatch_id"]] = float("inf")
        self._dispatches.append((triggers.ALERT, payload, attempt["request_id"]))

    def add_reports(self, reports):
        """Have reports sent, ``(trigger, payload, trace_tag)``, as the bus has room."""
        self._reports.extend(reports)

    def send(self, busy):
        """Send what waits; reports go slowly while remediations run (``busy``)."""
        most = REPORTS_AT_ONCE_BUSY if busy else REPORTS_AT_ONCE
        for queue, count in ((self._dispatches, len(self._dispatches)), (self._reports, most)):
            for _ in range(min(count, len(queue))):
                trigger, payload, trace_tag = queue[0]
                if not self.emit(trigger, payload, trace_tag):
                    return
                if trigger == triggers.ALERT:
                    self._sent_at[payload["dispatch_id"]] = self._now()
                    self._tell_dispatched(payload)
                queue.popleft()

    def emit(self, trigger, payload, trace_tag=None):
        """Send one trigger; False when the bus is away and it must be tried again."""
        try:
            self._schemas.check(trigger, payload)
        except ValueError as error:
            self._metrics.dispatch_failed(trigger)
            text = "%s is not sent, as StackStorm would drop it: its field %s"
            self._log.record("unsendable", text % (trigger, error.field))
            return True
        try:
            self._dispatch(trigger, payload, trace_tag)
        except Exception as error:
            self._metrics.dispatch_failed(trigger)
            self._failed(error)
            return False
        self._failing_since = None
        return True

    def forget(self, dispatch_id):
        """Forget a dispatch of which StackStorm knows what became."""
        self._sent_at.pop(dispatch_id, None)

    def is_lost(self, dispatch_id):
        """True when a dispatch of which StackStorm knows nothing never will be known.

        No trace of it may also mean that the rules engine is behind. The bus keeps the order, so a
        probe that was sent later and was processed says that the dispatch got lost.
        """
        # What an earlier process sent counts from the start of this one.
        sent_at = self._sent_at.get(dispatch_id, self._began_at)
        if self._now() - sent_at <= LOST_SECONDS:
            return False
        if sent_at >= self._seen_at and self._probe is None:
            self._send_probe()
        return sent_at < self._seen_at

    def check(self):
        """See that there is recent proof that the bus and the rules engine work.

        Raises BusBroken when the bus is there and this process cannot send any more.
        """
        now = self._now()
        if self._failing_since is not None and now - self._failing_since > BROKEN_SECONDS:
            if self._answers():
                raise BusBroken("the bus answers, and dispatching fails for %d s" % BROKEN_SECONDS)
        if self._probe:
            probe_id, sent_at = self._probe
            if now < self._probe_due <= now + 1.0:
                return
            self._probe_due = now + 1.0
            if self._has_arrived(probe_id, sent_at):
                self.state = {"ok": True, "detail": "a probe came through"}
                self._seen_at, self._probe = sent_at, None
                self._probe_due = now + PROBE_SECONDS
            elif abs(now - sent_at) > PROBE_SECONDS:
                text = "a probe sent %d s ago has not come through the rules engine"
                self.state = {"ok": False, "detail": text % (now - sent_at)}
                self._probe = None
        elif not now < self._probe_due <= now + PROBE_SECONDS:
            self._send_probe()

    def save(self, newest_batch):
        """Write down what is not sent yet, before ``track`` removes the batches that tell it."""
        batch_id, count, at = self._saved
        # What is saved too much is only told twice after a crash, so that may wait.
        tidy = (count or batch_id != newest_batch) and not at <= self._now() < at + TIDY_SECONDS
        if self._reports or tidy:
            outbox.save_reports(self._stackstorm, newest_batch, self._reports)
            self._saved = (newest_batch, len(self._reports), self._now())

    def _failed(self, error):
        now = self._now()
        if self._failing_since is None:
            self._failing_since = now
        self.state = {"ok": False, "detail": "dispatch failed: %s" % type(error).__name__}
        self._probe_due = now + PROBE_AGAIN_SECONDS
        self._log.record("away", "the message bus is away, trying again", error)

    def _tell_dispatched(self, payload):
        names = ("request_id", "fingerprint", "alertname", "dispatch_id", "attempt")
        text = "%s: attempt %d" % (payload["alertname"], payload["attempt"])
        self._log.record("dispatched", text, **{name: payload[name] for name in names})

    def _send_probe(self):
        probe_id = new_uuid7()
        self._probe_due = self._now() + PROBE_AGAIN_SECONDS
        if self.emit(triggers.PROBE, {"probe_id": probe_id}):
            self._probe = (probe_id, self._now())
            self._probe_due = self._now()

    def _has_arrived(self, probe_id, sent_at):
        since = clock.to_text(sent_at - executions.WIDE_MARGIN_SECONDS)
        found = self._stackstorm.list_trigger_instances(triggers.PROBE, since)
        return any(
            instance["payload"].get("probe_id") == probe_id
            and instance["status"] in executions.DONE
            for instance in found
        )
