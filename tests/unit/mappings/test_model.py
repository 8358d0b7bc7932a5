"""Mappings: YAML to values and back, all mistakes at once, StackStorm's content and back."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from poundcake.mappings import checks, model, templates
from poundcake.mappings import content as mapping_content
from poundcake.mappings.content import ContentError

from tests.support.fakes import PROPERTY, assert_inert
from tests.support.mapping_cases import ACTIONS, OLDER
from tests.support.mapping_cases import mappings as some_mappings

# The example of the older documentation.


def parsed(text, file="m.yaml", secrets=()):
    """Return the Book of a text, checked against ACTIONS."""
    book = model.parse([(file, text)])
    checks.check(book, ACTIONS, list(ACTIONS), set(secrets))
    return book


def only(text):
    book = parsed(text)
    assert book.mistakes == []
    (mapping,) = book.mappings.values()
    return mapping


def built(mapping):
    return mapping_content.build(mapping, "poundcake", ACTIONS)


def restored(content):
    workflow = yaml.safe_load(content.workflow_text)
    return mapping_content.restore(content.action, content.rule, workflow)


# --- there and back -------------------------------------------------------------------------------


@PROPERTY
@given(st.lists(some_mappings(), max_size=3, unique_by=lambda mapping: mapping.alertname))
def test_yaml_keeps_what_a_mapping_says(found):
    """Even quotes, colons and strings that YAML would read as numbers."""
    book = model.parse([("m.yaml", model.dump(found))])
    assert book.mistakes == []
    assert list(book.mappings.values()) == found


@PROPERTY
@given(some_mappings())
def test_the_content_says_all_that_a_mapping_says(mapping):
    """So an export equals the mapping, and applying it changes nothing."""
    content = built(mapping)
    assert restored(content) == mapping
    assert built(restored(content)) == content


@PROPERTY
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
    with pytest.raises(ContentError):
        mapping_content.restore(content.action, content.rule, content.workflow)


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
    found = [(mistake.line, mistake.text) for mistake in sorted_mistakes(parsed(text))]
    assert [line for line, _ in found] == [13, 14, 16, 18, 19, 19, 19]
    text = text.replace("  A:\n    actions: []\n", "")
    found = [(mistake.line, mistake.text) for mistake in sorted_mistakes(parsed(text))]
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
        ("action: core.local, parameters: {cmd: \"echo '{{labels.x}}'\"}", "single quotes"),
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
        ("action: chat.post, parameters: {message: '{{labels.x | upper}}'}", "unknown template"),
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
        ("action: core.noop, parameters: [a]", "expected an object"),
        ("action: [core.noop]", "PACK.ACTION"),
    ],
)
def test_a_mistake_says_what_to_write(step, told):
    """One of each kind."""
    found = [str(mistake) for mistake in parsed(STEP % step, secrets=["token"]).mistakes]
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
        assert templates.name_of(templates.expression(name)) == name
