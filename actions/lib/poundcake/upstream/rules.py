"""The rules that Prometheus has loaded, from its API.

https://prometheus.io/docs/prometheus/latest/querying/api/#rules
"""

import os
import re
from typing import Any, Dict, List, Mapping, Optional

from poundcake.arguments import label_pairs, one_of
from poundcake.settings import Settings
from poundcake.upstream import client

FIRING, PENDING, INACTIVE = STATES = ("firing", "pending", "inactive")
ALERTING, RECORDING = KINDS = ("alerting", "recording")
_UID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def load(settings: Settings, **params: Any) -> List[Dict[str, Any]]:
    """Return Prometheus' rules, each as its ``summary``, in the order of its API.

    :param params: parameters of the API, such as ``type="alert"``. An older Prometheus does not
        know all of them, and returns more rules.
    :raises ExpectedError: when Prometheus cannot be asked.
    """
    answer = client.call(settings, "prometheus", "GET", "/api/v1/rules", params=params)
    groups = (answer.get("data") or {}).get("groups") or []
    return [summary(settings, group, rule) for group in groups for rule in group["rules"]]


def summary(
    settings: Settings, group: Mapping[str, Any], rule: Mapping[str, Any]
) -> Dict[str, Any]:
    """Return the main fields of a rule: group, name, kind, state, expression, for (seconds), ...

    ``state`` is None for a recording rule. ``resource`` is None when the rule's file was not made
    from a PrometheusRule in the config's namespace.
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


def resource_of(settings: Settings, file: str) -> Optional[str]:
    """Return the PrometheusRule that a rule file was made from, None when its name tells none.

    The Prometheus Operator names the file ``<namespace>-<name>-<uid>.yaml``.
    """
    pattern = r"%s-(.+)-%s\.yaml\Z" % (re.escape(settings.crd.namespace), _UID)
    match = re.match(pattern, os.path.basename(file))
    return match.group(1) if match else None


def list_rules(
    settings: Settings, state: str, kind: str, group: str, name: str, label: str, limit: int
) -> Dict[str, Any]:
    """Return the rules that match all filters; an empty filter matches every rule.

    :param state: firing, pending or inactive.
    :param kind: alerting or recording.
    :param label: ``name=value`` pairs, comma-separated, of the rule's own labels; all must match.
    :returns: ``total``, ``shown``, ``rules`` (see ``summary``) and ``by_state``.
    :raises ExpectedError: for an unknown state or kind.
    """
    for parameter, value, known in (("state", state, STATES), ("kind", kind, KINDS)):
        if value:
            one_of(parameter, value, known)
    labels = label_pairs(label)
    rules = load(settings)
    wanted = {"state": state, "kind": kind, "group": group, "name": name}
    chosen = [
        rule
        for rule in rules
        if all(not value or rule[field] == value for field, value in wanted.items())
        and all(rule["labels"].get(key) == value for key, value in labels)
    ]
    by_state = {one: sum(rule["state"] == one for rule in chosen) for one in STATES}
    shown = chosen[:limit]
    return {"total": len(chosen), "shown": len(shown), "by_state": by_state, "rules": shown}
