"""Rows rebuilt from StackStorm's own records: as they were, and never in the sensor's way."""

import time
import uuid
from unittest import mock

import pytest
import track
from hypothesis import given
from hypothesis import strategies as st
from poundcake import clock, ids
from poundcake.core import lifecycle, payload, requests
from poundcake.core.alert import open_attempts
from poundcake.errors import ExpectedError
from poundcake.inert import inert
from poundcake.operators import rebuild
from poundcake.st2 import executions as watch_module
from poundcake.st2 import outbox, rows, triggers
from st2tests.base import BaseActionTestCase

from tests.support import facts
from tests.support.alerts import alert, notification
from tests.support.fakes import NOW, PROPERTY, Clock, FakeStackStorm, make_settings

SETTINGS = make_settings()
EPISODE = "2026-11-21T08:00:00.000000000Z"


class Story:
    """Alerts that were dispatched, and what StackStorm and the sensor know of them."""

    def __init__(self):
        self.clock = Clock()
        self.stackstorm = FakeStackStorm(self.clock)
        self.stackstorm.rule("default.fix", lambda payload: payload["alertname"] != "Nobody")
        self.rows = {}  # as a sensor has them that was there all the time

    def fire(self, entry, attempt=1, episode=None, request_id=None, arrives=True):
        """An alert arrives and is dispatched; return ``(fingerprint, request_id)``.

        ``arrives`` is false for an attempt that somebody starts by hand.
        """
        self.clock.advance(60)
        parsed = payload.parse(notification(entry))
        one = parsed.alerts[0]
        request_id = request_id or ids.new_uuid7(self.clock())
        self.clock.advance(1)
        moment = clock.to_text(self.clock())
        episode = episode or lifecycle.episode_of(self.rows.get(one.fingerprint), "firing", moment)
        about = {"fingerprint": one.fingerprint, "episode": episode, "request_id": request_id}
        described = facts.described(one, parsed)
        dispatch_id = ids.dispatch_id(one.fingerprint, episode, attempt)
        if arrives:
            self._apply("notified", **about, status="firing", alert=described)
        self._apply("dispatched", **about, dispatch_id=dispatch_id, attempt=attempt)
        row = self.rows[one.fingerprint]
        made = triggers.alert_payload(row, row["attempts"][-1])
        self.stackstorm.dispatch(triggers.ALERT, made, request_id)
        self.stackstorm.process()
        self.look()
        return one.fingerprint, request_id

    def finish(self, status="succeeded", result=None):
        """Everything that runs ends, and the sensor sees it."""
        self.clock.advance(10)
        for execution_id in self.stackstorm.running():
            self.stackstorm.finish(execution_id, status, result)
        self.look()

    def look(self):
        flights = [(r, a) for r in self.rows.values() for a in open_attempts(r)]
        for fact in watch_module.observe(self.stackstorm, flights, self.clock())[0]:
            self._add(fact)

    def resolve(self, entry):
        self.clock.advance(60)
        parsed = payload.parse(notification(dict(entry, status="resolved")))
        one = parsed.alerts[0]
        self._apply(
            "notified",
            status="resolved",
            fingerprint=one.fingerprint,
            episode=self.rows[one.fingerprint]["episode"],
            request_id=ids.new_uuid7(self.clock()),
            alert=facts.described(one, parsed),
        )
        made = triggers.alert_resolved_payload(self.rows[one.fingerprint])
        self.stackstorm.dispatch(triggers.ALERT_RESOLVED, made)
        self.stackstorm.process()

    def store(self):
        """The sensor's rows of alerts are in the datastore, as ``track`` writes them."""
        for fingerprint, row in self.rows.items():
            rows.write(self.stackstorm, rows.ALERT, fingerprint, row)

    def rebuild(self, since="24h"):
        return rebuild.rebuild(self.stackstorm, since, SETTINGS, self.clock())

    def read(self, prefix, name):
        return rows.read(self.stackstorm, prefix, name)

    def _apply(self, kind, **known):
        self._add(facts.fact(kind, at=clock.to_text(self.clock()), **known))

    def _add(self, fact):
        known = self.rows.get(fact.fingerprint)
        self.rows[fact.fingerprint] = lifecycle.apply(known, fact)


@pytest.fixture
def story():
    return Story()


def told(row):
    """What StackStorm's records tell of a row: not which requests brought nothing new."""
    left_out = ("rev", "extra", "last_seen_at", "request_ids", "occurrences", "episodes", "history")
    history = [{k: v for k, v in entry.items() if k != "request_id"} for entry in row["history"]]
    return [{name: value for name, value in row.items() if name not in left_out}, history]


def test_a_lost_row_comes_back_with_its_state_history_and_attempts(story):
    """As the sensor that saw it all has it."""
    fingerprint, _ = story.fire(alert())
    story.finish("failed", {"error": "no such host"})
    counts = story.rebuild()
    row = story.read(rows.ALERT, fingerprint)
    assert told(row) == inert(told(story.rows[fingerprint]))
    assert row["state"] == "failed" and "no such host" in row["reason"]
    assert counts == {
        "instances": 1,
        "alerts_written": 1,
        "executions_written": 1,
        "requests_written": 1,
        "unchanged": 0,
    }


STEPS = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.sampled_from(["ServiceDown", "Nobody"]),
        st.sampled_from(["succeeded", "failed", "timeout", "canceled", None]),
        st.booleans(),
    ),
    max_size=6,
)


@PROPERTY
@given(STEPS)
def test_whatever_happened_lost_rows_come_back_and_a_second_time_changes_nothing(steps):
    """Rules or none, successes, failures, several attempts, running ones, resolves."""
    story = Story()
    attempts = {}
    for number, alertname, status, resolves in steps:
        entry = alert(number, alertname=alertname)
        attempts[number, alertname] = attempts.get((number, alertname), 0) + 1
        story.fire(entry, attempts[number, alertname])
        if status:
            story.finish(status)
        if resolves:
            story.resolve(entry)
    story.stackstorm.instances.reverse()  # StackStorm gives them in an order of its own
    story.rebuild()
    assert {row["fingerprint"] for row in story.stackstorm.rows(rows.ALERT)} == set(story.rows)
    for row in story.stackstorm.rows(rows.ALERT):
        assert told(row) == inert(told(story.rows[row["fingerprint"]]))
    before = dict(story.stackstorm.keys)
    counts = story.rebuild()
    assert story.stackstorm.keys == before
    assert {n for kind, n in counts.items() if kind.endswith("_written")} == {0}
    assert counts["unchanged"] == len(before)


def test_a_stored_row_gets_what_it_missed_and_keeps_its_labels_and_its_revision(story):
    """StackStorm has them inert only; and the sensor's next revision must win."""
    fingerprint, _ = story.fire(alert(note="{{ 7 * 7 }}"))
    story.store()
    stored = story.read(rows.ALERT, fingerprint)
    story.finish()
    story.fire(alert(note="{{ 7 * 7 }}"), episode="2026-11-21T09:00:00.000000000Z")
    story.rebuild()
    row = story.read(rows.ALERT, fingerprint)
    assert (stored["state"], row["state"]) == ("remediating", "remediating")
    assert [attempt["outcome"] for attempt in row["attempts"]] == ["remediated", None]
    assert row["rev"] == stored["rev"]
    assert row["labels"] == stored["labels"] and row["labels"]["note"] == "{{ 7 * 7 }}"


def test_a_stored_row_that_lacks_nothing_is_not_written(story):
    """StackStorm's clock may be behind, and an attempt by hand is no occurrence of the alert."""
    fingerprint, _ = story.fire(alert())
    story.finish("failed")
    story.fire(alert(), attempt=2, arrives=False)
    story.finish()
    story.store()
    for instance in story.stackstorm.instances:
        behind = clock.to_seconds(instance["occurrence_time"]) - 3
        instance["occurrence_time"] = clock.to_text(behind)
    assert story.rebuild()["alerts_written"] == 0
    assert story.read(rows.ALERT, fingerprint) == story.rows[fingerprint]


def test_a_row_that_was_not_there_holds_inert_text(story):
    """As the trigger did."""
    fingerprint, _ = story.fire(alert(note="{{ 7 * 7 }}"))
    story.rebuild()
    assert story.read(rows.ALERT, fingerprint)["labels"]["note"] == "❴❴ 7 * 7 }}"


def test_what_the_sensor_writes_later_wins(story):
    """Whatever revision it is at, its memory is whole."""
    fingerprint, request_id = story.fire(alert(note="{"))
    story.rebuild()
    sensor_rows = {kind: {} for kind in rows.KINDS}
    sensor_rows["alerts"][fingerprint] = dict(story.rows[fingerprint], rev=1)
    sensor_rows["requests"][request_id] = {"request_id": request_id, "rev": 1, "source": "listener"}
    outbox.track(story.stackstorm, outbox.put(story.stackstorm, sensor_rows), SETTINGS)
    assert story.read(rows.ALERT, fingerprint)["labels"]["note"] == "{"
    assert story.read(rows.REQUEST, request_id)["source"] == "listener"


def test_a_row_that_is_written_in_the_meantime_is_left_alone(story):
    """The sensor knows more than what was read a moment ago."""
    fingerprint, _ = story.fire(alert())
    story.store()
    story.finish()
    newer = dict(story.rows[fingerprint], reason="newer")
    list_executions = story.stackstorm.list_executions

    def slow(*arguments):
        rows.write(story.stackstorm, rows.ALERT, fingerprint, newer)
        return list_executions(*arguments)

    story.stackstorm.list_executions = slow
    assert story.rebuild()["alerts_written"] == 0
    assert story.read(rows.ALERT, fingerprint) == newer


def test_an_execution_row_is_the_one_that_the_sensor_writes(story):
    """But for the revision, which is older than every one of the sensor's."""
    fingerprint, request_id = story.fire(alert())
    story.finish()
    story.rebuild()
    row = story.rows[fingerprint]
    attempt = row["attempts"][0]
    about = (attempt["dispatch_id"], attempt["executions"][0])
    found = story.read(rows.EXECUTION, attempt["executions"][0]["execution_id"])
    assert found == dict(lifecycle.execution_row(row, *about), rev=0)
    assert (found["request_id"], found["status"]) == (request_id, "succeeded")


def test_the_row_of_an_ended_execution_stays_as_it_is(story):
    """Its alert may come back with inert text; what is there is whole."""
    fingerprint, _ = story.fire(alert(alertname="Down{"))
    story.finish()
    row = story.rows[fingerprint]
    attempt = row["attempts"][0]
    about = (attempt["dispatch_id"], attempt["executions"][0])
    name = attempt["executions"][0]["execution_id"]
    stored = lifecycle.execution_row(row, *about)
    rows.write(story.stackstorm, rows.EXECUTION, name, stored)
    assert story.rebuild()["executions_written"] == 0
    assert story.read(rows.EXECUTION, name) == stored


def test_what_still_runs_is_rebuilt_as_running_and_ends_with_the_next_time(story):
    """Rebuilding is repeated until nothing is missing."""
    fingerprint, request_id = story.fire(alert())
    story.rebuild()
    assert story.read(rows.ALERT, fingerprint)["state"] == "remediating"
    assert story.read(rows.REQUEST, request_id)["completed_at"] is None
    story.finish()
    counts = story.rebuild()
    assert (counts["alerts_written"], counts["executions_written"]) == (1, 1)
    row = story.read(rows.ALERT, fingerprint)
    assert (row["state"], row["rev"]) == ("remediated", 0)


def test_an_alert_that_no_rule_took_is_unmatched_since_its_dispatch(story):
    """Not since the day on which somebody rebuilt the row."""
    fingerprint, _ = story.fire(alert(alertname="Nobody"))
    story.clock.advance(3600)
    story.rebuild()
    row = story.read(rows.ALERT, fingerprint)
    assert row["state"] == "unmatched"
    assert row["state_since"] == row["attempts"][0]["dispatched_at"]


def test_a_resolve_that_a_stored_row_missed_is_in_it(story):
    """Else a sensor that starts again would take the alert for firing."""
    entry = alert()
    fingerprint, _ = story.fire(entry)
    story.finish()
    story.store()
    story.resolve(entry)
    story.clock.advance(1)
    story.rebuild(clock.to_text(story.clock() - 30))
    assert story.read(rows.ALERT, fingerprint)["state"] == "resolved"


def test_a_request_row_has_the_shape_of_every_other_and_says_that_it_is_rebuilt(story):
    """When it was received its id tells."""
    made = uuid.UUID(int=int((NOW + 60) * 1000) << 80 | 7 << 76 | 2 << 62)
    fingerprint, request_id = story.fire(alert(), request_id=str(made))
    story.finish()
    story.rebuild()
    row = story.read(rows.REQUEST, request_id)
    entry = requests.new_entry("", "", None, "dispatch", "")
    usual = requests.new_request(request_id, "", "listener", [entry])
    assert set(row) == set(usual) | {"rev"}
    assert set(row["alerts"][0]) == set(entry)
    assert (row["source"], row["rev"]) == ("rebuilt", 0)
    assert row["received_at"] == clock.to_text(NOW + 60)
    assert row["completed_at"] == story.rows[fingerprint]["attempts"][0]["ended_at"]
    assert row["counts"] == {"dispatch": 1, "alerts": 1}
    assert row["alerts"][0]["outcome"] == "remediated"


def test_a_request_that_is_there_stays_as_it_is(story):
    """It knows of alerts that were not dispatched."""
    _, request_id = story.fire(alert())
    kept = {"request_id": request_id, "rev": 3, "counts": {"alerts": 7}}
    rows.write(story.stackstorm, rows.REQUEST, request_id, kept)
    story.rebuild()
    assert story.read(rows.REQUEST, request_id) == kept


def test_a_request_whose_notification_is_still_in_the_inbox_gets_no_row(story):
    """The sensor would take the row for the proof that every alert in it is decided."""
    _, request_id = story.fire(alert())
    rows.write(story.stackstorm, rows.INBOX, request_id, {"request_id": request_id})
    story.rebuild()
    assert story.read(rows.REQUEST, request_id) is None


def test_a_dispatch_that_was_sent_twice_is_one_attempt(story):
    """It has one dispatch id."""
    fingerprint, _ = story.fire(alert())
    again = dict(story.stackstorm.instances[0], id="again")
    again["occurrence_time"] = clock.to_text(story.clock() + 5)
    story.stackstorm.instances.append(again)
    story.finish()
    story.rebuild()
    (attempt,) = story.read(rows.ALERT, fingerprint)["attempts"]
    assert attempt["dispatched_at"] == story.rows[fingerprint]["attempts"][0]["dispatched_at"]


@pytest.mark.parametrize("ago, instances", [("90s", 1), ("10m", 2), ("999999999w", 2)])
def test_only_what_was_dispatched_since_then_is_read(story, ago, instances):
    """A length of time counts back from now."""
    story.fire(alert(1))
    story.clock.advance(120)
    story.fire(alert(2))
    assert story.rebuild(ago)["instances"] == instances


def test_the_rows_are_kept_as_long_as_every_other(story):
    """The settings say how long."""
    fingerprint, request_id = story.fire(alert())
    story.finish()
    story.rebuild()
    for prefix, name in ((rows.ALERT, fingerprint), (rows.REQUEST, request_id)):
        assert story.stackstorm.ttl(rows.key(prefix, name)) == SETTINGS.retention.request_seconds


@pytest.mark.parametrize("since", ["yesterday", "24", "0h", "2026-01-31", "{{ 1 }}"])
def test_a_time_that_is_none_is_an_error_that_says_what_to_write(story, since):
    """Nothing is read or written."""
    story.stackstorm.away = True
    with pytest.raises(ExpectedError) as caught:
        story.rebuild(since)
    assert str(caught.value).startswith("since: ") and "24h" in str(caught.value)


class TrackTestCase(BaseActionTestCase):
    action_cls = track.Track

    def run_action(self, story, **parameters):
        with mock.patch("poundcake.st2.action.StackStorm", lambda get_client: story.stackstorm):
            return self.get_action_instance({}).run(**parameters)

    def test_since_rebuilds(self):
        """``st2 run poundcake.track since=...``."""
        story = Story()
        fingerprint, _ = story.fire(alert())
        found = self.run_action(story, since="2026-11-21T08:00:00Z")
        self.assertEqual(found["alerts_written"], 1)
        self.assertIsNotNone(story.read(rows.ALERT, fingerprint))

    def test_it_takes_either_a_batch_or_a_time(self):
        """And says so."""
        for parameters in ({}, {"batch_id": "b1", "since": "24h"}):
            ok, result = self.run_action(Story(), **parameters)
            self.assertFalse(ok)
            self.assertIn("batch_id, since: give one of them", result["error"])

    def test_a_batch_that_takes_too_long_is_a_failure(self):
        """Which the retry policy has run again; a timeout of StackStorm's it would not."""
        story = Story()
        story.stackstorm.list_keys = lambda *arguments: time.sleep(30)
        with mock.patch("track.LIMIT_SECONDS", 0.05):
            with self.assertRaises(TimeoutError):
                self.run_action(story, batch_id="b1")
