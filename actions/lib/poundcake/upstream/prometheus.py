"""Asks Prometheus whether the expression of an alert still holds.

https://prometheus.io/docs/prometheus/latest/querying/api/
"""

import time
import urllib.parse
from typing import Any, Callable, Dict, Mapping, Optional, Set

from poundcake.errors import ExpectedError
from poundcake.inert import inert_text, original
from poundcake.settings import Settings
from poundcake.upstream import client

POLL_SECONDS = 5


def holds(
    settings: Settings,
    alert: Mapping[str, Any],
    wait_seconds: float,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Dict[str, Any]:
    """Ask until the expression no longer holds for the alert, or until the time is up.

    :param alert: ``generator_url`` and ``labels``, as in a trigger (inert or not).
    :param wait_seconds: how long to keep asking; Prometheus has to scrape the change first.
    :returns: ``holds``: True, False, or None when Prometheus cannot tell; ``expression``; and
        ``detail``, a sentence about it.
    """
    expression = expression_of(alert.get("generator_url") or "")
    if not settings.prometheus.url:
        return _answer(None, expression, "prometheus_url is not set")
    if not expression:
        return _answer(None, expression, "the alert has no generator_url with an expression")
    labels = alert.get("labels") or {}
    start = now()
    end = start + wait_seconds
    answer: Optional[bool]
    own: Optional[Set[str]] = None
    while True:
        try:
            own = _own_labels(settings, labels.get("alertname")) if own is None else own
            if not _still_holds(settings, expression, labels, own):
                detail = f"the alert's expression no longer holds after {now() - start:.0f} s"
                return _answer(False, expression, detail)
            answer = True
            detail = f"the alert's expression still holds after {now() - start:.0f} s"
        except ExpectedError as error:
            answer, detail = None, str(error)
        if now() + POLL_SECONDS > end:
            return _answer(answer, expression, detail)
        sleep(POLL_SECONDS)


def expression_of(generator_url: str) -> str:
    """Return the expression in an alert's generatorURL (``g0.expr``), "" when there is none."""
    query = urllib.parse.urlsplit(generator_url).query
    return original((urllib.parse.parse_qs(query).get("g0.expr") or [""])[0])


def _still_holds(
    settings: Settings, expression: str, labels: Mapping[str, str], own: Set[str]
) -> bool:
    answer = client.call(
        settings, "prometheus", "POST", "/api/v1/query", data={"query": expression}
    )
    data = answer.get("data") or {}
    if data.get("resultType") != "vector":
        return bool(data.get("result"))
    return any(_may_be_of(item["metric"], labels, own) for item in data["result"])


def _own_labels(settings: Settings, alertname: Optional[str]) -> Set[str]:
    """Return the labels that the alert's rule sets itself: they may replace labels of a series."""
    params = {"type": "alert", "rule_name[]": alertname}  # an older Prometheus returns all rules
    answer = client.call(settings, "prometheus", "GET", "/api/v1/rules", params=params)
    groups = (answer.get("data") or {}).get("groups") or []
    rules = [rule for group in groups for rule in group["rules"] if rule["name"] == alertname]
    return {name for rule in rules for name in rule.get("labels") or {}}


def _may_be_of(series: Mapping[str, str], labels: Mapping[str, str], own: Set[str]) -> bool:
    """Return whether a series may be that of the alert: no label contradicts it."""
    return all(
        labels.get(name) in (value, inert_text(value))
        for name, value in series.items()
        if name != "__name__" and name not in own
    )


def _answer(holds: Optional[bool], expression: str, detail: str) -> Dict[str, Any]:
    return {"holds": holds, "expression": expression, "detail": detail}
