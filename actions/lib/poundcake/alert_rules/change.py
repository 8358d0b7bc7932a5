"""A change of one alert rule, as a value, and what it does to groups of rules.

Groups are what ``groups`` of a Prometheus rule file and ``spec.groups`` of a PrometheusRule hold:
lists and dicts.
https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
"""

import re
from dataclasses import dataclass, field

from poundcake.errors import ExpectedError
from poundcake.inert import original

CREATE, UPDATE, DELETE = OPERATIONS = ("create", "update", "delete")
SEVERITY = "severity"
_RESOURCE = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")  # a DNS subdomain, as Kubernetes
_ORDER = ("alert", "expr", "for", "keep_firing_for", "labels", "annotations")


class RuleMissing(ExpectedError):
    """There is no such group or rule to update or delete."""


@dataclass(frozen=True)
class RuleChange:
    """What to do with one alert rule. What is empty is not set or, in an update, stays as it is.

    ``labels`` and ``annotations``: ``{name: text}``; None as a value takes the name away.
    ``severity`` is the label of that name.
    """

    operation: str
    resource: str  # the PrometheusRule's name; {crd_name} in the pattern of a file
    group: str
    rule: str  # the alert's name
    expr: str = ""
    for_duration: str = ""
    severity: str = ""
    labels: dict = field(default_factory=dict)
    annotations: dict = field(default_factory=dict)

    def __str__(self):
        return "%s %s/%s/%s" % (self.operation, self.resource, self.group, self.rule)


def make(
    operation,
    resource,
    group,
    rule,
    expr="",
    for_duration="",
    severity="",
    labels=None,
    annotations=None,
):
    """Return the RuleChange that parameters of an action describe.

    What PoundCake answered may come back here through a workflow: the look-alikes of ``inert``
    become the characters that they stand for in the expression, and stay in all that is text.

    :raises ExpectedError: names the parameter that cannot be.
    """
    if operation not in OPERATIONS:
        text = 'operation: "%s" is none; write one of %s'
        raise ExpectedError(text % (operation, ", ".join(OPERATIONS)))
    check_resource(resource)
    for name, value in (("group", group), ("rule", rule)):
        if not value.strip() or not value.isprintable():
            raise ExpectedError('%s: "%s" is no name; write one' % (name, value))
    change = RuleChange(
        operation,
        resource,
        group,
        rule,
        original(expr).strip(),
        for_duration.strip(),
        severity,
        _texts("labels", labels or {}, operation),
        _texts("annotations", annotations or {}, operation),
    )
    if change.severity and change.labels.get(SEVERITY, change.severity) != change.severity:
        raise ExpectedError("severity: labels has another severity; write it in one of the two")
    given = change.expr or change.for_duration or change.labels or change.annotations
    if operation == CREATE and not change.expr:
        raise ExpectedError("expr: is empty; write the rule's expression")
    if operation == UPDATE and not (given or change.severity):
        text = "expr: nothing to update; write expr, for_duration, severity, labels or annotations"
        raise ExpectedError(text)
    if operation == DELETE and given:
        raise ExpectedError("operation: delete takes resource, group, rule and severity alone")
    return change


def check_resource(name):
    """Raise ExpectedError when a name cannot be that of a PrometheusRule."""
    if not _RESOURCE.match(name):
        text = 'resource: "%s" is no name of a PrometheusRule; write lower case letters, digits, '
        raise ExpectedError((text + "- and .") % name)


def new_rule(change):
    """Return the rule that a change creates."""
    rule = {"alert": change.rule, "expr": change.expr}
    if change.for_duration:
        rule["for"] = change.for_duration
    if _labels(change):
        rule["labels"] = _labels(change)
    if change.annotations:
        rule["annotations"] = dict(change.annotations)
    return rule


def apply(change, groups):
    """Make a change in groups of rules, in place, and return whether that changed anything.

    Of several rules with one name the change means the one of its severity. A group that is not
    there is made by a create, and goes with its last rule. To create what is there already, exactly
    so, changes nothing: a change that was half done can be made again.

    :raises RuleMissing: when there is no such group or rule.
    :raises ExpectedError: when the rule exists already, or several are meant.
    """
    group = find_group(groups, change.group)
    if change.operation == CREATE:
        return _create(change, groups, group)
    if group is None:
        known = ", ".join(item["name"] for item in groups) or "none"
        raise RuleMissing(
            'group: %s has no group "%s"; it has: %s' % (change.resource, change.group, known)
        )
    index = _index(change, group)
    if change.operation == UPDATE:
        return _update(change, group["rules"][index])
    del group["rules"][index]
    if not group["rules"]:
        del groups[next(at for at, item in enumerate(groups) if item is group)]
    return True


def find_group(groups, name):
    """Return the group of a name, None when there is none.

    :raises ExpectedError: when there are several, or these are no groups.
    """
    if not isinstance(groups, list) or not all(_is_group(item) for item in groups):
        raise ExpectedError("group: what is there is no list of groups with names and rules")
    found = [group for group in groups if group["name"] == name]
    if len(found) > 1:
        raise ExpectedError(
            'group: "%s" is there %d times; rename all but one' % (name, len(found))
        )
    return found[0] if found else None


def find_rules(group, name):
    """Return the indexes of the alert rules of a name in a group."""
    return [at for at, rule in enumerate(group.get("rules") or []) if rule.get("alert") == name]


def has(change, groups):
    """True when groups have a rule that a change may mean, by group and name."""
    group = find_group(groups, change.group)
    return group is not None and bool(find_rules(group, change.rule))


def _create(change, groups, group):
    rule = new_rule(change)
    if group is None:
        groups.append({"name": change.group, "rules": [rule]})
        return True
    same = [group["rules"][at] for at in find_rules(group, change.rule)]
    same = [item for item in same if _severity(item) == _severity(rule)]
    if any(dict(item, expr=_expr(item)) == rule for item in same):
        return False
    if same:
        text = 'rule: "%s" with severity "%s" exists in the group %s already; update it'
        raise ExpectedError(text % (change.rule, _severity(rule), change.group))
    if not group.get("rules"):
        group["rules"] = []
    group["rules"].append(rule)
    return True


def _index(change, group):
    found = find_rules(group, change.rule)
    if not found:
        names = [rule["alert"] for rule in group.get("rules") or [] if "alert" in rule]
        text = 'rule: the group %s has no rule "%s"; it has: %s'
        known = ", ".join(map(str, names)) or "none"
        raise RuleMissing(text % (change.group, change.rule, known))
    if len(found) > 1:
        severities = [_severity(group["rules"][at]) for at in found]
        found = [at for at, one in zip(found, severities) if one == change.severity]
    if len(found) != 1:
        text = 'rule: "%s" is in the group %s more than once, with the severities %s; write that '
        text += "of one of them as severity, or make them differ by hand"
        shown = ", ".join('"%s"' % one for one in severities)
        raise ExpectedError(text % (change.rule, change.group, shown))
    return found[0]


def _update(change, rule):
    same_expr = change.expr in ("", _expr(rule))
    wanted = {
        "expr": rule.get("expr") if same_expr else change.expr,
        "for": change.for_duration or rule.get("for"),
        "labels": _merged(rule.get("labels"), _labels(change)),
        "annotations": _merged(rule.get("annotations"), change.annotations),
    }
    before = dict(rule)
    for key, value in wanted.items():
        if value:
            _set(rule, key, value)
        else:
            rule.pop(key, None)
    return rule != before


def _merged(present, wanted):
    """Return a mapping with the names of another one set, or taken away where that has None."""
    merged = dict(present or {}, **wanted)
    return {name: value for name, value in merged.items() if value is not None}


def _set(rule, key, value):
    """Set a field of a rule; a new one comes into its usual place."""
    later = _ORDER[_ORDER.index(key) + 1 :] if key not in rule else ()
    moved = [(name, rule.pop(name)) for name in list(rule) if name in later]
    rule[key] = value
    rule.update(moved)


def _labels(change):
    return dict(change.labels, severity=change.severity) if change.severity else change.labels


def _expr(rule):
    # A block of text ends with a line break.
    return str(rule.get("expr") or "").strip()


def _severity(rule):
    return (rule.get("labels") or {}).get(SEVERITY, "")


def _texts(parameter, values, operation):
    for name, value in values.items():
        if value is None and operation == UPDATE:
            continue
        if not isinstance(value, str):
            text = "%s: %s is no text; write every value as one"
            if value is None:
                text = "%s: %s has no value; write one (only update takes a name away)"
            raise ExpectedError(text % (parameter, name))
    return dict(values)


def _is_group(item):
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        return False
    rules = item.get("rules")
    return rules is None or (
        isinstance(rules, list) and all(isinstance(rule, dict) for rule in rules)
    )
