"""Checks the form of rules. Pure; ``checks`` asks promtool or Prometheus for the rest.

https://prometheus.io/docs/prometheus/latest/configuration/recording_rules/
"""

import re
from typing import Any, Callable, Dict, List

_DURATION = re.compile(
    r"0\Z|(?=\d)(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?\Z"  # as Prometheus parses them
)
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
_ACTION = re.compile(r"""\{\{(?:"(?:[^"\\\n]|\\.)*"|`[^`]*`|(?!\}\})[^"`])*?\}\}""")
_GROUP_FIELDS = {"name", "interval", "query_offset", "limit", "labels", "rules"}
_RULE_FIELDS = {"alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations"}
# A field for Thanos Ruler: a PrometheusRule may have it, a Prometheus rule file must not.
THANOS = "partial_response_strategy"


def form_errors(groups: Any) -> List[Dict[str, str]]:
    """Return the errors in the form of groups: fields, types, durations.

    Each error is ``{group, rule, reason}``; group and rule are "" for an error outside of them.
    """
    if not isinstance(groups, list):
        return [error_of("", "", "groups is not a list")]
    errors: List[Dict[str, str]] = []
    names = set()
    for group in groups:
        name = group.get("name") if isinstance(group, dict) else None
        if not isinstance(name, str) or not name:
            errors.append(error_of("", "", "a group has no name"))
            continue
        if name in names:
            errors.append(error_of(name, "", "two groups have this name"))
        names.add(name)
        for field in ("interval", "query_offset"):
            if not is_duration(group.get(field, 0)):
                errors.append(error_of(name, "", _bad_duration(field, group[field])))
        rules = group.get("rules")
        if not isinstance(rules, (list, type(None))):
            errors.append(error_of(name, "", "rules is not a list"))
            continue
        for number, rule in enumerate(rules or [], 1):
            rule_name = name_of(rule, number)
            errors += [error_of(name, rule_name, reason) for reason in _form_errors_of(rule)]
    return errors


def is_duration(value: Any) -> bool:
    """Return whether Prometheus accepts a duration, such as 5m or 1h30m."""
    return isinstance(value, str) and bool(_DURATION.match(value)) or value == 0


def _form_errors_of(rule):
    if not isinstance(rule, dict):
        yield "is not a mapping"
        return
    kinds = [kind for kind in ("alert", "record") if rule.get(kind)]
    if len(kinds) != 1 or not isinstance(rule[kinds[0]], str):
        yield "needs a name as alert or as record, and not both"
    expr = rule.get("expr")
    if isinstance(expr, bool) or not isinstance(expr, (str, int, float)) or not str(expr).strip():
        yield "expr is empty or not a string"
    for field in ("for", "keep_firing_for"):
        if not is_duration(rule.get(field) or 0):
            yield _bad_duration(field, rule[field])
    for field in ("labels", "annotations"):
        mapping = rule.get(field) or {}
        if not isinstance(mapping, dict):
            yield f"{field} is not a mapping"
            continue
        for name, value in mapping.items():
            # Prometheus accepts numbers here, too; a PrometheusRule only strings.
            if not isinstance(name, str) or not isinstance(value, (str, int, float)):
                yield f"{field}: {name} is not a string"
    if kinds == ["record"]:
        for field in ("for", "keep_firing_for", "annotations"):
            if rule.get(field):
                yield f"a record takes no {field}"


def text_errors(
    groups: List[Dict[str, Any]], is_name: Callable[[str], bool]
) -> List[Dict[str, str]]:
    """Return the errors in names and templates that can be found without promtool.

    :param is_name: whether a label or metric may have a name that Prometheus 2 would refuse;
        Prometheus 3 takes any UTF-8.
    """
    errors = []
    for group in groups:
        for field in sorted(set(group) - _GROUP_FIELDS - {THANOS}):
            errors.append(error_of(group["name"], "", f"unknown field {field}"))
        for number, rule in enumerate(group.get("rules") or [], 1):
            rule_name = name_of(rule, number)
            errors += [
                error_of(group["name"], rule_name, one) for one in _text_errors_of(rule, is_name)
            ]
    return errors


def _text_errors_of(rule, is_name):
    for field in sorted(set(rule) - _RULE_FIELDS):
        yield f"unknown field {field}"
    if "record" in rule and not _METRIC.match(rule["record"]) and not is_name(rule["record"]):
        yield "record is not a valid metric name"
    for field in ("labels", "annotations"):
        for name, value in (rule.get(field) or {}).items():
            is_valid = _LABEL.match(name) or is_name(name)
            if not is_valid or (field == "labels" and name == "__name__"):
                yield f"{field}: {name} is not a valid label name"
            if "alert" in rule and not _is_template(str(value)):
                yield f"{field}: {name} has {{{{ without }}}}, or nothing between them"


def _is_template(value):
    actions = _ACTION.findall(value)
    blank = " \t\r\n-"
    return "{{" not in _ACTION.sub("", value) and all(one[2:-2].strip(blank) for one in actions)


def name_of(rule: Any, number: Any) -> str:
    """Return the name of a rule for an error; number is its position in the group, from 1."""
    name = isinstance(rule, dict) and (rule.get("alert") or rule.get("record"))
    return str(name) if name else f"rule {number}"


def _bad_duration(field, value):
    return f'{field}: "{value}" is not a duration such as 30s, 5m or 1h30m'


def error_of(group: str, rule: str, reason: str) -> Dict[str, str]:
    """Return an error as ``BrokenRules`` takes it."""
    return {"group": group, "rule": rule, "reason": reason}
