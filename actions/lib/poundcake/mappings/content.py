"""Translates a mapping to StackStorm's content, a rule and an Orquesta workflow, and back. Pure.

The workflow has one task per step, in order. The conditions of a step are in ``vars``, under
``runs``; a step whose conditions are false has no items to run for, and succeeds at once. (Tasks
that bypass a step would work too, but Orquesta walks every path through them, and the number of
paths doubles with every step.)
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple
from typing import Mapping as MappingOf

import yaml

from poundcake.inert import inert_text
from poundcake.mappings import shell, templates
from poundcake.mappings.model import Conditions, Mapping, Step, mapped
from poundcake.mappings.templates import expression, literal

Document = Dict[str, Any]

TAG = "poundcake_mapping"  # marks the actions and rules of apply_mappings; its value is the alert
TRIGGER = "poundcake.alert"
SHELLS = ("local-shell-cmd", "remote-shell-cmd")
HOSTS = ("host", "hosts")
# Parameter names of older mappings, and their names in StackStorm's packs (linux.service).
OLDER_NAMES = {"host": "hosts", "action": "act"}
_COMMENT = """\
# Written by poundcake.apply_mappings from the mapping of the alert %s.
# poundcake.export_mappings reads it back, as long as changes keep this form.
"""
_ALERT = {
    "type": "object",
    "description": "The alert: the payload of the trigger poundcake.alert.",
    "required": True,
}

# Matches one name or address with an optional port; groups 1 and 2 are without the port. Any other
# text becomes empty: a list of hosts, or a user name, in a label must not choose where a step runs.
_ONE_HOST = (
    r"^(?:([0-9A-Za-z][0-9A-Za-z._-]*)(?::[0-9]+)?|([0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*))"
    r"(?![\s\S])|[\s\S]+"
)


class ContentError(ValueError):
    """Content that differs from the form that apply_mappings writes; the text says where."""


@dataclass(frozen=True)
class ActionInfo:
    """An action as a step needs it: its runner, and the parameter schemas of both."""

    runner: str
    own: MappingOf[str, Any]
    of_runner: MappingOf[str, Any]

    @property
    def parameters(self) -> Dict[str, Document]:
        """The parameter schemas of the runner, updated with those of the action."""
        schemas = {name: dict(schema) for name, schema in self.of_runner.items()}
        for name, schema in self.own.items():
            schemas.setdefault(name, {}).update(schema)
        return schemas


@dataclass(frozen=True)
class Content:
    """StackStorm's content for one mapping: API documents, and the workflow as an object."""

    action: Document
    rule: Document
    workflow: Document

    @property
    def ref(self) -> str:
        """The reference of the action and of the rule."""
        return f"{self.action['pack']}.{self.action['name']}"

    @property
    def workflow_text(self) -> str:
        """The YAML of the workflow, with a comment at the top."""
        alertname = " ".join((owner_of(self.action) or "").split())
        text: str = yaml.dump(
            self.workflow, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
        )
        return _COMMENT % alertname + text


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def name_of(alertname: str) -> str:
    """Return the name of the action and the rule for an alert."""
    name = re.sub(r"\W+", "_", alertname, flags=re.ASCII)[:50]
    if name != alertname:  # two alerts must not share a name
        name += "_" + hashlib.sha256(alertname.encode("utf-8")).hexdigest()[:8]
    return "mapping_" + name


def owner_of(document: MappingOf[str, Any]) -> Optional[str]:
    """Return the alert for which apply_mappings made an action or a rule, otherwise None."""
    for tag in document.get("tags") or ():
        if tag.get("name") == TAG:
            alertname: Optional[str] = tag.get("value")
            return alertname
    return None


def renamed(parameters: MappingOf[str, Any], known: MappingOf[str, Any]) -> Dict[str, Any]:
    """Return parameters with older names replaced if the action has only the newer name."""
    result = {}
    for name, value in parameters.items():
        newer = OLDER_NAMES.get(name)
        if newer and name not in known and newer in known and newer not in parameters:
            name = newer
        result[name] = value
    return result


def template_names(value: Any) -> List[str]:
    """Return the canonical names of all templates in a JSON value."""
    names: List[str] = []
    mapped(value, (), lambda text, _: names.extend(templates.names_in(text)))
    return names


# --- to StackStorm --------------------------------------------------------------------------------


def build(mapping: Mapping, pack: str, actions: MappingOf[str, ActionInfo]) -> Content:
    """Return the Content of a mapping without mistakes.

    :param actions: ``{action reference: ActionInfo}``.
    """
    inputs = _inputs(mapping)
    workflow = _workflow(mapping, list(inputs), actions)
    return Content(_action(mapping, pack, inputs), _rule(mapping, pack), workflow)


def _tags(mapping: Mapping) -> List[Dict[str, str]]:
    return [{"name": TAG, "value": mapping.alertname}]


def _inputs(mapping: Mapping) -> Document:
    """Return the parameters of the action, which are the inputs of the workflow."""
    inputs: Document = {"alert": _ALERT}
    if mapping.parameters:
        inputs["parameters"] = {
            "type": "object",
            "description": "Values for the templates parameters.KEY of the mapping.",
            "default": mapping.parameters,
        }
    config = _config_keys(mapping)
    if config:
        inputs["config"] = {
            "type": "object",
            "description": "Values for the templates config.KEY, from the config of the pack.",
            "default": _config_default(config),
        }
    return inputs


def _action(mapping: Mapping, pack: str, inputs: Document) -> Document:
    name = name_of(mapping.alertname)
    return {
        "name": name,
        "pack": pack,
        "runner_type": "orquesta",
        "description": mapping.description,
        "enabled": True,
        "entry_point": f"workflows/{name}.yaml",
        "parameters": inputs,
        "tags": _tags(mapping),
    }


def _rule(mapping: Mapping, pack: str) -> Document:
    name = name_of(mapping.alertname)
    return {
        "name": name,
        "pack": pack,
        "description": "Starts the mapping of an alert. Written by poundcake.apply_mappings.",
        "enabled": mapping.enabled is not False,
        "trigger": {"type": TRIGGER, "parameters": {}},
        "criteria": {"trigger.alertname": {"type": "eq", "pattern": inert_text(mapping.alertname)}},
        # The whole alert as JSON, so that no template here names a label that an alert lacks.
        "action": {
            "ref": f"{pack}.{name}",
            "parameters": {"alert": "{{ trigger | to_json_string }}"},
        },
        "tags": _tags(mapping),
    }


def _config_keys(mapping: Mapping) -> List[str]:
    names = [name for step in mapping.steps for name in template_names(step.parameters)]
    return sorted({name.partition(".")[2] for name in names if name.startswith("config.")})


def _config_default(keys: Sequence[str]) -> str:
    pairs = ", ".join(f"{key!r}: config_context.get({key!r}, '')" for key in keys)
    return "{{ {" + pairs + "} | to_json_string }}"


def _workflow(mapping: Mapping, inputs: List[str], actions: MappingOf[str, ActionInfo]) -> Document:
    hosts: Dict[str, str] = {}  # variable -> the template of its host
    steps = [(step, _input(step, actions[step.action], hosts)) for step in mapping.steps]
    about = {step.name: step.description for step in mapping.steps if step.description}
    runs = {step.name: _runs(step) for step in mapping.steps if step.conditions}
    variables: List[Document] = [{name: _variable_of(name)} for name in ("labels", "annotations")]
    variables += [{"about": about}] if about else []
    variables += [{name: _host_of(template)} for name, template in hosts.items()]
    variables += [{"runs": runs}] if runs else []
    variables += [{"outcome": "not finished"}, {"reason": None}, {"failed_steps": []}]
    following: List[Optional[str]] = [*(step.name for step in mapping.steps[1:]), None]
    return {
        "version": 1.0,
        "description": mapping.description or "The steps for an alert.",
        "input": inputs,
        "vars": variables,
        "output": [{name: f"<% ctx().{name} %>"} for name in _OUTPUTS],
        "tasks": {
            step.name: _task(step, inputs_of_step, host, after)
            for (step, (inputs_of_step, host)), after in zip(steps, following)
        },
    }


_OUTPUTS = ("outcome", "reason", "failed_steps")


def _variable_of(name: str) -> str:
    return f'<% ctx().alert.get("{name}", dict()) %>'


def _host_of(template: str) -> str:
    if template == "instance":
        return "<% " + expression("alert.host") + " %>"
    without_port = literal(r"\1\2")
    return f"<% regex_replace({expression(template)}, {literal(_ONE_HOST)}, {without_port}) %>"


def _template_of_host(text: str) -> str:
    if text == _host_of("instance"):
        return "instance"
    start, end = _host_of("labels.x").split(expression("labels.x"))
    name = templates.name_of(text[len(start) : -len(end)])
    if not text.startswith(start) or not text.endswith(end) or name is None:
        raise ContentError(f"vars: {text} is not the expression of a host")
    return name


def _input(step: Step, info: ActionInfo, hosts: Dict[str, str]) -> Tuple[Document, Optional[str]]:
    """Return the input of a step's task, and the variable of its host, or None."""
    parameters = renamed(step.parameters, info.parameters)
    host: Optional[str] = None
    inputs: Document = {}
    for name, value in parameters.items():
        template = host_template(name, value)
        if template:
            host = _host_variable(template, hosts)
            inputs[name] = f"<% ctx().{host} %>"
        elif name == "cmd" and info.runner in SHELLS:
            inputs[name], variables = shell.translate(value)
            env = {key: "{{" + item + "}}" for key, item in variables.items()}
            if env:
                parameters = dict(parameters, env=dict(parameters.get("env") or {}, **env))
        elif name != "env":
            inputs[name] = mapped(value, (), lambda text, _: templates.translate(text))
    if "env" in parameters:
        env = parameters["env"]
        inputs["env"] = mapped(env, (), lambda text, _: templates.translate(text))
    if step.timeout:
        inputs["timeout"] = step.timeout
    return inputs, host


def host_template(name: str, value: Any) -> Optional[str]:
    """Return the alert's template if it is the whole value of a host parameter, otherwise None."""
    if name not in HOSTS or not isinstance(value, str):
        return None
    parts = templates.split(value.strip())
    if len(parts) != 1 or not parts[0][0] or not templates.is_from_alert(parts[0][0]):
        return None
    return "instance" if parts[0][0] == "alert.host" else parts[0][0]


def _host_variable(template: str, hosts: Dict[str, str]) -> str:
    stem = "host" if template == "instance" else "host_" + re.sub(r"\W", "_", template)
    variable, number = stem, 1
    while hosts.get(variable, template) != template:
        number += 1
        variable = f"{stem}_{number}"
    hosts[variable] = template
    return variable


def _runs(step: Step) -> str:
    conditions = step.conditions
    labels = [(expression("labels." + name), values) for name, values in conditions.labels.items()]
    severity = [(expression("severity"), conditions.severity)] if conditions.severity else []
    clauses = [f"{value} in list({_literals(accepted)})" for value, accepted in severity + labels]
    clauses += [f'{expression("labels." + name)} != ""' for name in conditions.has_labels]
    return "<% " + " and ".join(clauses) + " %>"


def _literals(values: Sequence[str]) -> str:
    return ", ".join(literal(inert_text(value)) for value in values)


def _task(step: Step, inputs: Document, host: Optional[str], following: Optional[str]) -> Document:
    runs = f"ctx().runs.{step.name}" if step.conditions else None
    has_host = f'ctx().{host} != ""' if host else None
    no_host = f'ctx().{host} = ""' if host else None
    task: Document = {}
    conditions = " and ".join(part for part in (runs, has_host) if part)
    if conditions:
        task["with"] = f"<% switch({conditions} => list(1), true => list()) %>"
    task["action"] = step.action
    if inputs:
        task["input"] = inputs
    if step.retry_count:
        task["retry"] = {"when": "<% failed() %>", "count": step.retry_count}
        if step.retry_delay:
            task["retry"]["delay"] = step.retry_delay
    failed = "failed()"
    if no_host:
        not_started = " and ".join(part for part in (runs, no_host) if part)
        failed += f" or ({not_started})"
    task["next"] = _transitions(step, failed, bool(no_host), following)
    return task


def _transitions(
    step: Step, failed: str, has_host: bool, following: Optional[str]
) -> List[Document]:
    reason = f"the step {step.name} failed, see its task"
    if has_host:
        reason += "; it is not started when its host is not one name or address"
    ends: List[Document] = [] if following else [{"outcome": "done"}]
    with_this = f"ctx().failed_steps + list({literal(step.name)})"
    if step.continue_on_failure:
        failed_steps = f"<% switch({failed} => {with_this}, true => ctx().failed_steps) %>"
        publish: List[Document] = [{"failed_steps": failed_steps}, *ends]
        return [{"when": "<% completed() %>", "publish": publish, "do": following or "noop"}]
    succeeded: Document = {"when": f"<% not ({failed}) %>" if has_host else "<% succeeded() %>"}
    if ends:
        succeeded["publish"] = ends
    if following:
        succeeded["do"] = following
    stopped = [
        {"outcome": f"stopped at {step.name}"},
        {"reason": reason},
        {"failed_steps": f"<% {with_this} %>"},
    ]
    return [succeeded, {"when": f"<% {failed} %>", "publish": stopped, "do": "fail"}]


# --- and back -------------------------------------------------------------------------------------


def restore(action: Document, rule: Optional[Document], workflow: Any) -> Mapping:
    """Return the Mapping of StackStorm's content.

    :param action: a document of StackStorm's API, like ``rule``.
    :param workflow: the decoded YAML of the workflow.
    :raises ContentError: when it is not in the form that ``build`` produces.
    """
    try:
        return _restore(action, rule, workflow)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ContentError(f"{type(error).__name__}: {error}")


def _restore(action: Document, rule: Optional[Document], workflow: Any) -> Mapping:
    variables = {name: value for item in workflow["vars"] for name, value in item.items()}
    parameters = action["parameters"].get("parameters") or {}
    steps = [
        _restore_step(name, workflow["tasks"][name], variables)
        for name in _order(workflow["tasks"])
    ]
    return Mapping(
        alertname=owner_of(action) or "",
        description=action.get("description") or "",
        enabled=False if rule and not rule["enabled"] else None,
        parameters=parameters.get("default") or {},
        steps=tuple(steps),
    )


def _order(tasks: MappingOf[str, Any]) -> List[str]:
    """Return the names of the tasks in their order of execution."""
    after = {name: task["next"][0].get("do") for name, task in tasks.items()}
    first = [name for name in tasks if name not in after.values()]
    order = first[:1]
    while order and after[order[-1]] in tasks and len(order) < len(tasks):
        order.append(after[order[-1]])
    if len(order) != len(tasks):
        raise ContentError("the tasks are not one sequence")
    return order


def _restore_step(name: str, task: Document, variables: Document) -> Step:
    retry = task.get("retry") or {}
    inputs = dict(task.get("input") or {})
    timeout = inputs.pop("timeout") if isinstance(inputs.get("timeout"), int) else None
    runs = (variables.get("runs") or {}).get(name)
    return Step(
        name=name,
        action=task["action"],
        description=(variables.get("about") or {}).get(name, ""),
        conditions=_restore_conditions(runs) if runs else Conditions(),
        parameters=_restore_inputs(inputs, variables),
        timeout=timeout,
        retry_count=retry.get("count", 0),
        retry_delay=retry.get("delay", 0),
        continue_on_failure=task["next"][0]["when"] == "<% completed() %>",
    )


def _restore_inputs(inputs: Document, variables: Document) -> Document:
    parameters: Document = {}
    for name, value in inputs.items():
        host = name in HOSTS and re.match(r"<% ctx\(\)\.(host\w*) %>\Z", str(value))
        if host:
            parameters[name] = "{{" + _template_of_host(variables[host.group(1)]) + "}}"
        else:
            parameters[name] = mapped(value, (), lambda text, _: templates.restore(text))
    if isinstance(parameters.get("cmd"), str) and isinstance(parameters.get("env"), dict):
        parameters["cmd"], env = shell.restore(parameters["cmd"], parameters.pop("env"))
        if env:
            parameters["env"] = env
    return parameters


_STRING = r'"(?:[^"\\]|\\.)*"'
_CLAUSE = re.compile(
    r"(?P<what>ctx\(\)(?:\.\w+)+\(STRING, \"\"\))"
    r"(?: in list\((?P<values>STRING(?:, STRING)*)\)|(?P<has> != \"\"))".replace("STRING", _STRING)
)


def _restore_conditions(text: str) -> Conditions:
    severity: Tuple[str, ...] = ()
    labels: Dict[str, Tuple[str, ...]] = {}
    has_labels: List[str] = []
    place = len("<% ")
    while True:
        match = _CLAUSE.match(text, place)
        if not match:
            raise ContentError(f"runs: {text[place:]}")
        name = templates.name_of(match.group("what"))
        if name is None:
            raise ContentError(f"runs: {text[place:]}")
        values = tuple(
            _uninert(json.loads(item)) for item in re.findall(_STRING, match.group("values") or "")
        )
        group, _, label = name.partition(".")
        if match.group("has"):
            has_labels.append(label)
        elif name == "severity":
            severity = values
        else:
            labels[label] = values
        place = match.end()
        if text[place:] == " %>":
            return Conditions(severity, labels, tuple(has_labels))
        if not text.startswith(" and ", place):
            raise ContentError(f"runs: {text[place:]}")
        place += len(" and ")


def _uninert(text: str) -> str:
    """Return the original of an inert text, as nobody writes the look-alike characters."""
    return re.sub(r"\A(\s*)\u066a", r"\1%", text.replace("\u2774", "{").replace("\u2039", "<"))
