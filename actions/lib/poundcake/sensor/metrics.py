"""What Prometheus reads at ``GET /metrics``: events counted where they happen, states when asked.

A state (alerts, what is held, the inbox, breakers, lag, heartbeat) is looked up at each scrape, in
the sensor's memory alone: a scrape asks StackStorm nothing, so it neither waits for nor fails with
any part that is away. As the memory is loaded from the datastore, states outlive a restart.

An event (notification, decision, attempt, execution, error, call) is counted in this process, and
every counter begins at 0 with it. That is what ``rate()`` and ``increase()`` expect: they take a
fall for a restart and go on from there. Counts that are written down now and then would be worse:
after a kill they come back a little lower than they were, which Prometheus takes for a restart too,
and counts the whole of them once more. Rows are no source either: they expire. What is lost by a
kill is what was counted since the last scrape; what became of an alert is in its row all the same,
and ``poundcake_alerts`` shows it. Whatever can be named beforehand is there as 0 from the start,
and an execution as soon as it is seen to run, so that the first event counts.
``process_start_time_seconds`` tells of restarts.

Every label is bounded: words of this code, status codes, and two that come from outside, alertname
(with severity) and action, of which the first ``SERIES`` combinations have a name and all others
are "other"; a restart begins anew. There is no fingerprint and no host.
"""

import time

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily

from poundcake.core import payload
from poundcake.core.alert import ENDED_STATUSES, NEVER_RAN, STATES, UNMATCHED
from poundcake.core.decisions import CAUSES, HOLD_CAUSES
from poundcake.st2 import triggers

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
_OUTCOMES = ("succeeded", "failed", NEVER_RAN, UNMATCHED)
_OPERATIONS = {"get_key": "get", "set_key": "set", "delete_key": "delete", "list_keys": "list"}
_NAMED_FIRST = "The first %d combinations that come have a name, all others are other." % SERIES


class Metrics:
    """The metrics of one sensor, in a registry of their own.

    Whoever is given none makes one that nobody reads, so that counting needs no conditions.
    """

    def __init__(self):
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.datastore_answers = True
        self._alerts_named = _FirstCombinations()
        self._actions_named = _FirstCombinations()
        self._notifications = self._counter(
            "notifications",
            "Notifications, by entrance and HTTP status code of the answer: whatever is posted to "
            "the listener, and what StackStorm's own webhook has taken.",
            "source",
            "code",
        )
        self._acknowledgement = self._histogram(
            "acknowledgement_seconds",
            "Time from a whole notification at the listener to its 202.",
            _ACKNOWLEDGED_IN,
        )
        self._received = self._counter(
            "alerts_received",
            "Alerts in the notifications that were decided on, but for rejected ones. "
            + _NAMED_FIRST,
            "alertname",
            "severity",
            "status",
        )
        self._decisions = self._counter(
            "decisions", "Decisions on alerts, with the cause in a word.", "decision", "cause"
        )
        self._attempts = self._counter("attempts", "Attempts that have ended.", "outcome")
        self._ineffective = self._counter(
            "ineffective_attempts",
            "Attempts that succeeded, and the alert fired on when their cooldown was over.",
        )
        self._executed = self._counter(
            "remediations_executed",
            "Executions that rules started for alerts and that have ended, by their last status. "
            + _NAMED_FIRST,
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
        self._dispatch_errors = self._counter(
            "dispatch_errors",
            "Triggers that could not be sent: the bus was away, and it is tried again, or the "
            "payload did not fit.",
            "trigger",
        )
        self._calls = self._histogram(
            "datastore_call_seconds",
            "Time of the sensor's calls of StackStorm's datastore, failed ones too.",
            _CALLED_IN,
            "operation",
        )
        self._call_errors = self._counter(
            "datastore_errors", "Such calls that failed.", "operation"
        )
        self._begin_at_zero()

    def notified(self, source, code, seconds=None):
        """Count a notification; ``seconds`` until the answer, when that is known."""
        self._notifications.labels(source, str(code)).inc()
        if code == 202 and seconds is not None:
            self._acknowledgement.observe(seconds)

    def received(self, alert):
        """Count a payload.Alert."""
        names = self._alerts_named.admit(alert.alertname, alert.severity)
        for status in (payload.FIRING, payload.RESOLVED):
            self._received.labels(*names, status).inc(status == alert.status)

    def decided(self, decision):
        """Count an Decision."""
        self._decisions.labels(decision.kind, decision.cause).inc()

    def attempt_ended(self, attempt):
        """Count an attempt, as rows have it, that has its outcome."""
        self._attempts.labels(_word(attempt["outcome"])).inc()

    def was_ineffective(self):
        """Count an attempt after whose success the alert fires on."""
        self._ineffective.inc()

    def executed(self, row):
        """Count an execution, by its row, when it has ended; one that runs is shown as 0."""
        names = self._actions_named.admit(row["alertname"], row["action_ref"])
        duration = self._duration.labels(*names)
        for status in ENDED_STATUSES:
            self._executed.labels(*names, status).inc(status == row["status"])
        if row["status"] in ENDED_STATUSES and row["elapsed"] is not None:
            duration.observe(row["elapsed"])

    def dispatch_failed(self, trigger):
        """Count a trigger that could not be sent."""
        self._dispatch_errors.labels(trigger).inc()

    def called(self, operation, seconds, failed):
        """Count a call of the datastore: get, set, delete or list."""
        self._calls.labels(operation).observe(seconds)
        self.datastore_answers = not failed
        if failed:
            self._call_errors.labels(operation).inc()

    def measured(self, stackstorm):
        """Return a stackstorm.StackStorm whose datastore calls are timed."""
        return _Measured(stackstorm, self)

    def watch(self, state):
        """Show a state at each scrape: a callable that gives what ``Controller.state`` does."""
        self._registry.register(_State(state, self))

    def text(self):
        """Return everything in Prometheus' text format, as bytes."""
        return generate_latest(_Families(self._registry))

    def page(self, match, query):
        """``GET /metrics`` for the listener."""
        return 200, self.text(), [("Content-Type", CONTENT_TYPE)]

    def _counter(self, name, text, *labels):
        return Counter("poundcake_" + name, text, labels, registry=self._registry)

    def _histogram(self, name, text, buckets, *labels):
        name = "poundcake_" + name
        return Histogram(name, text, labels, registry=self._registry, buckets=buckets)

    def _begin_at_zero(self):
        for source, codes in _CODES.items():
            for code in codes:
                self._notifications.labels(source, code)
        for kind, causes in CAUSES.items():
            for cause in causes:
                self._decisions.labels(kind, cause)
        for outcome in _OUTCOMES:
            self._attempts.labels(_word(outcome))
        for trigger in _TRIGGERS:
            self._dispatch_errors.labels(trigger)
        for operation in _OPERATIONS.values():
            self._calls.labels(operation)
            self._call_errors.labels(operation)


class _State:
    """Makes gauges of what is so at the moment of a scrape."""

    def __init__(self, ask, metrics):
        self._ask = ask
        self._metrics = metrics

    def collect(self):
        state = self._ask()
        parts = dict(state["parts"], datastore=self._metrics.datastore_answers)
        yield _gauge(
            "part_up",
            "1 while a part that PoundCake needs does its work, 0 while GET /ready says why not.",
            {(name,): int(ok) for name, ok in parts.items()},
            "part",
        )
        inbox = state["inbox"]
        yield _gauge("inbox_notifications", "Notifications in the inbox.", inbox["depth"])
        text = "Age of the oldest notification in the inbox; it leaves when its rows are written."
        yield _gauge("inbox_oldest_age_seconds", text, inbox["age"])
        text = "Notifications in the inbox on which nothing is decided yet."
        yield _gauge("backlog_notifications", text, inbox["backlog"])
        yield _gauge("tracking_lag_seconds", "How long rows wait to be written.", state["lag"])
        if state["ledger"] is None:
            return  # it has not loaded its rows: there is nothing true to say
        for family in _ledger(state["ledger"]):
            yield family
        text = "Levers that are set: pauses, and maintenance windows that are not over."
        yield _gauge("levers", text, _keyed(state["levers"]), "lever")
        if state["heartbeat"] is not None:
            for family in _heartbeat(state["heartbeat"]):
                yield family


def _ledger(found):
    states = {(state,): found["states"].get(state, 0) for state in STATES}
    yield _gauge("alerts", "Alerts that are known, by state.", states, "state")
    held = {(state, cause): 0 for state, causes in HOLD_CAUSES.items() for cause in causes}
    held.update(found["held"])
    text = "Alerts whose next attempt is held back, by state and cause."
    yield _gauge("held_alerts", text, held, "state", "cause")
    text = "Remediations under way, but for those that wait for a person's approval."
    yield _gauge("active_remediations", text, found["in_flight"])
    text = "Alertnames whose breaker is open; half_open once one remediation may be tried."
    yield _gauge("breakers", text, _keyed(found["breakers"]), "state")


def _heartbeat(found):
    text = "Heartbeats that were seen once and have not come for watchdog_seconds."
    yield _gauge("heartbeats_missing", text, found["missing"])
    if found["last_seen"] is not None:
        text = "When the heartbeat that has been silent longest came last, in Unix time."
        yield _gauge("heartbeat_last_seen_timestamp_seconds", text, found["last_seen"])


def _gauge(name, text, value, *labels):
    """Return a gauge; ``value`` is a number, or ``{label values: number}``."""
    family = GaugeMetricFamily("poundcake_" + name, text, labels=labels)
    for values, number in value.items() if labels else [((), value)]:
        family.add_metric(values, number)
    return family


def _keyed(counts):
    return {(name,): number for name, number in counts.items()}


class _Families:
    """What a registry collects, without the times at which its counters were made.

    It lets others have their turn in between: a sensor's threads share one processor, and whoever
    decides must not wait until thousands of lines are written.
    """

    def __init__(self, registry):
        self._registry = registry

    def collect(self):
        for family in self._registry.collect():
            family.samples = [s for s in family.samples if not s.name.endswith("_created")]
            yield family
            time.sleep(0)


class _FirstCombinations:
    """Lets the first combinations of label values pass; what comes later is "other"."""

    def __init__(self):
        self._known = set()

    def admit(self, *values):
        named = tuple(_label(value) for value in values)
        if len(self._known) < SERIES:
            self._known.add(named)
        return named if named in self._known else (OTHER,) * len(values)


def _label(value):
    # Legal JSON may hold half of a surrogate pair, which no scrape could encode.
    value = value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value if len(value) <= LONGEST_LABEL else OTHER


def _word(outcome):
    return outcome.replace(" ", "_")


class _Measured:
    """StackStorm with a clock on its datastore; everything else is passed on."""

    def __init__(self, stackstorm, metrics):
        self._stackstorm = stackstorm
        self._metrics = metrics

    def __getattr__(self, name):
        found = getattr(self._stackstorm, name)
        if name not in _OPERATIONS:
            return found

        def call(*args, **kwargs):
            began, failed = time.perf_counter(), True
            try:
                answer = found(*args, **kwargs)
                failed = False
                return answer
            finally:
                took = time.perf_counter() - began
                self._metrics.called(_OPERATIONS[name], took, failed)

        return call
