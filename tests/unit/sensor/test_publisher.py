"""The publisher: nothing is lost with the process, no dispatch is sent twice, and a broken bus or
rules engine is noticed."""

import pytest
from poundcake.errors import BusBroken
from poundcake.sensor.publisher import BROKEN_SECONDS, LOST_SECONDS, PROBE_SECONDS
from poundcake.sensor.relay import STUCK_SECONDS
from poundcake.st2 import executions, triggers

from tests.support.alerts import alert
from tests.support.fakes import Killed
from tests.support.pack import Pack

LONG_ENOUGH = executions.STUCK_SECONDS + LOST_SECONDS + PROBE_SECONDS


@pytest.fixture
def pack():
    made = Pack()
    made.stackstorm.rule("mine.fix")
    return made


def tick_for(pack, seconds):
    for _ in range(int(seconds)):
        pack.tick()


def alert_instances(pack):
    return [i for i in pack.stackstorm.instances if i["trigger"] == triggers.ALERT]


def steps_of(told, fingerprint):
    """Return the reported states of one alert, each once, in the order of their first report."""
    events = {item["event_id"]: item["to"] for item in told if item["fingerprint"] == fingerprint}
    return list(events.values())


# --- reports --------------------------------------------------------------------------------------


def test_what_is_to_be_told_survives_the_process(pack):
    """Most of a storm's reports are still queued when the process is killed."""
    pack.post(*[alert(number) for number in range(30)])
    pack.step()
    assert len(pack.told()) < 10
    pack.start()
    pack.settle()
    pack.steps(60)
    for row in pack.alerts():
        told = steps_of(pack.told(), row["fingerprint"])
        assert told == [entry["state"] for entry in row["history"]]


def test_what_is_told_again_after_a_kill_has_the_same_event_id(pack):
    """So a receiver recognises a repetition."""
    pack.post(alert())
    pack.tick()
    first = pack.told()
    assert first
    pack.start()
    pack.settle()
    again = [item for item in pack.told() if item["event_id"] == first[0]["event_id"]]
    assert len(again) == 2 and again[0] == again[1] == first[0]


def a_busy_while(pack):
    """Changes come faster than they are reported, while ``track`` runs all the time."""
    for start in range(0, 40, 10):
        pack.post(*[alert(number) for number in range(start, start + 10)])
        pack.steps(3)
        for execution_id in pack.stackstorm.running()[:4]:
            pack.stackstorm.finish(execution_id)
    pack.settle()
    pack.steps(60)


def a_busy_pack():
    pack = Pack(max_concurrent=10)
    pack.stackstorm.rule("mine.fix")
    return pack


@pytest.mark.parametrize("part", range(4))
def test_wherever_the_process_is_killed_every_change_is_told_in_its_order(part):
    """At least once, even when ``track`` has removed the batch that contained it."""
    pack = a_busy_pack()
    first = pack.stackstorm.calls
    a_busy_while(pack)
    for call in range(first + 1 + part * 10, pack.stackstorm.calls, 40):
        killed = a_busy_pack()
        killed.stackstorm.die_at = call
        try:
            a_busy_while(killed)
        except Killed:
            killed.restart()
            killed.settle()
            killed.steps(60)
        for row in killed.alerts():
            told = steps_of(killed.told(), row["fingerprint"])
            assert told == [entry["state"] for entry in row["history"]], call


def test_what_has_been_told_is_not_told_again_although_its_batch_still_waits(pack):
    """The rule for ``track`` may be disabled; the sent reports are stored."""
    pack.post(alert())
    tick_for(pack, 5)
    sent = len(pack.told())
    assert sent == 2
    pack.start()
    tick_for(pack, 5)
    assert len(pack.told()) == sent


def test_what_has_been_told_is_not_told_again_at_every_start(pack):
    """When everything is sent, a new process has nothing to repeat."""
    pack.post(*[alert(number) for number in range(30)])
    pack.settle()
    pack.steps(120)
    pack.post(alert(31))
    pack.settle()
    pack.steps(60)
    sent = len(pack.told())
    pack.start()
    pack.steps(30)
    assert len(pack.told()) == sent


# --- lost and stuck dispatches --------------------------------------------------------------------


@pytest.mark.parametrize("status", ["processing", "pending"])
def test_a_dispatch_over_which_the_rules_engine_died_is_sent_again_once(pack, status):
    """With the same dispatch_id, although its trigger instance exists."""
    pack.post(alert())
    pack.tick()
    pack.stackstorm.get_stuck(alert_instances(pack)[0], status)
    pack.steps(LONG_ENOUGH)
    pack.settle()
    first, second = pack.stackstorm.dispatched()
    assert first == second
    assert len(pack.stackstorm.executions) == 1
    assert pack.states() == ["received", "remediating", "remediated"]
    pack.steps(LONG_ENOUGH)
    assert len(pack.stackstorm.dispatched()) == 2


def test_a_stuck_dispatch_is_sent_again_by_a_sensor_that_was_started_meanwhile(pack):
    """Exactly once."""
    pack.post(alert())
    pack.tick()
    pack.stackstorm.get_stuck(alert_instances(pack)[0])
    pack.start()
    pack.steps(LONG_ENOUGH)
    pack.settle()
    assert len(pack.stackstorm.dispatched()) == 2 and len(pack.stackstorm.executions) == 1


def test_a_stuck_dispatch_that_has_started_something_is_not_sent_again(pack):
    """Its execution is followed; the reason says that there may have been more."""
    pack.post(alert())
    pack.tick()
    pack.stackstorm.process()
    (instance,) = alert_instances(pack)
    pack.stackstorm.get_stuck(instance)
    pack.steps(LONG_ENOUGH)
    pack.settle()
    assert len(pack.stackstorm.dispatched()) == 1
    assert pack.alert()["state"] == "remediated"
    assert "in the middle of the rules" in pack.alert()["reason"]


def test_a_dispatch_that_was_processed_is_never_sent_again(pack):
    """However long its execution takes and however often the sensor restarts."""
    pack.post(alert())
    for _ in range(4):
        pack.steps(LONG_ENOUGH)
        pack.start()
    assert len(pack.stackstorm.dispatched()) == 1


def lose_a_dispatch(pack):
    """Let the bus accept the dispatch of an alert and lose it; return the request_id."""
    pack.step()
    pack.stackstorm.swallow = True
    request_id = pack.post(alert())
    pack.tick()
    pack.stackstorm.swallow = False
    return request_id


def test_a_dispatch_that_got_lost_is_found_by_the_next_process(pack):
    """The sensor was killed right after, and the bus lost the dispatch."""
    lose_a_dispatch(pack)
    pack.start()
    pack.steps(LONG_ENOUGH)
    pack.settle()
    (sent,) = pack.stackstorm.dispatched()
    assert sent["dispatch_id"] == pack.alert()["attempts"][0]["dispatch_id"]


def test_a_lost_dispatch_is_sent_again_although_everything_is_paused_meanwhile(pack):
    """It belongs to the attempt that had begun; it is not a new one."""
    lose_a_dispatch(pack)
    pack.pause()
    pack.steps(LONG_ENOUGH)
    pack.settle()
    assert len(pack.stackstorm.dispatched()) == 1 and len(pack.alert()["attempts"]) == 1


def test_a_lost_dispatch_is_not_sent_again_when_the_alert_has_resolved(pack):
    """Nothing has run, and there is nothing left to remediate."""
    request_id = lose_a_dispatch(pack)
    pack.post(alert(status="resolved"))
    pack.steps(LONG_ENOUGH)
    pack.settle()
    assert pack.stackstorm.dispatched() == []
    assert pack.alert()["state"] == "resolved"
    assert "StackStorm lost it" in pack.alert()["history"][-1]["reason"]
    assert pack.request(request_id)["completed_at"]


def test_a_lost_dispatch_of_an_episode_that_is_forgotten_is_given_up(pack):
    """Five newer episodes have begun since, so the alert no longer fires for it."""
    lose_a_dispatch(pack)
    for minute in range(1, 8):
        pack.post(alert(status="resolved"))
        pack.post(alert(starts_at="2026-11-21T08:%02d:00Z" % (minute + 30)))
    pack.steps(LONG_ENOUGH)
    pack.settle()
    (sent,) = pack.stackstorm.dispatched()
    assert sent["starts_at"].startswith("2026-11-21T08:37"), "only the newest one is remediated"
    assert pack.alert()["state"] == "remediated"


# --- a broken bus ---------------------------------------------------------------------------------


def test_a_publisher_that_stays_broken_while_the_bus_answers_ends_the_process(pack):
    """StackStorm's publisher does not recover; a new process sends what is queued, once."""
    pack.stackstorm.bus_away = True
    pack.post(alert())
    tick_for(pack, 2)
    pack.stackstorm.bus_answers = True
    with pytest.raises(BusBroken, match="the bus answers"):
        tick_for(pack, BROKEN_SECONDS + PROBE_SECONDS)
    pack.stackstorm.bus_away = False
    pack.start()
    pack.steps(LONG_ENOUGH)
    pack.settle()
    assert len(pack.stackstorm.dispatched()) == 1
    assert pack.states() == ["received", "remediating", "remediated"]


def test_a_bus_that_is_away_is_waited_for(pack):
    """A new process would not help; notifications are accepted meanwhile."""
    pack.stackstorm.bus_away = True
    pack.post(alert(1))
    tick_for(pack, 10 * BROKEN_SECONDS)
    pack.post(alert(2))
    tick_for(pack, 10)
    assert pack.controller.refusal() == ""
    assert pack.controller.health()["trigger_bus"]["ok"] is False
    pack.stackstorm.bus_away = False
    pack.settle()
    assert [row["state"] for row in pack.alerts()] == ["remediated"] * 2
    assert len(pack.stackstorm.dispatched()) == 2


def test_one_dispatch_that_fails_is_no_broken_bus(pack):
    """A failure that is over does not end the process later."""
    pack.stackstorm.bus_answers = True
    pack.stackstorm.bus_away = True
    pack.post(alert())
    tick_for(pack, 2)
    pack.stackstorm.bus_away = False
    pack.settle()
    pack.steps(10 * BROKEN_SECONDS)
    assert pack.controller.health()["trigger_bus"]["ok"] is True


# --- track is stuck -------------------------------------------------------------------------------


def go_on_without_track(pack, seconds):
    """Everything works except the action ``track``."""
    for _ in range(int(seconds)):
        pack.finish()
        pack.tick()
        pack.stackstorm.process()


def test_a_track_that_is_stuck_degrades_health_and_nothing_else(pack):
    """Alerts are remediated anyway, and the rows catch up when it is back."""
    go_on_without_track(pack, 5)
    assert pack.controller.health()["tracking"]["ok"] is True
    pack.post(alert(1))
    go_on_without_track(pack, STUCK_SECONDS + 5)
    pack.post(alert(2))
    go_on_without_track(pack, 10)
    health = pack.controller.health()["tracking"]
    assert health["ok"] is False and health["detail"].startswith("rows have waited for ")
    assert len(pack.stackstorm.dispatched()) == 2 and pack.alerts() == []
    pack.settle()
    pack.steps(3)
    assert pack.controller.health()["tracking"] == {"ok": True, "detail": "rows are written"}
    assert [row["state"] for row in pack.alerts()] == ["remediated"] * 2
    assert pack.waits() == []


def stuck_detail(pack):
    pack.post(alert())
    go_on_without_track(pack, STUCK_SECONDS + 5)
    return pack.controller.health()["tracking"]["detail"]


def test_health_names_the_remedy_for_a_rule_that_is_gone_or_disabled(pack):
    """With the command to run."""
    detail = stuck_detail(pack)
    assert "the rule poundcake.track is gone; register the pack again" in detail
    pack.stackstorm.get_resource = lambda kind, ref: {"ref": ref, "enabled": False}
    detail = pack.controller.health()["tracking"]["detail"]
    assert "is disabled; st2 rule enable poundcake.track" in detail


def test_health_names_the_execution_of_an_action_that_fails(pack):
    """Or says that it has never run."""
    pack.stackstorm.rule("poundcake.track", matches=lambda p: False, trigger=triggers.TRACKING)
    assert "poundcake.track has never run" in stuck_detail(pack)
    execution_id = pack.stackstorm.run_action("poundcake.track", {})
    pack.stackstorm.finish(execution_id, "failed")
    detail = pack.controller.health()["tracking"]["detail"]
    assert "poundcake.track, execution %s, has the status failed" % execution_id in detail


def test_health_answers_while_the_api_is_away(pack):
    """The detail has the error of StackStorm's API."""
    stuck_detail(pack)
    pack.stackstorm.away = True
    health = pack.controller.health()
    assert "connection refused" in health["tracking"]["detail"]
    assert [health[part]["ok"] for part in ("api", "datastore", "tracking")] == [False] * 3


def test_a_track_that_is_never_done_and_keeps_up_is_healthy(pack):
    """Some rows always wait while there is traffic; it matters that runs of ``track`` end."""
    for number in range(2 * STUCK_SECONDS):
        pack.post(alert(number, status="resolved"))
        pack.step()
    assert pack.controller.health()["tracking"] == {"ok": True, "detail": "under way"}


def test_an_idle_hour_is_no_reason_to_worry(pack):
    """The waiting time counts, not the time of the last write."""
    pack.post(alert())
    pack.settle()
    pack.steps(2 * STUCK_SECONDS)
    pack.post(alert(status="resolved"))
    pack.tick()
    assert pack.controller.health()["tracking"]["ok"] is True
