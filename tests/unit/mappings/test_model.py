"""Mappings: YAML to values and back, all mistakes at once, StackStorm's content and back."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from poundcake.errors import MappingError
from poundcake.mappings import actions, checks, model, templates
from poundcake.mappings import content as mapping_content
from poundcake.mappings.restore import restore

from tests.support.fakes import PACK, PROPERTY, assert_inert
from tests.support.mapping_cases import ACTIONS, OLDER
from tests.support.mapping_cases import mappings as some_mappings

# The example of the older documentation.


TIMEOUT = 300
SETTINGS = {"token": {"secret": True}, "port": {"type": "integer"}, "list": {"type": "array"}}


def parsed(text, file="m.yaml"):
    """Return the Book of a text, checked against ACTIONS."""
    book = model.parse([(file, text)])
    checks.check(book, ACTIONS, list(ACTIONS), SETTINGS)
    return book


def only(text):
    book = parsed(text)
    assert book.mistakes == []
    (mapping,) = book.mappings.values()
    return mapping


def built(mapping):
    return mapping_content.build(mapping, "poundcake", ACTIONS, TIMEOUT)


def restored(content):
    workflow = yaml.safe_load(content.workflow_text)
    return restore(content.action, content.rule, workflow, TIMEOUT)


# --- there and back -------------------------------------------------------------------------------


@PROPERTY
@given(st.lists(some_mappings(), max_size=3, unique_by=lambda mapping: mapping.alertname))
def test_yaml_keeps_what_a_mapping_says(found):
    """Even quotes, colons and strings that YAML would read as numbers."""
    book = model.parse([("m.yaml", model.dump(found))])
    assert book.mistakes == []
    assert list(book.mappings.values()) == found


@settings(PROPERTY, max_examples=40)
@given(some_mappings())
def test_the_content_says_all_that_a_mapping_says(mapping):
    """So an export equals the mapping, and applying it changes nothing."""
    content = built(mapping)
    back = restored(content)
    assert built(back) == content
    assert [(step.name, step.conditions) for step in back.steps] == [
        (step.name, step.conditions) for step in mapping.steps
    ]
    assert (back.alertname, back.parameters) == (mapping.alertname, mapping.parameters)
    assert restored(built(back)) == back


@settings(PROPERTY, max_examples=40)
@given(some_mappings())
def test_a_mapping_without_mistakes_has_none(mapping):
    """The generated mappings are valid, otherwise the other tests would test little."""
    assert parsed(model.dump([mapping])).mistakes == []


def test_a_hundred_mappings_have_a_hundred_names():
    """Whatever the alerts are called."""
    names = ["A%d" % number for number in range(50)] + ["A %d" % number for number in range(50)]
    assert len({mapping_content.name_of(name) for name in names}) == 100


def test_the_example_of_the_older_documentation_is_good():
    """Unchanged, although linux.service has other names for host and action."""
    mapping = only(OLDER)
    tasks = built(mapping).workflow["tasks"]
    assert set(tasks["restart_service"]["input"]) == {"hosts", "service", "act", "timeout"}
    exported = model.dump([restored(built(mapping))])
    assert built(only(exported)) == built(mapping)


def test_templates_of_all_the_formats_are_one():
    """The older formats and those of the integration guide."""
    text = "alerts: {A: {actions: [{action: chat.post, parameters: {message: %r}}]}}"
    older = "{{alertname}} {{ instance }} {{severity}} {{labels.k}} {{annotations.k}}"
    newer = "{{alert.alert_name}} {{alert.instance}} {{alert.severity}} {{alert.labels.k}} "
    newer += "{{ alert.annotations.k }}"
    assert built(only(text % older)) == built(only(text % newer))


def test_what_stackstorm_sees_of_an_alerts_name_is_inert():
    """The alert name in the payload, with which it is compared, is inert too."""
    for name in ("{{ x }}", "<% x %>", "%x"):
        content = built(only(model.dump([model.Mapping(name, (a_step(),))])))
        assert_inert(content.rule["criteria"]["trigger.alertname"]["pattern"])
        assert restored(content).alertname == name


def a_step(**more):
    return model.Step(**dict({"name": "s", "action": "core.noop"}, **more))


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w["tasks"]["step_1"].pop("next"),
        lambda w: w["tasks"].update(x={"action": "core.noop", "next": [{"do": "y"}]}),
        lambda w: w["vars"].append({"runs": {"step_1": "<% st2kv('system.x') %>"}}),
        lambda w: w["tasks"]["step_1"].update(input={"message": "<% st2kv('system.x') %>"}),
        lambda w: w.update(vars=None),
        lambda w: w.update(tasks=[]),
    ],
)
def test_content_of_another_form_is_no_mapping(change):
    """Whatever someone wrote in the web UI."""
    mapping = only("alerts: {A: {actions: [{action: core.noop}]}}")
    content = built(mapping)
    change(content.workflow)
    with pytest.raises(MappingError):
        restore(content.action, content.rule, content.workflow)


# --- mistakes -------------------------------------------------------------------------------------


def test_every_mistake_is_reported_at_once_with_its_line():
    """Many mistakes, in order."""
    text = """\
alerts:
  A:
    handler: my_handler
    enabeld: true
    actions:
      - name: fail
        action: core.local
        timeout: -1
        parameters:
          cmd: echo {{labels.x}} | sh
          hots: x
      - action: nope
  A:
    actions: []
  B:
    description: "{{instance}}"
    actions:
      - action: chat.pots
        conditions: {severity: [], labels: {alertname: C, code: 5}}
"""
    found = [(mistake.line, mistake.problem) for mistake in sorted_mistakes(parsed(text))]
    assert [line for line, _ in found] == [13, 14, 16, 18, 19, 19, 19]
    text = text.replace("  A:\n    actions: []\n", "")
    found = [(mistake.line, mistake.problem) for mistake in sorted_mistakes(parsed(text))]
    assert [line for line, _ in found] == [3, 4, 6, 8, 10, 11, 12, 14, 16, 17, 17, 17]
    assert all(len(told) > 15 for _, told in found)
    assert "did you mean enabled?" in found[1][1]
    assert "did you mean chat.post?" in found[8][1]


def sorted_mistakes(book):
    return sorted(book.mistakes, key=lambda mistake: mistake.line)


STEP = "alerts: {A: {parameters: {p: v}, actions: [{%s}]}}"


@pytest.mark.parametrize(
    "step, told",
    [
        ("action: core.local", "needs the parameter cmd"),
        ("action: core.local, parameters: {cmd: x, sudo: true}", "sets it itself"),
        ("action: core.noop, timeout: 5", "takes no timeout"),
        ("action: other.thing", "st2 pack install other"),
        ("action: core.nope", "no action core.nope"),
        ("action: core.echo, parameters: {message: '{{labels.x}}'}", "on its command line"),
        ("action: core.local, parameters: {cmd: '{{labels.x}}'}", "which program runs"),
        ("action: core.local, parameters: {cmd: x, cwd: '{{labels.x}}'}", "must not choose cwd"),
        (
            "action: core.remote, parameters: {cmd: x, hosts: 'a,{{instance}}'}",
            "one template alone",
        ),
        (
            "action: core.remote, parameters: {cmd: x, hosts: ['{{instance}}']}",
            "one template alone",
        ),
        (
            "action: core.remote, parameters: {cmd: x, hosts: a, username: '{{severity}}'}",
            "username",
        ),
        ("action: core.local, parameters: {cmd: x, env: '{{severity}}'}", "expected an object"),
        ("action: chat.post, parameters: {message: '{{labels}}'}", "unknown template"),
        ("action: chat.post, parameters: {message: '{{labels.}}'}", "unknown template"),
        ("action: chat.post, parameters: {message: '{{alert.nope}}'}", "unknown template"),
        (
            "action: chat.post, parameters: {message: '{{parameters.q}}'}",
            "unknown template parameters.q",
        ),
        ("action: chat.post, parameters: {message: '{{config.token}}'}", "is a secret"),
        (
            "action: chat.post, parameters: {message: '{{labels.x | upper}}'}",
            'type of values is called "upper"',
        ),
        ("action: chat.post, parameters: {message: '{{ st2kv.system.x }}'}", "unknown template"),
        ("action: chat.post, parameters: {message: '<% ctx() %>'}", "opens an expression"),
        ("action: chat.post, parameters: {message: 'a {% raw %}'}", "opens an expression"),
        ("action: chat.post, parameters: {message: '{{{labels.x}}}'}", "unknown template"),
        ("action: chat.post, parameters: {message: '{#{{labels.x}}'}", "opens an expression"),
        ("action: chat.post, parameters: {message: '<{{labels.x}}'}", "put a space"),
        (
            "action: chat.post, parameters: {message: x, '{{labels.x}}': y}",
            "no template is allowed in a key",
        ),
        ("action: core.noop, conditions: {labels: {alertname: B}}", "can never be true"),
        ("action: core.noop, conditions: {severity: []}", "can never be true"),
        (
            "action: core.noop, conditions: {severity: a, labels: {severity: b}}",
            "can never be true",
        ),
        ("action: core.noop, conditions: {labels: {x: ''}, has_labels: [x]}", "can never be true"),
        ("action: core.noop, conditions: {labels: {x: 5}}", "in quotes"),
        ("action: core.noop, conditions: {labels: {x: true}}", "in quotes"),
        ("action: core.noop, conditions: {has_labels: ['a b']}", "cannot be the name of a label"),
        ("action: core.noop, conditions: {label: {x: y}}", "did you mean labels?"),
        ("action: core.noop, retry_count: 1.5", "whole number"),
        ("action: core.noop, retry_count: 1000", "from 0 to 100"),
        ("action: core.noop, continue_on_failure: 1", "true or false"),
        ("action: core.noop, name: 2026-01-01", "in quotes"),
        ("action: core.noop, name: fail", "reserved word of Orquesta"),
        ("action: core.noop, description: '{{instance}}'", "no templates are allowed here"),
        ("action: core.noop, phase: fix", "expected one of evidence, remediation"),
        ("action: core.noop, name: check_values", "rename it"),
        ("action: core.local, parameters: {cmd: 'echo {{config.list}}'}", "no single value"),
        (
            "action: core.local, parameters: {cmd: 'echo {{parameters.l}}', l: [a]}",
            "no single value",
        ),
        ("action: core.local, parameters: {cmd: 5}", "expected a string"),
        ("action: core.local, parameters: {cmd: 'ssh web {{labels.x}}'}", "/opt/scripts/fix"),
        (
            "action: core.local, parameters: {cmd: x, env: {A: 'a {{labels.x | nope}}'}}",
            "no type of values",
        ),
        (
            "action: core.noop, st2_parameters: {a: 1}, parameters: {p: '{{instance}}'}",
            "no templates are allowed here",
        ),
        ("action: core.noop, parameters: [a]", "expected an object"),
        ("action: [core.noop]", "PACK.ACTION"),
    ],
)
def test_a_mistake_says_what_to_write(step, told):
    """One of each kind."""
    found = [str(mistake) for mistake in parsed(STEP % step).mistakes]
    assert len(set(found)) == len(found), "each mistake is told once"
    assert any(told in text for text in found), found
    assert all(text.startswith("m.yaml:1: ") for text in found)


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "expected an object"),
        ("[]", "expected an object"),
        ("alert: {}", "did you mean alerts?"),
        ("{}", "alerts: missing"),
        ("alerts: [a]", "expected an object"),
        ("alerts: {A: null}", "expected a list of steps"),
        ("alerts: {A: {actions: {a: b}}}", "expected a list of steps"),
        ("alerts: {5: {}}", "a key must be a string"),
        ("alerts: {A: &a {actions: [*a]}}", "contains itself"),
        ("alerts: {A: {", "this is not valid YAML"),
        ("alerts: \x00", "this is not valid YAML"),
        ("alerts: {A: {parameters: {x: !!python/object:os.system y}}}", "in quotes"),
        ("alerts: {A: {parameters: {x: .inf}, actions: []}}", "in quotes"),
        (
            "alerts: {A: {parameters: {x: '{{labels.y}}'}, actions: []}}",
            "no templates are allowed here",
        ),
        ("alerts: {'': {actions: [{action: core.noop}]}}", "empty"),
        (
            "alerts: {A: {actions: [{action: core.noop, name: a}, {action: core.noop, name: a}]}}",
            "rename",
        ),
    ],
)
def test_a_document_without_mappings_says_so(text, told):
    """And never raises an error."""
    found = [str(mistake) for mistake in parsed(text).mistakes]
    assert any(told in text for text in found), found


@PROPERTY
@given(st.text(max_size=40), st.recursive(st.text(max_size=5), lambda x: st.lists(x)))
def test_nothing_raises(text, value):
    """Whatever a file contains."""
    parsed(text)
    parsed("alerts:\n  " + text)
    parsed(yaml.safe_dump({"alerts": {"A": value, "B": {"actions": value}}}))


def test_aliases_do_not_fill_the_memory():
    """A "billion laughs" document is refused."""
    lines = ["a0: &a0 [x, x]"]
    lines += ["a%d: &a%d [%s]" % (n, n, ", ".join(["*a%d" % (n - 1)] * 9)) for n in range(1, 12)]
    found = parsed("alerts: {A: {}}\n" + "\n".join(lines)).mistakes
    assert any("more than" in str(mistake) for mistake in found)


def test_aliases_and_merges_work():
    """So steps that several alerts share are written once."""
    text = """\
alerts:
  A: &a
    actions: &steps
      - action: core.noop
  B:
    <<: *a
    description: the same
  C:
    actions: *steps
"""
    found = parsed(text)
    assert found.mistakes == []
    a, b, c = (mapping.steps for mapping in found.mappings.values())
    assert a == b == c and len(a) == 1


def test_an_alert_stands_in_one_file():
    """The second says where the first is."""
    text = "alerts:\n  A: {actions: [{action: core.noop}]}\n"
    book = model.parse([("one.yaml", text), ("two.yaml", text)])
    assert [str(m) for m in book.mistakes] == [
        "two.yaml:2: alerts.A: this alert is already in one.yaml:2; keep one"
    ]


def test_there_is_an_expression_for_every_name_and_back():
    """One to one."""
    names = ["labels.a.b/c", "annotations.x", "parameters.y", "config.z"]
    names += ["alertname", "instance", "severity", "alert.attempt", "alert.host"]
    for name in names:
        template = templates.Template(name)
        assert templates.template_of(templates.value_expression(name)) == template
        template = template.of_kind("path below /a")
        assert templates.template_of(templates.checked_expression("s", template)) == template


# --- parameters, timeouts, types ------------------------------------------------------------------


def inputs_of(step, parameters="{}"):
    """Return the input of the only step of a mapping, and the workflow's variables."""
    mapping = only("alerts: {A: {parameters: %s, actions: [{%s}]}}" % (parameters, step))
    workflow = built(mapping).workflow
    variables = {name: value for item in workflow["vars"] for name, value in item.items()}
    return list(workflow["tasks"].values())[-1]["input"], variables


@pytest.mark.parametrize("value", [90, 0.5, True, "x"])
def test_a_number_works_in_a_command(value):
    """Local and remote runners need text in env; elsewhere a number stays one."""
    step = "action: core.local, parameters: {cmd: 'echo {{parameters.p}} {{config.port}}'}"
    inputs, variables = inputs_of(step, "{p: %s}" % str(value).lower())
    expressions = sorted(inputs["env"].values())
    assert expressions == [
        '<% str(ctx().config.get("port", "")) %>',
        '<% str(ctx().parameters.get("p", "")) %>',
    ]
    assert variables["parameters"] == {"p": value}
    step = "action: chat.post, parameters: {channel: '{{parameters.p}}', message: x}"
    inputs, _ = inputs_of(step, "{p: 5}")
    assert inputs["channel"] == '<% ctx().parameters.get("p", "") %>'


def test_the_parameters_of_a_step_are_its_own():
    """Before those of the alert; and those that only its templates name are not for the action."""
    step = (
        "action: core.local, name: s, "
        "parameters: {service_name: nginx, cmd: 'systemctl restart {{parameters.service_name}}'}"
    )
    inputs, variables = inputs_of(step, "{service_name: other}")
    assert set(inputs) == {"cmd", "env", "timeout"}
    assert variables["step_parameters"] == {"s": {"service_name": "nginx"}}
    assert list(inputs["env"].values()) == [
        '<% str(ctx().step_parameters.get("s").get("service_name")) %>'
    ]


def test_the_older_form_of_step_parameters():
    """``st2_parameters`` for the action, ``parameters`` for its templates."""
    step = """\
      - name: restart
        action: linux.service
        parameters: {service_name: nginx, act: restart}
        st2_parameters: {hosts: "{{alert.instance}}", service: "{{parameters.service_name}}"}
"""
    mapping = only("alerts:\n  A:\n    actions:\n" + step)
    inputs = built(mapping).workflow["tasks"]["restart"]["input"]
    assert inputs["act"] == "restart", "passed on, as the action takes it"
    assert inputs["service"] == '<% ctx().step_parameters.get("restart").get("service_name") %>'
    assert "service_name" not in inputs
    again = only(model.dump([mapping]))
    assert built(again) == built(mapping) == built(restored(built(mapping)))


def test_a_step_without_a_timeout_has_the_settings():
    """Where only the runner would limit it."""
    tasks = built(
        only(
            "alerts: {A: {actions: ["
            "{name: a, action: core.local, parameters: {cmd: x}},"
            "{name: b, action: core.local, parameters: {cmd: x}, timeout: 5},"
            "{name: c, action: core.noop}]}}"
        )
    ).workflow["tasks"]
    assert [tasks[name].get("input", {}).get("timeout") for name in "abc"] == [TIMEOUT, 5, None]
    own = {"my.slow": actions.ActionInfo("python-script", {"timeout": {}}, {"timeout": {}})}
    mapping = model.Mapping("A", (model.Step("s", "my.slow"),))
    task = mapping_content.build(mapping, "p", own, TIMEOUT).workflow["tasks"]["s"]
    assert "input" not in task, "the action sets its own limit"


HELM = """\
# my-values.yaml
replicaCount: 2
mappings:
  custom.yaml: |
    # a comment
    alerts:
      MyCustomAlert:
        handler: yaml_config
        actions:
          - name: fix_issue
            action: core.remote
            parameters:
              hosts: "{{instance}}"
              cmd: "systemctl restart myservice"
  other.yaml: "alerts: {Other: {actions: [{action: core.noop}]}}"
"""


def test_helm_values_are_taken_as_they_are_printed():
    """With the lines of the file in which they stand."""
    book = parsed(HELM)
    assert book.mistakes == [] and list(book.mappings) == ["MyCustomAlert", "Other"]
    broken = HELM.replace("hosts:", "hots:").replace("core.noop", "core.nope")
    lines = [(mistake.line, mistake.where) for mistake in sorted_mistakes(parsed(broken))]
    assert lines == [
        (12, "alerts.MyCustomAlert.actions[0].parameters"),
        (13, "alerts.MyCustomAlert.actions[0].parameters.hots"),
        (15, "alerts.Other.actions[0].action"),
    ]
    told = [str(mistake) for mistake in parsed(HELM.replace("Other:", "MyCustomAlert:")).mistakes]
    assert told == ["m.yaml:15: alerts.MyCustomAlert: this alert is already in m.yaml:7; keep one"]
    for wrong in ("mappings: {a: {alerts: {}}}", "mappings: []", "mappings: {a: '{'}"):
        assert parsed(wrong).mistakes


def test_every_page_that_a_message_names_exists():
    """And has the section."""
    found = set()
    for path in Path(PACK, "actions/lib/poundcake/mappings").glob("*.py"):
        found |= set(re.findall(r"docs/[\w/]+\.md#?[\w-]*", path.read_text(encoding="utf-8")))
    assert model.HANDLER_DOCS in found
    for pointer in found:
        page, _, section = pointer.partition("#")
        headings = re.findall(
            r"^#+ (.*)$", Path(PACK, page).read_text(encoding="utf-8"), re.MULTILINE
        )
        slugs = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
        assert not section or section in slugs, pointer
    told = str(parsed("alerts: {A: {handler: mine, actions: [{action: core.noop}]}}").mistakes[0])
    assert model.HANDLER_DOCS in told


@pytest.mark.parametrize(
    "action, parameters, phase",
    [
        ("core.noop", {}, "evidence"),
        ("core.remote", {"cmd": "ps aux --sort=-%cpu | head -10"}, "evidence"),
        ("core.local", {"cmd": "df -h; sudo -n journalctl -u nginx 2>&1 | tail -5"}, "evidence"),
        ("core.local", {"cmd": "systemctl status -- nginx"}, "evidence"),
        ("core.local", {"cmd": "systemctl restart -- nginx"}, "remediation"),
        ("core.local", {"cmd": "echo a > /etc/motd"}, "remediation"),
        ("core.local", {"cmd": "ps aux | xargs kill"}, "remediation"),
        ("core.local", {"cmd": 'echo "$(rm -r /srv/x)"'}, "remediation"),
        ("linux.service", {"act": "restart"}, "remediation"),
        ("poundcake.service_down", {"dry_run": True}, "evidence"),
        ("poundcake.service_down", {"dry_run": False}, "remediation"),
        ("slack.post_message", {}, "escalation"),
        ("poundcake.notify", {}, "escalation"),
        ("core.sendmail", {}, "escalation"),
        ("poundcake.log_notification", {}, "evidence"),
    ],
)
def test_what_a_step_is_for_follows_from_its_action(action, parameters, phase):
    """Unless the mapping says it."""
    assert actions.phase_of(action, parameters) == phase
