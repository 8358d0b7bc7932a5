"""The one decision maker, with inbox, ledger and outbox, over a StackStorm in memory."""

import inspect
import json
import logging

import pytest
from poundcake import clock
from poundcake.core import lifecycle, payload, requests
from poundcake.core.alert import FAILED, RESOLVED
from poundcake.core.facts import Executed
from poundcake.operators import commands
from poundcake.sensor.controller import SWEEP_SECONDS, Controller
from poundcake.sensor.metrics import Metrics
from poundcake.sensor.publisher import LOST_SECONDS, PROBE_SECONDS
from poundcake.sensor.recorder import Recorder
from poundcake.sensor.relay import AGAIN_SECONDS as TRACK_AGAIN_SECONDS
from poundcake.st2 import inbox, outbox, rows, triggers
from poundcake.st2.client import StackStorm, StackStormError

from tests.support.alerts import alert, notification
from tests.support.fakes import (
    NOW,
    Clock,
    FakeContent,
    FakeStackStorm,
    Killed,
    assert_inert,
    load_fixture,
    make_settings,
)
from tests.support.pack import LOG, SCHEMAS, TOKEN, Pack
from tests.support.rows import plain_request, plain_row


@pytest.fixture
def pack():
    made = Pack()
    made.stackstorm.rule("mine.fix")
    return made


# --- one alert, from webhook to result ------------------------------------------------------------


def test_an_alert_goes_from_the_inbox_to_remediated_and_resolved(pack):
    """Every row is written, the queues are empty again, every change is told."""
    request_id = pack.post(alert())
    pack.step()
    pack.step()
    assert pack.states() == ["received", "remediating"]
    pack.settle()
    resolve_id = pack.post(alert(status="resolved"))
    pack.settle()

    assert pack.states() == ["received", "remediating", "remediated", "resolved"]
    assert pack.changes() == [
        ">received",
        "received>remediating",
        "remediating>remediated",
        "remediated>resolved",
    ]
    request = pack.request(request_id)
    entry = request["alerts"][0]
    assert (entry["decision"], entry["outcome"]) == ("dispatch", "remediated")
    assert request["completed_at"] and request["counts"] == {"dispatch": 1, "alerts": 1}
    assert pack.request(resolve_id)["alerts"][0]["decision"] == "resolve"
    (execution,) = pack.stackstorm.rows(rows.EXECUTION)
    assert execution["request_id"] == request_id and execution["status"] == "succeeded"
    assert execution["fingerprint"] == pack.alert()["fingerprint"]
    assert execution["dispatch_id"] == entry["dispatch_id"]
    assert pack.waits() == []


def test_the_request_id_is_the_trace_tag_of_the_dispatch(pack):
    """So st2 trace list --trace-tag shows what followed."""
    request_id = pack.post(alert())
    pack.tick()
    (sent,) = [i for i in pack.stackstorm.instances if i["trigger"] == triggers.ALERT]
    assert sent["trace_tag"] == sent["payload"]["request_id"] == request_id


def test_a_dispatch_carries_what_a_rule_author_needs(pack):
    """The alert's facts, and common labels even when the alert lacks them."""
    request_id = pack.post(alert(service="nginx"), receiver="team-a")
    pack.tick()
    (sent,) = pack.stackstorm.dispatched()
    wanted = {
        "request_id": request_id,
        "attempt": 1,
        "status": "firing",
        "alertname": "ServiceDown",
        "severity": "critical",
        "instance": "web1:9100",
        "host": "web1",
        "service": "nginx",
        "namespace": "",
        "summary": "the service is down",
        "runbook_url": "",
        "starts_at": "2026-11-21T08:00:00.000000000Z",
        "ends_at": "",
        "receiver": "team-a",
        "group_key": '\u2774}:\u2774job="node"}',
    }
    assert {name: sent[name] for name in wanted} == wanted
    assert sent["labels"]["service"] == "nginx"


def test_a_resolve_emits_its_own_trigger_once(pack):
    """No rule on poundcake.alert can remediate a resolved alert by mistake."""
    pack.post(alert())
    pack.settle()
    dispatch_id = pack.stackstorm.dispatched()[0]["dispatch_id"]
    request_id = pack.post(alert(status="resolved", starts_at="2026-11-21T08:00:00Z"))
    pack.post(alert(status="resolved"))
    pack.settle()
    assert len(pack.stackstorm.dispatched(triggers.ALERT)) == 1
    (sent,) = pack.stackstorm.dispatched(triggers.ALERT_RESOLVED)
    assert (sent["status"], sent["request_id"]) == ("resolved", request_id)
    assert sent["dispatch_id"] == dispatch_id


def test_a_resolve_of_an_unknown_alert_is_told_too(pack):
    """PoundCake may have been installed while it fired."""
    pack.post_document(load_fixture("resolved"))
    pack.settle()
    sent = pack.stackstorm.dispatched(triggers.ALERT_RESOLVED)
    assert len(sent) == 4 and {item["attempt"] for item in sent} == {0}
    assert pack.stackstorm.dispatched(triggers.ALERT) == []


@pytest.mark.parametrize(
    "rule, state, reason",
    [
        (None, "unmatched", "no rule on poundcake.alert matched"),
        ({"matches": lambda p: False}, "unmatched", "no rule on poundcake.alert matched"),
        ({"failure": "no label x"}, "unmatched", "mine.fix: no label x"),
    ],
)
def test_an_alert_that_nothing_remediates_is_unmatched_with_the_reason(rule, state, reason):
    """Every acknowledged alert reaches a final state or a visible reason."""
    pack = Pack()
    if rule:
        pack.stackstorm.rule("mine.fix", **rule)
    request_id = pack.post(alert())
    pack.settle()
    assert (pack.alert()["state"], pack.alert()["reason"]) == (state, reason)
    assert pack.request(request_id)["alerts"][0]["outcome"] == "unmatched"


def test_a_remediation_that_failed_says_why(pack):
    """In the row, in the execution's row and in the lifecycle trigger."""
    pack.post(alert())
    pack.step()
    pack.finish("failed", {"stderr": "unit not found"})
    pack.settle()
    assert pack.alert()["state"] == "failed"
    assert pack.alert()["reason"] == "core.noop failed: unit not found"
    assert pack.stackstorm.rows(rows.EXECUTION)[0]["error"] == "unit not found"
    assert pack.stackstorm.dispatched(triggers.LIFECYCLE)[-1]["reason"].endswith("unit not found")


def test_repeated_notifications_remediate_once(pack):
    """Alertmanager sends an alert that fires on again and again, and to two receivers."""
    for receiver in ("a", "b", "a"):
        pack.post(alert(), receiver=receiver)
    pack.settle()
    pack.post(alert())
    pack.settle()
    assert len(pack.stackstorm.dispatched()) == 1
    assert pack.alert()["occurrences"] == 4
    decisions = [r["alerts"][0]["decision"] for r in pack.stackstorm.rows(rows.REQUEST)]
    assert sorted(decisions) == ["dispatch"] + ["duplicate"] * 3


def test_one_alert_twice_in_one_notification_is_dispatched_and_a_duplicate(pack):
    """The request says that there was one dispatch and not two."""
    request_id = pack.post(alert(), alert())
    pack.settle()
    assert len(pack.stackstorm.dispatched()) == 1
    counts = pack.request(request_id)["counts"]
    assert counts == {"dispatch": 1, "duplicate": 1, "alerts": 2}


def test_nine_good_alerts_are_remediated_and_the_bad_one_is_recorded(pack):
    """One bad alert never sinks its batch."""
    request_id = pack.post_document(load_fixture("nine_good_one_bad"))
    pack.settle()
    request = pack.request(request_id)
    assert request["counts"] == {"dispatch": 9, "rejected": 1, "alerts": 10}
    assert request["alerts"][5]["reason"].startswith("alerts[5].labels: a string found")
    assert [row["state"] for row in pack.alerts()] == ["remediated"] * 9
    assert request["completed_at"]


def test_a_rejected_alert_has_no_outcome(pack):
    """Although it came with the fingerprint of an alert that is tracked."""
    good = dict(alert(), fingerprint="abc")
    request_id = pack.post(good, dict(good, labels=None))
    pack.settle()
    entries = pack.request(request_id)["alerts"]
    assert [(e["decision"], e["outcome"]) for e in entries] == [
        ("dispatch", "remediated"),
        ("rejected", None),
    ]


def test_an_empty_notification_is_a_complete_request(pack):
    """It is acknowledged, so it has a row."""
    request_id = pack.post_document(load_fixture("empty_alerts"))
    pack.settle()
    assert pack.request(request_id)["completed_at"]


@pytest.mark.parametrize(
    "name", ["unicode_labels", "no_alertname", "new_fields", "sparse", "truncated", "mixed"]
)
def test_every_real_body_goes_through(pack, name):
    """Alertmanager's variety reaches a final state, with payloads that fit their schemas."""
    document = load_fixture(name)
    request_id = pack.post_document(document)
    pack.settle()
    firing = [a for a in document["alerts"] if a["status"] == "firing"]
    assert len(pack.stackstorm.dispatched()) == len(firing)
    assert pack.request(request_id)["truncated_alerts"] == document.get("truncatedAlerts", 0)
    for sent in pack.stackstorm.dispatched():
        SCHEMAS.check(triggers.ALERT, sent)


# --- alert text is data ---------------------------------------------------------------------------


def test_no_trigger_carries_an_expression_and_rows_keep_the_original(pack):
    """Labels, annotations, their names, receiver, group key and URLs, in every trigger."""
    document = load_fixture("expressions")
    pack.post_document(document)
    pack.step()
    pack.finish("failed", {"stderr": "no such unit {{ st2kv.system.x }} <% 7*7 %>"})
    pack.settle()
    resolved = load_fixture("expressions")
    resolved["alerts"][0]["status"] = "resolved"
    pack.post_document(resolved)
    pack.settle()

    sent = {instance["trigger"] for instance in pack.stackstorm.instances}
    assert {triggers.ALERT, triggers.ALERT_RESOLVED, triggers.LIFECYCLE} <= sent
    for instance in pack.stackstorm.instances:
        assert_inert(instance["payload"])
    row, original = pack.alert(), document["alerts"][0]
    assert row["labels"] == original["labels"] and row["annotations"] == original["annotations"]
    assert row["generator_url"] == original["generatorURL"]
    assert row["receiver"] == document["receiver"] and row["group_key"] == document["groupKey"]
    assert row["external_url"] == document["externalURL"]
    assert "{{ st2kv" in row["history"][2]["reason"]
    for text in pack.stackstorm.keys.values():
        assert not any(opener in text for opener in ("{{", "{%", "{#", "<%"))


@pytest.mark.parametrize(
    "field",
    ["receiver", "groupKey", "externalURL", "generatorURL", "label", "label name"]
    + ["annotation", "annotation name", "instance", "alertname", "severity"],
)
@pytest.mark.parametrize(
    "text", ["{{ 7*7 }}", "<% 7*7 %>", "{% raw %}", "{# x", "{", "<", "% 7 %>"]
)
def test_each_place_of_alert_text_is_inert(field, text):
    """One at a time, so that no place hides behind another."""
    pack = Pack()
    entry = alert()
    document = notification(entry)
    if field in ("receiver", "groupKey", "externalURL"):
        document[field] = text
    elif field == "generatorURL":
        entry[field] = text
    elif field.startswith("annotation"):
        entry["annotations"]["x" if field == "annotation" else text] = text
    else:
        entry["labels"][{"label": "x", "label name": text}.get(field, field)] = text
    pack.post_document(document)
    pack.tick()
    (sent,) = pack.stackstorm.dispatched()
    assert_inert(sent)


def test_lone_surrogates_and_nul_do_not_stop_an_alert(pack):
    """They are legal in JSON; the bus and processes cannot carry them."""
    pack.post(alert(x="\ud800", y="a\0b"))
    pack.settle()
    (sent,) = pack.stackstorm.dispatched()
    json.dumps(sent, ensure_ascii=False).encode("utf-8")
    assert pack.alert()["labels"]["x"] == "\ud800"


def test_no_secret_of_the_config_is_in_a_row_a_trigger_or_a_log(pack, caplog):
    """Through a whole life, faults included."""
    caplog.set_level(logging.DEBUG)
    pack.post(alert())
    pack.stackstorm.fail("set_key")
    with pytest.raises(StackStormError):
        pack.step()
    pack.stackstorm.bus_away = True
    pack.step()
    pack.stackstorm.bus_away = False
    pack.settle()
    kept = json.dumps([pack.stackstorm.keys, pack.stackstorm.instances], default=str)
    assert TOKEN not in kept and TOKEN not in caplog.text


@pytest.mark.parametrize("depth", [10, 100, 300, 450, 600, 800])
def test_an_alert_that_was_acknowledged_is_decided_however_deep_it_is(pack, depth):
    """An entry that stops the sensor would stop it again at every start; refused is fine too."""
    deep = payload.load_json(b"[" * depth + b"]" * depth)
    try:
        pack.post(dict(alert(1), extraField=deep), alert(2))
    except payload.PayloadError:
        return
    pack.settle()
    assert "remediated" in [row["state"] for row in pack.alerts()]
    assert pack.waits() == []


# --- the window -----------------------------------------------------------------------------------


def test_a_storm_is_worked_off_within_the_window():
    """400 alerts in one burst: all end, in flight never above the window, none twice."""
    pack = Pack(max_concurrent=10)
    pack.stackstorm.rule("mine.fix")
    for start in range(0, 400, 40):
        pack.post(*[alert(number) for number in range(start, start + 40)])
    pack.settle()
    assert [row["state"] for row in pack.alerts()] == ["remediated"] * 400
    assert pack.most_in_flight == 10
    assert len(pack.stackstorm.executions) == 400
    assert len({sent["fingerprint"] for sent in pack.stackstorm.dispatched()}) == 400
    assert all(request["completed_at"] for request in pack.stackstorm.rows(rows.REQUEST))


def test_a_pending_alert_says_why_and_is_dispatched_when_there_is_room():
    """For the request that brought it."""
    pack = Pack(max_concurrent=1)
    pack.stackstorm.rule("mine.fix")
    pack.post(alert(1))
    request_id = pack.post(alert(2))
    pack.step()
    pack.step()
    request = pack.request(request_id)
    assert (request["alerts"][0]["decision"], request["completed_at"]) == ("pend", None)
    assert "max_concurrent is 1" in request["alerts"][0]["reason"]
    pack.settle()
    request = pack.request(request_id)
    assert request["alerts"][0]["outcome"] == "remediated" and request["completed_at"]
    assert pack.stackstorm.dispatched()[1]["request_id"] == request_id


def test_a_pending_alert_that_resolves_is_not_remediated():
    """And its request is complete."""
    pack = Pack(max_concurrent=1)
    pack.stackstorm.rule("mine.fix")
    pack.post(alert(1))
    request_id = pack.post(alert(2))
    pack.step()
    pack.post(alert(2, status="resolved"))
    pack.step()
    pack.settle()
    assert len(pack.stackstorm.dispatched()) == 1
    assert pack.request(request_id)["alerts"][0]["outcome"] == "resolved"
    assert pack.request(request_id)["completed_at"]


def test_a_pending_episode_that_a_newer_one_replaces_completes_its_request():
    """The resolve between the two may never have come; nobody waits for ever."""
    pack = Pack(max_concurrent=1)
    pack.stackstorm.rule("mine.fix")
    pack.post(alert(1))
    request_id = pack.post(alert(2))
    pack.step()
    pack.post(alert(2, starts_at="2026-11-21T08:19:00Z"))
    pack.step()
    pack.settle()
    assert len(pack.stackstorm.dispatched()) == 2
    assert pack.request(request_id)["completed_at"]


def test_a_flapping_alert_gives_its_slot_back_after_a_long_remediation():
    """However many episodes begin while it runs."""
    pack = Pack(max_concurrent=1)
    pack.stackstorm.rule("mine.fix")
    pack.post(alert(1, starts_at="2026-11-21T08:00:00Z"))
    pack.step()
    for minute in range(1, 8):
        start = "2026-11-21T08:%02d:00Z" % minute
        pack.post(alert(1, starts_at=start))
        pack.post(alert(1, starts_at=start, status="resolved"))
        pack.step()
    pack.finish()
    pack.step()
    pack.post(alert(2))
    pack.settle()
    assert len(pack.stackstorm.dispatched()) == 2


def test_a_clock_that_steps_back_stops_nothing():
    """NTP corrects clocks; the alert that was pending is remediated once all the same."""
    pack = Pack(max_concurrent=1)
    pack.stackstorm.rule("mine.fix")
    pack.post(alert(1))
    pack.post(alert(2))
    pack.step()
    pack.finish()
    pack.clock.advance(-120)
    # What is due every second waits until the clock is where it was, so the sensor starts again.
    pack.start()
    pack.settle()
    assert len(pack.stackstorm.dispatched()) == 2


# --- durable --------------------------------------------------------------------------------------


def test_nothing_is_sent_before_it_is_written(pack):
    """Inbox, outbox, then the trigger; the inbox entry leaves after the rows are there."""
    request_id = pack.post(alert())
    pack.settle()
    events = [(kind, name.rsplit(".", 1)[0]) for kind, name in pack.stackstorm.events]
    order = [
        ("set", "poundcake.inbox"),
        ("set", "poundcake.outbox"),
        ("set", "poundcake.alert"),
        ("delete", "poundcake.outbox"),
        ("delete", "poundcake.inbox"),
    ]
    places = [events.index(item) for item in order]
    assert places == sorted(places)
    dispatch = pack.stackstorm.events.index(("dispatch", triggers.ALERT))
    assert places[1] < dispatch
    removal = pack.stackstorm.events.index(("delete", rows.key(rows.INBOX, request_id)))
    assert removal > places[3]


def test_an_entry_stays_in_the_inbox_until_its_rows_are_written(pack):
    """As long as ``track`` has not run, a killed sensor finds it there."""
    pack.post(alert())
    for _ in range(5):
        pack.tick()
    assert len(inbox.entries(pack.stackstorm)) == 1
    pack.settle()
    assert len(inbox.entries(pack.stackstorm)) == 0


def test_an_entry_is_removed_even_when_the_api_fails_at_that_moment(pack):
    """Else it stays until the request's row has expired, and is decided again."""
    pack.post(alert())
    while pack.stackstorm.rows(rows.OUTBOX) or not pack.alerts():
        pack.step()
    assert len(inbox.entries(pack.stackstorm)) == 1
    pack.stackstorm.fail("delete_key")
    with pytest.raises(StackStormError):
        for _ in range(10):
            pack.tick()
    pack.settle()
    assert inbox.entries(pack.stackstorm) == []


def test_what_receive_webhook_wrote_is_found(pack):
    """It comes through the inbox alone."""
    inbox.accept(pack.stackstorm, notification(alert()), inbox.ST2_WEBHOOK, now=pack.clock())
    pack.settle()
    assert pack.alert()["state"] == "remediated"
    assert pack.stackstorm.rows(rows.REQUEST)[0]["source"] == "st2_webhook"


def test_an_entry_that_is_taken_and_found_is_decided_once(pack):
    """The poll may see it before the listener's thread has handed it over."""
    entry, _ = inbox.accept(pack.stackstorm, notification(alert()), inbox.LISTENER, pack.clock())
    pack.step()
    pack.controller.take(entry)
    pack.settle()
    assert pack.alert()["occurrences"] == 1 and len(pack.stackstorm.dispatched()) == 1


def test_an_outage_of_the_api_delays_and_loses_nothing(pack):
    """Every call fails for a while, in the middle of the work."""
    pack.post(alert(1), alert(2))
    pack.stackstorm.away = True
    for _ in range(3):
        with pytest.raises(StackStormError):
            pack.tick()
    assert pack.stackstorm.dispatched() == []
    pack.stackstorm.away = False
    pack.settle()
    assert len(pack.stackstorm.dispatched()) == 2
    assert [row["state"] for row in pack.alerts()] == ["remediated"] * 2


def test_an_outage_of_the_bus_delays_and_loses_nothing(pack):
    """Triggers wait, in order, and are sent once."""
    pack.stackstorm.bus_away = True
    pack.post(alert(1), alert(2))
    for _ in range(3):
        pack.tick()
    assert pack.controller.health()["trigger_bus"]["ok"] is False
    pack.stackstorm.bus_away = False
    pack.settle()
    assert len(pack.stackstorm.dispatched()) == 2
    assert [row["state"] for row in pack.alerts()] == ["remediated"] * 2


def test_a_trigger_that_the_bus_lost_is_sent_again_as_it_was(pack):
    """With the same dispatch_id, once a probe that was sent later has arrived."""
    pack.step()
    pack.stackstorm.swallow = True
    pack.post(alert())
    pack.tick()
    pack.stackstorm.swallow = False
    pack.settle(steps=int(LOST_SECONDS + PROBE_SECONDS) * 3)
    (sent,) = pack.stackstorm.dispatched()
    assert pack.alert()["attempts"][0]["dispatch_id"] == sent["dispatch_id"]
    assert pack.states() == ["received", "remediating", "remediated"]


def test_a_rules_engine_that_is_behind_gets_no_second_trigger(pack):
    """Late is not lost: the instance is there."""
    pack.post(alert())
    for _ in range(int(LOST_SECONDS + PROBE_SECONDS) * 2):
        pack.tick()
    assert len(pack.stackstorm.dispatched()) == 1
    pack.settle()
    assert len(pack.stackstorm.executions) == 1


def test_tracking_is_asked_for_again_when_nothing_happened(pack):
    """The rule may have been disabled for a while."""
    pack.post(alert())
    for _ in range(int(TRACK_AGAIN_SECONDS) + 10):
        pack.tick()
    assert len(pack.stackstorm.dispatched(triggers.TRACKING)) == 2
    pack.settle()
    assert pack.alert()["state"] == "remediated"


def scenario(pack):
    """Three alerts through a window of one, with a repetition and a resolve."""
    pack.post(alert(1), alert(2))
    pack.step()
    pack.post(alert(1), alert(3))
    pack.step()
    pack.post(alert(2, status="resolved"))
    pack.settle()


def crash_scenario_calls():
    pack = Pack(max_concurrent=1)
    pack.stackstorm.rule("mine.fix")
    before = pack.stackstorm.calls
    scenario(pack)
    return before, pack.stackstorm.calls


@pytest.mark.parametrize("part", range(4))
def test_a_kill_at_any_call_changes_no_outcome(part):
    """Nothing is lost, nothing is remediated twice, the queues are empty in the end.

    The process is killed at every call that it makes to StackStorm, one run a call, and starts
    again; Alertmanager sends again what was not acknowledged.
    """
    first, last = crash_scenario_calls()
    for call in range(first + 1 + part, last + 1, 4):
        pack = Pack(max_concurrent=1)
        pack.stackstorm.rule("mine.fix")
        pack.stackstorm.die_at = call
        done = False
        while not done:
            try:
                scenario(pack)
                done = True
            except Killed:
                pack.restart()
        pack.settle(steps=400)
        states = {row["host"]: row["state"] for row in pack.alerts()}
        assert states["web1"] == states["web3"] == "remediated", call
        assert states["web2"] == "resolved", call
        dispatched = [sent["dispatch_id"] for sent in pack.stackstorm.dispatched()]
        assert len(dispatched) == len(set(dispatched)), call
        assert len(pack.stackstorm.executions) == len(dispatched), call
        assert pack.most_in_flight == 1, call
        assert all(r["completed_at"] for r in pack.stackstorm.rows(rows.REQUEST)), call


def test_a_kill_between_the_batches_of_one_write_changes_no_outcome(monkeypatch):
    """Rows of alerts may be safe without the row of their request: nothing is decided anew."""
    monkeypatch.setattr(outbox, "ROWS_IN_BATCH", 1)

    def live(pack):
        pack.post(alert(1), alert(2))
        pack.steps(3, "failed")
        pack.order(commands.RETRY)
        pack.steps(3)
        pack.settle()

    def live_with_a_kill(call):
        pack = Pack(max_concurrent=1)
        pack.stackstorm.rule("mine.fix")
        pack.stackstorm.die_at = call
        try:
            live(pack)
        except Killed:
            pack.restart()
            pack.settle(steps=400)
        return pack

    for call in range(1, live_with_a_kill(None).stackstorm.calls, 3):
        pack = live_with_a_kill(call)
        dispatched = [sent["dispatch_id"] for sent in pack.stackstorm.dispatched()]
        assert len(dispatched) == len(set(dispatched)) <= 3, call
        for request in pack.stackstorm.rows(rows.REQUEST):
            assert request["completed_at"], call
            kinds = {entry["decision"] for entry in request["alerts"]}
            assert kinds <= {"dispatch", "pend"}, call


def test_what_could_not_be_written_is_written_and_told_later(pack):
    """Each change is told, from the first on."""
    request_id = pack.post(alert())
    pack.stackstorm.fail("set_key")
    with pytest.raises(StackStormError):
        pack.tick()
    pack.settle()
    assert pack.changes() == [">received", "received>remediating", "remediating>remediated"]
    assert pack.request(request_id)["completed_at"]


def test_a_restart_goes_on_with_what_was_in_flight(pack):
    """The remediation that runs meanwhile is followed to its end, and not started again."""
    pack.post(alert())
    pack.settle(steps=3, finish=True)
    pack.post(alert(2))
    pack.step()
    pack.start()
    pack.settle()
    assert len(pack.stackstorm.executions) == 2
    assert [row["state"] for row in pack.alerts()] == ["remediated"] * 2


# --- questions ------------------------------------------------------------------------------------


def test_the_status_of_a_request_is_known_from_the_acknowledgement_on(pack):
    """From the inbox, from memory, and from the rows alike."""
    request_id = pack.post(alert())
    ask = pack.controller.request_status
    assert (ask(request_id)["status"], ask(request_id)["alerts"]) == ("accepted", [])
    pack.step()
    pack.step()
    status = ask(request_id)
    assert status["status"] == "in progress"
    assert status["alerts"][0]["state"] == "remediating"
    pack.settle()
    status = ask(request_id)
    assert status["status"] == "complete" and status["alerts"][0]["state"] == "remediated"
    assert [item["status"] for item in status["executions"]] == ["succeeded"]
    pack.start()
    assert pack.controller.request_status(request_id) == status


@pytest.mark.parametrize("request_id", ["nope", "", "../etc", "a?b#c", "\udcff"])
def test_an_unknown_request_is_none(pack, request_id):
    """Whatever was asked for."""
    assert pack.controller.request_status(request_id) is None


def test_health_tells_each_part_apart(pack):
    """Ready when all are; the detail says what is wrong."""
    pack.step()
    health = pack.controller.health()
    names = ["api", "datastore", "heartbeat", "sensor", "set_aside", "tracking", "trigger_bus"]
    assert sorted(health) == names
    assert all(part["ok"] for part in health.values())
    pack.stackstorm.away = True
    health = pack.controller.health()
    assert not health["api"]["ok"] and not health["datastore"]["ok"]
    assert "connection refused" in health["api"]["detail"]


def test_a_bus_that_swallows_triggers_is_found_by_the_probe(pack):
    """A dispatch returns the same whether or not the trigger was sent."""
    pack.stackstorm.swallow = True
    for _ in range(PROBE_SECONDS + 10):
        pack.tick()
    assert pack.controller.health()["trigger_bus"]["ok"] is False
    pack.stackstorm.swallow = False
    for _ in range(PROBE_SECONDS + 10):
        pack.step()
    assert pack.controller.health()["trigger_bus"]["ok"] is True


def test_a_controller_that_is_not_loaded_or_stops_is_not_ready():
    """And takes nothing when it stops."""
    pack = Pack()
    fresh = Controller(
        pack.settings, pack.stackstorm, pack.stackstorm.dispatch, lambda: False, SCHEMAS, LOG
    )
    assert fresh.health()["sensor"] == {"ok": False, "detail": "loading its rows"}
    assert fresh.refusal() == ""
    fresh.stop("the sensor is shutting down")
    assert fresh.refusal() == "the sensor is shutting down"
    assert fresh.health()["sensor"]["ok"] is False


def test_a_backlog_over_the_limit_is_refused():
    """Alertmanager sends again after a 503; memory does not grow without limit."""
    pack = Pack(max_backlog=2)
    pack.post(alert(1))
    assert pack.controller.refusal() == ""
    pack.post(alert(2))
    reason = "backlog: 2 notifications and 0 batches of rows wait (max_backlog)"
    assert pack.controller.refusal() == reason
    pack.step()
    assert pack.controller.refusal() == ""


def test_run_works_until_it_is_told_to_stop(pack):
    """And outlives an API that is away."""
    calls = []

    def dispatch(trigger, payload_, trace_tag):
        calls.append(trigger)
        pack.controller.stop("enough")

    pack.controller = Controller(
        pack.settings, pack.stackstorm, dispatch, lambda: False, SCHEMAS, LOG
    )
    pack.post(alert())
    pack.stackstorm.fail("list_keys")
    pack.controller.run()
    assert triggers.ALERT in calls


# --- memory and time ------------------------------------------------------------------------------


def test_rows_live_as_long_as_the_retention_says(pack):
    """Counted from their last write; queues have no end."""
    pack.post(alert())
    pack.settle()
    settings = pack.settings
    ttl = pack.stackstorm.ttl
    (key,) = pack.stackstorm.list_keys(rows.ALERT)
    assert ttl(key) > settings.retention.request_seconds - 60
    pack.post(alert(status="resolved"))
    pack.settle()
    assert 0 < settings.retention.alert_seconds - ttl(key) < 60
    for key in pack.stackstorm.list_keys(rows.REQUEST):
        assert 0 <= settings.retention.request_seconds - ttl(key) < 60
    for key in pack.stackstorm.list_keys(rows.EXECUTION):
        assert 0 <= settings.retention.execution_seconds - ttl(key) < 60


def test_a_resolved_alert_is_forgotten_with_its_row_and_may_come_again(pack):
    """As new."""
    pack.post(alert())
    pack.post(alert(status="resolved"))
    pack.settle()
    pack.clock.advance(pack.settings.retention.alert_seconds + SWEEP_SECONDS)
    pack.tick()
    pack.tick()
    assert pack.alerts() == []
    pack.post(alert(starts_at="2026-11-23T08:00:00Z"))
    pack.settle()
    assert pack.states() == ["received", "remediating", "remediated"]
    assert pack.alert()["occurrences"] == 1


# --- outbox, ledger, inbox ------------------------------------------------------------------------


def a_change(count, rev=1, state="received"):
    alerts = {"f%03d" % n: plain_row("f%03d" % n, rev, state) for n in range(count)}
    requests = {"r1": plain_request("r1", rev)}
    return {"alerts": alerts, "executions": {}, "requests": requests}


@pytest.fixture
def stackstorm():
    return FakeStackStorm(Clock())


def test_tracking_twice_changes_nothing(stackstorm):
    """The action may run again with the same batch."""
    (batch_id,) = outbox.put(stackstorm, a_change(3))
    first = outbox.track(stackstorm, batch_id, make_settings())
    assert first == {"batches": 1, "written": 4, "unchanged": 0}
    kept = dict(stackstorm.keys)
    again = outbox.track(stackstorm, batch_id, make_settings())
    assert again == {"batches": 0, "written": 0, "unchanged": 0}
    assert stackstorm.keys == kept and outbox.is_tracked(stackstorm, batch_id)


def test_a_batch_that_was_cut_off_is_finished(stackstorm):
    """What it had written already counts as unchanged."""
    (batch_id,) = outbox.put(stackstorm, a_change(3))
    stackstorm.fail("delete_key")
    with pytest.raises(StackStormError):
        outbox.track(stackstorm, batch_id, make_settings())
    assert not outbox.is_tracked(stackstorm, batch_id)
    again = outbox.track(stackstorm, batch_id, make_settings())
    assert again == {"batches": 1, "written": 0, "unchanged": 4}


def test_an_older_batch_never_overwrites_a_newer_row(stackstorm):
    """Whatever the order in which they are tracked."""
    (old,) = outbox.put(stackstorm, a_change(1, rev=1))
    (new,) = outbox.put(stackstorm, a_change(1, rev=2, state="remediated"))
    left = stackstorm.keys[rows.key(rows.OUTBOX, old)]
    outbox.track(stackstorm, new, make_settings())
    stackstorm.set_key(rows.key(rows.OUTBOX, old), left)
    counts = outbox.track(stackstorm, old, make_settings())
    assert counts == {"batches": 1, "written": 0, "unchanged": 2}
    assert rows.read(stackstorm, rows.ALERT, "f000")["state"] == "remediated"


def test_a_newer_batch_is_left_for_its_own_turn(stackstorm):
    """Tracking a batch takes every older one along, and no newer one."""
    batches = [outbox.put(stackstorm, a_change(1, rev=rev))[0] for rev in (1, 2, 3)]
    assert outbox.track(stackstorm, batches[1], make_settings())["batches"] == 2
    assert [batch["batch_id"] for batch in outbox.waiting(stackstorm)] == [batches[2]]


def test_many_rows_are_several_batches_with_the_requests_last(stackstorm):
    """A request row that is there says that all its alerts are there."""
    _, newest = outbox.put(stackstorm, a_change(outbox.ROWS_IN_BATCH + 5))
    waiting = outbox.waiting(stackstorm)
    assert len(waiting) == 2 and waiting[-1]["batch_id"] == newest
    assert [len(batch["rows"]["requests"]) for batch in waiting] == [0, 1]
    merged = outbox.merge(waiting)
    assert len(merged["alerts"]) == outbox.ROWS_IN_BATCH + 5


def test_half_of_a_write_counts_as_never_begun(stackstorm, monkeypatch):
    """A crash in the middle of it leaves nothing for the next process."""
    monkeypatch.setattr(outbox, "ROWS_IN_BATCH", 2)
    _, whole = outbox.put(stackstorm, a_change(3))
    stackstorm.die_at = stackstorm.calls + 2
    with pytest.raises(Killed):
        outbox.put(stackstorm, a_change(3, rev=2))
    assert len(outbox.waiting(stackstorm)) == 3
    outbox.drop_unfinished(stackstorm)
    assert [batch["batch_id"] for batch in outbox.waiting(stackstorm)][-1] == whole
    outbox.drop_unfinished(stackstorm)
    assert len(outbox.waiting(stackstorm)) == 2


def test_track_writes_a_request_after_its_alerts(stackstorm):
    """Whoever finds the request's row finds the rows of its alerts."""
    outbox.track(stackstorm, outbox.put(stackstorm, a_change(2))[-1], make_settings())
    written = [name for kind, name in stackstorm.events if kind == "set"]
    assert written[-1] == "poundcake.request.r1"


def test_nothing_changed_writes_no_batch(stackstorm):
    """An idle sensor writes nothing."""
    assert outbox.put(stackstorm, {kind: {} for kind in rows.KINDS}) == []
    assert stackstorm.events == []


def test_a_write_that_failed_is_kept_for_the_next_time():
    """What has changed meanwhile is newer and stays."""
    book = Recorder(make_settings(), Metrics())
    taken = {"alerts": {"a": {"rev": 1}, "b": {"rev": 1}}, "executions": {}, "requests": {}}
    book.requests.add(requests.new_request("a", "2026-11-25T03:14:00Z", inbox.LISTENER, []))
    book.report("a_trigger", {}, "later")
    taken["requests"] = {"a": {"rev": 0}, "b": {"rev": 0}}
    book.put_back(taken, [("a_trigger", {}, "earlier")])
    changed, reports = book.take_changed()
    assert {name: row["rev"] for name, row in changed["requests"].items()} == {"a": 1, "b": 0}
    assert changed["alerts"] == taken["alerts"]
    assert [tag for _, _, tag in reports] == ["earlier", "later"]
    changed, reports = book.take_changed()
    assert not any(changed.values()) and not reports


def test_a_ledger_comes_back_from_rows_and_outbox(pack):
    """The outbox is newer than the rows."""
    pack.post(alert(1))
    pack.step()
    pack.step()
    pack.finish()
    pack.tick()
    book = Recorder(pack.settings, Metrics())
    book.load(pack.stackstorm, outbox.waiting(pack.stackstorm), rows.ignore, pack.clock())
    (row,) = book.ledger.alerts.values()
    assert row["state"] == "remediated" and pack.alert()["state"] == "remediating"
    assert book.ledger.in_flight == 0 and book.ledger.held == []


def test_what_is_held_back_is_not_forgotten_however_long_that_takes(pack):
    """A pause of months; what merely failed is forgotten with its row."""
    pack.post(alert(2))
    pack.steps(3, "failed")
    pack.pause()
    pack.post(alert(1))
    pack.steps(3)
    pack.clock.advance(100 * 86400)
    pack.steps(2)
    pack.resume()
    pack.steps(3)
    assert [sent["host"] for sent in pack.stackstorm.dispatched()] == ["web2", "web1"]
    pack.settle()
    assert [row["host"] for row in pack.alerts()] == ["web1"]


def test_the_inbox_keeps_order_and_acknowledges_nothing_that_failed(stackstorm):
    """Oldest first; a write that failed raises."""
    ids = [
        inbox.accept(stackstorm, notification(), inbox.LISTENER)[1]["request_id"] for _ in range(5)
    ]
    assert [entry["request_id"] for entry in inbox.entries(stackstorm)] == ids
    assert len(inbox.entries(stackstorm)) == 5
    inbox.remove(stackstorm, ids[0])
    inbox.remove(stackstorm, ids[0])
    assert len(inbox.entries(stackstorm)) == 4
    stackstorm.away = True
    with pytest.raises(StackStormError):
        inbox.accept(stackstorm, notification(), inbox.LISTENER)


def test_a_notification_that_cannot_be_written_is_refused(stackstorm):
    """Nested too deeply for JSON: it can never succeed."""
    deep = []
    for _ in range(100000):
        deep = [deep]
    with pytest.raises(payload.PayloadError) as caught:
        inbox.accept(stackstorm, notification(deep=deep), inbox.LISTENER)
    assert str(caught.value).startswith("body: nested too deeply")
    assert stackstorm.keys == {}


def test_retention_counts_from_the_resolve(stackstorm):
    """An alert that is not resolved is kept at least as long as its requests."""
    config = dict(request_retention_seconds=1000, alert_retention_seconds=100)
    config.update(alertname_rate_limit=(), target_rate_limit=())
    settings = make_settings(rate_limit=(), **config)
    live = outbox.time_to_live
    day = make_settings(rate_limit=("7/1d",), **config)
    assert live("alerts", {"state": RESOLVED}, day) == 86400, "a rate looks back"
    assert live("alerts", {"state": RESOLVED}, settings) == 100
    assert live("alerts", {"state": FAILED}, settings) == 1000
    assert live("requests", {}, settings) == 1000
    assert live("executions", {}, settings) == settings.retention.execution_seconds


# --- the fake is honest ---------------------------------------------------------------------------


def test_the_fake_has_every_method_of_stackstorm():
    """With the same parameters, so that a test cannot call what does not exist."""
    for name, method in inspect.getmembers(StackStorm, inspect.isfunction):
        if not name.startswith("_"):
            wanted = list(inspect.signature(method).parameters)
            fake = FakeContent if hasattr(FakeContent, name) else FakeStackStorm
            assert list(inspect.signature(getattr(fake, name)).parameters) == wanted


def test_the_fake_forgets_what_has_expired(stackstorm):
    """As the datastore does."""
    now = Clock(NOW)
    fake = FakeStackStorm(now)
    fake.set_key("a", "1", ttl=10)
    fake.set_key("b", "2")
    now.advance(11)
    assert fake.get_key("a") is None and fake.list_keys("") == {"b": "2"}
    assert clock.to_seconds(clock.to_text(now())) == NOW + 11


def test_a_dispatch_that_waits_for_the_bus_is_not_sent_twice(pack):
    """The bus comes back between the dispatch that failed and the probe that follows it."""
    pack.stackstorm.bus_away = True
    pack.post(alert())
    pack.step()
    original = pack.stackstorm.dispatch

    def back_for_probes(trigger, payload_, trace_tag=None):
        pack.stackstorm.bus_away = trigger != triggers.PROBE
        original(trigger, payload_, trace_tag)

    pack.controller._publisher._dispatch = back_for_probes
    for _ in range(2 * LOST_SECONDS + PROBE_SECONDS):
        pack.step()
    pack.controller._publisher._dispatch = original
    pack.stackstorm.bus_away = False
    pack.settle()
    assert len(pack.stackstorm.dispatched()) == 1


def test_a_fault_in_a_decision_stops_no_other_alert(pack, monkeypatch, caplog):
    """It is rejected and says so; its siblings and the next request are remediated."""
    original = lifecycle.describe

    def fails_on_one(described, *others):
        if described.alertname == "Poison":
            raise RuntimeError("a bug")
        return original(described, *others)

    monkeypatch.setattr(lifecycle, "describe", fails_on_one)
    poisoned = dict(alert(), labels={"alertname": "Poison"}, fingerprint="poison")
    bad = pack.post(poisoned, alert(2))
    pack.post(alert())
    pack.settle()
    assert [row["state"] for row in pack.alerts()] == ["remediated"] * 2
    entry, sibling = pack.request(bad)["alerts"]
    assert entry["decision"] == "rejected" and sibling["decision"] == "dispatch"
    assert "internal error (RuntimeError)" in entry["reason"]
    assert bad in caplog.text


# --- one alert's fault is no other's --------------------------------------------------------------


def stored(pack, host):
    """The key and the row of the alert of a host, as they lie in the datastore."""
    for name, text in pack.stackstorm.keys.items():
        if name.startswith(rows.ALERT) and rows.load(text)["host"] == host:
            return name, rows.load(text)


@pytest.mark.parametrize("missing", ["dispatched_at", "outcome", "settled_at", "executions"])
def test_a_row_that_cannot_be_used_does_not_keep_the_sensor_from_starting(missing):
    """Somebody has edited it, or a later version wrote it: that alert counts as new."""
    pack = Pack()
    pack.stackstorm.rule("mine.fix")
    pack.post(alert(1), alert(2))
    pack.steps(6)
    name, row = stored(pack, "web1")
    del row["attempts"][0][missing]
    pack.stackstorm.keys[name] = rows.dump(row)
    pack.start()
    pack.post(alert(3))
    pack.steps(20, finish="succeeded")
    assert stored(pack, "web3")[1]["state"] == "remediated"


def test_an_alert_that_cannot_be_followed_stops_no_other(monkeypatch, caplog):
    """A fault of PoundCake's own: it is told one time, and the sensor lives."""
    pack = Pack()
    pack.stackstorm.rule("mine.fix")
    apply = lifecycle.apply

    def stumble(row, fact):
        if row and row["host"] == "web1" and isinstance(fact, Executed):
            raise KeyError("a fault")
        return apply(row, fact)

    monkeypatch.setattr(lifecycle, "apply", stumble)
    pack.post(alert(1), alert(2))
    pack.steps(20, finish="succeeded")
    assert stored(pack, "web2")[1]["state"] == "remediated"
    assert len([r for r in caplog.records if '"event": "fault"' in r.getMessage()]) == 1


# --- very large notifications ---------------------------------------------------------------------


def test_a_request_names_the_first_of_many_rejected_alerts_and_counts_the_rest(caplog):
    """Thousands of entries that are no alerts make no large row and no long log."""
    caplog.set_level(logging.INFO)
    pack = Pack(max_alerts=200)
    pack.stackstorm.rule("mine.fix")
    request_id = pack.post(*[None] * 160, alert(), *[None] * 100000)
    pack.settle()

    request = pack.request(request_id)
    assert request["counts"] == {"alerts": 100161, "rejected": 100160, "dispatch": 1}
    assert [e["decision"] for e in request["alerts"]] == ["rejected"] * 20 + ["dispatch"]
    assert request["alerts"][-1]["outcome"] == "remediated"
    assert request["warnings"] == [
        "alerts: 99961 are rejected unread; max_alerts is 200",
        "alerts: 179 more rejected ones are counted and not named",
    ]
    assert b'poundcake_decisions_total{cause="invalid",decision="rejected"} 100160.0' in (
        pack.metrics.text()
    )
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if '"event": "rejected"' in line]) == 100
    assert len(lines) < 110


def test_many_decisions_write_few_lines(caplog):
    """The request names them all."""
    caplog.set_level(logging.INFO)
    pack = Pack(max_concurrent=1)
    pack.post(*[alert(number) for number in range(300)])
    pack.tick()
    assert len([r for r in caplog.records if '"decided"' in r.getMessage()]) == 101
