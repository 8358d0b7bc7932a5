"""The templates of mappings, ``{{labels.service}}``, as the expressions of Orquesta, and back.

A template takes its value from the inputs of the workflow when it runs. The value is never looked
at as a template or as an expression: triggers carry alert text that is inert (``inert.py``).
"""

import json
import re

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
# What opens an expression somewhere in StackStorm, and is no template of a mapping.
_OPENERS = re.compile(r"\{\{|\{%|\{#|<%")

REMEDY = (
    "expected alertname, instance, severity, labels.KEY, annotations.KEY, parameters.KEY, "
    "config.KEY or alert.KEY, where KEY is one of %s, labels.KEY, annotations.KEY"
    % ", ".join(ALERT_FIELDS)
)


class TemplateError(ValueError):
    """A template that names nothing; the text says what there is."""


def names_in(text):
    """Return the normal names of the templates in a text, in order.

    Raises TemplateError when one names nothing, or when the text holds what StackStorm would take
    for an expression of its own.
    """
    return [name for name, _ in split(text) if name]


def split(text):
    """Yield ``(name, "")`` for each template and ``("", literal)`` for what is between them.

    Raises as ``names_in``.
    """
    parts, end = [], 0
    for match in TEMPLATE.finditer(text):
        parts.append(("", text[end : match.start()]))
        parts.append((_normal(match), ""))
        end = match.end()
    parts.append(("", text[end:]))
    for _, literal in parts:
        found = _OPENERS.search(literal)
        if found:
            raise TemplateError(
                '"%s" opens an expression of StackStorm; only templates of mappings may stand here'
                % found.group()
            )
    # "{" in front of a template would make one "{{{", which opens something else.
    for (_, before), (name, _) in zip(parts, parts[1:]):
        if name and before.endswith(("{", "<")):
            raise TemplateError('"%s" before a template; put a space between them' % before[-1])
    return [part for part in parts if part != ("", "")]


def _normal(match):
    found = _NAME.match(match.group(1))
    name = found.group(1) if found else ""
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


def is_from_alert(name):
    """True when the value comes from an alert: whoever can fire one chooses it."""
    return not name.startswith(("parameters.", "config."))


def expression(name):
    """Return the YAQL expression for the normal name of a template, without ``<% %>``.

    What is absent is an empty text.
    """
    group, _, key = name.partition(".")
    if group in _GROUPS:
        return "ctx().%s.get(%s, %s)" % (group, literal(key), literal(""))
    found = "ctx().alert.get(%s, %s)" % (literal(key or group), literal(""))
    return "str(%s)" % found if key == "attempt" else found


def name_of(text):
    """Return the normal name whose expression this is, None when it is no such expression."""
    found = _IN_GROUP.match(text)
    if found:
        return "%s.%s" % found.groups()
    found = _OF_ALERT.match(text[len("str(") : -1] if text.startswith("str(") else text)
    if found and found.group(1) in ALERT_FIELDS:
        key = found.group(1)
        return key if key in _SHORT else "alert." + key
    return None


def literal(text):
    """Return a text as a string of YAQL. (``%`` is escaped: ``%>`` would end the expression.)"""
    return json.dumps(text, ensure_ascii=False).replace("%", "\\u0025")


def translate(text, value_of=None):
    """Return a text with its templates as expressions.

    :param value_of: callable from a normal name to the text that stands for it; the expression in
        ``<% %>`` when None.
    """
    value_of = value_of or (lambda name: "<% " + expression(name) + " %>")
    return "".join(value_of(name) if name else text for name, text in split(text))


def restore(text):
    """Return a text with its expressions as templates; TemplateError when one is not of ours."""

    def template(match):
        name = name_of(match.group(1))
        if name is None:
            raise TemplateError('"%s" is no template of a mapping' % match.group())
        return "{{%s}}" % name

    return _EXPRESSION.sub(template, text)
