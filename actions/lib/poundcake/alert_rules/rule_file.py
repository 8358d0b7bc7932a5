"""Reads one alert rule from YAML, for the actions that create and update one."""

from typing import Any, Dict, Iterator, List, Mapping

from poundcake import files
from poundcake.alert_rules import change as rule_change
from poundcake.alert_rules import files as rule_files
from poundcake.alert_rules.change import SEVERITY
from poundcake.errors import ExpectedError
from poundcake.inert import original


def filled(
    path: str,
    rules: str,
    group: str,
    rule: str,
    expr: str,
    for_duration: str,
    severity: str,
    labels: Mapping[str, Any],
    annotations: Mapping[str, Any],
) -> Dict[str, Any]:
    """Return the fields of a change: those of the YAML, and what is given beside it wins.

    :param path, rules: a rule file, a PrometheusRule, or the rule alone, as in ``files.read``.
        Without either, the fields are only those that are given.
    :raises ExpectedError: when the YAML does not have the rule, or has more than fits.
    """
    found = _rule_of(path, rules, group, rule, severity) if path or rules else {}
    texts = {name: str(found[name]).strip() if found.get(name) else "" for name in ("expr", "for")}
    own = _strings(found.get("labels"))
    of_file = own.pop(SEVERITY, "")
    return {
        "expr": expr or texts["expr"],
        "for_duration": for_duration or texts["for"],
        "severity": severity or ("" if SEVERITY in labels else of_file),
        "labels": dict(own, **labels),
        "annotations": dict(_strings(found.get("annotations")), **annotations),
    }


def _rule_of(path: str, rules: str, group: str, rule: str, severity: str) -> Dict[str, Any]:
    found: List[Dict[str, Any]] = []
    for _, source in files.read("rules", path, rules):
        for document in rule_files.documents(original(source)):
            found += [one for one in _rules_in(document, group) if one.get("alert") == rule]
    if len(found) > 1 and severity:
        found = [one for one in found if _strings(one.get("labels")).get(SEVERITY) == severity]
    if len(found) != 1:
        where = f"in the group {group}, or alone"
        problem = f'it has "{rule}" {len(found)} times {where}' if found else ""
        problem = problem or f'it has no rule "{rule}" {where}'
        raise ExpectedError("path" if path else "rules", problem, "one rule of that name")
    unknown = sorted(set(found[0]) - set(rule_change.FIELDS))
    if unknown:
        raise ExpectedError(
            "path" if path else "rules",
            f"the rule has {', '.join(unknown)}",
            rule_change.one_of(rule_change.FIELDS),
            "Use apply_prometheus_rules, which takes all fields",
        )
    return found[0]


def _rules_in(document: Any, group: str) -> Iterator[Dict[str, Any]]:
    if isinstance(document, list):
        for one in document:
            yield from _rules_in(one, group)
    elif isinstance(document, dict) and "alert" in document:
        yield document
    elif isinstance(document, dict):
        groups = document.get("groups", (document.get("spec") or {}).get("groups"))
        one = rule_change.find_group(groups or [], group)
        yield from (one or {}).get("rules") or []


def _strings(values: Any) -> Dict[str, str]:
    return {name: str(value) for name, value in (values or {}).items()}
