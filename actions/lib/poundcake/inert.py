"""Alert text is data: make it inert before StackStorm sees it.

StackStorm evaluates Jinja and YAQL expressions that it finds inside values, so anyone who controls
a label could read secrets. Expressions open with ``{{``, ``{%``, ``{#`` or ``<%``. It is not enough
to replace those pairs: a template may join two values, cut a value into pieces, or write a literal
``<`` in front of it. So every ``{`` and ``<`` is replaced, and a ``%`` at the beginning. They turn
into look-alikes that no Unicode normalization turns back; ``original`` does. Rows keep the original
text (see ``rows.dump``).
"""

import re
from typing import Any

_OPENERS = {
    ord("{"): "\u2774",  # MEDIUM LEFT CURLY BRACKET ORNAMENT
    ord("<"): "\u2039",  # SINGLE LEFT-POINTING ANGLE QUOTATION MARK
    0: "\ufffd",  # no process argument or environment variable can hold NUL
}
_PERCENT = "\u066a"  # ARABIC PERCENT SIGN
ORIGINALS = {"\u2774": "{", "\u2039": "<", _PERCENT: "%"}
_ORIGINALS = str.maketrans(ORIGINALS)
_SUSPECT = re.compile("[{<\0\ud800-\udfff]|\\A\\s*%")


def inert_text(text: str) -> str:
    """Return a text in a form that can never open an expression, however a template joins it."""
    if not _SUSPECT.search(text):
        return text
    text = text.translate(_OPENERS)
    body = text.lstrip()
    if body.startswith("%"):
        text = text[: len(text) - len(body)] + _PERCENT + body[1:]
    # A lone surrogate is legal in JSON and illegal in UTF-8, which the message bus speaks.
    return text.encode("utf-8", "replace").decode("utf-8")


def original(text: str) -> str:
    """Return an inert text with its look-alikes turned back into the original characters."""
    return text.translate(_ORIGINALS)


def inert(value: Any) -> Any:
    """Return a copy of a JSON value with every string in it, keys too, made inert."""
    if isinstance(value, str):
        return inert_text(value)
    if isinstance(value, dict):
        return {inert(key): inert(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [inert(item) for item in value]
    return value
