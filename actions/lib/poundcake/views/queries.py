"""Answers to "what happened?" from the rows. It only reads the datastore.

Each function returns a JSON value. An ExpectedError about an unknown value lists the known ones.
"""

import collections
import statistics
import time

from poundcake import tables
from poundcake.arguments import check_exists, label_pairs, one_of, unknown
from poundcake.clock import elapsed
from poundcake.core.alert import (
    ENDED_STATUSES,
    STATES,
    SUCCEEDED,
    attempts_of,
    current_hold,
    is_dismissed,
)
from poundcake.core.controls import unreadable_text
from poundcake.st2 import controls, requests, rows


def get_request(stackstorm, request_id):
    """Return a request with the present states of its alerts and its executions."""
    request = requests.status(stackstorm, request_id)
    if request is None:
        known = sorted(
            (row["request_id"] for row in rows.read_all(stackstorm, rows.REQUEST)), reverse=True
        )
        raise unknown("request_id", request_id, "requests", known)
    return request


def list_requests(stackstorm, limit):
    """Return the newest requests, newest first, each with the fields for a line of a list."""
    requests = rows.read_all(stackstorm, rows.REQUEST)
    requests.sort(key=lambda row: row["request_id"], reverse=True)
    names = ("request_id", "received_at", "completed_at", "source", "receiver", "counts")
    shown = [{name: row[name] for name in names} for row in requests[:limit]]
    return {"total": len(requests), "shown": len(shown), "requests": shown}


def get_alert(stackstorm, fingerprint):
    """Return a whole alert: labels, state, history with durations, attempts."""
    row = rows.read(stackstorm, rows.ALERT, fingerprint)
    if row is None:
        known = sorted(row["fingerprint"] for row in rows.read_all(stackstorm, rows.ALERT))
        raise unknown("fingerprint", fingerprint, "alerts", known)
    history = row["history"]
    for entry, following in zip(history, history[1:] + [None]):
        entry["seconds"] = elapsed(entry["at"], following["at"]) if following else None
    names = ("episodes", "extra")
    shown = {name: value for name, value in _without_rev(row).items() if name not in names}
    hold = current_hold(row)
    return dict(
        shown,
        held=hold and {name: hold[name] for name in ("state", "cause", "reason", "at", "until")},
        ineffective=_ineffective(row["attempts"]),
        table=_table(history),
    )


def list_alerts(stackstorm, state, alertname, severity, label, limit):
    """Return alerts, latest change first; dismissed ones only when a state is given.

    :param label: ``name=value`` pairs, comma-separated; all must match.
    """
    if state:
        one_of("state", state, STATES)
    wanted_labels = label_pairs(label)
    alerts = rows.read_all(stackstorm, rows.ALERT)
    check_exists("alertname", alertname, alerts)
    check_exists("severity", severity, alerts)
    chosen = [
        row
        for row in alerts
        if (row["state"] == state if state else not is_dismissed(row))
        and (not alertname or row["alertname"] == alertname)
        and (not severity or row["severity"] == severity)
        and all(row["labels"].get(name) == value for name, value in wanted_labels)
    ]
    chosen.sort(key=lambda row: (row["state_since"] or "", row["fingerprint"]), reverse=True)
    shown = [
        {
            "fingerprint": row["fingerprint"],
            "state": row["state"],
            "since": row["state_since"],
            "alertname": row["alertname"],
            "severity": row["severity"],
            "host": row["host"],
            "occurrences": row["occurrences"],
            "attempts": len(attempts_of(row, row["episode"])),
            "ineffective": _ineffective(attempts_of(row, row["episode"])),
            "reason": row["reason"],
        }
        for row in chosen[:limit]
    ]
    return {"total": len(chosen), "shown": len(shown), "alerts": shown}


def list_executions(stackstorm, request_id, fingerprint, status, limit):
    """Return the executions that PoundCake tracked, newest first."""
    executions = rows.read_all(stackstorm, rows.EXECUTION)
    for name, value in (
        ("request_id", request_id),
        ("fingerprint", fingerprint),
        ("status", status),
    ):
        check_exists(name, value, executions)
    wanted = {"request_id": request_id, "fingerprint": fingerprint, "status": status}
    chosen = [
        _without_rev(row)
        for row in executions
        if all(not value or row[name] == value for name, value in wanted.items())
    ]
    chosen.sort(key=lambda row: row["started_at"] or "", reverse=True)
    shown = chosen[:limit]
    return {"total": len(chosen), "shown": len(shown), "executions": shown}


def get_stats(stackstorm):
    """Return counts of alerts by state and severity, and the figures of each workflow.

    ``held``: by cause, how many alerts have an attempt that is held back. ``ineffective``: how many
    attempts succeeded while their alert kept firing. Durations are in seconds, over executions that
    have ended and have both times.
    """
    alerts = rows.read_all(stackstorm, rows.ALERT)
    by_action = {}
    for row in rows.read_all(stackstorm, rows.EXECUTION):
        by_action.setdefault(row["action_ref"], []).append(row)
    return {
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


def list_maintenance(stackstorm, now=None):
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
    return {"paused": list(current.pauses.values()) + unreadable, "maintenance": windows}


def _held_by(row):
    hold = current_hold(row)
    return hold and hold["cause"]


def _ineffective(attempts):
    """Return how many attempts succeeded while their alert kept firing."""
    return sum(1 for attempt in attempts if attempt["ineffective_at"])


def _table(history):
    """Return the history as text for a terminal: a line for each state, with its duration."""
    lines = [("at", "state", "seconds", "attempt", "reason")]
    for entry in history:
        seconds = "" if entry["seconds"] is None else f"{entry['seconds']:.1f}"
        attempt = str(entry["attempt"] or "")
        at = entry["at"][:19].replace("T", " ")
        lines.append((at, entry["state"], seconds, attempt, entry["reason"]))
    return tables.text(lines)


def workflow(ref, executions):
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


def _count(alerts, name, value):
    return sum(1 for row in alerts if row[name] == value)


def _without_rev(row):
    return {name: value for name, value in row.items() if name != "rev"}
