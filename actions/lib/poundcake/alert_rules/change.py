"""A change of one alert rule, and how it is applied to groups of rules. Pure.

Groups are the plain lists and dicts under ``groups`` in a Prometheus rule file and under
``spec.groups`` in a PrometheusRule.
https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
"""

import re
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional

from poundcake.alert_rules.errors import RuleMissing
from poundcake.errors import ExpectedError
from poundcake.inert import original

CREATE, UPDATE, DELETE = OPERATIONS = ("create", "update", "delete")
SEVERITY = "severity"
FIELDS = ("alert", "expr", "for", "labels", "annotations")  # of a rule that one change can say
_RESOURCE = re.compile(
    r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z"
)  # a DNS subdomain, as in Kubernetes
_ORDER = ("alert", "expr", "for", "keep_firing_for", "labels", "annotations")


@dataclass(frozen=True)
class RuleChange:
    """What to do with one alert rule. An update leaves the fields that are empty here unchanged.

    ``labels`` and ``annotations`` map names to values; in an update, None removes the name.
    ``severity`` is the label of that name. An ``is_exact`` update leaves nothing: the rule has then
    what is here, and no other field of these.
    """

    operation: str
    resource: str  # the PrometheusRule's name; {crd_name} in git_file_pattern
    group: str
    rule: str  # the alert's name
    expr: str = ""
    for_duration: str = ""
    severity: str = ""
    labels: Dict[str, Optional[str]] = field(default_factory=dict)
    annotations: Dict[str, Optional[str]] = field(default_factory=dict)
    is_exact: bool = False

    def __str__(self) -> str:
        return f"{self.operation} {self.resource}/{self.group}/{self.rule}"


def make(
    operation: str,
    resource: str,
    group: str,
    rule: str,
    expr: str = "",
    for_duration: str = "",
    severity: str = "",
    labels: Optional[Mapping[str, Any]] = None,
    annotations: Optional[Mapping[str, Any]] = None,
) -> RuleChange:
    """Return the RuleChange that the parameters of an action describe.

    A workflow may pass on what another action answered. So the look-alike characters of ``inert``
    are turned back in the expression; labels and annotations keep theirs.

    :raises ExpectedError: names the parameter that is wrong.
    """
    if operation not in OPERATIONS:
        raise ExpectedError("operation", f'unknown "{operation}"', one_of(OPERATIONS))
    check_resource(resource)
    for name, value in (("group", group), ("rule", rule)):
        if not value.strip() or not value.isprintable():
            raise ExpectedError(name, f'"{value}"', "a name on one line")
    change = RuleChange(
        operation,
        resource,
        group,
        rule,
        original(expr).strip(),
        for_duration.strip(),
        severity,
        _strings("labels", labels or {}, operation),
        _strings("annotations", annotations or {}, operation),
    )
    if change.severity and change.labels.get(SEVERITY, change.severity) != change.severity:
        raise ExpectedError(
            "severity", "labels has a different severity", remedy="Set it in one of the two"
        )
    _check_fields(change)
    return change


def _check_fields(change: RuleChange) -> None:
    """Raise ExpectedError for fields that the operation lacks or does not take."""
    given = change.expr or change.for_duration or change.labels or change.annotations
    operation = change.operation
    if operation == CREATE and not change.expr:
        raise ExpectedError("expr", "empty", "the rule's expression")
    if operation == UPDATE and not (given or change.severity):
        raise ExpectedError(
            "expr",
            "nothing to update",
            "at least one of expr, for_duration, severity, labels and annotations",
        )
    if operation == DELETE and given:
        raise ExpectedError("operation", "delete takes only resource, group, rule and severity")


def check_resource(name: str) -> None:
    """Raise ExpectedError when a name is not valid for a PrometheusRule."""
    if not _RESOURCE.match(name):
        raise ExpectedError(
            "resource",
            f'"{name}"',
            "a valid name of a PrometheusRule: lower case letters, digits, - and .",
        )


def new_rule(change: RuleChange) -> Dict[str, Any]:
    """Return the rule that a change creates."""
    rule: Dict[str, Any] = {"alert": change.rule, "expr": change.expr}
    if change.for_duration:
        rule["for"] = change.for_duration
    if _labels(change):
        rule["labels"] = _labels(change)
    if change.annotations:
        rule["annotations"] = dict(change.annotations)
    return rule


def apply(change: RuleChange, groups: List[Dict[str, Any]]) -> bool:
    """Apply a change to groups of rules, in place, and return whether that changed anything.

    Where several rules have the same name, the change means the one with its severity. A create
    makes a missing group; deleting the last rule removes its group. Creating a rule that already
    exists with the same content changes nothing, so that a half-done change can be repeated.

    :raises RuleMissing: when there is no such group or rule.
    :raises ExpectedError: when a different rule of that name exists, or several could be meant.
    """
    group = find_group(groups, change.group)
    if change.operation == CREATE:
        return _create(change, groups, group)
    if group is None:
        names = [item["name"] for item in groups]
        raise RuleMissing(
            "group", f'{change.resource} has no group "{change.group}"', one_of(names)
        )
    index = _index(change, group)
    if change.operation == UPDATE:
        return _update(change, group["rules"][index])
    del group["rules"][index]
    if not group["rules"]:
        del groups[next(at for at, item in enumerate(groups) if item is group)]
    return True


def find_group(groups: Any, name: str) -> Optional[Dict[str, Any]]:
    """Return the group with a name, None when there is none.

    :raises ExpectedError: when there are several, or when ``groups`` is not a list of groups.
    """
    if not isinstance(groups, list) or not all(_is_group(item) for item in groups):
        raise ExpectedError("group", "groups is not a list of groups with names and rules")
    same_name = [group for group in groups if group["name"] == name]
    if len(same_name) > 1:
        problem = f'"{name}" exists {len(same_name)} times'
        raise ExpectedError("group", problem, remedy="Rename all but one")
    return same_name[0] if same_name else None


def find_rules(group: Dict[str, Any], name: str) -> List[int]:
    """Return the indexes of a group's alert rules with a name."""
    rules = group.get("rules") or []
    return [index for index, rule in enumerate(rules) if rule.get("alert") == name]


def has(change: RuleChange, groups: Any) -> bool:
    """Return whether groups have a rule that a change may mean, by group and name."""
    group = find_group(groups, change.group)
    return group is not None and bool(find_rules(group, change.rule))


def has_same(change: RuleChange, groups: Any) -> bool:
    """Return whether groups have the rule that a create would make, by its severity too."""
    group = find_group(groups, change.group)
    severity = _severity({"labels": _labels(change)})
    rules = group["rules"] if group and group.get("rules") else []
    return any(_severity(rules[at]) == severity for at in find_rules(group or {}, change.rule))


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
        raise ExpectedError(
            "rule",
            f'"{change.rule}" with severity "{_severity(rule)}" already exists in the group '
            f"{change.group}",
            remedy="Update it instead",
        )
    if not group.get("rules"):
        group["rules"] = []
    group["rules"].append(rule)
    return True


def _index(change, group):
    """Return the index of the rule that an update or delete means."""
    indexes = find_rules(group, change.rule)
    if not indexes:
        names = [rule["alert"] for rule in group.get("rules") or [] if "alert" in rule]
        problem = f'the group {change.group} has no rule "{change.rule}"'
        raise RuleMissing("rule", problem, one_of(names))
    severities = [_severity(group["rules"][index]) for index in indexes]
    if len(indexes) > 1:
        indexes = [at for at, severity in zip(indexes, severities) if severity == change.severity]
    if len(indexes) != 1:
        listed = ", ".join(f'"{severity}"' for severity in severities)
        raise ExpectedError(
            "rule",
            f'"{change.rule}" is in the group {change.group} more than once, with the severities '
            f"{listed}",
            remedy="Give one of these as severity, or make the rules differ by hand",
        )
    return indexes[0]


def _update(change, rule):
    same_expr = change.expr in ("", _expr(rule))
    present = {} if change.is_exact else rule
    wanted = {
        "expr": rule.get("expr") if same_expr else change.expr,
        "for": change.for_duration or present.get("for"),
        "labels": _merged(present.get("labels"), _labels(change)),
        "annotations": _merged(present.get("annotations"), change.annotations),
    }
    before = dict(rule)
    for key, value in wanted.items():
        if value:
            _set(rule, key, value)
        else:
            rule.pop(key, None)
    return rule != before


def _merged(present, wanted):
    """Return a mapping updated from another; a name that is None there is removed."""
    merged = dict(present or {}, **wanted)
    return {name: value for name, value in merged.items() if value is not None}


def _set(rule, key, value):
    """Set a field of a rule; a new one gets its usual place."""
    later = _ORDER[_ORDER.index(key) + 1 :] if key not in rule else ()
    moved = [(name, rule.pop(name)) for name in list(rule) if name in later]
    rule[key] = value
    rule.update(moved)


def _labels(change):
    return dict(change.labels, severity=change.severity) if change.severity else change.labels


def _expr(rule):
    # A YAML block scalar ends with a line break.
    return str(rule.get("expr") or "").strip()


def _severity(rule):
    return (rule.get("labels") or {}).get(SEVERITY, "")


def _strings(parameter, values, operation):
    """Return the labels or annotations that a parameter gives, checked."""
    for name, value in values.items():
        if value is None and operation == UPDATE:
            continue
        if not isinstance(value, str):
            if value is None:
                raise ExpectedError(parameter, f"{name} is null, which only an update takes")
            raise ExpectedError(parameter, f"{name} is not a string", "strings as values")
    return dict(values)


def one_of(names: Iterable[Any]) -> str:
    """Return what an error expects: one of these names, "" when there are none."""
    names = list(names)
    return f"one of {', '.join(map(str, names))}" if names else ""


def _is_group(item):
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        return False
    rules = item.get("rules")
    return rules is None or (
        isinstance(rules, list) and all(isinstance(rule, dict) for rule in rules)
    )
