"""Every error that the pack raises on purpose.

PoundCakeError
├── ExpectedError        a person can put it right; an action answers ``(False, {"error": ...})``
└── SettingsError        a setting that cannot be used
"""

from typing import Any, Dict


class PoundCakeError(Exception):
    """Base of the pack's errors."""


class ExpectedError(PoundCakeError):
    """Something that a person can put right.

    The text is ``<subject>: <problem>; expected <expected>. <Remedy>``.

    :param subject: the parameter or setting.
    :param problem: what was given, or what is wrong with it.
    :param expected: what would do, "" when the problem says it.
    :param remedy: a sentence or a command, "" when the problem says it.
    """

    details: Dict[str, Any] = {}  # what the answer of an action holds beside the text

    def __init__(self, subject: str, problem: str = "", expected: str = "", remedy: str = ""):
        super().__init__(_sentence(subject, problem, expected, remedy))
        self.subject = subject


class SettingsError(PoundCakeError, ValueError):
    """A setting that cannot be used; parameters as those of ExpectedError."""

    def __init__(self, setting: str, problem: str, expected: str = "", remedy: str = ""):
        super().__init__(_sentence(setting, problem, expected, remedy))
        self.setting = setting


def _sentence(subject: str, problem: str, expected: str, remedy: str) -> str:
    text = subject + ": " + problem if problem else subject
    text += "; expected " + expected if expected else ""
    return text + ". " + remedy if remedy else text
