"""The sensor's memory: rows of alerts and requests, and what of them is not written yet.

It is what the datastore holds plus what is on its way there, so a sensor that starts again loads
it from the rows and the outbox and goes on.
"""

import collections
import heapq
from sys import intern
from typing import Any, Dict, Iterable, List, Optional, Set, Tuple, cast
from typing import Counter as CounterType

from poundcake import clock
from poundcake.core import admission, heartbeat, lifecycle, limits
from poundcake.core.alert import (
    PENDING,
    UNCOUNTED,
    Attempt,
    Row,
    awaits_approval,
    current_hold,
    next_attempt_number,
    open_attempts,
    request_ids_of,
)
from poundcake.core.attention import Attention
from poundcake.core.controls import Controls
from poundcake.core.decisions import WINDOW
from poundcake.core.facts import Executed, Fact, Held, Ineffective
from poundcake.core.history import transitions
from poundcake.core.requests import waiting_entries, with_outcomes
from poundcake.errors import UnreadableRow
from poundcake.sensor.metrics import Metrics
from poundcake.sensor.recent import MOST_READ, Recent
from poundcake.settings import Settings
from poundcake.st2 import outbox, rows, triggers
from poundcake.st2.client import StackStorm

Report = Tuple[str, Dict[str, Any], Optional[str]]  # trigger, payload, trace tag
Changed = Dict[str, Dict[str, Any]]  # kind of row -> name -> row

# The breaker looks at so many of the latest attempts of an alertname. Memory keeps up to twice as
# many, so that it is seldom tidied.
MOST_OUTCOMES = 1000
# An open request is written again when so much of it has changed: its row names all of its alerts,
# and one for each outcome would cost the square of their number.
WRITTEN_IN_PARTS = 10


class Ledger:
    """Alert rows by fingerprint and request rows by id; rows in it are replaced, never changed."""

    def __init__(self, settings: Settings, metrics: Optional[Metrics] = None):
        self._settings = settings
        self._metrics = metrics or Metrics()
        self.alerts: Dict[str, Row] = {}
        self.requests: Dict[str, Dict[str, Any]] = {}
        self.changed: Changed = {kind: {} for kind in rows.KINDS}
        self.reports: List[Report] = []  # triggers about the changes
        self.recent = Recent()
        self.attention = Attention(settings.notify)
        self.version = 0  # counts what may let a held alert go
        self._open: Dict[str, str] = {}  # dispatch_id -> fingerprint
        self._awaiting: Set[str] = set()  # those that only wait for a person's answer
        self._places: Dict[str, Optional[str]] = {}  # dispatch_id -> limits.place of its alert
        self._held: Dict[str, Tuple[str, str]] = {}  # fingerprint -> (state, cause) of the hold
        self._held_counts: CounterType[Tuple[str, str]] = collections.Counter()
        # What open requests wait for: request_id -> fingerprint -> places in its alerts.
        self._waiting: Dict[str, Dict[str, List[int]]] = {}
        self._unwritten: CounterType[str] = collections.Counter()  # request_id -> its changes
        # Unix times of dispatches, by dispatch_id.
        self._times: Dict[limits.RateKey, Dict[str, float]] = {}
        self._outcomes: Dict[str, Dict[str, Attempt]] = {}  # alertname -> {dispatch_id: attempt}
        self._breakers: Dict[str, limits.Breaker] = {}  # alertname -> Breaker
        self._heartbeats: Set[str] = set()  # fingerprints

    def load(
        self,
        stackstorm: StackStorm,
        batches: Iterable[outbox.Batch],
        unreadable: rows.OnUnreadable,
    ) -> None:
        """Fill the ledger: alert rows, overtaken by the outbox, and the requests that are open.

        :param batches: the result of ``outbox.waiting``.
        :param unreadable: called with the UnreadableRow of each row that cannot be used.
        """
        untracked = outbox.merge(batches)
        # What is unreadable is removed from where it stood, so not while the keys are listed.
        errors: List[UnreadableRow] = []
        stored = {
            row["fingerprint"]: shared(row)
            for row in rows.each(stackstorm, rows.ALERT, errors.append)
        }
        for fingerprint, row in untracked["alerts"].items():
            if fingerprint not in stored or row["rev"] >= stored[fingerprint]["rev"]:
                stored[fingerprint] = shared(row)
        for fingerprint, row in stored.items():
            try:
                self._put_alert(row)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self.remove(fingerprint)
                key = rows.key(rows.ALERT, fingerprint)
                errors.append(UnreadableRow(key, type(error).__name__, rows.dump(row)))
        for unreadable_row in errors:
            unreadable(unreadable_row)
        for name in self._outcomes:
            self._breaker_of(name)
        self.requests.update(untracked["requests"])
        for request_id in self._open_request_ids():
            if request_id not in self.requests:
                row = rows.read(stackstorm, rows.REQUEST, request_id, unreadable)
                if row:
                    self.requests[request_id] = row
        self._catch_up()
        self._load_recent(stackstorm, unreadable)

    def adopt(self, row: Row) -> None:
        """Add the row of an alert that was set aside, unless the alert has come again since."""
        if row["fingerprint"] not in self.alerts:
            self._put_alert(cast(Row, shared(row)))

    def remove(self, fingerprint: str) -> None:
        """Forget an alert whose row cannot be used."""
        self.alerts.pop(fingerprint, None)
        self._open = {name: other for name, other in self._open.items() if other != fingerprint}
        self._awaiting &= set(self._open)
        self._places = {name: place for name, place in self._places.items() if name in self._open}
        self._hold(fingerprint, None)
        self.version += 1
        self.recent.forget(fingerprint)

    @property
    def in_flight(self) -> int:
        """How many dispatches have not ended."""
        return len(self._open)

    @property
    def running(self) -> int:
        """How many of them do not only wait for a person's answer."""
        return max(0, len(self._open) - len(self._awaiting))

    @property
    def waiting(self) -> int:
        """How many alerts are pending, whatever they wait for."""
        return sum(n for (state, _), n in self._held_counts.items() if state == PENDING)

    @property
    def held(self) -> List[Row]:
        """The rows of the alerts whose next attempt is held back."""
        return [self.alerts[fingerprint] for fingerprint in self._held]

    @property
    def busy(self) -> Set[str]:
        """The fingerprints that have a dispatch which has not ended."""
        return set(self._open.values())

    @property
    def heartbeats(self) -> List[Row]:
        """The rows of the heartbeats that have come, as far as they are known."""
        known = [self.alerts.get(fingerprint) for fingerprint in list(self._heartbeats)]
        return [row for row in known if row and row.get("heartbeat")]

    def counts(self, now: float) -> Dict[str, Any]:
        """Return how many alerts there are by state and by hold, and what else metrics show.

        It is asked by other threads than the one that decides: it changes nothing, and goes
        through copies that are made in one step.
        """
        breakers = {"open": 0, "half_open": 0}
        for known in list(self._breakers.values()):
            if known.opened_at is not None:
                waits = now < known.opened_at + self._settings.admission.breaker_seconds
                breakers["open" if waits else "half_open"] += 1
        return {
            "states": collections.Counter(row["state"] for row in list(self.alerts.values())),
            "held": +self._held_counts.copy(),
            "in_flight": self.running,
            "breakers": breakers,
        }

    def open_dispatches(self) -> List[Tuple[Row, Attempt]]:
        """Return ``(row, attempt)`` of every dispatch that has not ended."""
        busy = [self.alerts[fingerprint] for fingerprint in self.busy]
        return [(row, attempt) for row in busy for attempt in open_attempts(row)]

    def open_dispatch(self, dispatch_id: str) -> Optional[Tuple[Row, Attempt]]:
        """Return ``(row, attempt)`` of one dispatch, None when it has ended."""
        row = self.alerts.get(self._open.get(dispatch_id, ""))
        if row is not None:
            for attempt in open_attempts(row):
                if attempt["dispatch_id"] == dispatch_id:
                    return row, attempt
        return None

    def standing(self, now: float, controls: Optional[Controls]) -> limits.Standing:
        """Return what admission may know of everything else, as a limits.Standing.

        It is asked for each alert, so it goes through nothing that grows with their number.
        """
        return limits.Standing(
            now=now,
            in_flight=len(self._open) - len(self._awaiting),
            busy=set(self._places.values()),
            waiting=self._held_counts[PENDING, WINDOW],
            times_of=lambda key: list(self._times.get(key, {}).values()),
            breaker_of=self._breaker_of,
            controls=controls,
        )

    def apply(self, fact: Fact) -> Row:
        """Add one lifecycle fact; return the row with it."""
        before = self.alerts.get(fact.fingerprint)
        after = lifecycle.apply(before, fact)
        if after is before:
            return after
        after = cast(Row, shared(after))
        breaker = self._breaker_of(after["alertname"])
        self._put_alert(after)
        self.changed["alerts"][after["fingerprint"]] = after
        for came_from, went_to, entry in transitions(before, after):
            # No trace tag: StackStorm opens a trace of its own for each trigger that arrives at
            # the same moment, and the trace of the remediation would be hard to find among them.
            report = triggers.lifecycle_payload(after, came_from, went_to, entry)
            self.reports.append((triggers.LIFECYCLE, report, None))
        self.attention.note(before, after, fact.at)
        changed = self._breaker_of(after["alertname"])
        if changed.opened_at != breaker.opened_at:
            report = triggers.breaker_payload(after, breaker, changed, fact.at)
            self.reports.append((triggers.LIFECYCLE, report, None))
        if heartbeat.is_missing(before) != heartbeat.is_missing(after):
            report = triggers.heartbeat_payload(after, heartbeat.is_missing(after), fact.at)
            self.reports.append((triggers.LIFECYCLE, report, None))
        if isinstance(fact, Executed):
            execution = lifecycle.execution_row(after, fact.dispatch_id, fact.execution)
            self.changed["executions"][execution["execution_id"]] = execution
            self._metrics.executed(execution)
        elif isinstance(fact, Ineffective):
            self._metrics.was_ineffective()
        self._complete_requests(after, fact.at)
        return after

    def add_request(self, row: Dict[str, Any]) -> None:
        """Add the row of a request whose alerts are all decided."""
        row = dict(row, rev=1)
        self.recent.add(row, self.alerts)
        waiting = self._waiting[row["request_id"]] = waiting_entries(row)
        self._put_request(row, row["received_at"])
        for fingerprint in list(waiting):
            if fingerprint in self.alerts:
                self._complete_requests(self.alerts[fingerprint], row["received_at"])

    def take_changed(self) -> Tuple[Changed, List[Report]]:
        """Return the changed rows and the reports of them, and begin new collections."""
        taken = self.changed, self.reports
        self.changed, self.reports = {kind: {} for kind in rows.KINDS}, []
        return taken

    def put_back(self, changed: Changed, reports: List[Report]) -> None:
        """Give back what could not be written; what changed since then is newer."""
        for kind, by_name in changed.items():
            for name, row in by_name.items():
                self.changed[kind].setdefault(name, row)
        self.reports = reports + self.reports

    def forget(self, now: float) -> None:
        """Drop what the datastore drops by its TTL as well: old alerts."""
        for fingerprint, row in list(self.alerts.items()):
            keep = outbox.time_to_live("alerts", row, self._settings)
            seen = max(filter(None, (row["last_seen_at"], row["state_since"])), default=None)
            idle = seen is None or now - clock.to_seconds(seen) > keep
            if idle and fingerprint not in self._held and not open_attempts(row):
                del self.alerts[fingerprint]
                self.recent.forget(fingerprint)
        longest = self._settings.admission.longest_rate
        for key, times in list(self._times.items()):
            self._times[key] = {name: at for name, at in times.items() if at > now - longest}
            if not self._times[key]:
                del self._times[key]

    def forget_requests(self) -> None:
        """Drop the complete requests when everything is tracked: their rows answer from now on."""
        for request_id, row in list(self.requests.items()):
            if row["completed_at"] and request_id not in self.changed["requests"]:
                del self.requests[request_id]
                self._waiting.pop(request_id, None)
                self._unwritten.pop(request_id, None)

    def _put_alert(self, row: Row) -> None:
        fingerprint = row["fingerprint"]
        for attempt in row["attempts"]:
            if attempt["dispatched_at"]:
                self._note_attempt(row, attempt, attempt["dispatched_at"])
        hold = current_hold(row)
        held = hold and (hold["state"], hold["cause"])
        if held != self._held.get(fingerprint):
            self.version += 1
            self._hold(fingerprint, held)
        self.alerts[fingerprint] = row
        if self._settings.admission.is_heartbeat(row["alertname"]):
            self._heartbeats.add(fingerprint)

    def _hold(self, fingerprint: str, held: Optional[Tuple[str, str]]) -> None:
        known = self._held.pop(fingerprint, None)
        if known:
            self._held_counts[known] -= 1
        if held:
            self._held[fingerprint] = held
            self._held_counts[held] += 1

    def _note_attempt(self, row: Row, attempt: Attempt, dispatched_at: str) -> None:
        identity, name = attempt["dispatch_id"], row["alertname"]
        if attempt["outcome"]:
            if self._open.pop(identity, None):
                self._places.pop(identity, None)
                self.version += 1
                self._metrics.attempt_ended(attempt)
        elif identity not in self._open:
            self._open[identity] = row["fingerprint"]
            self._places[identity] = limits.place(row, self._settings)
            self.version += 1
        if awaits_approval(attempt) != (identity in self._awaiting):
            self._awaiting ^= {identity}
            self.version += 1
        for key in limits.rate_keys(row).values():
            times = self._times.setdefault(key, {})
            times[identity] = clock.to_seconds(dispatched_at)
            if attempt["outcome"] in UNCOUNTED:
                del times[identity]
        outcomes = self._outcomes.setdefault(name, {})
        known = outcomes.get(identity)
        if known is None or known["outcome"] != attempt["outcome"]:
            outcomes[identity] = attempt
            # One that has just begun says nothing, unless it is the trial of an open breaker.
            if attempt["outcome"] or self._breaker_of(name).opened_at is not None:
                self._breakers.pop(name, None)
        if len(outcomes) > 2 * MOST_OUTCOMES:
            latest = sorted(outcomes.values(), key=lambda a: a["ended_at"] or "~")[-MOST_OUTCOMES:]
            self._outcomes[name] = {a["dispatch_id"]: a for a in latest}

    def open_breakers(self) -> Dict[str, limits.Breaker]:
        """Return ``{alertname: Breaker}`` of those that are open; any thread may ask."""
        known = self._breakers.copy().items()
        return {name: breaker for name, breaker in known if breaker.opened_at is not None}

    def _breaker_of(self, alertname: str) -> limits.Breaker:
        if alertname not in self._breakers:
            outcomes = self._outcomes.get(alertname, {}).values()
            self._breakers[alertname] = limits.breaker(outcomes, self._settings)
        return self._breakers[alertname]

    def _put_request(self, row: Dict[str, Any], at: str) -> None:
        """Put a new or changed row in, complete when nothing of it waits any longer."""
        request_id = row["request_id"]
        if not self._waiting[request_id]:
            row = dict(row, completed_at=at)
        self.requests[request_id] = row
        self.recent.update(row)
        self._unwritten[request_id] += 1
        many = self._unwritten[request_id] * WRITTEN_IN_PARTS >= len(row["alerts"])
        if row["rev"] == 1 or row["completed_at"] or many:
            self.changed["requests"][request_id] = row
            self._unwritten[request_id] = 0

    def _load_recent(self, stackstorm: StackStorm, unreadable: rows.OnUnreadable) -> None:
        known = {request_id for row in self.alerts.values() for request_id in row["request_ids"]}
        for request_id in sorted(heapq.nlargest(MOST_READ, known)):
            row = self.requests.get(request_id)
            row = row or rows.read(stackstorm, rows.REQUEST, request_id, unreadable)
            if row:
                self.recent.add(row, self.alerts)

    def _open_request_ids(self) -> Set[str]:
        waiting = [
            (row, attempt["episode"], attempt["attempt"]) for row, attempt in self.open_dispatches()
        ]
        waiting += [(row, row["episode"], next_attempt_number(row)) for row in self.held]
        ids = set().union(*(request_ids_of(*item) for item in waiting))
        return {request_id for request_id in ids if request_id}

    def _complete_requests(self, row: Row, at: str) -> None:
        """Write outcomes of an alert into the requests that brought it."""
        for request_id in {entry["request_id"] for entry in row["history"]}:
            request = self.requests.get(request_id or "")
            if request and not request["completed_at"]:
                self._set_outcomes(request, row, at)

    def _set_outcomes(self, request: Dict[str, Any], row: Row, at: str) -> None:
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
            self._put_request(dict(changed, rev=request["rev"] + 1), at)

    def _catch_up(self) -> None:
        """Write the outcomes into the open requests that their stored rows do not have yet."""
        for request_id, request in list(self.requests.items()):
            self._waiting[request_id] = waiting_entries(request)
            for fingerprint in list(self._waiting[request_id]):
                row = self.alerts.get(fingerprint)
                if row:
                    self._set_outcomes(self.requests[request_id], row, row["state_since"] or "")

    def _retries(self, row: Row, at: str) -> bool:
        return isinstance(admission.after_attempt(row, self._settings, at), Held)


def shared(value: Any) -> Any:
    """Return an equal JSON value in which equal strings, keys included, are one object.

    Interning does not leak: a string leaves memory with the last value that contains it.
    """
    # Strings are interned inline: a call for each would take twice as long.
    kind = type(value)
    if kind is str:
        return intern(value)
    if kind is dict:
        return {
            intern(name): intern(item) if type(item) is str else shared(item)
            for name, item in value.items()
        }
    if kind is list:
        return [intern(item) if type(item) is str else shared(item) for item in value]
    return value
