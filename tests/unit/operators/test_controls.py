"""Pauses and maintenance windows: what operators set, and what the sensor reads."""

from unittest import mock

import end_maintenance
import list_maintenance
import pause
import pytest
import resume
import start_maintenance
from hypothesis import given
from hypothesis import strategies as st
from poundcake import clock
from poundcake.core import controls as core_controls
from poundcake.errors import ExpectedError
from poundcake.operators import controls
from poundcake.st2 import rows
from poundcake.st2.controls import read, set_unreadable_aside
from poundcake.views import queries
from st2tests.mocks.action import MockActionService

from tests.support.actions import PackActionTestCase
from tests.support.fakes import JSON_TEXT, JSON_VALUES, NOW, PROPERTY, Clock, FakeStackStorm
from tests.support.rows import plain_row

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


def kept(stackstorm):
    """Set aside what cannot be read; return ``(key, text)`` of each."""
    errors = []
    found = read(stackstorm)
    after = set_unreadable_aside(stackstorm, found, errors.append, NOW)
    assert after.unreadable == {}
    return [(error.key, error.text) for error in errors]


def maintain(stackstorm, matchers='host="db1"', duration="1h", reason="new kernel", by="ann"):
    return controls.start_maintenance(stackstorm, matchers, duration, reason, by, NOW)


def pause_it(stackstorm, alertname="", reason="deploying", by="ann"):
    return controls.pause(stackstorm, alertname, reason, by, NOW)


def bring_alert(stackstorm, fingerprint, labels, state):
    more = {"labels": labels, "alertname": labels["alertname"], "host": "h1"}
    row = plain_row(fingerprint, state=state, **more)
    rows.write(stackstorm, rows.ALERT, fingerprint, row)


# --- what the sensor sees -------------------------------------------------------------------------


def test_without_controls_nothing_is_held_and_reading_costs_one_call(stackstorm):
    """The sensor reads them every second."""
    assert hindrance(stackstorm) is None
    assert stackstorm.calls == 1


def test_a_pause_of_everything_holds_every_alert_and_says_how_to_end_it(stackstorm):
    """The row of each held alert says who, why and what to run."""
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
    """To the second; and the reason says until when."""
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


def test_a_pause_of_everything_is_named_first_then_an_alertname_then_maintenance(stackstorm):
    """A person reads what must be ended first."""
    maintain(stackstorm)
    assert hindrance(stackstorm)[1].startswith("in maintenance")
    pause_it(stackstorm, "HostDown")
    assert hindrance(stackstorm)[1].startswith("HostDown is paused")
    pause_it(stackstorm)
    assert hindrance(stackstorm)[1].startswith("everything is paused")


def test_of_several_windows_the_one_that_ends_last_is_named(stackstorm):
    """It holds the alert back longest."""
    for duration in ("2h", "3h", "1h"):
        maintain(stackstorm, duration=duration)
    assert "until 2026-11-21T11:20" in hindrance(stackstorm)[1]


@pytest.mark.parametrize("alertname", ["all", "everything", "a/b?c#d", "x" * 200, "ü 🔥", "-"])
def test_every_alertname_can_be_paused_by_itself(stackstorm, alertname):
    """Whatever its characters are or could mean in a key."""
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
def test_a_window_that_was_edited_into_nonsense_is_set_aside(stackstorm, change):
    """With its key; it holds nothing, and neither does it stop anything."""
    maintain(stackstorm)
    (key,) = stackstorm.keys
    stackstorm.keys[key] = text = rows.dump(dict(rows.load(stackstorm.keys[key]), **change))
    assert kept(stackstorm) == [(key, text)]
    assert hindrance(stackstorm) is None and stackstorm.keys == {}


def test_a_pause_under_a_key_that_no_action_would_end_is_set_aside(stackstorm):
    """resume looks under another key."""
    pause_it(stackstorm)
    (text,) = stackstorm.keys.values()
    stackstorm.keys = {rows.CONTROL + "mine": text}
    assert kept(stackstorm) == [(rows.CONTROL + "mine", text)]
    assert hindrance(stackstorm) is None


@PROPERTY
@given(JSON_VALUES.map(rows.dump) | JSON_TEXT, st.sampled_from(["", "HostDown", "Other"]))
def test_whatever_the_row_of_a_pause_contains_it_stays_a_pause_of_the_same(text, alertname):
    """Its key says what it holds. It may not be JSON, or JSON of another shape."""
    stackstorm = FakeStackStorm(Clock())
    key = rows.key(rows.CONTROL, core_controls.pause_name(alertname))
    stackstorm.keys[key] = text
    assert kept(stackstorm) == [(key, text)]
    assert bool(hindrance(stackstorm)) == (alertname in ("", "HostDown"))
    controls.resume(stackstorm, alertname, "ann")
    assert stackstorm.keys == {}


def test_a_row_too_deep_to_read_does_not_stop_the_sensor(stackstorm):
    """Python cannot parse it, but the alerts still need the sensor."""
    stackstorm.keys[rows.CONTROL + "pause"] = "[" * 200000
    assert len(kept(stackstorm)) == 1
    assert hindrance(stackstorm)[0] == core_controls.PAUSED


@PROPERTY
@given(JSON_TEXT, JSON_TEXT, JSON_TEXT)
def test_a_pause_is_read_back_as_it_was_written(alertname, reason, by):
    """The sensor obeys whatever an action accepted."""
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


def test_a_pause_stays_and_a_window_expires_a_day_after_its_end(stackstorm, time):
    """Nobody has to clean up, and yesterday's window can still be seen."""
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
    """It says who, why, what and how long."""
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
    """With a typo in a name or a matcher, that number is 0."""
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
    """Anyone can pause, and the earlier reason is not lost unseen."""
    assert pause_it(stackstorm, reason="one", by="ann")["replaced"] is None
    assert pause_it(stackstorm, reason="two", by="bob")["replaced"]["reason"] == "one"
    assert "bob" in hindrance(stackstorm)[1]


def test_resume_says_what_remains_paused(stackstorm):
    """The pause of an alertname and the pause of everything end independently."""
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
def test_resuming_what_is_not_paused_is_an_error_that_says_what_is(
    stackstorm, paused, alertname, sentence
):
    """Otherwise a person would believe that something was resumed."""
    for name in paused:
        pause_it(stackstorm, name)
    with pytest.raises(ExpectedError) as caught:
        controls.resume(stackstorm, alertname, "ann")
    assert str(caught.value) == sentence


def test_resume_never_removes_an_unreadable_control(stackstorm):
    """It may be somebody's maintenance; its key is named until a person has looked at it."""
    pause_it(stackstorm)
    key = rows.CONTROL + "broken"
    stackstorm.keys[key] = "?"
    assert controls.resume(stackstorm, "", "ann")["still_paused"] == [key]
    with pytest.raises(ExpectedError, match=key):
        controls.resume(stackstorm, "", "ann")
    assert key in stackstorm.keys


def test_a_person_can_end_a_window_early(stackstorm):
    """That window alone ends."""
    one, two = maintain(stackstorm), maintain(stackstorm, 'host="db2"')
    answer = controls.end_maintenance(stackstorm, one["id"], "bob", NOW)
    assert (answer["ended_by"], answer["maintenance"]["id"]) == ("bob", one["id"])
    assert hindrance(stackstorm) is None
    assert [w.row["id"] for w in controls.read(stackstorm).windows] == [two["id"]]


def test_ending_an_unknown_or_past_window_is_an_error_that_lists_active_ones(stackstorm):
    """The list has their reasons, so that a person can find the right one."""
    with pytest.raises(
        ExpectedError, match='id: unknown active maintenance window "x"; no window is active'
    ):
        controls.end_maintenance(stackstorm, "x", "ann", NOW)
    window = maintain(stackstorm, duration="1h")
    other = maintain(stackstorm, duration="2h", reason="disks")
    with pytest.raises(ExpectedError, match="expected one of %s .disks." % other["id"]):
        controls.end_maintenance(stackstorm, window["id"], "ann", NOW + 3600)


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"matchers": "host"}, "matchers: host: no operator after the name"),
        ({"matchers": ""}, "matchers: no matchers given"),
        ({"matchers": 'host=~".*"'}, "run poundcake.pause"),
        ({"matchers": 'a="%s"' % ("x" * 5000)}, "matchers: have 5004 characters"),
        ({"duration": "soon"}, 'duration: "soon" is not a duration'),
        ({"duration": "0s"}, "duration: "),
        ({"duration": "53w"}, "duration: 53w is longer than a year"),
        ({"duration": "999999999w"}, "longer than a year"),
        ({"reason": " "}, "reason: is empty"),
        ({"reason": "x" * 1001}, "reason: has 1001 characters"),
        ({"by": ""}, "by: is empty; expected your name, as StackStorm does not know who you are"),
        ({"by": "x" * 201}, "by: has 201 characters"),
    ],
)
def test_a_mistake_is_an_error_that_names_the_parameter_and_sets_nothing(
    stackstorm, change, sentence
):
    """The error contains the remedy."""
    with pytest.raises(ExpectedError) as caught:
        maintain(stackstorm, **change)
    assert sentence in str(caught.value)
    assert stackstorm.keys == {}


def test_a_reason_of_several_lines_becomes_one(stackstorm):
    """Tables and chat show it."""
    assert pause_it(stackstorm, reason=" a\n b\t c ")["reason"] == "a b c"


# --- the actions ----------------------------------------------------------------------------------


class PauseActionTest(PackActionTestCase):
    __test__ = True
    action_cls = pause.Pause

    def test_the_user_of_the_execution_is_the_one_who_paused(self):
        """An administrator may act for another person, and both names are shown."""
        self.assertEqual(self.succeed(reason="why", alertname="", by="")["by"], "admin")
        self.assertEqual(self.succeed(reason="why", alertname="", by="ann")["by"], "ann via admin")

    def test_nobody_signs_as_somebody_else(self):
        """It is an expected failure, and nothing is paused."""
        rbac = {"enabled": True, "roles": [], "is_admin": False}
        user = {"username": "eve", "rbac": rbac}
        with mock.patch.object(MockActionService, "get_user_info", lambda self: user):
            error = self.fail_with(reason="why", by="ann")
            self.assertIn("only an administrator may act as somebody else", error)
            self.assertEqual(self.stackstorm.rows(rows.CONTROL), [])
            chat = self.succeed(reason="why", by="ann", chat_user="ann")
        self.assertEqual(chat["by"], "ann via eve")
        self.assertIn("Everything is paused by ann via eve: why", chat["chat"])

    def test_the_answer_is_inert_and_the_row_is_not(self):
        """A workflow may publish the answer."""
        self.assertIn("\u2774", self.succeed(reason="{{ x }}", alertname="", by="")["reason"])
        (row,) = self.stackstorm.rows(rows.CONTROL)
        self.assertEqual(row["reason"], "{{ x }}")

    def test_no_reason_is_an_expected_failure(self):
        """The person gets a sentence, not a traceback."""
        self.assertIn("reason: is empty", self.fail_with(reason="", alertname="", by=""))


class ResumeActionTest(PackActionTestCase):
    __test__ = True
    action_cls = resume.Resume

    def test_it_ends_a_pause(self):
        """And it is an error when there was none."""
        pause_it(self.stackstorm, "A")
        self.assertEqual(self.succeed(alertname="A", by="")["status"], "resumed")
        self.assertIn("nothing is paused", self.fail_with(alertname="A", by=""))


class StartMaintenanceActionTest(PackActionTestCase):
    __test__ = True
    action_cls = start_maintenance.StartMaintenance

    def test_it_starts_now(self):
        """It goes by the clock of the machine that runs the action."""
        answer = self.succeed(matchers="a=b", duration="1d", reason="why", by="")
        self.assertEqual((answer["status"], answer["by"]), ("started", "admin"))
        self.assertEqual(clock.elapsed(answer["starts_at"], answer["ends_at"]), DAY)

    def test_a_mistake_is_an_expected_failure(self):
        """The person gets a sentence, not a traceback."""
        error = self.fail_with(matchers="a", duration="1d", reason="why", by="")
        self.assertIn("matchers: a: ", error)


class EndMaintenanceActionTest(PackActionTestCase):
    __test__ = True
    action_cls = end_maintenance.EndMaintenance

    def test_it_ends_the_window_that_was_started(self):
        """The id is the one in the answer to the start."""
        answer = controls.start_maintenance(self.stackstorm, "a=b", "1h", "why", "ann")
        self.assertEqual(self.succeed(id=answer["id"], by="")["ended_by"], "admin")
        self.assertEqual(self.stackstorm.keys, {})


class ListMaintenanceActionTest(PackActionTestCase):
    __test__ = True
    action_cls = list_maintenance.ListMaintenance

    def test_it_lists_both_kinds(self):
        """One call answers for both."""
        pause_it(self.stackstorm)
        controls.start_maintenance(self.stackstorm, "a=b", "1h", "why", "ann")
        found = self.succeed()
        self.assertEqual([len(found[kind]) for kind in ("paused", "maintenance")], [1, 1])
