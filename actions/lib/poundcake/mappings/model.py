"""Mappings: the steps that remediate each alert, as YAML. Pure.

::

    alerts:
      HighCPUUsage:
        description: Remediate high CPU usage
        actions:
          - name: restart_service
            action: core.remote
            conditions:
              severity: critical          # or [warning, critical]
              labels: {environment: production}
              has_labels: [service]
            parameters:
              hosts: "{{instance}}"
              cmd: sudo systemctl restart -- {{labels.service}}
            phase: remediation            # or evidence, verification, escalation
            timeout: 120                  # seconds
            retry_count: 2
            retry_delay: 10               # seconds
            continue_on_failure: false
"""

import difflib
import re
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import yaml

from poundcake.errors import MappingError
from poundcake.mappings import located_yaml, templates
from poundcake.mappings.actions import PHASES
from poundcake.mappings.located_yaml import Path

HANDLER = "yaml_config"
HANDLER_DOCS = "docs/mappings.md#from-a-handler-to-a-rule-and-a-workflow"
CHECK_TASK = "check_values"  # the task before the steps that checks the values of the alert
_RESERVED = ("noop", "fail", "continue", "retry")  # built-in tasks of Orquesta
_STEP_KEYS = (
    "name",
    "action",
    "description",
    "conditions",
    "parameters",
    "st2_parameters",
    "phase",
    "timeout",
    "retry_count",
    "retry_delay",
    "continue_on_failure",
)
_OPENERS = re.compile(r"\{\{|\{%|\{#|<%")
_MOST_SECONDS = 604800
_MOST_RETRIES = 100


@dataclass(frozen=True)
class Conditions:
    """All must hold. ``severity`` and each value of ``labels`` list the accepted values."""

    severity: Tuple[str, ...] = ()
    labels: Dict[str, Tuple[str, ...]] = field(default_factory=dict)
    has_labels: Tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.severity or self.labels or self.has_labels)


@dataclass(frozen=True)
class Step:
    """One action of a mapping; timeout and retry_delay in seconds.

    ``parameters`` are for the action, ``values`` the step's own for the templates parameters.KEY.
    ``phase`` is "" when the mapping leaves it to the action (``actions.phase_of``).
    """

    name: str
    action: str
    description: str = ""
    conditions: Conditions = Conditions()
    parameters: Dict[str, Any] = field(default_factory=dict)
    values: Dict[str, Any] = field(default_factory=dict)
    phase: str = ""
    timeout: Optional[int] = None
    retry_count: int = 0
    retry_delay: int = 0
    continue_on_failure: bool = False


@dataclass(frozen=True)
class Mapping:
    """The remediation of one alert. ``enabled`` is None when the mapping does not set it."""

    alertname: str
    steps: Tuple[Step, ...]
    description: str = ""
    enabled: Optional[bool] = None
    parameters: Dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Mistake:
    """A mistake in a mapping: its place, the problem, and what to write instead."""

    file: str
    line: int
    where: str
    problem: str

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{self.file}:{self.line}: {where}{self.problem}"


class Book:
    """The mappings of some files, ``mappings`` by alert name, and all their ``mistakes``."""

    def __init__(self) -> None:
        self.mappings: Dict[str, Mapping] = {}
        self.mistakes: List[Mistake] = []
        self._files: Dict[str, _File] = {}  # alert name -> the file that contains it

    def complain(self, alertname: str, path: Sequence[Any], problem: str) -> None:
        """Note a mistake in the mapping of an alert.

        :param path: keys and indexes below the alert, for example ("actions", 0, "timeout").
        """
        self._files[alertname].complain(("alerts", alertname) + tuple(path), problem)


def parse(sources: Iterable[Tuple[str, str]]) -> Book:
    """Return the Book of ``(file name, YAML)`` pairs. It never raises; mistakes are noted."""
    book = Book()
    for name, content in sources:
        _File(book, name, content).read()
    return book


def dump(mappings: Iterable[Mapping]) -> str:
    """Return mappings as the YAML that ``parse`` reads."""
    alerts = {mapping.alertname: _plain(mapping) for mapping in mappings}
    return yaml.safe_dump({"alerts": alerts}, sort_keys=False, allow_unicode=True, width=100)


def _plain(mapping: Mapping) -> Dict[str, Any]:
    document: Dict[str, Any] = {"description": mapping.description}
    if mapping.enabled is not None:
        document["enabled"] = mapping.enabled
    document["parameters"] = mapping.parameters
    document["actions"] = [_plain_step(step) for step in mapping.steps]
    return {key: value for key, value in document.items() if value not in ("", {})}


def _plain_step(step: Step) -> Dict[str, Any]:
    conditions = step.conditions
    labels = {label: _one_or_many(values) for label, values in conditions.labels.items()}
    document: Dict[str, Any] = {
        "name": step.name,
        "action": step.action,
        "description": step.description,
        "conditions": {
            "severity": _one_or_many(conditions.severity),
            "labels": labels,
            "has_labels": list(conditions.has_labels),
        },
        "parameters": step.values or step.parameters,
        "st2_parameters": step.parameters if step.values else {},
        "phase": step.phase,
        "timeout": step.timeout,
        "retry_count": step.retry_count or None,
        "retry_delay": step.retry_delay or None,
        "continue_on_failure": step.continue_on_failure or None,
    }
    document["conditions"] = {k: v for k, v in document["conditions"].items() if v}
    return {key: value for key, value in document.items() if value not in ("", {}, None)}


def _one_or_many(values: Sequence[str]) -> Any:
    return values[0] if len(values) == 1 else list(values)


class _File:
    """Reads one file into a book.

    :param first_line: the line of ``name`` where the content begins.
    """

    def __init__(self, book: Book, name: str, content: str, first_line: int = 1):
        self._book = book
        self._name = name
        self._content = content
        self._before = first_line - 1
        self._document, self._lines, problems = located_yaml.load(content)
        for line, problem in problems:
            book.mistakes.append(Mistake(name, self._before + line, "", problem))
        self._broken = bool(problems) and self._document is None

    def line_of(self, path: Path) -> int:
        """Return the line of a value, or of the closest one around it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._before + self._lines.get(path, 1)

    def complain(self, path: Path, problem: str) -> None:
        """Note a mistake."""
        self._book.mistakes.append(Mistake(self._name, self.line_of(path), _shown(path), problem))

    def read(self) -> None:
        """Read all alerts into the book."""
        if self._broken:
            return
        if isinstance(self._document, dict) and "mappings" in self._document:
            self._read_helm_values()
            return
        document = self._object(self._document, (), ("alerts",)) or {}
        if "alerts" not in document:
            self.complain(("alerts",), "missing; expected alerts: with the alerts below it")
        alerts = self._object(document.get("alerts"), ("alerts",), None) or {}
        for alertname, raw in alerts.items():
            path = ("alerts", alertname)
            if alertname in self._book.mappings:
                other = self._book._files[alertname]
                where = f"{other._name}:{other.line_of(path)}"
                self.complain(path, f"this alert is already in {where}; keep one")
                continue
            mapping = self._mapping(alertname, raw, path)
            if mapping:
                self._book.mappings[alertname] = mapping
                self._book._files[alertname] = self

    def _read_helm_values(self) -> None:
        """Read Helm values: mapping files under ``mappings``; the other values are not for us."""
        files = self._object(self._document["mappings"], ("mappings",), None) or {}
        for name, content in files.items():
            path = ("mappings", name)
            if not isinstance(content, str):
                self.complain(path, "expected the text of a mapping file, as in custom.yaml: |")
                continue
            line = self.line_of(path) - self._before
            is_block = re.search(r"[|>][-+\d]*\s*(?:#.*)?\Z", self._content.splitlines()[line - 1])
            first_line = self._before + line + (1 if is_block else 0)
            _File(self._book, self._name, content, first_line).read()

    def _mapping(self, alertname: str, value: Any, path: Path) -> Optional[Mapping]:
        fields = ("description", "handler", "enabled", "parameters", "actions")
        raw = self._object(value, path, fields)
        if raw is None:
            return None
        if not alertname.strip() or "\0" in alertname:
            self.complain(path, "the alert name is empty or contains NUL")
        if raw.get("handler", HANDLER) != HANDLER:
            self.complain(
                path + ("handler",),
                f'"{raw["handler"]}" is an older handler; write its steps under actions, or a rule '
                f"and a workflow ({HANDLER_DOCS})",
            )
        enabled = raw.get("enabled")
        if enabled is not None and not isinstance(enabled, bool):
            self.complain(path + ("enabled",), "expected true or false")
            enabled = None
        steps = self._steps(raw.get("actions"), path + ("actions",))
        return Mapping(
            alertname=alertname,
            description=self._string(raw, "description", path),
            enabled=enabled,
            parameters=self._values(raw.get("parameters"), path + ("parameters",)),
            steps=tuple(step for step in steps if step),
        )

    def _values(self, raw: Any, path: Path) -> Dict[str, Any]:
        """Return the values for templates parameters.KEY; they contain no templates."""
        values = self._object(raw, path, None) or {}
        for name, value in values.items():
            for place, string in _strings_in(value, path + (name,)):
                if _OPENERS.search(string):
                    self.complain(
                        place, "no templates are allowed here; write the template in the step"
                    )
            if not re.match(r"\w+\Z", name):
                self.complain(path + (name,), "expected a name of letters, digits and _")
        return values

    def _steps(self, raw: Any, path: Path) -> List[Optional[Step]]:
        if not isinstance(raw, list) or not raw:
            self.complain(path, "expected a list of steps, each with action: PACK.ACTION")
            return []
        steps: List[Optional[Step]] = []
        names: Dict[str, int] = {}
        for index, item in enumerate(raw):
            step = self._step(item, path + (index,), index)
            steps.append(step)
            if step and step.name in names:
                other = names[step.name] + 1
                self.complain(
                    path + (index, "name"),
                    f'step {other} has the name "{step.name}" too; rename one',
                )
            elif step:
                names[step.name] = index
        return steps

    def _step(self, value: Any, path: Path, index: int) -> Optional[Step]:
        raw = self._object(value, path, _STEP_KEYS)
        if raw is None:
            return None
        action = raw.get("action")
        if not isinstance(action, str) or not re.match(r"[\w-]+\.[\w.-]+\Z", action):
            self.complain(path + ("action",), "expected PACK.ACTION, for example core.remote")
            action = ""
        go_on = raw.get("continue_on_failure", False)
        if not isinstance(go_on, bool):
            self.complain(path + ("continue_on_failure",), "expected true or false")
        phase = raw.get("phase") or ""
        if phase and phase not in PHASES:
            self.complain(path + ("phase",), f'"{phase}"; expected one of {", ".join(PHASES)}')
            phase = ""
        parameters, values, timeout = self._parameters(raw, path)
        retries = self._number(raw, "retry_count", path, 0, _MOST_RETRIES)
        delay = self._number(raw, "retry_delay", path, 0, _MOST_SECONDS)
        return Step(
            name=self._step_name(raw, path, index),
            action=action,
            description=self._string(raw, "description", path),
            conditions=self._conditions(raw.get("conditions"), path + ("conditions",)),
            parameters=parameters,
            values=values,
            phase=phase,
            timeout=self._number({"timeout": timeout}, "timeout", path, 1, _MOST_SECONDS) or None,
            retry_count=retries,
            retry_delay=delay if retries else 0,
            continue_on_failure=bool(go_on),
        )

    def _step_name(self, raw: Dict[str, Any], path: Path, index: int) -> str:
        name = self._string(raw, "name", path) or f"step_{index + 1}"
        name = re.sub(r"\W+", "_", name, flags=re.ASCII)
        if name in _RESERVED:
            self.complain(path + ("name",), f'"{name}" is a reserved word of Orquesta; rename it')
        elif name == CHECK_TASK:
            self.complain(path + ("name",), f'"{name}" is the name of another task; rename it')
        return name

    def _parameters(
        self, raw: Dict[str, Any], path: Path
    ) -> Tuple[Dict[str, Any], Dict[str, Any], Any]:
        """Return the parameters for the action, the step's own values, and the timeout.

        With ``st2_parameters`` these are for the action, and ``parameters`` are the step's own.
        Otherwise those that the step's templates name are its own.
        """
        key = "st2_parameters" if "st2_parameters" in raw else "parameters"
        given = self._object(raw.get(key), path + (key,), None) or {}
        given, timeout = _timeout_of(given, raw.get("timeout"))
        given = self._templates(given, path + (key,))
        if key == "st2_parameters":
            return given, self._values(raw.get("parameters"), path + ("parameters",)), timeout
        own = {name: given[name] for name in given if _names_parameter(given, name)}
        others = {name: value for name, value in given.items() if name not in own}
        return others, self._values(own, path + (key,)), timeout

    def _conditions(self, value: Any, path: Path) -> Conditions:
        raw = self._object(value, path, ("severity", "labels", "has_labels")) or {}
        labels = self._object(raw.get("labels"), path + ("labels",), None) or {}
        names = self._strings(raw.get("has_labels"), path + ("has_labels",))
        for place, name in [("labels", n) for n in labels] + [("has_labels", n) for n in names]:
            if not re.match(templates.KEY + r"\Z", name):
                self.complain(path + (place,), f'"{name}" cannot be the name of a label')
        return Conditions(
            severity=self._strings(raw.get("severity"), path + ("severity",)),
            labels={
                label: self._strings(values, path + ("labels", label), empty=False)
                for label, values in labels.items()
            },
            has_labels=tuple(names),
        )

    def _strings(self, raw: Any, path: Path, empty: bool = True) -> Tuple[str, ...]:
        """Return one string or a list of strings as a tuple."""
        if raw is None and empty:
            return ()
        values = raw if isinstance(raw, list) else [raw]
        wrong = [value for value in values if not isinstance(value, str)]
        if wrong:
            self.complain(
                path, f"expected a string or a list of strings; write {wrong[0]} in quotes"
            )
        elif not values:
            self.complain(path, "this can never be true: the list is empty; remove it")
        return tuple(value for value in values if isinstance(value, str))

    def _templates(self, parameters: Dict[str, Any], path: Path) -> Dict[str, Any]:
        """Return the parameters with each template in its canonical form."""
        for place, key in _keys(parameters, path):
            if "{{" in key or "{%" in key or "<%" in key or "{#" in key:
                self.complain(place, "no template is allowed in a key; write the key itself")
        normalized: Dict[str, Any] = mapped(parameters, path, self._normalize)
        return normalized

    def _normalize(self, string: str, path: Path) -> str:
        try:
            return templates.replace_templates(string, str)
        except MappingError as error:
            self.complain(path, str(error))
            return string

    def _string(self, raw: Dict[str, Any], key: str, path: Path) -> str:
        value = raw.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            self.complain(path + (key,), "expected a string; write it in quotes")
            return ""
        if _OPENERS.search(value):
            self.complain(path + (key,), "no templates are allowed here; write plain text")
        return value.strip()

    def _number(self, raw: Dict[str, Any], key: str, path: Path, low: int, high: int) -> int:
        value = raw.get(key)
        if value is None:
            return 0
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.complain(path + (key,), f"expected a whole number from {low} to {high}")
        return 0

    def _object(
        self, value: Any, path: Path, known: Optional[Sequence[str]]
    ) -> Optional[Dict[str, Any]]:
        """Return a dict, or None when it is something else.

        :param known: the allowed keys; None allows any.
        """
        if value is None and path:
            value = {}
        if not isinstance(value, dict):
            self.complain(path, "expected an object (key: value)")
            return None
        for key in value if known is not None else ():
            if known is not None and key not in known:
                close = difflib.get_close_matches(key, known, 1)
                hint = "expected one of " + ", ".join(known)
                hint = f"did you mean {close[0]}?" if close else hint
                self.complain(path + (key,), f"unknown key; {hint}")
        return value


def _timeout_of(parameters: Dict[str, Any], timeout: Any) -> Tuple[Dict[str, Any], Any]:
    """Return the parameters without a timeout, and the step's timeout.

    A timeout among the parameters means the same as the step's own.
    """
    if timeout is None and isinstance(parameters.get("timeout"), int):
        timeout = parameters["timeout"]
        parameters = {key: value for key, value in parameters.items() if key != "timeout"}
    return parameters, timeout


def mapped(value: Any, path: Path, function: Callable[[str, Path], Any]) -> Any:
    """Return a copy of a JSON value with each string replaced by ``function(string, path)``."""
    if isinstance(value, str):
        return function(value, path)
    if isinstance(value, dict):
        return {key: mapped(item, path + (key,), function) for key, item in value.items()}
    if isinstance(value, list):
        return [mapped(item, path + (index,), function) for index, item in enumerate(value)]
    return value


def _strings_in(value: Any, path: Path) -> List[Tuple[Path, str]]:
    pairs: List[Tuple[Path, str]] = []
    mapped(value, path, lambda string, place: pairs.append((place, string)))
    return pairs


def _names_parameter(value: Any, name: str) -> bool:
    """Return whether a template in a JSON value names parameters.NAME."""
    pattern = re.compile(r"\{\{parameters\.%s(?: \||\}\})" % re.escape(name))
    return any(pattern.search(string) for _, string in _strings_in(value, ()))


def _keys(value: Any, path: Path) -> Iterator[Tuple[Path, str]]:
    """Yield ``(path, key)`` for each key in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items if isinstance(value, (dict, list)) else ():
        if isinstance(key, str):
            yield path + (key,), key
        if isinstance(item, (dict, list)):
            yield from _keys(item, path + (key,))


def _shown(path: Path) -> str:
    """Return a path as text: ``alerts.X.actions[0].timeout``."""
    shown = ""
    for part in path:
        shown += f"[{part}]" if isinstance(part, int) else ("." if shown else "") + part
    return shown
