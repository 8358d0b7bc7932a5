"""The form in which StackStorm's web UI edits workflows, metadata and rules without harm.

docs/editing-workflows.md says what the designer does to other forms. Each function returns what is
wrong with a text, as sentences; an empty list means that it can be edited.
"""

import re

import yaml

from tests.support.sources import parse_yaml

AS_CODE_ONLY = "edit this input as code only"
COORDINATES = re.compile(r"\[\s*-?\d+\s*,\s*-?\d+\s*\]")


def faults_of_workflow(text):
    """Return what is wrong with the text of a workflow."""
    root = yaml.compose(text)
    lines = text.splitlines()
    parts = dict(_items(root))
    faults = [
        f"line {node.start_mark.line + 1}: {{}} and [] lose their end when they are edited"
        for node in _nodes(root)
        if isinstance(node, yaml.CollectionNode) and node.flow_style and node.value
    ]
    faults += _faults_of_vars(parts.get("vars"), lines)
    faults += _faults_of_comments(lines)
    for name, task in _items(parts["tasks"]):
        faults += [f"{name}: {fault}" for fault in _faults_of_task(task)]
        faults += [f"{name}: {fault}" for fault in _faults_above(task, name, lines)]
    return faults


def _faults_of_task(task):
    fields = dict(_items(task))
    for step in fields["next"].value if "next" in fields else []:
        parts = dict(_items(step))
        if "when" not in parts:
            yield "a transition has no when"
        for key in ("do", "publish"):
            if key in parts and not isinstance(parts[key], yaml.SequenceNode):
                yield f"{key} is not a list"
    if "action" in fields and fields["action"].value == "core.ask":
        yield from _faults_of_question(task, fields)


def _faults_of_question(task, fields):
    text = yaml.serialize(task)
    if "required: true" in yaml.serialize(fields["input"]):
        yield "a required answer makes no impossible: an unticked box is not sent"
    if re.search(r"response\.(?!get\()", text):
        yield "an answer is read without get, and an unticked box is not sent"


def _faults_above(task, name, lines):
    fields = dict(_items(task))
    at = next(n for n, line in enumerate(lines) if re.match(rf"  {re.escape(name)}:", line))
    comments = []
    while lines[at - 1 - len(comments)].strip().startswith("#"):
        comments.append(lines[at - 1 - len(comments)])
    if not comments or not re.fullmatch(r"  # \[-?\d+, -?\d+\]", comments[0]):
        yield "its place (# [x, y]) is not right above it"
    if any(COORDINATES.search(comment) for comment in comments[1:]):
        yield "another comment above it looks like a place"
    if lines[at].strip() != name + ":":
        yield "a comment stands behind its name"
    if isinstance(fields.get("input"), yaml.ScalarNode):
        if not any(AS_CODE_ONLY in comment for comment in comments):
            yield "its whole input is an expression, which becomes a list of characters"


def _faults_of_vars(variables, lines):
    if variables is None:
        return []
    faults = [
        f'{name}: "" becomes null; write <% "" %>'
        for item in variables.value
        for name, value in _items(item)
        if isinstance(value, yaml.ScalarNode) and value.style and value.value == ""
    ]
    inside = lines[variables.start_mark.line : variables.end_mark.line]
    comments = [line for line in inside if line.lstrip().startswith("#")]
    # What follows the last variable belongs to the next part.
    last = max(number for number, line in enumerate(inside) if line.lstrip().startswith("- "))
    return faults + [
        f"vars: a comment is lost: {line}" for line in comments if line in inside[:last]
    ]


def _faults_of_comments(lines):
    for number, line in enumerate(lines[:-1]):
        if line.strip() == "next:" and lines[number + 1].lstrip().startswith("#"):
            yield f"line {number + 2}: a comment right under next"


def faults_of_metadata(text):
    """Return what is wrong with the text of the metadata of a workflow's action."""
    parameters = parse_yaml(text).get("parameters") or {}
    faults = []
    for name, schema in parameters.items():
        default = schema.get("default")
        if default in ("", {}) and "default" in schema:
            faults.append(f"{name}: the default {default!r} becomes null")
        if "\\" in str(default):
            faults.append(f"{name}: \\ in a default is not escaped; use a script")
        if "config_context." in str(default) and "| default(" not in default:
            faults.append(f"{name}: a copy in another pack has no such setting; use default()")
    positions = [schema.get("position") for schema in parameters.values()]
    if positions != list(range(len(parameters))):
        faults.append(f"positions: {positions}")
    return faults


def faults_of_rule(text):
    """Return what is wrong with the text of a rule."""
    criteria = parse_yaml(text).get("criteria") or {}
    return [
        f"{key}: a list shows as one word; use type regex with ^(A|B)$"
        for key, criterion in criteria.items()
        if isinstance(criterion.get("pattern"), list) or criterion.get("type") in ("in", "nin")
    ]


def _items(node):
    return [(key.value, value) for key, value in node.value]


def _nodes(node):
    yield node
    if isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from _nodes(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _nodes(value)
