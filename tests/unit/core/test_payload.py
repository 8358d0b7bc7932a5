"""Alertmanager's notifications as values: variety is taken, what is wrong is named."""

import copy
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from poundcake.core import payload

from tests.support.alerts import alert, notification
from tests.support.fakes import JSON_TEXT, JSON_VALUES, PROPERTY, load_fixture

REAL_BODIES = (
    "firing_group",
    "resolved",
    "mixed",
    "truncated",
    "unicode_labels",
    "no_alertname",
    "new_fields",
    "sparse",
    "empty_alerts",
)


def parse_one(entry, **more):
    """Return what becomes of one entry of ``alerts[]``."""
    return payload.parse(notification(entry, **more)).entries[0]


def fnv1a_64(data):
    """FNV-1a as its authors define it, apart from the library's own."""
    value = 0xCBF29CE484222325
    for byte in bytearray(data):
        value ^= byte
        value = value * 0x100000001B3 % 2**64
    return value


# --- what Alertmanager really sends ---------------------------------------------------------------


@pytest.mark.parametrize("name", REAL_BODIES)
def test_every_real_body_is_taken_whole(name):
    """No alert of a body that Alertmanager sent is rejected, and none is warned about."""
    document = load_fixture(name)
    parsed = payload.parse(document)
    assert len(parsed.alerts) == len(document["alerts"])
    assert parsed.rejected == [] and parsed.warnings == []
    assert [a.labels for a in parsed.alerts] == [a["labels"] for a in document["alerts"]]
    assert parsed.receiver == document["receiver"]
    assert parsed.external_url == document["externalURL"]


@pytest.mark.parametrize("name", ["firing_group", "mixed", "unicode_labels", "no_alertname"])
def test_a_computed_fingerprint_is_the_one_that_alertmanager_computed(name):
    """The fingerprints in the fixtures were computed by a real Alertmanager."""
    for entry in load_fixture(name)["alerts"]:
        assert payload.fingerprint(entry["labels"]) == entry["fingerprint"]


def test_the_status_of_each_alert_counts_and_not_that_of_the_group():
    """A firing group may hold resolved alerts."""
    parsed = payload.parse(load_fixture("mixed"))
    assert parsed.status == "firing"
    assert [a.status for a in parsed.alerts] == ["resolved", "firing", "firing", "firing"]


def test_an_alert_without_a_status_has_the_groups():
    """Old senders give the status once, for the group."""
    entry = alert()
    del entry["status"]
    assert parse_one(entry, status="resolved").status == "resolved"


def test_truncated_alerts_are_counted():
    """With max_alerts Alertmanager says how many it left out."""
    assert payload.parse(load_fixture("truncated")).truncated_alerts == 3


def test_absent_fingerprint_and_times_are_computed_or_none():
    """A body with the required fields alone is an alert."""
    entry = payload.parse(load_fixture("sparse")).alerts[0]
    assert entry.fingerprint == "84957d4281c88440"
    assert entry.starts_at is None and entry.ends_at is None
    assert entry.generator_url == ""


def test_unknown_fields_are_kept():
    """What PoundCake does not know of an alert stays with it."""
    entry = payload.parse(load_fixture("new_fields")).alerts[0]
    assert list(entry.extra) == ["silenceURL"]


def test_an_empty_list_of_alerts_is_a_notification():
    """Alertmanager may send a group of which nothing is left."""
    assert payload.parse(load_fixture("empty_alerts")).entries == []


def test_an_alert_without_alertname_has_empty_names():
    """No rule author has to guard against None."""
    entry = payload.parse(load_fixture("no_alertname")).alerts[0]
    assert (entry.alertname, entry.severity) == ("", "info")


@pytest.mark.parametrize("version", ["4", 4, None])
def test_version_4_is_taken_however_it_is_written(version):
    """Alertmanager writes it as text; absent counts as 4."""
    assert len(payload.parse(notification(alert(), version=version)).alerts) == 1


# --- fingerprints and times -------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels, wanted",
    [
        ({}, "cbf29ce484222325"),
        ({"name": "garland, briggs", "fear": "love is not enough"}, "507a62d79ee76c9a"),
    ],
)
def test_fingerprints_of_prometheus_common(labels, wanted):
    """The vectors of TestLabelsToSignature in prometheus/common."""
    assert payload.fingerprint(labels) == wanted


@PROPERTY
@given(st.dictionaries(st.text(), st.text()))
def test_a_fingerprint_is_fnv1a_over_the_labels_in_byte_order(labels):
    """Each name and each value is followed by the byte 255; order of arrival does not matter."""
    pairs = sorted((name.encode("utf-8"), text.encode("utf-8")) for name, text in labels.items())
    data = b"".join(part + b"\xff" for pair in pairs for part in pair)
    assert payload.fingerprint(labels) == "%016x" % fnv1a_64(data)
    assert payload.fingerprint(dict(reversed(list(labels.items())))) == payload.fingerprint(labels)


@pytest.mark.parametrize(
    "given_time, wanted",
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000000Z"),
        ("2026-01-31T12:00:00.1Z", "2026-01-31T12:00:00.100000000Z"),
        ("2026-01-31T12:00:00.123456789Z", "2026-01-31T12:00:00.123456789Z"),
        ("2026-01-31T13:30:00+01:30", "2026-01-31T12:00:00.000000000Z"),
        ("2026-01-31T07:00:00-05:00", "2026-01-31T12:00:00.000000000Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000000000Z"),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        (None, None),
    ],
)
def test_times_are_one_text_for_one_moment(given_time, wanted):
    """startsAt is part of an episode's identity, so every way to write it gives the same text."""
    entry = parse_one(dict(alert(), startsAt=given_time, endsAt=given_time))
    assert (entry.starts_at, entry.ends_at) == (wanted, wanted)


# --- what is wrong is named -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "body, field",
    [
        (b"", "body"),
        (b"no json", "body"),
        (b'{"alerts": [}', "body"),
        (b"\xff\xfe\xfd", "body"),
        (b'{"alerts": [], "x": NaN}', "body"),
        (b'{"alerts": [], "x": 1e999}', "body"),
        (b"[" * 100000, "body"),
        (b'{"alerts": ' + b"[" * 100000, "body"),
    ],
)
def test_what_is_not_json_is_refused_in_a_sentence(body, field):
    """Whatever the bytes are, the answer is ``<field>: <what is wrong>``."""
    with pytest.raises(payload.PayloadError) as caught:
        payload.load_json(body)
    assert str(caught.value).startswith(field + ": ")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "document, start",
    [
        ([], "body: a list found"),
        (None, "body: null found"),
        ("text", "body: a string found"),
        (4, "body: a number found"),
        ({}, "alerts: missing"),
        ({"alerts": None}, "alerts: null found"),
        ({"alerts": {}}, "alerts: an object found"),
        ({"alerts": [], "version": "3"}, 'version: "3" found'),
        ({"alerts": [], "version": ["4"]}, "version: a list found"),
        ({"alerts": [], "version": True}, "version: a boolean found"),
    ],
)
def test_what_can_never_be_accepted_is_refused_with_the_field(document, start):
    """The sender reads which field, what was found and what was expected."""
    with pytest.raises(payload.PayloadError) as caught:
        payload.parse(document)
    assert str(caught.value).startswith(start)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize(
    "change, start",
    [
        ({"labels": None}, "alerts[0].labels: missing"),
        ({"labels": []}, "alerts[0].labels: a list found"),
        ({"labels": {}}, "alerts[0].labels: empty"),
        ({"labels": {"a": 1}}, "alerts[0].labels.a: a number found"),
        ({"labels": {"a": None}}, "alerts[0].labels.a: null found"),
        ({"annotations": "x"}, "alerts[0].annotations: a string found"),
        ({"annotations": {"a": {}}}, "alerts[0].annotations.a: an object found"),
        ({"status": "exploded"}, 'alerts[0].status: "exploded" found'),
        ({"status": 1}, "alerts[0].status: a number found"),
        ({"status": []}, "alerts[0].status: a list found"),
        ({"fingerprint": 7}, "alerts[0].fingerprint: a number found"),
        ({"startsAt": "yesterday"}, 'alerts[0].startsAt: "yesterday" found'),
        ({"startsAt": 1700000000}, "alerts[0].startsAt: a number found"),
        ({"startsAt": "2026-02-30T00:00:00Z"}, "alerts[0].startsAt: "),
        ({"startsAt": "0001-01-02T00:00:00+99:99"}, "alerts[0].startsAt: "),
        ({"endsAt": "9999-12-31T23:59:59-14:00"}, "alerts[0].endsAt: "),
    ],
)
def test_a_bad_alert_is_rejected_with_the_field_and_its_siblings_go_on(change, start):
    """One bad alert never sinks its batch."""
    parsed = payload.parse(notification(dict(alert(1), **change), alert(2)))
    assert isinstance(parsed.entries[0], payload.Rejected)
    assert parsed.entries[0].reason.startswith(start)
    assert parsed.entries[1].instance == "web2:9100"


@pytest.mark.parametrize("entry", [None, 1, "text", [], True])
def test_an_entry_that_is_no_object_is_rejected(entry):
    """Whatever stands in the list."""
    assert parse_one(entry).reason.startswith("alerts[0]: ")


def test_nine_good_alerts_survive_a_bad_one():
    """The rejected one keeps its place and its index."""
    parsed = payload.parse(load_fixture("nine_good_one_bad"))
    assert len(parsed.alerts) == 9
    assert [entry.index for entry in parsed.rejected] == [5]


def test_a_rejected_alert_keeps_the_fingerprint_that_came_with_it():
    """So that its row can be found."""
    assert parse_one(dict(alert(), fingerprint="abc", labels=None)).fingerprint == "abc"


@pytest.mark.parametrize(
    "name", ["status", "receiver", "groupKey", "externalURL", "truncatedAlerts"]
)
@pytest.mark.parametrize("value", [[], {}, True, 1.5])
def test_a_bad_optional_field_is_left_out_with_a_warning(name, value):
    """It is no reason to lose the alerts."""
    parsed = payload.parse(notification(alert(), **{name: value}))
    assert len(parsed.alerts) == 1
    assert [warning.split(":")[0] for warning in parsed.warnings] == [name]


def test_a_long_wrong_value_is_quoted_in_part():
    """An error stays a sentence, whatever was sent."""
    assert len(parse_one(dict(alert(), status="x" * 100000)).reason) < 300


# --- any JSON -------------------------------------------------------------------------------------

_FIELDS = ("labels", "annotations", "status", "fingerprint", "startsAt", "endsAt", "generatorURL")
_ALMOST_ALERTS = st.fixed_dictionaries(
    {}, optional={name: st.one_of(JSON_VALUES, JSON_TEXT) for name in _FIELDS}
)
_ALMOST_NOTIFICATIONS = st.fixed_dictionaries(
    {"alerts": st.one_of(JSON_VALUES, st.lists(st.one_of(_ALMOST_ALERTS, JSON_VALUES)))},
    optional={
        name: JSON_VALUES
        for name in ("version", "status", "receiver", "groupKey", "externalURL", "truncatedAlerts")
    },
)


@PROPERTY
@given(st.one_of(_ALMOST_NOTIFICATIONS, JSON_VALUES))
def test_any_json_is_parsed_or_refused_with_a_payload_error(document):
    """Nothing else is ever raised, and the document is left as it was."""
    before = copy.deepcopy(document)
    try:
        parsed = payload.parse(document)
    except payload.PayloadError as error:
        assert ": " in str(error)
    else:
        assert len(parsed.entries) == len(document["alerts"])
        assert len(parsed.alerts) + len(parsed.rejected) == len(parsed.entries)
    assert document == before


@PROPERTY
@given(st.binary())
@example(b"\xef\xbb\xbf{}")
@example(b"9" * 5000)
def test_any_bytes_are_json_or_refused_with_a_payload_error(body):
    """Nothing else is ever raised."""
    try:
        value = payload.load_json(body)
    except payload.PayloadError as error:
        assert str(error).startswith("body: ")
    else:
        assert json.loads(json.dumps(value)) == value


@PROPERTY
@given(
    st.lists(st.one_of(_ALMOST_ALERTS, JSON_VALUES), max_size=4),
    st.dictionaries(JSON_TEXT, JSON_TEXT, min_size=1),
    st.integers(min_value=0, max_value=4),
)
def test_good_siblings_survive_whatever_is_beside_them(others, labels, place):
    """A good alert with any labels is kept wherever it stands, with its labels unchanged."""
    others.insert(place, dict(alert(), labels=labels))
    kept = payload.parse(notification(*others)).entries[min(place, len(others) - 1)]
    assert isinstance(kept, payload.Alert)
    assert kept.labels == labels
