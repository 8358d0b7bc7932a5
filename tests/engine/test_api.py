"""The unmodified `st2` command works against the engine: every command once, most as -j too."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.engine import testing

DEMO = Path(testing.__file__).with_name("demo_pack")


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """One engine with the demo pack for all tests here."""
    handle = testing.start(tmp_path_factory.mktemp("engine"), [DEMO], {"enginedemo": {}})
    yield handle
    handle.stop()


def as_json(engine, *arguments):
    """What the command prints with -j."""
    text = engine.st2(*arguments, "-j").stdout
    # `st2 run` prints dots while it waits, and a workflow's tasks as a second document.
    start = min(i for i in (text.find("{"), text.find("[")) if i >= 0)
    return json.JSONDecoder().raw_decode(text, start)[0]


def test_login(engine):
    """auth and login take the password, whoami knows who it is, a wrong password is refused."""
    user, password = engine.env["ST2_ENGINE_USER"], engine.env["ST2_ENGINE_PASSWORD"]
    assert user in engine.st2("auth", user, "-p", password).stdout
    token = engine.st2("auth", user, "-p", password, "-t").stdout.strip()
    assert re.fullmatch("[0-9a-f]{32}", token)
    answer = engine.request(
        "GET", "/user", headers={"St2-Api-Key": None, "X-Auth-Token": token}
    ).json()
    assert answer["username"] == user
    assert answer["authentication"]["method"] == "authentication token"
    assert engine.st2("auth", user, "-p", "wrong", check=False).returncode != 0
    assert f'"{user}"' in engine.st2("whoami").stdout
    home = dict(engine.env, HOME=str(engine.folder))
    home.pop("ST2_API_KEY")
    engine.env, before = home, engine.env
    try:
        engine.st2("login", user, "-p", password, "-w")
        assert f'"{user}"' in engine.st2("whoami").stdout
    finally:
        engine.env = before


def test_apikey(engine):
    """create, list, get, disable, enable, delete."""
    made = as_json(engine, "apikey", "create", "-m", '{"for": "test"}')
    assert len(made["key"]) > 30
    assert made["id"] in engine.st2("apikey", "list").stdout
    assert as_json(engine, "apikey", "get", made["id"])["metadata"] == {"for": "test"}
    headers = {"St2-Api-Key": made["key"]}
    engine.st2("apikey", "disable", made["id"])
    answer = engine.request("GET", "/user", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["faultstring"] == "Unauthorized - API key is disabled."
    engine.st2("apikey", "enable", made["id"])
    assert engine.request("GET", "/user", headers=headers).status_code == 200
    engine.st2("apikey", "delete", made["id"])
    assert engine.request("GET", "/user", headers=headers).status_code == 401


def test_pack(engine):
    """list, get, register, config."""
    assert "enginedemo" in engine.st2("pack", "list").stdout
    assert as_json(engine, "pack", "get", "enginedemo")["version"] == "0.1.0"
    assert engine.st2("pack", "get", "nosuch", check=False).returncode != 0
    counts = as_json(engine, "pack", "register", "enginedemo")
    assert counts["rules"] == 2
    answer = engine.request("PUT", "/configs/enginedemo", json={"greeting": "bye", "token": "x"})
    assert answer.json()["values"] == {"greeting": "bye", "token": "********"}
    assert engine.get("/configs/enginedemo")["values"]["token"] == "********"
    assert engine.run("enginedemo.context")["result"]["result"]["greeting"] == "bye"
    answer = engine.request("PUT", "/configs/enginedemo", json={"greeting": 1})
    assert answer.status_code == 400
    assert 'Failed validating attribute "greeting"' in answer.json()["faultstring"]
    saved = yaml.safe_load((engine.folder / "configs/enginedemo.yaml").read_text())
    assert saved == {"greeting": "bye", "token": "x"}


def test_sensor(engine):
    """list, get, disable, enable."""
    ref = "enginedemo.DemoSensor"
    assert ref in engine.st2("sensor", "list").stdout
    assert as_json(engine, "sensor", "list", "-p", "enginedemo")[0]["ref"] == ref
    engine.st2("sensor", "disable", ref)
    assert as_json(engine, "sensor", "get", ref)["enabled"] is False
    engine.st2("sensor", "enable", ref)
    assert as_json(engine, "sensor", "get", ref)["enabled"] is True


def test_trigger_and_instances(engine):
    """trigger list and get; webhook create, trigger-instance list, get and re-emit."""
    assert "enginedemo.alert" in engine.st2("trigger", "list", "-p", "enginedemo").stdout
    trigger = as_json(engine, "trigger", "get", "enginedemo.alert")
    assert trigger["payload_schema"]["properties"]["host"]["type"] == "string"
    payload = {"host": "cli", "severity": "low"}
    body = {"trigger": "enginedemo.alert", "payload": payload}
    assert engine.request("POST", "/webhooks/st2", json=body).status_code == 202

    def processed():
        words = ("trigger-instance", "list", "--trigger", "enginedemo.alert")
        found = as_json(engine, *words, "--status", "processed")
        return found if found else None

    (instance,) = engine.wait_for(processed, "the trigger instance")
    assert instance["id"] in engine.st2("trigger-instance", "list").stdout
    shown = as_json(engine, "trigger-instance", "get", instance["id"])
    assert shown["payload"] == payload
    engine.st2("trigger-instance", "re-emit", instance["id"])
    engine.wait_for(
        lambda: len(engine.get("/triggerinstances", trigger="enginedemo.alert")) == 2, "the second"
    )
    newest = engine.get("/triggerinstances", trigger="enginedemo.alert", limit=1)[0]
    assert newest["payload"]["__context"] == {"original_id": instance["id"]}


def test_rule(engine, tmp_path):
    """create, list, get, update, disable, enable, delete; enforcement list and get."""
    file = tmp_path / "rule.yaml"
    rule = {
        "name": "cli",
        "pack": "default",
        "description": "Made by hand.",
        "enabled": True,
        "trigger": {"type": "enginedemo.alert"},
        "criteria": {"trigger.host": {"type": "equals", "pattern": "rule"}},
        "action": {"ref": "core.echo", "parameters": {"message": "{{ trigger.host }}"}},
    }
    file.write_text(yaml.safe_dump(rule))
    engine.st2("rule", "create", str(file))
    assert engine.st2("rule", "create", str(file), check=False).returncode != 0
    assert "default.cli" in engine.st2("rule", "list").stdout
    assert as_json(engine, "rule", "get", "default.cli")["criteria"] == rule["criteria"]
    body = {"trigger": "enginedemo.alert", "payload": {"host": "rule"}}
    engine.request("POST", "/webhooks/st2", json=body)
    enforcement = engine.wait_for(
        lambda: engine.get("/ruleenforcements", rule_ref="default.cli"), "the enforcement"
    )[0]
    assert enforcement["id"] in engine.st2("rule-enforcement", "list").stdout
    words = ("rule-enforcement", "list", "--rule", "default.cli")
    assert as_json(engine, *words)[0]["id"] == enforcement["id"]
    shown = as_json(engine, "rule-enforcement", "get", enforcement["id"])
    assert shown["execution_id"] == enforcement["execution_id"]
    file.write_text(yaml.safe_dump(dict(rule, description="Changed.")))
    engine.st2("rule", "update", "default.cli", str(file))
    assert as_json(engine, "rule", "get", "default.cli")["description"] == "Changed."
    engine.st2("rule", "disable", "default.cli")
    assert as_json(engine, "rule", "get", "default.cli")["enabled"] is False
    engine.st2("rule", "enable", "default.cli")
    assert as_json(engine, "rule", "get", "default.cli")["enabled"] is True
    engine.st2("rule", "delete", "default.cli")
    assert engine.st2("rule", "get", "default.cli", check=False).returncode != 0


def test_rule_with_an_unknown_operator(engine):
    """Refused with the list of those there are."""
    rule = {
        "name": "bad",
        "trigger": {"type": "enginedemo.alert"},
        "criteria": {"trigger.x": {"type": "zork", "pattern": "1"}},
        "action": {"ref": "core.noop"},
    }
    answer = engine.request("POST", "/rules", json=rule)
    assert answer.status_code == 400
    assert "operator zork not in list of allowed operators" in answer.json()["faultstring"]


def test_action(engine, tmp_path):
    """create, list, get, update, disable, enable, delete."""
    file = tmp_path / "action.yaml"
    action = {
        "name": "cli",
        "pack": "default",
        "runner_type": "local-shell-cmd",
        "entry_point": "",
        "enabled": True,
        "description": "Made by hand.",
        "parameters": {"cmd": {"default": "echo made"}},
    }
    file.write_text(yaml.safe_dump(action))
    engine.st2("action", "create", str(file))
    assert "default.cli" in engine.st2("action", "list", "-p", "default").stdout
    assert as_json(engine, "action", "get", "default.cli")["description"] == "Made by hand."
    file.write_text(yaml.safe_dump(dict(action, description="Changed.")))
    engine.st2("action", "update", "default.cli", str(file))
    assert as_json(engine, "run", "default.cli")["result"]["stdout"] == "made"
    engine.st2("action", "disable", "default.cli")
    assert as_json(engine, "action", "get", "default.cli")["enabled"] is False
    assert engine.st2("run", "default.cli", check=False).returncode != 0
    engine.st2("action", "enable", "default.cli")
    engine.st2("action", "delete", "default.cli")
    assert engine.st2("action", "get", "default.cli", check=False).returncode != 0


def test_run(engine):
    """Waiting, -j, -a, types of parameters, help, errors."""
    assert "hi there" in engine.st2("run", "core.echo", "message=hi there").stdout
    execution = as_json(engine, "run", "core.local", "cmd=echo 1", "timeout=5")
    assert execution["status"] == "succeeded"
    assert execution["result"]["stdout"] == 1
    output = engine.st2("run", "core.local", "cmd=true", "-a").stdout
    assert re.search("st2 execution get [0-9a-f]{24}", output)
    assert "Arbitrary Linux command" in engine.st2("run", "core.local", "-h").stdout
    flow = as_json(engine, "run", "enginedemo.flow", "host=cli")
    assert flow["result"]["output"] == {"said": "cli"}
    table = engine.st2("run", "enginedemo.flow").stdout
    assert "first" in table
    assert "core.local" in table
    failed = engine.st2("run", "core.local", "cmd=false", check=False)
    assert "failed" in failed.stdout
    assert failed.returncode != 0
    refused = engine.st2("run", "core.local", "cmd=1", "timeout=x", check=False)
    assert refused.returncode != 0


def test_execution(engine):
    """list with filters, get, output, cancel, re-run, tail."""
    made = as_json(engine, "run", "enginedemo.flow", "host=e")
    id_ = made["id"]
    assert id_ in engine.st2("execution", "list").stdout
    assert as_json(engine, "execution", "list", "-n", "1")
    words = ("execution", "list", "--action", "enginedemo.flow", "--status", "succeeded")
    assert id_ in [found["id"] for found in as_json(engine, *words, "-n", "-1")]
    assert "first" in engine.st2("execution", "get", id_).stdout
    assert as_json(engine, "execution", "get", id_)["result"]["output"] == {"said": "e"}
    again = as_json(engine, "execution", "re-run", id_, "host=again")
    assert again["result"]["output"] == {"said": "again"}
    again = engine.get(f"/executions/{again['id']}")
    assert again["context"]["re-run"] == {"ref": id_}
    body = {"action": "core.local", "parameters": {"cmd": "sleep 20"}}
    slow = engine.request("POST", "/executions", json=body).json()["id"]
    engine.wait_for(lambda: engine.get(f"/executions/{slow}")["status"] == "running", "running")
    engine.st2("execution", "cancel", slow)
    done = engine.finished(slow)
    assert done["status"] == "canceled"
    assert done["result"] == {"message": "Action canceled by user.", "user": "st2admin"}
    tail = engine.st2("execution", "tail", id_).stdout
    assert "has completed (status=succeeded)" in tail
    body = {"action": "enginedemo.flow", "parameters": {"seconds": 4}}
    running = engine.request("POST", "/executions", json=body).json()["id"]
    tail = engine.st2("execution", "tail", running).stdout
    assert f"Execution {running} has completed (status=succeeded)." in tail
    assert "Child execution (task=second)" in tail


def test_execution_lists(engine):
    """Counts, pages, attributes and time filters, as a pack reads them."""
    for _ in range(3):
        engine.run("core.noop")
    answer = engine.request("GET", "/executions", params={"action": "core.noop", "limit": 2})
    total = int(answer.headers["X-Total-Count"])
    assert total >= 3
    assert answer.headers["X-Limit"] == "2"
    newest, older = answer.json()
    assert newest["start_timestamp"] > older["start_timestamp"]
    params = {"action": "core.noop", "offset": total - 1}
    assert len(engine.get("/executions", **params)) == 1
    params = {"timestamp_gt": older["start_timestamp"], "action": "core.noop"}
    assert [e["id"] for e in engine.get("/executions", **params)] == [newest["id"]]
    params = {"include_attributes": "id,status,action.ref", "limit": 1, "parent": "null"}
    (small,) = engine.get("/executions", **params)
    assert set(small) == {"id", "status", "action"}
    assert set(small["action"]) == {"ref"}
    answer = engine.request("GET", "/executions", params={"exclude_attributes": "liveaction"})
    assert answer.status_code == 400
    assert engine.request("GET", "/executions", params={"limit": 0}).status_code == 400
    answer = engine.request("POST", "/executions", json={"action": "no.such"})
    assert answer.json()["faultstring"] == 'Action "no.such" cannot be found.'
    answer = engine.request("POST", "/executions", json={"action": "core.local"})
    assert answer.json()["faultstring"] == "'cmd' is a required property"
    answer = engine.request("GET", "/executions/zzz")
    assert answer.status_code == 404
    assert answer.json()["faultstring"] == 'Unable to identify resource with id "zzz".'


def test_key(engine, tmp_path):
    """set, get, list, delete, load; prefix, ttl, encrypt, decrypt, scope."""
    engine.st2("key", "set", "cli.a", "1")
    engine.st2("key", "set", "cli.b", "2", "--ttl", "100")
    engine.st2("key", "set", "cli.s", "plain", "--encrypt")
    engine.st2("key", "set", "cli.u", "mine", "-s", "user")
    assert as_json(engine, "key", "get", "cli.a")["value"] == "1"
    assert as_json(engine, "key", "get", "cli.b")["expire_timestamp"]
    assert as_json(engine, "key", "get", "cli.s")["value"] != "plain"
    assert as_json(engine, "key", "get", "cli.s", "-d")["value"] == "plain"
    assert as_json(engine, "key", "get", "cli.u", "-s", "user")["value"] == "mine"
    assert "cli.b" in engine.st2("key", "list", "--prefix", "cli.").stdout
    listed = as_json(engine, "key", "list", "-s", "system", "--prefix", "cli.")
    assert {key["name"] for key in listed} == {"cli.a", "cli.b", "cli.s"}
    everything = as_json(engine, "key", "list", "-s", "all", "--prefix", "cli.", "-d")
    assert {key["name"]: key["value"] for key in everything} == {
        "cli.a": "1",
        "cli.b": "2",
        "cli.s": "plain",
        "cli.u": "mine",
    }
    engine.st2("key", "delete", "cli.a")
    assert engine.st2("key", "get", "cli.a", check=False).returncode != 0
    file = tmp_path / "keys.json"
    file.write_text(json.dumps([{"name": "cli.loaded", "value": "v"}]))
    engine.st2("key", "load", str(file))
    assert as_json(engine, "key", "get", "cli.loaded")["value"] == "v"


def test_policy(engine, tmp_path):
    """list, get, update, types."""
    ref = "enginedemo.slow.concurrency"
    assert ref in engine.st2("policy", "list").stdout
    words = ("policy", "list", "--resource-ref", "enginedemo.slow")
    assert as_json(engine, *words)[0]["ref"] == ref
    file = tmp_path / "policy.json"
    for enabled in (False, True):
        policy = engine.get(f"/policies/{ref}")
        file.write_text(json.dumps(dict(policy, enabled=enabled)))
        engine.st2("policy", "update", ref, str(file))
        assert as_json(engine, "policy", "get", ref)["enabled"] is enabled
    assert "concurrency.attr" in engine.st2("policy-type", "list").stdout
    assert as_json(engine, "policy-type", "get", "action.retry")["parameters"]["delay"]


def test_webhook(engine):
    """list and get."""
    assert "enginedemo" in engine.st2("webhook", "list").stdout
    assert as_json(engine, "webhook", "get", "enginedemo")["parameters"] == {"url": "enginedemo"}


def test_trace(engine):
    """list by tag and by execution, get."""
    body = {"trigger": "enginedemo.alert", "payload": {"host": "t", "severity": "high"}}
    headers = {"St2-Trace-Tag": "cli-tag"}
    engine.request("POST", "/webhooks/st2", json=body, headers=headers)

    def complete():
        found = engine.get("/traces", trace_tag="cli-tag")
        return found if found and len(found[0]["action_executions"]) == 4 else None

    (trace,) = engine.wait_for(complete, "the trace")
    words = ("trace", "list", "--trace-tag", "cli-tag")
    assert trace["id"] in engine.st2(*words).stdout
    # A single trace is shown whole.
    assert as_json(engine, *words)["rules"][0]["ref"] == "enginedemo.on_alert"
    execution = trace["action_executions"][0]["object_id"]
    assert trace["id"] in engine.st2("trace", "list", "--execution", execution).stdout
    assert "enginedemo.on_alert" in engine.st2("trace", "get", trace["id"]).stdout


def test_runner(engine):
    """list and get."""
    assert "orquesta" in engine.st2("runner", "list").stdout
    assert as_json(engine, "runner", "get", "noop")["name"] == "noop"


@pytest.mark.parametrize("listing", ["rules", "rules/views", "sensortypes", "inquiries"])
def test_some_listings_ignore_the_offset(engine, listing):
    """As StackStorm's do: they answer the first page again."""
    pages = [engine.request("GET", f"/{listing}?offset={offset}").json() for offset in (0, 1000)]
    assert pages[0] == pages[1]
