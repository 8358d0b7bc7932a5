"""What apply_mappings writes survives edits in StackStorm's web UI.

The designer edits lines of the YAML and loses what is not in block form, so these are its rules.
"""

import re

import pytest
import yaml
from hypothesis import given, settings
from poundcake.mappings import content as mapping_content
from poundcake.mappings import model

from tests.support.fakes import PROPERTY
from tests.support.mapping_cases import ACTIONS, OLDER
from tests.support.mapping_cases import mappings as some_mappings


@settings(PROPERTY, max_examples=30)
@given(some_mappings())
def test_the_workflow_and_its_metadata_keep_the_rules(mapping):
    """Whatever a mapping says."""
    check(mapping_content.build(mapping, "poundcake", ACTIONS, 300))


@pytest.mark.parametrize(
    "cmd", ["echo one\necho two\n", "a: b # c", "- x", "x" * 300, " lead", "a\n\n  b\n", '"q"', "'"]
)
def test_awkward_commands_keep_the_rules(cmd):
    """Several lines, long ones, and those that YAML would read otherwise."""
    step = model.Step("s", "core.local", parameters={"cmd": cmd, "env": {"EMPTY": ""}})
    content = mapping_content.build(model.Mapping("A [1, 2]", (step,)), "poundcake", ACTIONS)
    check(content)
    assert yaml.safe_load(content.workflow_text)["tasks"]["s"]["input"]["cmd"] == cmd


def test_the_older_example_keeps_the_rules():
    """As people will meet it."""
    mapping = model.parse([("m", OLDER)]).mappings["HighCPUUsage"]
    check(mapping_content.build(mapping, "poundcake", ACTIONS, 300))


def check(content):
    text = content.workflow_text
    assert yaml.safe_load(text) == content.workflow
    check_block_form(yaml.compose(text))
    for name, task in content.workflow["tasks"].items():
        assert isinstance(task.get("input", {}), dict), name
        for transition in task["next"]:
            assert transition["when"], name
            assert isinstance(transition["do"], list), name
            assert isinstance(transition.get("publish", []), list), name
    check_no_empty_value(content.workflow["vars"])
    check_no_empty_value([task.get("input") for task in content.workflow["tasks"].values()])
    check_comments(text, list(content.workflow["tasks"]))
    parameters = content.action["parameters"].values()
    assert all(parameter.get("default", None) not in ("", {}) for parameter in parameters)
    assert not any("\\" in str(parameter.get("default")) for parameter in parameters)
    assert [parameter["position"] for parameter in parameters] == list(range(len(parameters)))
    assert content.rule["criteria"]["trigger.alertname"]["type"] == "eq"


def check_block_form(node):
    """Every object and list is in block form, one line a key."""
    if isinstance(node, yaml.ScalarNode):
        return
    assert not node.flow_style, node
    for item in node.value:
        for part in item if isinstance(item, tuple) else (item,):
            check_block_form(part)


def check_no_empty_value(value):
    """The designer writes null for it."""
    assert value not in ("", {}, [])
    for item in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        check_no_empty_value(item)


def check_comments(text, names):
    """Each task has its place on the canvas in a comment above it; no other is below the top."""
    places = re.findall(r"^  # \[(\d+), (\d+)\]\n  ([\w\"']+):$", text, re.MULTILINE)
    assert [name.strip("\"'") for _, _, name in places] == names
    assert len({(x, y) for x, y, _ in places}) == len(names)
    assert text.count("\n  # [") == len(names)
    top = [line for line in text.splitlines() if line.startswith("#")]
    assert len(top) == 2 and not any(re.search(r"\[\s*\d+,", line) for line in top)
