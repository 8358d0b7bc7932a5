"""Alertmanager's label matchers: what parses, what matches, and what is said when neither does."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from poundcake.matchers import Matcher, parse

from tests.support.fakes import PROPERTY, TRICKY_TEXT

NAMES_ONE = Matcher("alertname", "=", "HostDown")
TEXT = st.one_of(TRICKY_TEXT, st.text())
MATCHERS = st.one_of(
    st.builds(Matcher, TEXT.filter(bool), st.sampled_from(["=", "!="]), TEXT),
    st.builds(Matcher, TEXT.filter(bool), st.sampled_from(["=~", "!~"]), TEXT.map(re.escape)),
)
# What matcher texts are made of, so that many of the joins are almost or quite right.
PIECES = ["alertname", "=", "=~", "!=", "!~", '"', "'", "\\", ",", "{", "}", "(", "[a", "+", " "]
PIECES += ["\n", "n", '"x"', 'a="b"', "ü", "\ud800", "a=b,", '=~".+"']


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
def test_what_alertmanager_takes_is_understood(text, expected):
    """With and without braces, quotes, spaces and a comma at the end."""
    assert [(m.name, m.op, m.value) for m in parse(text)] == expected


@pytest.mark.parametrize(
    "text, named",
    [
        ("", "no matchers"),
        ("{}", "no matchers"),
        ('{a="b"', "brace"),
        ('a="b"}', "brace"),
        ("alertname", "alertname: has none of =, !=, =~ and !~"),
        ('alertname>"x"', 'alertname>"x": has none of'),
        ("a=", "a=: has nothing where a value in double quotes is expected"),
        ("a='b'", "a='b': has 'b' where a value"),
        ('a="b', 'a="b: has a quote that does not end'),
        ('a="b\\"', 'a="b\\": has a quote that does not end'),
        ('a="b" c="d"', 'a="b" c="d": has c="d" after its value; expected a comma'),
        ("a=x{2}", "quotes around a value with braces"),
        ("a=x{2}y", "a=x{2}y: has {2}y after its value; expected a comma, or quotes around"),
        ('a="b",,c="d"', ',c="d": has ,c="d" where the name of a label is expected'),
        ('=~"x"', '=~"x": has =~"x" where the name of a label is expected'),
        ('""="x"', '""="x": has an empty name'),
        ('good="x",bad=~"("', 'bad=~"(": is no regular expression: '),
        ('a=~"x{99999999999999}"', 'a=~"x{99999999999999}": is no regular expression'),
    ],
)
def test_what_does_not_parse_is_an_error_with_the_matcher_and_what_was_expected(text, named):
    """A person corrects it from the sentence alone."""
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert named in str(caught.value)


@pytest.mark.parametrize("text", ['host=""', 'host=~".*"', 'a="",b=~"x?"'])
def test_a_list_that_names_nothing_in_particular_is_refused_with_the_remedy(text):
    """As for a silence in Alertmanager: a slip of the pen must not cover everything."""
    with pytest.raises(ValueError, match="where the labels are empty; add one"):
        parse(text)
    assert parse(text + ',alertname=~".+"')


@pytest.mark.parametrize("text", ['host!="a"', 'host!~"a|b"', 'a="",b!="x"'])
def test_a_list_may_name_only_what_it_spares(text):
    """As for a silence in Alertmanager."""
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
    ],
)
def test_a_matcher_matches_whole_values_and_takes_an_absent_label_for_empty(text, value, expected):
    """As in Alertmanager, where regular expressions are anchored at both ends."""
    _, matcher = parse('alertname="x",' + text)
    assert matcher.matches({} if value is None else {"host": value}) is expected


@PROPERTY
@given(st.lists(MATCHERS, max_size=4))
def test_the_canonical_text_gives_the_same_matchers(some):
    """Whatever the names and values: the text is what a maintenance window keeps."""
    some = tuple(some) + (NAMES_ONE,)
    assert parse(",".join(str(matcher) for matcher in some)) == some
    assert parse("{%s}" % ", ".join(str(matcher) for matcher in some)) == some


@PROPERTY
@given(st.one_of(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.text()))
def test_any_text_is_an_error_or_matchers_with_a_canonical_text(text):
    """No text does anything else."""
    try:
        found = parse(text)
    except ValueError as error:
        assert str(error)
    else:
        assert parse(",".join(str(matcher) for matcher in found)) == found


@PROPERTY
@given(TEXT.filter(bool), TEXT, TEXT)
def test_opposite_operators_never_agree(name, value, label):
    """For equality and for regular expressions, whatever the value."""
    for one, other, written in (("=", "!=", value), ("=~", "!~", re.escape(value))):
        labels = {name: label}
        assert Matcher(name, one, written).matches(labels) is (value == label)
        assert Matcher(name, other, written).matches(labels) is (value != label)
