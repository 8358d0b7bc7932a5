"""Key names and row JSON; no other module knows either.

Values are JSON in ASCII, with ``{`` and ``<`` inside strings written ``\\u007b`` and ``\\u003c``:
nothing is lost, and a row that a template reads with ``st2kv`` contains no expression.
"""

import json
import re
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Match, Optional

from poundcake.core.alert import upgraded
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
# The order of writing: when a request row exists, everything that it names exists too.
KINDS = {"alerts": ALERT, "executions": EXECUTION, "requests": REQUEST}

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def key(prefix: str, name: str) -> str:
    """Return the datastore key of a row; its name may contain any characters."""
    return prefix + key_part(name)


def dump(value: Any) -> str:
    """Return a JSON value as text, without loss and without any template expression."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)
    # JSON never has "{{" outside a string; "{}" and '{"' stay as they are.
    return _STRING.sub(_escape, text)


def load(text: str) -> Any:
    """Return the JSON value that ``dump`` wrote."""
    return json.loads(text)


def read(stackstorm: "StackStorm", prefix: str, name: str) -> Any:
    """Return one row, or None."""
    text = stackstorm.get_key(key(prefix, name))
    return None if text is None else current(prefix, load(text))


def read_all(stackstorm: "StackStorm", prefix: str, skip: int = 0) -> List[Dict[str, Any]]:
    """Return every row of a kind, sorted by key, except the ``skip`` oldest."""
    values = stackstorm.list_keys(prefix, skip)
    return [current(prefix, load(values[name])) for name in sorted(values)]


def each(stackstorm: "StackStorm", prefix: str) -> Iterator[Dict[str, Any]]:
    """Yield every row of a kind in any order, one page at a time, as there may be many."""
    for _, text in stackstorm.each_key(prefix):
        yield current(prefix, load(text))


def current(prefix: str, row: Any) -> Any:
    """Return a row in the form that this version writes."""
    return upgraded(row) if prefix == ALERT else row


def write(
    stackstorm: "StackStorm", prefix: str, name: str, row: Any, ttl: Optional[float] = None
) -> None:
    """Write one row; ``ttl`` in seconds, None for a queue entry, which is removed when done."""
    stackstorm.set_key(key(prefix, name), dump(row), ttl=ttl)


def delete(stackstorm: "StackStorm", prefix: str, name: str) -> None:
    """Delete one row; an absent row is not an error."""
    stackstorm.delete_key(key(prefix, name))


def _escape(match: Match[str]) -> str:
    return match.group(0).replace("{", "\\u007b").replace("<", "\\u003c")
