"""Which alerts of Prometheus would StackStorm remediate? Its rules against theirs.

What an alert's labels will be is known as far as its rule sets them; the rest is the alert's own,
and a StackStorm rule that asks for it takes the alert perhaps. The heartbeat is left out: it is
never remediated. (Alertmanager's routing, alert relabeling, the rest of admission and templates of
parameters are not looked at.)
"""

from poundcake import tables
from poundcake.alert_rules import criteria
from poundcake.alert_rules.criteria import PERHAPS, PRESENT, UNKNOWN, Open
from poundcake.core.payload import host_of
from poundcake.inert import inert
from poundcake.st2 import triggers
from poundcake.upstream import rules as prometheus_rules

YES, MAYBE, NO = "yes", "maybe", "no"
_ANSWERS = {True: YES, None: MAYBE, False: NO}
_KEYS = ("trigger.alertname", "trigger.labels.alertname")
# What a payload has beside what is known of it.
_OTHERS = (
    "request_id dispatch_id attempt fingerprint host starts_at ends_at generator_url receiver "
    "group_key external_url received_at"
).split()
_NAMING = ("eq", "equals", "in", "inside")


def check(settings, stackstorm):
    """Return how Prometheus' alerting rules and StackStorm's rules for alerts go together.

    :returns: ``alerts``: for each alerting rule that can fire: group, name, severity, state,
        covered (yes, maybe, no), by (references of StackStorm rules), depends_on, and disabled
        (rules that would, if they were enabled); ``broken``: those that Prometheus cannot
        evaluate; ``rules``: StackStorm rules that name alerts which no Prometheus rule can fire, or
        take none at all; ``counts``, ``percent_certain`` (yes), ``percent_possible`` (yes and
        maybe), None without any alerting rule; and ``table``, all of it as text.
    :raises ExpectedError: when Prometheus cannot be asked.
    """
    found = prometheus_rules.load(settings, type="alert")
    found = [
        rule
        for rule in found
        if rule["kind"] == prometheus_rules.ALERTING
        and not settings.admission.is_heartbeat(rule["name"])
    ]
    ours = [
        rule
        for rule in stackstorm.list_resources("rules")
        if (rule.get("trigger") or {}).get("type") == triggers.ALERT
    ]
    return compare(found, sorted(ours, key=_ref))


def compare(alerting, rules):
    """Return what ``check`` does, of values: rules of Prometheus, and of StackStorm."""
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


def payload_of(rule):
    """Return the payload of poundcake.alert for an alert of a Prometheus rule, as far as known."""
    labels = Open({"alertname": inert(rule["name"])})
    for name, text in rule["labels"].items():
        if name != "alertname":  # Prometheus sets that itself
            labels[name] = _known(text)
    annotations = {name: _known(text) for name, text in rule["annotations"].items()}
    annotations = {name: text for name, text in annotations.items() if text is not None}
    payload = dict.fromkeys(_OTHERS, PRESENT)
    payload.update(labels=labels, annotations=annotations, status="firing")
    for name in triggers.LABELS_AT_HAND + ("alertname", "severity", "instance"):
        # A label that is not there is empty at hand.
        payload[name] = PRESENT if labels.get(name, PRESENT) in UNKNOWN else labels[name]
        payload[name] = "" if payload[name] is None else payload[name]
    if payload["instance"] != PRESENT:
        payload["host"] = inert(host_of(payload["instance"]))
    for name in triggers.ANNOTATIONS_AT_HAND:
        payload[name] = annotations.get(name, "")
        payload[name] = PRESENT if payload[name] in UNKNOWN else payload[name]
    return payload


def _known(text):
    """Return what a label or annotation of a rule becomes; None when an alert lacks it."""
    if "{{" in text:
        return PERHAPS  # it may come out empty, and is left out then
    return inert(text) if text else None


def _alert(rule, rules):
    payload, by = payload_of(rule), {YES: [], MAYBE: [], NO: []}
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
    """Return what a StackStorm rule names that no alert has; None when there is nothing of it."""
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
    found = []
    for key, criterion in criteria_of_rule.items():
        pattern = criterion.get("pattern")
        if key.split("#", 1)[0] in _KEYS and str(criterion.get("type")).lower() in _NAMING:
            found += [pattern] if isinstance(pattern, str) else list(pattern or [])
    return [name for name in found if isinstance(name, str) and "{{" not in name]


def _ref(rule):
    return "%s.%s" % (rule["pack"], rule["name"])


def _percent(count, alerts):
    return round(100.0 * count / len(alerts), 1) if alerts else None


def _table(answer):
    lines = [("alert", "severity", "group", "remediated", "by")]
    for one in answer["alerts"]:
        by = ", ".join(one["by"])
        if one["depends_on"]:
            by += " if " + " and ".join(one["depends_on"])
        elif one["disabled"]:
            by = "%s, which is not enabled" % ", ".join(one["disabled"])
        lines.append((one["name"], one["severity"], one["group"], one["covered"], by))
    text = [tables.text(lines)]
    if answer["alerts"]:
        shown = (answer["percent_certain"], answer["percent_possible"], len(answer["alerts"]))
        text.append("%s %% certain, %s %% possible, of %d alerts" % shown)
    for one in answer["broken"]:
        text.append("cannot fire: %(name)s in %(group)s: %(error)s" % one)
    for one in answer["rules"]:
        names = ", ".join(one["missing"])
        what = "names alerts that nothing fires: " + names if names else "takes no alert at all"
        text.append("%s %s" % (one["rule"], what))
    return "\n".join(text)
