"""The shapes of rows: what must be in one, and of which type, so that it can be used. Pure.

A row may have been edited, cut, or written by another version of the pack. A field that is not
named here is kept and not checked.
"""

import functools
from typing import Any, Callable, Dict, List, Optional, Tuple, TypedDict, Union, get_type_hints

from poundcake import clock
from poundcake.core import alert
from poundcake.core.requests import BY_HAND

# Fields that rows of earlier versions, or of other alerts, do not have.
_OPTIONAL = {
    "Row": ("heartbeat",),
    "Batch": ("last",),
    "RequestAlert": ("episode", "starts_at"),  # one of the two
    "Request": ("warnings",),
    "ExecutionRow": ("outcome", "remediation", "verification", "host", "target"),
}
COMMANDS = ("retry", "acknowledge", "dismiss")
# Times are RFC 3339 texts; these may be empty as well.
EMPTY_TIMES = ("seen_at", "missing_at")
_WORDS = {"state": alert.STATES, "do": COMMANDS}

# Where something is wrong, name by name, and at the end what was expected there.
Mismatch = Tuple[str, ...]
Check = Callable[[Any], Optional[Mismatch]]


class Command(TypedDict):
    do: str
    fingerprint: str
    by: str
    reason: str


class CommandEntry(TypedDict):
    """An entry of the inbox that a person's command made."""

    request_id: str
    received_at: str
    source: str
    command: Command


class NotificationEntry(TypedDict):
    """An entry of the inbox that a notification made."""

    request_id: str
    received_at: str
    source: str
    notification: Dict[str, Any]


class Unsent(TypedDict):
    """The reports that were not sent when a batch was tracked."""

    batch_id: str
    unsent: List[Any]


class Batch(TypedDict):
    batch_id: str
    rows: Dict[str, Dict[str, Any]]
    reports: List[Any]
    last: bool


class RequestAlert(TypedDict):
    fingerprint: str
    alertname: str
    episode: Optional[str]
    starts_at: Optional[str]
    decision: str
    reason: str
    dispatch_id: Optional[str]
    outcome: Optional[str]


class Request(TypedDict):
    rev: int
    request_id: str
    received_at: str
    completed_at: Optional[str]
    source: str
    receiver: str
    counts: Dict[str, int]
    alerts: List[RequestAlert]
    warnings: List[Any]


class ExecutionRow(alert.Execution):
    """The row of an execution."""

    rev: int
    request_id: Optional[str]
    fingerprint: str
    alertname: str
    dispatch_id: str
    attempt: int
    elapsed: Optional[float]


class SetAside(TypedDict):
    """Something that was set aside; ``content``: its text, None when that could not be kept."""

    id: str
    kind: str
    key: str
    reason: str
    at: str
    fingerprint: str
    alertname: str
    request_id: str
    told: bool
    content: Optional[str]


def problem_of_alert(row: Any) -> str:
    """Return what is wrong with an alert's row, "" when it can be used."""
    form = row.get("form") if isinstance(row, dict) else None
    if type(form) is int and form > alert.FORM:
        return f"form {form}: written by a newer version of the pack"
    problem = _problem(alert.Row, row)
    return problem or ("" if row["episodes"] else "episodes: expected at least one")


def problem_of_entry(row: Any) -> str:
    """Return what is wrong with an entry of the inbox."""
    by_hand = isinstance(row, dict) and row.get("source") == BY_HAND
    return _problem(CommandEntry if by_hand else NotificationEntry, row)


def problem_of_batch(row: Any) -> str:
    """Return what is wrong with a batch; the rows in it have shapes of their own."""
    return _problem(Batch, row) or _problem_of_reports(row["reports"])


def problem_of_unsent(row: Any) -> str:
    """Return what is wrong with the unsent reports."""
    return _problem(Unsent, row) or _problem_of_reports(row["unsent"])


def problem_of_request(row: Any) -> str:
    """Return what is wrong with a request's row."""
    problem = _problem(Request, row)
    return problem or ("" if "alerts" in row["counts"] else "counts.alerts: expected a number")


def problem_of_execution(row: Any) -> str:
    """Return what is wrong with an execution's row."""
    return _problem(ExecutionRow, row)


def problem_of_set_aside(row: Any) -> str:
    """Return what is wrong with the row of something that was set aside."""
    return _problem(SetAside, row)


def _problem_of_reports(reports: List[Any]) -> str:
    for report in reports:
        trigger, payload, tag = report if isinstance(report, list) and len(report) == 3 else [0] * 3
        tagged = tag is None or isinstance(tag, str)
        if not (isinstance(trigger, str) and isinstance(payload, dict) and tagged):
            return "reports: expected [trigger, payload, trace tag]"
    return ""


def _problem(shape: Any, value: Any) -> str:
    mismatch = _check_of(shape)(value)
    if mismatch is None:
        return ""
    where = ".".join(mismatch[:-1])
    return f"{where}: expected {mismatch[-1]}" if where else f"expected {mismatch[-1]}"


@functools.lru_cache(maxsize=None)
def _check_of(shape: Any) -> Check:
    """Return the check of a TypedDict, made from its annotations."""
    optional = _OPTIONAL.get(shape.__name__, ())
    fields = [(name, _check_type(name, hint)) for name, hint in get_type_hints(shape).items()]

    def check(value: Any) -> Optional[Mismatch]:
        if type(value) is not dict:
            return ("an object",)
        for name, check_field in fields:
            if name in value:
                mismatch = check_field(value[name])
                if mismatch:
                    return (name,) + mismatch
            elif name not in optional:
                return (name, "a value")
        return None

    return check


def _check_type(name: str, hint: Any) -> Check:
    """Return the check of the values of a field."""
    origin = getattr(hint, "__origin__", None)
    arguments: Any = getattr(hint, "__args__", ())
    if hint is Any:
        return lambda value: None
    if origin is Union:  # Optional
        (inner,) = [item for item in arguments if item is not type(None)]
        check = _check_type(name, inner)
        return lambda value: None if value is None else check(value)
    if origin is list:
        return _each(list, "a list", iter, _check_type(name, arguments[0]))
    if origin is dict:
        return _each(dict, "an object", dict.values, _check_type("", arguments[1]))
    if hint is str:
        return _check_text(name)
    if hint is bool:
        return lambda value: None if type(value) is bool else ("true or false",)
    if hint is int:
        return lambda value: None if type(value) is int else ("a whole number",)
    if hint is float:
        return lambda value: None if type(value) in (int, float) else ("a number",)
    return _check_of(hint)


def _each(kind: type, expected: str, values: Callable[[Any], Any], check: Check) -> Check:
    def check_each(value: Any) -> Optional[Mismatch]:
        if type(value) is not kind:
            return (expected,)
        return next(filter(None, map(check, values(value))), None)

    return check_each


def _check_text(name: str) -> Check:
    words = _WORDS.get(name)
    if words:
        return lambda value: None if value in words else ("one of " + ", ".join(words),)
    if not (name in ("at", "until", "state_since") or name.endswith("_at")):
        return lambda value: None if type(value) is str else ("text",)
    may_be_empty = name in EMPTY_TIMES

    def check_time(value: Any) -> Optional[Mismatch]:
        good = type(value) is str and (_is_time(value) or may_be_empty and not value)
        return None if good else ("a time (RFC 3339)",)

    return check_time


@functools.lru_cache(maxsize=4096)
def _is_time(text: str) -> bool:
    try:
        clock.to_seconds(text)
    except (ValueError, OverflowError):
        return False
    return True
