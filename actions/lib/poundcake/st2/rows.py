"""Key names and row JSON; no other module knows either.

Values are JSON in ASCII, with ``{`` and ``<`` inside strings written ``\\u007b`` and ``\\u003c``:
nothing is lost, and a row that a template reads with ``st2kv`` contains no expression.
"""

import json
import re
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Optional,
    Tuple,
)

from poundcake.core import shapes
from poundcake.core.alert import upgraded
from poundcake.errors import RefusedError, UnreadableRow, UnwritableRow
from poundcake.ids import key_part

if TYPE_CHECKING:
    from poundcake.st2.client import StackStorm

INBOX = "poundcake.inbox."
OUTBOX = "poundcake.outbox."
REPORTS = "poundcake.reports."
REQUEST = "poundcake.request."
ALERT = "poundcake.alert."
EXECUTION = "poundcake.execution."
CONTROL = "poundcake.control."
HEALTH = "poundcake.health."
RULE = "poundcake.rule."
ASIDE = "poundcake.aside."
# Everything that PoundCake owns in the datastore.
PREFIXES = (INBOX, OUTBOX, REPORTS, REQUEST, ALERT, EXECUTION, CONTROL, HEALTH, RULE, ASIDE)
# The order of writing: when a request row exists, everything that it names exists too.
KINDS = {"alerts": ALERT, "executions": EXECUTION, "requests": REQUEST}

# Of a value; a document of StackStorm's database is at most 16 MiB.
LARGEST_BYTES = 15 * 1024 * 1024
# The field that names a row in its key, and what is wrong with a row, "" when it can be used.
_SHAPES: Dict[str, Tuple[str, Callable[[Any], str]]] = {
    INBOX: ("request_id", shapes.problem_of_entry),
    OUTBOX: ("batch_id", shapes.problem_of_batch),
    REPORTS: ("", shapes.problem_of_unsent),
    REQUEST: ("request_id", shapes.problem_of_request),
    ALERT: ("fingerprint", shapes.problem_of_alert),
    EXECUTION: ("execution_id", shapes.problem_of_execution),
    ASIDE: ("id", shapes.problem_of_set_aside),
}

OnUnreadable = Callable[[UnreadableRow], Any]

_STRING = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")')


def key(prefix: str, name: str) -> str:
    """Return the datastore key of a row; its name may contain any characters."""
    return prefix + key_part(name)


def dump(value: Any) -> str:
    """Return a JSON value as text, without loss and without any template expression."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)
    # JSON never has "{{" outside a string; "{}" and '{"' stay as they are.
    parts = _STRING.split(text)  # every second one is a string
    parts[1::2] = [item.replace("{", "\\u007b") if "{" in item else item for item in parts[1::2]]
    return "".join(parts).replace("<", "\\u003c")  # JSON has no "<" outside a string


def load(text: str) -> Any:
    """Return the JSON value that ``dump`` wrote; raise ValueError for any other text."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply")


def parse(name: str, text: str) -> Any:
    """Return the row under a key, checked; raise UnreadableRow when it cannot be used."""
    try:
        row = load(text)
    except ValueError:
        raise UnreadableRow(name, "not JSON", text)
    return checked(name, row, text)


def checked(name: str, row: Any, text: str, inside: str = "") -> Any:
    """Return a row in the form that this version writes; raise UnreadableRow when it has none.

    :param name: its key.
    :param text: what stands there.
    :param inside: the key of the batch that contains the row.
    """
    prefix = prefix_of(name)
    field, problem_of = _SHAPES.get(prefix, ("", lambda row: ""))
    try:
        row = upgraded(row) if prefix == ALERT else row
        reason = problem_of(row)
    except (AttributeError, KeyError, TypeError) as error:
        reason = f"not the form of any version: {type(error).__name__}"
    if not reason and field and key(prefix, row[field]) != name:
        reason = f"{field}: expected that of the key"
    if reason:
        raise UnreadableRow(name, reason, text, inside)
    return row


def prefix_of(name: str) -> str:
    """Return the prefix of a key, which says what kind of row it has."""
    return ".".join(name.split(".")[:2]) + "."


def ignore(error: UnreadableRow) -> None:
    """Leave an unreadable row out."""


def read(
    stackstorm: "StackStorm",
    prefix: str,
    name: str,
    unreadable: Optional[OnUnreadable] = None,
) -> Any:
    """Return one row, or None.

    :param unreadable: called with the UnreadableRow when it cannot be used, which then counts as
        absent; without it, the error is raised.
    """
    text = stackstorm.get_key(key(prefix, name))
    if text is None:
        return None
    try:
        return parse(key(prefix, name), text)
    except UnreadableRow as error:
        if unreadable is None:
            raise
        unreadable(error)
        return None


def exists(stackstorm: "StackStorm", prefix: str, name: str) -> bool:
    """Return whether there is a row, readable or not."""
    return stackstorm.get_key(key(prefix, name)) is not None


def read_all(
    stackstorm: "StackStorm", prefix: str, skip: int = 0, unreadable: OnUnreadable = ignore
) -> List[Any]:
    """Return every row of a kind, sorted by key, except the ``skip`` oldest.

    :param unreadable: called with the UnreadableRow of each one that cannot be used.
    """
    values = stackstorm.list_keys(prefix, skip)
    return list(_readable(sorted(values.items()), unreadable))


def each(
    stackstorm: "StackStorm", prefix: str, unreadable: OnUnreadable = ignore
) -> Iterator[Dict[str, Any]]:
    """Yield every row of a kind in any order, one page at a time, as there may be many."""
    return _readable(stackstorm.each_key(prefix), unreadable)


def write(
    stackstorm: "StackStorm", prefix: str, name: str, row: Any, ttl: Optional[float] = None
) -> None:
    """Write one row; ``ttl`` in seconds, None for a queue entry, which is removed when done.

    Raises UnwritableRow when the datastore will never take it, StackStormError when it is away.
    """
    try:
        text = dump(row)
    except (ValueError, TypeError, RecursionError) as error:
        raise UnwritableRow(key(prefix, name), f"not JSON: {type(error).__name__}")
    if len(text) > LARGEST_BYTES:
        reason = f"{len(text)} bytes, more than the {LARGEST_BYTES} that the datastore takes"
        raise UnwritableRow(key(prefix, name), reason)
    try:
        stackstorm.set_key(key(prefix, name), text, ttl=ttl)
    except RefusedError as error:
        raise UnwritableRow(key(prefix, name), f"StackStorm refuses it: {error.brief}")


def delete(stackstorm: "StackStorm", prefix: str, name: str) -> None:
    """Delete one row; an absent row is not an error."""
    stackstorm.delete_key(key(prefix, name))


def _readable(
    values: Iterable[Tuple[str, str]], unreadable: OnUnreadable
) -> Iterator[Dict[str, Any]]:
    for name, text in values:
        try:
            row = parse(name, text)
        except UnreadableRow as error:
            unreadable(error)
        else:
            yield row


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def kind_of(prefix: str) -> str:
    """Return the name of a kind of row for people."""
    return prefix.split(".")[1]
