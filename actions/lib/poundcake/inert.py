"""Alert text is data: make it inert before StackStorm sees it.

StackStorm evaluates Jinja and YAQL expressions that it finds inside values, so whoever controls a
label could read secrets. Expressions open with ``{{``, ``{%``, ``{#`` or ``<%``. Looking for those
pairs is not enough: a template may join two values, cut one in pieces, or put a literal ``<`` in
front of a value. So no ``{`` and no ``<`` survives at all, nor a ``%`` in front; they become
look-alikes that no normalisation turns back. Rows keep the original (see ``rows.dump``).
"""

import re

_OPENERS = {
    ord("{"): "\u2774",  # MEDIUM LEFT CURLY BRACKET ORNAMENT
    ord("<"): "\u2039",  # SINGLE LEFT-POINTING ANGLE QUOTATION MARK
    0: "\ufffd",  # no process argument or environment variable can hold NUL
}
_PERCENT = "\u066a"  # ARABIC PERCENT SIGN
ORIGINALS = {"\u2774": "{", "\u2039": "<", _PERCENT: "%"}
_SUSPECT = re.compile("[{<\0\ud800-\udfff]|\\A\\s*%")


def inert_text(text):
    """Return ``text`` so that it can never open an expression, however a template joins it."""
    if not _SUSPECT.search(text):
        return text
    text = text.translate(_OPENERS)
    body = text.lstrip()
    if body.startswith("%"):
        text = text[: len(text) - len(body)] + _PERCENT + body[1:]
    # A lone surrogate is legal in JSON and illegal in UTF-8, which the message bus speaks.
    return text.encode("utf-8", "replace").decode("utf-8")


def inert(value):
    """Return a copy of a JSON value with every string in it, keys too, made inert."""
    if isinstance(value, str):
        return inert_text(value)
    if isinstance(value, dict):
        return {inert(key): inert(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [inert(item) for item in value]
    return value
