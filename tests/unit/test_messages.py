"""Text of alerts in messages: one short line that starts nothing in Slack, mail and chat."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from poundcake import messages

from tests.support.fakes import PROPERTY, TRICKY_TEXT

MARKUP = [
    "@channel",
    "<!here>",
    "<https://x.example|y>",
    "[y](https://x.example)",
    "\r\n",
    "\u202e",
]
HOSTILE = st.lists(
    st.one_of(
        st.sampled_from([*MARKUP, ":", "//", "]", "(", "@", "<", ">"]), TRICKY_TEXT, st.text()
    )
).map("".join)
EVENT = {"alertname": "HostDown", "host": "web-1", "severity": "critical", "to": "needs_help"}


def assert_fit(text, longest):
    assert len(text) <= longest
    for markup in ("@", "<", ">", "://", "]("):
        assert markup not in text
    for character in text:
        category = unicodedata.category(character)
        assert character == " " or category[0] not in "CZ", ascii(text)


@PROPERTY
@given(HOSTILE)
def test_whatever_an_alert_says_is_fit(text):
    """And making it fit twice changes nothing."""
    for fit, longest in ((messages.value, 300), (messages.message, 3000)):
        assert_fit(fit(text), longest)
        assert fit(fit(text)) == fit(text)


@PROPERTY
@given(st.dictionaries(st.sampled_from([*EVENT, "reason", "fingerprint"]), HOSTILE))
def test_the_message_about_an_event_is_fit(event):
    """Whichever field is hostile."""
    assert_fit(messages.of_event({**EVENT, **event}), 3000)


@pytest.mark.parametrize(
    "text, shown",
    [
        ("web-01 is down", "web-01 is down"),
        ("disk 93% full, ümläut, 日本", "disk 93% full, ümläut, 日本"),
        ("<!channel> hi", "\u2039!channel\u203a hi"),
        ("mail me@x.example", "mail me\uff20x.example"),
        ("[here](https://evil.example)", "[here] (https[:]//evil.example)"),
        ("a\n\nb\tc\u2028d", "a b c d"),
        ("a\u202eb\u200bc\x00d", "abc d"),
    ],
)
def test_it_stays_readable(text, shown):
    """Plain text is the same; a person can still read the rest."""
    assert messages.value(text) == shown


def test_it_is_cut():
    """Slack refuses a message of 300,000 characters, and then nobody is told."""
    assert messages.value("a" * 300) == "a" * 300
    assert messages.value("a" * 301) == "a" * 299 + "…"
    assert len(messages.message("a" * 300000)) == 3000


def test_one_long_value_leaves_room_for_the_others():
    """The command that shows more comes last."""
    text = messages.of_event({**EVENT, "alertname": "A" * 300000, "fingerprint": "f1"})
    assert text.endswith(
        "… on web-1 (critical): needs help (st2 run poundcake.get_alert fingerprint=f1)"
    )
    assert len(text) < 450


def test_what_is_no_host_is_named_too():
    """Such as a workload."""
    event = {"alertname": "PodDown", "host": "", "target": "shop/cart", "to": "failed"}
    assert messages.of_event(event) == "PodDown on shop/cart: failed"
