"""Alertmanager's label matchers: ``alertname="HostDown", severity=~"crit.*", host!="db1"``. Pure.

As https://prometheus.io/docs/alerting/latest/configuration/#matcher has them, with or without the
braces. Names and values may stand bare or in double quotes. In quotes ``\\"``, ``\\\\`` and ``\\n``
are escapes; any other backslash stays, so that ``"web\\d+"`` is what it looks like. Regular
expressions match the whole value, and are Python's (``re``) instead of Go's RE2.
"""

import re
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*\Z")
_SPACE = re.compile(r"\s*")
_OPERATOR = re.compile(r"=~|!~|!=|=")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE_NAME = re.compile(r"[^\s{}!=~,\\\"'`]+")
_BARE_VALUE = re.compile(r"[^\s{}!=~,\"'`]+")
_ESCAPE = re.compile(r'\\([n"\\])')
_EXAMPLE = 'write name="value", with =, !=, =~ or !~'


@dataclass(frozen=True)
class Matcher:
    """One matcher; ``op`` is ``=``, ``!=``, ``=~`` or ``!~``. ``str()`` is its canonical text."""

    name: str
    op: str
    value: str

    def matches(self, labels):
        """True when the labels of an alert match; a label that is absent counts as empty."""
        label = labels.get(self.name, "")
        if self.op in ("=", "!="):
            equal = label == self.value
        else:
            equal = re.fullmatch(self.value, label) is not None
        return equal == (self.op in ("=", "=~"))

    def __str__(self):
        name = self.name if _NAME.match(self.name) else _quote(self.name)
        return name + self.op + _quote(self.value)


def parse(text):
    """Return the matchers in a text as a tuple of Matcher; all of them must match an alert.

    As Alertmanager does for silences, it refuses a list of which every matcher asks for the empty
    text, or is content with it: such a list names nothing in particular. One with != or !~ names
    what it spares.

    :raises ValueError: with the matcher, what is wrong with it and what was expected.
    """
    text = text.strip()
    if text.startswith("{") != text.endswith("}"):
        remedy = "write both { and }, or neither, and quotes around a value with braces"
        raise ValueError("%s: one brace is missing; %s" % (text[:60], remedy))
    if text.startswith("{"):
        text = text[1:-1]
    found = tuple(_read_all(text))
    if not found:
        raise ValueError("there are no matchers; " + _EXAMPLE)
    if all(matcher.op in ("=", "=~") and matcher.matches({}) for matcher in found):
        everything = ", ".join(str(matcher) for matcher in found)
        remedy = 'add one that does not, such as alertname=~".+"'
        raise ValueError("%s: matches where the labels are empty; %s" % (everything, remedy))
    return found


def _read_all(text):
    position = _skip_space(text, 0)
    while position < len(text):
        begin = position
        name, position = _read(text, begin, position, _BARE_NAME, "the name of a label")
        if not name:
            raise _error(text, begin, "has an empty name; " + _EXAMPLE)
        operator = _OPERATOR.match(text, position)
        if not operator:
            raise _error(text, begin, "has none of =, !=, =~ and !~ after its name")
        position = _skip_space(text, operator.end())
        value, position = _read(text, begin, position, _BARE_VALUE, "a value in double quotes")
        yield _checked(Matcher(name, operator.group(), value))
        if position < len(text):
            if text[position] != ",":
                found = "has %s after its value; expected a comma, or quotes around the value"
                raise _error(text, begin, found % text[position:][:20])
            position = _skip_space(text, position + 1)


def _read(text, begin, position, bare, expected):
    """Return what stands at a position, bare or in quotes, and the position after it."""
    quoted = _QUOTED.match(text, position)
    if quoted:
        return _ESCAPE.sub(_unescape, quoted.group(1)), _skip_space(text, quoted.end())
    plain = bare.match(text, position)
    if plain:
        return plain.group(), _skip_space(text, plain.end())
    found = text[position:][:20] or "nothing"
    if found.startswith('"'):
        raise _error(text, begin, "has a quote that does not end")
    raise _error(text, begin, "has %s where %s is expected" % (found, expected))


def _checked(matcher):
    if matcher.op in ("=~", "!~"):
        try:
            re.compile(matcher.value)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError("%s: is no regular expression: %s" % (matcher, error))
    return matcher


def _error(text, begin, what):
    return ValueError("%s: %s" % (text[begin:][:60].strip() or "the end", what))


def _skip_space(text, position):
    return _SPACE.match(text, position).end()


def _unescape(match):
    return "\n" if match.group(1) == "n" else match.group(1)


def _quote(text):
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
        text = text.replace(plain, escaped)
    return '"%s"' % text


def labels_of(alert):
    """Return the labels that matchers see of an alert's row: its own, and ``host``.

    ``host`` is what the pack shows, serializes and counts by, and most alerts have no such label.
    """
    return dict({"host": alert["host"]}, **alert["labels"])
