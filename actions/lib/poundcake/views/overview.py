"""Figures and lists from the sensor's memory, for the status page and the older API. Pure.

They come from memory, not from the datastore: so they are fresh, cost little, and are there while
StackStorm is not.
"""

from typing import Any, Dict, List, Sequence, Tuple

from poundcake import clock
from poundcake.arguments import one_of
from poundcake.core.alert import (
    AWAITING_APPROVAL,
    EXHAUSTED,
    FAILED,
    RESOLVED,
    STATES,
    UNMATCHED,
    Attempt,
    Execution,
    Row,
    is_dismissed,
)
from poundcake.views import queries

ALL = "all"
NO_SEVERITY = "none"  # stands for an alert without severity
# States in which nothing happens until a person acts, then those in which a person may have to.
NEEDS_A_PERSON = (AWAITING_APPROVAL, EXHAUSTED)
NEEDS_A_LOOK = (FAILED, UNMATCHED)


def by_state(alerts: Sequence[Row]) -> Dict[str, int]:
    """Return ``{state: number of alerts}`` with every state, in the order of the lifecycle."""
    counts = {state: 0 for state in STATES}
    for row in alerts:
        counts[row["state"]] += 1
    return counts


def severities(alerts: Sequence[Row]) -> List[str]:
    """Return the severities that alerts have, sorted."""
    return sorted({row["severity"] or NO_SEVERITY for row in alerts})


def choose(
    alerts: Sequence[Row],
    state: str = "",
    alertname: str = "",
    severity: str = "",
    since: str = "",
) -> List[Row]:
    """Return the rows that match the filters: the most urgent first, then the latest change.

    :param state: a state, ALL, or "" for every active alert (see ``is_active``).
    :param alertname: a part of the alertname, in any case.
    :param severity: a severity, NO_SEVERITY for alerts without one, "" for any.
    :param since: RFC 3339; the state has changed since then. "" for any time.
    :raises ExpectedError: for an unknown state.
    """
    if state:
        one_of("state", state, STATES + (ALL,))
    part = alertname.casefold()
    chosen = [
        row
        for row in alerts
        if (row["state"] == state if state and state != ALL else state or is_active(row))
        and (not severity or (row["severity"] or NO_SEVERITY) == severity)
        and (not part or part in row["alertname"].casefold())
        and since <= (row["state_since"] or "")
    ]
    return sorted(newest_first(chosen), key=_urgency)


def newest_first(alerts: Sequence[Row]) -> List[Row]:
    """Return rows sorted by their latest change of state, newest first."""
    return sorted(alerts, key=lambda r: (r["state_since"] or "", r["fingerprint"]), reverse=True)


def is_active(row: Row) -> bool:
    """Return whether an alert is neither resolved nor dismissed."""
    return row["state"] != RESOLVED and not is_dismissed(row)


def executions(alerts: Sequence[Row]) -> List[Tuple[Row, Attempt, Execution]]:
    """Return ``(row, attempt, execution)`` of every execution for some alerts, newest first."""
    executions = [
        (row, attempt, execution)
        for row in alerts
        for attempt in row["attempts"]
        for execution in attempt["executions"]
    ]
    executions.sort(key=lambda item: (item[2]["started_at"] or "", item[2]["execution_id"]))
    return executions[::-1]


def workflows(alerts: Sequence[Row]) -> List[Dict[str, Any]]:
    """Return the figures of each workflow (see ``queries.workflow``), sorted by name.

    They cover the executions in memory.
    """
    by_action: Dict[str, List[Dict[str, Any]]] = {}
    for row in alerts:
        for attempt in row["attempts"]:
            for execution in attempt["executions"]:
                elapsed = clock.elapsed(execution["started_at"], execution["ended_at"])
                item = {"status": execution["status"], "elapsed": elapsed}
                by_action.setdefault(execution["action_ref"], []).append(item)
    return [queries.workflow(ref, by_action[ref]) for ref in sorted(by_action)]


def _urgency(row: Row) -> int:
    order = NEEDS_A_PERSON + NEEDS_A_LOOK
    return order.index(row["state"]) if row["state"] in order else len(order)
