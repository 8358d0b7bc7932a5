"""Groups of rules are checked before they are written anywhere.

``syntax`` checks their form. ``promtool check rules`` does the rest where it is installed. Where it
is not, ``syntax`` checks names and templates, and Prometheus parses the expressions.
https://prometheus.io/docs/prometheus/latest/querying/api/#formatting-query-expressions
"""

import json
import os
import re
import subprocess
import tempfile
from typing import Any, Dict, List, Optional

from poundcake.alert_rules.errors import BrokenRules
from poundcake.alert_rules.syntax import THANOS, error_of, form_errors, name_of, text_errors
from poundcake.errors import ExpectedError
from poundcake.settings import Settings
from poundcake.upstream import client

PROMTOOL, PROMETHEUS = "promtool", "prometheus"
TIMEOUT_SECONDS = 60
_PROMTOOL_ERROR = re.compile(
    r"(?:\d+:\d+: )?group (\"(?:[^\"\\]|\\.)*\"), rule (\d+), \"(?:[^\"\\]|\\.)*\": (.*)"
)


def check(settings: Settings, groups: Any) -> str:
    """Check groups of rules and return what checked them: PROMTOOL or PROMETHEUS.

    :param groups: of one file or PrometheusRule.
    :raises BrokenRules: whose errors each have group, rule and reason.
    :raises ExpectedError: when nothing can check expressions, or checking fails.
    """
    malformed = form_errors(groups)
    if malformed:
        raise BrokenRules(malformed)
    errors = _promtool_errors(settings.promtool_path, groups)
    checked_by = PROMTOOL
    if errors is None:
        if not settings.prometheus.url:
            raise ExpectedError(
                "promtool_path",
                f"{settings.promtool_path} does not exist, so no expression can be checked",
                remedy="Install promtool, or set prometheus_url in the config of poundcake",
            )
        errors = text_errors(groups, lambda name: _is_name(settings, name))
        errors = errors or _expression_errors(settings, groups)
        checked_by = PROMETHEUS
    if errors:
        raise BrokenRules(errors)
    return checked_by


def _promtool_errors(promtool: str, groups: List[Dict[str, Any]]) -> Optional[List[Dict[str, str]]]:
    """Return the errors that promtool finds, None when it is not installed."""
    with tempfile.TemporaryDirectory(prefix="poundcake-") as folder:
        path = os.path.join(folder, "rules.yaml")
        with open(path, "w", encoding="utf-8") as handle:
            # JSON is YAML, except for escaped surrogates.
            json.dump({"groups": _without_thanos(groups)}, handle, ensure_ascii=False)
        try:
            process = subprocess.run(
                [promtool, "check", "rules", path],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT_SECONDS,
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise ExpectedError("promtool_path", f"{promtool} cannot be run: {error}")
    if process.returncode == 0:
        return []
    # A message may have several lines; each one starts with the file's name.
    messages = process.stderr.decode("utf-8", "replace").split(path + ": ")[1:]
    return [_parse_promtool(" ".join(message.split()), groups) for message in messages] or [
        error_of("", "", f"promtool ended with status {process.returncode} and no message")
    ]


def _parse_promtool(line, groups):
    """Return the error in a message of promtool such as: group "g", rule 1, "A": reason."""
    match = _PROMTOOL_ERROR.match(line)
    if not match:
        return error_of("", "", line)
    group, number, reason = match.groups()
    name = next((item["name"] for item in groups if _quoted(item["name"]) == group), group)
    rules = next((item.get("rules") or [] for item in groups if item["name"] == name), [])
    index = int(number) - 1
    return error_of(name, name_of(rules[index], number) if index < len(rules) else number, reason)


def _expression_errors(settings, groups):
    errors = []
    for group in groups:
        for number, rule in enumerate(group.get("rules") or [], 1):
            reason = _parse_error(settings, str(rule["expr"]))
            if reason:
                errors.append(error_of(group["name"], name_of(rule, number), reason))
    return errors


def _is_name(settings: Settings, name: str) -> bool:
    """Return whether Prometheus takes a name for a label or metric."""
    return bool(name) and _parse_error(settings, '{%s="x"}' % _quoted(name)) is None


def _parse_error(settings, expression):
    """Return why Prometheus cannot parse an expression, None when it can."""
    form = {"query": expression}
    try:
        answer = client.call(
            settings, "prometheus", "POST", "/api/v1/format_query", missing_ok=True, data=form
        )
        if answer is None:  # before 2.34; a query at a time without any series is cheap
            form["time"] = "1"
            client.call(settings, "prometheus", "POST", "/api/v1/query", data=form)
    except client.Refused as error:
        if error.status != 400:
            raise
        return error.reason
    return None


def _without_thanos(groups):
    return [{key: item for key, item in group.items() if key != THANOS} for group in groups]


def _quoted(text):
    return json.dumps(text, ensure_ascii=False)
