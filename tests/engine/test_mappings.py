"""The workflows of mappings, conducted by the real Orquesta, compared with the mappings."""

import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from poundcake.errors import ExpectedError
from poundcake.inert import inert
from poundcake.mappings import actions, model, places, templates, values
from poundcake.mappings import content as mapping_content
from poundcake.settings import from_config
from poundcake.typed_values import check

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


def value_of(template, step, mapping, alert):
    """Return the value of a template, as text."""
    group, _, key = template.name.partition(".")
    if group == "parameters":
        value = step.values[key] if key in step.values else mapping.parameters.get(key, "")
        return str(value).lower() if isinstance(value, bool) else str(value)
    if group == "config":
        return CONFIG.get(key, "")
    if template.kind == "host":
        value = alert["host"] if template.name == "instance" else alert[group].get(key, "")
        return values.without_port(value)
    if group in ("labels", "annotations"):
        return alert[group].get(key, "")
    return str(alert[key or group])


def rendered(value, step, mapping, alert):
    if not isinstance(value, str):
        return value
    parts = templates.split(value)
    texts = [p if isinstance(p, str) else value_of(p, step, mapping, alert) for p in parts]
    return "".join(texts)


def is_startable(step, mapping, alert):
    """Return whether every value of a step is of its type."""
    for template in places.templates_of(places.typed(step, ACTIONS[step.action])):
        try:
            if template.kind:
                check(template.kind, value_of(template, step, mapping, alert), template.name)
        except ExpectedError:
            return False
    return True


def holds(conditions, alert):
    labels = alert["labels"]
    return (
        (not conditions.severity or alert["severity"] in conditions.severity)
        and all(labels.get(k, "") in [inert(v) for v in vs] for k, vs in conditions.labels.items())
        and all(labels.get(label) for label in conditions.has_labels)
    )


def expected(mapping, alert, fails):
    """Return what a workflow should do.

    :returns: (step, number of runs) in order, the workflow's status, the failed steps, and the
        outcome.
    """
    ran, failed_steps, outcomes = [], [], set()
    for step in mapping.steps:
        if not holds(step.conditions, alert):
            continue
        failed = not is_startable(step, mapping, alert)
        if not failed:
            runs = min(fails.get(step.name, 0), step.retry_count) + 1
            ran.append((step, runs))
            failed = fails.get(step.name, 0) >= runs
        phase = step.phase or actions.phase_of(step.action, {**step.values, **step.parameters})
        outcomes.add((phase, failed))
        if failed:
            failed_steps.append(step.name)
            if not step.continue_on_failure:
                return ran, "failed", failed_steps, "failed"
    outcome = "not_needed"
    if ("escalation", False) in outcomes:
        outcome = "escalated"
    if ("remediation", True) in outcomes or ("escalation", True) in outcomes:
        outcome = "failed"
    if ("remediation", False) in outcomes:
        outcome = "remediated"
    return ran, "succeeded", failed_steps, outcome


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
    content = mapping_content.build(mapping, "p", ACTIONS, 300)
    inputs = {"alert": alert, "config": CONFIG}
    inputs = {name: inputs[name] for name in content.action["parameters"]}
    workflow = Workflow.start(
        content.workflow_text, inputs, {"st2": ST2, "parent": {}}, lambda *_: None, find_action
    )
    assert workflow.status != "failed", workflow.result
    ran = run(workflow, dict(fails))
    steps, status, failed_steps, outcome = expected(mapping, alert, fails)
    assert [name for name, _, _ in ran] == [s.name for s, runs in steps for _ in range(runs)]
    assert workflow.status == status, workflow.result
    output = workflow.result["output"]
    assert list(output["failed_steps"]) == failed_steps
    assert output["outcome"] == outcome
    assert (output["reason"] is None) == (status == "succeeded")
    for step, _ in steps:
        inputs, delay = next((given, delay) for name, given, delay in ran if name == step.name)
        assert delay == 0
        check_inputs(step, inputs, mapping, alert)


def check_inputs(step, given, mapping, alert):
    given = dict(given)
    limit = step.timeout or (300 if ACTIONS[step.action].takes_default_timeout else None)
    assert given.pop("timeout", None) == limit
    parameters = places.typed(step, ACTIONS[step.action])
    env = given.pop("env", {})
    for name, value in parameters.pop("env", {}).items():
        assert env[name] == rendered(value, step, mapping, alert)
    if "cmd" in parameters:
        command = given.pop("cmd").replace("'\"${", "${").replace("}\"'", "}").replace('"', "")
        wanted = rendered(parameters.pop("cmd"), step, mapping, alert).replace('"', "")
        filled = re.sub(r"\$\{(\w+)\}", lambda match: env[match.group(1)].replace('"', ""), command)
        assert filled == wanted
    assert given == {k: rendered(v, step, mapping, alert) for k, v in parameters.items()}


def find_action(ref):
    if ref == "poundcake.check_values":
        return {"ref": ref, "parameters": {"steps": {}}}, {"runner_parameters": {}}
    info = ACTIONS[ref]
    return {"ref": ref, "parameters": info.own}, {"runner_parameters": info.of_runner}


def run(workflow, fails, results=None):
    """Run a workflow's actions; return (task, input, delay) of each in order."""
    ran = []
    while True:
        requests = list(workflow.next_actions())
        if not requests:
            return ran
        for request in requests:
            name = request.context["task_name"]
            if name == model.CHECK_TASK:
                answer = inert(values.check(request.input["steps"], from_config({})))
                workflow.update(request.context, "succeeded", {"result": answer})
                continue
            ran.append((name, request.input, request.delay))
            fails[name] = fails.get(name, 0) - 1
            workflow.update(
                request.context,
                "failed" if fails[name] >= 0 else "succeeded",
                (results or {}).get(name, {}),
            )


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
    book = model.parse([("m", yaml.safe_dump({"alerts": {"A": {"actions": steps}}}))])
    content = mapping_content.build(book.mappings["A"], "p", ACTIONS)
    inputs = {"alert": payload({}, "")}
    workflow = Workflow.start(
        content.workflow_text, inputs, {"st2": ST2, "parent": {}}, lambda *_: None, find_action
    )
    assert run(workflow, {}) == [] and workflow.status == "succeeded"


# --- outcomes -------------------------------------------------------------------------------------


def outputs(steps, labels=None, results=None, fails=None):
    """Run a mapping of some steps; return the outputs of its workflow."""
    book = model.parse([("m", yaml.safe_dump({"alerts": {"A": {"actions": steps}}}))])
    assert book.mistakes == []
    content = mapping_content.build(book.mappings["A"], "p", OUTCOME_ACTIONS)
    inputs = {"alert": payload(labels or {}, "web-01")}
    workflow = Workflow.start(
        content.workflow_text,
        inputs,
        {"st2": ST2, "parent": {}},
        lambda *_: None,
        lambda ref: ({"ref": ref, "parameters": {}}, {}) if ref in NEW else find_action(ref),
    )
    run(workflow, dict(fails or {}), results or {})
    return workflow.result["output"]


FIX = {"name": "fix", "action": "my.fix"}
LOOK = {"name": "look", "action": "core.noop"}
TELL = {"name": "tell", "action": "chat.post", "parameters": {"message": "x"}}
VERIFY = {"name": "verify", "action": "core.noop", "phase": "verification"}
SUB = {"name": "sub", "action": "my.workflow"}
NEW = {
    "my.fix": actions.ActionInfo("python-script", {}, {}),
    "my.workflow": actions.ActionInfo("orquesta", {}, {}),
}
OUTCOME_ACTIONS = {**ACTIONS, **NEW}
NEVER = {"conditions": {"has_labels": ["nope"]}}
GO_ON = {"continue_on_failure": True}


@pytest.mark.parametrize(
    "steps, outcome, remediation, verification",
    [
        ([LOOK, FIX, VERIFY], "remediated", "ran fix", "verify succeeded"),
        ([dict(FIX, **NEVER)], "not_needed", "none, no condition of a step held", ""),
        ([LOOK, dict(FIX, **NEVER)], "not_needed", "none", ""),
        ([LOOK, TELL], "escalated", "none", ""),
        ([TELL, FIX], "remediated", "ran fix", ""),
        ([dict(FIX, name="bad"), TELL], "failed", "none, it stopped before", ""),
        ([dict(FIX, name="bad", **GO_ON), TELL], "failed", "none", ""),
        ([dict(FIX, name="bad", **GO_ON), FIX], "remediated", "ran fix", ""),
        ([FIX, dict(VERIFY, name="bad", **GO_ON)], "remediated", "ran fix", "bad failed"),
        ([FIX, dict(VERIFY, name="bad")], "failed", "ran fix", ""),
        ([dict(LOOK, name="bad", **GO_ON)], "not_needed", "none", ""),
    ],
)
def test_the_outcome_says_what_was_done(steps, outcome, remediation, verification):
    """Looking is not remediating, and telling a person is escalating."""
    output = outputs(steps, fails={"bad": 1})
    assert output["outcome"] == outcome
    assert (output["remediation"], output["verification"]) == (remediation, verification)


@pytest.mark.parametrize(
    "result, outcome",
    [
        ({"output": {"outcome": "not_needed"}}, "not_needed"),
        ({"output": {"outcome": "escalated"}}, "escalated"),
        ({"output": {"outcome": "remediated"}}, "remediated"),
        ({"output": {"outcome": "anything else"}}, "remediated"),
        ({"output": {}}, "remediated"),
        ({"output": None}, "remediated"),
        ({}, "remediated"),
    ],
)
@pytest.mark.parametrize("more", [{}, {"conditions": {"has_labels": ["job"]}}])
def test_a_workflow_as_a_step_says_its_own_outcome(result, outcome, more):
    """A dry run of service_down remediates nothing, under conditions too."""
    output = outputs([dict(SUB, **more)], {"job": "x"}, {"sub": result})
    assert output["outcome"] == outcome


@pytest.mark.parametrize(
    "value, in_text", [(True, "true"), (5, "5"), (0.5, "0.5"), ("nginx", "nginx")]
)
@pytest.mark.parametrize("place", ["step", "alert"])
def test_a_value_of_the_author_reads_in_a_text_as_in_the_mapping(place, value, in_text):
    """Alone it keeps its type, within a longer text it is written as YAML writes it."""
    own = {"parameters": {"own": value}}
    of_step = own["parameters"] if place == "step" else {}
    parameters = {"channel": "{{parameters.own}}", "message": "own={{parameters.own}}"}
    step = {"action": "chat.post", "parameters": {**parameters, **of_step}}
    document = {"actions": [step], **(own if place == "alert" else {})}
    mapping = model.parse([("m", yaml.safe_dump({"alerts": {"A": document}}))]).mappings["A"]
    content = mapping_content.build(mapping, "p", ACTIONS)
    inputs = {"alert": payload({}, "web-01")}
    context = {"st2": ST2, "parent": {}}
    workflow = Workflow.start(content.workflow_text, inputs, context, lambda *_: None, find_action)
    [(_, given, _)] = run(workflow, {})
    assert (given["channel"], given["message"]) == (value, f"own={in_text}")


def test_a_value_of_the_wrong_type_fails_its_step_alone():
    """With its name; a step before it runs, and one whose condition is false is no failure."""
    restart = {
        "name": "restart",
        "action": "core.local",
        "parameters": {"cmd": "systemctl restart -- {{labels.service}}"},
    }
    output = outputs([FIX, restart], {"service": "reboot.target"})
    assert (output["outcome"], output["failed_steps"]) == ("failed", ["restart"])
    assert output["reason"].startswith("the step restart was not started - labels.service: ")
    assert output["remediation"] == "ran fix"
    output = outputs([dict(restart, **GO_ON), FIX], {"service": ""})
    assert (output["outcome"], output["failed_steps"]) == ("remediated", ["restart"])
    output = outputs([dict(restart, conditions={"severity": "x"})], {"service": "reboot.target"})
    assert (output["outcome"], output["failed_steps"]) == ("not_needed", [])
