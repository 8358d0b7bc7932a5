"""Records facts: the ledger stores them, and open requests follow.

It keeps what is to be written and told of them until the controller takes it.
"""

from typing import Any, Dict, Iterable, List, Optional, Tuple

from poundcake.core import heartbeat, lifecycle
from poundcake.core.alert import Row
from poundcake.core.attention import Attention
from poundcake.core.facts import Executed, Fact, Ineffective
from poundcake.core.history import transitions
from poundcake.sensor.ledger import Change, Ledger
from poundcake.sensor.metrics import Metrics
from poundcake.sensor.open_requests import OpenRequests
from poundcake.settings import Settings
from poundcake.st2 import outbox, rows, triggers
from poundcake.st2.client import StackStorm
from poundcake.st2.outbox import Report

ChangedRows = Dict[str, Dict[str, Any]]  # kind of row -> name -> row


class Recorder:
    """The sensor's memory: what is known, and what of it is not written or told yet."""

    def __init__(self, settings: Settings, metrics: Metrics):
        self._metrics = metrics
        self.ledger = Ledger(settings, metrics)
        self.requests = OpenRequests(settings, self.ledger, self._write_request)
        self.attention = Attention(settings.notify)
        self._changed: ChangedRows = {kind: {} for kind in rows.KINDS}
        self._reports: List[Report] = []

    def load(
        self,
        stackstorm: StackStorm,
        batches: Iterable[outbox.Batch],
        unreadable: rows.OnUnreadable,
        now: float,
    ) -> None:
        """Fill the memory from the rows and the outbox.

        :param batches: the result of ``outbox.waiting``.
        :param unreadable: called with the UnreadableRow of each row that cannot be used.
        :param now: Unix time.
        """
        untracked = outbox.merge(batches)
        self.ledger.load(stackstorm, untracked["alerts"], unreadable)
        self.requests.load(stackstorm, untracked["requests"], unreadable)
        self.attention.load(self.ledger.alerts.values(), now)

    def apply(self, fact: Fact) -> Row:
        """Record a fact about an alert; return the alert's row with it."""
        change = self.ledger.apply(fact)
        if change.is_new:
            self._note(change)
            self.requests.follow(change.after, fact.at)
        return change.after

    def report(self, trigger: str, payload: Dict[str, Any], trace_tag: Optional[str]) -> None:
        """Add a trigger that is to be sent when all that is recorded has been written."""
        self._reports.append((trigger, payload, trace_tag))

    def take_changed(self) -> Tuple[ChangedRows, List[Report]]:
        """Return the changed rows and the reports of them, and begin new collections."""
        taken = self._changed, self._reports
        self._changed, self._reports = {kind: {} for kind in rows.KINDS}, []
        return taken

    def put_back(self, changed: ChangedRows, reports: List[Report]) -> None:
        """Give back what could not be written; what changed since then is newer."""
        for kind, by_name in changed.items():
            for name, row in by_name.items():
                self._changed[kind].setdefault(name, row)
        self._reports = reports + self._reports

    def forget(self, now: float) -> None:
        """Drop the alerts that the datastore has dropped."""
        for fingerprint in self.ledger.forget(now):
            self.requests.recent.forget(fingerprint)

    def forget_requests(self) -> None:
        """Drop the complete requests when everything is tracked."""
        self.requests.forget_complete(unwritten=self._changed["requests"])

    def remove(self, fingerprint: str) -> None:
        """Forget an alert whose row cannot be used."""
        self.ledger.remove(fingerprint)
        self.requests.recent.forget(fingerprint)

    def _note(self, change: Change) -> None:
        """Keep what is to be written and told of a change."""
        fact, before, after = change.fact, change.before, change.after
        self._changed["alerts"][after["fingerprint"]] = after
        for came_from, went_to, entry in transitions(before, after):
            # No trace tag: StackStorm opens a trace of its own for each trigger that arrives at
            # the same moment, and the trace of the remediation would be hard to find among them.
            self._tell(triggers.lifecycle_payload(after, came_from, went_to, entry))
        if change.breaker_after.opened_at != change.breaker_before.opened_at:
            breakers = (change.breaker_before, change.breaker_after)
            self._tell(triggers.breaker_payload(after, *breakers, fact.at))
        is_missing = heartbeat.is_missing(after)
        if heartbeat.is_missing(before) != is_missing:
            self._tell(triggers.heartbeat_payload(after, is_missing, fact.at))
        self.attention.note(before, after, fact.at)
        if isinstance(fact, Executed):
            execution = lifecycle.execution_row(after, fact.dispatch_id, fact.execution)
            self._changed["executions"][execution["execution_id"]] = execution
            self._metrics.executed(execution)
        elif isinstance(fact, Ineffective):
            self._metrics.was_ineffective()

    def _tell(self, payload: triggers.Payload) -> None:
        self.report(triggers.LIFECYCLE, payload, None)

    def _write_request(self, row: Dict[str, Any]) -> None:
        self._changed["requests"][row["request_id"]] = row
