"""The workflows of mappings, conducted by the real Orquesta, compared with the mappings."""

import re

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from poundcake.inert import inert
from poundcake.mappings import content as mapping_content

from tests.engine.workflows import Workflow
from tests.support.fakes import PROPERTY, TRICKY_TEXT
from tests.support.mapping_cases import ACTIONS
from tests.support.mapping_cases import mappings as some_mappings

ST2 = {"action_execution_id": "a", "api_url": "", "user": "u", "pack": "p", "action": "p.a"}
CONFIG = {"region": "eu"}
LABELS = st.dictionaries(
    st.sampled_from(["job", "service", "severity", "a_1", "items", "app.kubernetes.io/name"]),
    st.one_of(
        st.sampled_from(
            ["critical", "warning", "yes", "a b", "x%>y", '"q"', "\\n", "", "web:9100"]
        ),
        TRICKY_TEXT.filter(lambda text: "\ud800" not in text and "\udfff" not in text),
    ),
)
INSTANCES = st.sampled_from(["web-01", "", "10.0.0.1"])


def payload(labels, host):
    """The part of the payload of poundcake.alert that mappings use."""
    found = {"alertname": "A", "severity": labels.get("severity", ""), "status": "firing"}
    found.update(instance=host and host + ":9100", host=host, attempt=1)
    return inert(dict(found, labels=labels, annotations={"summary": labels.get("job", "")}))


def value_of(name, mapping, alert):
    """Return the value of a template."""
    group, _, key = name.partition(".")
    if group == "parameters":
        return mapping.parameters.get(key, "")
    if group == "config":
        return CONFIG.get(key, "")
    if group in ("labels", "annotations"):
        return alert[group].get(key, "")
    return str(alert[key or group])


def rendered(value, mapping, alert):
    if isinstance(value, str):
        return re.sub(r"\{\{(.*?)\}\}", lambda m: str(value_of(m.group(1), mapping, alert)), value)
    return value


def holds(conditions, alert):
    labels = alert["labels"]
    return (
        (not conditions.severity or alert["severity"] in conditions.severity)
        and all(labels.get(k, "") in [inert(v) for v in vs] for k, vs in conditions.labels.items())
        and all(labels.get(label) for label in conditions.has_labels)
    )


def host_of(step, alert):
    """Return the host of a step, or None when it does not come from the alert."""
    template = step.parameters.get("hosts")
    if template == "{{instance}}":
        return alert["host"]
    if template == "{{labels.job}}":
        name = r"([0-9A-Za-z][0-9A-Za-z._-]*)(:[0-9]+)?"
        address = r"([0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)"
        label = alert["labels"].get("job", "")
        found = re.fullmatch(name, label) or re.fullmatch(address, label)
        return found.group(1) if found else ""
    return None


def expected(mapping, alert, fails):
    """Return (step name, number of runs) in order, the workflow's status, and the failed steps."""
    ran, failed_steps = [], []
    for step in mapping.steps:
        if not holds(step.conditions, alert):
            continue
        failed = host_of(step, alert) == ""
        if not failed:
            runs = min(fails.get(step.name, 0), step.retry_count) + 1
            ran.append((step, runs))
            failed = fails.get(step.name, 0) >= runs
        if failed:
            failed_steps.append(step.name)
            if not step.continue_on_failure:
                return ran, "failed", failed_steps
    return ran, "succeeded", failed_steps


@settings(PROPERTY, max_examples=150)
@given(
    some_mappings("A"),
    LABELS,
    INSTANCES,
    st.dictionaries(st.sampled_from(["step_%d" % n for n in range(1, 6)]), st.sampled_from([1, 3])),
)
def test_the_workflow_does_what_the_mapping_says(mapping, labels, host, fails):
    """Which steps run, how often, and with which values, whatever text the alert has."""
    alert = payload(labels, host)
    content = mapping_content.build(mapping, "p", ACTIONS)
    inputs = {"alert": alert, "parameters": mapping.parameters, "config": CONFIG}
    inputs = {name: inputs[name] for name in content.action["parameters"]}
    workflow = Workflow.start(
        content.workflow_text, inputs, {"st2": ST2, "parent": {}}, lambda *_: None, find_action
    )
    assert workflow.status != "failed", workflow.result
    ran = run(workflow, dict(fails))
    steps, status, failed_steps = expected(mapping, alert, fails)
    assert [name for name, _, _ in ran] == [s.name for s, runs in steps for _ in range(runs)]
    assert workflow.status == status, workflow.result
    output = workflow.result["output"]
    assert list(output["failed_steps"]) == failed_steps
    if status == "succeeded":
        assert output["outcome"] == "done" and output["reason"] is None
    else:
        assert output["outcome"] == "stopped at " + failed_steps[-1]
    for step, _ in steps:
        inputs, delay = next((given, delay) for name, given, delay in ran if name == step.name)
        assert delay == 0
        check_inputs(step, inputs, mapping, alert)


def check_inputs(step, given, mapping, alert):
    given = dict(given)
    assert given.pop("timeout", None) == step.timeout
    wanted = {
        name: rendered(value, mapping, alert)
        for name, value in step.parameters.items()
        if name not in ("cmd", "env", "hosts")
    }
    if "hosts" in step.parameters:
        host = host_of(step, alert)
        whole = rendered(step.parameters["hosts"], mapping, alert)
        assert given.pop("hosts") == (whole if host is None else host)
    env = given.pop("env", {})
    if "cmd" in step.parameters:
        cmd = given.pop("cmd")
        values = {**labels_in(cmd, env)}
        text = rendered(step.parameters["cmd"], mapping, alert)
        assert re.sub(r"\$\{(\w+)\}", lambda m: values[m.group(1)], cmd) == text
    for name, value in (step.parameters.get("env") or {}).items():
        assert env[name] == rendered(value, mapping, alert)
    assert given == wanted


def labels_in(cmd, env):
    return {name: env[name] for name in re.findall(r"\$\{(\w+)\}", cmd)}


def find_action(ref):
    info = ACTIONS[ref]
    return {"ref": ref, "parameters": info.own}, {"runner_parameters": info.of_runner}


def run(workflow, fails):
    """Run a workflow's actions; return (task, input, delay) of each in order."""
    ran = []
    while True:
        requests = list(workflow.next_actions())
        if not requests:
            return ran
        for request in requests:
            name = request.context["task_name"]
            ran.append((name, request.input, request.delay))
            fails[name] = fails.get(name, 0) - 1
            workflow.update(request.context, "failed" if fails[name] >= 0 else "succeeded", {})


def test_inspection_finds_nothing_and_is_quick_for_many_steps():
    """Fifty steps with conditions: Orquesta must not walk every combination of them."""
    steps = [
        {
            "action": "core.noop",
            "conditions": {"has_labels": ["x"]},
            "continue_on_failure": n % 2 > 0,
        }
        for n in range(50)
    ]
    from poundcake.mappings import model

    book = model.parse([("m", yaml.safe_dump({"alerts": {"A": {"actions": steps}}}))])
    content = mapping_content.build(book.mappings["A"], "p", ACTIONS)
    inputs = {"alert": payload({}, "")}
    workflow = Workflow.start(
        content.workflow_text, inputs, {"st2": ST2, "parent": {}}, lambda *_: None, find_action
    )
    assert run(workflow, {}) == [] and workflow.status == "succeeded"
