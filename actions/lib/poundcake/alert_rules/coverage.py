"""Tells which alerts of Prometheus StackStorm would remediate, by comparing the rules of both.

Only those labels of an alert are known that its Prometheus rule sets. A StackStorm rule that asks
for another label may match the alert. The heartbeat is left out, because it is never remediated.
Alertmanager's routing, alert relabeling, admission and templates of parameters are not considered.
"""

import re
from typing import Any, Dict, List, Optional

from poundcake import tables
from poundcake.hosts import host_of
from poundcake.inert import inert
from poundcake.settings import Settings
from poundcake.st2 import criteria, triggers
from poundcake.st2.client import StackStorm
from poundcake.st2.criteria import PERHAPS, PRESENT, UNKNOWN, Open
from poundcake.upstream import rules as prometheus_rules

YES, MAYBE, NO = "yes", "maybe", "no"
_ANSWERS = {True: YES, None: MAYBE, False: NO}
_KEYS = ("trigger.alertname", "trigger.labels.alertname")
# The other fields of a payload, whose values are unknown.
_OTHERS = (
    "request_id dispatch_id attempt fingerprint host workload target starts_at ends_at "
    "generator_url receiver group_key external_url received_at"
).split()
_NAMING = ("eq", "equals", "in", "inside")


def check(settings: Settings, stackstorm: StackStorm) -> Dict[str, Any]:
    """Return which of Prometheus' alerting rules have StackStorm rules that match their alerts.

    :returns: ``alerts``: for each alerting rule that can fire: group, name, severity, state,
        covered (yes, maybe, no), by (references of StackStorm rules), depends_on, and disabled
        (rules that would match if they were enabled); ``broken``: rules that Prometheus cannot
        evaluate; ``rules``: StackStorm rules that name alerts which no Prometheus rule fires, or
        match no alert at all; ``counts``, ``percent_certain`` (yes), ``percent_possible`` (yes and
        maybe), None without any alerting rule; and ``table``, all of it for terminals.
    :raises ExpectedError: when Prometheus cannot be reached.
    """
    alerting = [
        rule
        for rule in prometheus_rules.load(settings, type="alert")
        if rule["kind"] == prometheus_rules.ALERTING
        and not settings.admission.is_heartbeat(rule["name"])
    ]
    rules = stackstorm.list_resources("rules", trigger=triggers.ALERT)
    return compare(alerting, sorted(rules, key=_ref))


def compare(alerting: List[Dict[str, Any]], rules: List[Dict[str, Any]]) -> Dict[str, Any]:
    """Return the answer of ``check`` for alerting rules of Prometheus and rules of StackStorm."""
    able = [rule for rule in alerting if rule["health"] != "err"]
    alerts = [_alert(rule, rules) for rule in able]
    counts = {
        answer: sum(one["covered"] == answer for one in alerts) for answer in (YES, MAYBE, NO)
    }
    broken = [
        {"group": rule["group"], "name": rule["name"], "error": rule["error"]}
        for rule in alerting
        if rule["health"] == "err"
    ]
    answer = {
        "alerts": alerts,
        "broken": broken,
        "rules": list(filter(None, (_idle(rule, able) for rule in rules))),
        "counts": counts,
        "percent_certain": _percent(counts[YES], alerts),
        "percent_possible": _percent(counts[YES] + counts[MAYBE], alerts),
    }
    return dict(answer, table=_table(answer))


def payload_of(rule: Dict[str, Any]) -> Dict[str, Any]:
    """Return the payload of poundcake.alert for an alert of a Prometheus rule, as far as known."""
    labels = Open({"alertname": inert(rule["name"])})
    for name, value in rule["labels"].items():
        if name != "alertname":  # Prometheus sets it
            labels[name] = _known(value)
    annotations = {name: _known(value) for name, value in rule["annotations"].items()}
    annotations = {name: value for name, value in annotations.items() if value is not None}
    payload: Dict[str, Any] = dict.fromkeys(_OTHERS, PRESENT)
    payload.update(labels=labels, annotations=annotations, status="firing")
    for name in triggers.LABELS_AT_HAND + ("alertname", "severity", "instance"):
        # The payload has "" for a label that the alert lacks.
        payload[name] = PRESENT if labels.get(name, PRESENT) in UNKNOWN else labels[name]
        payload[name] = "" if payload[name] is None else payload[name]
    if payload["instance"] != PRESENT:
        payload["host"] = inert(host_of(payload["instance"]))
    for name in triggers.ANNOTATIONS_AT_HAND:
        payload[name] = annotations.get(name, "")
        payload[name] = PRESENT if payload[name] in UNKNOWN else payload[name]
    return payload


def _known(value: str) -> Optional[str]:
    """Return what a rule's label or annotation is in an alert; None when the alert lacks it."""
    if "{{" in value:
        return PERHAPS  # an alert lacks it when the template gives an empty string
    return inert(value) if value else None


def _alert(rule, rules):
    """Return whether StackStorm rules cover the alerts of a Prometheus rule."""
    payload = payload_of(rule)
    by: Dict[str, List[str]] = {YES: [], MAYBE: [], NO: []}
    depends, disabled = [], []
    for one in rules:
        answer, on = criteria.holds(one.get("criteria") or {}, payload)
        if not one["enabled"]:
            disabled += [_ref(one)] if answer is not False else []
            continue
        by[_ANSWERS[answer]].append(_ref(one))
        depends += on
    covered = YES if by[YES] else MAYBE if by[MAYBE] else NO
    return {
        "group": rule["group"],
        "name": rule["name"],
        "severity": rule["labels"].get("severity", ""),
        "state": rule["state"],
        "covered": covered,
        "by": by[YES] + by[MAYBE],
        "depends_on": sorted(set(depends)) if covered == MAYBE else [],
        "disabled": disabled if covered == NO else [],
    }


def _idle(rule, alerting):
    """Return a StackStorm rule that matches no alert or names missing ones; None for others."""
    present = {one["name"] for one in alerting}
    named = _names(rule.get("criteria") or {})
    missing = [name for name in named if name not in {inert(one) for one in present}]
    answers = [criteria.holds(rule.get("criteria") or {}, payload_of(one))[0] for one in alerting]
    takes = any(answer is not False for answer in answers)
    if takes and not missing:
        return None
    return {"rule": _ref(rule), "enabled": rule["enabled"], "takes_any": takes, "missing": missing}


def _names(criteria_of_rule):
    """Return the alert names that criteria ask for."""
    names = []
    for key, criterion in criteria_of_rule.items():
        pattern = criterion.get("pattern")
        if key.split("#", 1)[0] in _KEYS and str(criterion.get("type")).lower() in _NAMING:
            names += pattern if isinstance(pattern, list) else [pattern]
        elif key.split("#", 1)[0] in _KEYS and criterion.get("type") == "regex":
            # The form of the pack's own rules: ^(A|B)$
            match = re.fullmatch(r"\^\(?([\w|]+)\)?\$", str(pattern))
            names += match.group(1).split("|") if match else []
    return [name for name in names if isinstance(name, str) and "{{" not in name]


def _ref(rule):
    return f"{rule['pack']}.{rule['name']}"


def _percent(count, alerts):
    return round(100.0 * count / len(alerts), 1) if alerts else None


def _table(answer):
    rows = [("alert", "severity", "group", "remediated", "by")]
    for one in answer["alerts"]:
        by = ", ".join(one["by"])
        if one["depends_on"]:
            by += " if " + " and ".join(one["depends_on"])
        elif one["disabled"]:
            by = f"{', '.join(one['disabled'])}, which is not enabled"
        rows.append((one["name"], one["severity"], one["group"], one["covered"], by))
    lines = [tables.text(rows)]
    if answer["alerts"]:
        shown = (answer["percent_certain"], answer["percent_possible"], len(answer["alerts"]))
        lines.append("%s %% certain, %s %% possible, of %d alerts" % shown)
    for one in answer["broken"]:
        lines.append("cannot fire: %(name)s in %(group)s: %(error)s" % one)
    for one in answer["rules"]:
        names = ", ".join(one["missing"])
        what = "names alerts that nothing fires: " + names if names else "takes no alert at all"
        lines.append("%s %s" % (one["rule"], what))
    return "\n".join(lines)
