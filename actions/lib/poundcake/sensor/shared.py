"""Interns strings: rows repeat names, ids and times, and there may be many rows."""

from sys import intern
from typing import Any


def shared(value: Any) -> Any:
    """Return an equal JSON value in which equal strings, keys included, are one object.

    Interning does not leak: a string leaves memory with the last value that contains it.
    """
    # Strings are interned inline: a call for each would take twice as long.
    kind = type(value)
    if kind is str:
        return intern(value)
    if kind is dict:
        return {
            intern(name): intern(item) if type(item) is str else shared(item)
            for name, item in value.items()
        }
    if kind is list:
        return [intern(item) if type(item) is str else shared(item) for item in value]
    return value
