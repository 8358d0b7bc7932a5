"""Checks mappings against the actions that StackStorm has. Pure."""

import difflib
from typing import Any, Dict, Mapping, Sequence

from poundcake.errors import MappingError
from poundcake.mappings import model, places
from poundcake.mappings.actions import OLDER_NAMES, SHELLS, ActionInfo
from poundcake.mappings.located_yaml import Path
from poundcake.mappings.templates import Template


def check(
    book: model.Book,
    actions: Mapping[str, ActionInfo],
    known: Sequence[str],
    settings: Mapping[str, Any],
) -> None:
    """Note every mistake of a book's mappings in the book.

    :param actions: ``{action reference: ActionInfo}`` of the existing actions.
    :param known: all action references in StackStorm, for a hint; may be empty.
    :param settings: the schema of the pack's config; ``{{config.KEY}}`` must not reveal a secret.
    """
    for mapping in book.mappings.values():
        for index, step in enumerate(mapping.steps):
            _Step(book, mapping, index, step, settings).check(actions, known)


class _Step:
    """Checks one step."""

    def __init__(
        self,
        book: model.Book,
        mapping: model.Mapping,
        index: int,
        step: model.Step,
        settings: Mapping[str, Any],
    ):
        self._book = book
        self._mapping = mapping
        self._index = index
        self._step = step
        self._settings = settings

    def _complain(self, path: Path, problem: str) -> None:
        self._book.complain(self._mapping.alertname, ("actions", self._index, *path), problem)

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
            problem = f"{never}the alert is {self._mapping.alertname}; remove it"
            self._complain(("conditions", "labels", "alertname"), problem)
        severity = conditions.labels.get("severity")
        if severity and conditions.severity and not set(severity) & set(conditions.severity):
            problem = f"{never}severity is {' or '.join(conditions.severity)}; keep one of them"
            self._complain(("conditions", "labels", "severity"), problem)
        for label in conditions.has_labels:
            if set(conditions.labels.get(label, "x")) == {""}:
                problem = f"{never}labels requires {label} to be empty, that is absent; keep one"
                self._complain(("conditions", "has_labels"), problem)
        only_absent = conditions.severity == ("",)
        if only_absent and "severity" in conditions.has_labels:
            problem = f"{never}has_labels requires a severity; keep one"
            self._complain(("conditions", "severity"), problem)

    def _check_parameters(self, info: ActionInfo) -> None:
        known, action = info.parameters, self._step.action
        given = places.given(self._step, info)
        for name, value in given.items():
            path = self._path_of(name)
            if name not in known:
                self._complain(path, _unknown_parameter(action, name, known))
            elif known[name].get("immutable"):
                self._complain(path, f"{action} sets it itself; remove it")
            else:
                self._check_value(info, name, value, path)
        for name, schema in known.items():
            if schema.get("required") and "default" not in schema and name not in given:
                what = schema.get("description") or schema.get("type", "any type")
                self._complain(
                    ("parameters",), f"{action} needs the parameter {name} ({what}); add it"
                )
        if self._step.timeout and "timeout" not in known:
            problem = f"{action} takes no timeout; remove it and limit the command itself"
            self._complain(("timeout",), problem)
        elif self._step.timeout and "timeout" in given:
            self._complain(("timeout",), "timeout is also among the parameters; keep one")

    def _path_of(self, name: str) -> Path:
        """Return the path of a parameter of the action; it may have an older name in the file."""
        older = next((old for old, new in OLDER_NAMES.items() if new == name), name)
        name = name if name in self._step.parameters else older
        is_own = bool(self._step.values) and name in self._step.parameters
        group = "st2_parameters" if is_own else "parameters"
        return (group, name)

    def _check_value(self, info: ActionInfo, name: str, value: Any, path: Path) -> None:
        try:
            found = places.templates_of(value)
        except MappingError:
            return  # already noted
        is_shell = info.runner in SHELLS
        for template in found:
            self._check_template(template, path, is_shell and name in ("cmd", "env"))
        if is_shell and name == "cmd" and not isinstance(value, str):
            self._complain(path, "expected a string")
        if is_shell and name == "env" and not isinstance(value, dict):
            self._complain(path, "expected an object (NAME: value)")
            return
        try:
            places.typed_value(self._step, info, name, value)
        except MappingError as error:
            self._complain(path, str(error))

    def _check_template(self, template: Template, path: Path, is_for_shell: bool) -> None:
        group, _, key = template.name.partition(".")
        parameters = {**self._mapping.parameters, **self._step.values}
        setting = self._settings.get(key) or {}
        if group == "parameters" and key not in parameters:
            names = ", ".join(parameters) or "none"
            problem = (
                f"unknown template parameters.{key}; the parameters of this step and alert are: "
                f"{names}"
            )
            self._complain(path, problem)
        elif group == "config" and setting.get("secret"):
            problem = (
                f"config.{key} is a secret, and executions would reveal it; let the action read it"
            )
            self._complain(path, problem)
        elif is_for_shell and (
            (group == "parameters" and not isinstance(parameters[key], (str, int, float)))
            or (group == "config" and setting.get("type") in ("object", "array"))
        ):
            self._complain(path, f"{template.name} is no single value; expected a text or number")


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
