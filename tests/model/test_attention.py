"""People are told of what happens to many alerts in one message, once."""

import pytest

from tests.support.alerts import alert
from tests.support.pack import Pack


@pytest.fixture
def pack():
    made = Pack(notify_group_seconds=30, rate_limit=["1/1h"])
    made.stackstorm.rule("mine.fix", lambda payload: payload["alertname"] == "ServiceDown")
    return made


def told(pack):
    """The messages for people so far."""
    pack.steps(5)
    return [item for item in pack.told() if item["to"] == "attention"]


def test_alerts_that_no_rule_takes_are_one_message(pack):
    """However many they are, and not again when they come again."""
    pack.post(*[alert(number, alertname="Nobody") for number in range(20)])
    pack.post(alert(1, alertname="Odd"))
    pack.settle()
    assert told(pack) == []
    pack.clock.advance(30)
    (message,) = told(pack)
    assert message["reason"] == "no rule takes Nobody, Odd"
    assert (message["alertname"], message["fingerprint"]) == ("", "")
    pack.post(*[alert(number, alertname="Nobody") for number in range(20, 40)])
    pack.settle()
    pack.clock.advance(60)
    assert len(told(pack)) == 1


def test_a_rate_that_is_used_up_is_told(pack):
    """With the alert and its target."""
    for _ in range(2):
        pack.post(alert(1))
        pack.settle()
        pack.post(alert(1, status="resolved"))
        pack.steps(100)
    pack.post(alert(1))
    pack.steps(3)
    pack.clock.advance(30)
    (message,) = told(pack)
    assert message["reason"] == "rate_limit is used up for ServiceDown on web1"
    assert message["fingerprint"] == pack.alert()["fingerprint"]


def test_an_alert_that_flaps_is_told_once():
    """When it has fired so often within an hour."""
    pack = Pack(notify_group_seconds=0, flapping_episodes=3, rate_limit=[], reopen_seconds=0)
    pack.stackstorm.rule("mine.fix")
    for episode in range(5):
        assert len(told(pack)) == (episode > 2)
        pack.post(alert(1))
        pack.settle()
        pack.post(alert(1, status="resolved"))
        pack.settle()
    assert [item["reason"] for item in told(pack)] == ["ServiceDown on web1 fires again and again"]


def test_an_alert_that_fires_seldom_does_not_flap():
    """However many episodes it has had."""
    pack = Pack(notify_group_seconds=0, flapping_episodes=3, rate_limit=[], reopen_seconds=0)
    pack.stackstorm.rule("mine.fix")
    for _ in range(5):
        pack.clock.advance(1801)
        pack.post(alert(1))
        pack.settle()
        pack.post(alert(1, status="resolved"))
        pack.settle()
    assert told(pack) == []


def test_what_a_killed_sensor_had_gathered_is_told_by_its_successor(pack):
    """Once; what was told an hour or a day ago is not told again."""
    pack.post(alert(1, alertname="Nobody"))
    pack.settle()
    pack.restart()
    assert told(pack) == []
    pack.clock.advance(30)
    assert [message["reason"] for message in told(pack)] == ["no rule takes Nobody"]
    pack.clock.advance(120)
    pack.restart()
    pack.clock.advance(60)
    assert len(told(pack)) == 1
