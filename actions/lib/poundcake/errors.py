"""Every error that the pack raises on purpose.

PoundCakeError
├── ExpectedError        a person can fix it; an action answers ``(False, {"error": ...})``
│   ├── UnreadableRow    a row of the datastore that cannot be used
│   ├── UnwritableRow    a row that the datastore will never take
│   └── MappingError     a part of a mapping, or of what it became, that cannot be used
├── SettingsError        a setting cannot be used
├── PayloadError         a notification can never be accepted
├── StackStormError      StackStorm's API is unreachable, or answered with an error
│   └── RefusedError     it answered that it will never do what was requested
├── UnsafeYaml           a YAML document must not be unfolded
├── SchemaError          a trigger payload does not match its schema
└── BusBroken            only a new process can send triggers again
"""

from typing import Any, Dict


class PoundCakeError(Exception):
    """Base of the pack's errors."""


class ExpectedError(PoundCakeError):
    """Something that a person can fix.

    The text is ``<subject>: <problem>; expected <expected>. <Remedy>``.

    :param subject: the parameter or setting.
    :param problem: what was given, or what is wrong with it.
    :param expected: what is accepted, "" when the problem says it.
    :param remedy: a sentence or a command, "" when the problem says it.
    """

    details: Dict[str, Any] = {}  # goes into an action's answer beside the text

    def __init__(self, subject: str, problem: str = "", expected: str = "", remedy: str = ""):
        super().__init__(_sentence(subject, problem, expected, remedy))
        self.subject = subject


class UnreadableRow(ExpectedError):
    """A row that is not JSON, or whose fields are not those of its kind.

    :param key: its key in the datastore.
    :param text: what stands there.
    :param inside: the key of the batch that contains it, "" for a row with a key of its own.
    """

    def __init__(self, key: str, reason: str, text: str, inside: str = ""):
        remedy = "The sensor sets it aside when it starts: st2 run poundcake.list_set_aside"
        super().__init__(key, f"cannot be read ({reason})", remedy=remedy)
        self.key = key
        self.reason = reason
        self.text = text
        self.inside = inside


class UnwritableRow(ExpectedError):
    """A row that is not JSON, is too large, or is refused by StackStorm."""

    def __init__(self, key: str, reason: str):
        super().__init__(key, f"cannot be written ({reason})")
        self.reason = reason


class MappingError(ExpectedError):
    """A part of a mapping, or of the content made from one, that cannot be used."""


class SettingsError(PoundCakeError, ValueError):
    """A setting that cannot be used; the parameters are those of ExpectedError."""

    def __init__(self, setting: str, problem: str, expected: str = "", remedy: str = ""):
        super().__init__(_sentence(setting, problem, expected, remedy))
        self.setting = setting


class PayloadError(PoundCakeError, ValueError):
    """A notification that can never be accepted; the text is ``<field>: <what and expected>``."""


class StackStormError(PoundCakeError):
    """StackStorm's API could not be reached, or answered with an error.

    :param brief: the text without StackStorm's own words, for a log.
    """

    def __init__(self, text: str, brief: str = ""):
        super().__init__(text)
        self.brief = brief or text


class RefusedError(StackStormError):
    """StackStorm is there, and will never do what was requested: it is wrong, or too large."""


class UnsafeYaml(PoundCakeError, ValueError):
    """A YAML document that must not be unfolded.

    :param line: of the value, counted from 1.
    """

    def __init__(self, problem: str, line: int):
        super().__init__(problem)
        self.line = line


class SchemaError(PoundCakeError, ValueError):
    """A payload that StackStorm would drop.

    :param field: the first field that does not match; it never holds a value.
    """

    def __init__(self, text: str, field: str):
        super().__init__(text)
        self.field = field


class BusBroken(PoundCakeError):
    """The message bus is up, but this process can no longer send; a new process can."""


def _sentence(subject: str, problem: str, expected: str, remedy: str) -> str:
    sentence = f"{subject}: {problem}" if problem else subject
    sentence += f"; expected {expected}" if expected else ""
    return f"{sentence}. {remedy}" if remedy else sentence
