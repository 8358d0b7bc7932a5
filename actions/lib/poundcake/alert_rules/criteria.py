"""Would a StackStorm rule take an alert of which not everything is known yet?

The comparisons are StackStorm's own operators; what is added is a third answer: it depends.
https://docs.stackstorm.com/rules.html#criteria
"""

import re

from st2common.operators import get_operator

# What a payload holds in place of a value: text that an alert brings, and what it may not have.
PRESENT, PERHAPS = "<present>", "<perhaps>"  # no label is so: "<" would be made inert
UNKNOWN = (PRESENT, PERHAPS)

_STEP = re.compile(
    r"""\.?(?:([A-Za-z_@][A-Za-z0-9_@-]*)|'([^']*)'|"([^"]*)"|\[['"]([^'"]*)['"]\])"""
)
_TEMPLATE = re.compile(r"\{\{|\{%|\{#")
_NEWLINE = re.compile(r"\r\n|\r|\n")


class Open(dict):
    """A mapping of which some is known: what is missing may be there nevertheless."""


def holds(criteria, payload):
    """Return ``(answer, depends)``: whether a rule with these criteria takes a payload.

    :param criteria: of a StackStorm rule.
    :param payload: of its trigger, with PRESENT and PERHAPS in it.
    :returns: True, False, or None when that depends on what is not known; then ``depends`` has the
        criteria that it depends on, as ``key type pattern``.
    """
    depends = []
    for key, criterion in criteria.items():
        answer = _holds(key, criterion, payload)
        if answer is False:
            return False, []
        if answer is None:
            shown = (key.split("#", 1)[0], criterion["type"], criterion.get("pattern"))
            depends.append("%s %s %s" % (shown if shown[2] is not None else shown[:2] + ("",)))
    return (None if depends else True), [text.strip() for text in depends]


def _holds(key, criterion, payload):
    if "type" not in criterion:
        return False
    kind, pattern = criterion["type"], _text_of(criterion.get("pattern"))
    try:
        operator = get_operator(kind)
    except Exception:  # StackStorm raises no better one, and gives up the rule then
        return False
    value = _value(key.split("#", 1)[0], payload)
    if kind.lower() in ("exists", "nexists") and value == PRESENT:
        return kind.lower() == "exists"
    if value in UNKNOWN or pattern == PRESENT:
        return None
    if kind == "search":
        return False if value is None else None  # it looks into lists, and an alert has none
    try:
        return bool(operator(value=value, criteria_pattern=pattern))
    except Exception:  # whatever a comparison raises, to StackStorm it is no match
        return False


def _text_of(pattern):
    """Return a pattern as Jinja renders it, PRESENT when it has to be rendered for that."""
    if not isinstance(pattern, str):
        return pattern
    if _TEMPLATE.search(pattern):
        return PRESENT
    lines = _NEWLINE.split(pattern)
    return "\n".join(lines[:-1] if len(lines) > 1 and not lines[-1] else lines)


def _value(path, payload):
    """Return what a path finds, None for nothing, PERHAPS where that cannot be said."""
    steps, place = [], 0
    while place < len(path):
        found = _STEP.match(path, place)
        if not found:
            return PERHAPS  # indexes, wildcards: not what criteria about alerts need
        steps.append(next(group for group in found.groups() if group is not None))
        place = found.end()
    if steps[:1] != ["trigger"]:
        return PERHAPS  # st2kv and the like
    value = payload
    for step in steps[1:]:
        if not isinstance(value, dict):
            return value if value in UNKNOWN else None
        if step not in value:
            return PERHAPS if isinstance(value, Open) else None
        value = value[step]
    return PERHAPS if isinstance(value, dict) else value
