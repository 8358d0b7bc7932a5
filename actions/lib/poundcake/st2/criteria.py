"""Tells whether a StackStorm rule matches an alert of which some values are unknown. Pure.

The comparisons are StackStorm's own operators, with a third answer: it depends.
https://docs.stackstorm.com/rules.html#criteria
"""

import re
from typing import Any, Dict, List, Mapping, Optional, Tuple

from st2common.operators import get_operator

# Stand for unknown values of a payload: one that every alert has, and one that some alerts lack.
PRESENT, PERHAPS = "<present>", "<perhaps>"  # no label has this value, because inert replaces "<"
UNKNOWN = (PRESENT, PERHAPS)

_STEP = re.compile(
    r"""\.?(?:([A-Za-z_@][A-Za-z0-9_@-]*)|'([^']*)'|"([^"]*)"|\[['"]([^'"]*)['"]\])"""
)
_TEMPLATE = re.compile(r"\{\{|\{%|\{#")
_NEWLINE = re.compile(r"\r\n|\r|\n")


class Open(dict):
    """A mapping that is only partly known: a missing name may be there in the end."""


def holds(
    criteria: Mapping[str, Dict[str, Any]], payload: Mapping[str, Any]
) -> Tuple[Optional[bool], List[str]]:
    """Return ``(answer, depends)``: whether a rule with these criteria matches a payload.

    :param criteria: of a StackStorm rule.
    :param payload: of its trigger, with PRESENT and PERHAPS in it.
    :returns: True, False, or None when it depends on unknown values; then ``depends`` has the
        criteria that it depends on, as ``key type pattern``.
    """
    depends = []
    for key, criterion in criteria.items():
        answer = _holds(key, criterion, payload)
        if answer is False:
            return False, []
        if answer is None:
            pattern = criterion.get("pattern")
            name = f"{key.split('#', 1)[0]} {criterion['type']}"
            depends.append(name if pattern is None else f"{name} {pattern}".strip())
    return (None if depends else True), depends


def _holds(key: str, criterion: Mapping[str, Any], payload: Mapping[str, Any]) -> Optional[bool]:
    if "type" not in criterion:
        return False
    kind, pattern = criterion["type"], _rendered(criterion.get("pattern"))
    try:
        operator = get_operator(kind)
    except Exception:  # StackStorm raises nothing more specific, and skips the rule
        return False
    value = _value(key.split("#", 1)[0], payload)
    if kind.lower() in ("exists", "nexists") and value == PRESENT:
        return kind.lower() == "exists"
    if value in UNKNOWN or pattern == PRESENT:
        return None
    if kind == "search":
        return False if value is None else None  # it searches lists, and an alert has none
    try:
        return bool(operator(value=value, criteria_pattern=pattern))
    except Exception:  # StackStorm takes any error of a comparison for no match
        return False


def _rendered(pattern: Any) -> Any:
    """Return a pattern as Jinja renders it, PRESENT when it has a template in it."""
    if not isinstance(pattern, str):
        return pattern
    if _TEMPLATE.search(pattern):
        return PRESENT
    lines = _NEWLINE.split(pattern)
    return "\n".join(lines[:-1] if len(lines) > 1 and not lines[-1] else lines)


def _value(path: str, payload: Mapping[str, Any]) -> Any:
    """Return the value at a path, None when there is none, PERHAPS when that is unknown."""
    steps: List[str] = []
    place = 0
    while place < len(path):
        step = _STEP.match(path, place)
        if not step:
            return PERHAPS  # an index or wildcard, which criteria about alerts do not need
        steps.append(next(group for group in step.groups() if group is not None))
        place = step.end()
    if steps[:1] != ["trigger"]:
        return PERHAPS  # st2kv, for example
    value: Any = payload
    for name in steps[1:]:
        if not isinstance(value, dict):
            return value if value in UNKNOWN else None
        if name not in value:
            return PERHAPS if isinstance(value, Open) else None
        value = value[name]
    return PERHAPS if isinstance(value, dict) else value
