"""Does the expression of an alert still hold? Asked of Prometheus over its HTTP API.

https://prometheus.io/docs/prometheus/latest/querying/api/
"""

import time
import urllib.parse

from poundcake.errors import ExpectedError
from poundcake.inert import inert_text, original
from poundcake.upstream import client

POLL_SECONDS = 5


def holds(settings, alert, wait_seconds, now=time.monotonic, sleep=time.sleep):
    """Ask until the expression of an alert no longer holds for it, or the time is up.

    :param alert: ``generator_url`` and ``labels``, as a trigger has them (inert or not).
    :param wait_seconds: how long to go on asking; Prometheus must scrape first what has changed.
    :returns: ``holds``: True, False, or None when Prometheus cannot be asked; ``expression``; and
        ``detail``, a sentence about it.
    """
    expression = expression_of(alert.get("generator_url") or "")
    if not settings.prometheus.url:
        return _answer(None, expression, "prometheus_url is not set")
    if not expression:
        return _answer(None, expression, "the alert has no generator_url with an expression")
    labels = alert.get("labels") or {}
    end = now() + wait_seconds
    own = None
    while True:
        try:
            own = _own_labels(settings, labels.get("alertname")) if own is None else own
            if not _is_still(settings, expression, labels, own):
                return _answer(False, expression, "the expression no longer holds")
            still, detail = True, "the expression still holds"
        except ExpectedError as error:
            still, detail = None, str(error)
        if now() + POLL_SECONDS > end:
            return _answer(still, expression, detail)
        sleep(POLL_SECONDS)


def expression_of(generator_url):
    """Return the expression in an alert's generatorURL (``g0.expr``), "" when there is none."""
    query = urllib.parse.urlsplit(generator_url).query
    text = (urllib.parse.parse_qs(query).get("g0.expr") or [""])[0]
    return original(text)


def _is_still(settings, expression, labels, own):
    answer = client.call(
        settings, "prometheus", "POST", "/api/v1/query", data={"query": expression}
    )
    data = answer.get("data") or {}
    if data.get("resultType") != "vector":
        return bool(data.get("result"))
    return any(_is_of(item["metric"], labels, own) for item in data["result"])


def _own_labels(settings, alertname):
    """Return the labels that the alert's rule sets itself: they may replace a series' own."""
    asked = {"type": "alert", "rule_name[]": alertname}  # an older Prometheus gives all rules
    answer = client.call(settings, "prometheus", "GET", "/api/v1/rules", params=asked)
    groups = (answer.get("data") or {}).get("groups") or []
    rules = [rule for group in groups for rule in group["rules"] if rule["name"] == alertname]
    return {name for rule in rules for name in rule.get("labels") or {}}


def _is_of(series, labels, own):
    """True when a series may be the alert's: no label of it says otherwise."""
    return all(
        labels.get(name) in (value, inert_text(value))
        for name, value in series.items()
        if name != "__name__" and name not in own
    )


def _answer(holds, expression, detail):
    return {"holds": holds, "expression": expression, "detail": detail}
