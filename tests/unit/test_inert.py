"""Alert text is data: nothing of it opens an expression, however a template joins it."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from poundcake.inert import inert, inert_text, original

from tests.support.fakes import JSON_TEXT, JSON_VALUES, OPENERS, PROPERTY, TRICKY_TEXT, assert_inert

ANY_TEXT = st.one_of(TRICKY_TEXT, JSON_TEXT, st.text())


def opens(text):
    """True when Jinja or YAQL would find an expression or a comment in a text."""
    return any(opener in text for opener in OPENERS)


@pytest.mark.parametrize(
    "text",
    [
        "{{ st2kv('system.secret', decrypt=true) }}",
        "<% st2kv('system.secret', decrypt => true) %>",
        "{% raw %}",
        "{# comment #}",
        "{{{{",
        "<<%%",
        "{\n{",
        "{",
        "<",
        "% ctx().x %>",
        " \t\n% ctx().x %>",
    ],
)
def test_an_expression_loses_its_opening(text):
    """Neither alone nor behind a brace or an angle that a template wrote."""
    assert_inert(inert_text(text))
    assert not opens("<" + inert_text(text))


@pytest.mark.parametrize(
    "text", ["", "plain", "100% full", "a > b", "}} %>", "ü🔥", "a\nb", "50 %", "x%>"]
)
def test_harmless_text_stays_as_it_is(text):
    """What cannot open an expression reaches the remediation unchanged."""
    assert inert_text(text) == text


def test_every_character_that_is_replaced_stays_readable():
    """A person who reads an execution still sees what the alert said."""
    assert inert_text("{{ a }} <b>") == "\u2774\u2774 a }} \u2039b>"


@pytest.mark.parametrize("text", ["", "{{ a }} <b> 5 %", " % ctx().x %>", "plain"])
def test_the_original_can_be_restored(text):
    """A person may give back what PoundCake showed."""
    assert original(inert_text(text)) == text


def test_what_the_bus_and_processes_cannot_carry_is_replaced():
    """NUL ends an environment variable, and a lone surrogate is no UTF-8."""
    assert inert_text("a\0b") == "a\ufffdb"
    inert_text("a\ud800b\udfff").encode("utf-8")


@PROPERTY
@given(st.lists(ANY_TEXT, max_size=6), TRICKY_TEXT)
def test_no_join_of_inert_texts_opens_an_expression(texts, separator):
    """Whatever is put between them, as long as that is inert or plain itself."""
    made = [inert_text(text) for text in texts]
    for between in ("", " ", "\n", ", ", inert_text(separator)):
        assert not opens(between.join(made))


@PROPERTY
@given(ANY_TEXT, ANY_TEXT)
@example("<", "%")
@example("{", "#")
def test_an_expression_split_over_two_values_stays_split(a, b):
    """``inert(a) + inert(b)`` opens nothing, and neither does ``inert(a + b)``."""
    assert not opens(inert_text(a) + inert_text(b))
    assert not opens(inert_text(a + b))


@PROPERTY
@given(ANY_TEXT, st.integers(min_value=0, max_value=10))
def test_a_piece_of_an_inert_text_opens_nothing(text, cut):
    """A template may cut a value in two and join the pieces the other way round."""
    made = inert_text(text)
    assert not opens(made[cut:] + made[:cut])


@PROPERTY
@given(ANY_TEXT)
@example("% 7*7 %>")
@example("\u00a0% 7*7 %>")
def test_a_literal_angle_in_front_of_a_value_opens_nothing(text):
    """A template that writes ``<{{ trigger.x }}>``, trimmed or not, gets no ``<%``."""
    made = inert_text(text)
    for value in (made, made.strip(), made.lstrip()):
        assert "<%" not in "<" + value


@PROPERTY
@given(ANY_TEXT)
@example("{")
@example("% raw %}")
def test_a_literal_brace_in_front_of_a_value_opens_nothing_that_runs(text):
    """``{`` before a value gives neither ``{{`` nor ``{%``; at worst a comment that hides text."""
    made = inert_text(text)
    for value in (made, made.strip()):
        assert "{{" not in "{" + value and "{%" not in "{" + value


@PROPERTY
@given(JSON_VALUES)
def test_no_string_of_an_inert_value_can_open_anything(value):
    """Keys too, at any depth, as JSON and as Python writes it."""
    assert_inert(inert(value))


@PROPERTY
@given(JSON_VALUES)
def test_making_inert_twice_changes_nothing_more(value):
    """Text that is inert already is recognised."""
    once = inert(value)
    assert inert(once) == once


@PROPERTY
@given(JSON_VALUES)
def test_the_shape_of_a_value_stays(value):
    """Numbers, booleans and null are untouched, lists keep their length."""

    def shape(item):
        if isinstance(item, str):
            return "text"
        if isinstance(item, dict):
            return sorted(json.dumps(shape(i)) for i in item.values())
        if isinstance(item, list):
            return [shape(i) for i in item]
        return item

    if not isinstance(value, dict) or len(inert(value)) == len(value):
        assert type(inert(value)) is type(value)
    if not _has_colliding_keys(value):
        assert shape(inert(value)) == shape(value)


@PROPERTY
@given(ANY_TEXT)
def test_an_inert_text_goes_over_the_bus(text):
    """It is UTF-8, without NUL."""
    made = inert_text(text)
    assert "\0" not in made
    assert made.encode("utf-8").decode("utf-8") == made


def _has_colliding_keys(value):
    if isinstance(value, dict):
        if len({inert_text(key) for key in value}) < len(value):
            return True
        return any(_has_colliding_keys(item) for item in value.values())
    return isinstance(value, list) and any(_has_colliding_keys(item) for item in value)
