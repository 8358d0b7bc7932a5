"""One copy in memory of equal texts: rows repeat names, ids and times, and there may be many."""

import sys


def shared(value):
    """Return an equal JSON value in which equal strings, keys too, are one object.

    They leave memory with the last value that has them: an interned string is no leak.
    """
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {sys.intern(name): shared(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shared(item) for item in value]
    return value
