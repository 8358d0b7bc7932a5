"""What the folder monitoring/ ships, with the real Prometheus, Alertmanager and their tools."""

import contextlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import requests
import yaml

from tests.demo import servers
from tests.support.alerts import alert
from tests.support.guarded import TOKEN, world_of
from tests.support.world import unique

MONITORING = Path(__file__).resolve().parents[2] / "monitoring"
RULES = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = {
    "%s: %s" % (panel["title"], target["refId"]): target["expr"]
    for panel in PANELS
    for target in panel["targets"]
}
VARIABLES = {"$job": ".+", "$instance": ".+", "$__rate_interval": "10m", "$__range": "10m"}

pytestmark = [
    pytest.mark.skipif(
        bool(
            {"prometheus", "promtool", "prometheus-alertmanager", "amtool"} & {*servers.missing()}
        ),
        reason="bash tests/demo/install_servers installs Prometheus and Alertmanager",
    ),
    pytest.mark.skipif(
        bool(os.environ.get("ST2_API_URL")),
        reason="needs a config of its own: only the embedded engine can be given one",
    ),
]


def run(name, *arguments, text=None):
    """Run one of the servers' tools in monitoring/; return what it printed, all of it."""
    done = subprocess.run(
        [servers.program(name), *arguments],
        cwd=MONITORING,
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


# --- rules and routes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tool, arguments",
    [
        ("promtool", ["check", "rules", "alerts.yaml"]),
        ("promtool", ["test", "rules", "alerts_test.yaml"]),
        ("promtool", ["check", "config", "--syntax-only", "prometheus.yaml"]),
        ("amtool", ["check-config", "alertmanager.yaml"]),
        ("amtool", ["check-config", "alertmanager_routes.yaml"]),
    ],
    ids=["rules", "tests of rules", "prometheus", "alertmanager", "routes"],
)
def test_the_tools_find_no_fault(tool, arguments):
    """As whoever installs them would look first."""
    assert "SUCCESS" in run(tool, *arguments)


def test_every_alert_has_a_test_in_which_it_fires():
    """And all but the heartbeat one in which it does not."""
    tests = yaml.safe_load((MONITORING / "alerts_test.yaml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    firing = {case["alertname"] for case in cases if case["exp_alerts"]}
    quiet = {case["alertname"] for case in cases if not case["exp_alerts"]}
    assert firing == set(ALERTS) and quiet == set(ALERTS) - {"Watchdog"}


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_says_how_bad_it_is_what_it_is_and_what_to_do(name):
    """At three in the morning."""
    rule = ALERTS[name]
    assert set(rule["annotations"]) == {"summary", "description"}
    assert rule["labels"]["severity"] in ("critical", "warning", "none")


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_poundcake_hears_its_heartbeat_and_never_of_itself(name):
    """What could not heal itself would be asked to, again and again."""
    labels = ["%s=%s" % item for item in ALERTS[name]["labels"].items()]
    command = ("config", "routes", "test", "--config.file=alertmanager.yaml")
    receiver = run("amtool", *command, "alertname=" + name, *labels).split()[-1]
    assert receiver == ("poundcake" if name == "Watchdog" else "people")


def test_other_alerts_reach_poundcake():
    """The route is no trap."""
    command = ("config", "routes", "test", "--config.file=alertmanager.yaml")
    printed = run("amtool", *command, "alertname=HostDown", "severity=critical")
    assert printed.split()[-1] == "poundcake"


@pytest.mark.parametrize(
    "labels, receivers",
    [
        ({"auto_remediate": "true"}, "poundcake,people"),
        ({"severity": "critical", "environment": "production"}, "poundcake,people"),
        ({"severity": "critical", "environment": "test"}, "people"),
        ({"component": "poundcake", "auto_remediate": "true"}, "people"),
        ({}, "people"),
    ],
)
def test_routes_by_label_severity_and_environment(labels, receivers):
    """The people get everything."""
    command = ("config", "routes", "test", "--config.file=alertmanager_routes.yaml")
    printed = run("amtool", *command, *["%s=%s" % item for item in labels.items()])
    assert printed.split()[-1] == receivers


def test_the_route_for_the_operator_is_one_of_alertmanager(tmp_path):
    """Written in Alertmanager's own names, as the Operator does, amtool takes it."""
    spec = yaml.safe_load((MONITORING / "alertmanager_config.yaml").read_text())["spec"]
    (receiver,) = spec["receivers"]
    (webhook,) = receiver["webhookConfigs"]
    credentials = webhook["httpConfig"]["authorization"]["credentials"]
    assert credentials == {"name": "poundcake", "key": "token"}
    made = {"url": webhook["url"], "send_resolved": webhook["sendResolved"]}
    route = {"receiver": spec["route"]["receiver"], "group_by": spec["route"]["groupBy"]}
    for name in ("Wait", "Interval"):
        route["group_" + name.lower()] = spec["route"]["group" + name]
    route["repeat_interval"] = spec["route"]["repeatInterval"]
    matchers = ['{name}{matchType}"{value}"'.format(**one) for one in spec["route"]["matchers"]]
    top = {"receiver": "poundcake", "routes": [dict(route, matchers=matchers)]}
    receivers = [{"name": receiver["name"], "webhook_configs": [made]}]
    path = tmp_path / "alertmanager.yml"
    path.write_text(yaml.safe_dump({"route": top, "receivers": receivers}))
    assert "SUCCESS" in run("amtool", "check-config", str(path))


# --- the dashboard --------------------------------------------------------------------------------


def test_the_dashboard_is_one_that_grafana_takes():
    """Ids are unique, panels stand beside each other, and the data source is a variable."""
    assert DASHBOARD["schemaVersion"] >= 39 and DASHBOARD["title"] == "PoundCake"
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    variables = {item["name"]: item for item in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    taken = set()
    for panel in PANELS:
        assert panel["description"] and panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        cells = {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and max(columns) < 24, panel["title"]
        taken |= cells
    used = {name for name in VARIABLES if any(name in expr for expr in EXPRESSIONS.values())}
    assert used == set(VARIABLES)
    assert {name.strip("$") for name in used if "__" not in name} < set(variables)


@pytest.fixture(scope="module")
def scraped(tmp_path_factory):
    """``(engine, prometheus)``: PoundCake after some notifications, and who scraped it."""
    folder = tmp_path_factory.mktemp("scraped")
    with servers.Engine(folder / "engine", cooldown_seconds=0, token=TOKEN) as engine:
        address = engine.listener_url.split("//")[1]
        targets = [servers.target(address)]
        prometheus = servers.Prometheus(folder / "prometheus", targets, list(ALERTS.values()))
        config = yaml.safe_load(prometheus.config_path.read_text())
        config["scrape_configs"][0]["authorization"] = {"credentials": TOKEN}
        prometheus.config_path.write_text(yaml.safe_dump(config))
        with prometheus:
            world = world_of(engine)
            live(world)
            # A series that began with its first event shows a rate from the second one on.
            scraped_since(prometheus, world)
            live(world)
            scraped_since(prometheus, world)
            yield engine, prometheus


def live(world):
    """Let alerts succeed, fail, wait, find no rule, resolve, and be no alerts at all."""
    failing = {"cmd": "exit 1"}
    with world.rule("Good", "core.noop"), world.rule("Bad", "core.local", failing):
        host = unique("web") + ":9100"
        same = [alert(alertname=name, instance=host) for name in ("Good", "Bad", "Other")]
        first = world.accept(*same, alert(alertname="Watchdog", instance="prometheus"))
        assert world.post(b"no json")[0] == 400
        world.completed(first)
        resolved = [alert(alertname="Good", status="resolved", instance=host)]
        world.completed(world.accept(*resolved, status="resolved"))


def scraped_since(prometheus, world):
    """Wait until Prometheus has what PoundCake counts now."""
    name = "poundcake_decisions_total"
    lines = [line for line in world.metrics().splitlines() if line.startswith(name)]
    wanted = sum(float(line.split()[-1]) for line in lines)
    world.wait(lambda: prometheus.value("sum(%s)" % name) == wanted, "the scrape")


def test_promtool_finds_no_fault_in_the_metrics(scraped):
    """Names, units, types and texts are as Prometheus wants them."""
    assert run("promtool", "check", "metrics", text=world_of(scraped[0]).metrics()) == ""


@pytest.mark.parametrize("name", list(EXPRESSIONS))
def test_every_expression_of_the_dashboard_gives_data(scraped, name):
    """Numbers, not nothing: a metric that was renamed would leave a hole that nobody notices."""
    expression = EXPRESSIONS[name]
    for variable, text in VARIABLES.items():
        expression = expression.replace(variable, text)
    found = [float(one["value"][1]) for one in scraped[1].query(expression)]
    assert found and any(number == number for number in found), expression


def test_prometheus_evaluates_every_rule(scraped):
    """The unit tests know the series by name only; here they are PoundCake's own."""
    _, prometheus = scraped
    answer = requests.get(prometheus.url + "/api/v1/rules", timeout=30).json()
    rules = [rule for group in answer["data"]["groups"] for rule in group["rules"]]
    assert {rule["name"]: rule["health"] for rule in rules} == dict.fromkeys(ALERTS, "ok")
    firing = {one["labels"]["alertname"] for one in prometheus.alerts()}
    assert {"Watchdog", "PoundCakeNotificationsRejected"} <= firing
    names = set(re.findall(r"poundcake_\w+", str([rule["expr"] for rule in ALERTS.values()])))
    assert {name for name in names if prometheus.query(name)} == names


# --- the dead man's switch ------------------------------------------------------------------------


def heartbeat_events(world):
    """What was told of heartbeats so far."""
    params = {"trigger": "poundcake.lifecycle", "limit": 100}
    found = world.api("GET", "/triggerinstances", params=params)
    changes = [item["payload"]["to"] for item in found]
    return sorted(change for change in changes if change.startswith("heartbeat_"))


def test_silence_of_alertmanager_is_noticed_and_told(tmp_path):
    """It repeats the heartbeat; killed, it is missed; back, it is heard. Nothing is remediated."""
    engine = servers.Engine(tmp_path / "engine", watchdog_seconds=10)
    receivers = [servers.webhook(engine.webhook_url)]
    labels = {"alertname": "Watchdog", "severity": "none"}
    with contextlib.ExitStack() as stack:
        stack.enter_context(engine)
        beating = servers.Alertmanager(tmp_path / "am", receivers, repeat_interval="2s")
        source = stack.enter_context(beating)
        world = stack.enter_context(world_of(engine).hears())

        def ready():
            return requests.get(engine.listener_url + "/ready", timeout=30)

        def beats():
            return ready().json()["parts"]["heartbeat"]

        fingerprint = source.fire(labels)
        world.wait(lambda: "came last at" in beats()["detail"], "the heartbeat")
        assert ready().status_code == 200
        source.stop(signal.SIGKILL)
        world.wait(lambda: not beats()["ok"], "the silence to be noticed")
        assert ready().status_code == 503 and fingerprint in beats()["detail"]
        world.wait(lambda: heartbeat_events(world) == ["heartbeat_missing"], "the event")
        source.start()
        source.fire(labels)
        world.wait(lambda: ready().status_code == 200, "the heartbeat to be back")
        both = ["heartbeat_missing", "heartbeat_returned"]
        world.wait(lambda: heartbeat_events(world) == both, "the event")
        assert world.api("GET", "/triggerinstances", params={"trigger": "poundcake.alert"}) == []
