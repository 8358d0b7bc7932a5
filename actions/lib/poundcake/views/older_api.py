"""The older designs' read API, so that a client of theirs can be pointed here.

Paths, parameters and field names are theirs; the values come from the sensor's memory, as those of
the status page do. What they had, and what it is here:

``/alerts``, ``/alerts/stats``, ``/alerts/{fingerprint}``, ``/remediations``, ``/handlers``
    The first design's. ``status`` of an alert is its lifecycle state, of which there are more than
    their five; as a filter, ``firing`` is every state but resolved. A remediation attempt is an
    execution of the present episode. ``action_name`` was the name of a step in a mapping and is
    the name of the action without its pack. ``processed_by`` named the one of several instances
    that had the alert; there is one sensor, so it is null. ``/handlers`` lists the rules on
    ``poundcake.alert`` in place of Python classes; their parameters are left out, as they may hold
    what is nobody's business.
``/api/v1/executions/recent``, ``/api/v1/alerts/active``, ``/api/v1/st2/executions``
    The second design's. ``executions/recent`` lists requests, as it did: the latest hundred, of
    each the first fifty alerts. ``st2_workflow`` was the rule that a request had matched, and is
    the action that ran. The serial numbers ``id``, ``api_call_id`` and ``alert_id`` of its tables,
    and the ``headers`` and ``body`` of its requests, have no counterpart and are not there.

Every list takes ``limit`` and ``offset``, and says in ``total`` how many there are without them.
Executions are remembered with their alert: the action ``list_executions`` knows those of alerts
that are gone. A parameter that cannot be used is answered 400 with its name and the remedy.
"""

import re

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

    :param stackstorm: stackstorm.StackStorm, which has the rules.
    :param snapshot: callable that gives an core.snapshot.Snapshot.
    """
    of_memory = (
        ("/alerts", list_alerts),
        ("/alerts/stats", alert_stats),
        ("/alerts/(.+)", get_alert),
        ("/remediations", list_remediations),
        ("/api/v1/executions/recent", recent_requests),
        ("/api/v1/alerts/active", active_alerts),
        ("/api/v1/st2/executions", st2_executions),
    )
    found = [(re.compile(path), _page(answer, snapshot)) for path, answer in of_memory]
    return found + [(re.compile("/handlers"), _page(list_handlers, lambda: stackstorm))]


def list_alerts(snapshot, query):
    """Return the tracked alerts, latest change first.

    :param query: ``status`` (a state, or FIRING), ``alertname``, ``instance``, ``severity``.
    """
    query = _Query(query, 100, "status", "alertname", "instance", "severity")
    status = query.one_of("status", STATES + (FIRING,))
    found = [row for row in overview.newest_first(snapshot.alerts) if _has_status(row, status)]
    found = query.matching(found, alertname="alertname", instance="instance", severity="severity")
    return query.answer("alerts", found, _summary)


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
    """Return one alert whole; None when it is not known."""
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

    :param query: ``active`` (true: those that have not ended), ``alert_name``, ``status`` (a value
        of that field).
    """
    query = _Query(query, 100, "active", "alert_name", "status")
    active = query.one_of("active", ("true", "false", "1", "0")) in ("true", "1")
    status = query.one_of("status", (PENDING, RUNNING, SUCCESS, FAILED, SKIPPED))
    found = [
        _remediation(*item)
        for item in overview.executions(snapshot.alerts)
        if not active or item[2]["status"] not in ENDED_STATUSES
    ]
    found = [item for item in found if not status or item["status"] == status]
    return query.answer("remediations", query.matching(found, alert_name="alert_name"))


def list_handlers(stackstorm, query):
    """Return the rules on ``poundcake.alert`` with their actions."""
    query = _Query(query, 100)
    found = [
        {
            "name": rule["ref"],
            "description": rule.get("description") or "",
            "enabled": rule["enabled"],
            "criteria": rule.get("criteria") or {},
            "action": rule["action"]["ref"],
        }
        for rule in stackstorm.list_resources("rules")
        if (rule.get("trigger") or {}).get("type") == triggers.ALERT  # a trigger may be gone
    ]
    return query.answer("handlers", sorted(found, key=lambda item: item["name"]))


def recent_requests(snapshot, query):
    """Return the latest requests, newest first, each with its alerts."""
    query = _Query(query, 20)
    rows = {row["fingerprint"]: row for row in snapshot.alerts}

    def described(request):
        return _request(request, rows)

    return query.answer("executions", snapshot.recent.requests(), described)


def active_alerts(snapshot, query):
    """Return the alerts that fire.

    :param query: ``alert_name``, ``instance``, ``severity``.
    """
    query = _Query(query, MOST, "alert_name", "instance", "severity")
    found = [row for row in overview.newest_first(snapshot.alerts) if _has_status(row, FIRING)]
    found = query.matching(found, alert_name="alertname", instance="instance", severity="severity")
    return query.answer("active_alerts", found, _active, "count")


def st2_executions(snapshot, query):
    """Return the executions, newest first.

    :param query: ``request_id``, ``st2_workflow``, ``st2_rule``, ``status`` (StackStorm's).
    """
    query = _Query(query, 50, "request_id", "st2_workflow", "st2_rule", "status")
    found = [_link(*item) for item in overview.executions(snapshot.alerts)]
    names = ("request_id", "st2_workflow", "st2_rule", "status")
    found = query.matching(found, **{name: name for name in names})
    return query.answer("st2_executions", found, count="count")


class _Query:
    """The parameters of a request, checked.

    :param default: the limit when none is given; None for what is no list.
    :param names: the filters there are.
    :raises ExpectedError: for a parameter that cannot be used.
    """

    def __init__(self, given, default, *names):
        known = names + (("limit", "offset") if default else ())
        for name in given:
            if name not in known:
                there = "there are " + ", ".join(known) if known else "there is none here"
                raise ExpectedError('parameter: "%s" is not known; %s' % (name[:100], there))
        self._given = given
        self._limit = self._number("limit", default or 1, 1, MOST)
        self._offset = self._number("offset", 0, 0, 10**9)

    def one_of(self, name, values):
        """Return a filter's value, "" when it is not given; it must be one of some."""
        value = self._given.get(name, "")
        if value and value not in values:
            raise ExpectedError('%s: "%s" is none; there are %s' % (name, value, ", ".join(values)))
        return value

    def matching(self, items, **fields):
        """Return the items whose fields equal the filters, given as filter=field."""
        wanted = [(field, self._given[n]) for n, field in fields.items() if self._given.get(n)]
        return [item for item in items if all(item[field] == value for field, value in wanted)]

    def answer(self, name, items, describe=lambda item: item, count=None):
        """Return a page of the items under their name, and how many there are in all."""
        shown = [describe(item) for item in items[self._offset : self._offset + self._limit]]
        found = {name: shown, "total": len(items), "limit": self._limit, "offset": self._offset}
        return dict(found, **{count: len(shown)} if count else {})

    def _number(self, name, default, least, most):
        text = self._given.get(name)
        if text is None:
            return default
        if not re.match(r"[0-9]{1,9}\Z", text) or not least <= int(text) <= most:
            wrong = '%s: "%s" is none; write a number from %d to %d'
            raise ExpectedError(wrong % (name, text[:100], least, most))
        return int(text)


def _page(answer, source):
    def page(match, query):
        # WSGI gives a path's bytes as Latin-1.
        parts = [part.encode("latin-1").decode("utf-8", "replace") for part in match.groups()]
        try:
            found = answer(source(), query, *parts)
        except ExpectedError as error:
            return 400, {"error": str(error)}, _HEADERS
        if found is None:
            text = 'fingerprint: "%s" is not known; GET /alerts lists those that are' % parts[0]
            return 404, {"error": text}, _HEADERS
        return 200, found, _HEADERS

    return page


def _has_status(row, status):
    if status == FIRING:
        return row["state"] != RESOLVED
    return not status or row["state"] == status


def _ran(row):
    """Return what ran in the present episode of an alert, newest first."""
    return [i for i in overview.executions([row]) if i[1]["starts_at"] == row["starts_at"]]


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
    found = dict(_attempt(attempt, execution), alert_name=row["alertname"])
    del found["stackstorm_action"]
    return found


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
