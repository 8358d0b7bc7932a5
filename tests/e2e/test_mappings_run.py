"""The older example, a custom handler and a hundred mappings, run for real."""

import contextlib
import os

import pytest
import yaml

from tests.support.alerts import alert
from tests.support.fakes import FIXTURES
from tests.support.mapping_cases import OLDER
from tests.support.mapping_runs import ask, fire
from tests.support.remediations import EVIL_NAMES
from tests.support.world import World, unique


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """A World with the packs of the examples, and an SSH server that it can reach."""
    if os.environ.get("ST2_API_URL"):
        pytest.skip("needs packs and an SSH server beside StackStorm; the embedded engine has them")
    from tests.demo import servers

    if servers.missing():
        pytest.skip("bash tests/demo/install_servers installs %s" % ", ".join(servers.missing()))
    folder = tmp_path_factory.mktemp("mappings")
    packs = [os.path.join(FIXTURES, "packs", name) for name in ("linux", "my_pack")]
    with contextlib.ExitStack() as stack:
        sshd = stack.enter_context(servers.Sshd(folder / "sshd"))
        engine = servers.Engine(
            folder / "engine", packs=packs, env=sshd.env, local_instance_is_node=True
        )
        stack.enter_context(engine)
        yield World(engine.api_url, engine.api_key, engine.listener_url, engine.env), sshd


def test_the_example_of_the_older_documentation_runs(example):
    """On the host that the instance names, without its port."""
    world, sshd = example
    # As it stands, but for where this SSH server listens.
    text = OLDER.replace(
        'hosts: "{{instance}}"', 'hosts: "{{instance}}"\n          port: %d' % sshd.port
    )
    assert ask(world, "apply", text)["created"] == ["HighCPUUsage"]
    labels = {"instance": "127.0.0.1:9100", "severity": "critical", "service": "nginx"}
    workflow, steps = fire(world, "HighCPUUsage", labels=labels)
    assert workflow["status"] == "succeeded", workflow["result"]
    look, restart = steps
    assert "PID" in look["result"]["127.0.0.1"]["stdout"] and look["parameters"]["timeout"] == 60
    wanted = {"hosts": "127.0.0.1", "act": "restart", "service": "nginx"}
    assert restart["result"]["result"] == wanted
    _, steps = fire(world, "HighCPUUsage", labels=dict(labels, severity="warning", x="1"))
    assert len(steps) == 1, "conditions: severity"
    exported = ask(world, "export")["yaml"]
    assert ask(world, "apply", exported)["unchanged"] == ["HighCPUUsage"]
    ask(world, "apply", "alerts: {}")


def test_a_label_is_data_to_a_command_over_ssh(example, tmp_path):
    """Every field of an alert, one step each."""
    world, sshd = example
    mark, name = tmp_path / "mark", unique("E2eRemote")
    steps = [
        {
            "action": "core.remote",
            "parameters": {
                "hosts": "{{instance}}",
                "port": sshd.port,
                "cmd": "printf '(%%s)' {{labels.%s}}" % kind,
            },
        }
        for kind in sorted(EVIL_NAMES)
    ]
    ask(world, "apply", {name: {"actions": steps}})
    evil = {kind: text.format(mark=mark) for kind, text in EVIL_NAMES.items()}
    workflow, done = fire(world, name, labels=dict(evil, instance="127.0.0.1:9100"))
    ask(world, "apply", "alerts: {}")
    assert workflow["status"] == "succeeded", workflow["result"]
    said = [step["result"]["127.0.0.1"]["stdout"] for step in done]
    assert said == ["(%s)" % evil[kind] for kind in sorted(evil)]
    assert not mark.exists() and not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [None] + sorted(EVIL_NAMES))
def test_the_readmes_custom_handler_works(example, tmp_path, kind):
    """A rule, a workflow and an action replace the class; their executions are tracked."""
    world, _ = example
    unit = EVIL_NAMES[kind].format(mark=tmp_path / "mark") if kind else "nginx"
    _, steps = fire(world, unique("Disk_My_Keyword_"), labels={"unit": unit})
    assert steps[-1]["result"]["stdout"] == "check %s on web-01" % unit
    assert not list(tmp_path.iterdir())


def test_a_custom_handler_that_cannot_decide_fails_with_its_reason(example):
    """A missing label is a failure, not a rule that does not fire."""
    world, _ = example
    workflow, steps = fire(world, unique("Disk_My_Keyword_"))
    assert workflow["status"] == "failed"
    assert "no label unit" in steps[0]["result"]["result"]["error"]


def test_a_hundred_mappings_apply_run_and_export_to_the_same(world):
    """Each runs its own steps."""
    stem = unique("E2eHundred")
    alerts = {"%s_%d" % (stem, number): hundredth(number) for number in range(100)}
    assert len(ask(world, "apply", alerts)["created"]) == 100
    try:
        exported = ask(world, "export")["yaml"]
        assert yaml.safe_load(exported)["alerts"].keys() == alerts.keys()
        assert len(ask(world, "apply", exported)["unchanged"]) == 100
        fired = [
            alert(
                alertname=name,
                instance="host-%d:9100" % number,
                severity="warning",
                n=str(number),
            )
            for number, name in enumerate(sorted(alerts))
        ]
        row = world.completed(world.accept(*fired), timeout=400)
        assert [entry["outcome"] for entry in row["alerts"]] == ["not_needed"] * 100
        for entry in row["alerts"]:
            check_hundredth(world, row["request_id"], entry["fingerprint"], alerts)
    finally:
        ask(world, "apply", "alerts: {}")


def hundredth(number):
    """Return a mapping of one to three steps; the second runs only for every other alert."""
    severity = "warning" if number % 2 else "critical"
    steps = [
        {
            "name": "say",
            "action": "core.local",
            "parameters": {"cmd": 'printf "%d %%s %%s" "{{labels.n}}" {{alert.host}}' % number},
        },
        {"name": "maybe", "action": "core.noop", "conditions": {"severity": severity}},
        {"name": "last", "action": "core.noop", "continue_on_failure": True},
    ]
    return {"description": "number %d" % number, "actions": steps[: number % 3 + 1]}


def check_hundredth(world, request_id, fingerprint, alerts):
    found = world.api("GET", "/keys/poundcake.alert." + fingerprint)["value"]
    row = yaml.safe_load(found)
    (tracked,) = row["attempts"][-1]["executions"]
    children = world.api("GET", "/executions/%s/children" % tracked["execution_id"])
    number = int(row["alertname"].rpartition("_")[2])
    said = next(c for c in children if c["context"]["orquesta"]["task_name"] == "say")
    wanted = "%d %s %s" % (number, row["labels"]["n"], row["host"])
    assert said["result"]["stdout"] == wanted
    steps = number % 3 + 1
    runs = 1 + (steps > 1 and number % 2) + (steps > 2)
    assert len(children) == runs + 1, "and the check of the values"
