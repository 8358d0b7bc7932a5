"""Notifies people through the action that the config names."""

import time

from poundcake.core.alert import ENDED_STATUSES, SUCCEEDED
from poundcake.errors import ExpectedError
from poundcake.inert import inert_text
from poundcake.st2 import executions
from poundcake.st2.client import StackStormError

PLACEHOLDER = "$message"
POLL_SECONDS = 0.5
WAIT_SECONDS = 60
_REMEDY = "Check notify_action and notify_parameters in the config of poundcake"


def notify(stackstorm, message, settings, sleep=time.sleep):
    """Run ``notify_action`` with a message and wait for its end, up to a minute.

    :returns: notify_action, execution_id and status.
    :raises ExpectedError: when it could not start, failed, or did not end in time.
    """
    action = settings.notify.action
    parameters = parameters_for(message, settings.notify.parameters or {})
    try:
        execution_id = stackstorm.run_action(action, parameters)
        execution = _ended(stackstorm, execution_id, sleep)
    except StackStormError as error:
        raise ExpectedError("notify_action", f"{action}: {error}", remedy=_REMEDY)
    status = execution["status"]
    if status != SUCCEEDED:
        reason = executions.error_of(execution.get("result")) or "it gives no reason"
        if status not in ENDED_STATUSES:
            reason = f"it did not end within {WAIT_SECONDS} s"
        problem = f"{action} is {status}, execution {execution_id}: {reason}"
        raise ExpectedError("notify_action", problem, remedy=_REMEDY)
    return {"notify_action": action, "execution_id": execution_id, "status": status}


def parameters_for(message, notify_parameters):
    """Return the parameters of ``notify_action``.

    The message, made inert, replaces ``$message`` in every value; when no value has that, it
    becomes the parameter ``message``.
    """
    message = inert_text(message)
    filled = _fill(notify_parameters, message)
    if filled == notify_parameters:
        filled = dict(filled, message=message)
    return filled


def _fill(value, message):
    if isinstance(value, str):
        return value.replace(PLACEHOLDER, message)
    if isinstance(value, dict):
        return {name: _fill(item, message) for name, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, message) for item in value]
    return value


def _ended(stackstorm, execution_id, sleep):
    """Wait for the end of an execution, up to WAIT_SECONDS, and return it."""
    for _ in range(int(WAIT_SECONDS / POLL_SECONDS)):
        execution = stackstorm.get_execution(execution_id)
        if execution is None:
            raise StackStormError(f"execution {execution_id} is gone")
        if execution["status"] in ENDED_STATUSES:
            break
        sleep(POLL_SECONDS)
    return execution
