"""The sensor keeps the latest requests and decisions, within fixed bounds."""

from hypothesis import given
from poundcake import clock
from poundcake.sensor import recent
from poundcake.sensor.ledger import shared

from tests.support.alerts import alert
from tests.support.fakes import JSON_VALUES, NOW, PROPERTY
from tests.support.pack import Pack


def test_only_the_latest_requests_are_remembered():
    """However many arrive."""
    pack = Pack()
    ids = [pack.post(alert(number)) for number in range(recent.MOST_REQUESTS + 5)]
    for _ in range(4):
        pack.step()
    found = pack.controller.snapshot().recent.requests()
    assert [item["request_id"] for item in found] == ids[:4:-1]


def test_only_the_latest_decisions_on_an_alert_are_remembered():
    """Newest first."""
    pack = Pack()
    ids = []
    for _ in range(recent.MOST_DECISIONS + 3):
        ids.append(pack.post(alert(1)))
        pack.step()
    seen = pack.controller.snapshot()
    found = seen.recent.decisions(seen.alerts[0]["fingerprint"])
    assert [request_id for request_id, _, _, _ in found] == ids[: -recent.MOST_DECISIONS - 1 : -1]
    assert {decision for _, _, decision, _ in found} == {"duplicate"}


def test_of_a_large_request_the_first_alerts_are_named():
    """And all are counted."""
    pack = Pack()
    pack.post(*[alert(number) for number in range(recent.MOST_ALERTS + 1)])
    pack.step()
    (found,) = pack.controller.snapshot().recent.requests()
    assert len(found["named"]) == recent.MOST_ALERTS
    assert found["counts"]["alerts"] == recent.MOST_ALERTS + 1


def test_a_request_says_when_it_is_complete():
    """The latest version of its row counts."""
    pack = Pack()
    pack.post(alert(1))
    pack.step()
    (before,) = pack.controller.snapshot().recent.requests()
    pack.settle()
    (after,) = pack.controller.snapshot().recent.requests()
    assert before["completed_at"] is None and after["completed_at"]


def test_decisions_are_forgotten_with_their_alert():
    """Otherwise they would stay forever."""
    pack = Pack()
    pack.post(alert(1, status="resolved"))
    pack.settle()
    seen = pack.controller.snapshot()
    fingerprint = seen.alerts[0]["fingerprint"]
    assert seen.recent.decisions(fingerprint)
    pack.tick(30 * 86400)
    pack.tick(61)
    assert not pack.controller.snapshot().alerts
    assert not seen.recent.decisions(fingerprint)


@PROPERTY
@given(JSON_VALUES)
def test_sharing_changes_no_value(value):
    """Whatever JSON holds."""
    found = shared(value)
    assert found == value and type(found) is type(value)


def test_equal_texts_of_many_rows_are_one_in_memory():
    """Names of fields as well as values, in rows that are loaded and in rows that change."""
    pack = Pack()
    pack.post(alert(1), alert(2))
    pack.settle()
    for _ in ("as they came", "loaded"):
        one, two = pack.controller.snapshot().alerts
        assert one["alertname"] is two["alertname"]
        assert one["labels"]["severity"] is two["labels"]["severity"]
        names = [sorted(row["labels"]) for row in (one, two)]
        assert all(a is b for a, b in zip(*names))
        pack.start()


@PROPERTY
@given(JSON_VALUES)
def test_our_own_times_are_read_as_any_other(value):
    """The quick way gives what the thorough one gives."""
    text = clock.to_text(NOW + len(str(value)) / 7.0)
    assert clock.to_seconds(text) == clock.to_seconds(text.replace("Z", "+00:00"))


def test_a_leap_second_of_our_own_shape_is_read():
    """As it always was."""
    assert clock.to_seconds("2016-12-31T23:59:60.000000Z") == clock.to_seconds(
        "2016-12-31T23:59:59Z"
    )
