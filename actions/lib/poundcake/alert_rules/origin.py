"""Finds the rule that made an alert, from its generatorURL and the rules of Prometheus."""

import urllib.parse
from typing import Any, Dict, List, Mapping, Tuple

from poundcake.errors import ExpectedError
from poundcake.inert import inert_text
from poundcake.settings import Settings
from poundcake.st2.client import StackStorm
from poundcake.upstream import prometheus
from poundcake.upstream import rules as prometheus_rules
from poundcake.views import queries

EXACT = "the rule has the alert's expression and labels"
EDITED = "the rule has the alert's labels, but its expression has changed"
UNCOMPARED = "the rule has the alert's labels; the expression is not in the alert's generator_url"
NAME_ALONE = "the rule has the alert's name, but a label has changed"


def show(
    settings: Settings,
    stackstorm: StackStorm,
    fingerprint: str,
    generator_url: str,
    labels: Mapping[str, str],
) -> Dict[str, Any]:
    """Return the rule that made an alert.

    :param fingerprint: of an alert that PoundCake knows; otherwise give the next two.
    :param generator_url, labels: of any alert, inert or not; labels has ``alertname``.
    :returns: ``alertname``; ``expression`` and ``prometheus``, from the generatorURL; ``match``,
        how sure the answer is; and ``rules`` (see ``upstream.rules.summary``): more than one when
        they cannot be told apart.
    :raises ExpectedError: for an unknown alert, or when Prometheus has no rule of its name.
    """
    if bool(fingerprint) == bool(labels):
        raise ExpectedError(
            "fingerprint, labels",
            "both are given" if fingerprint else "both are empty",
            "the fingerprint of an alert that PoundCake knows, or the labels and the generator_url "
            "of another",
        )
    if fingerprint:
        alert = queries.get_alert(stackstorm, fingerprint)
        generator_url, labels = alert["generator_url"], alert["labels"]
    name = labels.get("alertname")
    if not name:
        raise ExpectedError("labels", "alertname, which is the rule's name, is missing")
    expression = prometheus.expression_of(generator_url)
    query = {"type": "alert", "rule_name[]": name}
    same_name = [
        rule
        for rule in prometheus_rules.load(settings, **query)
        if rule["kind"] == prometheus_rules.ALERTING and _same(name, rule["name"])
    ]
    match, rules = _best_matches(same_name, expression, labels)
    if not rules:
        problem = f'Prometheus no longer has a rule "{name}"'
        raise ExpectedError("alertname", problem + (f" ({expression})" if expression else ""))
    server = urllib.parse.urlsplit(generator_url)
    return {
        "alertname": name,
        "expression": expression,
        "prometheus": f"{server.scheme}://{server.netloc}" if server.netloc else "",
        "match": match,
        "rules": rules,
    }


def _best_matches(
    rules: List[Dict[str, Any]], expression: str, labels: Mapping[str, str]
) -> Tuple[str, List[Dict[str, Any]]]:
    """Return how well rules with an alert's name match it, and the ones that match best."""
    same_labels = [rule for rule in rules if _has_labels_of(rule, labels)]
    exact = [rule for rule in same_labels if _same(expression, rule["expression"])]
    for match, matching in ((EXACT, exact), (EDITED if expression else UNCOMPARED, same_labels)):
        if matching:
            return match, matching
    return NAME_ALONE, rules


def _has_labels_of(rule: Dict[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether an alert has the labels that a rule sets; a template matches any value."""
    return all(
        _same(labels.get(name, ""), value)
        for name, value in rule["labels"].items()
        if "{{" not in value and name != "alertname"
    )


def _same(given: str, original: str) -> bool:
    return given in (original, inert_text(original))
