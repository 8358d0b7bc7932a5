"""/metrics is correct after every event, bounded, available during outages, and well formed."""

import json
from wsgiref.util import setup_testing_defaults

import pytest
from poundcake.core import payload
from poundcake.core.alert import ENDED_STATUSES, STATES
from poundcake.core.decisions import CAUSES, HOLD_CAUSES
from poundcake.errors import StackStormError
from poundcake.sensor import metrics
from poundcake.sensor.listener import Listener
from poundcake.sensor.metrics import Metrics
from poundcake.st2 import inbox
from prometheus_client.parser import text_string_to_metric_families

from tests.support.alerts import alert, notification
from tests.support.fakes import FakeStackStorm, make_settings
from tests.support.pack import LOG, Pack

OLDER = {
    "poundcake_alerts_received_total": {"alertname", "severity", "status"},
    "poundcake_remediations_executed_total": {"alertname", "action", "status"},
    "poundcake_remediation_duration_seconds_count": {"alertname", "action"},
    "poundcake_active_remediations": set(),
}


@pytest.fixture
def pack():
    made = Pack()
    made.stackstorm.rule("mine.fix")
    return made


def samples(found):
    """Return every sample as ``(name, labels, value)``, read as Prometheus reads it."""
    families = text_string_to_metric_families(found.text().decode("utf-8"))
    return [(s.name, s.labels, s.value) for family in families for s in family.samples]


def value(found, name, **labels):
    """Return the one sample with these labels; fail when it is missing."""
    wanted = ("poundcake_" + name, labels)
    (one,) = [number for *known, number in samples(found) if tuple(known) == wanted]
    return one


def names(found):
    return {name for name, _, _ in samples(found)}


# --- what happened --------------------------------------------------------------------------------


def test_the_metrics_of_the_older_design_have_their_names_and_labels(pack):
    """So an older dashboard keeps working."""
    pack.post(alert())
    pack.settle()
    known = {}
    for name, labels, _ in samples(pack.metrics):
        known.setdefault(name, set()).update(labels)
    assert {name: known[name] for name in OLDER} == OLDER


def test_an_alert_is_counted_from_its_notification_to_its_remediation(pack):
    """Received, decided, attempted, executed: each once, however often it is scraped."""
    pack.post(alert())
    pack.step()
    pack.step()
    assert value(pack.metrics, "active_remediations") == 1
    assert value(pack.metrics, "alerts", state="remediating") == 1
    labels = {"alertname": "ServiceDown", "action": "core.noop"}
    for status in ENDED_STATUSES:
        assert value(pack.metrics, "remediations_executed_total", status=status, **labels) == 0
    pack.settle()
    pack.steps(20)
    found = pack.metrics
    labels = {"alertname": "ServiceDown", "severity": "critical", "status": "firing"}
    assert value(found, "alerts_received_total", **labels) == 1
    assert value(found, "decisions_total", decision="dispatch", cause="new_episode") == 1
    assert value(found, "attempts_total", outcome="remediated") == 1
    labels = {"alertname": "ServiceDown", "action": "core.noop"}
    assert value(found, "remediations_executed_total", status="succeeded", **labels) == 1
    assert value(found, "remediation_duration_seconds_count", **labels) == 1
    assert value(found, "alerts", state="remediated") == 1
    assert value(found, "active_remediations") == 0


@pytest.mark.parametrize(
    "status, ran, outcome", [("failed", True, "failed"), ("failed", False, "never_ran")]
)
def test_an_attempt_counts_by_its_outcome(pack, status, ran, outcome):
    """An attempt that never ran did not fail."""
    pack.post(alert())
    pack.step()
    pack.step()
    pack.finish(status, ran=ran)
    pack.steps(4)
    assert value(pack.metrics, "attempts_total", outcome=outcome) == 1


def test_an_attempt_that_no_rule_took_is_unmatched():
    """No execution is counted."""
    pack = Pack()
    pack.post(alert())
    pack.settle()
    assert value(pack.metrics, "attempts_total", outcome="unmatched") == 1
    assert "poundcake_remediations_executed_total" not in names(pack.metrics)


def test_a_success_after_which_the_alert_fires_on_is_ineffective(pack):
    """The attempts alone would look successful."""
    pack.post(alert())
    pack.settle()
    pack.clock.advance(pack.settings.admission.cooldown_seconds + 5)
    pack.post(alert())
    pack.settle()
    assert value(pack.metrics, "ineffective_attempts_total") == 1
    assert value(pack.metrics, "decisions_total", decision="dispatch", cause="next_attempt") == 1


def test_every_decision_has_one_of_the_causes():
    """A free text would make one series per alert."""
    pack = Pack(max_concurrent=1, rate_limit=["1/1h"], max_attempts=1, cooldown_seconds=0)
    pack.stackstorm.rule("mine.fix")
    pack.post(alert(1), alert(2), alert(3, labels=None), alert(4, alertname="Watchdog"))
    pack.post(alert(1), alert(2))
    pack.settle()
    pack.post(alert(1))
    pack.post(alert(1, status="resolved"))
    pack.post(alert(1, starts_at="2026-11-21T08:30:00Z"))
    pack.post(alert(2, status="resolved"), alert(2, status="resolved"))
    pack.settle()
    pack.order("acknowledge")
    pack.settle()
    pack.post(alert(1, starts_at="2026-11-21T08:30:00Z"))
    pack.settle()
    counted = {
        (labels["decision"], labels["cause"]): number
        for name, labels, number in samples(pack.metrics)
        if name == "poundcake_decisions_total"
    }
    known = {(kind, cause) for kind, causes in CAUSES.items() for cause in causes}
    assert set(counted) == known
    requests = pack.stackstorm.rows("poundcake.request.")
    assert sum(counted.values()) == sum(len(request["alerts"]) for request in requests)
    seen = {pair for pair, number in counted.items() if number}
    assert {
        ("dispatch", "new_episode"),
        ("pend", "window"),
        ("duplicate", "under_way"),
        ("duplicate", "window"),
        ("suppress", "exhausted"),
        ("suppress", "rate"),
        ("suppress", "heartbeat"),
        ("suppress", "acknowledged"),
        ("resolve", "resolved"),
        ("duplicate", "resolved"),
        ("rejected", "invalid"),
    } <= seen


def test_a_dispatch_that_fails_is_counted_by_its_trigger(pack):
    """And the part shows it."""
    pack.stackstorm.bus_away = True
    pack.post(alert())
    pack.tick()
    assert value(pack.metrics, "dispatch_errors_total", trigger="poundcake.alert") >= 1
    assert value(pack.metrics, "part_up", part="trigger_bus") == 0


def test_a_notification_through_stackstorms_webhook_is_counted_when_it_is_decided(pack):
    """Another process has answered it."""
    inbox.accept(pack.stackstorm, notification(alert()), inbox.ST2_WEBHOOK, now=pack.clock())
    pack.settle()
    assert value(pack.metrics, "notifications_total", source="st2_webhook", code="202") == 1


class Door:
    """A listener, called without HTTP."""

    def __init__(self):
        self.metrics = Metrics()
        self.stackstorm = FakeStackStorm(lambda: 0.0)
        stackstorm = self.metrics.measured(self.stackstorm)
        self.listener = Listener(
            make_settings(token="t"), stackstorm, self, LOG, metrics=self.metrics
        )

    def refusal(self):
        return ""

    def take(self, entry):
        pass

    def post(self, body, token="t", path="/webhook", method="POST"):
        environ = {"PATH_INFO": path, "REQUEST_METHOD": method}
        setup_testing_defaults(environ)
        environ["HTTP_AUTHORIZATION"] = "Bearer " + token
        environ["wsgi.input"].write(body)
        environ["wsgi.input"].seek(0)
        environ["CONTENT_LENGTH"] = str(len(body))
        self.listener(environ, lambda status, headers: None)

    def count(self, code):
        return value(self.metrics, "notifications_total", source="listener", code=code)


def test_a_notification_counts_by_what_it_was_answered():
    """Only an acknowledgement has a latency; other requests do not count."""
    door = Door()
    good = json.dumps(notification(alert())).encode("ascii")
    door.post(good)
    door.post(good, path="/api/v1/webhook")
    door.post(b"no json")
    door.post(good, token="wrong")
    door.post(good, path="/webhooks")
    door.post(b"", method="GET")
    door.stackstorm.away = True
    door.post(good)
    codes = {code: door.count(code) for code in ("202", "400", "401", "404", "405", "413", "503")}
    wanted = {"202": 2, "400": 1, "401": 1, "404": 1, "405": 0, "413": 0, "503": 1}
    assert codes == wanted
    assert value(door.metrics, "acknowledgement_seconds_count") == 2


def test_a_call_of_the_datastore_is_timed_and_its_failure_counted():
    """Everything else passes through unchanged."""
    found = Metrics()
    stackstorm = FakeStackStorm(lambda: 0.0)
    measured = found.measured(stackstorm)
    found.watch(Pack().controller.state)
    measured.set_key("a", "1", ttl=5)
    assert measured.get_key("a") == "1" and measured.list_keys("a") == {"a": "1"}
    measured.delete_key("a")
    measured.ping()
    stackstorm.away = True
    with pytest.raises(StackStormError):
        measured.get_key("a")
    calls = {
        operation: value(found, "datastore_call_seconds_count", operation=operation)
        for operation in ("get", "set", "delete", "list")
    }
    assert calls == {"get": 2, "set": 1, "delete": 1, "list": 1}
    assert value(found, "datastore_errors_total", operation="get") == 1
    assert value(found, "part_up", part="datastore") == 0
    stackstorm.away = False
    measured.get_key("a")
    assert value(found, "part_up", part="datastore") == 1


# --- what is so -----------------------------------------------------------------------------------


def test_the_inbox_has_a_depth_and_the_age_of_the_oldest(pack):
    """Until its rows are written."""
    assert value(pack.metrics, "inbox_notifications") == 0
    assert value(pack.metrics, "inbox_oldest_age_seconds") == 0
    pack.post(alert(1))
    assert value(pack.metrics, "backlog_notifications") == 1
    pack.tick(30)
    pack.post(alert(2))
    pack.tick(10)
    assert value(pack.metrics, "inbox_notifications") == 2
    assert value(pack.metrics, "inbox_oldest_age_seconds") == 40
    assert value(pack.metrics, "backlog_notifications") == 0
    pack.settle()
    assert value(pack.metrics, "inbox_notifications") == 0


def test_rows_that_wait_have_a_lag_and_are_a_part_that_is_down(pack):
    """When nobody writes them."""
    pack.post(alert())
    for _ in range(100):
        pack.tick()
        pack.stackstorm.process()
    assert value(pack.metrics, "tracking_lag_seconds") > 90
    assert value(pack.metrics, "part_up", part="tracking") == 0
    pack.settle()
    assert value(pack.metrics, "tracking_lag_seconds") == 0
    assert value(pack.metrics, "part_up", part="tracking") == 1


def test_what_is_held_back_has_a_state_and_a_cause():
    """Every cause starts at 0, so that a rule on it always has data."""
    pack = Pack(max_concurrent=1, rate_limit=["1/1h"])
    pack.stackstorm.rule("mine.fix")
    pack.post(alert(1), alert(2))
    pack.step()
    pack.step()
    assert value(pack.metrics, "held_alerts", state="pending", cause="window") == 1
    pack.settle()
    pack.post(alert(1, status="resolved"))
    pack.post(alert(1, starts_at="2026-11-21T08:19:00Z"))
    pack.step()
    assert value(pack.metrics, "held_alerts", state="pending", cause="window") == 0
    assert value(pack.metrics, "held_alerts", state="suppressed", cause="rate") == 1
    known = {
        (labels["state"], labels["cause"])
        for name, labels, _ in samples(pack.metrics)
        if name == "poundcake_held_alerts"
    }
    wanted = {(state, cause) for state in HOLD_CAUSES for cause in HOLD_CAUSES[state]}
    assert known == wanted


def test_a_breaker_is_open_then_half_open_then_closed():
    """Counted, not named: alertnames are not bounded."""
    pack = Pack(breaker_failures=2, breaker_seconds=600, rate_limit=[])
    pack.stackstorm.rule("mine.fix")
    pack.post(alert(1), alert(2))
    pack.steps(5, "failed")
    assert value(pack.metrics, "breakers", state="open") == 1
    pack.restart()
    assert value(pack.metrics, "breakers", state="open") == 1
    pack.clock.advance(600)
    assert value(pack.metrics, "breakers", state="open") == 0
    assert value(pack.metrics, "breakers", state="half_open") == 1
    pack.post(alert(3))
    pack.settle()
    assert value(pack.metrics, "breakers", state="half_open") == 0


def test_what_waits_for_a_person_is_not_under_way(pack):
    """It takes no place in the window, and has its own state."""
    pack.post(alert())
    pack.step()
    pack.step()
    (execution_id,) = pack.stackstorm.running()
    pack.stackstorm.ask(execution_id)
    pack.steps(5)
    assert value(pack.metrics, "alerts", state="awaiting_approval") == 1
    assert value(pack.metrics, "active_remediations") == 0


def test_controls_and_heartbeats_are_shown(pack):
    """They explain why nothing happens, or why no alert arrives."""
    assert "poundcake_heartbeat_last_seen_timestamp_seconds" not in names(pack.metrics)
    pack.pause()
    pack.post(alert(1, alertname="Watchdog"))
    came = pack.clock()
    pack.steps(3)
    assert value(pack.metrics, "controls", control="pause") == 1
    assert value(pack.metrics, "controls", control="maintenance") == 0
    assert value(pack.metrics, "heartbeat_last_seen_timestamp_seconds") == came
    assert value(pack.metrics, "heartbeats_missing") == 0
    pack.clock.advance(pack.settings.admission.watchdog_seconds)
    assert value(pack.metrics, "heartbeats_missing") == 1
    assert value(pack.metrics, "part_up", part="heartbeat") == 0


def test_states_outlive_a_restart_and_counters_begin_at_0(pack):
    """A counter that returned a little too low would look like a restart and be counted again."""
    pack.post(alert(1), alert(2))
    pack.steps(5, "failed")
    pack.post(alert(1, alertname="Watchdog"))
    pack.settle()
    gauges = ("alerts", "held_alerts", "breakers", "active_remediations")
    wanted = {"poundcake_" + name for name in gauges} | {
        "poundcake_heartbeat_last_seen_timestamp_seconds"
    }

    def shown():
        return [sample for sample in samples(pack.metrics) if sample[0] in wanted]

    before = shown()
    assert value(pack.metrics, "attempts_total", outcome="failed") == 2
    pack.restart()
    assert shown() == before and {name for name, _, _ in before} == wanted
    assert value(pack.metrics, "attempts_total", outcome="failed") == 0
    pack.steps(5)
    assert value(pack.metrics, "attempts_total", outcome="failed") == 0


# --- whatever happens -----------------------------------------------------------------------------


def test_a_scrape_asks_stackstorm_nothing(pack):
    """So it neither waits for nor fails with a part that is down; it reports it."""
    pack.post(alert())
    pack.settle()
    pack.stackstorm.away = pack.stackstorm.bus_away = True
    with pytest.raises(StackStormError):
        pack.tick()
    calls = pack.stackstorm.calls
    status, text, headers = pack.metrics.page(None, {})
    assert (status, pack.stackstorm.calls) == (200, calls)
    assert headers == [("Content-Type", metrics.CONTENT_TYPE)]
    assert b'poundcake_part_up{part="datastore"} 0.0' in text


def test_before_the_rows_are_loaded_nothing_is_said_of_alerts(pack):
    """Zero alerts would be wrong, and a drop in every graph."""
    fresh = Metrics()
    pack.controller._loaded = False
    fresh.watch(pack.controller.state)
    assert value(fresh, "part_up", part="sensor") == 0
    assert not {"poundcake_alerts", "poundcake_held_alerts"} & names(fresh)


@pytest.mark.parametrize(
    "name",
    ['a "quoted" \\ one\nof two lines', "\ud800 half a pair", "{{ 1 }} <% 2 %>", "☂", ""],
    ids=["quotes", "surrogate", "expressions", "umbrella", "empty"],
)
def test_whatever_an_alert_is_called_the_scrape_is_readable(pack, name):
    """One bad label must not blind Prometheus to everything."""
    pack.post(alert(severity=name, alertname=name or "x"))
    pack.settle()
    readable = name.encode("utf-8", "backslashreplace").decode("utf-8")
    labels = {"alertname": readable or "x", "severity": readable, "status": "firing"}
    assert value(pack.metrics, "alerts_received_total", **labels) == 1


def test_names_from_outside_are_bounded():
    """A sender of alerts cannot create endless series."""
    found = Metrics()
    for number in range(2 * metrics.SERIES):
        found.received(an_alert(alertname="Alert%d" % number))
    found.received(an_alert(alertname="Alert0"))
    counted = [s for s in samples(found) if s[0] == "poundcake_alerts_received_total"]
    assert len(counted) == 2 * (metrics.SERIES + 1)  # firing and resolved
    firing = [sample for sample in counted if sample[1]["status"] == "firing"]
    named = {labels["alertname"]: number for _, labels, number in firing}
    assert named["other"] == metrics.SERIES and named["Alert0"] == 2
    row = {"alertname": "A", "status": "succeeded", "elapsed": 1.0}
    for number in range(2 * metrics.SERIES):
        found.executed(dict(row, action_ref="p.a%d" % number))
    counted = [s for s in samples(found) if s[0] == "poundcake_remediations_executed_total"]
    assert len(counted) == len(ENDED_STATUSES) * (metrics.SERIES + 1)


def test_a_name_without_end_is_other():
    """A label may be as long as a notification."""
    found = Metrics()
    found.received(an_alert(alertname="A" * 100000))
    labels = {"alertname": "other", "severity": "critical", "status": "firing"}
    assert value(found, "alerts_received_total", **labels) == 1


def an_alert(**labels):
    return payload.parse(notification(alert(**labels))).alerts[0]


def test_no_label_is_a_fingerprint_or_a_host(pack):
    """Only these names."""
    pack.post(alert(1), alert(2, alertname="Watchdog"))
    pack.settle()
    used = {label for _, labels, _ in samples(pack.metrics) for label in labels}
    bounded = {"source", "code", "decision", "cause", "outcome", "trigger", "operation", "part"}
    bounded |= {"state", "control", "le", "status"}
    assert used == bounded | {"alertname", "severity", "action"}
    assert "web1" not in pack.metrics.text().decode()
    assert pack.alerts()[0]["fingerprint"] not in pack.metrics.text().decode()


def test_states_are_those_of_the_lifecycle(pack):
    """All of them, even those without alerts."""
    found = [labels for name, labels, _ in samples(pack.metrics) if name == "poundcake_alerts"]
    assert {labels["state"] for labels in found} == set(STATES)
