"""Tells a person, through whatever action the config names."""

import time

from poundcake.core.alert import ENDED_STATUSES, SUCCEEDED
from poundcake.errors import ExpectedError
from poundcake.inert import inert_text
from poundcake.st2 import executions
from poundcake.st2.client import StackStormError

PLACEHOLDER = "$message"
POLL_SECONDS = 0.5
WAIT_SECONDS = 60
_REMEDY = "; see notify_action and notify_parameters in the config of poundcake"


def notify(stackstorm, message, settings, sleep=time.sleep):
    """Start ``notify_action`` with a message and wait until it has ended, up to a minute.

    :returns: notify_action, execution_id and status.
    :raises ExpectedError: when it could not be started, failed, or has not ended.
    """
    action = settings.notify.action
    parameters = parameters_for(message, settings.notify.parameters or {})
    try:
        execution_id = stackstorm.run_action(action, parameters)
        execution = _ended(stackstorm, execution_id, sleep)
    except StackStormError as error:
        raise ExpectedError("notify_action: %s: %s%s" % (action, error, _REMEDY))
    if execution["status"] != SUCCEEDED:
        text = "notify_action: %s is %s, execution %s: %s%s"
        why = executions.error_of(execution.get("result")) or "it does not say why"
        if execution["status"] not in ENDED_STATUSES:
            why = "it has not ended within %d s" % WAIT_SECONDS
        raise ExpectedError(text % (action, execution["status"], execution_id, why, _REMEDY))
    return {"notify_action": action, "execution_id": execution_id, "status": execution["status"]}


def parameters_for(message, notify_parameters):
    """Return the parameters of ``notify_action``.

    The message, made inert, takes the place of ``$message`` in whatever values hold it; when none
    does, it is the parameter ``message``.
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
    """Return an execution when it has ended, or as it is after the longest wait."""
    for _ in range(int(WAIT_SECONDS / POLL_SECONDS)):
        execution = stackstorm.get_execution(execution_id)
        if execution is None:
            raise StackStormError("execution %s is gone" % execution_id)
        if execution["status"] in ENDED_STATUSES:
            break
        sleep(POLL_SECONDS)
    return execution
