"""The dead man's switch: an alert that always fires is not remediated, and missed when it ends."""

import os
import re

import pytest
import yaml
from poundcake.core import lifecycle
from poundcake.core.alert import current_hold
from poundcake.core.decisions import HEARTBEAT
from poundcake.core.facts import Heartbeat
from poundcake.st2 import triggers

from tests.support.alerts import alert
from tests.support.fakes import PACK
from tests.support.pack import SCHEMAS, Pack

SECONDS = 900
HEARTBEAT_CHANGES = (triggers.HEARTBEAT_MISSING, triggers.HEARTBEAT_RETURNED)


@pytest.fixture
def pack():
    made = Pack(watchdog_seconds=SECONDS)
    made.stackstorm.rule("mine.fix")
    return made


def beat(pack, number=1, status="firing", **more):
    """Let a heartbeat arrive; return its request_id."""
    return pack.post(alert(number, status, alertname="Watchdog", **more))


def told(pack):
    """Return what was told of heartbeats so far."""
    return [item["to"] for item in pack.told() if item["to"] in HEARTBEAT_CHANGES]


def part(pack):
    return pack.controller.health()["heartbeat"]


def fall_silent(pack):
    """Let a heartbeat come once, and then time pass until it is missed."""
    beat(pack)
    pack.settle()
    pack.steps(SECONDS + 30)
    assert told(pack) == ["heartbeat_missing"]


def test_a_heartbeat_is_recorded_as_any_alert_and_never_remediated(pack):
    """Though a rule would take it, with a reason and a cause of its own, however often it comes."""
    first = beat(pack)
    pack.settle()
    second = beat(pack)
    pack.settle()
    assert pack.stackstorm.dispatched(triggers.ALERT) == []
    assert pack.states() == ["received", "suppressed"]
    assert "watchdog_alertname" in pack.alert()["reason"]
    for request_id in (first, second):
        assert pack.request(request_id)["counts"] == {"suppress": 1, "alerts": 1}
    assert pack.alert()["occurrences"] == 2
    assert current_hold(pack.alert())["cause"] == HEARTBEAT


def test_nothing_lets_a_heartbeat_be_remediated(pack):
    """Not the end of a pause, nor a person who asks for it."""
    pack.pause()
    pack.tick()
    beat(pack)
    pack.settle()
    pack.resume()
    pack.steps(5)
    request_id = pack.order("retry")
    pack.settle()
    assert pack.stackstorm.dispatched(triggers.ALERT) == []
    (entry,) = pack.request(request_id)["alerts"]
    assert (entry["decision"], entry["outcome"]) == ("rejected", None)
    assert "watchdog_alertname" in entry["reason"]


def test_before_the_first_heartbeat_nothing_is_missed(pack):
    """PoundCake does not know whether anybody wants one; other alerts are none."""
    pack.post(alert())
    pack.steps(2 * SECONDS, "succeeded")
    assert part(pack)["ok"] and told(pack) == []
    assert "no Watchdog is known" in part(pack)["detail"]


def test_a_resolve_alone_is_no_heartbeat(pack):
    """PoundCake may have been installed while it ended."""
    beat(pack, status="resolved")
    pack.steps(2 * SECONDS)
    assert part(pack)["ok"] and told(pack) == []


def test_heartbeats_that_come_in_time_are_not_missed(pack):
    """However long that goes on."""
    for _ in range(4):
        beat(pack)
        pack.steps(SECONDS - 60)
        assert part(pack)["ok"]
    assert told(pack) == []


def test_a_heartbeat_that_stays_away_is_told_once_with_the_remedy(pack):
    """The part of /ready says what to look at."""
    fall_silent(pack)
    pack.steps(SECONDS)
    assert told(pack) == ["heartbeat_missing"]
    (event,) = [item for item in pack.told() if item["to"] == "heartbeat_missing"]
    SCHEMAS.check(triggers.LIFECYCLE, event)
    assert event["alertname"] == "Watchdog" and event["from"] == "heartbeat_returned"
    assert "watchdog_seconds" in event["reason"]
    detail = part(pack)["detail"]
    assert not part(pack)["ok"]
    for word in ("Prometheus", "Alertmanager", "dismiss_alert fingerprint="):
        assert word in detail


def test_a_heartbeat_that_comes_again_is_told_once(pack):
    """And /ready is right again; the next silence is told anew, as another event."""
    fall_silent(pack)
    beat(pack)
    pack.settle()
    assert part(pack)["ok"] and told(pack) == ["heartbeat_missing", "heartbeat_returned"]
    pack.steps(SECONDS + 30)
    assert told(pack) == ["heartbeat_missing", "heartbeat_returned", "heartbeat_missing"]
    events = [item["event_id"] for item in pack.told() if item["to"] in HEARTBEAT_CHANGES]
    assert len(set(events)) == 3


def test_what_was_told_outlives_a_restart(pack):
    """It is not told again, is still missing, and its return is told."""
    fall_silent(pack)
    pack.settle()
    pack.restart()
    assert not part(pack)["ok"]
    pack.steps(SECONDS + 30)
    assert told(pack) == ["heartbeat_missing"]
    pack.restart()
    beat(pack)
    pack.settle()
    assert told(pack) == ["heartbeat_missing", "heartbeat_returned"] and part(pack)["ok"]


def test_a_sensor_that_was_away_gives_alertmanager_time(pack):
    """What could not be heard is not missed; a silence that goes on is."""
    beat(pack)
    pack.settle()
    pack.clock.advance(10 * SECONDS)
    pack.restart()
    pack.steps(SECONDS - 60)
    assert part(pack)["ok"] and told(pack) == []
    pack.steps(120)
    assert told(pack) == ["heartbeat_missing"]


def test_a_heartbeat_that_resolves_is_missing_at_once(pack):
    """Alertmanager lives and says that Prometheus sends it no more."""
    beat(pack)
    pack.settle()
    beat(pack, status="resolved")
    pack.settle()
    pack.steps(5)
    assert told(pack) == ["heartbeat_missing"]
    assert "resolved at" in part(pack)["detail"]
    assert "alert_retention_seconds" in part(pack)["detail"]


@pytest.mark.parametrize("starts_at", ["2026-11-21T08:00:00Z", "2026-11-21T08:19:00Z"])
def test_a_heartbeat_comes_back_after_its_resolve(pack, starts_at):
    """With the startsAt that it had, when only the way to Alertmanager was cut, or a new one."""
    beat(pack)
    beat(pack, status="resolved")
    pack.settle()
    pack.steps(5)
    beat(pack, starts_at=starts_at)
    pack.settle()
    assert told(pack) == ["heartbeat_missing", "heartbeat_returned"]
    pack.steps(SECONDS - 60)
    assert part(pack)["ok"]


def test_one_of_two_that_falls_silent_is_missed(pack):
    """Each Prometheus has its own."""
    beat(pack, 1)
    beat(pack, 2)
    pack.settle()
    for _ in range(3):
        pack.steps(SECONDS // 2)
        beat(pack, 2)
    pack.settle()
    missing = [item["host"] for item in pack.told() if item["to"] == "heartbeat_missing"]
    assert missing == ["web1"] and not part(pack)["ok"]


def test_a_heartbeat_that_a_person_dismissed_is_not_missed(pack):
    """A Prometheus that was taken away for good."""
    fall_silent(pack)
    pack.order("dismiss", reason="that cluster is gone")
    pack.settle()
    pack.steps(SECONDS)
    assert part(pack)["ok"] and told(pack) == ["heartbeat_missing"]
    assert pack.controller.state()["heartbeat"] == {"missing": 0, "last_seen": None}


@pytest.mark.parametrize("name", ["", "DeadMansSwitch"])
def test_another_name_or_none_can_be_set(name):
    """What is no heartbeat is remediated as any alert."""
    pack = Pack(watchdog_alertname=name)
    pack.stackstorm.rule("mine.fix")
    beat(pack)
    pack.settle()
    assert len(pack.stackstorm.dispatched(triggers.ALERT)) == 1
    pack.steps(2000)
    assert told(pack) == []
    assert ("heartbeat" in pack.controller.health()) is bool(name)


def test_a_person_is_told_of_both():
    """By the rule that the pack ships for that."""
    with open(os.path.join(PACK, "rules", "notify_people.yaml"), encoding="utf-8") as handle:
        rule = yaml.safe_load(handle)
    pattern = re.compile(rule["criteria"]["trigger.to"]["pattern"])
    assert all(pattern.search(change) for change in HEARTBEAT_CHANGES)


def test_facts_about_a_heartbeat_may_come_twice_and_in_any_order(pack):
    """The row is the same: nothing but times is kept of them."""
    beat(pack)
    pack.settle()
    row = pack.alert()
    about = (row["fingerprint"], row["starts_at"])
    facts = [
        Heartbeat(*about, "2026-11-21T09:0%d:00.000000Z" % minute, missing, "late")
        for minute, missing in enumerate([False, True, False, True])
    ]
    ways = []
    for order in (facts, facts[::-1], facts + facts):
        made = row
        for item in order:
            made = lifecycle.apply(made, item)
        ways.append(made["heartbeat"])
    assert ways[0] == ways[1] == ways[2]
    assert ways[0]["missing_at"] > ways[0]["seen_at"] > row["heartbeat"]["seen_at"]
