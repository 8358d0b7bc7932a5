"""What a person answers to a remediation that asks: approve or decline.

The answer goes to StackStorm's inquiry, as the user of this execution, so StackStorm's own rules
about who may answer hold. Who said so, why, and what was changed go with it: the sensor reads them
from the inquiry, and the row of the alert keeps them.
"""

import time
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

from poundcake.core.alert import AWAITING_APPROVAL, ENDED_STATUSES, Row, open_attempts
from poundcake.errors import ExpectedError
from poundcake.inert import inert
from poundcake.operators.commands import Selector
from poundcake.people import Operator, person, why
from poundcake.st2 import executions
from poundcake.st2.client import StackStorm
from poundcake.views import queries

WAIT_SECONDS = 15  # for a workflow that is about to ask
POLL_SECONDS = 0.5


def answer(
    stackstorm: StackStorm,
    roles: Sequence[str],
    approved: bool,
    alert: Selector,
    reason: str,
    parameters: Mapping[str, Any],
    operator: Operator,
    sleep: Callable[[float], None] = time.sleep,
) -> Dict[str, Any]:
    """Answer the question about an alert and return what was answered.

    :param roles: who may approve (``approval_roles``); empty for everyone.
    :param alert: the parameters of ``queries.find_alert``.
    :param parameters: values of the question's own parameters that differ from the workflow's.
    :raises ExpectedError: when the person may not, when no question is open, and when StackStorm
        refuses the answer.
    """
    _check_role(operator, roles)
    by, reason = person(operator.name), why(reason)
    row, inquiry = _open_question(stackstorm, alert, sleep)
    _check_parameters(inquiry, parameters)
    # A workflow publishes the response, and StackStorm evaluates expressions in what it publishes.
    response = inert(dict(parameters, approved=approved, by=by, reason=reason))
    refusal = stackstorm.refusal(inquiry["id"], response)
    if refusal:
        raise ExpectedError("StackStorm", f"it refuses the answer: {refusal}")
    return {
        "status": "approved" if approved else "declined",
        "fingerprint": row["fingerprint"],
        "alertname": row["alertname"],
        "question": executions.question_of(inquiry),
        "inquiry_id": inquiry["id"],
        "by": by,
        "reason": reason,
        "parameters": dict(parameters),
    }


def _check_role(operator: Operator, roles: Sequence[str]) -> None:
    """Raise ExpectedError unless everybody who stands behind the answer may approve.

    A chat bot passes on the name that it was given, so its own user must be among them, too.
    """
    if not roles:
        return
    expected = "one of " + ", ".join(roles)
    if not operator.user:
        problem = "StackStorm does not know who you are, as it runs without authentication"
        raise ExpectedError("approval_roles", problem, expected)
    names = [operator.user, operator.given or operator.user]
    for name in names:
        known = {name, *(operator.roles if name == operator.user else ())}
        if not known.intersection(roles):
            raise ExpectedError("approval_roles", f"{name} may not approve or decline", expected)


def _open_question(
    stackstorm: StackStorm, alert: Selector, sleep: Callable[[float], None]
) -> Tuple[Row, Dict[str, Any]]:
    """Return the row of the alert and the one inquiry that waits for an answer about it.

    StackStorm loses an answer that comes before the workflow is paused (its issue 4135). So this
    waits until it is.
    """
    row = queries.find_alert(stackstorm, *alert, prefer=AWAITING_APPROVAL)
    for _ in range(int(WAIT_SECONDS / POLL_SECONDS)):
        open_ones = _inquiries(stackstorm, row)
        if len(open_ones) > 1:
            remedy = "Answer each in StackStorm's web UI"
            ids = ", ".join(item["id"] for item in open_ones)
            raise ExpectedError(row["alertname"], f"several questions are open: {ids}", "", remedy)
        if open_ones:
            return row, open_ones[0]
        if not open_attempts(row):
            break
        sleep(POLL_SECONDS)
        row = queries.find_alert(stackstorm, *alert, prefer=AWAITING_APPROVAL)
    state = f"{row['state']}" + (f" ({row['reason']})" if row["reason"] else "")
    problem = f"no question about {row['alertname']} is open; it is {state}"
    remedy = "List those that wait with: st2 run poundcake.list_alerts state=awaiting_approval"
    raise ExpectedError("fingerprint", problem, remedy=remedy)


def _inquiries(stackstorm: StackStorm, row: Row) -> List[Dict[str, Any]]:
    """Return the inquiries about an alert that can be answered now."""
    inquiries: List[Dict[str, Any]] = []
    for attempt in open_attempts(row):
        for known in attempt["executions"]:
            if known["status"] in ENDED_STATUSES:
                continue
            execution = stackstorm.get_execution(known["execution_id"])
            if execution and execution["status"] == "paused":
                inquiries += executions.asked_below(stackstorm, known["execution_id"])
    return inquiries


def _check_parameters(inquiry: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Raise ExpectedError for a question of another kind, and for a parameter that it lacks."""
    fields = executions.fields_of(dict(inquiry))
    if "approved" not in fields:
        asked = ", ".join(fields) or "nothing that is known"
        remedy = f"Answer it in StackStorm's web UI; the inquiry is {inquiry['id']}"
        raise ExpectedError("question", f"it asks for {asked}", "approved", remedy)
    own = [name for name in fields if name not in executions.ANSWER_FIELDS]
    for name in parameters:
        if name not in own:
            expected = "one of " + ", ".join(own) if own else "none for this question"
            raise ExpectedError("parameters", f'unknown parameter "{name[:100]}"', expected)
