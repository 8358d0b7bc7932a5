"""Key names and row JSON: the only module that knows either.

Values are JSON in ASCII, with ``{`` and ``<`` inside strings written ``\\u007b`` and ``\\u003c``:
nothing is lost, and a row that a template reads with ``st2kv`` holds no expression.
"""

import json
import re

from poundcake.ids import key_part

INBOX = "poundcake.inbox."
OUTBOX = "poundcake.outbox."
REPORTS = "poundcake.reports."
REQUEST = "poundcake.request."
ALERT = "poundcake.alert."
EXECUTION = "poundcake.execution."
CONTROL = "poundcake.control."
HEALTH = "poundcake.health."
# In this order they are written: a request row that is there says that all it names is there.
KINDS = {"alerts": ALERT, "executions": EXECUTION, "requests": REQUEST}

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def key(prefix, name):
    """Return the datastore key of a row, whatever characters its name has."""
    return prefix + key_part(name)


def dump(value):
    """Return a JSON value as text without loss and without any expression in it."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)
    # Outside strings JSON can write "{{" nowhere; "{}" and '{"' stay as they are.
    return _STRING.sub(_escape, text)


def load(text):
    """Return the JSON value that ``dump`` wrote."""
    return json.loads(text)


def read(stackstorm, prefix, name):
    """Return one row, None when there is none."""
    text = stackstorm.get_key(key(prefix, name))
    return None if text is None else load(text)


def read_all(stackstorm, prefix, skip=0):
    """Return every row of a kind, sorted by its key; ``skip`` leaves out as many of the oldest."""
    found = stackstorm.list_keys(prefix, skip)
    return [load(found[name]) for name in sorted(found)]


def each(stackstorm, prefix):
    """Yield every row of a kind in any order, a page at a time: there may be many."""
    for _, text in stackstorm.each_key(prefix):
        yield load(text)


def write(stackstorm, prefix, name, row, ttl=None):
    """Write one row; ``ttl`` in seconds, None for a queue entry, which leaves when it is done."""
    stackstorm.set_key(key(prefix, name), dump(row), ttl=ttl)


def delete(stackstorm, prefix, name):
    """Delete one row; one that is gone already is no error."""
    stackstorm.delete_key(key(prefix, name))


def _escape(match):
    return match.group(0).replace("{", "\\u007b").replace("<", "\\u003c")
