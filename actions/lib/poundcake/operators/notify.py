"""Notifies people through the action that the config names."""

import re
import time
from typing import Any, Callable, Dict, Mapping

import requests

from poundcake import messages
from poundcake.core.alert import ENDED_STATUSES, SUCCEEDED
from poundcake.errors import ExpectedError
from poundcake.inert import inert_text
from poundcake.secret import ReadKey, read_key
from poundcake.settings import Settings
from poundcake.st2 import executions
from poundcake.st2.client import StackStorm, StackStormError
from poundcake.upstream import bounded

POLL_SECONDS = 0.5
WAIT_SECONDS = 60
# The message, and the value of a datastore key.
_PLACEHOLDER = re.compile(r"\$message|\$key\(([^()]*)\)")
_REMEDY = "Check notify_action and notify_parameters in the config of poundcake"
_WEBHOOK = "Use notify_action: poundcake.notify_webhook for a URL"


def notify(
    stackstorm: StackStorm,
    message: str,
    event: Mapping[str, Any],
    settings: Settings,
    sleep: Callable[[float], Any] = time.sleep,
) -> Dict[str, Any]:
    """Run ``notify_action`` with a message and wait for its end, up to a minute.

    :param event: a payload of ``poundcake.lifecycle`` to write the message from, if there is none.
    :returns: notify_action, execution_id and status.
    :raises ExpectedError: when it could not start, failed, or did not end in time.
    """
    if not message and not event:
        raise ExpectedError("message, event", "both are empty", "one of them")
    action = settings.notify.action
    template = settings.notify.parameters or {}
    message = messages.message(message) if message else messages.of_event(event)
    try:
        _check_masked(stackstorm, action, template)
        parameters = parameters_for(message, template, stackstorm.get_secret)
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


def parameters_for(
    message: str, template: Mapping[str, Any], read: ReadKey = lambda key: None
) -> Dict[str, Any]:
    """Return the parameters of ``notify_action``.

    The message, made inert, replaces ``$message`` in every value; when no value has that, it
    becomes the parameter ``message``. The value of a datastore key replaces ``$key(<its name>)``.
    """
    message = inert_text(message)
    used = set()

    def replacement(match: "re.Match[str]") -> str:
        used.add(match.group())
        if match.group(1) is None:
            return message
        return read_key("notify_parameters", match.group(1), read)

    # In one pass: what a message has in it is no placeholder.
    filled = {name: _fill(value, replacement) for name, value in template.items()}
    return filled if "$message" in used else dict(filled, message=message)


def post(read: ReadKey, message: str, url_key: str, field: str, fields: Mapping[str, Any]) -> int:
    """Post a message as JSON to the URL that a datastore key has; return the HTTP status.

    :param field: the name that the message has in the JSON.
    :param fields: what else is in it.
    :raises ExpectedError: when it was not accepted; it never shows the URL, which is a secret.
    """
    url = read_key("url_key", url_key, read).strip()
    body = dict(fields, **{field: inert_text(messages.message(message))})
    try:
        status = bounded.request("POST", url, json=body).status
    except (requests.RequestException, ValueError, OSError) as error:
        kind = type(error).__name__
        raise ExpectedError("url_key", f"the URL in {url_key} cannot be reached ({kind})")
    if status >= 300:
        raise ExpectedError("url_key", f"the URL in {url_key} answers {status}", "200 to 299")
    return status


def _check_masked(stackstorm: StackStorm, action: str, template: Mapping[str, Any]) -> None:
    """Raise ExpectedError when the value of a key would be shown in an execution."""
    with_keys = [name for name, value in template.items() if "$key(" in str(value)]
    if not with_keys:
        return
    document = stackstorm.get_resource("actions", action) or {}
    for name in with_keys:
        if not (document.get("parameters", {}).get(name) or {}).get("secret"):
            problem = f"{name} of {action} is no secret parameter, so executions would show the key"
            raise ExpectedError("notify_parameters", problem, remedy=_WEBHOOK)


def _fill(value: Any, replacement: Callable[["re.Match[str]"], str]) -> Any:
    if isinstance(value, str):
        return _PLACEHOLDER.sub(replacement, value)
    if isinstance(value, dict):
        return {name: _fill(item, replacement) for name, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, replacement) for item in value]
    return value


def _ended(
    stackstorm: StackStorm, execution_id: str, sleep: Callable[[float], Any]
) -> Dict[str, Any]:
    """Wait for the end of an execution, up to WAIT_SECONDS, and return it."""
    execution: Dict[str, Any] = {}
    for _ in range(int(WAIT_SECONDS / POLL_SECONDS)):
        known = stackstorm.get_execution(execution_id)
        if known is None:
            raise StackStormError(f"execution {execution_id} is gone")
        execution = known
        if execution["status"] in ENDED_STATUSES:
            break
        sleep(POLL_SECONDS)
    return execution
