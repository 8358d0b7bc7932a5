"""Translates the templates of mappings, ``{{labels.service}}``, to Orquesta expressions and back.

A template takes its value from the inputs of the running workflow. The value is never evaluated as
a template or expression, because alert text in triggers is inert (``inert.py``).
"""

import json
import re
from typing import Callable, List, Match, Optional, Tuple

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
_NAME = re.compile(r"\s*([A-Za-z_]\w*(?:\.%s)?)\s*\Z" % KEY)
_EXPRESSION = re.compile(r"<% (.*?) %>")
_IN_GROUP = re.compile(r'ctx\(\)\.(%s)\.get\("([^"\\]+)", ""\)\Z' % "|".join(_GROUPS))
_OF_ALERT = re.compile(r'ctx\(\)\.alert\.get\("(\w+)", ""\)\Z')
# What starts an expression in some part of StackStorm, but is not a template of a mapping.
_OPENERS = re.compile(r"\{\{|\{%|\{#|<%")

REMEDY = (
    "expected alertname, instance, severity, labels.KEY, annotations.KEY, parameters.KEY, "
    "config.KEY or alert.KEY, where KEY is one of %s, labels.KEY, annotations.KEY"
    % ", ".join(ALERT_FIELDS)
)


class TemplateError(ValueError):
    """An unknown template, or text that would start another kind of expression."""


def names_in(text: str) -> List[str]:
    """Return the canonical names of the templates in a text, in order.

    Raises TemplateError for an unknown template, or when the text contains something that
    StackStorm would evaluate as its own expression.
    """
    return [name for name, _ in split(text) if name]


def split(text: str) -> List[Tuple[str, str]]:
    """Return ``(name, "")`` for each template and ``("", literal)`` for the text between them.

    Raises like ``names_in``.
    """
    parts: List[Tuple[str, str]] = []
    end = 0
    for match in TEMPLATE.finditer(text):
        parts.append(("", text[end : match.start()]))
        parts.append((_canonical(match), ""))
        end = match.end()
    parts.append(("", text[end:]))
    for _, literal in parts:
        opener = _OPENERS.search(literal)
        if opener:
            raise TemplateError(
                f'"{opener.group()}" opens an expression of StackStorm; expected only templates of '
                "mappings"
            )
    # "{" before a template would make "{{{", which has another meaning.
    for (_, before), (name, _) in zip(parts, parts[1:]):
        if name and before.endswith(("{", "<")):
            raise TemplateError(f'"{before[-1]}" before a template; put a space between them')
    return [part for part in parts if part != ("", "")]


def _canonical(match: Match[str]) -> str:
    name_match = _NAME.match(match.group(1))
    name = name_match.group(1) if name_match else ""
    name = _OLDER.get(name, name)
    if name.startswith(("alert.labels.", "alert.annotations.")):
        name = name[len("alert.") :]
    group, _, key = name.partition(".")
    if group in _GROUPS and key:
        return name
    if name in _SHORT:
        return name
    if group == "alert" and key in ALERT_FIELDS:
        return key if key in _SHORT else name
    raise TemplateError(f'unknown template "{match.group()}"; {REMEDY}')


def is_from_alert(name: str) -> bool:
    """Return whether the value comes from an alert, so that anyone who can fire one chooses it."""
    return not name.startswith(("parameters.", "config."))


def expression(name: str) -> str:
    """Return the YAQL expression for the canonical name of a template, without ``<% %>``.

    An absent value is an empty string.
    """
    group, _, key = name.partition(".")
    if group in _GROUPS:
        return f"ctx().{group}.get({literal(key)}, {literal('')})"
    value = f"ctx().alert.get({literal(key or group)}, {literal('')})"
    return f"str({value})" if key == "attempt" else value


def name_of(text: str) -> Optional[str]:
    """Return the canonical name whose expression this is, or None."""
    match = _IN_GROUP.match(text)
    if match:
        return f"{match.group(1)}.{match.group(2)}"
    match = _OF_ALERT.match(text[len("str(") : -1] if text.startswith("str(") else text)
    if match and match.group(1) in ALERT_FIELDS:
        key = match.group(1)
        return key if key in _SHORT else "alert." + key
    return None


def literal(text: str) -> str:
    """Return a text as a YAQL string. (``%`` is escaped, because ``%>`` ends the expression.)"""
    return json.dumps(text, ensure_ascii=False).replace("%", "\\u0025")


def translate(text: str, value_of: Optional[Callable[[str], str]] = None) -> str:
    """Return a text with its templates as expressions.

    :param value_of: callable from a canonical name to its replacement; None for the expression in
        ``<% %>``.
    """
    value_of = value_of or (lambda name: "<% " + expression(name) + " %>")
    return "".join(value_of(name) if name else text for name, text in split(text))


def restore(text: str) -> str:
    """Return a text with its expressions as templates; raise TemplateError for any other one."""

    def template(match: Match[str]) -> str:
        name = name_of(match.group(1))
        if name is None:
            raise TemplateError(f'"{match.group()}" is not a template of a mapping')
        return "{{" + name + "}}"

    return _EXPRESSION.sub(template, text)
