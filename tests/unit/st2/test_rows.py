"""Rows keep everything and contain no expression; their keys survive StackStorm's API."""

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from poundcake import ids
from poundcake.core import payload
from poundcake.errors import PayloadError
from poundcake.st2 import rows

from tests.support.fakes import (
    JSON_TEXT,
    JSON_VALUES,
    NOW,
    OPENERS,
    PROPERTY,
    Clock,
    FakeStackStorm,
    load_fixture,
)
from tests.support.rows import plain_request, plain_row

SAFE_NAME = re.compile(r"[0-9A-Za-z_.-]+\Z")


@pytest.fixture
def stackstorm():
    return FakeStackStorm(Clock())


@PROPERTY
@given(JSON_VALUES)
@example("\ud800")
@example({"\udfff": ["{{", "<%"]})
@example({"a": {"b": {}}, "c": [[], {}]})
@example('\\"{')
@example('\\\\"{{')
def test_a_row_comes_back_as_it_was_written(value):
    """Nothing is lost, lone surrogates and backslashes included."""
    assert rows.load(rows.dump(value)) == value


@PROPERTY
@given(JSON_VALUES)
@example({"{{": {"{%": {"<%": "{#"}}})
@example(['\\"{{'])
def test_a_row_holds_no_expression(value):
    """Neither when a template reads it with st2kv, nor when two rows are joined."""
    text = rows.dump(value)
    assert not any(opener in text for opener in OPENERS)
    assert "<" not in text
    assert not any(opener in text + text for opener in OPENERS)
    assert text.encode("ascii")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_what_is_not_json_is_not_written(value):
    """A row that nobody can read is a bug of the writer."""
    with pytest.raises(ValueError):
        rows.dump(value)


def test_equal_rows_are_equal_texts():
    """In whatever order their keys were added."""
    assert rows.dump({"a": 1, "b": 2}) == rows.dump({"b": 2, "a": 1})


@PROPERTY
@given(st.binary())
@example(b'"\xed\xa0\xbd\xed\xb8\x80"')
def test_a_body_means_the_same_before_and_after_a_restart(body):
    """The inbox returns exactly what load_json accepted, so decisions stay the same."""
    try:
        value = payload.load_json(body)
    except PayloadError:
        return
    assert rows.load(rows.dump(value)) == value


def test_the_notification_with_expressions_is_kept_without_loss():
    """Rows keep the original; only what goes into triggers is changed."""
    document = load_fixture("expressions")
    text = rows.dump(document)
    assert json.loads(text) == document
    assert not any(opener in text for opener in OPENERS)


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["84957d4281c88440", "a", "A-b_9", "x" * 64])
def test_a_safe_name_is_part_of_the_key_as_it_is(name):
    """So that a person finds the row with st2 key get."""
    assert rows.key(rows.ALERT, name) == "poundcake.alert." + name


@pytest.mark.parametrize("name", ["", "a/b", "a?b#c", "ä", "x" * 65, "a b", "a\n", "a.b", "\ud800"])
def test_an_unsafe_name_is_hashed(name):
    """StackStorm's API cuts a key at / ? and #."""
    key = rows.key(rows.ALERT, name)
    assert SAFE_NAME.match(key) and name not in key[len(rows.ALERT) :] or name == ""
    assert len(key) < 64


@PROPERTY
@given(JSON_TEXT, JSON_TEXT)
@example("a/b", "a/c")
def test_keys_are_safe_and_differ_when_the_names_differ(a, b):
    """Two alerts never share a row."""
    assert SAFE_NAME.match(rows.key(rows.ALERT, a))
    assert (rows.key(rows.ALERT, a) == rows.key(rows.ALERT, b)) == (a == b)


def test_rows_are_written_read_listed_and_deleted(stackstorm):
    """By their names, with the requested time to live."""
    row = plain_row("a/a")
    rows.write(stackstorm, rows.ALERT, "b", plain_row("b"), ttl=60)
    rows.write(stackstorm, rows.ALERT, "a/a", row)
    rows.write(stackstorm, rows.REQUEST, "c", plain_request("c"))
    assert rows.read(stackstorm, rows.ALERT, "a/a") == row
    assert rows.read(stackstorm, rows.ALERT, "none") is None
    listed = [item["fingerprint"] for item in rows.read_all(stackstorm, rows.ALERT)]
    assert sorted(listed) == ["a/a", "b"]
    assert stackstorm.ttl("poundcake.alert.b") == 60
    assert stackstorm.ttl(rows.key(rows.ALERT, "a/a")) is None
    rows.delete(stackstorm, rows.ALERT, "a/a")
    rows.delete(stackstorm, rows.ALERT, "a/a")
    assert rows.read(stackstorm, rows.ALERT, "a/a") is None


# --- ids ------------------------------------------------------------------------------------------


def test_request_ids_are_uuids_of_version_7():
    """RFC 9562: version 7, variant 10, and the time first."""
    made = ids.new_uuid7()
    assert re.match(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z", made)


def test_request_ids_sort_in_the_order_in_which_they_were_made():
    """Within one millisecond too, and when the clock steps back."""
    made = [ids.new_uuid7() for _ in range(10000)]
    made += [ids.new_uuid7(now=NOW - 3600) for _ in range(10)]
    assert made == sorted(made) and len(set(made)) == len(made)


def test_a_dispatch_id_is_the_same_after_a_crash_and_differs_by_attempt():
    """It is computed from fingerprint, episode and attempt alone."""
    one = ids.dispatch_id("f", "e", 1)
    assert one == ids.dispatch_id("f", "e", 1)
    others = [("g", "e", 1), ("f", "x", 1), ("f", "e", 2), ("f\ne", "", 1)]
    assert one not in [ids.dispatch_id(*other) for other in others]


def test_ids_are_computed_from_any_text():
    """JSON may contain half of a surrogate pair, even as a fingerprint."""
    made = [ids.dispatch_id("\ud800", "e", 1), ids.dispatch_id("\ud801", "e", 1)]
    made += [ids.event_id("\ud800", "e"), ids.event_id("\ud801", "e")]
    assert len(set(made)) == 4
