"""What can never be read, decided or written is set aside; everything else goes on."""

import json

import pytest
from poundcake.core import admission
from poundcake.errors import ExpectedError, StackStormError
from poundcake.operators import rebuild, set_aside
from poundcake.sensor.dispatches import TRIES
from poundcake.st2 import executions, inbox, outbox, rows, triggers
from poundcake.views import queries
from poundcake.views.status_page import StatusPage

from tests.support.alerts import alert, notification
from tests.support.busy_store import KINDS, answers, aside, goes_on, new_pack, started_with
from tests.support.fakes import Killed
from tests.support.rows import plain_row

GARBAGE = ["", "no JSON", "[]", "{}", "null", "7", '{"rev": "1"}', '"\\ud800"', "NaN", "[" * 9999]


@pytest.fixture
def pack():
    return new_pack()


# --- rows that cannot be read ---------------------------------------------------------------------


@pytest.mark.parametrize("text", GARBAGE)
def test_garbage_of_every_kind_is_set_aside_and_nothing_else_waits_for_it(text):
    """With its key named, and what stood there kept; it is told, and shown everywhere."""
    keys = {kind: rows.key(kind, "unsent" if kind == rows.REPORTS else "garbage") for kind in KINDS}
    pack = started_with(lambda store: store.update(dict.fromkeys(keys.values(), text)))
    goes_on(pack)
    # The rows of requests and executions are read when somebody asks for them, and by ``track``.
    wanted = {keys[kind] for kind in KINDS if kind not in (rows.REQUEST, rows.EXECUTION)}
    entries = aside(pack)
    assert set(entries) == wanted
    assert {entry["content"] for entry in entries.values()} == {text}
    assert not wanted & set(pack.stackstorm.keys) - {keys[rows.REPORTS]}
    pack.steps(20, "succeeded")
    told = [item for item in pack.told() if item["to"] == triggers.SET_ASIDE]
    assert len(told) == len({item["event_id"] for item in told}) == len(wanted)
    health = pack.controller.health()["set_aside"]
    assert not health["ok"] and "list_set_aside" in health["detail"]
    assert 'poundcake_set_aside{kind="alert"} 1.0' in pack.metrics.text().decode()
    assert len(pack.controller.snapshot().set_aside) == len(wanted)


@pytest.mark.parametrize("text", GARBAGE)
def test_the_actions_answer_beside_garbage(text):
    """A list leaves out what cannot be read, and names its key."""

    def change(store):
        store.update({kind + "garbage": text for kind in KINDS})

    pack = started_with(lambda store: None)
    change(pack.stackstorm.keys)
    for answer in answers(pack):
        assert "garbage" in json.dumps(answer.get("unreadable", [])), answer
    with pytest.raises(ExpectedError) as caught:
        queries.get_alert(pack.stackstorm, "garbage")
    assert "poundcake.alert.garbage: cannot be read" in str(caught.value)
    assert pack.controller.request_status("garbage") is None
    rebuild.rebuild(pack.stackstorm, "1h", pack.settings, pack.clock())


def test_a_row_in_a_batch_that_cannot_be_read_does_not_hold_up_the_others(pack):
    """The batch is tracked without it, and an older row of the alert stays as it is."""
    good, bad = plain_row("good"), dict(plain_row("bad"), state="quarantined")
    rows.write(pack.stackstorm, rows.ALERT, "bad", plain_row("bad"))
    changed = {"alerts": {"good": good, "bad": bad}, "executions": {}, "requests": {}}
    (batch_id,) = outbox.put(pack.stackstorm, changed)
    counts = outbox.track(pack.stackstorm, batch_id, pack.settings)
    assert counts == {"batches": 1, "written": 1, "unchanged": 0, "set_aside": 1}
    assert rows.read(pack.stackstorm, rows.ALERT, "bad") == plain_row("bad")
    entry = aside(pack)["poundcake.alert.bad"]
    assert "state: expected one of received" in entry["reason"]
    assert json.loads(entry["content"]) == bad


@pytest.mark.parametrize(
    "form, reason",
    [(3, "form 3: written by a newer version of the pack"), (None, "not the form of any version")],
)
def test_a_row_of_another_version_is_set_aside_when_it_cannot_be_used(pack, form, reason):
    """A later downgrade, or half of a row of 0.2.0."""
    row = dict(plain_row("f1"), form=form)
    if form is None:
        del row["form"], row["host"]
    pack.stackstorm.keys[rows.ALERT + "f1"] = rows.dump(row)
    pack.start()
    assert aside(pack)[rows.ALERT + "f1"]["reason"].startswith(reason)
    goes_on(pack)


def test_a_row_under_the_key_of_another_is_set_aside(pack):
    """Removing what it names would never remove it."""
    inbox.accept(pack.stackstorm, notification(alert(1)), inbox.LISTENER)
    (key,) = [key for key in pack.stackstorm.keys if key.startswith(rows.INBOX)]
    pack.stackstorm.keys[rows.INBOX + "other"] = pack.stackstorm.keys[key]
    goes_on(pack)
    assert aside(pack)[rows.INBOX + "other"]["reason"] == "request_id: expected that of the key"


def test_nothing_is_lost_when_a_kill_comes_between(pack):
    """It is written where it is set aside before it leaves its place."""
    pack.stackstorm.keys[rows.INBOX + "x"] = "garbage"
    for number in range(1, 40):
        store = dict(pack.stackstorm.keys)
        pack.stackstorm.die_at = pack.stackstorm.calls + number
        try:
            pack.start()
        except Killed:
            kept = [rows.INBOX + "x" in pack.stackstorm.keys, bool(aside(pack))]
            assert any(kept)
            pack.stackstorm.keys = store
    pack.stackstorm.die_at = None
    goes_on(pack)


# --- poison: what can never be written or decided -------------------------------------------------


def refuse(pack, text):
    """Make StackStorm refuse every value with this text in it, but where it is set aside."""

    def refuses(name, value):
        return text in value and not name.startswith((rows.INBOX, rows.ASIDE))

    pack.stackstorm.refuses = refuses


def test_a_row_that_the_outbox_refuses_is_found_among_many(pack):
    """The others are dispatched; nothing runs for the one, which says why."""
    refuse(pack, "poison")
    request_id = pack.post(*[alert(n, note="poison" if n == 5 else "") for n in range(1, 9)])
    pack.settle()
    hosts = {payload["host"] for payload in pack.stackstorm.dispatched()}
    assert hosts == {"web%d" % n for n in range(1, 9)} - {"web5"}
    (entry,) = aside(pack).values()
    assert entry["kind"] == "alert" and "poison" in entry["content"] and "400" in entry["reason"]
    request = pack.request(request_id)
    outcomes = {item["fingerprint"]: item["outcome"] for item in request["alerts"]}
    assert outcomes[entry["fingerprint"]] == "unmatched" and request["completed_at"]
    assert sorted(outcomes.values()) == ["remediated"] * 7 + ["unmatched"]
    row = [r for r in pack.controller.snapshot().alerts if r["host"] == "web5"][0]
    assert row["reason"].startswith("its row cannot be written: StackStorm refuses it")
    pack.start()
    goes_on(pack)


def test_a_row_that_track_is_refused_is_set_aside(pack):
    """StackStorm refuses its key; the rows of the batch beside it are written."""
    pack.stackstorm.refuses = lambda name, value: name.startswith(rows.EXECUTION)
    pack.post(alert(1))
    pack.settle()
    (entry,) = aside(pack).values()
    assert entry["kind"] == "execution" and pack.alert()["state"] == "remediated"
    pack.steps(5)
    (told,) = [item for item in pack.told() if item["to"] == triggers.SET_ASIDE]
    assert told["reason"].startswith(entry["key"] + ": StackStorm refuses it")
    assert told["alertname"] == "ServiceDown" and not pack.controller.health()["set_aside"]["ok"]


def test_a_row_that_is_too_large_is_set_aside_without_its_content(pack, monkeypatch):
    """It does not even ask StackStorm, and says how large it was."""
    monkeypatch.setattr(rows, "LARGEST_BYTES", 20000)
    entry = {"request_id": "r", "received_at": "2026-11-21T08:20:00Z", "source": inbox.LISTENER}
    large = notification(alert(1, note="x" * 30000), alert(2))
    pack.controller.take(dict(entry, notification=large))
    pack.settle()
    assert [row["host"] for row in pack.alerts()] == ["web2"]
    (entry,) = aside(pack).values()
    assert entry["content"] is None and "more than the 20000" in entry["reason"]
    with pytest.raises(ExpectedError) as caught:
        set_aside.take_up(pack.stackstorm, entry["id"], pack.settings)
    assert "could not be kept" in str(caught.value)


def test_a_notification_that_is_too_large_is_refused(pack, monkeypatch):
    """Alertmanager learns so at once; a braces-only body grows sixfold on its way to the row."""
    monkeypatch.setattr(rows, "LARGEST_BYTES", 20000)
    with pytest.raises(ValueError) as caught:
        pack.post(alert(1, note="{" * 6000))
    assert str(caught.value).startswith("body: the datastore does not take it")


@pytest.mark.parametrize("fault", ["away", "set_key"])
def test_what_fails_because_stackstorm_is_away_is_never_set_aside(pack, fault):
    """It is tried again for as long as that takes."""
    pack.post(alert(1))
    for _ in range(20):
        if fault == "away":
            pack.stackstorm.away = True
        else:
            pack.stackstorm.fail("set_key")
        with pytest.raises(StackStormError):
            pack.tick()
    pack.stackstorm.away = False
    pack.stackstorm.fail("set_key", 0)
    pack.settle()
    assert pack.alert()["state"] == "remediated" and not aside(pack)


def test_when_everything_is_refused_nothing_is_set_aside(pack):
    """It is not the row that is at fault."""
    pack.stackstorm.refuses = lambda name, value: not name.startswith(rows.INBOX)
    pack.post(alert(1))
    with pytest.raises(StackStormError):
        pack.tick()
    pack.stackstorm.refuses = lambda name, value: False
    pack.settle()
    assert pack.alert()["state"] == "remediated" and not aside(pack)


def test_an_alert_that_cannot_be_decided_is_set_aside_alone(pack, monkeypatch):
    """And taken up when PoundCake has been mended; the request says what happened."""
    decide = admission.decide

    def faulty(alert_, *about):
        if alert_.labels["instance"] == "web2:9100":
            raise KeyError("a bug")
        return decide(alert_, *about)

    monkeypatch.setattr(admission, "decide", faulty)
    request_id = pack.post(alert(1), alert(2), alert(3))
    pack.steps(10, "succeeded")
    assert {payload["host"] for payload in pack.stackstorm.dispatched()} == {"web1", "web3"}
    reasons = [item["reason"] for item in pack.request(request_id)["alerts"]]
    assert "set aside: internal error (KeyError)" in reasons[1]
    (entry,) = aside(pack).values()
    assert entry["alertname"] == "ServiceDown" and entry["request_id"] == request_id
    monkeypatch.setattr(admission, "decide", decide)
    answer = set_aside.take_up(pack.stackstorm, entry["id"], pack.settings)
    (taken,) = answer["taken_up"]
    pack.steps(40, "succeeded")
    assert {row["host"]: row["state"] for row in pack.alerts()}["web2"] == "remediated"
    assert pack.request(taken["request_id"])["completed_at"]
    assert not aside(pack) and pack.controller.health()["set_aside"]["ok"]


def test_an_entry_over_which_everything_fails_is_set_aside(pack, monkeypatch):
    """Even when the request about it cannot be made; the next one is decided."""
    intake = pack.controller._intake
    decide = intake.decide

    def faulty(entry):
        if entry["request_id"] == poison:
            raise KeyError("a bug")
        decide(entry)

    poison = pack.post(alert(1))
    monkeypatch.setattr(intake, "decide", faulty)
    pack.post(alert(2))
    pack.settle()
    assert [row["host"] for row in pack.alerts()] == ["web2"]
    (entry,) = aside(pack).values()
    assert entry["key"] == rows.INBOX + poison and entry["request_id"] == poison


def test_an_alert_over_which_every_round_fails_is_set_aside(pack, monkeypatch):
    """After a few tries; before that, and for the others, nothing changes."""
    release = admission.release

    def faulty(held, *about):
        for row in held:
            if row["host"] == "web1":
                raise KeyError("a bug")
        return release(held, *about)

    pack.pause()
    pack.post(alert(1), alert(2))
    pack.steps(3)
    monkeypatch.setattr(admission, "release", faulty)
    pack.resume()
    for _ in range(TRIES - 1):
        pack.tick()
        assert not aside(pack)
    pack.tick()
    pack.settle()
    assert [payload["host"] for payload in pack.stackstorm.dispatched()] == ["web2"]
    (entry,) = aside(pack).values()
    assert json.loads(entry["content"])["host"] == "web1" and "KeyError" in entry["reason"]


def test_a_dispatch_that_stackstorm_loses_each_time_is_given_up(pack):
    """Its place in the window is free again, and the reason says what happened."""
    lost = pack.stackstorm.dispatch

    def dispatch(trigger, payload, trace_tag=None):
        if trigger != triggers.ALERT or payload["host"] != "web1":
            lost(trigger, payload, trace_tag)

    pack.stackstorm.dispatch = dispatch
    pack.start()
    pack.post(alert(1))
    pack.settle(steps=600)
    row = pack.alert()
    assert row["state"] == "unmatched" and row["reason"] == "StackStorm lost it 5 times"


def test_a_fault_of_no_alert_ends_the_sensor_after_a_few_tries(pack, monkeypatch):
    """StackStorm starts it again."""

    def faulty(seconds):
        raise KeyError("a bug")

    monkeypatch.setattr(pack.controller._intake, "miss_heartbeats", faulty)
    for _ in range(TRIES - 1):
        pack.tick()
    with pytest.raises(KeyError):
        pack.tick()


def test_an_alert_that_cannot_be_followed_gives_its_place_in_the_window_back(monkeypatch):
    """It would hold one of the places for good."""
    pack = new_pack(max_concurrent=1)
    observe = executions.observe

    def faulty(stackstorm, dispatches, *more):
        if any(row["host"] == "web1" for row, _ in dispatches):
            raise KeyError("a bug")
        return observe(stackstorm, dispatches, *more)

    pack.post(alert(1))
    pack.step()
    monkeypatch.setattr(executions, "observe", faulty)
    pack.post(alert(2))
    pack.steps(10, "succeeded")
    assert [payload["host"] for payload in pack.stackstorm.dispatched()] == ["web1", "web2"]
    assert [entry["kind"] for entry in aside(pack).values()] == ["alert"]


# --- what people see and do -----------------------------------------------------------------------


def test_the_page_says_that_something_is_set_aside(pack):
    """At the top, with the command that shows it."""
    pack.stackstorm.keys[rows.INBOX + "x"] = "garbage"
    pack.start()
    page = StatusPage(pack.settings, pack.controller.snapshot, pack.controller.health)
    html = page(None, {})[1].decode()
    assert "1 thing is set aside" in html and "st2 run poundcake.list_set_aside" in html
    assert "set_aside is failing" not in html


def test_dropped_means_gone_and_all_means_all(pack):
    """An unknown id lists the known ones."""
    for name in ("x", "y", "z"):
        pack.stackstorm.keys[rows.INBOX + name] = "garbage"
    pack.start()
    listed = queries.list_set_aside(pack.stackstorm)
    assert [item["id"] for item in listed["set_aside"]] == ["inbox-x", "inbox-y", "inbox-z"]
    with pytest.raises(ExpectedError) as caught:
        set_aside.drop(pack.stackstorm, "inbox-a")
    assert "one such as inbox-z, inbox-y, inbox-x" in str(caught.value)
    assert set_aside.drop(pack.stackstorm, "inbox-x")["dropped"][0]["key"] == rows.INBOX + "x"
    assert len(set_aside.drop(pack.stackstorm, set_aside.ALL)["dropped"]) == 2
    pack.steps(6)
    assert not aside(pack) and pack.controller.health()["set_aside"]["ok"]


def test_what_still_cannot_be_read_stays_where_it_is(pack):
    """It says what is wrong, and how to drop it."""
    pack.stackstorm.keys[rows.ALERT + "x"] = '{"rev": 1}'
    pack.start()
    with pytest.raises(ExpectedError) as caught:
        set_aside.take_up(pack.stackstorm, "alert-x", pack.settings)
    assert "still cannot be read (form: expected" in str(caught.value)
    assert "drop_set_aside id=alert-x" in str(caught.value)
    assert len(aside(pack)) == 1


def test_an_alert_that_is_taken_up_is_known_again_at_once(pack):
    """As after the return to a newer version of the pack that wrote it."""
    pack.post(alert(1))
    pack.settle()
    key = rows.key(rows.ALERT, pack.alert()["fingerprint"])
    text = pack.stackstorm.keys[key]
    pack.stackstorm.keys[key] = text.replace('"state":"remediated"', '"state":"newer"')
    pack.start()
    assert pack.controller.snapshot().alerts == []
    entry = aside(pack)[key]
    repaired = dict(entry, content=text)
    rows.write(pack.stackstorm, rows.ASIDE, entry["id"], repaired)
    set_aside.take_up(pack.stackstorm, entry["id"], pack.settings)
    pack.steps(6)
    assert [row["state"] for row in pack.controller.snapshot().alerts] == ["remediated"]
    assert pack.stackstorm.ttl(key)


def test_an_idle_sensor_with_nothing_aside_asks_nothing_about_it(pack):
    """And with something, only every few seconds."""
    pack.steps(3)
    before = pack.stackstorm.calls
    pack.controller._look_aside()
    assert pack.stackstorm.calls == before


# --- a datastore that cannot be written -----------------------------------------------------------


def test_health_says_that_the_datastore_cannot_be_written(pack):
    """It reads well when the disk is full; an idle pack writes nothing to find out."""
    pack.steps(120)
    writes = len([event for event in pack.stackstorm.events if event[0] == "set"])
    assert pack.controller.health()["datastore"]["ok"]
    assert len([event for event in pack.stackstorm.events if event[0] == "set"]) == writes == 0
    pack.stackstorm.fail("set_key", 10)
    with pytest.raises(StackStormError):
        rows.write(pack.metrics.measured(pack.stackstorm), rows.INBOX, "x", {})
    health = pack.controller.health()["datastore"]
    assert not health["ok"] and health["detail"].startswith("cannot be written: ")
    assert 'poundcake_part_up{part="datastore"} 0.0' in pack.metrics.text().decode()
    pack.stackstorm.fail("set_key", 0)
    assert not pack.controller.health()["datastore"]["ok"], "it tries once a minute"
    pack.clock.advance(61)
    assert pack.controller.health()["datastore"]["ok"]
    assert 'poundcake_part_up{part="datastore"} 1.0' in pack.metrics.text().decode()
