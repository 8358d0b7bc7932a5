"""Alertmanager's label matchers: what parses, what matches, and the errors."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from poundcake import regexes
from poundcake.matchers import Matcher, parse

from tests.support.fakes import PROPERTY, TRICKY_TEXT

NAMES_ONE = Matcher("alertname", "=", "HostDown")
TEXT = st.one_of(TRICKY_TEXT, st.text())
# RE2 takes any half of a character, which UTF-8 does not have, for the same U+FFFD.
WHOLE = TEXT.filter(lambda text: not re.search("[\ud800-\udfff]", text))
MATCHERS = st.one_of(
    st.builds(Matcher, TEXT.filter(bool), st.sampled_from(["=", "!="]), TEXT),
    st.builds(Matcher, TEXT.filter(bool), st.sampled_from(["=~", "!~"]), TEXT.map(re.escape)),
)
# Pieces of matchers: many of their combinations are valid or nearly so.
PIECES = ["alertname", "=", "=~", "!=", "!~", '"', "'", "\\", ",", "{", "}", "(", "[a", "+", " "]
PIECES += ["\n", "n", '"x"', 'a="b"', "ü", "\ud800", "a=b,", '=~".+"']


@pytest.fixture(params=["re2", "re"], autouse=True)
def engine(request, monkeypatch):
    """Both that may read regular expressions."""
    if request.param == "re2":
        pytest.importorskip("re2")
    else:
        monkeypatch.setattr(regexes, "re2", None)
    regexes.matcher_of.cache_clear()
    yield request.param
    regexes.matcher_of.cache_clear()


@pytest.mark.parametrize(
    "pattern, value", [("web-[[:digit:]]+", "web-12"), (r"\pL+", "ü"), (r"\Qa.b\E", "a.b")]
)
def test_what_only_re2_reads_is_matched_by_it_and_refused_otherwise(engine, pattern, value):
    """It never means something else."""
    text = f'alertname="x",host=~"{pattern}"'
    if engine == "re2":
        assert parse(text)[1].matches({"host": value})
        return
    with pytest.raises(ValueError, match="read differently by Alertmanager"):
        parse(text)


@pytest.mark.parametrize(
    "text, expected",
    [
        ('alertname="HostDown"', [("alertname", "=", "HostDown")]),
        ('{alertname="HostDown"}', [("alertname", "=", "HostDown")]),
        ("alertname=HostDown", [("alertname", "=", "HostDown")]),
        ("severity=~crit|warn", [("severity", "=~", "crit|warn")]),
        (
            ' { alertname = "X" , severity =~ "crit.*", host != a ,host!~"b" } ',
            [("alertname", "=", "X"), ("severity", "=~", "crit.*")]
            + [("host", "!=", "a"), ("host", "!~", "b")],
        ),
        ('a="b",', [("a", "=", "b")]),
        ('a="x,y={z}"', [("a", "=", "x,y={z}")]),
        (r'a="say \"hi\" \\ \n"', [("a", "=", 'say "hi" \\ \n')]),
        (r'host=~"web\d+\.example"', [("host", "=~", r"web\d+\.example")]),
        (r"host=~web\d+", [("host", "=~", r"web\d+")]),
        ('"rack row"="3", größe="ü"', [("rack row", "=", "3"), ("größe", "=", "ü")]),
        ('a="",b="c"', [("a", "=", ""), ("b", "=", "c")]),
    ],
)
def test_what_alertmanager_accepts_is_parsed(text, expected):
    """With and without braces, quotes, spaces and a trailing comma."""
    assert [(m.name, m.op, m.value) for m in parse(text)] == expected


@pytest.mark.parametrize(
    "text, named",
    [
        ("", "no matchers"),
        ("{}", "no matchers"),
        ('{a="b"', "brace"),
        ('a="b"}', "brace"),
        ("alertname", "alertname: no operator after the name; expected =, !=, =~ or !~"),
        ('alertname>"x"', 'alertname>"x": no operator after the name'),
        ("a=", "a=: found nothing; expected a value in double quotes"),
        ("a='b'", "a='b': found 'b'; expected a value"),
        ('a="b', 'a="b: the closing quote is missing'),
        ('a="b\\"', 'a="b\\": the closing quote is missing'),
        ('a="b" c="d"', 'a="b" c="d": c="d" after the value; expected a comma'),
        ("a=x{2}", "quotes around a value with braces"),
        ("a=x{2}y", "a=x{2}y: {2}y after the value; expected a comma, or quotes around"),
        ('a="b",,c="d"', ',c="d": found ,c="d"; expected the name of a label'),
        ('=~"x"', '=~"x": found =~"x"; expected the name of a label'),
        ('""="x"', '""="x": the name is empty'),
        ('good="x",bad=~"("', 'bad=~"(": not a valid regular expression: '),
        ("alertname=\u201cx\u201d", "quotes of a word processor found; expected straight ones"),
        ("\u201ealertname\u201c=x", "quotes of a word processor found"),
        ('a=~"x(?=y)"', 'a=~"x(?=y)": not a valid regular expression: '),
        ('a=~"(x)\\1"', "not a valid regular expression: "),
        ('a=~"x++"', "not a valid regular expression: "),
        ('a=~"x{1001}"', "not a valid regular expression: "),
        ('a=~"\\Z"', "not a valid regular expression: "),
        ('a=~"x{99999}"', 'a=~"x{99999}": not a valid regular expression'),
    ],
)
def test_an_error_has_the_matcher_and_what_was_expected(text, named):
    """A person can correct the text from the error alone."""
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert named in str(caught.value)


@pytest.mark.parametrize("text", ['host=""', 'host=~".*"', 'a="",b=~"x?"'])
def test_a_list_that_matches_empty_labels_is_refused_with_the_remedy(text):
    """Alertmanager refuses such a silence, too: a typo must not cover everything."""
    with pytest.raises(ValueError, match="matches empty labels; expected at least one"):
        parse(text)
    assert parse(text + ',alertname=~".+"')


@pytest.mark.parametrize("text", ['host!="a"', 'host!~"a|b"', 'a="",b!="x"'])
def test_a_list_may_name_only_what_to_leave_out(text):
    """Alertmanager accepts such a silence, too."""
    assert ",".join(str(matcher) for matcher in parse(text)) == text


@pytest.mark.parametrize(
    "text, value, expected",
    [
        ('host="web1"', "web1", True),
        ('host="web1"', "web12", False),
        ('host!="web1"', "web1", False),
        ('host!="web1"', "web2", True),
        ('host!="web1"', None, True),
        ('host=""', None, True),
        ('host=~"web"', "web1", False),
        ('host=~"web.*"', "web1", True),
        ('host=~"eb1"', "web1", False),
        ('host=~"a|ab"', "ab", True),
        ('host=~"a|b"', "ax", False),
        ('host=~"web.$"', "web1\n", False),
        ('host=~".+"', None, False),
        ('host=~".*"', None, True),
        ('host!~"web.*"', "web1", False),
        ('host!~"web"', "web1", True),
        ('host=~"(?i)WEB1"', "web1", True),
        ('host=~"a.c"', "a\nc", False),
        ('host=~"(?s)a.c"', "a\nc", True),
        ('host=~"\\d"', "\u0663", False),
        ('host=~"web-[0-9]+"', "web-12", True),
        ('host=~"[^[]"', "x", True),
    ],
)
def test_a_matcher_matches_whole_values_and_an_absent_label_is_empty(text, value, expected):
    """Alertmanager anchors regular expressions at both ends, too."""
    _, matcher = parse('alertname="x",' + text)
    assert matcher.matches({} if value is None else {"host": value}) is expected


@PROPERTY
@given(st.lists(MATCHERS, max_size=4))
def test_the_canonical_text_gives_the_same_matchers(some):
    """For any names and values: a maintenance window keeps that text."""
    some = tuple(some) + (NAMES_ONE,)
    assert parse(",".join(str(matcher) for matcher in some)) == some
    assert parse("{%s}" % ", ".join(str(matcher) for matcher in some)) == some


@PROPERTY
@given(st.one_of(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.text()))
def test_any_text_is_an_error_or_matchers_with_a_canonical_text(text):
    """No text leads to anything else."""
    try:
        found = parse(text)
    except ValueError as error:
        assert str(error)
    else:
        assert parse(",".join(str(matcher) for matcher in found)) == found


@PROPERTY
@given(TEXT.filter(bool), WHOLE, WHOLE)
def test_opposite_operators_never_agree(name, value, label):
    """For equality and regular expressions, with any value."""
    for one, other, written in (("=", "!=", value), ("=~", "!~", re.escape(value))):
        labels = {name: label}
        assert Matcher(name, one, written).matches(labels) is (value == label)
        assert Matcher(name, other, written).matches(labels) is (value != label)
