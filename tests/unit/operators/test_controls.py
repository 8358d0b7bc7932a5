"""Pauses and maintenance windows: what operators set, and what the sensor reads of it."""

import end_maintenance
import list_maintenance
import pause
import pytest
import resume
import start_maintenance
from hypothesis import given
from poundcake import clock
from poundcake.core import controls as core_controls
from poundcake.errors import ExpectedError
from poundcake.operators import controls
from poundcake.st2 import rows
from poundcake.views import queries

from tests.pack.test_actions import PackActionTestCase
from tests.support.fakes import JSON_TEXT, JSON_VALUES, NOW, PROPERTY, Clock, FakeStackStorm

LABELS = {"alertname": "HostDown", "host": "db1", "severity": "critical"}
DAY = 86400


@pytest.fixture
def time():
    return Clock()


@pytest.fixture
def stackstorm(time):
    return FakeStackStorm(time)


def hindrance(stackstorm, labels=LABELS, now=NOW):
    return controls.read(stackstorm).hold_by(labels["alertname"], labels, now)


def maintain(stackstorm, matchers='host="db1"', duration="1h", reason="new kernel", by="ann"):
    return controls.start_maintenance(stackstorm, matchers, duration, reason, by, NOW)


def pause_it(stackstorm, alertname="", reason="deploying", by="ann"):
    return controls.pause(stackstorm, alertname, reason, by, NOW)


def bring_alert(stackstorm, fingerprint, labels, state):
    row = {"labels": labels, "alertname": labels["alertname"], "host": "h1", "state": state}
    rows.write(stackstorm, rows.ALERT, fingerprint, row)


# --- what the sensor sees -------------------------------------------------------------------------


def test_nothing_set_hinders_nothing_and_costs_one_call(stackstorm):
    """The sensor asks every second."""
    assert hindrance(stackstorm) is None
    assert stackstorm.calls == 1


def test_a_pause_of_everything_holds_every_alert_and_says_how_to_end_it(stackstorm):
    """Who, why and what to run stand on the row of each alert that is held."""
    pause_it(stackstorm, reason="deploying {{ x }}", by="ann")
    word, reason = hindrance(stackstorm)
    assert word == core_controls.PAUSED
    assert reason == (
        "everything is paused by ann since 2026-11-21T08:20:00.000000Z: deploying {{ x }}"
        " (end it with: st2 run poundcake.resume)"
    )


def test_a_pause_of_one_alertname_holds_that_one_only(stackstorm):
    """Until it is resumed."""
    pause_it(stackstorm, "HostDown")
    word, reason = hindrance(stackstorm)
    assert (word, reason[:22]) == (core_controls.PAUSED, "HostDown is paused by ")
    assert "st2 run poundcake.resume alertname=HostDown)" in reason
    assert hindrance(stackstorm, dict(LABELS, alertname="Other")) is None
    controls.resume(stackstorm, "HostDown", "bob")
    assert hindrance(stackstorm) is None


def test_a_maintenance_window_holds_what_all_its_matchers_match_until_its_end(stackstorm):
    """By the second, and the reason tells until when."""
    window = maintain(stackstorm, 'host=~"db.*", severity="critical"')
    word, reason = hindrance(stackstorm)
    assert word == core_controls.MAINTENANCE
    assert reason == (
        'in maintenance (host=~"db.*", severity="critical") by ann until'
        " 2026-11-21T09:20:00.000000Z: new kernel"
        " (end it with: st2 run poundcake.end_maintenance id=%s)" % window["id"]
    )
    assert hindrance(stackstorm, dict(LABELS, severity="warning")) is None
    assert hindrance(stackstorm, dict(LABELS, host="web1")) is None
    assert hindrance(stackstorm, now=NOW + 3599.9)
    assert hindrance(stackstorm, now=NOW + 3600) is None


def test_a_window_holds_at_once_for_a_sensor_whose_clock_is_behind(stackstorm):
    """An action may run on another machine than the sensor."""
    maintain(stackstorm)
    assert hindrance(stackstorm, now=NOW - 60)


def test_a_pause_of_everything_is_told_before_one_of_a_name_and_that_before_maintenance(stackstorm):
    """What must be ended first is what a person reads."""
    maintain(stackstorm)
    assert hindrance(stackstorm)[1].startswith("in maintenance")
    pause_it(stackstorm, "HostDown")
    assert hindrance(stackstorm)[1].startswith("HostDown is paused")
    pause_it(stackstorm)
    assert hindrance(stackstorm)[1].startswith("everything is paused")


def test_of_several_windows_the_one_that_ends_last_is_told(stackstorm):
    """It is the one that holds the alert back longest."""
    for duration in ("2h", "3h", "1h"):
        maintain(stackstorm, duration=duration)
    assert "until 2026-11-21T11:20" in hindrance(stackstorm)[1]


@pytest.mark.parametrize("alertname", ["all", "everything", "a/b?c#d", "x" * 200, "ü 🔥", "-"])
def test_every_alertname_can_be_paused_and_is_no_other_pause(stackstorm, alertname):
    """Whatever its characters are, and whatever else they may mean in a key."""
    pause_it(stackstorm, alertname)
    assert hindrance(stackstorm, dict(LABELS, alertname=alertname))
    assert hindrance(stackstorm) is None
    pause_it(stackstorm)
    controls.resume(stackstorm, "", "ann")
    assert controls.read(stackstorm).pauses.keys() == {alertname}
    controls.resume(stackstorm, alertname, "ann")
    assert stackstorm.keys == {}


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "maintenence"},
        {"matchers": []},
        {"matchers": ['host=~".*"']},
        {"matchers": ['host=~"("']},
        {"matchers": None},
        {"matchers": [1]},
        {"ends_at": "tomorrow"},
        {"ends_at": None},
        {"id": "another"},
        {"reason": {}},
        {"by": None},
    ],
)
def test_a_window_that_somebody_edited_into_nonsense_counts_as_a_pause_of_everything(
    stackstorm, change
):
    """The safe side; the reason names the key and the way out, and the sensor goes on."""
    window = maintain(stackstorm)
    (key,) = stackstorm.keys
    stackstorm.keys[key] = rows.dump(dict(rows.load(stackstorm.keys[key]), **change))
    word, reason = hindrance(stackstorm, dict(LABELS, host="elsewhere"))
    assert word == core_controls.PAUSED
    assert "everything counts as paused" in reason and "st2 key delete " + key in reason
    assert window["id"] in key


def test_a_pause_under_a_key_that_no_action_would_end_counts_as_not_understood(stackstorm):
    """resume would look elsewhere; the reason names the key that is there."""
    pause_it(stackstorm)
    (text,) = stackstorm.keys.values()
    stackstorm.keys = {rows.CONTROL + "mine": text}
    assert "st2 key delete poundcake.control.mine" in hindrance(stackstorm)[1]


@PROPERTY
@given(JSON_VALUES.map(rows.dump) | JSON_TEXT)
def test_whatever_stands_in_a_control_row_the_sensor_reads_on_and_holds_everything(text):
    """Not JSON, or JSON of any other shape."""
    stackstorm = FakeStackStorm(Clock())
    stackstorm.keys[rows.CONTROL + "pause"] = text
    assert hindrance(stackstorm)[0] == core_controls.PAUSED
    (listed,) = queries.list_maintenance(stackstorm, NOW)["paused"]
    assert listed["key"] == rows.CONTROL + "pause"


def test_a_row_too_deep_to_read_does_not_stop_the_sensor(stackstorm):
    """Python gives up on it; that is no reason to give up on every alert."""
    stackstorm.keys[rows.CONTROL + "pause"] = "[" * 200000
    assert hindrance(stackstorm)[0] == core_controls.PAUSED


@PROPERTY
@given(JSON_TEXT, JSON_TEXT, JSON_TEXT)
def test_what_was_paused_is_read_back_whatever_the_texts(alertname, reason, by):
    """What an action accepts, the sensor obeys."""
    stackstorm = FakeStackStorm(Clock())
    try:
        row = controls.pause(stackstorm, alertname, reason, by, NOW)
    except ExpectedError:
        assert stackstorm.keys == {}
    else:
        assert controls.read(stackstorm).unreadable == {}
        assert hindrance(stackstorm, dict(LABELS, alertname=row["alertname"]))
        assert controls.resume(stackstorm, alertname, "bob")["still_paused"] == []


# --- what the actions do --------------------------------------------------------------------------


def test_a_pause_stays_and_a_window_leaves_by_itself_a_day_after_its_end(stackstorm, time):
    """Nobody has to tidy up, and yesterday's window can still be looked at."""
    maintain(stackstorm, duration="2h")
    pause_it(stackstorm)
    time.advance(7200)
    (window,) = queries.list_maintenance(stackstorm, time())["maintenance"]
    assert (window["active"], window["seconds_left"]) == (False, 0)
    time.advance(DAY)
    assert queries.list_maintenance(stackstorm, time())["maintenance"] == []
    time.advance(1000 * DAY)
    assert hindrance(stackstorm)


def test_the_list_shows_pauses_and_windows_with_the_time_that_is_left(stackstorm):
    """Who, why, what and how long."""
    pause_it(stackstorm, "HostDown")
    window = maintain(stackstorm)
    found = queries.list_maintenance(stackstorm, NOW + 600)
    assert found["paused"] == [
        {
            "kind": "pause",
            "alertname": "HostDown",
            "by": "ann",
            "reason": "deploying",
            "at": "2026-11-21T08:20:00.000000Z",
        }
    ]
    assert found["maintenance"] == [
        {
            "kind": "maintenance",
            "id": window["id"],
            "matchers": ['host="db1"'],
            "starts_at": "2026-11-21T08:20:00.000000Z",
            "ends_at": "2026-11-21T09:20:00.000000Z",
            "by": "ann",
            "reason": "new kernel",
            "active": True,
            "seconds_left": 3000,
        }
    ]


def test_the_answer_says_how_many_unresolved_alerts_are_held(stackstorm):
    """A name or a matcher with a slip of the pen in it holds none."""
    bring_alert(stackstorm, "f1", LABELS, "pending")
    bring_alert(stackstorm, "f2", dict(LABELS, host="web1"), "failed")
    bring_alert(stackstorm, "f3", dict(LABELS, alertname="Other"), "remediating")
    bring_alert(stackstorm, "f4", LABELS, "resolved")
    assert pause_it(stackstorm)["unresolved_alerts"] == 3
    assert pause_it(stackstorm, "HostDown")["unresolved_alerts"] == 2
    assert pause_it(stackstorm, "HostDwon")["unresolved_alerts"] == 0
    assert maintain(stackstorm, "host=db1,alertname=HostDown")["unresolved_alerts"] == 1
    bring_alert(stackstorm, "f5", {"alertname": "HostDown"}, "failed")
    held = maintain(stackstorm, "host=h1,alertname=HostDown")["unresolved_alerts"]
    assert held == 1, "host is the alert's host where it has no such label"


def test_a_second_pause_replaces_the_first_and_shows_it(stackstorm):
    """Nobody is kept from pausing, and nobody's reason is lost unseen."""
    assert pause_it(stackstorm, reason="one", by="ann")["replaced"] is None
    assert pause_it(stackstorm, reason="two", by="bob")["replaced"]["reason"] == "one"
    assert "bob" in hindrance(stackstorm)[1]


def test_resume_says_what_remains_paused(stackstorm):
    """A pause of a name outlives the end of the pause of everything, and the other way round."""
    for name in ("", "A", "B"):
        pause_it(stackstorm, name)
    answer = controls.resume(stackstorm, "A", "bob")
    assert sorted(answer["still_paused"]) == ["B", "everything"]
    answer = controls.resume(stackstorm, "", "bob")
    assert answer["still_paused"] == ["B"]
    assert (answer["was"]["reason"], answer["by"]) == ("deploying", "bob")


@pytest.mark.parametrize(
    "paused, alertname, sentence",
    [
        ([], "", "alertname: there is no pause of everything; nothing is paused"),
        (["A", "B"], "", "alertname: there is no pause of everything; paused: A, B"),
        ([""], "C", 'alertname: there is no pause of "C"; paused: everything'),
    ],
)
def test_to_resume_what_is_not_paused_is_an_error_that_says_what_is(
    stackstorm, paused, alertname, sentence
):
    """A person must not believe that something was resumed."""
    for name in paused:
        pause_it(stackstorm, name)
    with pytest.raises(ExpectedError) as caught:
        controls.resume(stackstorm, alertname, "ann")
    assert str(caught.value) == sentence


def test_resume_never_removes_what_cannot_be_understood(stackstorm):
    """It may be somebody's maintenance; its key is named until a person has looked at it."""
    pause_it(stackstorm)
    key = rows.CONTROL + "broken"
    stackstorm.keys[key] = "?"
    assert controls.resume(stackstorm, "", "ann")["still_paused"] == [key]
    with pytest.raises(ExpectedError, match=key):
        controls.resume(stackstorm, "", "ann")
    assert hindrance(stackstorm)[0] == core_controls.PAUSED


def test_a_window_ends_before_its_time_when_a_person_says_so(stackstorm):
    """That one, and no other."""
    one, two = maintain(stackstorm), maintain(stackstorm, 'host="db2"')
    answer = controls.end_maintenance(stackstorm, one["id"], "bob", NOW)
    assert (answer["ended_by"], answer["maintenance"]["id"]) == ("bob", one["id"])
    assert hindrance(stackstorm) is None
    assert [w.row["id"] for w in controls.read(stackstorm).windows] == [two["id"]]


def test_to_end_a_window_that_is_not_there_or_over_is_an_error_that_says_which_are(stackstorm):
    """With their reasons, so that the right one is found."""
    with pytest.raises(ExpectedError, match='id: "x" is no active maintenance; there is none'):
        controls.end_maintenance(stackstorm, "x", "ann", NOW)
    window = maintain(stackstorm, duration="1h")
    other = maintain(stackstorm, duration="2h", reason="disks")
    with pytest.raises(ExpectedError, match="active: %s .disks." % other["id"]):
        controls.end_maintenance(stackstorm, window["id"], "ann", NOW + 3600)


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"matchers": "host"}, "matchers: host: has none of"),
        ({"matchers": ""}, "matchers: there are no matchers"),
        ({"matchers": 'host=~".*"'}, "run poundcake.pause"),
        ({"matchers": 'a="%s"' % ("x" * 5000)}, "matchers: have 5004 characters"),
        ({"duration": "soon"}, 'duration: "soon" is no length of time'),
        ({"duration": "0s"}, "duration: "),
        ({"duration": "53w"}, "duration: 53w is longer than a year"),
        ({"duration": "999999999w"}, "longer than a year"),
        ({"reason": " "}, "reason: is empty"),
        ({"reason": "x" * 1001}, "reason: has 1001 characters"),
        ({"by": ""}, "by: is empty; StackStorm does not say who you are"),
        ({"by": "x" * 201}, "by: has 201 characters"),
    ],
)
def test_a_mistake_is_an_error_that_names_the_parameter_and_sets_nothing(
    stackstorm, change, sentence
):
    """The remedy is in the sentence."""
    with pytest.raises(ExpectedError) as caught:
        maintain(stackstorm, **change)
    assert sentence in str(caught.value)
    assert stackstorm.keys == {}


def test_a_reason_of_several_lines_becomes_one(stackstorm):
    """It stands in tables and in chat."""
    assert pause_it(stackstorm, reason=" a\n b\t c ")["reason"] == "a b c"


# --- the actions ----------------------------------------------------------------------------------


class PauseActionTest(PackActionTestCase):
    __test__ = True
    action_cls = pause.Pause

    def test_the_user_of_the_execution_is_who_paused(self):
        """Unless somebody else is named, as ChatOps does."""
        self.assertEqual(self.succeed(reason="why", alertname="", by="")["by"], "admin")
        self.assertEqual(self.succeed(reason="why", alertname="", by="ann")["by"], "ann")

    def test_the_answer_is_inert_and_the_row_is_not(self):
        """A workflow may publish the answer."""
        self.assertIn("\u2774", self.succeed(reason="{{ x }}", alertname="", by="")["reason"])
        (row,) = self.stackstorm.rows(rows.CONTROL)
        self.assertEqual(row["reason"], "{{ x }}")

    def test_no_reason_is_an_expected_failure(self):
        """A sentence, not a traceback."""
        self.assertIn("reason: is empty", self.fail_with(reason="", alertname="", by=""))


class ResumeActionTest(PackActionTestCase):
    __test__ = True
    action_cls = resume.Resume

    def test_it_ends_a_pause(self):
        """And an error says when there was none."""
        pause_it(self.stackstorm, "A")
        self.assertEqual(self.succeed(alertname="A", by="")["status"], "resumed")
        self.assertIn("nothing is paused", self.fail_with(alertname="A", by=""))


class StartMaintenanceActionTest(PackActionTestCase):
    __test__ = True
    action_cls = start_maintenance.StartMaintenance

    def test_it_starts_now(self):
        """By the clock of the machine that runs the action."""
        answer = self.succeed(matchers="a=b", duration="1d", reason="why", by="")
        self.assertEqual((answer["status"], answer["by"]), ("started", "admin"))
        self.assertEqual(clock.elapsed(answer["starts_at"], answer["ends_at"]), DAY)

    def test_a_mistake_is_an_expected_failure(self):
        """Which the person at the keyboard reads."""
        error = self.fail_with(matchers="a", duration="1d", reason="why", by="")
        self.assertIn("matchers: a: ", error)


class EndMaintenanceActionTest(PackActionTestCase):
    __test__ = True
    action_cls = end_maintenance.EndMaintenance

    def test_it_ends_the_window_that_was_started(self):
        """By the id that the start answered."""
        answer = controls.start_maintenance(self.stackstorm, "a=b", "1h", "why", "ann")
        self.assertEqual(self.succeed(id=answer["id"], by="")["ended_by"], "admin")
        self.assertEqual(self.stackstorm.keys, {})


class ListMaintenanceActionTest(PackActionTestCase):
    __test__ = True
    action_cls = list_maintenance.ListMaintenance

    def test_it_lists_both_kinds(self):
        """With one call for both."""
        pause_it(self.stackstorm)
        controls.start_maintenance(self.stackstorm, "a=b", "1h", "why", "ann")
        found = self.succeed()
        self.assertEqual([len(found[kind]) for kind in ("paused", "maintenance")], [1, 1])
