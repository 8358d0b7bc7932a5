"""The errors of this package.

ExpectedError
├── BrokenRules         Prometheus would refuse these rules
├── RuleMissing         the resource, group or rule to read or change does not exist
├── OwnershipConflict   the change would overwrite what somebody else wrote
├── BranchMoved         somebody pushed to the branch between our fetch and our push
└── PullRequestExists   the branch already has an open pull request

WriteConflict           another client wrote the resource first; caught here, never shown
"""

from typing import Any, Dict, List

from poundcake.alert_rules import ownership
from poundcake.errors import ExpectedError, PoundCakeError

MOST_SHOWN = 5


class BrokenRules(ExpectedError):
    """Prometheus would refuse these rules; ``details["errors"]`` has all reasons.

    :param errors: each has group, rule and reason.
    """

    def __init__(self, errors: List[Dict[str, Any]]):
        reasons = "; ".join("%(group)s/%(rule)s: %(reason)s" % one for one in errors[:MOST_SHOWN])
        problem = f"nothing was written because a rule is broken: {reasons}"
        super().__init__("rules", problem + _and_more(errors))
        self.details = {"errors": errors}


class RuleMissing(ExpectedError):
    """The resource, group or rule to read or change does not exist."""


class OwnershipConflict(ExpectedError):
    """The change would overwrite what somebody else wrote.

    :param others: each has rule, written_by, version and present; ``details`` has them, and the
        version to give as ``expected``.
    """

    def __init__(self, others: List[Dict[str, Any]]):
        rules = ", ".join(f"{one['rule']} ({one['written_by']})" for one in others[:MOST_SHOWN])
        version = ownership.version(one["version"] for one in others)
        super().__init__(
            "expected",
            f"this would overwrite rules of others: {rules}{_and_more(others)}",
            remedy="Look at the current rules; to replace exactly these, run it again with "
            f"expected={version}",
        )
        self.details = {"expected": version, "others": others}


class BranchMoved(ExpectedError):
    """Somebody pushed to the branch between our fetch and our push."""

    def __init__(self, branch: str):
        super().__init__(
            "branch",
            f"somebody else has just pushed to {branch}, and their commit was not overwritten",
            remedy="Propose the change again",
        )


class PullRequestExists(ExpectedError):
    """The branch already has an open pull request."""


class WriteConflict(PoundCakeError):
    """Another client wrote the resource first: read it again."""


def add_context(error: ExpectedError, context: str) -> None:
    """Append to the message of an error, in place: its type, subject and details stay."""
    error.args = (f"{error}{context}",)


def _and_more(items: List[Any]) -> str:
    return f" and {len(items) - MOST_SHOWN} more" if len(items) > MOST_SHOWN else ""
