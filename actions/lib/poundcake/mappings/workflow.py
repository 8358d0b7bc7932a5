"""The Orquesta workflow of a mapping, in the form that StackStorm's web UI can edit. Pure.

It has one task per step, in order, and before them ``check_values`` where a value of the alert must
have a type. The conditions of a step are in ``vars``, under ``runs``; a step whose conditions are
false has no items to run for, and succeeds at once. (Tasks that bypass a step would work too, but
Orquesta walks every path through them, and the number of paths doubles with every step.)
"""

import re
from typing import Any, Dict, List, Mapping, Optional, Sequence

import yaml

from poundcake.inert import inert_text
from poundcake.mappings import actions as kinds_of_actions
from poundcake.mappings import places, shell, templates
from poundcake.mappings.actions import ActionInfo
from poundcake.mappings.model import CHECK_TASK, Conditions, Step, mapped
from poundcake.mappings.model import Mapping as AlertMapping
from poundcake.mappings.templates import Template, literal

Document = Dict[str, Any]

_COMMENT = """\
# Written by poundcake.apply_mappings from the mapping of the alert %s.
# poundcake.export_mappings reads it back, as long as changes keep this form.
"""
# What a step adds to ``outcomes`` when it succeeded, and when it failed and the workflow goes on.
_OUTCOMES = {
    kinds_of_actions.EVIDENCE: ("not_needed", "not_needed"),
    kinds_of_actions.REMEDIATION: ("remediated", "failed"),
    kinds_of_actions.VERIFICATION: ("verified", "unverified"),
    kinds_of_actions.ESCALATION: ("escalated", "failed"),
}
_ANY_OUTCOME = "ctx().outcomes.values().any($ = {})"
_OUTPUT = {
    "outcome": '<% switch(ctx().stopped => "failed", '
    + "".join(
        f"{_ANY_OUTCOME.format(literal(outcome))} => {literal(outcome)}, "
        for outcome in ("remediated", "failed", "escalated")
    )
    + 'true => "not_needed") %>',
    "remediation": f"<% switch({_ANY_OUTCOME.format(literal('remediated'))} => "
    '"ran " + ctx().outcomes.items().where($[1] = "remediated").select($[0]).orderBy($)'
    '.join(", "), '
    'ctx().stopped => "none, it stopped before", '
    'ctx().outcomes.len() = 0 => "none, no condition of a step held", true => "none") %>',
    "verification": '<% ctx().outcomes.items().where($[1] in list("verified", "unverified"))'
    '.select($[0] + switch($[1] = "verified" => " succeeded", true => " failed")).orderBy($)'
    '.join(", ") %>',
    "reason": "<% ctx().reason %>",
    "failed_steps": "<% ctx().failed_steps %>",
}


def build(
    mapping: AlertMapping, inputs: List[str], actions: Mapping[str, ActionInfo], timeout: int
) -> Document:
    """Return the workflow of a mapping without mistakes.

    :param inputs: the names of the workflow's inputs.
    :param timeout: as in ``content.build``.
    """
    tasks = [_Task(step, actions[step.action], timeout) for step in mapping.steps]
    checked = {task.step.name: task.checked for task in tasks if task.checked}
    names = [step.name for step in mapping.steps]
    documents: Document = {CHECK_TASK: _check_task(checked, names[0])} if checked else {}
    for task, following in zip(tasks, [*names[1:], None]):
        documents[task.step.name] = task.document(following)
    return {
        "version": 1.0,
        "description": mapping.description or "The steps for an alert.",
        "input": inputs,
        "vars": _variables(mapping, tasks),
        "output": [{name: expression} for name, expression in _OUTPUT.items()],
        "tasks": documents,
    }


def _variables(mapping: AlertMapping, tasks: Sequence["_Task"]) -> List[Document]:
    about = {step.name: step.description for step in mapping.steps if step.description}
    own = {step.name: step.values for step in mapping.steps if step.values}
    runs = {step.name: _condition(step.conditions) for step in mapping.steps if step.conditions}
    optional = {
        "about": about,
        "parameters": mapping.parameters,
        "step_parameters": own,
        "runs": runs,
    }
    variables: Document = {
        name: f'<% ctx().alert.get("{name}", dict()) %>' for name in ("labels", "annotations")
    }
    variables.update({name: editable(value) for name, value in optional.items() if value})
    variables["phases"] = {task.step.name: task.phase for task in tasks}
    variables.update(
        outcomes="<% dict() %>", stopped=False, reason=None, failed_steps="<% list() %>"
    )
    return [{name: value} for name, value in variables.items()]


def _condition(conditions: Conditions) -> str:
    """Return the expression that is true when a step's conditions hold."""
    checked = [("severity", conditions.severity)] if conditions.severity else []
    checked += [(f"labels.{name}", values) for name, values in conditions.labels.items()]
    clauses = [
        f"{templates.value_expression(name)} in list({_literals(accepted)})"
        for name, accepted in checked
    ]
    clauses += [
        f'{templates.value_expression("labels." + name)} != ""' for name in conditions.has_labels
    ]
    return "<% " + " and ".join(clauses) + " %>"


def _literals(values: Sequence[str]) -> str:
    return ", ".join(literal(inert_text(value)) for value in values)


def _check_task(checked: Mapping[str, Document], first: str) -> Document:
    """Return the task that checks the values of all steps, before any of them."""
    publish = [{"checked": "<% result().result.values %>"}]
    publish.append({"problems": "<% result().result.problems %>"})
    reason = f"the values of the alert were not checked, see the task {CHECK_TASK}"
    return {
        "action": "poundcake.check_values",
        "input": {"steps": dict(checked)},
        "next": [
            {"when": "<% succeeded() %>", "publish": publish, "do": [first]},
            {
                "when": "<% failed() %>",
                "publish": [{"stopped": True}, {"reason": reason}],
                "do": ["fail"],
            },
        ],
    }


class _Task:
    """Makes the task of one step."""

    def __init__(self, step: Step, info: ActionInfo, timeout: int):
        self.step = step
        self.checked: Document = {}  # declaration of a template -> the expression of its value
        self.phase = step.phase or kinds_of_actions.phase_of(
            step.action, {**step.values, **step.parameters}
        )
        self._info = info
        self._input = self._inputs(timeout)
        name = literal(step.name)
        self._runs = f"ctx().runs.get({name})" if step.conditions else ""
        self._problem = f"ctx().problems.get({name})" if self.checked else ""

    def _inputs(self, timeout: int) -> Document:
        parameters = places.typed(self.step, self._info)
        inputs: Document = {}
        env = parameters.pop("env", {})
        for name, value in parameters.items():
            if places.is_command(self._info, name, value):
                inputs[name], variables = shell.translate(value)
                env = {**env, **{key: str(item) for key, item in variables.items()}}
            else:
                inputs[name] = self._rendered(value)
        if env:
            inputs["env"] = self._rendered(env, as_text=isinstance(env, dict))
        limit = self.step.timeout or (timeout if self._info.takes_default_timeout else 0)
        if limit and "timeout" not in inputs:
            inputs["timeout"] = limit
        return {name: editable(value) for name, value in inputs.items()}

    def _rendered(self, value: Any, as_text: bool = False) -> Any:
        """Return a JSON value with its templates as expressions.

        A number or boolean of the author stays one where its template is the whole text. Within a
        longer text it is written as YAML writes it: Orquesta would write ``True``.

        :param as_text: whether each value must be text.
        """

        def rendered_text(text: str) -> str:
            is_mixed = len(templates.split(text)) > 1

            def expression(template: Template) -> str:
                value = self._expression(template)
                is_text = template.kind or template.is_from_alert
                is_converted = (as_text or is_mixed) and not is_text
                return f"<% str({value}) %>" if is_converted else f"<% {value} %>"

            return templates.replace_templates(text, expression)

        rendered: Any = mapped(value, (), lambda text, _: rendered_text(text))
        return rendered

    def _expression(self, template: Template) -> str:
        group, _, key = template.name.partition(".")
        is_host = template == Template("instance", "host")
        value = templates.value_expression("alert.host" if is_host else template.name)
        if group == "parameters" and key in self.step.values:
            value = templates.step_expression(self.step.name, key)
        if not template.kind:
            return value
        self.checked[template.declaration] = f"<% {value} %>"
        return templates.checked_expression(self.step.name, template)

    def document(self, following: Optional[str]) -> Document:
        """Return the task.

        :param following: the name of the next task, None for the last one.
        """
        step = self.step
        task: Document = {}
        is_well = f'{self._problem} = ""' if self._problem else ""
        starts = " and ".join(part for part in (self._runs, is_well) if part)
        if starts:
            task["with"] = f"<% switch({starts} => list(1), true => list()) %>"
        task["action"] = step.action
        if self._input:
            task["input"] = self._input
        if step.retry_count:
            task["retry"] = {"when": "<% failed() %>", "count": step.retry_count}
            if step.retry_delay:
                task["retry"]["delay"] = step.retry_delay
        task["next"] = self._transitions(following or "noop")
        return task

    def _transitions(self, following: str) -> List[Document]:
        name = literal(self.step.name)
        failed = "failed()"
        if self._problem:
            not_started = f'{self._problem} != ""'
            if self._runs:
                not_started = f"({self._runs} and {not_started})"
            failed = f"failed() or {not_started}"
        reason = f"the step {self.step.name} failed, see its task"
        if self._problem:
            told = literal(f"the step {self.step.name} was not started - ")
            reason = (
                f'<% switch({self._problem} != "" => {told} + {self._problem}, '
                f"true => {literal(reason)}) %>"
            )
        failed_steps = f"ctx().failed_steps + list({name})"
        if self.step.continue_on_failure:
            clauses = f"{failed} => {failed_steps}, true => ctx().failed_steps"
            publish = [{"outcomes": f"<% switch({self._clauses(failed)}) %>"}]
            publish.append({"failed_steps": f"<% switch({clauses}) %>"})
            return [{"when": "<% completed() %>", "publish": publish, "do": [following]}]
        succeeded: Document = {
            "when": f"<% not ({failed}) %>" if self._problem else "<% succeeded() %>",
            "publish": [{"outcomes": f"<% {self._outcomes()} %>"}],
            "do": [following],
        }
        stopped: List[Document] = [{"stopped": True}, {"reason": reason}]
        stopped.append({"failed_steps": f"<% {failed_steps} %>"})
        return [succeeded, {"when": f"<% {failed} %>", "publish": stopped, "do": ["fail"]}]

    def _outcomes(self) -> str:
        """Return the expression of ``outcomes`` after a success."""
        name = literal(self.step.name)
        outcome = f"ctx().outcomes.set({name}, {self._outcome()})"
        return (
            f"switch({self._runs} => {outcome}, true => ctx().outcomes)" if self._runs else outcome
        )

    def _clauses(self, failed: str) -> str:
        """Return the clauses of a switch for ``outcomes`` of a step that may fail."""
        lost = literal(_OUTCOMES[self.phase][1])
        clauses = f"{failed} => ctx().outcomes.set({literal(self.step.name)}, {lost})"
        return f"{clauses}, true => {self._outcomes()}"

    def _outcome(self) -> str:
        done = literal(_OUTCOMES[self.phase][0])
        if self._info.runner != "orquesta" or self.phase != kinds_of_actions.REMEDIATION:
            return done
        # A workflow says itself what it did; a task with items has a list of results.
        result = "result().first(dict())" if self._runs or self._problem else "result()"
        own = f"coalesce({result}.get(output), dict()).get(outcome)"
        known = 'list("not_needed", "escalated", "failed")'
        return f"switch({own} in {known} => {own}, true => {done})"


# --- as YAML --------------------------------------------------------------------------------------


def editable(value: Any) -> Any:
    """Return a JSON value with expressions for what the web UI would turn into null."""
    if value == "" and isinstance(value, str):
        return '<% "" %>'
    if isinstance(value, dict):
        return {key: editable(item) for key, item in value.items()} or "<% dict() %>"
    if isinstance(value, list):
        return [editable(item) for item in value] or "<% list() %>"
    return value


def original(value: Any) -> Any:
    """Return the value that ``editable`` was given."""
    if isinstance(value, str):
        empty: Any = {'<% "" %>': "", "<% dict() %>": {}, "<% list() %>": []}.get(value, value)
        return empty
    if isinstance(value, dict):
        return {key: original(item) for key, item in value.items()}
    return [original(item) for item in value] if isinstance(value, list) else value


def dump(workflow: Document, alertname: str) -> str:
    """Return the YAML of a workflow, in block form, each task with its place on the canvas."""
    head = {name: value for name, value in workflow.items() if name != "tasks"}
    lines = [_COMMENT % re.sub(r"[\s\[\]]+", " ", alertname).strip() + _yaml(head) + "tasks:"]
    for number, (name, task) in enumerate(workflow["tasks"].items()):
        text = f"# [300, {50 + 150 * number}]\n" + _yaml({name: task})
        lines += ["  " + line if line else "" for line in text.splitlines()] + [""]
    return "\n".join(lines).rstrip() + "\n"


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _string(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, "|" if "\n" in value else None)


_Dumper.add_representer(str, _string)


def _yaml(document: Document) -> str:
    text: str = yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000000
    )
    return text
