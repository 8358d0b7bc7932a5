"""The metrics at ``GET /metrics``: events are counted as they happen, states read at each scrape.

A state (alerts, holds, the inbox, breakers, lag, heartbeat) is read from the sensor's memory only.
A scrape makes no call to StackStorm, so it neither waits for a part that is down nor fails with it.
The memory is loaded from the datastore, so states survive a restart.

An event (notification, decision, attempt, execution, error, call) is counted in this process, and
every counter starts at 0 with it. ``rate()`` and ``increase()`` expect this: they take a drop for a
restart and continue from there. Saved counts would be worse. After a kill they would return a
little lower than before, and Prometheus, taking that for a restart, would count all of them again.
Rows cannot be the source, because they expire. A kill loses what was counted since the last scrape,
but each alert's result is in its row, and ``poundcake_alerts`` shows it. Every series whose labels
are known in advance exists as 0 from the start, and an execution as soon as it runs, so that its
first event counts. ``process_start_time_seconds`` shows restarts.

Every label has a bounded set of values: words of this code, status codes, and two that come from
outside: alertname (with severity) and action. The first ``SERIES`` combinations of these get their
own series, all others are "other", until the next restart. No label has a fingerprint or host.
"""

import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Set, Tuple, cast

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily

from poundcake.core import payload
from poundcake.core.alert import ENDED_STATUSES, OUTCOMES, STATES
from poundcake.core.decisions import CAUSES, HOLD_CAUSES, Decision
from poundcake.st2 import triggers
from poundcake.st2.client import StackStorm

SERIES = 200
LONGEST_LABEL = 128
OTHER = "other"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_ACKNOWLEDGED_IN = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)  # seconds
_REMEDIATED_IN = (1, 5, 10, 30, 60, 120, 300, 600, 1800)
_CALLED_IN = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30)
_CODES = {
    "listener": ("202", "400", "401", "404", "405", "413", "503"),
    "st2_webhook": ("202",),
}
_TRIGGERS = (
    triggers.ALERT,
    triggers.ALERT_RESOLVED,
    triggers.TRACKING,
    triggers.LIFECYCLE,
    triggers.PROBE,
)
_OPERATIONS = {"get_key": "get", "set_key": "set", "delete_key": "delete", "list_keys": "list"}
_NAMED_FIRST = f"The first {SERIES} combinations have their own series, all others are other."


class Metrics:
    """The metrics of one sensor, in their own registry.

    Code that gets no Metrics makes one that is never read, so counting needs no conditions.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.datastore_answers = True
        self._alerts_named = _FirstCombinations()
        self._actions_named = _FirstCombinations()
        self._define_notifications()
        self._define_attempts()
        self._define_calls()
        self._start_at_zero()

    def _define_notifications(self) -> None:
        self._notifications = self._counter(
            "notifications",
            "Notifications, by source and HTTP status code of the answer: everything posted to the "
            "listener, and what StackStorm's own webhook has accepted.",
            "source",
            "code",
        )
        self._acknowledgement = self._histogram(
            "acknowledgement_seconds",
            "Time from a complete notification at the listener to its 202.",
            _ACKNOWLEDGED_IN,
        )
        self._received = self._counter(
            "alerts_received",
            "Alerts in the decided notifications, without rejected alerts. " + _NAMED_FIRST,
            "alertname",
            "severity",
            "status",
        )
        self._decisions = self._counter(
            "decisions", "Decisions on alerts, by kind and cause.", "decision", "cause"
        )

    def _define_attempts(self) -> None:
        self._attempts = self._counter("attempts", "Attempts that have ended.", "outcome")
        self._ineffective = self._counter(
            "ineffective_attempts",
            "Attempts that succeeded although the alert still fired after the cooldown.",
        )
        self._executed = self._counter(
            "remediations_executed",
            "Ended executions that rules started for alerts, by final status. " + _NAMED_FIRST,
            "alertname",
            "action",
            "status",
        )
        self._duration = self._histogram(
            "remediation_duration_seconds",
            "Time from the start of such an execution to its end. " + _NAMED_FIRST,
            _REMEDIATED_IN,
            "alertname",
            "action",
        )

    def _define_calls(self) -> None:
        self._dispatch_errors = self._counter(
            "dispatch_errors",
            "Triggers that could not be sent: the bus was down, which is retried, or the payload "
            "did not match its schema.",
            "trigger",
        )
        self._calls = self._histogram(
            "datastore_call_seconds",
            "Time of the sensor's calls to StackStorm's datastore, including failed calls.",
            _CALLED_IN,
            "operation",
        )
        self._call_errors = self._counter(
            "datastore_errors", "Failed calls to StackStorm's datastore.", "operation"
        )

    def notified(self, source: str, code: int, seconds: Optional[float] = None) -> None:
        """Count a notification; ``seconds`` is the time until the answer, if known."""
        self._notifications.labels(source, str(code)).inc()
        if code == 202 and seconds is not None:
            self._acknowledgement.observe(seconds)

    def received(self, alert: payload.Alert) -> None:
        """Count a payload.Alert."""
        names = self._alerts_named.admit(alert.alertname, alert.severity)
        for status in (payload.FIRING, payload.RESOLVED):
            self._received.labels(*names, status).inc(status == alert.status)

    def decided(self, decision: Decision) -> None:
        """Count a Decision."""
        self._decisions.labels(decision.kind, decision.cause).inc()

    def attempt_ended(self, attempt: Mapping[str, Any]) -> None:
        """Count an attempt of a row that has its outcome."""
        self._attempts.labels(attempt["outcome"]).inc()

    def was_ineffective(self) -> None:
        """Count an attempt that succeeded although the alert still fires."""
        self._ineffective.inc()

    def executed(self, row: Mapping[str, Any]) -> None:
        """Count an execution by its row if it has ended; a running one gets series at 0."""
        names = self._actions_named.admit(row["alertname"], row["action_ref"])
        duration = self._duration.labels(*names)
        for status in ENDED_STATUSES:
            self._executed.labels(*names, status).inc(status == row["status"])
        if row["status"] in ENDED_STATUSES and row["elapsed"] is not None:
            duration.observe(row["elapsed"])

    def dispatch_failed(self, trigger: str) -> None:
        """Count a trigger that could not be sent."""
        self._dispatch_errors.labels(trigger).inc()

    def called(self, operation: str, seconds: float, failed: bool) -> None:
        """Count a call to the datastore: get, set, delete or list."""
        self._calls.labels(operation).observe(seconds)
        self.datastore_answers = not failed
        if failed:
            self._call_errors.labels(operation).inc()

    def measured(self, stackstorm: StackStorm) -> StackStorm:
        """Return a StackStorm client whose datastore calls are timed."""
        return cast(StackStorm, _Measured(stackstorm, self))

    def watch(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """Show a state at each scrape.

        :param state: ``Controller.state``, or a callable that returns the same.
        """
        self._registry.register(_State(state, self))

    def text(self) -> bytes:
        """Return everything in Prometheus' text format, as bytes."""
        return generate_latest(cast(CollectorRegistry, _Families(self._registry)))

    def page(self, match: Any, query: Any) -> Tuple[int, bytes, List[Tuple[str, str]]]:
        """Answer ``GET /metrics`` for the listener."""
        return 200, self.text(), [("Content-Type", CONTENT_TYPE)]

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter("poundcake_" + name, help_text, labels, registry=self._registry)

    def _histogram(
        self, name: str, help_text: str, buckets: Tuple[float, ...], *labels: str
    ) -> Histogram:
        name = "poundcake_" + name
        return Histogram(name, help_text, labels, registry=self._registry, buckets=buckets)

    def _start_at_zero(self) -> None:
        for source, codes in _CODES.items():
            for code in codes:
                self._notifications.labels(source, code)
        for kind, causes in CAUSES.items():
            for cause in causes:
                self._decisions.labels(kind, cause)
        for outcome in OUTCOMES:
            self._attempts.labels(outcome)
        for trigger in _TRIGGERS:
            self._dispatch_errors.labels(trigger)
        for operation in _OPERATIONS.values():
            self._calls.labels(operation)
            self._call_errors.labels(operation)


class _State:
    """Makes gauges of the state at the moment of a scrape."""

    def __init__(self, read_state: Callable[[], Mapping[str, Any]], metrics: Metrics):
        self._read_state = read_state
        self._metrics = metrics

    def collect(self) -> Iterator[GaugeMetricFamily]:
        state = self._read_state()
        parts = dict(state["parts"], datastore=self._metrics.datastore_answers)
        yield _gauge(
            "part_up",
            "1 while a part that PoundCake needs works, else 0; GET /ready gives the reason.",
            {(name,): int(ok) for name, ok in parts.items()},
            "part",
        )
        inbox = state["inbox"]
        yield _gauge("inbox_notifications", "Notifications in the inbox.", inbox["depth"])
        text = "Age of the oldest notification in the inbox; it leaves when its rows are written."
        yield _gauge("inbox_oldest_age_seconds", text, inbox["age"])
        text = "Undecided notifications in the inbox."
        yield _gauge("backlog_notifications", text, inbox["backlog"])
        yield _gauge("tracking_lag_seconds", "How long rows wait to be written.", state["lag"])
        if state["ledger"] is None:
            return  # the rows are not loaded, so nothing is known yet
        yield from _ledger(state["ledger"])
        text = "Active controls: pauses, and maintenance windows that have not ended."
        yield _gauge("controls", text, _keyed(state["controls"]), "control")
        if state["heartbeat"] is not None:
            yield from _heartbeat(state["heartbeat"])


def _ledger(counts: Mapping[str, Any]) -> Iterator[GaugeMetricFamily]:
    states = {(state,): counts["states"].get(state, 0) for state in STATES}
    yield _gauge("alerts", "Known alerts, by state.", states, "state")
    held = {(state, cause): 0 for state, causes in HOLD_CAUSES.items() for cause in causes}
    held.update(counts["held"])
    text = "Alerts whose next attempt is held back, by state and cause."
    yield _gauge("held_alerts", text, held, "state", "cause")
    text = "Running remediations, without those that wait for a person's approval."
    yield _gauge("active_remediations", text, counts["in_flight"])
    text = "Alertnames whose breaker is open; half_open once one remediation may be tried."
    yield _gauge("breakers", text, _keyed(counts["breakers"]), "state")


def _heartbeat(counts: Mapping[str, Any]) -> Iterator[GaugeMetricFamily]:
    text = "Known heartbeats that have not arrived for watchdog_seconds."
    yield _gauge("heartbeats_missing", text, counts["missing"])
    if counts["last_seen"] is not None:
        text = "Unix time of the last arrival of the heartbeat that has been silent longest."
        yield _gauge("heartbeat_last_seen_timestamp_seconds", text, counts["last_seen"])


def _gauge(name: str, help_text: str, value: Any, *labels: str) -> GaugeMetricFamily:
    """Return a gauge; ``value`` is a number, or ``{label values: number}``."""
    family = GaugeMetricFamily("poundcake_" + name, help_text, labels=labels)
    for values, number in value.items() if labels else [((), value)]:
        family.add_metric(values, number)
    return family


def _keyed(counts: Mapping[str, int]) -> Dict[Tuple[str], int]:
    return {(name,): number for name, number in counts.items()}


class _Families:
    """A registry without the creation times of its counters.

    It yields to other threads between families: a sensor's threads share one processor, and
    decisions must not wait until thousands of lines are written.
    """

    def __init__(self, registry: CollectorRegistry):
        self._registry = registry

    def collect(self) -> Iterator[Any]:
        for family in self._registry.collect():
            family.samples = [s for s in family.samples if not s.name.endswith("_created")]
            yield family
            time.sleep(0)


class _FirstCombinations:
    """Admits the first combinations of label values; later ones become "other"."""

    def __init__(self) -> None:
        self._known: Set[Tuple[str, ...]] = set()

    def admit(self, *values: str) -> Tuple[str, ...]:
        named = tuple(_label(value) for value in values)
        if len(self._known) < SERIES:
            self._known.add(named)
        return named if named in self._known else (OTHER,) * len(values)


def _label(value: str) -> str:
    # Legal JSON may contain half of a surrogate pair, which a scrape cannot encode.
    value = value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value if len(value) <= LONGEST_LABEL else OTHER


class _Measured:
    """A StackStorm client with timed datastore calls; all else passes through."""

    def __init__(self, stackstorm: StackStorm, metrics: Metrics):
        self._stackstorm = stackstorm
        self._metrics = metrics

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._stackstorm, name)
        if name not in _OPERATIONS:
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            began, failed = time.perf_counter(), True
            try:
                answer = attribute(*args, **kwargs)
                failed = False
                return answer
            finally:
                took = time.perf_counter() - began
                self._metrics.called(_OPERATIONS[name], took, failed)

        return call
