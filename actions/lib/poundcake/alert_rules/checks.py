"""Never a broken rule: groups of rules are checked before they are written anywhere.

What has the wrong form is found in ``rule_forms``. The rest says ``promtool check rules`` where it
is installed; where it is not, ``rule_forms`` looks at names and templates, and Prometheus is asked
to parse the expressions.
https://prometheus.io/docs/prometheus/latest/querying/api/#formatting-query-expressions
"""

import json
import os
import re
import subprocess
import tempfile

from poundcake.alert_rules.syntax import THANOS, error_of, form_errors, name_of, text_errors
from poundcake.errors import ExpectedError
from poundcake.upstream import client

PROMTOOL, PROMETHEUS = "promtool", "prometheus"
TIMEOUT_SECONDS = 60
_FOUND = re.compile(
    r"(?:\d+:\d+: )?group (\"(?:[^\"\\]|\\.)*\"), rule (\d+), \"(?:[^\"\\]|\\.)*\": (.*)"
)


class BrokenRules(ExpectedError):
    """Rules that Prometheus would refuse; ``details`` has them all under ``errors``."""

    def __init__(self, errors):
        shown = "; ".join("%(group)s/%(rule)s: %(reason)s" % error for error in errors[:5])
        more = " (and %d more)" % (len(errors) - 5) if len(errors) > 5 else ""
        super().__init__("rules: nothing was written, for a rule is broken: %s%s" % (shown, more))
        self.details = {"errors": errors}


def check(settings, groups):
    """Return who found no fault with groups of rules: PROMTOOL or PROMETHEUS.

    :param groups: of one file or PrometheusRule.
    :raises BrokenRules: whose errors each have group, rule and reason.
    :raises ExpectedError: when nobody is there to check expressions, or fails to.
    """
    errors = form_errors(groups)
    if errors:
        raise BrokenRules(errors)
    errors = _promtool_errors(settings.promtool_path, groups)
    checked_by = PROMTOOL
    if errors is None:
        if not settings.prometheus.url:
            text = "promtool_path: there is no %s, so no expression can be checked; install "
            text += "promtool, or set prometheus_url, in the config of poundcake"
            raise ExpectedError(text % settings.promtool_path)
        errors = text_errors(groups) or _expression_errors(settings, groups)
        checked_by = PROMETHEUS
    if errors:
        raise BrokenRules(errors)
    return checked_by


def _promtool_errors(promtool, groups):
    """Return what promtool finds, None when it is not there."""
    with tempfile.TemporaryDirectory(prefix="poundcake-") as folder:
        path = os.path.join(folder, "rules.yaml")
        with open(path, "w", encoding="utf-8") as handle:
            # YAML holds JSON, but for the surrogates of its escapes.
            json.dump({"groups": _without_thanos(groups)}, handle, ensure_ascii=False)
        try:
            done = subprocess.run(
                [promtool, "check", "rules", path],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT_SECONDS,
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise ExpectedError("promtool_path: %s cannot be run: %s" % (promtool, error))
    if done.returncode == 0:
        return []
    # A reason may have several lines; the file's name begins an error.
    told = done.stderr.decode("utf-8", "replace").split(path + ": ")[1:]
    return [_told(" ".join(one.split()), groups) for one in told] or [
        error_of("", "", "promtool ended with status %d and no word" % done.returncode)
    ]


def _told(line, groups):
    """Return the error that a line of promtool tells: group "g", rule 1, "A": reason."""
    match = _FOUND.match(line)
    if not match:
        return error_of("", "", line)
    group, number, reason = match.groups()
    name = next((item["name"] for item in groups if _quoted(item["name"]) == group), group)
    rules = next((item.get("rules") or [] for item in groups if item["name"] == name), [])
    at = int(number) - 1
    return error_of(name, name_of(rules[at], number) if at < len(rules) else number, reason)


def _expression_errors(settings, groups):
    errors = []
    for group in groups:
        for number, rule in enumerate(group.get("rules") or [], 1):
            reason = _parse_error(settings, str(rule["expr"]))
            if reason:
                errors.append(error_of(group["name"], name_of(rule, number), reason))
    return errors


def _parse_error(settings, expression):
    """Return what Prometheus says against an expression, None when it can parse it."""
    asked = {"query": expression}
    try:
        found = client.call(
            settings, "prometheus", "POST", "/api/v1/format_query", missing_ok=True, data=asked
        )
        if found is None:  # before 2.34; at a time without any series a query costs nothing
            asked["time"] = "1"
            client.call(settings, "prometheus", "POST", "/api/v1/query", data=asked)
    except client.Refused as error:
        if error.status != 400:
            raise
        return error.reason
    return None


def _without_thanos(groups):
    return [{key: item for key, item in group.items() if key != THANOS} for group in groups]


def _quoted(text):
    return json.dumps(text, ensure_ascii=False)
