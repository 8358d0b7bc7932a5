"""What is wrong with rules as far as their form shows it. Pure; rule_checks asks who knows more.

https://prometheus.io/docs/prometheus/latest/configuration/recording_rules/
"""

import re

_DURATION = re.compile(
    r"0\Z|(?=\d)(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?\Z"  # as Prometheus parses them
)
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
_ACTION = re.compile(r"""\{\{(?:"(?:[^"\\\n]|\\.)*"|`[^`]*`|(?!\}\})[^"`])*?\}\}""")
_GROUP_FIELDS = {"name", "interval", "query_offset", "limit", "labels", "rules"}
_RULE_FIELDS = {"alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations"}
# What a PrometheusRule may say to Thanos Ruler, and Prometheus's own files must not have.
THANOS = "partial_response_strategy"


def form_errors(groups):
    """Return what is wrong with the form of groups: fields, types, durations.

    Every error is ``{group, rule, reason}``; group and rule are "" where it is of no rule.
    """
    if not isinstance(groups, list):
        return [error_of("", "", "groups is no list")]
    errors, names = [], set()
    for group in groups:
        name = group.get("name") if isinstance(group, dict) else None
        if not isinstance(name, str) or not name:
            errors.append(error_of("", "", "a group has no name"))
            continue
        if name in names:
            errors.append(error_of(name, "", "the name of the group is there twice"))
        names.add(name)
        for field in ("interval", "query_offset"):
            if not is_duration(group.get(field, 0)):
                errors.append(error_of(name, "", _no_duration(field, group[field])))
        rules = group.get("rules")
        if not isinstance(rules, (list, type(None))):
            errors.append(error_of(name, "", "rules is no list"))
            continue
        for number, rule in enumerate(rules or [], 1):
            shown = name_of(rule, number)
            errors += [error_of(name, shown, reason) for reason in _rule_faults(rule)]
    return errors


def is_duration(value):
    """True for a duration that Prometheus takes, as in 5m or 1h30m."""
    return isinstance(value, str) and bool(_DURATION.match(value)) or value == 0


def _rule_faults(rule):
    if not isinstance(rule, dict):
        yield "is no mapping"
        return
    kinds = [kind for kind in ("alert", "record") if rule.get(kind)]
    if len(kinds) != 1 or not isinstance(rule[kinds[0]], str):
        yield "needs the name of an alert, or of a record, and not both"
    expr = rule.get("expr")
    if isinstance(expr, bool) or not isinstance(expr, (str, int, float)) or not str(expr).strip():
        yield "expr is empty or no text"
    for field in ("for", "keep_firing_for"):
        if not is_duration(rule.get(field) or 0):
            yield _no_duration(field, rule[field])
    for field in ("labels", "annotations"):
        mapping = rule.get(field) or {}
        if not isinstance(mapping, dict):
            yield "%s is no mapping" % field
            continue
        for name, value in mapping.items():
            # Prometheus takes numbers here, too; a PrometheusRule takes text alone.
            if not isinstance(name, str) or not isinstance(value, (str, int, float)):
                yield "%s: %s is no text" % (field, name)
    if kinds == ["record"]:
        for field in ("for", "keep_firing_for", "annotations"):
            if rule.get(field):
                yield "a record takes no %s" % field


def text_errors(groups):
    """Return what is wrong with names and templates, as far as promtool is not needed for it."""
    errors = []
    for group in groups:
        found = ["%s is not known" % field for field in set(group) - _GROUP_FIELDS - {THANOS}]
        errors += [error_of(group["name"], "", reason) for reason in sorted(found)]
        for number, rule in enumerate(group.get("rules") or [], 1):
            shown = name_of(rule, number)
            errors += [error_of(group["name"], shown, reason) for reason in _text_faults(rule)]
    return errors


def _text_faults(rule):
    for field in sorted(set(rule) - _RULE_FIELDS):
        yield "%s is not known" % field
    if "record" in rule and not _METRIC.match(rule["record"]):
        yield "record is no name of a metric"
    for field in ("labels", "annotations"):
        for name, value in (rule.get(field) or {}).items():
            if not _LABEL.match(name) or (field == "labels" and name == "__name__"):
                yield "%s: %s is no name of a label" % (field, name)
            if "alert" in rule and not _is_template(str(value)):
                yield "%s: %s has {{ without }}, or nothing between them" % (field, name)


def _is_template(text):
    actions = _ACTION.findall(text)
    return "{{" not in _ACTION.sub("", text) and all(one[2:-2].strip(" \t\r\n-") for one in actions)


def name_of(rule, number):
    """Return what a rule is called in an error; the number counts from 1 in its group."""
    found = isinstance(rule, dict) and (rule.get("alert") or rule.get("record"))
    return str(found) if found else "rule %s" % number


def _no_duration(field, value):
    return '%s: "%s" is no duration; write one as in 30s, 5m or 1h30m' % (field, value)


def error_of(group, rule, reason):
    """Return the error of a rule."""
    return {"group": group, "rule": rule, "reason": reason}
