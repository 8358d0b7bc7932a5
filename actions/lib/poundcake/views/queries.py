"""Answers to "what happened?" from the rows. It only reads the datastore.

Each function returns a JSON value; lists have a ``table`` for terminals as their last key. An empty
answer is no error. What cannot exist (an unknown state, status or severity) is one, and so is a
single thing that is not there: the error names what comes close. Rows that cannot be read are left
out, and ``unreadable`` names their keys.
"""

import collections
import statistics
import time
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from poundcake.arguments import label_pairs, moment, one_of, unknown
from poundcake.clock import elapsed
from poundcake.core.alert import (
    ENDED_STATUSES,
    RESOLVED,
    STATES,
    SUCCEEDED,
    Row,
    attempts_of,
    current_hold,
    is_dismissed,
)
from poundcake.core.controls import unreadable_text
from poundcake.errors import ExpectedError, UnreadableRow
from poundcake.st2 import aside, controls, requests, rows
from poundcake.st2.client import StackStorm
from poundcake.views import terminal

Answer = Dict[str, Any]

UNREADABLE = "unreadable"
LONGEST_CONTENT = 1000

STATUSES = ENDED_STATUSES + (
    "requested",
    "scheduled",
    "delayed",
    "running",
    "pending",
    "pausing",
    "paused",
    "resuming",
    "canceling",
)
SEVERITIES = ("critical", "error", "warning", "info")  # may be asked for before any alert has it


def get_request(stackstorm: StackStorm, request_id: str) -> Answer:
    """Return a request with the present states of its alerts and its executions."""
    request = requests.status(stackstorm, request_id)
    if request is None:
        known = sorted(
            (row["request_id"] for row in rows.read_all(stackstorm, rows.REQUEST)), reverse=True
        )
        raise unknown("request_id", request_id, "requests", known)
    return dict(request, table=terminal.request(request))


def list_requests(stackstorm: StackStorm, limit: int, wide: bool = False) -> Answer:
    """Return the newest requests, newest first, each with the fields for a line of a list."""
    requests, unreadable = _rows(stackstorm, rows.REQUEST)
    requests.sort(key=lambda row: row["request_id"], reverse=True)
    names = ("request_id", "received_at", "completed_at", "source", "receiver", "counts")
    shown = [{name: row[name] for name in names} for row in requests[:limit]]
    answer = dict(unreadable, total=len(requests), shown=len(shown), requests=shown)
    return dict(answer, table=terminal.requests(shown, len(requests), wide))


def find_alert(
    stackstorm: StackStorm,
    fingerprint: str,
    alertname: str = "",
    host: str = "",
    prefer: str = "",
) -> Row:
    """Return the row of the one alert with this fingerprint, or with this name (and host).

    :param host: its host, instance or target; "" when the name alone is enough.
    :param prefer: a state; where several alerts have the name, those in it are meant.
    :raises ExpectedError: when there is none, or more than one.
    """
    if fingerprint:
        row: Optional[Row] = rows.read(stackstorm, rows.ALERT, fingerprint)
        if row is None:
            raise _unknown_alert(stackstorm, fingerprint)
        return row
    if not alertname:
        expected = "one of them; list_alerts shows both"
        raise ExpectedError("fingerprint, alertname", "both are empty", expected)
    alerts = rows.read_all(stackstorm, rows.ALERT)
    named = [row for row in alerts if row["alertname"] == alertname]
    if not named:
        known = sorted({row["alertname"] for row in alerts})
        raise unknown("alertname", alertname, "alerts", known)
    chosen = [row for row in named if not host or host in _places(row)]
    if not chosen:
        known = sorted({place for row in named for place in _places(row)})
        raise unknown("host", host, f"alerts {alertname} with a host", known)
    if len(chosen) > 1:
        chosen = [row for row in chosen if row["state"] != RESOLVED] or chosen
        chosen = [row for row in chosen if row["state"] == prefer] or chosen
    if len(chosen) > 1:
        each = [f"{row['fingerprint']} ({_place(row)})" for row in chosen[:10]]
        problem = f"{len(chosen)} alerts are named {alertname}"
        remedy = "Give a host, or one of the fingerprints: " + ", ".join(each)
        raise ExpectedError("alertname", problem + (f" on {host}" if host else ""), remedy=remedy)
    return chosen[0]


def _places(row: Row) -> List[str]:
    known = (row.get("target"), row.get("workload"), row["host"], row["instance"])
    return [str(place) for place in known if place]


def _place(row: Row) -> str:
    return next(iter(_places(row)), "no host")


def _unknown_alert(stackstorm: StackStorm, fingerprint: str) -> ExpectedError:
    alerts = rows.read_all(stackstorm, rows.ALERT)
    known = [f"{a['fingerprint']} ({a['alertname']} on {_place(a)})" for a in alerts]
    return unknown("fingerprint", fingerprint, "alerts", sorted(known))


def get_alert(
    stackstorm: StackStorm, fingerprint: str, alertname: str = "", host: str = ""
) -> Answer:
    """Return a whole alert: labels, state, history with durations, attempts."""
    row = find_alert(stackstorm, fingerprint, alertname, host)
    history: List[Dict[str, Any]] = [dict(entry) for entry in row["history"]]
    for entry, following in zip(history, [*history[1:], None]):
        entry["seconds"] = elapsed(entry["at"], following["at"]) if following else None
    hidden = ("rev", "episodes", "extra")
    shown = {name: value for name, value in row.items() if name not in hidden}
    names = ("state", "cause", "reason", "at", "until")
    hold: Optional[Mapping[str, Any]] = current_hold(row)
    return dict(
        shown,
        history=history,
        held=hold and {name: hold[name] for name in names},
        ineffective=_ineffective(row["attempts"]),
        table=terminal.history(history),
    )


def list_alerts(
    stackstorm: StackStorm,
    state: str,
    alertname: str,
    severity: str,
    label: str,
    limit: int,
    wide: bool = False,
    now: Optional[float] = None,
) -> Answer:
    """Return alerts, latest change first; dismissed ones only when a state is given.

    :param label: ``name=value`` pairs, comma-separated; all must match.
    """
    if state:
        one_of("state", state, STATES)
    wanted_labels = label_pairs(label)
    alerts, unreadable = _rows(stackstorm, rows.ALERT)
    _check_severity(severity, alerts)
    chosen = [
        row
        for row in alerts
        if (row["state"] == state if state else not is_dismissed(row))
        and (not alertname or row["alertname"] == alertname)
        and (not severity or row["severity"] == severity)
        and all(row["labels"].get(name) == value for name, value in wanted_labels)
    ]
    chosen.sort(key=lambda row: (row["state_since"] or "", row["fingerprint"]), reverse=True)
    shown = [_line(row) for row in chosen[:limit]]
    answer = dict(unreadable, total=len(chosen), shown=len(shown), alerts=shown)
    table = terminal.alerts(shown, len(chosen), wide, time.time() if now is None else now)
    return dict(answer, table=table)


def _line(row: Row) -> Answer:
    """Return the fields of an alert for a line of a list."""
    attempts = attempts_of(row, row["episode"])
    return {
        "fingerprint": row["fingerprint"],
        "state": row["state"],
        "since": row["state_since"],
        "alertname": row["alertname"],
        "severity": row["severity"],
        "host": row["host"],
        "instance": row["instance"],
        "occurrences": row["occurrences"],
        "attempts": len(attempts),
        "ineffective": _ineffective(attempts),
        "reason": row["reason"],
    }


def _check_severity(severity: str, items: Iterable[Mapping[str, Any]]) -> None:
    """Raise ExpectedError for a severity that nobody uses."""
    if severity:
        known = {row["severity"] for row in items if row.get("severity")}
        one_of("severity", severity, sorted(known.union(SEVERITIES)))


def list_executions(
    stackstorm: StackStorm,
    request_id: str,
    fingerprint: str,
    status: str,
    severity: str,
    since: str,
    until: str,
    limit: int,
    wide: bool = False,
    now: Optional[float] = None,
) -> Answer:
    """Return the executions that PoundCake tracked, newest first.

    :param since, until: they began in this time; each a duration such as 24h, or an RFC 3339 time.
    """
    now = time.time() if now is None else now
    if status:
        one_of("status", status, STATUSES)
    first = moment("since", since, now) if since else ""
    last = moment("until", until, now) if until else "~"  # later than any time
    readable, unreadable = _rows(stackstorm, rows.EXECUTION)
    executions = [_execution(row) for row in readable]
    _check_severity(severity, executions)
    wanted = {"request_id": request_id, "fingerprint": fingerprint, "status": status}
    wanted["severity"] = severity
    chosen = [
        row
        for row in executions
        if all(not value or row[name] == value for name, value in wanted.items())
        and first <= (row["started_at"] or "") <= last
    ]
    chosen.sort(key=lambda row: row["started_at"] or "", reverse=True)
    shown = chosen[:limit]
    answer = dict(unreadable, total=len(chosen), shown=len(shown), executions=shown)
    return dict(answer, table=terminal.executions(shown, len(chosen), wide))


def _execution(row: Mapping[str, Any]) -> Answer:
    """Return an execution's row with what rows of an earlier version lack."""
    defaults = {"severity": "", "instance": "", "result": row["error"] or row["status"]}
    return dict(defaults, **_without_rev(row))


def get_stats(stackstorm: StackStorm) -> Answer:
    """Return counts of alerts by state and severity, and the figures of each workflow.

    ``held``: by cause, how many alerts have an attempt that is held back. ``ineffective``: how many
    attempts succeeded while their alert kept firing. Durations are in seconds, over executions that
    have ended and have both times.
    """
    alerts, unreadable_alerts = _rows(stackstorm, rows.ALERT)
    executions, unreadable = _rows(stackstorm, rows.EXECUTION)
    keys = unreadable_alerts.get(UNREADABLE, []) + unreadable.get(UNREADABLE, [])
    by_action: Dict[str, List[Dict[str, Any]]] = {}
    for row in executions:
        by_action.setdefault(row["action_ref"], []).append(row)
    answer: Answer = {
        **({UNREADABLE: keys} if keys else {}),
        "alerts": len(alerts),
        "by_state": {state: _count(alerts, "state", state) for state in STATES},
        "by_severity": {
            severity or "none": _count(alerts, "severity", severity)
            for severity in sorted({row["severity"] for row in alerts})
        },
        "held": dict(collections.Counter(filter(None, (_held_by(row) for row in alerts)))),
        "ineffective": sum(_ineffective(row["attempts"]) for row in alerts),
        "workflows": [workflow(ref, by_action[ref]) for ref in sorted(by_action)],
    }
    return dict(answer, table=terminal.stats(answer))


def list_maintenance(stackstorm: StackStorm, now: Optional[float] = None) -> Answer:
    """Return all controls that are set: ``paused`` rows and ``maintenance`` rows.

    A maintenance row also has ``active`` and ``seconds_left``; it stays listed for a day after its
    end. A row that cannot be read is listed under ``paused``, with its ``key``.
    """
    now = time.time() if now is None else now
    current = controls.read(stackstorm)
    unreadable = [
        {"kind": "unreadable", "key": key, "alertname": "", "reason": unreadable_text(key, error)}
        for key, error in current.unreadable.items()
    ]
    windows = [
        dict(w.row, active=now < w.ends, seconds_left=round(max(0.0, w.ends - now), 3))
        for w in current.windows
    ]
    answer = {"paused": list(current.pauses.values()) + unreadable, "maintenance": windows}
    return dict(answer, table=terminal.maintenance(answer))


def list_set_aside(stackstorm: StackStorm) -> Answer:
    """Return what is set aside, oldest first, with its content in short, and the commands."""
    entries = [
        {
            "id": entry["id"],
            "key": entry["key"],
            "at": entry["at"],
            "reason": entry["reason"],
            "alertname": entry["alertname"],
            "fingerprint": entry["fingerprint"],
            "request_id": entry["request_id"],
            "content": (entry["content"] or "")[:LONGEST_CONTENT],
            "take_up_with": "st2 run poundcake.take_up_set_aside id=" + entry["id"],
            "drop_with": "st2 run poundcake.drop_set_aside id=" + entry["id"],
        }
        for entry in aside.entries(stackstorm)
    ]
    return {"total": len(entries), "set_aside": entries}


def _rows(stackstorm: StackStorm, prefix: str) -> Tuple[List[Any], Dict[str, List[str]]]:
    """Return the rows of a kind that can be read, and ``{UNREADABLE: keys}`` of the others."""
    errors: List[UnreadableRow] = []
    readable = rows.read_all(stackstorm, prefix, unreadable=errors.append)
    return readable, {UNREADABLE: sorted(error.key for error in errors)} if errors else {}


def _held_by(row: Row) -> Optional[str]:
    hold = current_hold(row)
    return hold["cause"] if hold else None


def _ineffective(attempts: Sequence[Mapping[str, Any]]) -> int:
    """Return how many attempts succeeded while their alert kept firing."""
    return sum(1 for attempt in attempts if attempt["ineffective_at"])


def workflow(ref: str, executions: Sequence[Mapping[str, Any]]) -> Answer:
    """Return the figures of a workflow, from ``status`` and ``elapsed`` of its executions."""
    ended = [row for row in executions if row["status"] in ENDED_STATUSES]
    good = [row for row in ended if row["status"] == SUCCEEDED]
    times = sorted(row["elapsed"] for row in ended if row["elapsed"] is not None)
    return {
        "action_ref": ref,
        "executions": len(executions),
        "succeeded": len(good),
        "failed": len(ended) - len(good),
        "running": len(executions) - len(ended),
        "success_rate": round(len(good) / float(len(ended)), 3) if ended else None,
        "mean_seconds": round(sum(times) / len(times), 3) if times else None,
        "median_seconds": round(statistics.median(times), 3) if times else None,
        "p95_seconds": times[-(-len(times) * 95 // 100) - 1] if times else None,
    }


def _count(alerts: Sequence[Mapping[str, Any]], name: str, value: str) -> int:
    return sum(1 for row in alerts if row[name] == value)


def _without_rev(row: Mapping[str, Any]) -> Answer:
    return {name: value for name, value in row.items() if name != "rev"}
