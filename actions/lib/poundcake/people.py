"""Who acts and why: the name and the reason that every change by a person carries."""

from dataclasses import dataclass
from typing import Any, Tuple

import requests

from poundcake.errors import ExpectedError

LONGEST_NAME = 200
LONGEST_REASON = 1000


@dataclass(frozen=True)
class Operator:
    """A person who acts.

    ``user`` is the StackStorm user of the execution, "" when StackStorm does not know one.
    ``given`` is the name that chat or an administrator gave. ``roles`` are the user's roles in
    StackStorm.
    """

    user: str
    given: str = ""
    roles: Tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name for rows; it shows both when somebody acts for another person."""
        if self.user and self.given and self.given != self.user:
            return f"{self.given} via {self.user}"
        return self.given or self.user


def operator(action_service: Any, by: str, chat_user: str = "") -> Operator:
    """Return who acts: the user of this execution, or ``by`` on behalf of that user.

    Without authentication StackStorm has no users, and answers this question with an error.

    :param chat_user: the person in chat, as StackStorm's ChatOps knows it.
    :raises ExpectedError: when ``by`` is somebody else, neither chat nor an administrator says so.
    """
    try:
        info = action_service.get_user_info()
    except requests.HTTPError:
        return Operator("", by)
    user, access = str(info["username"]), info.get("rbac") or {}
    by = by.strip()
    if by and by not in (user, chat_user) and not access.get("is_admin"):
        problem = f"only an administrator may act as somebody else, and you are {user}"
        raise ExpectedError("by", problem, remedy="Leave out by")
    return Operator(user, by, tuple(access.get("roles") or ()))


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
