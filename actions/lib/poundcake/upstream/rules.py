"""The rules that Prometheus has loaded, as its API tells them.

https://prometheus.io/docs/prometheus/latest/querying/api/#rules
"""

import os
import re

from poundcake.arguments import check_exists, label_pairs, one_of
from poundcake.upstream import client

FIRING, PENDING, INACTIVE = STATES = ("firing", "pending", "inactive")
ALERTING, RECORDING = KINDS = ("alerting", "recording")
_UID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def load(settings, **asked):
    """Return Prometheus' rules, each as ``summary`` has it, in the order of its API.

    :param asked: parameters of the API, such as ``type="alert"``. (An older Prometheus does not
        know all of them, and gives more than was asked for.)
    :raises ExpectedError: when Prometheus cannot be asked.
    """
    answer = client.call(settings, "prometheus", "GET", "/api/v1/rules", params=asked)
    groups = (answer.get("data") or {}).get("groups") or []
    return [summary(settings, group, rule) for group in groups for rule in group["rules"]]


def summary(settings, group, rule):
    """Return what matters of a rule: group, name, kind, state, expression, for (seconds), labels...

    ``state`` is None for a recording rule, and ``resource`` where its file is no PrometheusRule of
    the config's namespace.
    """
    return {
        "group": group["name"],
        "name": rule["name"],
        "kind": rule["type"],
        "state": rule.get("state"),
        "expression": rule["query"],
        "for": rule.get("duration"),
        "labels": rule.get("labels") or {},
        "annotations": rule.get("annotations") or {},
        "active": len(rule.get("alerts") or []),
        "health": rule.get("health") or "unknown",
        "error": rule.get("lastError") or "",
        "file": group.get("file") or "",
        "resource": resource_of(settings, group.get("file") or ""),
    }


def resource_of(settings, file):
    """Return the PrometheusRule that a rule file is made of, None when the name does not say so.

    The Prometheus Operator names the file ``<namespace>-<name>-<uid>.yaml``.
    """
    pattern = r"%s-(.+)-%s\.yaml\Z" % (re.escape(settings.crd.namespace), _UID)
    found = re.match(pattern, os.path.basename(file))
    return found.group(1) if found else None


def list_rules(settings, state, kind, group, name, label, limit):
    """Return the rules that filters leave; an empty filter leaves all.

    :param state: firing, pending or inactive.
    :param kind: alerting or recording.
    :param label: ``name=value`` pairs, comma-separated, of the rule's own labels; all must hold.
    :returns: ``total``, ``shown``, ``rules`` (see ``summary``) and ``by_state``.
    :raises ExpectedError: for a filter that names what is not there.
    """
    for parameter, value, known in (("state", state, STATES), ("kind", kind, KINDS)):
        if value:
            one_of(parameter, value, known)
    labels = label_pairs(label)
    found = load(settings)
    check_exists("group", group, found)
    check_exists("name", name, found)
    wanted = {"state": state, "kind": kind, "group": group, "name": name}
    chosen = [
        rule
        for rule in found
        if all(not value or rule[field] == value for field, value in wanted.items())
        and all(rule["labels"].get(key) == value for key, value in labels)
    ]
    by_state = {one: sum(rule["state"] == one for rule in chosen) for one in STATES}
    shown = chosen[:limit]
    return {"total": len(chosen), "shown": len(shown), "by_state": by_state, "rules": shown}
