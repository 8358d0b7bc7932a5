"""The templates of mappings, ``{{labels.service | unit}}``, as Orquesta expressions and back.

A template takes its value from the inputs of the running workflow. The value is never evaluated as
a template or expression, because alert text in triggers is inert (``inert.py``). A template with a
type takes it from the task that checked it (``values.py``).
"""

import json
import re
from dataclasses import dataclass, replace
from typing import Callable, List, Match, Optional, Union

from poundcake import typed_values
from poundcake.errors import ExpectedError, MappingError

ALERT_FIELDS = (
    "alertname",
    "severity",
    "instance",
    "host",
    "status",
    "fingerprint",
    "attempt",
    "request_id",
    "dispatch_id",
    "starts_at",
    "ends_at",
    "received_at",
    "generator_url",
    "external_url",
    "receiver",
    "group_key",
)
_SHORT = ("alertname", "severity", "instance")
_GROUPS = ("labels", "annotations", "parameters", "config")
_OLDER = {"alert.alert_name": "alertname", "alert.name": "alertname"}

TEMPLATE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
KEY = r"[^\s{}\"'\\%<>|]+"  # the name of a label, or of another value
_TEXT_OF_TEMPLATE = re.compile(r"\s*([A-Za-z_]\w*(?:\.%s)?)\s*(?:\|\s*([^|]*?)\s*)?\Z" % KEY)
_EXPRESSION = re.compile(r"<% (.*?) %>")
_CHECKED = re.compile(r'ctx\(\)\.checked\.get\("(?:\w+)"\)\.get\("((?:[^"\\]|\\.)*)"\)\Z')
_IN_GROUP = re.compile(r'ctx\(\)\.(%s)\.get\("([^"\\]+)", ""\)\Z' % "|".join(_GROUPS))
_OF_STEP = re.compile(r'ctx\(\)\.step_parameters\.get\("\w+"\)\.get\("([^"\\]+)"\)\Z')
_OF_ALERT = re.compile(r'ctx\(\)\.alert\.get\("(\w+)", ""\)\Z')
# What starts an expression in some part of StackStorm, but is not a template of a mapping.
_OPENERS = re.compile(r"\{\{|\{%|\{#|<%")

REMEDY = (
    "expected alertname, instance, severity, labels.KEY, annotations.KEY, parameters.KEY, "
    "config.KEY or alert.KEY, where KEY is one of %s, labels.KEY, annotations.KEY; a type may "
    "follow after |, as in {{labels.service | unit}}" % ", ".join(ALERT_FIELDS)
)


@dataclass(frozen=True)
class Template:
    """A template: the canonical name of a value, and its type (``typed_values``), "" for none."""

    name: str
    kind: str = ""

    @property
    def declaration(self) -> str:
        """The text between the braces."""
        return f"{self.name} | {self.kind}" if self.kind else self.name

    def __str__(self) -> str:
        return "{{" + self.declaration + "}}"

    @property
    def is_from_alert(self) -> bool:
        """Whether anyone who can fire an alert chooses the value."""
        return not self.name.startswith(("parameters.", "config."))

    def of_kind(self, kind: str) -> "Template":
        """Return the template with a type, if it has none."""
        return self if self.kind else replace(self, kind=kind)


Part = Union[str, Template]


def parse(declaration: str) -> Optional[Template]:
    """Return the Template of the text between braces, or None; raise for an unknown type."""
    match = _TEXT_OF_TEMPLATE.match(declaration)
    name = _canonical_name(match.group(1)) if match else None
    if match is None or name is None:
        return None
    kind = " ".join((match.group(2) or "").split())
    if match.group(2) is not None:
        try:
            typed_values.kind_of(kind)
        except ExpectedError as error:
            raise MappingError(f"{{{{{declaration}}}}}: {error}")
    return Template(name, kind)


def _canonical_name(name: str) -> Optional[str]:
    name = _OLDER.get(name, name)
    if name.startswith(("alert.labels.", "alert.annotations.")):
        name = name[len("alert.") :]
    group, _, key = name.partition(".")
    if (group in _GROUPS and key) or name in _SHORT:
        return name
    if group == "alert" and key in ALERT_FIELDS:
        return key if key in _SHORT else name
    return None


def split(text: str) -> List[Part]:
    """Return the templates of a text and the literals between them, in order.

    :raises MappingError: for an unknown template, or when the text contains something that
        StackStorm would evaluate as its own expression.
    """
    parts: List[Part] = []
    end = 0
    for match in TEMPLATE.finditer(text):
        template = parse(match.group(1))
        if template is None:
            raise MappingError(f'unknown template "{match.group()}"; {REMEDY}')
        parts += [text[end : match.start()], template]
        end = match.end()
    parts.append(text[end:])
    for part in parts:
        opener = _OPENERS.search(part) if isinstance(part, str) else None
        if opener:
            raise MappingError(
                f'"{opener.group()}" opens an expression of StackStorm; expected only templates of '
                "mappings"
            )
    # "{" before a template would make "{{{", which has another meaning.
    for before, part in zip(parts, parts[1:]):
        if isinstance(before, str) and not isinstance(part, str) and before.endswith(("{", "<")):
            raise MappingError(f'"{before[-1]}" before a template; put a space between them')
    return [part for part in parts if part != ""]


def templates_in(text: str) -> List[Template]:
    """Return the templates of a text, in order; raise like ``split``."""
    return [part for part in split(text) if isinstance(part, Template)]


def replace_templates(text: str, function: Callable[[Template], object]) -> str:
    """Return a text with each template replaced by ``str(function(template))``."""
    return "".join(part if isinstance(part, str) else str(function(part)) for part in split(text))


# --- as expressions -------------------------------------------------------------------------------


def literal(text: str) -> str:
    """Return a text as a YAQL string. (``%`` is escaped, because ``%>`` ends the expression.)"""
    return json.dumps(text, ensure_ascii=False).replace("%", "\\u0025")


def value_expression(name: str) -> str:
    """Return the YAQL expression for the canonical name of a value, without ``<% %>``.

    An absent value is an empty string.
    """
    group, _, key = name.partition(".")
    if group in _GROUPS:
        return f"ctx().{group}.get({literal(key)}, {literal('')})"
    value = f"ctx().alert.get({literal(key or group)}, {literal('')})"
    return f"str({value})" if key == "attempt" else value


def checked_expression(step: str, template: Template) -> str:
    """Return the YAQL expression for a value that was checked for a step."""
    return f"ctx().checked.get({literal(step)}).get({literal(template.declaration)})"


def step_expression(step: str, key: str) -> str:
    """Return the YAQL expression for one of a step's own parameters."""
    return f"ctx().step_parameters.get({literal(step)}).get({literal(key)})"


def template_of(expression: str) -> Optional[Template]:
    """Return the template whose expression this is, or None."""
    if expression.startswith("str("):
        expression = expression[len("str(") : -1]
    match = _CHECKED.match(expression)
    if match:
        return parse(json.loads(f'"{match.group(1)}"'))
    match = _OF_STEP.match(expression)
    if match:
        return Template("parameters." + match.group(1))
    match = _IN_GROUP.match(expression)
    if match:
        return Template(f"{match.group(1)}.{match.group(2)}")
    match = _OF_ALERT.match(expression)
    if match and match.group(1) in ALERT_FIELDS:
        key = match.group(1)
        return Template(key if key in _SHORT else "alert." + key)
    return None


def restore(text: str) -> str:
    """Return a text with its expressions as templates; raise MappingError for any other one."""

    def template(match: Match[str]) -> str:
        template = template_of(match.group(1))
        if template is None:
            raise MappingError(f'"{match.group()}" is not a template of a mapping')
        return str(template)

    return _EXPRESSION.sub(template, text)
