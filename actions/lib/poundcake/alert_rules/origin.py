"""Which rule made an alert? From its generatorURL and the rules that Prometheus has."""

import urllib.parse

from poundcake.errors import ExpectedError
from poundcake.inert import inert_text
from poundcake.upstream import prometheus
from poundcake.upstream import rules as prometheus_rules
from poundcake.views import queries

EXACT = "the expression and the labels are the alert's"
EDITED = "the labels are the alert's, and the expression is another now"
NAME_ALONE = "the name is the alert's, and a label is another now"


def show(settings, stackstorm, fingerprint, generator_url, labels):
    """Return the rule that made an alert.

    :param fingerprint: of an alert that PoundCake knows; or else
    :param generator_url, labels: of any alert, inert or not; labels has ``alertname``.
    :returns: ``alertname``, ``expression`` and ``prometheus``, as the generatorURL has them;
        ``match``, how sure it is; and ``rules`` (see ``prometheus_rules.summary``): more than one
        when nothing tells them apart.
    :raises ExpectedError: when no such alert is known, or no rule of its name is there any more.
    """
    if bool(fingerprint) == bool(labels):
        text = "fingerprint, labels: give one of them: the fingerprint of an alert that PoundCake "
        raise ExpectedError(text + "knows, or the labels and the generator_url of another")
    if fingerprint:
        alert = queries.get_alert(stackstorm, fingerprint)
        generator_url, labels = alert["generator_url"], alert["labels"]
    name = labels.get("alertname")
    if not name:
        raise ExpectedError("labels: there is no alertname, which is the rule's name")
    expression = prometheus.expression_of(generator_url)
    asked = {"type": "alert", "rule_name[]": name}
    found = [
        rule
        for rule in prometheus_rules.load(settings, **asked)
        if rule["kind"] == prometheus_rules.ALERTING and _same(name, rule["name"])
    ]
    match, rules = _chosen(found, expression, labels)
    if not rules:
        text = 'alertname: Prometheus has no rule "%s" any more'
        raise ExpectedError((text % name) + (" (%s)" % expression if expression else ""))
    place = urllib.parse.urlsplit(generator_url)
    return {
        "alertname": name,
        "expression": expression,
        "prometheus": "%s://%s" % (place.scheme, place.netloc) if place.netloc else "",
        "match": match,
        "rules": rules,
    }


def _chosen(found, expression, labels):
    """Return how well rules of an alert's name match it, and those that match best."""
    fitting = [rule for rule in found if _fits(rule, labels)]
    exact = [rule for rule in fitting if _same(expression, rule["expression"])]
    for match, rules in ((EXACT, exact), (EDITED, fitting)):
        if rules:
            return match, rules
    return NAME_ALONE, found


def _fits(rule, labels):
    """True when the labels that a rule sets are the alert's; templates may have become any text."""
    return all(
        _same(labels.get(name, ""), text)
        for name, text in rule["labels"].items()
        if "{{" not in text and name != "alertname"
    )


def _same(given, text):
    return given in (text, inert_text(text))
