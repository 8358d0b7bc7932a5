"""Beside another pack with far more rules, actions and open inquiries than the API's page has."""

import contextlib
import json

import pytest

from tests.support.alerts import alert
from tests.support.local_server import LocalServer, QuietHandler
from tests.support.mapping_runs import ask
from tests.support.remediations import ASKS_FIRST
from tests.support.world import unique

CROWD = 350
PACK = "default"
# What StackStorm takes as the criteria of a rule, though few rules have them.
ODD = [
    {"trigger.alertname": {"type": "eq", "pattern": 5}},
    {"trigger.alertname": {"type": "in", "pattern": 5}},
    {"trigger.labels.alertname": {"type": "equals", "pattern": True}},
    {"trigger.alertname": {"type": "in", "pattern": {"a": 1}}},
    {"trigger.alertname": {"type": "inside", "pattern": [1, None, ["x"]]}},
    {"trigger.labels.size": {"type": "gt", "pattern": 0.5}},
    {"trigger.alertname#1": {"type": "regex", "pattern": "("}},
    {"trigger.labels": {"type": "contains", "pattern": "x"}},
    {"trigger.labels.list[0]": {"type": "exists", "pattern": False}},
    {"alertname": {"type": "nequals", "pattern": ""}},
    {"trigger.starts_at": {"type": "timediff_lt", "pattern": "x"}},
    {
        "trigger.labels": {
            "type": "search",
            "condition": "any2any",
            "pattern": {
                "item.a": {"type": "eq", "pattern": 1},
                "item.b": {"type": "search", "condition": "all", "pattern": {"item.c": 1}},
            },
        }
    },
]
INQUIRIES = "/executions?action=core.ask&status=pending&include_attributes=id&limit=1"


@pytest.fixture(scope="module")
def crowd(world):
    """The stem of the names of the crowd's rules and actions; they leave with the module."""
    stem = unique("crowd_") + "_"
    with contextlib.ExitStack() as stack:
        for number in range(CROWD):
            name = "%s%03d" % (stem, number)
            body = {"name": name, "pack": PACK, "runner_type": "noop", "entry_point": ""}
            create(stack, world, "/actions", body)
            create(stack, world, "/rules", rule_of(name, ODD[number % len(ODD)]))
        for _ in range(CROWD):
            body = {"action": "core.ask", "parameters": {"route": stem, "ttl": 60}}
            asked = world.api("POST", "/executions", json=body)
            stack.callback(answer, world, asked["id"])
        world.wait(lambda: pending(world) >= CROWD, "the inquiries", timeout=600)
        yield stem


def create(stack, world, path, body):
    made = world.api("POST", path, json=body)
    stack.callback(world.api, "DELETE", path + "/" + made["id"], json={"remove_files": False})


def rule_of(name, criteria):
    return {
        "name": name,
        "pack": PACK,
        "enabled": False,
        "trigger": {"type": "poundcake.alert", "parameters": {}},
        "criteria": criteria,
        "action": {"ref": "core.noop", "parameters": {}},
    }


def answer(world, inquiry_id):
    body = {"id": inquiry_id, "response": {"continue": False}}
    world.api("PUT", "/inquiries/" + inquiry_id, json=body)


def pending(world):
    return world.count("/executions", {"action": "core.ask", "status": "pending", "limit": 1})


def test_mappings_are_applied_and_exported(world, crowd):
    """Into the pack of the crowd, of which nothing changes."""
    before = rules_of(world, crowd)
    name = unique("CrowdMapped")
    mapping = {name: {"actions": [{"action": "core.local", "parameters": {"cmd": "true"}}]}}
    assert len(before) == CROWD
    try:
        assert ask(world, "apply", mapping)["created"] == [name]
        text = ask(world, "export")["yaml"]
        assert name in text and crowd not in text
        assert ask(world, "apply", text)["unchanged"] == [name]
        (change,) = ask(world, "preview", "alerts: {}\n")["changes"]
        assert (change["alertname"], change["change"]) == (name, "remove")
    finally:
        assert ask(world, "apply", "alerts: {}\n")["removed"] == [name]
    assert rules_of(world, crowd) == before


def rules_of(world, crowd):
    """Return the crowd's rules by name, from the one listing that is whole."""
    found = world.api("GET", "/rules?limit=-1&pack=" + PACK)
    return {rule["name"]: rule for rule in found if rule["name"].startswith(crowd)}


def test_a_typing_error_is_compared_with_every_action(world, crowd):
    """With the last of them as well."""
    for number in (0, CROWD - 1):
        name = "%s%03d" % (crowd, number)
        wrong = "%s.%s" % (PACK, name.replace("crowd", "crwod"))
        mapping = {"A": {"actions": [{"action": wrong}]}}
        status, result = world.run(
            "validate_mappings", pack=PACK, mappings=json.dumps({"alerts": mapping})
        )
        assert status == "failed"
        assert "did you mean %s.%s" % (PACK, crowd) in result["mistakes"][0]


def test_health_is_checked(world, crowd):
    """All rules on alerts are counted."""
    _, result = world.run("check_health")
    (found,) = [item for item in result["checks"] if item["name"] == "remediations"]
    rules = world.api("GET", "/rules?limit=-1&trigger=poundcake.alert")
    disabled = sum(not rule["enabled"] for rule in rules)
    assert disabled >= CROWD and "%d disabled: " % disabled in found["detail"]


def test_handlers_are_all_rules_on_alerts(world, crowd):
    """On as many pages as the client wants."""
    page = world.read("/handlers?limit=1000")
    names = [item["name"] for item in page["handlers"] if crowd in item["name"]]
    assert len(names) == len(set(names)) == CROWD
    last = world.read("/handlers?limit=1&offset=%d" % (page["total"] - 1))
    assert last["handlers"] == page["handlers"][-1:]


def test_every_page_and_list_answers(world, crowd):
    """In their usual time."""
    for path in ("/", "/metrics", "/alerts", "/remediations", "/api/v1/executions/recent"):
        assert world.look(path).status_code == 200
    for action in ("list_alerts", "list_requests", "list_executions", "list_maintenance"):
        world.ask(action)
    world.ask("get_stats")
    world.ask("track", since="1h")


@contextlib.contextmanager
def prometheus(world, *names):
    """A Prometheus with alerting rules, in the pack's config for as long as the block lasts."""
    rules = [
        {"type": "alerting", "name": name, "query": "up == 0", "state": "inactive", "health": "ok"}
        for name in names
    ]
    body = {"status": "success", "data": {"groups": [{"name": "g", "file": "", "rules": rules}]}}

    class Handler(QuietHandler):
        def do_GET(self):
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    path = "/configs/poundcake"
    found = world.api("GET", path + "?show_secrets=true", ok=False)
    before = found.get("values") or {}
    with LocalServer(Handler) as server:
        world.api("PUT", path, json=dict(before, prometheus_url=server.url))
        try:
            yield
        finally:
            world.api("PUT", path, json=before)


def test_coverage_survives_every_rule_of_the_crowd(world, crowd):
    """A rule that takes the alert is found among them; the crowd takes none for certain."""
    name = unique("CrowdCovered")
    with world.rule(name, "core.noop") as rule, prometheus(world, name, "NobodyTakesIt"):
        result = world.ask("check_remediation_coverage")
    found = {one["name"]: one for one in result["alerts"]}
    assert found[name]["covered"] == "yes" and rule["ref"] in found[name]["by"]
    assert found["NobodyTakesIt"]["covered"] != "yes"
    told = [one["rule"] for one in result["rules"] if crowd in one["rule"]]
    assert told and len(set(told)) == len(told)


def test_an_approval_is_found_among_the_open_inquiries(world, crowd):
    """A person's yes lets it go on, and the crowd's questions stay open."""
    name = unique("CrowdAsk")
    with world.rule(name, "poundcake.service_down", ASKS_FIRST):
        request_id = world.accept(alert(alertname=name, instance=name.lower() + ":9100"))
        waits = "awaiting_approval"
        world.wait(lambda: state_of(world, request_id) == waits, waits)
        (execution,) = world.status(request_id)["executions"]
        path = INQUIRIES + "&parent=" + execution["execution_id"]
        ((inquiry),) = world.api("GET", path)
        assert pending(world) > CROWD
        body = {"id": inquiry["id"], "response": {"approved": True}}
        world.api("PUT", "/inquiries/" + inquiry["id"], json=body)
        world.wait(lambda: state_of(world, request_id) == "failed", "the end of the remediation")
    assert pending(world) >= CROWD


def state_of(world, request_id):
    alerts = world.status(request_id)["alerts"]
    return alerts[0]["state"] if alerts else None
