"""From a mapping to StackStorm's content, a rule and an Orquesta workflow, and back. Pure.

The workflow has one task a step, in order. What a step's conditions say stands in ``vars``, under
``runs``; a step whose conditions do not hold has no item to run for, and succeeds at once. (Tasks
that lead around a step would do as well, but Orquesta walks every path through them, and these
double with every step.)
"""

import hashlib
import json
import re
from dataclasses import dataclass

import yaml

from poundcake.inert import inert_text
from poundcake.mappings import shell, templates
from poundcake.mappings.model import Conditions, Mapping, Step, mapped
from poundcake.mappings.templates import expression, literal

TAG = "poundcake_mapping"  # on each action and rule that apply_mappings made; the alert's name
TRIGGER = "poundcake.alert"
SHELLS = ("local-shell-cmd", "remote-shell-cmd")
HOSTS = ("host", "hosts")
# What older mappings call a parameter, and how StackStorm's packs do (linux.service).
OLDER_NAMES = {"host": "hosts", "action": "act"}
_COMMENT = """\
# Written by poundcake.apply_mappings from the mapping of the alert %s.
# poundcake.export_mappings reads it back, as long as what is changed here keeps this form.
"""
_ALERT = {
    "type": "object",
    "description": "The alert, as the trigger poundcake.alert has it.",
    "required": True,
}

# The name or address at the start of a text, without its port; nothing when that is not all of it.
# A list of hosts, or a user name, in a label must not choose where a step works.
_ONE_HOST = (
    r"^(?:([0-9A-Za-z][0-9A-Za-z._-]*)(?::[0-9]+)?|([0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*))"
    r"(?![\s\S])|[\s\S]+"
)


class ContentError(ValueError):
    """Content that is not in the form that apply_mappings writes; the text says where."""


@dataclass(frozen=True)
class ActionInfo:
    """What a step must know of an action: its runner and parameter schemas, and the runner's."""

    runner: str
    own: dict
    of_runner: dict

    @property
    def parameters(self):
        found = {name: dict(schema) for name, schema in self.of_runner.items()}
        for name, schema in self.own.items():
            found.setdefault(name, {}).update(schema)
        return found


@dataclass(frozen=True)
class Content:
    """What StackStorm has for one mapping: documents of its API, and the workflow as an object."""

    action: dict
    rule: dict
    workflow: dict

    @property
    def ref(self):
        return "%s.%s" % (self.action["pack"], self.action["name"])

    @property
    def workflow_text(self):
        alertname = " ".join(owner_of(self.action).split())
        text = yaml.dump(
            self.workflow, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
        )
        return _COMMENT % alertname + text


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


def name_of(alertname):
    """Return the name of the action and the rule for an alert."""
    name = re.sub(r"\W+", "_", alertname, flags=re.ASCII)[:50]
    if name != alertname:  # two alerts must not have one name
        name += "_" + hashlib.sha256(alertname.encode("utf-8")).hexdigest()[:8]
    return "mapping_" + name


def owner_of(document):
    """Return the name of the alert for which apply_mappings made an action or a rule, else None."""
    for tag in document.get("tags") or ():
        if tag.get("name") == TAG:
            return tag.get("value")
    return None


def renamed(parameters, known):
    """Return parameters with older names replaced where the action knows only the newer one."""
    found = {}
    for name, value in parameters.items():
        newer = OLDER_NAMES.get(name)
        if name not in known and newer in known and newer not in parameters:
            name = newer
        found[name] = value
    return found


def template_names(value):
    """Return the normal names of all templates in a JSON value."""
    names = []
    mapped(value, (), lambda text, _: names.extend(templates.names_in(text)))
    return names


# --- to StackStorm --------------------------------------------------------------------------------


def build(mapping, pack, actions):
    """Return the Content of a mapping that has no mistake.

    :param actions: ``{action reference: ActionInfo}``.
    """
    name = name_of(mapping.alertname)
    tags = [{"name": TAG, "value": mapping.alertname}]
    inputs = {"alert": _ALERT}
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
    action = {
        "name": name,
        "pack": pack,
        "runner_type": "orquesta",
        "description": mapping.description,
        "enabled": True,
        "entry_point": "workflows/%s.yaml" % name,
        "parameters": inputs,
        "tags": tags,
    }
    rule = {
        "name": name,
        "pack": pack,
        "description": "Starts the mapping of an alert. Written by poundcake.apply_mappings.",
        "enabled": mapping.enabled is not False,
        "trigger": {"type": TRIGGER, "parameters": {}},
        "criteria": {"trigger.alertname": {"type": "eq", "pattern": inert_text(mapping.alertname)}},
        # All of it, as JSON: no template here can name a label that an alert lacks.
        "action": {
            "ref": "%s.%s" % (pack, name),
            "parameters": {"alert": "{{ trigger | to_json_string }}"},
        },
        "tags": tags,
    }
    return Content(action, rule, _workflow(mapping, list(inputs), actions))


def _config_keys(mapping):
    names = [name for step in mapping.steps for name in template_names(step.parameters)]
    return sorted({name.partition(".")[2] for name in names if name.startswith("config.")})


def _config_default(keys):
    pairs = ", ".join("%s: config_context.get(%s, '')" % (repr(k), repr(k)) for k in keys)
    return "{{ {%s} | to_json_string }}" % pairs


def _workflow(mapping, inputs, actions):
    hosts = {}  # variable -> the template whose host it is
    steps = [(step, _input(step, actions[step.action], hosts)) for step in mapping.steps]
    about = {step.name: step.description for step in mapping.steps if step.description}
    runs = {step.name: _runs(step) for step in mapping.steps if step.conditions}
    variables = [{name: _variable_of(name)} for name in ("labels", "annotations")]
    variables += [{"about": about}] if about else []
    variables += [{name: _host_of(template)} for name, template in hosts.items()]
    variables += [{"runs": runs}] if runs else []
    variables += [{"outcome": "not finished"}, {"reason": None}, {"failed_steps": []}]
    following = [step.name for step in mapping.steps[1:]] + [None]
    return {
        "version": 1.0,
        "description": mapping.description or "The steps for an alert.",
        "input": inputs,
        "vars": variables,
        "output": [{name: "<%% ctx().%s %%>" % name} for name in _OUTPUTS],
        "tasks": {
            step.name: _task(step, inputs_of_step, host, after)
            for (step, (inputs_of_step, host)), after in zip(steps, following)
        },
    }


_OUTPUTS = ("outcome", "reason", "failed_steps")


def _variable_of(name):
    return '<%% ctx().alert.get("%s", dict()) %%>' % name


def _host_of(template):
    if template == "instance":
        return "<% " + expression("alert.host") + " %>"
    return "<%% regex_replace(%s, %s, %s) %%>" % (
        expression(template),
        literal(_ONE_HOST),
        literal(r"\1\2"),
    )


def _template_of_host(text):
    if text == _host_of("instance"):
        return "instance"
    start, end = _host_of("labels.x").split(expression("labels.x"))
    name = templates.name_of(text[len(start) : -len(end)])
    if not text.startswith(start) or not text.endswith(end) or name is None:
        raise ContentError("vars: %s is no host" % text)
    return name


def _input(step, info, hosts):
    """Return the input of a step's task, and the variable of its host (None when it has none)."""
    parameters = renamed(step.parameters, info.parameters)
    host, found = None, {}
    for name, value in parameters.items():
        template = host_template(name, value)
        if template:
            host = _host_variable(template, hosts)
            found[name] = "<%% ctx().%s %%>" % host
        elif name == "cmd" and info.runner in SHELLS:
            found[name], variables = shell.translate(value)
            env = {key: "{{%s}}" % item for key, item in variables.items()}
            if env:
                parameters = dict(parameters, env=dict(parameters.get("env") or {}, **env))
        elif name != "env":
            found[name] = mapped(value, (), lambda text, _: templates.translate(text))
    if "env" in parameters:
        env = parameters["env"]
        found["env"] = mapped(env, (), lambda text, _: templates.translate(text))
    if step.timeout:
        found["timeout"] = step.timeout
    return found, host


def host_template(name, value):
    """Return the template from an alert that is the whole value of a host parameter, else None."""
    if name not in HOSTS or not isinstance(value, str):
        return None
    parts = templates.split(value.strip())
    if len(parts) != 1 or not parts[0][0] or not templates.is_from_alert(parts[0][0]):
        return None
    return "instance" if parts[0][0] == "alert.host" else parts[0][0]


def _host_variable(template, hosts):
    stem = "host" if template == "instance" else "host_" + re.sub(r"\W", "_", template)
    variable, number = stem, 1
    while hosts.get(variable, template) != template:
        number += 1
        variable = "%s_%d" % (stem, number)
    hosts[variable] = template
    return variable


def _runs(step):
    found = step.conditions
    labels = [(expression("labels." + name), values) for name, values in found.labels.items()]
    severity = [(expression("severity"), found.severity)] if found.severity else []
    clauses = ["%s in list(%s)" % (what, _literals(values)) for what, values in severity + labels]
    clauses += ['%s != ""' % expression("labels." + name) for name in found.has_labels]
    return "<% " + " and ".join(clauses) + " %>"


def _literals(values):
    return ", ".join(literal(inert_text(value)) for value in values)


def _task(step, inputs, host, following):
    runs = "ctx().runs.%s" % step.name if step.conditions else None
    no_host = 'ctx().%s = ""' % host if host else None
    task = {}
    wanted = [part for part in (runs, host and 'ctx().%s != ""' % host) if part]
    if wanted:
        task["with"] = "<%% switch(%s => list(1), true => list()) %%>" % " and ".join(wanted)
    task["action"] = step.action
    if inputs:
        task["input"] = inputs
    if step.retry_count:
        task["retry"] = {"when": "<% failed() %>", "count": step.retry_count}
        if step.retry_delay:
            task["retry"]["delay"] = step.retry_delay
    failed = "failed()"
    if no_host:
        failed += " or (%s)" % " and ".join(part for part in (runs, no_host) if part)
    task["next"] = _transitions(step, failed, bool(no_host), following)
    return task


def _transitions(step, failed, has_host, following):
    reason = "the step %s failed, see its task" % step.name
    if has_host:
        reason += "; it is not started when its host is not one name or address"
    ends = [] if following else [{"outcome": "done"}]
    if step.continue_on_failure:
        more = "switch(%s => ctx().failed_steps + list(%s), true => ctx().failed_steps)" % (
            failed,
            literal(step.name),
        )
        publish = [{"failed_steps": "<% " + more + " %>"}]
        return [{"when": "<% completed() %>", "publish": publish + ends, "do": following or "noop"}]
    succeeded = "<% succeeded() %>" if not has_host else "<%% not (%s) %%>" % failed
    good = {"when": succeeded}
    if ends:
        good["publish"] = ends
    if following:
        good["do"] = following
    stopped = [
        {"outcome": "stopped at %s" % step.name},
        {"reason": reason},
        {"failed_steps": "<%% ctx().failed_steps + list(%s) %%>" % literal(step.name)},
    ]
    return [good, {"when": "<%% %s %%>" % failed, "publish": stopped, "do": "fail"}]


# --- and back -------------------------------------------------------------------------------------


def restore(action, rule, workflow):
    """Return the Mapping of what StackStorm has for it.

    :param action, rule: documents of StackStorm's API; the rule may be None.
    :param workflow: the decoded YAML of the workflow.
    :raises ContentError: when it is not in the form that ``build`` gives.
    """
    try:
        return _restore(action, rule, workflow)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ContentError("%s: %s" % (type(error).__name__, error))


def _restore(action, rule, workflow):
    variables = {name: value for item in workflow["vars"] for name, value in item.items()}
    parameters = action["parameters"].get("parameters") or {}
    steps = [
        _restore_step(name, workflow["tasks"][name], variables)
        for name in _order(workflow["tasks"])
    ]
    return Mapping(
        alertname=owner_of(action),
        description=action.get("description") or "",
        enabled=False if rule and not rule["enabled"] else None,
        parameters=parameters.get("default") or {},
        steps=tuple(steps),
    )


def _order(tasks):
    """Return the names of the tasks in the order in which they follow each other."""
    after = {name: task["next"][0].get("do") for name, task in tasks.items()}
    first = [name for name in tasks if name not in after.values()]
    order = first[:1]
    while order and after[order[-1]] in tasks and len(order) < len(tasks):
        order.append(after[order[-1]])
    if len(order) != len(tasks):
        raise ContentError("the tasks do not follow each other in one line")
    return order


def _restore_step(name, task, variables):
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


def _restore_inputs(inputs, variables):
    found = {}
    for name, value in inputs.items():
        host = name in HOSTS and re.match(r"<% ctx\(\)\.(host\w*) %>\Z", str(value))
        if host:
            found[name] = "{{%s}}" % _template_of_host(variables[host.group(1)])
        else:
            found[name] = mapped(value, (), lambda text, _: templates.restore(text))
    if isinstance(found.get("cmd"), str) and isinstance(found.get("env"), dict):
        found["cmd"], env = shell.restore(found["cmd"], found.pop("env"))
        if env:
            found["env"] = env
    return found


_STRING = r'"(?:[^"\\]|\\.)*"'
_CLAUSE = re.compile(
    r"(?P<what>ctx\(\)(?:\.\w+)+\(STRING, \"\"\))"
    r"(?: in list\((?P<values>STRING(?:, STRING)*)\)|(?P<has> != \"\"))".replace("STRING", _STRING)
)


def _restore_conditions(text):
    severity, labels, has_labels, place = (), {}, [], len("<% ")
    while True:
        match = _CLAUSE.match(text, place)
        if not match:
            raise ContentError("runs: %s" % text[place:])
        what = templates.name_of(match.group("what"))
        values = tuple(
            _uninert(json.loads(item)) for item in re.findall(_STRING, match.group("values") or "")
        )
        group, _, label = what.partition(".")
        if match.group("has"):
            has_labels.append(label)
        elif what == "severity":
            severity = values
        else:
            labels[label] = values
        place = match.end()
        if text[place:] == " %>":
            return Conditions(severity, labels, tuple(has_labels))
        if not text.startswith(" and ", place):
            raise ContentError("runs: %s" % text[place:])
        place += len(" and ")


def _uninert(text):
    """Return a text that is made inert to the same: nobody writes the look-alikes."""
    return re.sub(r"\A(\s*)\u066a", r"\1%", text.replace("\u2774", "{").replace("\u2039", "<"))
