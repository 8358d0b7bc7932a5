"""Who acts, and why: the name and the reason that every change by hand carries."""

import requests

from poundcake.errors import ExpectedError

LONGEST_NAME = 200
LONGEST_REASON = 1000


def operator(action_service, by):
    """Return the name of whoever acts: ``by``, else StackStorm's user of this execution.

    It is "" when StackStorm does not know: without authentication it has no user to tell about,
    and answers with an error.
    """
    if by:
        return by
    try:
        return action_service.get_user_info()["username"]
    except requests.HTTPError:
        return ""


def person(by):
    """Return the name of a person on one line; ExpectedError when it is none or too long."""
    return _line("by", by, LONGEST_NAME, "StackStorm does not say who you are, so give your name")


def why(reason):
    """Return a reason on one line; ExpectedError when it is none or too long."""
    return _line("reason", reason, LONGEST_REASON, "say why, for whoever reads it later")


def _line(parameter, text, longest, remedy):
    text = " ".join(text.split())
    if not text:
        raise ExpectedError("%s: is empty; %s" % (parameter, remedy))
    if len(text) > longest:
        many = "%s: has %d characters; %d is the most" % (parameter, len(text), longest)
        raise ExpectedError(many)
    return text
