"""The actions: each passes values in and out, and its answer is safe for workflows.

The tests replace one thing: the StackStorm of ``PackAction``, by an in-memory one.
"""

import json

import drop_set_aside
import get_alert
import get_request
import get_stats
import list_alerts
import list_executions
import list_requests
import list_set_aside
import log_notification
import receive_webhook
import take_up_set_aside
import track
from hypothesis import given
from poundcake.core import payload
from poundcake.core.alert import STATES
from poundcake.errors import UnreadableRow
from poundcake.sensor.metrics import Metrics
from poundcake.sensor.recorder import Recorder
from poundcake.st2 import aside, inbox, outbox, rows
from poundcake.st2.client import StackStormError

from tests.support import facts
from tests.support.actions import PackActionTestCase
from tests.support.alerts import alert, notification
from tests.support.facts import fact
from tests.support.fakes import JSON_VALUES, PROPERTY, assert_inert, load_fixture, make_settings
from tests.support.rows import plain_execution, plain_request


class RowsTestCase(PackActionTestCase):
    """Has rows of three alerts, made from facts: one remediated, one failed, one pending."""

    __test__ = False

    def setUp(self):
        super(RowsTestCase, self).setUp()
        self.recorder = Recorder(make_settings(), Metrics())
        self.one = self.bring("request1", alert(1), "receiver-a")
        self.two = self.bring("request2", alert(2, severity="warning", team="db"), "receiver-b")
        self.three = self.bring("request3", alert(3, alertname="HostDown"), "receiver-b")
        self.execute(self.one, "request1", "execution1", "succeeded", 10)
        self.execute(self.two, "request2", "execution2", "failed", 20, "unit not found")
        self.hold(self.three, "pending", "window", "no room")
        self.track()

    def track(self):
        """Write the rows that the facts so far have changed, as the sensor and ``track`` do."""
        batch_id = outbox.put(self.stackstorm, *self.recorder.take_changed())[-1]
        outbox.track(self.stackstorm, batch_id, make_settings())

    def now(self, seconds=0):
        self.clock.advance(seconds)
        return inbox.clock.to_text(self.clock())

    def fact(self, fingerprint, kind, **more):
        about = {"fingerprint": fingerprint, "at": self.now(1)}
        about["episode"] = "2026-11-21T08:00:00.000000000Z"
        self.recorder.apply(fact(kind, **dict(about, **more)))

    def bring(self, request_id, entry, receiver):
        """Add a request with one alert; return its fingerprint."""
        parsed = payload.parse(notification(entry, receiver=receiver))
        one = parsed.alerts[0]
        described = facts.described(one, parsed)
        received = {"status": "firing", "request_id": request_id, "alert": described}
        self.fact(one.fingerprint, "notified", **received)
        row = {
            "request_id": request_id,
            "received_at": self.now(),
            "completed_at": None,
            "source": "listener",
            "receiver": receiver,
            "group_key": "{}",
            "truncated_alerts": 0,
            "warnings": [],
            "counts": {"alerts": 1, "dispatch": 1},
            "alerts": [
                {
                    "fingerprint": one.fingerprint,
                    "alertname": one.alertname,
                    "starts_at": "2026-11-21T08:00:00.000000000Z",
                    "decision": "dispatch",
                    "reason": "new episode",
                    "dispatch_id": None,
                    "outcome": None,
                }
            ],
        }
        self.recorder.requests.add(row)
        return one.fingerprint

    def hold(self, fingerprint, state, cause, reason, attempt=1):
        more = {"state": state, "cause": cause, "reason": reason, "attempt": attempt}
        self.fact(fingerprint, "held", request_id="request3", **more)

    def acknowledge(self, fingerprint, dismissed):
        more = {"by": "ann", "reason": "known", "dismissed": dismissed}
        self.fact(fingerprint, "acknowledged", request_id="request9", **more)

    def execute(self, fingerprint, request_id, execution_id, status, seconds, error=""):
        more = {"dispatch_id": "dispatch-" + execution_id}
        self.fact(fingerprint, "dispatched", attempt=1, request_id=request_id, **more)
        execution = {
            "execution_id": execution_id,
            "status": status,
            "rule_ref": "mine.fix",
            "action_ref": "mine.fix",
            "started_at": self.now(),
            "ended_at": self.now(seconds),
            "error": error,
            "ran": True,
        }
        self.fact(fingerprint, "executed", execution=execution, **more)
        self.fact(fingerprint, "settled", reason="", **more)


class TestGetAlert(RowsTestCase):
    __test__ = True
    action_cls = get_alert.GetAlert

    def test_an_alert_is_shown_with_history_and_durations(self):
        """The history says how long each state lasted; the last one has no end yet."""
        found = self.succeed(fingerprint=self.one)
        self.assertEqual(found["state"], "remediated")
        history = [(entry["state"], entry["seconds"]) for entry in found["history"]]
        self.assertEqual(history, [("received", 3.0), ("remediating", 10.0), ("remediated", None)])
        self.assertEqual(found["attempts"][0]["executions"][0]["execution_id"], "execution1")
        self.assertNotIn("rev", found)

    def test_the_history_is_a_table_as_well(self):
        """Each state is a line for the terminal: when, how long, which attempt and why."""
        table = self.succeed(fingerprint=self.two)["table"].split("\n")
        names = ["at", "state", "lasted", "attempt", "reason"]
        self.assertEqual(table[0].split(), names)
        starts = [table[0].index(name) for name in names] + [None]
        lines = [[t[a:b].strip() for a, b in zip(starts, starts[1:])] for t in table[1:]]
        self.assertEqual(lines[0], ["2026-11-21 08:20:02", "received", "15 s", "", ""])
        self.assertEqual(lines[1][1:], ["remediating", "20 s", "1", "attempt 1"])
        self.assertEqual(lines[2][1:], ["failed", "", "1", "mine.fix failed: unit not found"])

    def test_a_hold_is_shown_while_it_lasts(self):
        """It has state, cause and reason, and ends when a person takes over."""
        held = self.succeed(fingerprint=self.three)["held"]
        self.assertEqual(
            (held["state"], held["cause"], held["reason"]), ("pending", "window", "no room")
        )
        self.assertIsNone(self.succeed(fingerprint=self.one)["held"])
        self.acknowledge(self.three, dismissed=False)
        self.track()
        self.assertIsNone(self.succeed(fingerprint=self.three)["held"])

    def test_attempts_that_did_not_help_are_counted(self):
        """They succeeded, but the alert kept firing."""
        self.assertEqual(self.succeed(fingerprint=self.one)["ineffective"], 0)
        self.fact(self.one, "ineffective", dispatch_id="dispatch-execution1")
        self.track()
        self.assertEqual(self.succeed(fingerprint=self.one)["ineffective"], 1)

    def test_an_unknown_alert_is_an_error_with_the_known_ones(self):
        """The error names the parameter and the known fingerprints."""
        error = self.fail_with(fingerprint="nope")
        self.assertTrue(error.startswith('fingerprint: unknown fingerprint "nope"; '))
        for fingerprint in (self.one, self.two, self.three):
            self.assertIn(fingerprint, error)


class TestGetRequest(RowsTestCase):
    __test__ = True
    action_cls = get_request.GetRequest

    def test_a_request_is_shown_with_its_alerts_and_executions(self):
        """It shows decision, reason, present state and executions."""
        found = self.succeed(request_id="request2")
        self.assertEqual(found["status"], "complete")
        self.assertEqual(found["alerts"][0]["state"], "failed")
        self.assertEqual(found["alerts"][0]["outcome"], "failed")
        self.assertEqual(found["executions"][0]["error"], "unit not found")
        self.assertEqual(self.succeed(request_id="request3")["status"], "in progress")

    def test_a_request_that_is_not_decided_yet_is_found_in_the_inbox(self):
        """There is an answer right after the request was accepted."""
        _, answer = inbox.accept(self.stackstorm, notification(alert()), inbox.LISTENER)
        found = self.succeed(request_id=answer["request_id"])
        self.assertEqual(found["status"], "accepted")

    def test_an_alert_that_is_no_longer_tracked_has_no_state(self):
        """Its row may have expired before the request's."""
        rows.delete(self.stackstorm, rows.ALERT, self.one)
        found = self.succeed(request_id="request1")
        self.assertEqual(
            (found["alerts"][0]["state"], found["alerts"][0]["outcome"]), (None, "remediated")
        )

    def test_an_unknown_request_is_an_error_with_the_known_ones(self):
        """The newest come first."""
        error = self.fail_with(request_id="a/b?c#d {{ 7*7 }}")
        self.assertIn("request3, request2, request1", error)


class TestListRequests(RowsTestCase):
    __test__ = True
    action_cls = list_requests.ListRequests

    def test_the_newest_come_first_up_to_the_limit(self):
        """The answer says how many there are in total."""
        found = self.succeed(limit=2)
        self.assertEqual((found["total"], found["shown"]), (3, 2))
        self.assertEqual(
            [item["request_id"] for item in found["requests"]], ["request3", "request2"]
        )


class TestListAlerts(RowsTestCase):
    __test__ = True
    action_cls = list_alerts.ListAlerts

    def ask(self, **more):
        wanted = {"state": "", "alertname": "", "severity": "", "label": "", "limit": 50}
        return dict(wanted, **more)

    def names(self, **more):
        found = self.succeed(**self.ask(**more))
        self.assertEqual(found["shown"], len(found["alerts"]))
        return [item["fingerprint"] for item in found["alerts"]]

    def test_without_filters_all_are_listed_latest_change_first(self):
        """Each has the fields for a line of a list."""
        self.assertEqual(self.names(), [self.three, self.two, self.one])
        item = self.succeed(**self.ask())["alerts"][1]
        self.assertEqual((item["state"], item["host"], item["attempts"]), ("failed", "web2", 1))

    def test_filters_narrow_the_list(self):
        """An alert must match all given filters: state, name, severity and labels."""
        self.assertEqual(self.names(state="pending"), [self.three])
        self.assertEqual(self.names(state="resolved"), [])
        self.assertEqual(self.names(alertname="ServiceDown"), [self.two, self.one])
        self.assertEqual(self.names(severity="warning"), [self.two])
        self.assertEqual(self.names(label="team=db"), [self.two])
        self.assertEqual(self.names(label='team="db", severity=warning'), [self.two])
        self.assertEqual(self.names(label="team=db,severity=critical"), [])
        self.assertEqual(self.names(state="failed", alertname="HostDown"), [])

    def test_dismissed_alerts_are_hidden_unless_a_state_is_given(self):
        """Acknowledged ones are shown: somebody is working on them."""
        self.acknowledge(self.two, dismissed=True)
        self.acknowledge(self.three, dismissed=False)
        self.track()
        self.assertEqual(self.names(), [self.three, self.one])
        self.assertEqual(self.names(state="suppressed"), [self.three, self.two])

    def test_a_dismissed_alert_that_fires_again_is_listed_again(self):
        """It was dismissed for one episode only."""
        self.acknowledge(self.two, dismissed=True)
        later = "2026-11-21T09:00:00.000000000Z"
        received = {"status": "firing", "request_id": "request8", "alert": {}}
        self.fact(self.two, "notified", episode=later, **received)
        self.track()
        self.assertIn(self.two, self.names())

    def test_the_limit_cuts_the_list_and_not_the_total(self):
        """So a person sees that there are more."""
        found = self.succeed(**self.ask(limit=1))
        self.assertEqual((found["total"], found["shown"]), (3, 1))

    def test_a_value_that_cannot_be_is_an_error_with_the_possible_ones(self):
        """A state or a severity; a name that no alert has gives an empty list."""
        self.assertIn(", ".join(STATES), self.fail_with(**self.ask(state="broken")))
        self.assertIn("critical, error, info", self.fail_with(**self.ask(severity="nope")))
        self.assertEqual(self.names(severity="info"), [])
        self.assertEqual(self.names(alertname="Nope"), [])
        self.assertIn("has no =", self.fail_with(**self.ask(label="team")))

    def test_the_table_fits_a_terminal_unless_it_may_be_wide(self):
        """It is the last key: state, age, severity, alert, host and why, then the command."""
        self.hold(self.three, "pending", "window", "there is no room for this alert " * 9)
        self.track()
        answer = self.succeed(**self.ask())
        self.assertEqual(list(answer)[-1], "table")
        lines = answer["table"].split("\n")
        self.assertEqual(lines[0], "3 of 3 alerts, latest change first")
        self.assertEqual(lines[1].split(), ["state", "since", "severity", "alert", "host", "why"])
        self.assertTrue(all(len(line) <= 100 for line in lines))
        self.assertIn("st2 run poundcake.get_alert", lines[-1])
        wide = self.succeed(**self.ask(wide=True))["table"]
        self.assertTrue(max(map(len, wide.split("\n"))) > 200)


class TestListAlertsEmpty(PackActionTestCase):
    __test__ = True
    action_cls = list_alerts.ListAlerts

    def test_nothing_tracked_yet_is_an_empty_list(self):
        """It is not an error."""
        wanted = {"state": "", "alertname": "", "severity": "", "label": "", "limit": 5}
        empty = {"total": 0, "shown": 0, "alerts": [], "table": "no alerts"}
        empty["chat"] = "There are no such alerts."
        self.assertEqual(self.succeed(**wanted), empty)
        self.assertEqual(self.succeed(**dict(wanted, alertname="x")), empty)


class TestListExecutions(RowsTestCase):
    __test__ = True
    action_cls = list_executions.ListExecutions

    def ask(self, **more):
        wanted = {"request_id": "", "fingerprint": "", "status": "", "limit": 50}
        return dict(wanted, **more)

    def test_executions_are_listed_newest_first_with_the_link_to_the_alert(self):
        """Each has request, alert, dispatch, rule, action, status, times and error."""
        found = self.succeed(**self.ask())
        ids = [item["execution_id"] for item in found["executions"]]
        self.assertEqual(ids, ["execution2", "execution1"])
        item = found["executions"][0]
        self.assertEqual((item["request_id"], item["fingerprint"]), ("request2", self.two))
        self.assertEqual((item["elapsed"], item["error"]), (20.0, "unit not found"))
        self.assertNotIn("rev", item)

    def test_filters_narrow_the_list(self):
        """The filters are request, alert and status."""
        for more in (
            {"request_id": "request1"},
            {"fingerprint": self.one},
            {"status": "succeeded"},
        ):
            found = self.succeed(**self.ask(**more))["executions"]
            self.assertEqual([item["execution_id"] for item in found], ["execution1"])

    def test_a_value_that_cannot_be_is_an_error_with_the_possible_ones(self):
        """A status or a severity; an id that no execution has gives an empty list."""
        self.assertIn("one of succeeded, failed", self.fail_with(**self.ask(status="nope")))
        self.assertIn("one of critical", self.fail_with(**self.ask(severity="nope")))
        for more in ({"request_id": "nope"}, {"fingerprint": "nope"}, {"status": "canceled"}):
            self.assertEqual(self.succeed(**self.ask(**more))["executions"], [])

    def test_executions_are_filtered_by_the_time_at_which_they_began(self):
        """A duration or a time, from and to."""
        first = self.succeed(**self.ask())["executions"][1]["started_at"]
        for more in ({"until": first}, {"since": "2026-11-21T08:00:00Z", "until": first}):
            found = self.succeed(**self.ask(**more))["executions"]
            self.assertEqual([item["execution_id"] for item in found], ["execution1"])
        self.assertEqual(self.succeed(**self.ask(since="2026-12-01T00:00:00Z"))["total"], 0)
        self.assertIn("since: ", self.fail_with(**self.ask(since="yesterday")))

    def test_an_execution_has_the_severity_instance_and_result(self):
        """The result in short is the error, or the status."""
        found = self.succeed(**self.ask())["executions"]
        named = [(item["severity"], item["instance"], item["result"]) for item in found]
        wanted = [
            ("warning", "web2:9100", "unit not found"),
            ("critical", "web1:9100", "succeeded"),
        ]
        self.assertEqual(named, wanted)


class TestGetStats(RowsTestCase):
    __test__ = True
    action_cls = get_stats.GetStats

    def test_alerts_are_counted_by_state_and_severity(self):
        """Every state is listed, even at zero."""
        found = self.succeed()
        self.assertEqual(found["alerts"], 3)
        self.assertEqual(set(found["by_state"]), set(STATES))
        counted = {state: number for state, number in found["by_state"].items() if number}
        self.assertEqual(counted, {"remediated": 1, "failed": 1, "pending": 1})
        self.assertEqual(found["by_severity"], {"critical": 2, "warning": 1})

    def test_holds_are_counted_by_cause_and_ineffective_attempts_in_total(self):
        """People look at these numbers when nothing seems to happen."""
        self.hold(self.two, "suppressed", "rate", "rate limit", attempt=2)
        self.fact(self.one, "ineffective", dispatch_id="dispatch-execution1")
        self.track()
        found = self.succeed()
        self.assertEqual(found["held"], {"window": 1, "rate": 1})
        self.assertEqual(found["ineffective"], 1)

    def test_each_workflow_has_its_figures(self):
        """They are the success rate, and durations in seconds."""
        (found,) = self.succeed()["workflows"]
        self.assertEqual(
            found,
            {
                "action_ref": "mine.fix",
                "executions": 2,
                "succeeded": 1,
                "failed": 1,
                "running": 0,
                "success_rate": 0.5,
                "mean_seconds": 15.0,
                "median_seconds": 15.0,
                "p95_seconds": 20.0,
            },
        )

    def test_the_95th_percentile_is_one_of_the_durations(self):
        """It is the smallest one that 95 of 100 do not exceed."""
        for number in range(1, 101):
            name = "n%03d" % number
            row = plain_execution(name, action_ref="a.b", elapsed=float(number))
            rows.write(self.stackstorm, rows.EXECUTION, name, row)
        found = [item for item in self.succeed()["workflows"] if item["action_ref"] == "a.b"][0]
        self.assertEqual((found["p95_seconds"], found["mean_seconds"]), (95.0, 50.5))

    def test_nothing_tracked_yet_is_zero(self):
        """Nothing divides by zero."""
        self.stackstorm.keys.clear()
        found = self.succeed()
        self.assertEqual((found["alerts"], found["workflows"]), (0, []))


class TestAnswersAreInert(RowsTestCase):
    """A workflow may publish an answer, and StackStorm evaluates expressions in it."""

    __test__ = True
    action_cls = get_alert.GetAlert

    def test_no_answer_holds_an_expression(self):
        """That goes for every action that reads rows, even of an alert full of expressions."""
        document = load_fixture("expressions")
        parsed = payload.parse(document)
        described = facts.described(parsed.alerts[0], parsed)
        received = {"status": "firing", "request_id": "request9", "alert": described}
        fingerprint = parsed.alerts[0].fingerprint
        self.fact(fingerprint, "notified", **received)
        error = "no such unit <% 7*7 %> {{ 7*7 }}"
        self.execute(fingerprint, "request9", "execution9", "failed", 1, error)
        self.track()
        every = {"request_id": "", "fingerprint": "", "status": "", "limit": 50}
        filters = {"state": "", "alertname": "", "severity": "", "label": "", "limit": 50}
        for action, parameters in (
            (get_alert.GetAlert, {"fingerprint": fingerprint}),
            (list_alerts.ListAlerts, filters),
            (list_executions.ListExecutions, every),
            (list_requests.ListRequests, {"limit": 50}),
            (get_stats.GetStats, {}),
        ):
            self.action_cls = action
            result = self.succeed(**parameters)
            self.assertTrue(result)
            assert_inert(result)


class TestReceiveWebhook(PackActionTestCase):
    __test__ = True
    action_cls = receive_webhook.ReceiveWebhook

    @staticmethod
    def as_the_rule_writes_it(document):
        """Return what rules/receive_webhook.yaml makes of ``trigger.body``."""
        return json.dumps(document).replace("{", "\u2774").replace("<", "\u2039")

    def test_a_notification_reaches_the_inbox_as_it_was_posted(self):
        """Expressions, Unicode and look-alikes stay; the answer is that of the listener."""
        for name in ("firing_group", "expressions", "unicode_labels", "nine_good_one_bad"):
            document = load_fixture(name)
            document["alerts"][0]["labels"]["look_alikes"] = "\u2774\u2039"
            answer = self.succeed(body=self.as_the_rule_writes_it(document))
            entry = rows.read(self.stackstorm, rows.INBOX, answer["request_id"])
            self.assertEqual(entry["notification"], document)
            self.assertEqual(entry["source"], inbox.ST2_WEBHOOK)
            self.assertEqual(answer["alerts_received"], len(document["alerts"]))

    def test_an_invalid_notification_is_an_error_that_names_the_field(self):
        """It is an expected failure: the execution fails and says what is wrong."""
        for body, start in (
            ("", "body: not valid JSON"),
            ("not json", "body: not valid JSON"),
            ("[]", "body: a list found"),
            ("\u2774}", "alerts: missing"),
            ('\u2774"alerts": 1}', "alerts: a number found"),
            ('\u2774"Type": "\u2774\u2774 7*7 }}", "TopicArn": "a"}', "body: an envelope"),
        ):
            self.assertTrue(self.fail_with(body=body).startswith(start), body)
        self.assertEqual(self.stackstorm.keys, {})

    def test_an_unreachable_inbox_is_not_an_expected_failure(self):
        """It raises, so the execution fails with the cause."""
        self.stackstorm.away = True
        with self.assertRaises(StackStormError):
            self.run_action(body=self.as_the_rule_writes_it(notification(alert())))

    def test_any_json_is_accepted_or_rejected(self):
        """Nothing else happens, whatever is posted."""

        @PROPERTY
        @given(JSON_VALUES)
        def check(document):
            ok, result = self.run_action(body=self.as_the_rule_writes_it(document))
            self.assertEqual(result["status"], "accepted" if ok else "rejected")
            assert_inert(result)

        check()


class TestTrack(PackActionTestCase):
    __test__ = True
    action_cls = track.Track

    def test_the_rows_of_a_batch_are_written_with_the_retention_of_the_config(self):
        """Running it again with the same batch changes nothing."""
        row = plain_request("request1")
        changed = {"alerts": {}, "executions": {}, "requests": {"request1": row}}
        (batch_id,) = outbox.put(self.stackstorm, changed)
        config = {"request_retention_seconds": 3600}
        ok, counts = self.run_action(config, batch_id=batch_id)
        self.assertTrue(ok)
        self.assertEqual(counts, {"batches": 1, "written": 1, "unchanged": 0})
        self.assertEqual(rows.read(self.stackstorm, rows.REQUEST, "request1"), row)
        self.assertEqual(self.stackstorm.ttl(rows.key(rows.REQUEST, "request1")), 3600)
        before = dict(self.stackstorm.keys)
        ok, counts = self.run_action(config, batch_id=batch_id)
        self.assertEqual((ok, counts["written"]), (True, 0))
        self.assertEqual(self.stackstorm.keys, before)


class TestSetAside(PackActionTestCase):
    """The three actions about what is set aside, on an inbox entry that is not JSON."""

    __test__ = True
    action_cls = list_set_aside.ListSetAside

    def test_it_is_listed_taken_up_when_it_can_be_read_and_dropped_otherwise(self):
        """The answer names the commands, and holds no expression."""
        error = UnreadableRow(rows.INBOX + "x", "not JSON", "{{ 7 * 7 }}")
        self.stackstorm.keys[error.key] = error.text
        aside.move(self.stackstorm, error, 3600, self.clock())
        (entry,) = self.succeed()["set_aside"]
        self.assertEqual((entry["id"], entry["key"]), ("inbox-x", "poundcake.inbox.x"))
        self.assertEqual(entry["drop_with"], "st2 run poundcake.drop_set_aside id=inbox-x")
        assert_inert(entry)
        self.action_cls = take_up_set_aside.TakeUpSetAside
        self.assertIn("still cannot be read (not JSON)", self.fail_with(id="inbox-x"))
        self.action_cls = drop_set_aside.DropSetAside
        self.assertEqual(self.succeed(id="all")["dropped"][0]["id"], "inbox-x")
        self.assertEqual(self.stackstorm.keys, {})


class TestLogNotification(PackActionTestCase):
    __test__ = True
    action_cls = log_notification.LogNotification

    def test_the_message_is_in_the_result_with_what_to_configure(self):
        """Nobody is notified until notify_action names an action that does so."""
        result = self.succeed(message="web1 is down")
        self.assertEqual(result["message"], "web1 is down")
        self.assertIn("notify_action", result["note"])
