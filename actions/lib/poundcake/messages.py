"""Makes text fit for messages to people: alerts are written by others, Slack and mail obey markup.

A message is one line of limited length. What a chat or mail program would take for a mention, a
link or markup is turned into something that only looks like it.
"""

import unicodedata
from typing import Any, Mapping

LONGEST_VALUE = 300  # characters
LONGEST_MESSAGE = 3000
_LOOK_ALIKES = str.maketrans({"@": "\uff20", "<": "\u2039", ">": "\u203a"})
# Markdown's links, and addresses that programs make clickable.
_DEFUSED = (("](", "] ("), ("://", "[:]//"))


def value(text: str) -> str:
    """Return one value of an alert, such as a label, for a message."""
    return _fit(text, LONGEST_VALUE)


def message(text: str) -> str:
    """Return a whole message, ready to be sent."""
    return _fit(text, LONGEST_MESSAGE)


def of_event(event: Mapping[str, Any]) -> str:
    """Return the message about a payload of the trigger ``poundcake.lifecycle``.

    Such as: ``ServiceDown on web-01 (critical): exhausted at attempt 3: <reason> (<command>)``.
    """
    parts = {name: value(str(item)) for name, item in event.items() if item}
    text = parts.get("alertname", "")
    place = parts.get("host") or parts.get("target")
    text += f" on {place}" if place else ""
    text += f" ({parts['severity']})" if "severity" in parts else ""
    text += (": " if text else "") + parts.get("to", "").replace("_", " ")
    text += f" at attempt {parts['attempt']}" if "attempt" in parts else ""
    text += f": {parts['reason']}" if "reason" in parts else ""
    if "fingerprint" in parts:
        text += f" (st2 run poundcake.get_alert fingerprint={parts['fingerprint']})"
    return message(text)


def _fit(text: str, longest: int) -> str:
    """Return a text on one line, defused, and cut where it is too long."""
    readable = "".join(map(_readable, text[: 10 * longest]))
    line = " ".join(readable.split()).translate(_LOOK_ALIKES)
    for markup, harmless in _DEFUSED:
        line = line.replace(markup, harmless)
    return line if len(line) <= longest else line[: longest - 1] + "\u2026"


def _readable(character: str) -> str:
    """Return a character, a space for a line break, "" for one that nobody sees."""
    category = unicodedata.category(character)
    if category[0] == "Z" or category == "Cc":
        return " "
    return "" if category[0] == "C" else character
