"""Tracking end to end: track's policies, rows rebuilt, people notified."""

import json
import os
import signal

import pytest
import requests

from tests.support.alerts import alert, notification
from tests.support.ports import free_port
from tests.support.world import World, copy_pack, open_world, unique

# These change the pack, or would tell a real person.
pytestmark = pytest.mark.skipif(
    "ST2_API_URL" in os.environ, reason="on the embedded engine only: it tells people, and breaks"
)

# In track's place: fails as often as its batch_id says, and writes down when it begins and ends.
TRACK = """
import os
import time

from st2common.runners.base_action import Action

FOLDER = os.path.dirname(os.path.abspath(__file__))


class Track(Action):
    def run(self, batch_id="", since=""):
        self.note(batch_id, "begin")
        time.sleep(1)
        self.note(batch_id, "end")
        with open(os.path.join(FOLDER, batch_id)) as notes:
            failures = notes.read().count("end")
        if failures <= int(batch_id.split("-")[-1]):
            raise RuntimeError("it fails as the test wants it")

    def note(self, batch_id, word):
        with open(os.path.join(FOLDER, batch_id), "a") as notes:
            notes.write(word + " ")
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """An engine with the pack whose track fails to order."""
    from tests.engine import testing

    folder = tmp_path_factory.mktemp("policies")
    pack = copy_pack(folder / "packs" / "poundcake")
    (pack / "actions" / "track.py").write_text(TRACK)
    config = {"poundcake": {"port": free_port()}}
    running = testing.start(folder / "state", [pack], config)
    running.pack = pack
    try:
        yield running
    finally:
        running.stop()


def start(engine, batch_id):
    body = {"action": "poundcake.track", "parameters": {"batch_id": batch_id}}
    return engine.request("POST", "/executions", json=body).json()["id"]


def runs(engine, batch_id, count):
    """Wait until track has run so often for a batch, and return these executions in order."""

    def ended():
        found = [
            execution
            for execution in engine.get("/executions", action="poundcake.track", limit=100)
            if execution["parameters"].get("batch_id") == batch_id
        ]
        return len(found) >= count and all("end_timestamp" in item for item in found) and found

    found = engine.wait_for(ended, "%d runs of track" % count)
    return sorted(found, key=lambda execution: execution["start_timestamp"])


def retry_counts(found):
    return [e["context"].get("policies", {}).get("retry", {}).get("retry_count") for e in found]


def test_a_track_that_fails_is_run_again(engine):
    """With the same batch, until it has succeeded."""
    start(engine, "fails-2")
    found = runs(engine, "fails-2", 3)
    assert [execution["status"] for execution in found] == ["failed", "failed", "succeeded"]
    assert retry_counts(found) == [None, 1, 2]
    policies = {e["context"]["policies"]["retry"]["applied_policy"] for e in found[1:]}
    assert policies == {"poundcake.poundcake_track_retry"}


def test_a_track_that_goes_on_failing_is_given_up(engine):
    """Until the sensor, for which rows still wait, has it run again."""
    start(engine, "fails-9")
    runs(engine, "fails-9", 3)
    start(engine, "fails-1")
    runs(engine, "fails-1", 2)  # by then a further retry of the first would have begun
    found = runs(engine, "fails-9", 3)
    assert retry_counts(found) == [None, 1, 2]
    assert {execution["status"] for execution in found} == {"failed"}


# In track's place: the first run never ends; the next ones do what track does.
HANGING_TRACK = """
import os
import time

from poundcake.st2 import outbox
from poundcake.st2.action import PackAction

PIDS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pids")


class Track(PackAction):
    def run(self, batch_id="", since=""):
        if not os.path.exists(PIDS):
            with open(PIDS, "w") as pids:
                pids.write(str(os.getpid()))
            time.sleep(3600)
        return outbox.track(self.stackstorm, batch_id, self.settings)
"""
SHORTER = {
    "AGAIN_SECONDS = 30": "AGAIN_SECONDS = 3",
    "LONGEST_RUN_SECONDS = 180": "LONGEST_RUN_SECONDS = 6",
}


@pytest.fixture
def dying_engine(tmp_path):
    """An engine whose first run of track never ends; the sensor loses patience after seconds."""
    from tests.engine import testing

    pack = copy_pack(tmp_path / "packs" / "poundcake")
    (pack / "actions" / "track.py").write_text(HANGING_TRACK)
    relay = pack / "actions" / "lib" / "poundcake" / "sensor" / "relay.py"
    text = relay.read_text()
    for old, new in SHORTER.items():
        assert old in text
        text = text.replace(old, new)
    relay.write_text(text)
    port = free_port()
    running = testing.start(tmp_path / "state", [pack], {"poundcake": {"port": port}})
    running.pack, running.listener_url = pack, "http://127.0.0.1:%d" % port
    try:
        yield running
    finally:
        running.stop()
        pids = pack / "actions" / "pids"
        if pids.exists():
            os.kill(int(pids.read_text()), signal.SIGKILL)


def test_a_track_that_stays_running_for_good_holds_nothing_up(dying_engine):
    """As when its runner was killed: it is canceled, and another is sent.

    The embedded engine is its own runner, and abandons what it ran when it starts again. So here
    the run never ends.
    """
    engine = dying_engine
    world = World(engine.api_url, engine.api_key, engine.listener_url, engine.env, engine.pack)
    pids = engine.pack / "actions" / "pids"

    def accepted():
        try:
            return world.post(notification(alert(alertname=unique("Dead"))))[0] == 202
        except requests.ConnectionError:
            return False

    world.wait(accepted, "the listener")
    world.wait(lambda: pids.exists() and pids.read_text(), "the first run of track")
    (orphan,) = engine.get("/executions", action="poundcake.track", status="running")
    assert accepted()
    queues = ("poundcake.inbox.", "poundcake.outbox.")
    world.wait(
        lambda: not any(engine.get("/keys", prefix=prefix) for prefix in queues),
        "the queues to be empty",
    )
    assert world.execution(orphan["id"])["status"] == "canceled"
    assert len(engine.get("/keys", prefix="poundcake.alert.")) == 2


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The pack with a place to look up what people were told."""
    with open_world(
        tmp_path_factory.mktemp("world"),
        notify_parameters={"message": "PoundCake says: $message"},
    ) as found:
        yield found


def test_rows_that_were_lost_come_back(world):
    """``st2 run poundcake.track since=1h`` gives what get_alert and get_request gave before."""
    name = unique("Lost")
    with world.rule(name, "core.noop"):
        request_id = world.accept(alert(alertname=name, note="a {{ b }}"))
        request = world.completed(request_id)
    (fingerprint,) = [entry["fingerprint"] for entry in request["alerts"]]
    before = world.ask("get_alert", fingerprint=fingerprint)
    execution_id = before["attempts"][0]["executions"][0]["execution_id"]
    for key in ("alert." + fingerprint, "execution." + execution_id, "request." + request_id):
        world.api("DELETE", "/keys/poundcake." + key)
    counts = world.ask("track", since="1h")
    assert counts["alerts_written"] == counts["executions_written"] == 1
    assert counts["requests_written"] == 1
    after = world.ask("get_alert", fingerprint=fingerprint)
    for field in ("state", "labels", "annotations", "starts_at", "severity"):
        assert after[field] == before[field], field
    outcomes = [(a["attempt"], a["outcome"], a["executions"]) for a in before["attempts"]]
    assert [(a["attempt"], a["outcome"], a["executions"]) for a in after["attempts"]] == outcomes
    request = world.ask("get_request", request_id=request_id)
    assert (request["status"], request["source"]) == ("complete", "rebuilt")
    again = world.ask("track", since="1h")
    assert sum(n for kind, n in again.items() if kind.endswith("_written")) == 0


def lifecycle(**fields):
    payload = dict.fromkeys(
        "fingerprint request_id severity host execution_id reason event_id".split(), ""
    )
    payload.update({"attempt": 0, "at": "2026-01-31T12:00:00.000000Z"}, **fields)
    return payload


TOLD = [
    (
        lifecycle(
            alertname="ServiceDown",
            host="web-01",
            severity="critical",
            fingerprint="f1",
            attempt=3,
            reason="core.local failed: ❴❴ no such unit",
            **{"from": "failed", "to": "exhausted"},
        ),
        "ServiceDown on web-01 (critical): exhausted at attempt 3: core.local failed: "
        "❴❴ no such unit (st2 run poundcake.get_alert fingerprint=f1)",
    ),
    (
        lifecycle(alertname="Bare", fingerprint="f2", **{"from": "remediating", "to": "failed"}),
        "Bare: failed (st2 run poundcake.get_alert fingerprint=f2)",
    ),
    (
        lifecycle(
            alertname="DiskFull",
            reason="5 failures in a row",
            **{"from": "breaker_closed", "to": "breaker_opened"},
        ),
        "DiskFull: breaker opened: 5 failures in a row",
    ),
]


def test_the_rule_for_people_tells_what_needs_them_in_one_line(world):
    """Once somebody has enabled it; and not of what goes well."""
    rule = world.api("GET", "/rules/poundcake.notify_people")
    assert rule["enabled"] is False
    world.st2("rule", "enable", "poundcake.notify_people")
    calm = lifecycle(alertname="Calm", **{"from": "remediating", "to": "remediated"})
    try:
        for payload in [calm] + [payload for payload, _ in TOLD]:
            body = {"trigger": "poundcake.lifecycle", "payload": payload}
            world.api("POST", "/webhooks/st2", json=body)

        def told():
            params = {"action": "poundcake.log_notification", "limit": 100}
            found = world.api("GET", "/executions", params=params)
            ended = [item for item in found if item["status"] == "succeeded"]
            return len(ended) >= len(TOLD) and [item["parameters"]["message"] for item in ended]

        messages = world.wait(told, "people to be told")
    finally:
        world.st2("rule", "disable", "poundcake.notify_people")
    assert sorted(messages) == sorted("PoundCake says: " + text for _, text in TOLD)


def test_a_person_is_told_by_hand_or_the_execution_says_why_not(world):
    """As a workflow's task does it."""
    found = world.ask("notify", message="by hand")
    execution = world.execution(found["execution_id"])
    assert execution["parameters"] == {"message": "PoundCake says: by hand"}
    assert json.dumps(execution["result"]["result"]).count("by hand") == 1


def test_track_by_hand_says_what_it_takes(world):
    """In place of a traceback."""
    status, result = world.run("track")
    assert status == "failed" and "batch_id, since: give one of them" in result["error"]
