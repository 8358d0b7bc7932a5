"""Checks of what people write as parameters; what does not do is refused in a sentence."""

import difflib
from typing import Any, List, Sequence, Tuple

from poundcake import clock
from poundcake.errors import ExpectedError

MOST_NAMED = 10


def span(name: str, value: Any) -> float:
    """Return the length of time that a parameter or setting gives, in seconds."""
    try:
        return clock.span(value)
    except ValueError as error:
        raise ExpectedError(name, str(error))


def moment(name: str, text: str, now: float) -> str:
    """Return the RFC 3339 time that a parameter gives: as such, or as how long ago it was.

    :param now: Unix time in seconds.
    """
    try:
        return clock.to_text(max(0, now - clock.span(text)))
    except ValueError:
        pass
    try:
        return clock.to_text(clock.to_seconds(text))
    except ValueError:
        raise ExpectedError(
            name,
            f'"{text}"',
            "a duration such as 24h or 1h30m, or an RFC 3339 time such as 2026-01-31T12:00:00Z",
        )


def one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raise ExpectedError when a parameter is none of the values that it may have."""
    if value not in allowed:
        expected = "one of " + ", ".join(allowed)
        raise ExpectedError(name, f'unknown {_word(name)} "{value[:100]}"', expected)


def label_pairs(pairs: str) -> List[Tuple[str, str]]:
    """Return the ``(name, value)`` of ``name=value`` pairs, comma-separated."""
    labels = []
    for pair in (pairs or "").split(","):
        if not pair.strip():
            continue
        name, equals, value = pair.partition("=")
        if not equals:
            raise ExpectedError("label", f'"{pair.strip()}" has no =', "name=value,name=value")
        labels.append((name.strip(), value.strip().strip('"')))
    return labels


def unknown(name: str, value: str, what: str, known: Sequence[str]) -> ExpectedError:
    """Return the error of a value that is not among those stored, which ``what`` names.

    It lists the ones that come close, otherwise the first ones.
    """
    problem = f'unknown {_word(name)} "{value}"'
    if not known:
        return ExpectedError(name, f"{problem}; there are no {what} yet")
    close = difflib.get_close_matches(value, known, 3)
    if close:
        return ExpectedError(name, problem, "one such as " + ", ".join(close))
    more = f", ... ({len(known)} in all)" if len(known) > MOST_NAMED else ""
    return ExpectedError(name, problem, "one of " + ", ".join(known[:MOST_NAMED]) + more)


def _word(name: str) -> str:
    return name.replace("_", " ")
