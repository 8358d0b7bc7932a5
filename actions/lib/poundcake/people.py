"""Who acts and why: the name and the reason that every change by a person carries."""

from typing import Any

import requests

from poundcake.errors import ExpectedError

LONGEST_NAME = 200
LONGEST_REASON = 1000


def operator(action_service: Any, by: str) -> str:
    """Return the name of the person who acts: ``by``, or else the user of this execution.

    It is "" when StackStorm does not know: without authentication it has no users, and answers
    this question with an error.
    """
    if by:
        return by
    try:
        return str(action_service.get_user_info()["username"])
    except requests.HTTPError:
        return ""


def person(by: str) -> str:
    """Return the name of a person on one line; ExpectedError when it is empty or too long."""
    return _line("by", by, LONGEST_NAME, "your name, as StackStorm does not know who you are")


def why(reason: str) -> str:
    """Return a reason on one line; ExpectedError when it is empty or too long."""
    return _line("reason", reason, LONGEST_REASON, "a reason, for people who read it later")


def _line(parameter: str, value: str, longest: int, expected: str) -> str:
    line = " ".join(value.split())
    if not line:
        raise ExpectedError(parameter, "is empty", expected)
    if len(line) > longest:
        raise ExpectedError(parameter, f"has {len(line)} characters", f"at most {longest}")
    return line
