"""The read API of the older designs, so that their clients can be pointed here.

Paths, parameters and field names are those of the older designs. The values come from the sensor's
memory, like those of the status page. What differs:

``/alerts``, ``/alerts/stats``, ``/alerts/{fingerprint}``, ``/remediations``, ``/handlers``
    The first design's. ``status`` of an alert is its lifecycle state, of which there are more than
    the five of that design; as a filter, ``firing`` means every state but resolved. A remediation
    attempt is an execution of the present episode. ``action_name`` was the name of a step in a
    mapping and is now the name of the action without its pack. ``processed_by`` named the instance
    that had the alert; there is only one sensor, so it is null. ``/handlers`` lists the rules on
    ``poundcake.alert`` instead of Python classes, without their parameters, which may be private.
``/api/v1/executions/recent``, ``/api/v1/alerts/active``, ``/api/v1/st2/executions``
    The second design's. ``executions/recent`` lists requests, as it did then: the latest hundred,
    each with its first fifty alerts. ``st2_workflow`` was the rule that matched a request and is
    now the action that ran. The serial numbers ``id``, ``api_call_id`` and ``alert_id`` of its
    tables, and the ``headers`` and ``body`` of its requests, do not exist here.

Every list takes ``limit`` and ``offset``, and ``total`` says how many entries there are without
them. Executions are remembered with their alert; the action ``list_executions`` also knows those of
alerts that are gone. An invalid parameter is answered with 400, its name and the remedy.
"""

import re

from poundcake import arguments
from poundcake.core.alert import ENDED_STATUSES, RESOLVED, STATES, current_episode
from poundcake.errors import ExpectedError
from poundcake.st2 import triggers
from poundcake.views import overview

MOST = 10000
FIRING = "firing"

PENDING, RUNNING, SUCCESS, FAILED, SKIPPED = "pending", "running", "success", "failed", "skipped"
_STATUSES = {
    "requested": PENDING,
    "scheduled": PENDING,
    "delayed": PENDING,
    "succeeded": SUCCESS,
    "failed": FAILED,
    "timeout": FAILED,
    "abandoned": FAILED,
    "canceled": SKIPPED,
}
_HEADERS = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]


def pages(stackstorm, snapshot):
    """Return the pages for listener.Listener.

    :param stackstorm: st2.client.StackStorm, for the rules.
    :param snapshot: callable that returns a core.snapshot.Snapshot.
    """
    from_memory = (
        ("/alerts", list_alerts),
        ("/alerts/stats", alert_stats),
        ("/alerts/(.+)", get_alert),
        ("/remediations", list_remediations),
        ("/api/v1/executions/recent", recent_requests),
        ("/api/v1/alerts/active", active_alerts),
        ("/api/v1/st2/executions", st2_executions),
    )
    pages = [(re.compile(path), _page(answer, snapshot)) for path, answer in from_memory]
    return pages + [(re.compile("/handlers"), _page(list_handlers, lambda: stackstorm))]


def list_alerts(snapshot, query):
    """Return the tracked alerts, latest change first.

    :param query: ``status`` (a state, or FIRING), ``alertname``, ``instance``, ``severity``.
    """
    query = _Query(query, 100, "status", "alertname", "instance", "severity")
    status = query.one_of("status", STATES + (FIRING,))
    rows = [row for row in overview.newest_first(snapshot.alerts) if _has_status(row, status)]
    rows = query.matching(rows, alertname="alertname", instance="instance", severity="severity")
    return query.answer("alerts", rows, _summary)


def alert_stats(snapshot, query):
    """Return how many alerts there are in all, by state and by severity."""
    _Query(query, None)
    by_severity = {name: 0 for name in overview.severities(snapshot.alerts)}
    for row in snapshot.alerts:
        by_severity[row["severity"] or overview.NO_SEVERITY] += 1
    return {
        "total": len(snapshot.alerts),
        "by_status": overview.by_state(snapshot.alerts),
        "by_severity": by_severity,
    }


def get_alert(snapshot, query, fingerprint):
    """Return a whole alert; None when it is unknown."""
    _Query(query, None)
    for row in snapshot.alerts:
        if row["fingerprint"] == fingerprint:
            attempts = [_attempt(*item[1:]) for item in _ran(row)[::-1]]
            more = {"remediation_attempts": attempts, "processed_by": None}
            more.update({name: row[name] for name in ("labels", "annotations", "reason")})
            return {"alert": dict(_summary(row), **more)}
    return None


def list_remediations(snapshot, query):
    """Return the executions, newest first.

    :param query: ``active`` (true: only those that have not ended), ``alert_name``, ``status``.
    """
    query = _Query(query, 100, "active", "alert_name", "status")
    active = query.one_of("active", ("true", "false", "1", "0")) in ("true", "1")
    status = query.one_of("status", (PENDING, RUNNING, SUCCESS, FAILED, SKIPPED))
    remediations = [
        _remediation(*item)
        for item in overview.executions(snapshot.alerts)
        if not active or item[2]["status"] not in ENDED_STATUSES
    ]
    remediations = [item for item in remediations if not status or item["status"] == status]
    return query.answer("remediations", query.matching(remediations, alert_name="alert_name"))


def list_handlers(stackstorm, query):
    """Return the rules on ``poundcake.alert`` with their actions."""
    query = _Query(query, 100)
    handlers = [
        {
            "name": rule["ref"],
            "description": rule.get("description") or "",
            "enabled": rule["enabled"],
            "criteria": rule.get("criteria") or {},
            "action": rule["action"]["ref"],
        }
        for rule in stackstorm.list_resources("rules")
        if (rule.get("trigger") or {}).get("type")
        == triggers.ALERT  # the trigger of a rule may be gone
    ]
    return query.answer("handlers", sorted(handlers, key=lambda item: item["name"]))


def recent_requests(snapshot, query):
    """Return the latest requests, newest first, each with its alerts."""
    query = _Query(query, 20)
    rows = {row["fingerprint"]: row for row in snapshot.alerts}

    def described(request):
        return _request(request, rows)

    return query.answer("executions", snapshot.recent.requests(), described)


def active_alerts(snapshot, query):
    """Return the firing alerts.

    :param query: ``alert_name``, ``instance``, ``severity``.
    """
    query = _Query(query, MOST, "alert_name", "instance", "severity")
    rows = [row for row in overview.newest_first(snapshot.alerts) if _has_status(row, FIRING)]
    rows = query.matching(rows, alert_name="alertname", instance="instance", severity="severity")
    return query.answer("active_alerts", rows, _active, "count")


def st2_executions(snapshot, query):
    """Return the executions, newest first.

    :param query: ``request_id``, ``st2_workflow``, ``st2_rule``, ``status`` (StackStorm's).
    """
    query = _Query(query, 50, "request_id", "st2_workflow", "st2_rule", "status")
    executions = [_link(*item) for item in overview.executions(snapshot.alerts)]
    names = ("request_id", "st2_workflow", "st2_rule", "status")
    executions = query.matching(executions, **{name: name for name in names})
    return query.answer("st2_executions", executions, count="count")


class _Query:
    """The checked parameters of a request.

    :param default: the default limit; None when the answer is not a list.
    :param names: the filters.
    :raises ExpectedError: for an invalid parameter.
    """

    def __init__(self, given, default, *names):
        known = names + (("limit", "offset") if default else ())
        for name in given:
            if name not in known:
                expected = "one of " + ", ".join(known) if known else "no parameters"
                raise ExpectedError("parameter", f'unknown parameter "{name[:100]}"', expected)
        self._given = given
        self._limit = self._number("limit", default or 1, 1, MOST)
        self._offset = self._number("offset", 0, 0, 10**9)

    def one_of(self, name, values):
        """Return the value of a filter, which must be one of some; "" when it is not given."""
        value = self._given.get(name, "")
        if value:
            arguments.one_of(name, value, values)
        return value

    def matching(self, items, **fields):
        """Return the items whose fields equal the filters, given as filter=field."""
        wanted = [(field, self._given[n]) for n, field in fields.items() if self._given.get(n)]
        return [item for item in items if all(item[field] == value for field, value in wanted)]

    def answer(self, name, items, describe=lambda item: item, count=None):
        """Return a page of the items under a name, and how many there are in total."""
        shown = [describe(item) for item in items[self._offset : self._offset + self._limit]]
        page = {name: shown, "total": len(items), "limit": self._limit, "offset": self._offset}
        return dict(page, **{count: len(shown)} if count else {})

    def _number(self, name, default, least, most):
        value = self._given.get(name)
        if value is None:
            return default
        if not re.match(r"[0-9]{1,9}\Z", value) or not least <= int(value) <= most:
            expected = f"a number from {least} to {most}"
            raise ExpectedError(name, f'"{value[:100]}" given', expected)
        return int(value)


def _page(answer, source):
    def page(match, query):
        # WSGI passes the bytes of a path as Latin-1.
        parts = [part.encode("latin-1").decode("utf-8", "replace") for part in match.groups()]
        try:
            body = answer(source(), query, *parts)
        except ExpectedError as error:
            return 400, {"error": str(error)}, _HEADERS
        if body is None:
            problem = f'unknown fingerprint "{parts[0]}"'
            error = ExpectedError("fingerprint", problem, remedy="GET /alerts lists the known ones")
            return 404, {"error": str(error)}, _HEADERS
        return 200, body, _HEADERS

    return page


def _has_status(row, status):
    if status == FIRING:
        return row["state"] != RESOLVED
    return not status or row["state"] == status


def _ran(row):
    """Return the executions of the present episode of an alert, newest first."""
    return [i for i in overview.executions([row]) if i[1]["episode"] == row["episode"]]


def _summary(row):
    statuses = [_status(execution) for _, _, execution in _ran(row)]
    errors = [execution["error"] for _, _, execution in _ran(row) if execution["error"]]
    episode = current_episode(row)
    return {
        "fingerprint": row["fingerprint"],
        "alertname": row["alertname"],
        "instance": row["instance"] or None,
        "severity": row["severity"] or None,
        "status": row["state"],
        "received_at": episode["received_at"],
        "status_changed_at": row["state_since"],
        "resolved_at": episode["resolved_at"],
        "total_attempts": len(statuses),
        "successful_attempts": statuses.count(SUCCESS),
        "failed_attempts": statuses.count(FAILED),
        "last_error": errors[0] if errors else None,
    }


def _attempt(attempt, execution):
    return {
        "action_name": _bare(execution["action_ref"]),
        "stackstorm_action": execution["action_ref"],
        "status": _status(execution),
        "started_at": execution["started_at"],
        "completed_at": execution["ended_at"],
        "execution_id": execution["execution_id"],
        "error": execution["error"] or None,
    }


def _remediation(row, attempt, execution):
    remediation = dict(_attempt(attempt, execution), alert_name=row["alertname"])
    del remediation["stackstorm_action"]
    return remediation


def _request(request, rows):
    alerts, count = [], 0
    for fingerprint, alertname in request["named"]:
        row = rows.get(fingerprint)
        ran = overview.executions([row]) if row else []
        ran = [item for item in ran if item[1]["request_id"] == request["request_id"]]
        count += len(ran)
        alerts.append(
            {
                "name": alertname,
                "severity": row["severity"] if row else None,
                "st2_workflow": ran[0][2]["action_ref"] if ran else None,
            }
        )
    return {
        "request_id": request["request_id"],
        "received_at": request["received_at"],
        "alert_count": request["counts"]["alerts"],
        "st2_execution_count": count,
        "alerts": alerts,
    }


def _active(row):
    ran = _ran(row)
    return {
        "fingerprint": row["fingerprint"],
        "alert_name": row["alertname"],
        "severity": row["severity"],
        "instance": row["instance"],
        "starts_at": row["starts_at"],
        "st2_workflow": ran[0][2]["action_ref"] if ran else None,
    }


def _link(row, attempt, execution):
    return {
        "request_id": attempt["request_id"],
        "st2_execution_id": execution["execution_id"],
        "st2_workflow": execution["action_ref"],
        "st2_rule": execution["rule_ref"],
        "status": execution["status"],
        "triggered_at": execution["started_at"],
        "completed_at": execution["ended_at"],
        "alert": {
            "name": row["alertname"],
            "severity": row["severity"],
            "instance": row["instance"],
        },
    }


def _status(execution):
    return _STATUSES.get(execution["status"], RUNNING)


def _bare(action_ref):
    return action_ref.split(".", 1)[-1]
