"""What there is to see at a moment: the sensor's memory as figures and lists. Pure.

It comes from memory, not from the datastore: it is fresh, costs little, and is there when
StackStorm is not.
"""

from poundcake import clock
from poundcake.core.alert import (
    AWAITING_APPROVAL,
    EXHAUSTED,
    FAILED,
    RESOLVED,
    STATES,
    UNMATCHED,
    is_dismissed,
)
from poundcake.errors import ExpectedError
from poundcake.views import queries

ALL = "all"
NO_SEVERITY = "none"  # what an alert without severity is called
# States in which nothing goes on before a person has done something, then those that may need one.
NEEDS_A_PERSON = (AWAITING_APPROVAL, EXHAUSTED)
NEEDS_A_LOOK = (FAILED, UNMATCHED)


def by_state(alerts):
    """Return ``{state: how many}`` with every state there is, in the order of a lifecycle."""
    found = {state: 0 for state in STATES}
    for row in alerts:
        found[row["state"]] += 1
    return found


def severities(alerts):
    """Return the severities that alerts have, sorted."""
    return sorted({row["severity"] or NO_SEVERITY for row in alerts})


def choose(alerts, state="", alertname="", severity=""):
    """Return the rows that are asked for, those first that need a person, then the latest change.

    :param state: a state, ALL, or "" for every alert that is not over: neither resolved nor
        dismissed.
    :param alertname: a part of it, in whatever case.
    :param severity: the severity, NO_SEVERITY for none, "" for any.
    :raises ExpectedError: for a state that is none.
    """
    if state and state != ALL and state not in STATES:
        known = ", ".join(STATES + (ALL,))
        raise ExpectedError('state: "%s" is none; there are %s' % (state, known))
    part = alertname.casefold()
    found = [
        row
        for row in alerts
        if (row["state"] == state if state and state != ALL else state or is_active(row))
        and (not severity or (row["severity"] or NO_SEVERITY) == severity)
        and (not part or part in row["alertname"].casefold())
    ]
    return sorted(newest_first(found), key=_urgency)


def newest_first(alerts):
    """Return rows sorted by the time of their latest change of state."""
    return sorted(alerts, key=lambda r: (r["state_since"] or "", r["fingerprint"]), reverse=True)


def is_active(row):
    """True for an alert that is neither resolved nor dismissed."""
    return row["state"] != RESOLVED and not is_dismissed(row)


def executions(alerts):
    """Return ``(row, attempt, execution)`` of everything that ran for some alerts, newest first."""
    found = [
        (row, attempt, execution)
        for row in alerts
        for attempt in row["attempts"]
        for execution in attempt["executions"]
    ]
    found.sort(key=lambda item: (item[2]["started_at"] or "", item[2]["execution_id"]))
    return found[::-1]


def workflows(alerts):
    """Return how each workflow fares over what is remembered of its executions; times in seconds.

    They are ``queries.workflow``, sorted by name.
    """
    by_action = {}
    for row in alerts:
        for attempt in row["attempts"]:
            for execution in attempt["executions"]:
                elapsed = clock.elapsed(execution["started_at"], execution["ended_at"])
                item = {"status": execution["status"], "elapsed": elapsed}
                by_action.setdefault(execution["action_ref"], []).append(item)
    return [queries.workflow(ref, by_action[ref]) for ref in sorted(by_action)]


def _urgency(row):
    order = NEEDS_A_PERSON + NEEDS_A_LOOK
    return order.index(row["state"]) if row["state"] in order else len(order)
