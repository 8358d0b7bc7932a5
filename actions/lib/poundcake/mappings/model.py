"""Mappings: for each alert the steps that remediate it, as YAML. Pure.

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
            timeout: 120                  # seconds
            retry_count: 2
            retry_delay: 10               # seconds
            continue_on_failure: false
"""

import difflib
import re
from dataclasses import dataclass, field
from typing import Optional

import yaml

from poundcake.mappings import located_yaml, templates
from poundcake.mappings.templates import TemplateError

HANDLER = "yaml_config"
_RESERVED = ("noop", "fail", "continue", "retry")  # tasks that Orquesta has of its own
_MOST_SECONDS = 604800
_MOST_RETRIES = 100


@dataclass(frozen=True)
class Conditions:
    """All must hold. ``severity`` and the values of ``labels`` are tuples: one of them."""

    severity: tuple = ()
    labels: dict = field(default_factory=dict)
    has_labels: tuple = ()

    def __bool__(self):
        return bool(self.severity or self.labels or self.has_labels)


@dataclass(frozen=True)
class Step:
    """One action of a mapping; timeout and retry_delay in seconds."""

    name: str
    action: str
    description: str = ""
    conditions: Conditions = Conditions()
    parameters: dict = field(default_factory=dict)
    timeout: Optional[int] = None
    retry_count: int = 0
    retry_delay: int = 0
    continue_on_failure: bool = False


@dataclass(frozen=True)
class Mapping:
    """What is done about one alert. ``enabled`` is None where the mapping does not say."""

    alertname: str
    steps: tuple
    description: str = ""
    enabled: Optional[bool] = None
    parameters: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Mistake:
    """Where a mapping is wrong, what is wrong, and what to write."""

    file: str
    line: int
    where: str
    text: str

    def __str__(self):
        where = "%s: " % self.where if self.where else ""
        return "%s:%d: %s%s" % (self.file, self.line, where, self.text)


class Book:
    """The mappings of some files: ``mappings`` by alert name, and every mistake in ``mistakes``."""

    def __init__(self):
        self.mappings = {}
        self.mistakes = []
        self._files = {}  # alert name -> the file that it is in

    def complain(self, alertname, path, text):
        """Note a mistake in the mapping of an alert.

        :param path: keys and indexes below the alert, as in ("actions", 0, "timeout").
        """
        self._files[alertname].complain(("alerts", alertname) + tuple(path), text)


def parse(sources):
    """Return the Book of some ``(file name, YAML)``. Nothing raises: mistakes are noted."""
    book = Book()
    for name, text in sources:
        _File(book, name, text).read()
    return book


def dump(mappings):
    """Return mappings as the YAML that ``parse`` reads."""
    alerts = {mapping.alertname: _plain(mapping) for mapping in mappings}
    return yaml.safe_dump({"alerts": alerts}, sort_keys=False, allow_unicode=True, width=100)


def _plain(mapping):
    found = {"description": mapping.description}
    if mapping.enabled is not None:
        found["enabled"] = mapping.enabled
    found["parameters"] = mapping.parameters
    found["actions"] = [_plain_step(step) for step in mapping.steps]
    return {key: value for key, value in found.items() if value not in ("", {})}


def _plain_step(step):
    conditions = step.conditions
    labels = {label: _one_or_many(values) for label, values in conditions.labels.items()}
    found = {
        "name": step.name,
        "action": step.action,
        "description": step.description,
        "conditions": {
            "severity": _one_or_many(conditions.severity),
            "labels": labels,
            "has_labels": list(conditions.has_labels),
        },
        "parameters": step.parameters,
        "timeout": step.timeout,
        "retry_count": step.retry_count or None,
        "retry_delay": step.retry_delay or None,
        "continue_on_failure": step.continue_on_failure or None,
    }
    found["conditions"] = {k: v for k, v in found["conditions"].items() if v}
    return {key: value for key, value in found.items() if value not in ("", {}, None)}


def _one_or_many(values):
    return values[0] if len(values) == 1 else list(values)


class _File:
    """Reads one file into a book."""

    def __init__(self, book, name, text):
        self._book = book
        self._name = name
        self._document, self._lines, problems = located_yaml.load(text)
        for line, problem in problems:
            book.mistakes.append(Mistake(name, line, "", problem))
        self._broken = bool(problems) and self._document is None

    def complain(self, path, text):
        place = path
        while place and place not in self._lines:
            place = place[:-1]
        line = self._lines.get(place, 1)
        self._book.mistakes.append(Mistake(self._name, line, _shown(path), text))

    def read(self):
        if self._broken:
            return
        document = self._object(self._document, (), ("alerts",)) or {}
        if "alerts" not in document:
            self.complain(("alerts",), "it is missing; write alerts: and the alerts below it")
        alerts = self._object(document.get("alerts"), ("alerts",), None) or {}
        for alertname, found in alerts.items():
            path = ("alerts", alertname)
            if alertname in self._book.mappings:
                other = self._book._files[alertname]
                where = "%s:%d" % (other._name, other._lines[path])
                self.complain(path, "this alert is in %s already; keep one" % where)
                continue
            mapping = self._mapping(alertname, found, path)
            if mapping:
                self._book.mappings[alertname] = mapping
                self._book._files[alertname] = self

    def _mapping(self, alertname, found, path):
        fields = ("description", "handler", "enabled", "parameters", "actions")
        found = self._object(found, path, fields)
        if found is None:
            return None
        if not alertname.strip() or "\0" in alertname:
            self.complain(path, "the name of an alert is empty, or holds NUL")
        if found.get("handler", HANDLER) != HANDLER:
            text = (
                '"%s" is a handler of old; write its steps under actions (README, custom handlers)'
            )
            self.complain(path + ("handler",), text % found["handler"])
        enabled = found.get("enabled")
        if enabled is not None and not isinstance(enabled, bool):
            self.complain(path + ("enabled",), "expected true or false")
            enabled = None
        steps = self._steps(found.get("actions"), path + ("actions",))
        return Mapping(
            alertname=alertname,
            description=self._text(found, "description", path),
            enabled=enabled,
            parameters=self._values(found, path),
            steps=tuple(step for step in steps if step),
        )

    def _values(self, found, path):
        """The values that a mapping gives its own templates: no templates themselves."""
        path = path + ("parameters",)
        values = self._object(found.get("parameters"), path, None) or {}
        for name, value in values.items():
            for place, text in _texts(value, path + (name,)):
                if templates.TEMPLATE.search(text) or "<%" in text or "{%" in text:
                    self.complain(place, "no templates here; write the template into the step")
            if not re.match(r"\w+\Z", name):
                self.complain(path + (name,), "a name is letters, digits and _")
        return values

    def _steps(self, found, path):
        if not isinstance(found, list) or not found:
            self.complain(path, "expected a list of steps, each with action: PACK.ACTION")
            return []
        steps, names = [], {}
        for index, item in enumerate(found):
            step = self._step(item, path + (index,), index)
            steps.append(step)
            if step and step.name in names:
                text = '"%s" is the name of step %d, too; rename one'
                self.complain(path + (index, "name"), text % (step.name, names[step.name] + 1))
            elif step:
                names[step.name] = index
        return steps

    def _step(self, found, path, index):
        found = self._object(found, path, list(Step.__dataclass_fields__))
        if found is None:
            return None
        action = found.get("action")
        if not isinstance(action, str) or not re.match(r"[\w-]+\.[\w.-]+\Z", action):
            self.complain(path + ("action",), "expected PACK.ACTION, as in core.remote")
            action = ""
        name = self._text(found, "name", path) or "step_%d" % (index + 1)
        name = re.sub(r"\W+", "_", name, flags=re.ASCII)
        if name in _RESERVED:
            self.complain(path + ("name",), '"%s" is a word of Orquesta; rename it' % name)
        go_on = found.get("continue_on_failure", False)
        if not isinstance(go_on, bool):
            self.complain(path + ("continue_on_failure",), "expected true or false")
        parameters = self._object(found.get("parameters"), path + ("parameters",), None) or {}
        parameters, timeout = _timeout_of(parameters, found.get("timeout"))
        retries = self._number(found, "retry_count", path, 0, _MOST_RETRIES)
        delay = self._number(found, "retry_delay", path, 0, _MOST_SECONDS)
        return Step(
            name=name,
            action=action,
            description=self._text(found, "description", path),
            conditions=self._conditions(found.get("conditions"), path + ("conditions",)),
            parameters=self._templates(parameters, path + ("parameters",)),
            timeout=self._number({"timeout": timeout}, "timeout", path, 1, _MOST_SECONDS) or None,
            retry_count=retries,
            retry_delay=delay if retries else 0,
            continue_on_failure=bool(go_on),
        )

    def _conditions(self, found, path):
        found = self._object(found, path, ("severity", "labels", "has_labels")) or {}
        labels = self._object(found.get("labels"), path + ("labels",), None) or {}
        names = self._strings(found.get("has_labels"), path + ("has_labels",))
        for place, name in [("labels", n) for n in labels] + [("has_labels", n) for n in names]:
            if not re.match(templates.KEY + r"\Z", name):
                self.complain(path + (place,), '"%s" cannot be the name of a label' % name)
        return Conditions(
            severity=self._strings(found.get("severity"), path + ("severity",)),
            labels={
                label: self._strings(values, path + ("labels", label), empty=False)
                for label, values in labels.items()
            },
            has_labels=tuple(names),
        )

    def _strings(self, found, path, empty=True):
        """One text or a list of them, as a tuple."""
        if found is None and empty:
            return ()
        values = found if isinstance(found, list) else [found]
        wrong = [value for value in values if not isinstance(value, str)]
        if wrong:
            text = "expected text or a list of texts; write %s in quotes" % (wrong[0],)
            self.complain(path, text)
        elif not values:
            self.complain(path, "this can never hold: the list is empty; remove it")
        return tuple(value for value in values if isinstance(value, str))

    def _templates(self, parameters, path):
        """Parameters with each template in its normal form."""
        for place, key in _keys(parameters, path):
            if "{{" in key or "{%" in key or "<%" in key or "{#" in key:
                self.complain(place, "no template in a key; write the key out")
        return mapped(parameters, path, self._normal)

    def _normal(self, text, path):
        try:
            return templates.translate(text, lambda name: "{{%s}}" % name)
        except TemplateError as error:
            self.complain(path, str(error))
            return text

    def _text(self, found, key, path):
        value = found.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            self.complain(path + (key,), "expected text; write it in quotes")
            return ""
        if re.search(r"\{\{|\{%|\{#|<%", value):
            self.complain(path + (key,), "no templates here; write plain text")
        return value.strip()

    def _number(self, found, key, path, low, high):
        value = found.get(key)
        if value is None:
            return 0
        good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        if not good:
            self.complain(path + (key,), "expected a whole number from %d to %d" % (low, high))
        return value if good else 0

    def _object(self, value, path, known):
        """A dict whose keys are known (any, when known is None); None when it is something else."""
        if value is None and path:
            value = {}
        if not isinstance(value, dict):
            self.complain(path, "expected an object (key: value)")
            return None
        for key in value if known is not None else ():
            if key not in known:
                close = difflib.get_close_matches(key, known, 1)
                hint = "did you mean %s?" % close[0] if close else "there are " + ", ".join(known)
                self.complain(path + (key,), "this is not known; %s" % hint)
        return value


def _timeout_of(parameters, timeout):
    """A timeout among the parameters is the step's: the same thing in another place."""
    if timeout is None and isinstance(parameters.get("timeout"), int):
        timeout = parameters["timeout"]
        parameters = {key: value for key, value in parameters.items() if key != "timeout"}
    return parameters, timeout


def mapped(value, path, function):
    """Return a copy of a JSON value with each text in it replaced by ``function(text, path)``."""
    if isinstance(value, str):
        return function(value, path)
    if isinstance(value, dict):
        return {key: mapped(item, path + (key,), function) for key, item in value.items()}
    if isinstance(value, list):
        return [mapped(item, path + (index,), function) for index, item in enumerate(value)]
    return value


def _texts(value, path):
    found = []
    mapped(value, path, lambda text, place: found.append((place, text)))
    return found


def _keys(value, path):
    """Yield ``(path, key)`` of every dict in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items if isinstance(value, (dict, list)) else ():
        if isinstance(key, str):
            yield path + (key,), key
        if isinstance(item, (dict, list)):
            yield from _keys(item, path + (key,))


def _shown(path):
    """``alerts.X.actions[0].timeout``."""
    text = ""
    for part in path:
        text += "[%d]" % part if isinstance(part, int) else ("." if text else "") + part
    return text
