"""The rows of all alerts in the sensor's memory, with the indexes that admission asks for.

It is what the datastore holds plus what is on its way there, so a sensor that starts again loads
it from the rows and the outbox and goes on.
"""

import collections
from dataclasses import dataclass
from sys import intern
from typing import Any, Dict, List, Mapping, Optional, Set, Tuple, cast
from typing import Counter as CounterType

from poundcake import clock
from poundcake.core import lifecycle, limits
from poundcake.core.alert import (
    PENDING,
    UNCOUNTED,
    Attempt,
    Row,
    awaits_approval,
    current_hold,
    open_attempts,
)
from poundcake.core.controls import Controls
from poundcake.core.decisions import WINDOW
from poundcake.core.facts import Fact
from poundcake.errors import UnreadableRow
from poundcake.sensor.metrics import Metrics
from poundcake.settings import Settings
from poundcake.st2 import outbox, rows
from poundcake.st2.client import StackStorm

# The breaker looks at so many of the latest attempts of an alertname. Memory keeps up to twice as
# many, so that it is seldom tidied.
MOST_OUTCOMES = 1000


@dataclass(frozen=True)
class Change:
    """What a fact has made of the row of an alert.

    ``before`` is None for an alert that was not known, and ``after`` itself when the fact is old.
    """

    fact: Fact
    before: Optional[Row]
    after: Row
    breaker_before: limits.Breaker
    breaker_after: limits.Breaker

    @property
    def is_new(self) -> bool:
        """Whether the fact says anything that the row did not."""
        return self.after is not self.before


class Ledger:
    """Alert rows by fingerprint; rows in it are replaced, never changed."""

    def __init__(self, settings: Settings, metrics: Optional[Metrics] = None):
        self._settings = settings
        self._metrics = metrics or Metrics()
        self.alerts: Dict[str, Row] = {}
        self.version = 0  # counts what may let a held alert go
        self._open: Dict[str, str] = {}  # dispatch_id -> fingerprint
        self._awaiting: Set[str] = set()  # those that only wait for a person's answer
        self._places: Dict[str, Optional[str]] = {}  # dispatch_id -> limits.place of its alert
        self._held: Dict[str, Tuple[str, str]] = {}  # fingerprint -> (state, cause) of the hold
        self._held_counts: CounterType[Tuple[str, str]] = collections.Counter()
        # Unix times of dispatches, by dispatch_id.
        self._times: Dict[limits.RateKey, Dict[str, float]] = {}
        self._outcomes: Dict[str, Dict[str, Attempt]] = {}  # alertname -> {dispatch_id: attempt}
        self._breakers: Dict[str, limits.Breaker] = {}  # alertname -> Breaker
        self._heartbeats: Set[str] = set()  # fingerprints

    def load(
        self,
        stackstorm: StackStorm,
        untracked: Mapping[str, Row],
        unreadable: rows.OnUnreadable,
    ) -> None:
        """Fill the ledger with the alert rows, overtaken by those that are not tracked yet.

        :param untracked: rows by fingerprint, from the outbox.
        :param unreadable: called with the UnreadableRow of each row that cannot be used.
        """
        # What is unreadable is removed from where it stood, so not while the keys are listed.
        errors: List[UnreadableRow] = []
        stored = {
            row["fingerprint"]: shared(row)
            for row in rows.each(stackstorm, rows.ALERT, errors.append)
        }
        for fingerprint, row in untracked.items():
            if fingerprint not in stored or row["rev"] >= stored[fingerprint]["rev"]:
                stored[fingerprint] = shared(row)
        for fingerprint, row in stored.items():
            try:
                self._put(row)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self.remove(fingerprint)
                key = rows.key(rows.ALERT, fingerprint)
                errors.append(UnreadableRow(key, type(error).__name__, rows.dump(row)))
        for unreadable_row in errors:
            unreadable(unreadable_row)
        for name in self._outcomes:
            self._breaker_of(name)

    def adopt(self, row: Row) -> None:
        """Add the row of an alert that was set aside, unless the alert has come again since."""
        if row["fingerprint"] not in self.alerts:
            self._put(cast(Row, shared(row)))

    def remove(self, fingerprint: str) -> None:
        """Forget an alert whose row cannot be used."""
        self.alerts.pop(fingerprint, None)
        self._open = {name: other for name, other in self._open.items() if other != fingerprint}
        self._awaiting &= set(self._open)
        self._places = {name: place for name, place in self._places.items() if name in self._open}
        self._hold(fingerprint, None)
        self.version += 1

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
    def holds_any(self) -> bool:
        """Whether the next attempt of any alert is held back."""
        return bool(self._held)

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

    def apply(self, fact: Fact) -> Change:
        """Add one lifecycle fact; return what it has changed."""
        before = self.alerts.get(fact.fingerprint)
        after = lifecycle.apply(before, fact)
        breaker = self._breaker_of(after["alertname"])
        if after is not before:
            after = cast(Row, shared(after))
            self._put(after)
        return Change(fact, before, after, breaker, self._breaker_of(after["alertname"]))

    def forget(self, now: float) -> List[str]:
        """Drop what the datastore drops by its TTL as well, old alerts; return them."""
        forgotten: List[str] = []
        for fingerprint, row in list(self.alerts.items()):
            keep = outbox.time_to_live("alerts", row, self._settings)
            seen = max(filter(None, (row["last_seen_at"], row["state_since"])), default=None)
            idle = seen is None or now - clock.to_seconds(seen) > keep
            if idle and fingerprint not in self._held and not open_attempts(row):
                del self.alerts[fingerprint]
                forgotten.append(fingerprint)
        longest = self._settings.admission.longest_rate
        for key, times in list(self._times.items()):
            self._times[key] = {name: at for name, at in times.items() if at > now - longest}
            if not self._times[key]:
                del self._times[key]
        return forgotten

    def _put(self, row: Row) -> None:
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
