"""Where a value of an alert may stand in a step's parameters, and its type there. Pure."""

from typing import Any, Dict, List
from typing import Mapping as MappingOf

from poundcake.errors import MappingError
from poundcake.mappings import commands, shell, templates
from poundcake.mappings.actions import SHELLS, ActionInfo, renamed
from poundcake.mappings.model import Step, mapped
from poundcake.mappings.templates import Template

HOSTS = ("host", "hosts")
# The runner's parameters that may contain alert text: every use of them treats it as data.
_DATA_OF_RUNNERS = ("headers", "cookies", "body", "params")
# The types of the parameters of well-known actions.
_KINDS = {"linux.service": {"service": "unit"}}
_URL_KINDS = ("name", "host", "number", "pod", "namespace", "database")


def typed(step: Step, info: ActionInfo) -> Dict[str, Any]:
    """Return the parameters for a step's action, with a type in each template that needs one.

    :raises MappingError: for a value of an alert in a place where it must not be.
    """
    return {name: typed_value(step, info, name, value) for name, value in given(step, info).items()}


def given(step: Step, info: ActionInfo) -> Dict[str, Any]:
    """Return the parameters for the action, with the step's own values where it has them."""
    known = info.parameters
    values = {name: value for name, value in step.values.items() if name in known}
    return renamed({**values, **step.parameters}, known)


def templates_of(value: Any) -> List[Template]:
    """Return all templates in a JSON value."""
    found: List[Template] = []
    mapped(value, (), lambda text, _: found.extend(templates.templates_in(text)))
    return found


def is_command(info: ActionInfo, name: str, value: Any) -> bool:
    """Return whether a parameter is the command of a shell runner."""
    return name == "cmd" and info.runner in SHELLS and isinstance(value, str)


def typed_value(step: Step, info: ActionInfo, name: str, value: Any) -> Any:
    """Return one of the parameters, like ``typed``."""
    if is_command(info, name, value):
        return _typed_command(value, variables_from_alert(step))
    if not any(template.is_from_alert for template in templates_of(value)):
        return value
    if name == "env" and name in info.of_runner:
        return _with_kind(value, "text")
    if name in HOSTS:
        return _typed_host(value)
    if name == "url" and name in info.of_runner:
        return mapped(value, (), lambda text, _: _typed_url(text))
    if name in info.of_runner and name not in _DATA_OF_RUNNERS:
        raise MappingError(
            f"an alert must not choose {name}; write its value, or use parameters.KEY or config.KEY"
        )
    if name not in info.of_runner and info.runner.endswith("-cmd"):
        raise MappingError(
            f"{step.action} puts {name} on its command line; use core.local with cmd, where values "
            "are data"
        )
    kind = _KINDS.get(step.action, {}).get(name, "")
    if not kind and info.runner.endswith("shell-script"):
        missing = [t for t in templates_of(value) if t.is_from_alert and not t.kind]
        if missing:
            raise MappingError(
                f"{step.action} is a script, and {missing[0]} has no type; write it, as in "
                f"{missing[0].of_kind('name')}"
            )
    return _with_kind(value, kind)


def _with_kind(value: Any, kind: str) -> Any:
    """Return a JSON value with a type in each template of an alert."""

    def of_kind(template: Template) -> Template:
        return template.of_kind(kind) if template.is_from_alert else template

    return mapped(value, (), lambda text, _: templates.replace_templates(text, of_kind))


def variables_from_alert(step: Step) -> Dict[str, Template]:
    """Return the variables of a step whose values have text of an alert in them."""
    env = step.parameters.get("env")
    variables: Dict[str, Template] = {}
    for name, value in env.items() if isinstance(env, dict) else ():
        try:
            found = [template for template in templates_of(value) if template.is_from_alert]
        except MappingError:
            continue  # a mistake of its own
        if found:
            is_alone = str(value).strip() == str(found[0])
            variables[name] = (
                found[0].of_kind("text") if is_alone else Template(f"env.{name}", "text")
            )
    return variables


def _typed_command(command: str, env: MappingOf[str, Template]) -> str:
    shell.translate(command)  # raises for a place where no template may stand
    parts = templates.split(command)
    found = [part for part in parts if isinstance(part, Template)]
    is_from_alert = any(template.is_from_alert for template in found)
    if not is_from_alert and not any(
        f"${name}" in command or "${" + name in command for name in env
    ):
        return command
    kinds = commands.kinds_of(command, env)
    numbers = iter(range(len(found)))

    def of_kind(template: Template) -> Template:
        kind = kinds.get(next(numbers), "")
        return template.of_kind(kind) if kind else template

    return templates.replace_templates(command, of_kind)


def _typed_host(value: Any) -> Any:
    parts = templates.split(value.strip()) if isinstance(value, str) else []
    if len(parts) != 1 or not isinstance(parts[0], Template):
        raise MappingError("expected one template alone, for example {{instance}}, or plain text")
    template = parts[0].of_kind("host")
    if template.kind != "host":
        raise MappingError(f"{template}: the type {template.kind}; expected host")
    return str(Template("instance", "host") if template.name == "alert.host" else template)


def _typed_url(text: str) -> str:
    parts = templates.split(text)
    for index, part in enumerate(parts):
        if not isinstance(part, Template) or not part.is_from_alert:
            continue
        before = "".join(one if isinstance(one, str) else "x" for one in parts[:index])
        if index and isinstance(parts[0], Template):
            before = "http://" + before  # the author's own address
        is_in_path = before.count("/") > 2 or "?" in before
        kind = part.kind or ("name" if is_in_path else "")
        if index == 0 or kind not in _URL_KINDS or (not is_in_path and kind != "host"):
            raise MappingError(
                f"{part}: an alert must not choose where a request goes; expected a fixed host, as "
                "in https://hooks.example.com/{{labels.job | name}}, or the type host, as in "
                "http://{{instance | host}}:8080/"
            )
    return templates.replace_templates(
        text, lambda template: template.of_kind("name") if template.is_from_alert else template
    )
