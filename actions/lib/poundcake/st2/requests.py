"""What became of a request, read from the rows."""

from typing import Any, Dict, List, Mapping, Optional

from poundcake.st2 import rows
from poundcake.st2.client import StackStorm


def status(
    stackstorm: StackStorm,
    request_id: str,
    requests: Optional[Mapping[str, Any]] = None,
    alerts: Optional[Mapping[str, Any]] = None,
) -> Optional[Dict[str, Any]]:
    """Return a request with its alerts and executions, None when it is not known.

    :param requests: request rows by id that are newer than the stored ones.
    :param alerts: alert rows by fingerprint, likewise.
    """
    request = (requests or {}).get(request_id) or rows.read(stackstorm, rows.REQUEST, request_id)
    if request is None:
        return _undecided(rows.read(stackstorm, rows.INBOX, request_id))
    entries: List[Dict[str, Any]] = []
    executions: List[Dict[str, Any]] = []
    for entry in request["alerts"]:
        fingerprint = entry["fingerprint"]
        row = (alerts or {}).get(fingerprint)
        if row is None and fingerprint:
            row = rows.read(stackstorm, rows.ALERT, fingerprint, rows.ignore)
        about = {name: row[name] if row else None for name in ("state", "severity", "instance")}
        entries.append(dict(entry, **about))
        if row is not None:
            executions += _executions(row, request_id)
    shown = {name: value for name, value in request.items() if name != "rev"}
    state = "complete" if request["completed_at"] else "in progress"
    return dict(
        shown,
        status=state,
        alerts=entries,
        executions=executions,
        stackstorm_executions=[_older(item) for item in executions],
    )


def _executions(row: Mapping[str, Any], request_id: str) -> List[Dict[str, Any]]:
    """Return the executions of the attempts that a request led to."""
    names = ("fingerprint", "alertname", "severity", "instance")
    return [
        dict(_described(item), **{name: row[name] for name in names})
        for attempt in row["attempts"]
        if attempt["request_id"] == request_id
        for item in attempt["executions"]
    ]


def _described(execution: Mapping[str, Any]) -> Dict[str, Any]:
    """Return an execution with its result in short: the error, or the status."""
    return {"result": execution["error"] or execution["status"], **execution}


def _older(execution: Mapping[str, Any]) -> Dict[str, Any]:
    """Return an execution with the names that it had in the older designs, too."""
    names = {"st2_execution_id": "execution_id", "st2_workflow": "action_ref"}
    return dict(execution, **{old: execution[new] for old, new in names.items()})


def _undecided(entry: Optional[Dict[str, Any]]) -> Optional[Dict[str, Any]]:
    """Return the status of a request that is in the inbox only, None when it is not there."""
    return entry and {
        "request_id": entry["request_id"],
        "received_at": entry["received_at"],
        "completed_at": None,
        "source": entry["source"],
        "status": "accepted",
        "alerts": [],
        "executions": [],
        "stackstorm_executions": [],
    }
