"""The sensor's log: one line of JSON per event, at a meaningful level."""

import ast
import io
import json
import logging
import os
from glob import glob

import pytest
from hypothesis import given
from hypothesis import strategies as st
from poundcake.core import payload
from poundcake.errors import StackStormError
from poundcake.operators import commands
from poundcake.sensor import log as events
from poundcake.sensor.controller import INBOX_IDLE_SECONDS
from poundcake.sensor.listener import Listener
from poundcake.sensor.log import EVENTS, EventLog
from poundcake.st2 import rows

from tests.support.alerts import alert, notification
from tests.support.fakes import JSON_TEXT, PACK, PROPERTY, make_settings
from tests.support.pack import LOG, Pack

MARKER = "alert-text-that-no-log-shows"


@pytest.fixture
def log(caplog):
    """A callable that returns the decoded log lines so far, of one event or of all."""
    caplog.set_level(logging.DEBUG)

    def told(event=None):
        lines = []
        for record in caplog.records:
            if record.name != LOG.name:
                continue
            text = record.getMessage()
            assert "\n" not in text and record.exc_info is None and text.isascii()
            decoded = json.loads(text)
            assert record.levelno == EVENTS[decoded["event"]]
            assert decoded["text"]
            lines.append(decoded)
        return [item for item in lines if event in (None, item["event"])]

    return told


def names(lines):
    return [item["event"] for item in lines]


def remediated_pack(**config):
    pack = Pack(**config)
    pack.stackstorm.rule("my_pack.fix")
    return pack


# --- the form -------------------------------------------------------------------------------------


@PROPERTY
@given(text=JSON_TEXT, values=st.dictionaries(st.sampled_from(["alertname", "key"]), JSON_TEXT))
def test_nothing_in_a_field_can_begin_another_line(text, values):
    """Nor change another field."""
    line = events.line("decided", text, **values)
    assert len(line.splitlines()) == 1 and line.isascii()
    decoded = json.loads(line)
    assert decoded.pop("event") == "decided" and decoded.pop("text") == text[: events.LONGEST]
    assert decoded == {k: v[: events.LONGEST] for k, v in values.items() if v}


def test_a_line_is_never_long():
    """Whatever a fingerprint contains."""
    assert len(events.line("decided", "x" * 10000, fingerprint="y" * 10000)) < 1000


def test_of_an_exception_a_line_has_the_type_and_the_place():
    """Its message may contain outside text."""

    class Log:
        lines = []
        isEnabledFor = staticmethod(lambda level: True)

        def log(self, level, form, line):
            self.lines.append((level, json.loads(line)))

    log = Log()
    try:
        {}[MARKER]
    except KeyError as error:
        EventLog(log).record("fault", "a decision failed", error, request_id="r1")
    ((level, line),) = log.lines
    assert level == logging.ERROR and line["error"] == "KeyError" and line["request_id"] == "r1"
    assert line["where"][0].startswith("test_log.py:") and MARKER not in str(line)


def calls(path):
    with open(path, encoding="utf-8") as handle:
        for node in ast.walk(ast.parse(handle.read(), path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                yield node


SENSOR_CODE = sorted(
    glob(os.path.join(PACK, "actions/lib/poundcake/**/*.py"), recursive=True)
    + glob(os.path.join(PACK, "sensors/*.py"))
)


def test_the_sensor_logs_events_and_nothing_else():
    """Only those of the table, and all of them are used."""
    used = set()
    for path in SENSOR_CODE:
        for call in calls(path):
            name = call.func.attr
            if name in ("record", "record_seldom") and isinstance(call.args[0], ast.Constant):
                used.add(call.args[0].value)
            if not path.endswith("sensor/log.py"):
                levels = ("debug", "info", "warning", "error", "critical", "exception", "log")
                assert name not in levels, "%s:%d" % (path, call.lineno)
    # Three are chosen in the code: by a decision, by a state, by what became of an attempt.
    chosen = {"decided", "rejected", "held", "retried"} | set(events._EVENT_OF_STATE.values())
    assert used | chosen == set(EVENTS)


# --- what is told ---------------------------------------------------------------------------------


def test_the_way_of_an_alert_can_be_followed_by_its_ids(log):
    """Decided, dispatched, ended, resolved: each with the request and the fingerprint."""
    pack = remediated_pack()
    first = pack.post(alert(1))
    pack.steps(3)
    pack.finish()
    pack.steps(3)
    second = pack.post(alert(1, status="resolved"))
    pack.steps(3)
    fingerprint = pack.alert()["fingerprint"]
    way = [item for item in log() if item.get("fingerprint") == fingerprint]
    assert [(item["event"], item["request_id"]) for item in way] == [
        ("decided", first),
        ("dispatched", first),
        ("ended", first),
        ("decided", second),
    ]
    assert [item.get("decision") for item in way] == ["dispatch", None, None, "resolve"]
    assert way[0]["cause"] == "new_episode"
    assert {item["alertname"] for item in way} == {"ServiceDown"}
    assert way[1]["attempt"] == 1 and way[1]["dispatch_id"] and way[2]["execution_id"]
    whole = [item for item in log("decided") if "counts" in item]
    assert [item["request_id"] for item in whole] == [first, second]
    assert whole[0]["counts"] == {"dispatch": 1, "alerts": 1}


def test_a_repeated_notification_is_one_line(log):
    """However many alerts repeat."""
    pack = remediated_pack()
    pack.post(*[alert(number) for number in range(20)])
    pack.steps(2)
    before = len(log())
    pack.post(*[alert(number) for number in range(20)])
    pack.tick()
    (line,) = log()[before:]
    assert line["counts"] == {"duplicate": 20, "alerts": 20}


def test_what_holds_an_alert_back_is_told_with_its_cause(log):
    """When it is decided and when it changes, once each."""
    pack = remediated_pack(max_concurrent=1)
    pack.post(alert(1), alert(2))
    pack.steps(2)
    pack.pause(reason=MARKER)
    pack.steps(3)
    pack.post(alert(1), alert(2))
    pack.steps(3)
    held = [item for item in log() if item.get("cause")]
    assert [(item["event"], item["cause"]) for item in held] == [
        ("decided", "new_episode"),
        ("decided", "window"),
        ("held", "paused"),
    ]
    assert MARKER not in str(log())


def test_a_failure_is_a_warning_and_the_last_one_an_error(log):
    """Then a person is needed."""
    pack = remediated_pack(max_attempts=1)
    pack.post(alert(1))
    pack.steps(2)
    pack.finish("failed", {"error": MARKER})
    pack.steps(3)
    (failed,), (exhausted,) = log("failed"), log("exhausted")
    assert failed["execution_id"] in failed["text"]
    assert exhausted["fingerprint"] == pack.alert()["fingerprint"]
    assert MARKER not in str(log())


def test_breakers_are_told(log):
    """A breaker stops the remediations of an alertname, so a person should look."""
    pack = remediated_pack(breaker_failures=1, breaker_seconds=60)
    pack.post(alert(1))
    pack.steps(2)
    pack.finish("failed")
    pack.steps(3)
    (opened,) = log("breaker_opened")
    assert opened["alertname"] == "ServiceDown"
    pack.post(alert(2))
    pack.steps(65)
    pack.finish()
    pack.steps(3)
    assert len(log("breaker_closed")) == 1


def test_a_control_that_moves_many_alerts_is_one_line(log):
    """Thousands of lines at once would delay decisions."""
    pack = remediated_pack(max_concurrent=1)
    pack.post(*[alert(number) for number in range(30)])
    pack.steps(2)
    pack.pause(reason=MARKER)
    pack.steps(3)
    (line,) = log("held")
    assert (line["alerts"], line["cause"]) == (29, "paused")


def test_what_a_person_answers_is_told_and_that_nobody_did(log):
    """Declining is normal operation."""
    pack = remediated_pack()
    pack.post(alert(1), alert(2))
    pack.steps(2)
    first, second = pack.stackstorm.running()
    asked = [pack.stackstorm.ask(item, minutes=1) for item in (first, second)]
    pack.steps(3)
    pack.stackstorm.respond(asked[0], {"approved": False})
    pack.steps(90)
    (declined,), (unanswered,) = log("declined"), log("unanswered")
    assert declined["fingerprint"] and unanswered["inquiry_id"] == asked[1]


def test_a_heartbeat_that_is_missing_is_an_error_and_its_return_is_told(log):
    """Nobody would hear of any alert."""
    pack = remediated_pack(watchdog_seconds=60)
    beat = dict(alertname="Watchdog", severity="none")
    pack.post(alert(1, **beat))
    pack.steps(70)
    assert len(log("heartbeat_missing")) == 1
    pack.post(alert(1, **beat))
    pack.steps(3)
    assert len(log("heartbeat_returned")) == 1


def test_what_nobody_takes_is_a_warning(log):
    """A rule is missing."""
    pack = Pack()
    pack.post(alert(1))
    pack.steps(3)
    assert len(log("unmatched")) == 1


def test_what_stackstorm_loses_is_told_when_it_is_tried_again(log):
    """A dispatch, and an execution that never ran."""
    pack = remediated_pack()
    pack.stackstorm.swallow = True
    pack.post(alert(1))
    pack.steps(2)
    pack.stackstorm.swallow = False
    pack.steps(90)
    assert [item["dispatch_id"] for item in log("retried")] == [
        pack.alert()["attempts"][0]["dispatch_id"]
    ]
    (execution_id,) = pack.stackstorm.running()
    pack.stackstorm.lose(execution_id)
    pack.steps(120)
    (canceled,) = log("canceled")
    assert canceled["execution_id"] == execution_id
    assert log("retried")[-1]["cause"] == "retry"


def test_an_outage_is_a_warning(log):
    """Here of the message bus: PoundCake recovers by itself."""
    pack = remediated_pack()
    pack.stackstorm.bus_away = True
    pack.post(alert(1))
    pack.step()
    assert log("away") and log("away")[0]["error"] == "ConnectionError"


def test_a_control_that_nobody_can_read_is_an_error_told_once(log):
    """It is set aside."""
    pack = remediated_pack()
    pack.stackstorm.set_key(rows.CONTROL + "pause", MARKER)
    pack.steps(5)
    (line,) = log("set_aside")
    assert line["key"] == rows.CONTROL + "pause" and MARKER not in str(line)


def test_a_start_says_what_was_found(log):
    """Most of all after a kill."""
    pack = remediated_pack(max_concurrent=1)
    pack.post(alert(1), alert(2))
    pack.steps(3)
    pack.restart()
    assert [(item["alerts"], item["in_flight"], item["held"]) for item in log("loaded")] == [
        (0, 0, 0),
        (2, 1, 1),
    ]


def test_what_a_person_does_is_told_like_any_request(log):
    """With where it came from."""
    pack = remediated_pack()
    pack.post(alert(1))
    pack.steps(2)
    pack.finish("failed")
    pack.steps(2)
    request_id = pack.order(commands.ACKNOWLEDGE, reason=MARKER)
    pack.steps(INBOX_IDLE_SECONDS + 3)
    (line,) = [item for item in log("decided") if item["request_id"] == request_id]
    assert line["source"] == "by_hand" and MARKER not in str(log())


# --- what is not ----------------------------------------------------------------------------------


def marked(number, **more):
    """An alert with a marker, which must not be logged, in every string except its alertname."""
    named = {
        "alertname": "Named",
        "instance": "host%d" % number,
        MARKER: MARKER,
        "severity": MARKER,
    }
    found = dict(alert(number), labels=named, annotations={MARKER: MARKER, "summary": MARKER})
    return dict(found, generatorURL=MARKER, **more)


def test_no_alert_text_but_the_alertname_is_logged(log, monkeypatch):
    """Neither in normal operation nor when something fails."""
    pack = remediated_pack(serialize_by=MARKER, breaker_failures=9)
    pack.stackstorm.rule("my_pack.broken", failure=MARKER)
    broken = [
        dict(marked(2), labels={MARKER: 1}),
        dict(marked(3), status=MARKER),
        dict(marked(4), startsAt=MARKER),
        MARKER,
        {MARKER: MARKER},
    ]
    texts = {"receiver": MARKER, "groupKey": MARKER, "externalURL": MARKER}
    pack.post(marked(1), marked(5), *broken, **texts)
    pack.steps(3)
    pack.finish("failed", {"error": MARKER, "stderr": MARKER})
    pack.steps(3)

    def fails(*_):
        raise ValueError(MARKER)

    monkeypatch.setattr("poundcake.core.lifecycle.describe", fails)
    pack.post(marked(6), **texts)
    pack.steps(3, finish="failed")
    monkeypatch.undo()
    monkeypatch.setattr("poundcake.st2.triggers.LABELS_AT_HAND", ("unknown",))
    pack.post(marked(7), **texts)
    pack.steps(3)
    found = names(log())
    for event in ("decided", "dispatched", "failed", "rejected", "fault", "unsendable"):
        assert event in found, event
    assert MARKER not in str(log())


def test_an_alertname_with_a_line_break_is_one_line(log):
    """And cannot look like a line of PoundCake."""
    pack = remediated_pack()
    forged = 'x"}\n{"event": "ended", "text": "all is well"}'
    pack.post(alert(1, alertname=forged))
    pack.steps(2)
    assert "ended" not in names(log())
    assert log("dispatched")[0]["text"].startswith('x"}\n')


def test_a_storm_is_few_lines_an_alert(log):
    """Three per remediated alert; repetitions have one per notification."""
    pack = remediated_pack(max_concurrent=100)
    for start in range(0, 300, 50):
        pack.post(*[alert(number) for number in range(start, start + 50)])
    pack.settle()
    for start in range(0, 300, 50):
        pack.post(*[alert(number) for number in range(start, start + 50)])
    pack.settle()
    assert len(pack.alerts()) == 300 and {row["state"] for row in pack.alerts()} == {"remediated"}
    about_one = [item for item in log() if "fingerprint" in item]
    assert len(about_one) == 900 and len(log()) - len(about_one) < 50


# --- the listener ---------------------------------------------------------------------------------


class Door:
    """The listener, called without a network."""

    def __init__(self, **config):
        self.pack = Pack()
        settings = make_settings(**config)
        self.app = Listener(settings, self.pack.stackstorm, self.pack.controller, LOG)

    def post(self, body, path="/webhook", **environ):
        found = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": path,
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
        }
        said = []
        self.app(dict(found, **environ), lambda status, headers: said.append(status))
        return int(said[0].split()[0])


def test_an_accepted_notification_is_told_with_its_request(log):
    """And how many of its alerts are rejected."""
    door = Door()
    body = json.dumps(notification(alert(1), {"labels": {MARKER: 1}})).encode()
    assert door.post(body) == 202
    (line,) = log("accepted")
    assert line["text"] == "2 alerts, 1 rejected" and line["request_id"]


@pytest.mark.parametrize(
    "body, status, event",
    [
        (b'{"alerts": "%s"}' % MARKER.encode(), 400, "rejected"),
        (b"{" + MARKER.encode(), 400, "rejected"),
        (b'{"alerts": [], "x": 1e999, "%s": 1}' % MARKER.encode(), 400, "rejected"),
        (MARKER.encode() * 100, 413, "rejected"),
    ],
    ids=["alerts", "no JSON", "number", "large"],
)
def test_what_is_not_accepted_is_a_warning_without_the_body(log, body, status, event):
    """With the field that is wrong."""
    assert Door(max_body_bytes=1024).post(body) == status
    (line,) = log(event)
    assert str(status) in line["text"] and MARKER not in str(line)


def test_what_others_can_cause_as_often_as_they_like_is_a_line_a_minute(log, monkeypatch):
    """With how often it came since the line before."""
    now = [1000.0]
    monkeypatch.setattr(events.time, "monotonic", lambda: now[0])
    door = Door(token="right")
    for _ in range(50):
        door.post(b"{}", REMOTE_ADDR="192.0.2.1")
    assert len(log("refused")) == 1
    now[0] += 61
    door.post(b"{}", REMOTE_ADDR="192.0.2.2")
    first, second = log("refused")
    assert "count" not in first
    assert (second["count"], second["remote"]) == (50, "192.0.2.2")


def test_wrong_credentials_are_a_warning_with_where_they_came_from(log):
    """Not what they were."""
    door = Door(token="right")
    given = {"HTTP_AUTHORIZATION": "Bearer " + MARKER, "REMOTE_ADDR": "192.0.2.1"}
    assert door.post(b"{}", **given) == 401
    (line,) = log("refused")
    assert line["remote"] == "192.0.2.1" and MARKER not in str(line)


def test_a_503_is_a_warning_with_its_reason(log):
    """It has only the status of StackStorm's answer, whose body may contain anything."""
    door = Door()
    answer = StackStormError("PUT /keys/x: 500 " + MARKER, "PUT /keys/x: 500")

    def fails(*_, **__):
        raise answer

    door.pack.stackstorm.set_key = fails
    assert door.post(json.dumps(notification(alert(1))).encode()) == 503
    door.pack.controller.stop("the sensor is shutting down")
    assert door.post(b"{}") == 503
    first, second = log("unavailable")
    assert first["text"] == "answered 503: PUT /keys/x: 500"
    assert second["text"] == "answered 503: the sensor is shutting down"


@pytest.mark.parametrize(
    "reason, field",
    [
        ("alerts[3].labels.%s: a number found" % MARKER, "alerts[3].labels"),
        ('alerts[0].status: "%s" found' % MARKER, "alerts[0].status"),
        ('version: "%s" found' % MARKER, "version"),
        ("alerts[12]: a string found", "alerts[12]"),
        (MARKER.replace("-", ".") + ": x", "alert"),
    ],
)
def test_the_field_of_a_rejection_is_what_poundcake_calls_it(reason, field):
    """No name of a label."""
    assert payload.field_of(reason) == field
