"""Checks mappings against the actions that StackStorm has. Pure."""

import difflib
from typing import AbstractSet, Any, Dict, Mapping, Sequence

from poundcake.mappings import content, model, shell
from poundcake.mappings.content import ActionInfo
from poundcake.mappings.located_yaml import Path
from poundcake.mappings.shell import CommandError
from poundcake.mappings.templates import TemplateError, is_from_alert

# The runner's parameters that may contain alert text: every use of them treats it as data.
_FOR_ALERTS = ("env", "hosts", "url", "headers", "cookies")


def check(
    book: model.Book,
    actions: Mapping[str, ActionInfo],
    known: Sequence[str],
    secrets: AbstractSet[str],
) -> None:
    """Note every mistake of a book's mappings in the book.

    :param actions: ``{action reference: ActionInfo}`` of the existing actions.
    :param known: all action references in StackStorm, for a hint; may be empty.
    :param secrets: the settings that ``{{config.KEY}}`` must not reveal.
    """
    for mapping in book.mappings.values():
        for index, step in enumerate(mapping.steps):
            _Step(book, mapping, index, step, secrets).check(actions, known)


class _Step:
    """Checks one step."""

    def __init__(
        self,
        book: model.Book,
        mapping: model.Mapping,
        index: int,
        step: model.Step,
        secrets: AbstractSet[str],
    ):
        self._book = book
        self._mapping = mapping
        self._index = index
        self._step = step
        self._secrets = secrets

    def _complain(self, path: Path, text: str) -> None:
        self._book.complain(self._mapping.alertname, ("actions", self._index, *path), text)

    def check(self, actions: Mapping[str, ActionInfo], known: Sequence[str]) -> None:
        self._check_conditions()
        if self._step.action in actions:
            self._check_parameters(actions[self._step.action])
        elif self._step.action:
            self._complain(("action",), _unknown_action(self._step.action, known))

    def _check_conditions(self) -> None:
        conditions = self._step.conditions
        never = "this can never be true: "
        names = conditions.labels.get("alertname")
        if names and self._mapping.alertname not in names:
            text = f"{never}the alert is {self._mapping.alertname}; remove it"
            self._complain(("conditions", "labels", "alertname"), text)
        severity = conditions.labels.get("severity")
        if severity and conditions.severity and not set(severity) & set(conditions.severity):
            text = f"{never}severity is {' or '.join(conditions.severity)}; keep one of them"
            self._complain(("conditions", "labels", "severity"), text)
        for label in conditions.has_labels:
            if set(conditions.labels.get(label, "x")) == {""}:
                text = f"{never}labels requires {label} to be empty, that is absent; keep one"
                self._complain(("conditions", "has_labels"), text)
        only_absent = conditions.severity == ("",)
        if only_absent and "severity" in conditions.has_labels:
            text = f"{never}has_labels requires a severity; keep one"
            self._complain(("conditions", "severity"), text)

    def _check_parameters(self, info: ActionInfo) -> None:
        known, action = info.parameters, self._step.action
        given = content.renamed(self._step.parameters, known)
        names_in_file = dict(zip(given, self._step.parameters))
        for name, value in given.items():
            path = ("parameters", names_in_file[name])
            if name not in known:
                self._complain(path, _unknown_parameter(action, name, known))
            elif known[name].get("immutable"):
                self._complain(path, f"{action} sets it itself; remove it")
            else:
                self._check_value(info, name, value, path)
        for name, schema in known.items():
            if schema.get("required") and "default" not in schema and name not in given:
                what = schema.get("description") or schema.get("type", "any type")
                text = f"{action} needs the parameter {name} ({what}); add it"
                self._complain(("parameters",), text)
        if self._step.timeout and "timeout" not in known:
            text = f"{action} takes no timeout; remove it and limit the command itself"
            self._complain(("timeout",), text)
        elif self._step.timeout and "timeout" in given:
            self._complain(("timeout",), "timeout is also among the parameters; keep one")

    def _check_value(self, info: ActionInfo, name: str, value: Any, path: Path) -> None:
        try:
            names = content.template_names(value)
        except TemplateError:
            return  # already noted
        for template in names:
            self._check_template(template, path)
        if name == "cmd" and info.runner in content.SHELLS:
            self._check_command(value, path)
        elif any(is_from_alert(template) for template in names):
            self._check_place(info, name, value, path)

    def _check_template(self, template: str, path: Path) -> None:
        group, _, key = template.partition(".")
        if group == "parameters" and key not in self._mapping.parameters:
            names = ", ".join(self._mapping.parameters) or "none"
            text = f"unknown template parameters.{key}; the parameters of this alert are: {names}"
            self._complain(path, text)
        if group == "config" and key in self._secrets:
            text = (
                f"config.{key} is a secret, and executions would reveal it; let the action read it"
            )
            self._complain(path, text)

    def _check_command(self, value: Any, path: Path) -> None:
        env = self._step.parameters.get("env")
        if not isinstance(value, str):
            self._complain(path, "expected a string")
        elif env is not None and not isinstance(env, dict):
            self._complain(path[:-1] + ("env",), "expected an object (NAME: value)")
        else:
            try:
                shell.translate(value)
            except CommandError as error:
                self._complain(path, str(error))

    def _check_place(self, info: ActionInfo, name: str, value: Any, path: Path) -> None:
        if name in content.HOSTS:
            if not content.host_template(name, value):
                text = "expected one template alone, for example {{instance}}, or plain text"
                self._complain(path, text)
        elif name in info.of_runner and name not in _FOR_ALERTS:
            text = (
                f"an alert must not choose {name}; write its value, or use parameters.KEY or "
                "config.KEY"
            )
            self._complain(path, text)
        elif name not in info.of_runner and info.runner.endswith("-cmd"):
            text = (
                f"{self._step.action} puts {name} on its command line; use core.local with cmd, "
                "where values are data"
            )
            self._complain(path, text)


def _unknown_action(action: str, known: Sequence[str]) -> str:
    pack = action.partition(".")[0]
    if known and not any(ref.startswith(pack + ".") for ref in known):
        return f"{action}: the pack {pack} is not installed; st2 pack install {pack}"
    close = difflib.get_close_matches(action, known, 1)
    hint = f"did you mean {close[0]}?" if close else f"st2 action list --pack {pack}"
    return f"there is no action {action}; {hint}"


def _unknown_parameter(action: str, name: str, known: Dict[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    hint = f"expected one of {', '.join(sorted(known))}" if known else "it takes none"
    hint = f"did you mean {close[0]}?" if close else hint
    return f"{action} has no parameter {name}; {hint}"
