"""ChatOps: which alias a command means, and which parameters are in it.

A format is a regular expression in which `{{ name }}` is a parameter and `{{ name = default }}` one
that may be left out with the space before it. A value is one word, several, or what stands in
quotes or braces. `name=value` pairs may follow at the end of any command.
"""

import re

try:
    from re import _constants, _parser
except ImportError:  # Python before 3.11
    import sre_constants as _constants
    import sre_parse as _parser

# Quotes fall away and braces stay; the last choice is what may stand without either.
_VALUE = r"""""|''|"(.+?)"|'(.+?)'|({.+?})|(%s)"""
_PAIR = r"(?:^|\s+)\s*(\S+?)\s*=(%s)" % (_VALUE % r"\S+")
_PAIRS = re.compile(_PAIR, re.DOTALL)
_PAIRS_AT_END = re.compile(r".*?((?:%s\s*)*)$" % _PAIR, re.DOTALL)
_NAME = r"{{\s*(\S+?)\s*"
_OPTIONAL = re.compile(r"(\s*)" + _NAME + r"\s*=\s*(?:%s)\s*}}" % (_VALUE % ".+?"), re.DOTALL)
_REQUIRED = re.compile(r"(\s*)" + _NAME + "}}")
_GROUP = r"""%s["']?(?P<%s>(?:(?<=').+?(?=')|(?<=").+?(?=")|{.+?}|.+?))["']?"""


class NoMatch(ValueError):
    """A command is not of this format."""


def extract(format_, command):
    """The parameters {name: text} that a command gives for a format. Raises NoMatch."""
    trailing = _PAIRS_AT_END.match(command).group(1)
    body = " %s " % (command.replace(trailing, "") if trailing else command)
    match = _pattern(format_).search(body)
    if not match:
        raise NoMatch(f'Command "{command}" doesn\'t match format string "{format_}"')
    found = match.groupdict()
    for optional in _OPTIONAL.finditer(format_):
        name, *default = optional.groups(default="")[1:]
        found[name] = found[name] or "".join(default)
    for pair in _PAIRS.findall(trailing):
        found[pair[0]] = "".join(pair[2:])
    if format_ and not body.strip() and not any(found.values()):
        raise NoMatch("No value supplied and no default value found.")
    return found


def formats(alias):
    """(display, representation) of every format of an alias."""
    for format_ in alias["formats"]:
        if isinstance(format_, str):
            yield format_, format_
        else:
            for representation in format_.get("representation") or [""]:
                yield format_.get("display"), representation


def find(aliases, command):
    """(alias, display, representation) of the one format that a command is of.

    Raises NoMatch when it is of none or of several.
    """
    found = []
    for alias in aliases:
        for display, representation in formats(alias):
            try:
                extract(representation, command)
            except NoMatch:
                continue
            found.append((alias, display, representation))
    if len(found) != 1:
        problem = "more than 1 pattern" if found else "no patterns"
        raise NoMatch(f"Command '{command}' matched {problem}")
    return found[0]


def _pattern(format_):
    pattern = _OPTIONAL.sub(lambda m: "(?:%s)?" % (_GROUP % m.group(1, 2)), format_)
    pattern = _REQUIRED.sub(lambda m: _GROUP % m.group(1, 2), pattern)
    tokens = _parser.parse(pattern, re.DOTALL)
    if not _has(tokens, (_constants.AT_BEGINNING, _constants.AT_BEGINNING_STRING)):
        pattern = r"^\s*" + pattern
    if not _has(tokens, (_constants.AT_END, _constants.AT_END_STRING)):
        pattern += r"\s*$"
    return re.compile(pattern, re.DOTALL)


def _has(tokens, anchors):
    """Whether a pattern is anchored, as far as StackStorm looks: into groups, and of choices
    into the second."""
    for kind, value in tokens:
        if kind is _constants.SUBPATTERN and _has(value[3], anchors):
            return True
        if kind is _constants.BRANCH and _has(value[1][1], anchors):
            return True
        if kind is _constants.AT and value in anchors:
            return True
    return False
