"""One copy in memory of equal texts: rows repeat names, ids and times, and there may be many."""

from sys import intern


def shared(value):
    """Return an equal JSON value in which equal strings, keys too, are one object.

    They leave memory with the last value that has them: an interned string is no leak.
    """
    # Strings are dealt with where they are found: a call for each would take twice as long.
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
