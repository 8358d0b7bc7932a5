"""Alertmanager's label matchers: ``alertname="HostDown", severity=~"crit.*", host!="db1"``. Pure.

The syntax is that of https://prometheus.io/docs/alerting/latest/configuration/#matcher, with or
without the braces. Names and values may be bare or in double quotes. In quotes ``\\"``, ``\\\\``
and ``\\n`` are escapes; any other backslash is kept, so ``"web\\d+"`` means what it looks like.
Regular expressions are RE2's and match the whole value.
"""

import re
from dataclasses import dataclass
from typing import Any, Dict, Iterator, Mapping, Match, Pattern, Tuple

from poundcake import regexes

_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*\Z")
_SPACE = re.compile(r"\s*")
_OPERATOR = re.compile(r"=~|!~|!=|=")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE_NAME = re.compile(r"[^\s{}!=~,\\\"'`]+")
_BARE_VALUE = re.compile(r"[^\s{}!=~,\"'`]+")
_TYPOGRAPHIC = re.compile("[\u2018-\u201f\u00ab\u00bb\u2039\u203a\u300c\u300d\uff02]")
_ESCAPE = re.compile(r'\\([n"\\])')
_EXAMPLE = 'expected name="value", with =, !=, =~ or !~'
_SHOWN = 60  # characters of a wrong matcher in an error


@dataclass(frozen=True)
class Matcher:
    """One matcher; ``op`` is ``=``, ``!=``, ``=~`` or ``!~``. ``str()`` is its canonical text."""

    name: str
    op: str
    value: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether the labels of an alert match; an absent label counts as empty."""
        label = labels.get(self.name, "")
        if self.op in ("=", "!="):
            equal = label == self.value
        else:
            equal = regexes.matcher_of(self.value)(label)
        return equal == (self.op in ("=", "=~"))

    def __str__(self) -> str:
        name = self.name if _NAME.match(self.name) else _quote(self.name)
        return name + self.op + _quote(self.value)


def parse(text: str) -> Tuple[Matcher, ...]:
    """Return the matchers in a text; all of them must match an alert.

    Like Alertmanager for silences, it refuses a list in which every matcher is = or =~ and matches
    an empty value: such a list would match almost anything. One with != or !~ is accepted, as it
    names what to leave out.

    :raises ValueError: with the matcher, what is wrong with it and what was expected.
    """
    text = text.strip()
    if text.startswith("{") != text.endswith("}"):
        expected = "both { and }, or neither, and quotes around a value with braces"
        raise ValueError(f"{text[:_SHOWN]}: one brace is missing; expected {expected}")
    if text.startswith("{"):
        text = text[1:-1]
    parsed = tuple(_read_all(text))
    if not parsed:
        raise ValueError("no matchers given; " + _EXAMPLE)
    if all(matcher.op in ("=", "=~") and matcher.matches({}) for matcher in parsed):
        canonical = ", ".join(str(matcher) for matcher in parsed)
        expected = 'at least one matcher that does not, such as alertname=~".+"'
        raise ValueError(f"{canonical}: matches empty labels; expected {expected}")
    return parsed


def _read_all(text: str) -> Iterator[Matcher]:
    position = _skip_space(text, 0)
    while position < len(text):
        begin = position
        name, position = _read(text, begin, position, _BARE_NAME, "the name of a label")
        if not name:
            raise _error(text, begin, "the name is empty; " + _EXAMPLE)
        operator = _OPERATOR.match(text, position)
        if not operator:
            problem = "no operator after the name; expected =, !=, =~ or !~"
            raise _error(text, begin, problem)
        position = _skip_space(text, operator.end())
        value, position = _read(text, begin, position, _BARE_VALUE, "a value in double quotes")
        yield _checked(Matcher(name, operator.group(), value))
        if position < len(text):
            if text[position] != ",":
                expected = "a comma, or quotes around the value"
                problem = f"{text[position:][:20]} after the value; expected {expected}"
                raise _error(text, begin, problem)
            position = _skip_space(text, position + 1)


def _read(
    text: str, begin: int, position: int, bare: Pattern[str], expected: str
) -> Tuple[str, int]:
    """Return the bare or quoted string at a position, and the position after it."""
    quoted = _QUOTED.match(text, position)
    if quoted:
        return _ESCAPE.sub(_unescape, quoted.group(1)), _skip_space(text, quoted.end())
    plain = bare.match(text, position)
    if plain and _TYPOGRAPHIC.search(plain.group()):
        raise _error(text, begin, 'quotes of a word processor found; expected straight ones, "')
    if plain:
        return plain.group(), _skip_space(text, plain.end())
    rest = text[position:][:20] or "nothing"
    if rest.startswith('"'):
        raise _error(text, begin, "the closing quote is missing")
    raise _error(text, begin, f"found {rest}; expected {expected}")


def _checked(matcher: Matcher) -> Matcher:
    if matcher.op in ("=~", "!~"):
        try:
            regexes.matcher_of(matcher.value)
        except ValueError as error:
            raise ValueError(f"{matcher}: not a valid regular expression: {error}")
    return matcher


def _error(text: str, begin: int, problem: str) -> ValueError:
    return ValueError(f"{text[begin:][:_SHOWN].strip() or 'the end'}: {problem}")


def _skip_space(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return space.end() if space else position


def _unescape(match: Match[str]) -> str:
    return "\n" if match.group(1) == "n" else match.group(1)


def _quote(text: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
        text = text.replace(plain, escaped)
    return f'"{text}"'


def labels_of(alert: Mapping[str, Any]) -> Dict[str, str]:
    """Return the labels that matchers see of an alert's row: its own, and ``host``.

    ``host`` is what the pack shows, serializes and counts by; most alerts have no such label.
    """
    return dict({"host": alert["host"]}, **alert["labels"])
