"""From StackStorm's content back to the mapping that it was built from. Pure."""

import json
import re
from typing import Any, Dict, List, Mapping, Optional, Tuple

from poundcake import inert
from poundcake.errors import MappingError
from poundcake.mappings import model, shell, templates
from poundcake.mappings.actions import phase_of
from poundcake.mappings.content import Document, owner_of
from poundcake.mappings.model import CHECK_TASK, Conditions, Step, mapped
from poundcake.mappings.workflow import original


def restore(
    action: Document, rule: Optional[Document], workflow: Any, timeout: int = 0
) -> model.Mapping:
    """Return the Mapping of StackStorm's content.

    :param action: a document of StackStorm's API, like ``rule``.
    :param workflow: the decoded YAML of the workflow.
    :param timeout: as in ``content.build``.
    :raises MappingError: when it is not in the form that ``content.build`` produces.
    """
    try:
        return _mapping(action, rule, workflow, timeout)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise MappingError(f"{type(error).__name__}: {error}")


def _mapping(
    action: Document, rule: Optional[Document], workflow: Any, timeout: int
) -> model.Mapping:
    variables = {name: value for item in workflow["vars"] for name, value in item.items()}
    tasks = {name: task for name, task in workflow["tasks"].items() if name != CHECK_TASK}
    return model.Mapping(
        alertname=owner_of(action) or "",
        description=action.get("description") or "",
        enabled=False if rule and not rule["enabled"] else None,
        parameters=original(variables.get("parameters") or {}),
        steps=tuple(_step(name, tasks[name], variables, timeout) for name in _order(tasks)),
    )


def _order(tasks: Mapping[str, Any]) -> List[str]:
    """Return the names of the tasks in their order of execution."""
    after = {name: task["next"][0]["do"][0] for name, task in tasks.items()}
    first = [name for name in tasks if name not in after.values()]
    order = first[:1]
    while order and after[order[-1]] in tasks and len(order) < len(tasks):
        order.append(after[order[-1]])
    if len(order) != len(tasks):
        raise MappingError("the tasks are not one sequence")
    return order


def _step(name: str, task: Document, variables: Document, timeout: int) -> Step:
    retry = task.get("retry") or {}
    inputs = dict(original(task.get("input") or {}))
    limit = inputs.pop("timeout") if isinstance(inputs.get("timeout"), int) else None
    condition = (variables.get("runs") or {}).get(name)
    parameters = _parameters(inputs)
    values = original((variables.get("step_parameters") or {}).get(name, {}))
    phase = variables["phases"][name]
    is_usual = phase == phase_of(task["action"], {**values, **parameters})
    return Step(
        name=name,
        action=task["action"],
        description=(variables.get("about") or {}).get(name, ""),
        conditions=_conditions(condition) if condition else Conditions(),
        # What the action takes as it stands among the step's own values is passed on by itself.
        parameters={k: v for k, v in parameters.items() if k not in values or values[k] != v},
        values=values,
        phase="" if is_usual else phase,
        timeout=None if limit == timeout else limit,
        retry_count=retry.get("count", 0),
        retry_delay=retry.get("delay", 0),
        continue_on_failure=task["next"][0]["when"] == "<% completed() %>",
    )


def _parameters(inputs: Document) -> Document:
    parameters: Document = mapped(inputs, (), lambda text, _: templates.restore(text))
    if isinstance(parameters.get("cmd"), str) and isinstance(parameters.get("env"), dict):
        parameters["cmd"], env = shell.restore(parameters["cmd"], parameters.pop("env"))
        if env:
            parameters["env"] = env
    return parameters


_STRING = r'"(?:[^"\\]|\\.)*"'
_CLAUSE = re.compile(
    r"(?P<value>ctx\(\)(?:\.\w+)+\(STRING, \"\"\))"
    r"(?: in list\((?P<accepted>STRING(?:, STRING)*)\)|(?P<has> != \"\"))".replace(
        "STRING", _STRING
    )
)


def _conditions(condition: str) -> Conditions:
    severity: Tuple[str, ...] = ()
    labels: Dict[str, Tuple[str, ...]] = {}
    has_labels: List[str] = []
    place = len("<% ")
    while True:
        match = _CLAUSE.match(condition, place)
        template = templates.template_of(match.group("value")) if match else None
        if match is None or template is None:
            raise MappingError(f"runs: {condition[place:]}")
        accepted = re.findall(_STRING, match.group("accepted") or "")
        values = tuple(inert.original(json.loads(item)) for item in accepted)
        _, _, label = template.name.partition(".")
        if match.group("has"):
            has_labels.append(label)
        elif template.name == "severity":
            severity = values
        else:
            labels[label] = values
        place = match.end()
        if condition[place:] == " %>":
            return Conditions(severity, labels, tuple(has_labels))
        if not condition.startswith(" and ", place):
            raise MappingError(f"runs: {condition[place:]}")
        place += len(" and ")
