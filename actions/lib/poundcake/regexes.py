"""Regular expressions as Alertmanager has them: RE2's syntax, matched against the whole text.

Where the package google-re2 is not installed, Python's ``re`` stands in, and what the two read
differently is refused.
"""

import functools
import re
from typing import Any, Callable

try:
    import re2
except ImportError:  # there are no wheels of it for some platforms
    re2 = None

Matches = Callable[[str], bool]

# What Python reads in another way than RE2, or does not know.
_DIFFERENT = (
    (re.compile(r"\[\[[:.=]|\[[^\]]*\[:"), "a class such as [[:digit:]]"),
    (re.compile(r"\(\?(?!:|P<[A-Za-z_]|[ims]+\)|[ims]+:)"), "(?...) other than (?:...) and (?i)"),
    (re.compile(r"\\[1-9]"), "a reference to a group"),
    (re.compile(r"\\[pPQECXzZuUN]|\\x\{"), "one of the escapes \\p \\Q \\z \\Z \\u \\N \\x{"),
    (re.compile(r"[*+?}]\+"), "a quantifier followed by +"),
    (re.compile(r"\{,\d*\}"), "{,n}"),
    (re.compile(r"\{\d*,?\d{4,}|\{\d{4,},"), "more than 1000 repetitions"),
)
_ESCAPED = re.compile(r"\\[\\\[\](){}*+?|^$.]")
_HALF_CHARACTERS = re.compile("[\ud800-\udfff]")


@functools.lru_cache(maxsize=1000)
def matcher_of(pattern: str) -> Matches:
    """Return what tells whether a whole text matches.

    :raises ValueError: when it is no regular expression of RE2's.
    """
    return _by_python(pattern) if re2 is None else _by_re2(pattern)


def _by_re2(pattern: str) -> Matches:
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(_whole(pattern), options)
    except re2.error as error:
        reason: Any = error.args[0] if error.args else ""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(text) from None
    return lambda text: compiled.fullmatch(_whole(text)) is not None


def _by_python(pattern: str) -> Matches:
    plain = _ESCAPED.sub("_", pattern)  # what is escaped is itself in both
    for different, what in _DIFFERENT:
        if different.search(plain):
            raise ValueError(
                f"{what} is read differently by Alertmanager; expected something else, or the "
                "package google-re2"
            )
    try:
        # RE2's \d, \w and \b know ASCII only.
        compiled = re.compile(pattern, re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from None
    return lambda text: compiled.fullmatch(text) is not None


def _whole(text: str) -> str:
    """Return a text without half characters, which UTF-8 does not have."""
    return _HALF_CHARACTERS.sub("\ufffd", text)
