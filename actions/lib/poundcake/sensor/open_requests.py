"""The requests whose alerts are not all at their end, and what each of them still waits for."""

import collections
import heapq
from typing import Any, Callable, Dict, Iterable, List, Mapping, Set
from typing import Counter as CounterType

from poundcake.core import admission
from poundcake.core.alert import Row, next_attempt_number, request_ids_of
from poundcake.core.facts import Held
from poundcake.core.requests import waiting_entries, with_outcomes
from poundcake.sensor.ledger import Ledger
from poundcake.sensor.recent import MOST_READ, Recent
from poundcake.settings import Settings
from poundcake.st2 import rows
from poundcake.st2.client import StackStorm

Request = Dict[str, Any]

# An open request is written again when so much of it has changed: its row names all of its alerts,
# and one for each outcome would cost the square of their number.
WRITTEN_IN_PARTS = 10


class OpenRequests:
    """Request rows by id; a complete one stays until its row is written.

    :param write: called with each row that is to be written.
    """

    def __init__(self, settings: Settings, ledger: Ledger, write: Callable[[Request], None]):
        self._settings = settings
        self._ledger = ledger
        self._write = write
        self.rows: Dict[str, Request] = {}
        self.recent = Recent()
        # What a request waits for: request_id -> fingerprint -> places in its alerts.
        self._waiting: Dict[str, Dict[str, List[int]]] = {}
        self._unwritten: CounterType[str] = collections.Counter()  # request_id -> its changes

    def load(
        self,
        stackstorm: StackStorm,
        untracked: Mapping[str, Request],
        unreadable: rows.OnUnreadable,
    ) -> None:
        """Read the requests that the ledger's alerts may still change, and the latest ones.

        :param untracked: rows by id, from the outbox.
        """
        self.rows.update(untracked)
        for request_id in self._ids_that_wait():
            if request_id not in self.rows:
                row = rows.read(stackstorm, rows.REQUEST, request_id, unreadable)
                if row:
                    self.rows[request_id] = row
        self._catch_up()
        known = {name for row in self._ledger.alerts.values() for name in row["request_ids"]}
        for request_id in sorted(heapq.nlargest(MOST_READ, known)):
            row = self.rows.get(request_id)
            row = row or rows.read(stackstorm, rows.REQUEST, request_id, unreadable)
            if row:
                self.recent.add(row, self._ledger.alerts)

    def add(self, row: Request) -> None:
        """Add the row of a request whose alerts are all decided."""
        row = dict(row, rev=1)
        self.recent.add(row, self._ledger.alerts)
        waiting = self._waiting[row["request_id"]] = waiting_entries(row)
        self._put(row, row["received_at"])
        for fingerprint in list(waiting):
            if fingerprint in self._ledger.alerts:
                self.follow(self._ledger.alerts[fingerprint], row["received_at"])

    def follow(self, row: Row, at: str) -> None:
        """Write the outcomes of an alert into the requests that brought it.

        :param at: when the alert has changed, RFC 3339.
        """
        for request_id in {entry["request_id"] for entry in row["history"]}:
            request = self.rows.get(request_id or "")
            if request and not request["completed_at"]:
                self._set_outcomes(request, row, at)

    def forget_complete(self, unwritten: Iterable[str]) -> None:
        """Drop the complete requests: their rows answer from now on.

        :param unwritten: the ids of those whose rows are not written yet.
        """
        for request_id, row in list(self.rows.items()):
            if row["completed_at"] and request_id not in unwritten:
                del self.rows[request_id]
                self._waiting.pop(request_id, None)
                self._unwritten.pop(request_id, None)

    def _put(self, row: Request, at: str) -> None:
        """Put a new or changed row in, complete when nothing of it waits any longer."""
        request_id = row["request_id"]
        if not self._waiting[request_id]:
            row = dict(row, completed_at=at)
        self.rows[request_id] = row
        self.recent.update(row)
        self._unwritten[request_id] += 1
        many = self._unwritten[request_id] * WRITTEN_IN_PARTS >= len(row["alerts"])
        if row["rev"] == 1 or row["completed_at"] or many:
            self._write(row)
            self._unwritten[request_id] = 0

    def _ids_that_wait(self) -> Set[str]:
        waiting = [
            (row, attempt["episode"], attempt["attempt"])
            for row, attempt in self._ledger.open_dispatches()
        ]
        waiting += [(row, row["episode"], next_attempt_number(row)) for row in self._ledger.held]
        ids = set().union(*(request_ids_of(*item) for item in waiting))
        return {request_id for request_id in ids if request_id}

    def _set_outcomes(self, request: Request, row: Row, at: str) -> None:
        waiting = self._waiting[request["request_id"]]
        places = waiting.get(row["fingerprint"])
        if not places:
            return
        changed = with_outcomes(request, row, self._retries(row, at), places)
        if changed is not request:
            left = [place for place in places if not changed["alerts"][place]["outcome"]]
            waiting[row["fingerprint"]] = left
            if not left:
                del waiting[row["fingerprint"]]
            self._put(dict(changed, rev=request["rev"] + 1), at)

    def _catch_up(self) -> None:
        """Write the outcomes into the open requests that their stored rows do not have yet."""
        for request_id, request in list(self.rows.items()):
            self._waiting[request_id] = waiting_entries(request)
            for fingerprint in list(self._waiting[request_id]):
                row = self._ledger.alerts.get(fingerprint)
                if row:
                    self._set_outcomes(self.rows[request_id], row, row["state_since"] or "")

    def _retries(self, row: Row, at: str) -> bool:
        return isinstance(admission.after_attempt(row, self._settings, at), Held)
