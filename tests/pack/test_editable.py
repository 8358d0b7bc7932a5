"""Everything that a person can open in StackStorm's web UI survives being edited there.

tests/support/editable.py knows the form, tests/support/designer.py what the web UI does to a text.
"""

import copy
import importlib
import re
from pathlib import Path

import pytest
import yaml

from tests.support import editable
from tests.support.designer import Designer, metadata_with
from tests.support.environment import STACKSTORM_INSTALLED
from tests.support.fakes import PACK
from tests.support.sources import parse_yaml

ROOT = Path(PACK)
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # hundreds of texts are read


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def paths(*patterns):
    return sorted(str(path.relative_to(ROOT)) for p in patterns for path in ROOT.glob(p))


WORKFLOWS = paths("workflows/*.yaml", "examples/*/actions/workflows/*.yaml")
METADATA = [
    path
    for path in paths("actions/*.yaml", "examples/*/actions/*.yaml")
    if yaml.load(read(path), Loader=LOADER)["runner_type"] == "orquesta"
]
RULES = paths("rules/*.yaml", "examples/*/rules/*.yaml")
EDITS = parse_yaml(read("tests/fixtures/designer_edits.yaml"))


def snippets():
    """Yield ``(where, text, content)`` of the YAML blocks of the documentation."""
    for page in paths("README.md", "docs/*.md"):
        for number, text in enumerate(re.findall(r"(?ms)^```yaml\n(.*?)^```", read(page))):
            content = parse_yaml(text)
            if isinstance(content, dict):
                yield f"{page} {number}", text, content


def workflow_in(text, content):
    """Return the text of a workflow when a snippet is one, or some tasks of one."""
    if "tasks" in content:
        return text
    tasks = [item for item in content.values() if isinstance(item, dict) and "action" in item]
    if tasks and len(tasks) == len(content):
        return "version: 1.0\ntasks:\n" + "".join(f"  {line}\n" for line in text.splitlines())
    return None


SNIPPETS = {where: (text, content) for where, text, content in snippets()}


def loaded(text):
    """Return a workflow as data, once Orquesta has nothing to say about it."""
    if not STACKSTORM_INSTALLED:
        importlib.import_module("tests.engine.orquesta_compat")
    spec = importlib.import_module("orquesta.specs.loader").get_spec_module("native")
    data = yaml.load(text, Loader=LOADER)
    assert spec.instantiate(copy.deepcopy(data)).inspect() == {}
    return data


def meant(workflow, changes):
    """Return a workflow after changes: a value is set, a key is renamed, or something is gone."""
    for change in changes:
        *where, last = change["at"]
        place = workflow
        for step in where:
            place = place[step]
        if "renamed" in change:
            content = {change["renamed"] if k == last else k: v for k, v in place.items()}
            place.clear()
            place.update(content)
        elif "is" in change:
            place[last] = change["is"]
        else:
            del place[last]
    return workflow


# --- the form -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS)
def test_a_workflow_can_be_edited(path):
    """It is in block style, and each task has its place on the canvas."""
    assert editable.faults_of_workflow(read(path)) == []


@pytest.mark.parametrize("path", METADATA)
def test_the_metadata_of_a_workflow_can_be_edited(path):
    """Its defaults survive, and its parameters have an order."""
    assert editable.faults_of_metadata(read(path)) == []


@pytest.mark.parametrize("path", RULES)
def test_a_rule_can_be_edited(path):
    """Its criteria show as they are."""
    assert editable.faults_of_rule(read(path)) == []


@pytest.mark.parametrize("where", sorted(SNIPPETS))
def test_a_snippet_of_the_documentation_can_be_edited(where):
    """Somebody will paste it."""
    text, content = SNIPPETS[where]
    workflow = workflow_in(text, content)
    if workflow:
        assert editable.faults_of_workflow(workflow) == []
    if content.get("runner_type") == "orquesta":
        assert editable.faults_of_metadata(text) == []
    if "criteria" in content:
        assert editable.faults_of_rule(text) == []


@pytest.mark.parametrize("form", parse_yaml(read("tests/fixtures/not_editable.yaml")))
def test_any_other_form_is_a_fault(form):
    """The check sees each form that the web UI breaks."""
    assert form["fault"] in "\n".join(editable.faults_of_workflow(form["text"]))


@pytest.mark.parametrize(
    "default", ['""', "{}", r'"a\\n"', '"{{ config_context.x }}"'], ids=["text", "map", "\\", "own"]
)
def test_other_defaults_are_a_fault(default):
    """They become null, are not escaped, or do not exist in another pack."""
    text = f"parameters:\n  a:\n    type: string\n    default: {default}\n    position: 0\n"
    assert len(editable.faults_of_metadata(text)) == 1


# --- edits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS)
def test_a_task_can_be_renamed(path):
    """Every line to it follows; nothing else is changed."""
    names = list(loaded(read(path))["tasks"])
    designer = Designer(read(path))
    for name in names:
        designer.rename_task(name, "renamed_" + name)
    assert list(loaded(designer.text)["tasks"]) == ["renamed_" + name for name in names]
    for name in names:
        designer.rename_task("renamed_" + name, name)
    assert designer.text == read(path)


@pytest.mark.parametrize("path", WORKFLOWS)
def test_a_task_can_be_moved(path):
    """That changes nothing but a comment."""
    before = yaml.load(read(path), Loader=LOADER)
    for name in before["tasks"]:
        designer = Designer(read(path))
        designer.move_task(name, 111, 222)
        assert yaml.load(designer.text, Loader=LOADER) == before
        assert designer.text.count("\n") == read(path).count("\n")
        assert f"  # [111, 222]\n  {name}:" in designer.text


@pytest.mark.parametrize("path", WORKFLOWS)
def test_an_input_of_a_task_can_be_changed(path):
    """Of that task alone; an input that is one expression is edited as code."""
    for name, task in yaml.load(read(path), Loader=LOADER)["tasks"].items():
        if isinstance(task.get("input"), str):
            continue
        for key, value in (task.get("input") or {}).items():
            if isinstance(value, dict):
                continue
            designer = Designer(read(path))
            designer.set_input(name, key, "<% ctx().other %>")
            expected = yaml.load(read(path), Loader=LOADER)
            expected["tasks"][name]["input"][key] = "<% ctx().other %>"
            assert yaml.load(designer.text, Loader=LOADER) == expected


@pytest.mark.parametrize("path", WORKFLOWS)
def test_a_transition_can_be_changed_and_deleted(path):
    """Its condition, what it publishes, and itself."""
    for name, task in yaml.load(read(path), Loader=LOADER)["tasks"].items():
        for number, step in enumerate(task.get("next", [])):
            for edit in ("condition", "publish", "delete"):
                designer, expected = Designer(read(path)), yaml.load(read(path), Loader=LOADER)
                steps = expected["tasks"][name]["next"]
                if edit == "condition":
                    designer.set_condition(name, number, "<% succeeded() and true %>")
                    steps[number]["when"] = "<% succeeded() and true %>"
                elif edit == "delete":
                    designer.delete_transition(name, number)
                    del steps[number]
                    if not steps:
                        del expected["tasks"][name]["next"]
                elif step.get("publish"):
                    (key,) = step["publish"][0]
                    designer.set_publish(name, number, key, "changed")
                    steps[number]["publish"][0] = {key: "changed"}
                assert yaml.load(designer.text, Loader=LOADER) == expected, (name, number, edit)


@pytest.mark.parametrize("path", WORKFLOWS)
def test_parameters_and_variables_can_be_changed(path):
    """The lists are written anew, and mean the same."""
    before = yaml.load(read(path), Loader=LOADER)
    designer = Designer(read(path))
    designer.set_inputs([*before["input"], "another"])
    after = loaded(designer.text)
    assert after == dict(before, input=[*before["input"], "another"])
    for item in before.get("vars", []):
        for name in item:
            designer = Designer(read(path))
            designer.set_var(name, "changed")
            expected = [dict.fromkeys(i, "changed") if name in i else i for i in before["vars"]]
            assert yaml.load(designer.text, Loader=LOADER) == dict(before, vars=expected)


@pytest.mark.parametrize("path", WORKFLOWS)
def test_tasks_and_lines_can_be_added(path):
    """A line drawn by hand has no condition."""
    before = yaml.load(read(path), Loader=LOADER)
    designer = Designer(read(path))
    designer.add_task("added", "core.noop")
    first = next(iter(before["tasks"]))
    designer.add_transition(first, "added")
    after = loaded(designer.text)
    added = after["tasks"].pop("added")
    assert added["action"] == "core.noop"
    assert after["tasks"][first]["next"].pop() == {"do": ["added"]}
    assert after == before


@pytest.mark.parametrize("path", METADATA)
def test_the_parameters_in_the_metadata_can_be_changed(path):
    """All of them are written anew, and mean the same."""
    before = yaml.load(read(path), Loader=LOADER)
    for name in before["parameters"]:
        after = parse_yaml(metadata_with(read(path), name, "description", "Another one."))
        expected = copy.deepcopy(before)
        expected["parameters"][name]["description"] = "Another one."
        assert after == expected


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit["edit"][:70])
def test_an_edit_that_was_written_down(edit):
    """The workflow loads, means what the edit says, and the text is changed there alone."""
    text = read(edit["file"])
    designer = Designer(text)
    call, arguments = edit["call"], edit["arguments"]
    getattr(designer, call)(*arguments)
    assert text.count(edit["before"]) == 1
    assert designer.text == text.replace(edit["before"], edit["after"])
    assert loaded(designer.text) == meant(yaml.load(text, Loader=LOADER), edit["means"])
