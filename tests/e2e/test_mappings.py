"""Mappings as YAML, end to end: applied, run by real alerts, exported, changed and removed."""

import json
import uuid

import pytest
import yaml

from tests.support.injection import EXPRESSIONS, SECRET_KEY
from tests.support.mapping_runs import PACK, ask, fire, run, task_of
from tests.support.remediations import EVIL_NAMES
from tests.support.world import unique

EMPTY = "alerts: {}\n"


@pytest.fixture
def mapped(world):
    """Return a function that applies mappings for the duration of a test."""
    yield lambda mappings: ask(world, "apply", mappings)
    ask(world, "apply", EMPTY)


def messages(steps):
    return [step["parameters"].get("message") for step in steps]


def say(message, **more):
    """Return a step that only logs the values of its templates."""
    step = {"action": "poundcake.log_notification", "parameters": {"message": message}}
    return dict(step, name=unique("say_"), **more)


def test_mappings_are_created_kept_changed_and_removed(world, mapped):
    """Nothing else is changed: neither other rules and actions, nor unchanged mappings."""
    one, two, three = unique("E2eOne"), unique("E2eTwo"), unique("E2eThree")
    with world.rule(one, "core.noop") as foreign:
        first = {one: {"actions": [say("a")]}, two: {"actions": [say("b")]}}
        assert mapped(first)["created"] == sorted([one, two])
        before = rules(world)
        again = mapped(first)
        assert (again["unchanged"], again["created"], again["updated"]) == (sorted(first), [], [])
        second = {one: first[one], three: {"actions": [say("c")]}}
        second[one] = {"description": "changed", "actions": [say("d")]}
        shown = ask(world, "preview", second)["changes"]
        assert {change["alertname"]: change["change"] for change in shown} == {
            one: "update",
            three: "create",
            two: "remove",
        }
        assert rules(world) == before, "a preview writes nothing"
        assert any("+description: changed" in change["difference"] for change in shown)
        done = mapped(second)
        assert (done["updated"], done["created"], done["removed"]) == ([one], [three], [two])
        assert rules(world)["default." + foreign["name"]] == foreign
    ask(world, "apply", EMPTY)
    found = world.api("GET", "/actions?pack=%s&limit=100" % PACK)
    assert not [action for action in found if action["name"].startswith("mapping_")]


def rules(world):
    return {rule["ref"]: rule for rule in world.api("GET", "/rules?limit=100")}


def test_what_is_not_ours_is_not_overwritten(world, mapped):
    """An action of the same name may exist."""
    name = unique("E2eTaken")
    body = {"name": "mapping_" + name, "pack": PACK, "runner_type": "noop", "entry_point": ""}
    made = world.api("POST", "/actions", json=body)
    try:
        status, result = run(world, "apply", {name: {"actions": [say("a")]}})
        assert status == "failed" and "was not made by apply_mappings" in result["error"]
    finally:
        world.api("DELETE", "/actions/" + made["id"], json={"remove_files": False})


def test_steps_run_in_order_under_their_conditions(world, mapped):
    """Severity, labels, required labels; an absent label is empty."""
    name = unique("E2eSteps")
    mapped(
        {
            name: {
                "parameters": {"service": "nginx"},
                "actions": [
                    say("1 {{alertname}} {{ instance }} {{severity}} {{alert.status}}"),
                    say("2 critical", conditions={"severity": ["critical", "page"]}),
                    say("3 warning", conditions={"severity": "warning"}),
                    say("4 prod", conditions={"labels": {"env": "prod"}, "has_labels": ["job"]}),
                    say("5 [{{labels.job}}]"),
                    say("6 {{annotations.summary}} {{parameters.service}} {{alert.attempt}}"),
                ],
            }
        }
    )
    workflow, steps = fire(world, name)
    assert workflow["status"] == "succeeded", workflow["result"]
    output = workflow["result"]["output"]
    assert output["outcome"] == "not_needed", "it only looked"
    assert messages(steps) == [
        "1 %s web-01:9100 warning firing" % name,
        "3 warning",
        "5 []",
        "6 %s on web-01:9100 nginx 1" % name,
    ]
    labels = {"env": "prod", "job": "node", "severity": "page"}
    _, steps = fire(world, name, labels=labels)
    assert [message[0] for message in messages(steps)] == ["1", "2", "4", "5", "6"]
    _, steps = fire(world, name, labels={"env": "prod", "n": "2"}, without=["severity", "instance"])
    assert messages(steps) == ["1 %s   firing" % name, "5 []", messages(steps)[2]]


def test_failures_retries_and_going_on(world, mapped):
    """After its retries, a failed step stops the rest, unless it continues on failure."""
    name = unique("E2eFailures")
    fail = {"action": "core.local", "parameters": {"cmd": "exit 3"}, "timeout": 20}
    mapped(
        {
            name: {
                "actions": [
                    dict(fail, name="optional", continue_on_failure=True, retry_count=1),
                    dict(
                        fail,
                        name="hard",
                        retry_count=2,
                        retry_delay=1,
                        conditions={"has_labels": ["severity"]},
                    ),
                    say("never"),
                ]
            }
        }
    )
    workflow, steps = fire(world, name)
    assert workflow["status"] == "failed"
    output = workflow["result"]["output"]
    assert output["outcome"] == "failed" and "the step hard failed" in output["reason"]
    assert output["failed_steps"] == ["optional", "hard"]
    ran = [task_of(step) for step in steps]
    assert ran == ["optional"] * 2 + ["hard"] * 3
    assert all(step["parameters"]["timeout"] == 20 for step in steps)


def test_a_timeout_ends_a_step(world, mapped):
    """In seconds; then the step has failed."""
    name = unique("E2eTimeout")
    step = {"name": "slow", "action": "core.local", "parameters": {"cmd": "sleep 60"}, "timeout": 1}
    mapped({name: {"actions": [dict(step, continue_on_failure=True)]}})
    workflow, steps = fire(world, name)
    assert workflow["status"] == "succeeded"
    assert [step["status"] for step in steps] == ["timeout"]
    assert workflow["result"]["output"]["failed_steps"] == ["slow"]


def test_a_host_loses_its_port_and_must_be_one(world, mapped):
    """A list or a user name in a label must not choose where a step runs."""
    name = unique("E2eHost")
    remote = {"action": "core.remote", "continue_on_failure": True, "timeout": 10}
    mapped(
        {
            name: {
                "actions": [
                    dict(remote, name="a", parameters={"hosts": "{{instance}}", "cmd": "true"}),
                    dict(remote, name="b", parameters={"hosts": "{{labels.node}}", "cmd": "true"}),
                ]
            }
        }
    )
    nodes = ["127.0.0.1:9100", "127.0.0.1,127.0.0.2", "root@127.0.0.1", "", "-oProxy=x", "::1"]
    for number, node in enumerate(nodes):
        own = "web-%d.invalid" % number  # a host each, as few remediations go to one in an hour
        _, steps = fire(world, name, labels={"instance": own + ":9100", "node": node})
        reached = [step["parameters"]["hosts"] for step in steps]
        assert reached == [own] + {0: ["127.0.0.1"], 5: ["::1"]}.get(number, []), node


@pytest.mark.parametrize("evil", sorted(EVIL_NAMES))
def test_a_label_is_data_to_every_command(world, mapped, tmp_path, evil):
    """Wherever the template is, the shell gets a value and runs nothing."""
    name, mark = unique("E2eCommand"), tmp_path / "mark"
    value = EVIL_NAMES[evil].format(mark=mark)
    # In round brackets: StackStorm decodes an output that is JSON.
    commands = [
        "printf '(%s)' {{labels.x}}",
        'printf "(%s)" "{{labels.x}}"',
        "true && printf '(%s)' a{{labels.x}}b | cat",
        "printf '(%s)' '{{labels.x}}'",
    ]
    steps = [{"action": "core.local", "parameters": {"cmd": cmd}} for cmd in commands]
    by_env = {"cmd": 'printf "(%s)" "$VALUE"', "env": {"VALUE": "{{labels.x}}"}}
    steps.append({"action": "core.local", "parameters": by_env})
    mapped({name: {"actions": steps}})
    workflow, done = fire(world, name, labels={"x": value})
    assert workflow["status"] == "succeeded", workflow["result"]
    said = [step["result"]["stdout"] for step in done]
    assert said == ["(%s)" % value] * 2 + ["(a%sb)" % value] + ["(%s)" % value] * 2
    assert not mark.exists() and not list(tmp_path.iterdir())


@pytest.mark.parametrize("index", range(len(EXPRESSIONS)))
def test_no_expression_in_an_alert_is_evaluated(world, mapped, index):
    """Wherever in a mapping a template is."""
    evil, name = EXPRESSIONS[index], unique("E2eMappingSecret")
    value = "secret-" + uuid.uuid4().hex
    world.st2("key", "set", SECRET_KEY, value, "--encrypt")
    texts = ["{{labels.evil}}", "{{annotations.evil}}", "{ {{labels.evil}} }", "<{{labels.evil}}>"]
    texts = [text.replace("<", "< ") for text in texts] + ["{{labels.left}}{{labels.right}}"]
    steps = [say(text, conditions={"has_labels": ["evil"]}) for text in texts]
    local = {"cmd": "printf %s {{labels.evil}}", "env": {"ALSO": "{{annotations.evil}}"}}
    steps.append({"action": "core.local", "parameters": local})
    mapped({name: {"actions": steps}})
    try:
        labels = {"evil": evil, "left": evil[:1], "right": evil[1:], "severity": evil}
        workflow, done = fire(world, name, labels=labels, annotations={"evil": evil})
        assert workflow["status"] == "succeeded" and len(done) == len(steps), workflow["result"]
        assert value not in json.dumps([workflow, done])
    finally:
        world.st2("key", "delete", SECRET_KEY)


def test_export_gives_the_same_mappings(world, mapped):
    """Applying an export changes nothing; changes from the web UI are exported."""
    name = unique("E2eExport")
    step = {"name": "look", "action": "core.local", "timeout": 30}
    step["parameters"] = {"cmd": 'echo "{{instance}}" {{labels.a}}', "env": {"X": "{{severity}}"}}
    conditions = {"severity": ["a", "b"], "labels": {"p": "50%>"}, "has_labels": ["job"]}
    mapped({name: {"enabled": False, "actions": [dict(step, conditions=conditions)]}})
    text = ask(world, "export")["yaml"]
    assert ask(world, "apply", text)["unchanged"] == [name]
    ref = "/actions/%s.mapping_%s" % (PACK, name)
    action = world.api("GET", ref)
    workflow = world.api("GET", ref.replace("/actions", "/actions/views/entry_point"))
    save(world, action, workflow.replace("timeout: 30", "timeout: 31"))
    assert (
        yaml.safe_load(ask(world, "export")["yaml"])["alerts"][name]["actions"][0]["timeout"] == 31
    )
    save(world, action, workflow.replace("          - fail", "          - noop"))
    status, result = run(world, "export")
    assert status == "failed" and "mapping_" + name in result["error"]
    assert ask(world, "apply", text)["updated"] == [name]
    assert ask(world, "export")["yaml"] == text


def save(world, action, workflow):
    """Save a workflow as the web UI does."""
    names = ("name", "pack", "runner_type", "enabled", "entry_point", "description")
    body = {key: action[key] for key in names + ("parameters", "tags")}
    body["data_files"] = [{"file_path": action["entry_point"], "content": workflow}]
    world.api("PUT", "/actions/" + action["id"], json=body)


def test_values_come_from_the_config_of_the_pack(world):
    """A setting that is not set is empty."""
    name = unique("E2eConfig")
    step = say("[{{config.host}}] [{{config.not_set}}]")
    ask(world, "apply", {name: {"actions": [step]}}, pack="poundcake")
    try:
        _, steps = fire(world, name)
        assert messages(steps) == ["[127.0.0.1] []"]
        status, result = run(
            world, "validate", {name: {"actions": [say("{{config.token}}")]}}, pack="poundcake"
        )
        assert status == "failed" and "config.token is a secret" in result["mistakes"][0]
    finally:
        ask(world, "apply", EMPTY, pack="poundcake")


def test_what_a_person_disabled_stays_disabled(world, mapped):
    """Unless the mapping says otherwise."""
    name = unique("E2eDisabled")
    mapping = {name: {"actions": [say("a")]}}
    mapped(mapping)
    ref = "%s.mapping_%s" % (PACK, name)
    world.st2("rule", "disable", ref)
    assert mapped(mapping)["unchanged"] == [name]
    assert world.api("GET", "/rules/" + ref)["enabled"] is False
    mapping[name]["enabled"] = True
    assert mapped(mapping)["updated"] == [name]
    assert world.api("GET", "/rules/" + ref)["enabled"] is True


def test_validation_tells_every_mistake_with_its_line(world):
    """At once; nothing is written."""
    text = """\
alerts:
  A:
    actions:
      - action: core.locl
        parameters: {cmd: "true"}
      - action: core.local
        parameters:
          comand: "true"
          cmd: echo {{lables.x}}
      - action: core.echo
        parameters: {message: "{{labels.x}}"}
"""
    for action in ("validate", "apply", "preview"):
        status, result = run(world, action, text)
        assert status == "failed"
        lines = [mistake.split(":")[1] for mistake in result["mistakes"]]
        assert lines == ["4", "8", "9", "11"], result
        assert "did you mean core.local?" in result["mistakes"][0]
    good = ask(world, "validate", {"A": {"actions": [say("x")]}})
    assert good == {"valid": True, "alerts": 1, "steps": 1}


@pytest.mark.parametrize("unit", ["reboot.target", "ssh", "", "*", "a b", "nginx"])
def test_a_value_of_the_wrong_type_fails_its_step(world, mapped, unit):
    """With its name, before anything of the step runs."""
    name = unique("E2eType")
    cmd = "echo {{labels.service | unit}} {{parameters.percent}}"
    step = {"name": "restart", "action": "core.local", "parameters": {"cmd": cmd}}
    mapped({name: {"parameters": {"percent": 90}, "actions": [dict(step, phase="remediation")]}})
    workflow, steps = fire(world, name, labels={"service": unit})
    output = workflow["result"]["output"]
    if unit == "nginx":
        assert [step["result"]["stdout"] for step in steps] == ["nginx 90"]
        assert (output["outcome"], output["remediation"]) == ("remediated", "ran restart")
    else:
        assert steps == [] and workflow["status"] == "failed"
        assert (output["outcome"], output["failed_steps"]) == ("failed", ["restart"])
        assert "restart was not started - labels.service: " in output["reason"]


def test_a_mapping_whose_conditions_do_not_hold_is_not_needed(world, mapped):
    """Nothing was done, and the alert says so."""
    name = unique("E2eNotNeeded")
    fix = {"action": "core.local", "parameters": {"cmd": "exit 3"}}
    mapped({name: {"actions": [dict(fix, conditions={"severity": "page"})]}})
    workflow, steps = fire(world, name)
    assert (workflow["status"], steps) == ("succeeded", [])
    output = workflow["result"]["output"]
    assert output["outcome"] == "not_needed"
    assert output["remediation"] == "none, no condition of a step held"
