"""The sensor: refuses to start unprotected, serves HTTP, dispatches triggers, stops cleanly."""

import base64
import json
import os
import signal
import socket
import threading
import time
from unittest import mock

import alertmanager_sensor
import pytest
import requests
from poundcake.settings import SettingsError
from poundcake.st2 import inbox, rows, triggers
from st2tests.base import BaseSensorTestCase

from tests.support.alerts import alert, notification
from tests.support.fakes import PACK, FakeStackStorm, assert_inert, load_fixture

TOKEN = "t0ken-that-nobody-may-see"
PASSWORD = "passw0rd-that-nobody-may-see"
SCHEMAS = triggers.Schemas(os.path.join(PACK, "sensors", "alertmanager_sensor.yaml"))
DEADLINE_SECONDS = 30
PARTS = ("api", "datastore", "heartbeat", "sensor", "tracking", "trigger_bus")

# A test closes the port while the listener's thread waits on it; a process simply ends.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


class SensorTestCase(BaseSensorTestCase):
    """A sensor with an in-memory StackStorm; ``start`` runs it as the sensor container would."""

    __test__ = False
    sensor_cls = alertmanager_sensor.AlertmanagerSensor

    def setUp(self):
        super(SensorTestCase, self).setUp()
        self.stackstorm = FakeStackStorm(time.time)
        self.ended = []
        self.failure = None
        for target, replacement in (
            ("alertmanager_sensor.StackStorm", lambda get_client: self.stackstorm),
            ("alertmanager_sensor.signal.signal", mock.Mock()),
            ("alertmanager_sensor.os.kill", lambda *args: self.ended.append(args)),
        ):
            patch = mock.patch(target, replacement)
            patch.start()
            self.addCleanup(patch.stop)

    def start(self, **config):
        """Run a sensor on a free port until the test ends; return it."""
        sensor = self.get_sensor_instance(dict({"port": 0}, **config))
        sensor.setup()
        self.url = "http://127.0.0.1:%d" % int(sensor._server.effective_port)
        thread = threading.Thread(target=self.run_sensor, args=(sensor,), daemon=True)
        thread.start()
        self.addCleanup(self.stop, sensor, thread)
        self.wait_for(lambda: self.get("/health").status_code == 200, "the listener")
        return sensor

    def run_sensor(self, sensor):
        try:
            sensor.run()
        except Exception as error:
            self.failure = error

    def wait_for(self, question, what):
        """Wait for a condition; fail after the deadline, or when the sensor has died."""
        end = time.time() + DEADLINE_SECONDS
        while time.time() < end:
            if question():
                return
            assert self.failure is None, "the sensor has died: %r" % self.failure
            time.sleep(0.02)
        raise AssertionError("%s: not within %d seconds" % (what, DEADLINE_SECONDS))

    def stop(self, sensor, thread):
        sensor.cleanup()
        thread.join(DEADLINE_SECONDS)

    def get(self, path, **more):
        return requests.get(self.url + path, timeout=DEADLINE_SECONDS, **more)

    def post(self, document, path="/webhook", **more):
        body = document if isinstance(document, bytes) else json.dumps(document).encode("utf-8")
        return requests.post(self.url + path, data=body, timeout=DEADLINE_SECONDS, **more)

    def dispatched(self, trigger):
        return [i for i in self.get_dispatched_triggers() if i["trigger"] == trigger]

    def logged(self):
        """Return everything that the sensor has logged, as text."""
        return str(self.sensor_service.get_logger("x").mock_calls)


class TestConfig(SensorTestCase):
    __test__ = True

    def test_an_empty_config_is_enough_on_loopback(self):
        """It works right after the install."""
        self.get_sensor_instance()

    def test_a_wrong_setting_stops_the_start_with_its_name(self):
        """Then nothing listens."""
        for config, name in (
            ({"port": "x"}, "port"),
            ({"threads": 0}, "threads"),
            ({"username": "u"}, "password"),
        ):
            with self.assertRaises(SettingsError) as caught:
                self.get_sensor_instance(config)
            self.assertTrue(str(caught.exception).startswith(name + ": "))

    def test_an_open_address_without_credentials_is_refused(self):
        """Before a port is open; the message says what to set."""
        for host in ("0.0.0.0", "::", "192.0.2.1", "alerts.example.com"):
            with self.assertRaises(SettingsError) as caught:
                self.get_sensor_instance({"host": host})
            for word in ("token", "username and password", "allow_unauthenticated"):
                self.assertIn(word, str(caught.exception))

    def test_an_open_address_is_taken_with_credentials_or_on_purpose(self):
        """Each of the three ways."""
        for more in (
            {"token": TOKEN},
            {"username": "u", "password": PASSWORD},
            {"allow_unauthenticated": True},
        ):
            self.get_sensor_instance(dict(more, host="0.0.0.0"))

    def test_a_port_that_is_taken_is_named_with_the_remedy(self):
        """And the names of the settings."""
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen(1)
            port = other.getsockname()[1]
            sensor = self.get_sensor_instance({"port": port})
            with self.assertRaises(RuntimeError) as caught:
                sensor.setup()
        self.assertIn("127.0.0.1:%d" % port, str(caught.exception))
        self.assertIn("Set host and port", str(caught.exception))

    def listen(self, host):
        """Start a sensor that listens on an address and decides nothing."""
        sensor = self.get_sensor_instance({"host": host, "port": 0})
        sensor.setup()
        self.addCleanup(sensor.cleanup)
        with mock.patch.object(sensor._controller, "run"):
            sensor.run()
        self.assertIn("listening on", self.logged())

    def test_a_sensor_listens_with_or_without_eventlet(self):
        """waitress returns its port as a string, but under eventlet as a number."""
        self.listen("127.0.0.1")

    def test_a_name_of_several_addresses_can_be_listened_on(self):
        """localhost is 127.0.0.1 and ::1 on many machines."""
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 0))
            for address in ("127.0.0.1", "127.0.0.2")
        ]
        with mock.patch("socket.getaddrinfo", return_value=found):
            self.listen("localhost")

    def test_no_secret_is_in_the_message_of_a_refusal(self):
        """It ends in a log."""
        with self.assertRaises(SettingsError) as caught:
            self.get_sensor_instance({"token": TOKEN, "port": 70000})
        self.assertNotIn(TOKEN, str(caught.exception))


class TestHttp(SensorTestCase):
    __test__ = True

    def test_a_notification_becomes_a_trigger_with_its_trace_tag(self):
        """Acknowledged with 202 after the inbox write, then dispatched once for each alert."""
        self.start()
        document = load_fixture("firing_group")
        answer = self.post(document)
        self.assertEqual(answer.status_code, 202)
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        request_id = answer.json()["request_id"]
        self.assertEqual(
            answer.json(),
            {
                "status": "accepted",
                "request_id": request_id,
                "alerts_received": 3,
                "alerts_rejected": 0,
            },
        )
        self.wait_for(lambda: len(self.dispatched(triggers.ALERT)) == 3, "the dispatches")
        sent = self.dispatched(triggers.ALERT)
        self.assertEqual({i["trace_context"].trace_tag for i in sent}, {request_id})
        self.assertEqual(
            [i["payload"]["fingerprint"] for i in sent],
            [entry["fingerprint"] for entry in document["alerts"]],
        )
        self.wait_for(lambda: self.dispatched(triggers.TRACKING), "the tracking")
        for item in self.get_dispatched_triggers():
            SCHEMAS.check(item["trigger"], item["payload"])

    def test_no_payload_holds_an_expression(self):
        """Whatever arrived over HTTP."""
        self.start()
        self.post(load_fixture("expressions"), path="/api/v1/webhook")
        self.wait_for(lambda: self.dispatched(triggers.ALERT), "the dispatch")
        for item in self.get_dispatched_triggers():
            assert_inert(item["payload"])

    def test_status_codes_over_real_http(self):
        """For a client's mistakes, and for what it may retry."""
        sensor = self.start(max_body_bytes=2048)
        good = json.dumps(notification(alert())).encode("ascii")
        self.assertEqual(self.post(good).status_code, 202)
        self.assertEqual(self.post(b"no json").status_code, 400)
        self.assertEqual(self.post(b"").status_code, 400)
        self.assertEqual(self.post(good + b" " * 2048).status_code, 413)
        self.assertEqual(self.post(good + b" " * 4000000).status_code, 413)
        self.assertEqual(self.get("/webhook").status_code, 405)
        self.assertEqual(self.get("/nothing").status_code, 404)
        self.stackstorm.away = True
        self.assertEqual(self.post(good).status_code, 503)
        self.assertEqual(self.get("/ready").status_code, 503)
        self.assertEqual(self.get("/health").status_code, 200)
        self.stackstorm.away = False
        self.assertEqual(self.post(good).status_code, 202)
        sensor._controller.stop("the sensor is shutting down")
        self.assertEqual(self.post(good).status_code, 503)

    def test_a_chunked_body_is_taken(self):
        """Not every proxy sends a length."""
        self.start()
        body = json.dumps(notification(alert())).encode("ascii")
        answer = requests.post(self.url + "/webhook", data=iter([body[:10], body[10:]]), timeout=30)
        self.assertEqual(answer.status_code, 202)

    def test_ready_tells_each_part(self):
        """Once the rows are loaded."""
        self.start()
        self.wait_for(lambda: self.get("/ready").status_code == 200, "ready")
        parts = self.get("/ready").json()["parts"]
        self.assertEqual(tuple(sorted(parts)), PARTS)

    def test_the_status_of_a_request_is_told_to_who_may_post(self):
        """With the same credentials."""
        self.start(token=TOKEN)
        headers = {"Authorization": "Bearer " + TOKEN}
        request_id = self.post(notification(alert()), headers=headers).json()["request_id"]
        path = "/api/v1/status/" + request_id
        self.assertEqual(self.get(path).status_code, 401)
        found = self.get(path, headers=headers).json()
        self.assertEqual(found["request_id"], request_id)
        self.assertEqual(self.get("/api/v1/status/nope", headers=headers).status_code, 404)

    def test_metrics_are_for_who_may_post(self):
        """With the same credentials; a notification that was just acknowledged is counted."""
        self.start(token=TOKEN)
        headers = {"Authorization": "Bearer " + TOKEN}
        self.post(notification(alert()), headers=headers)
        self.assertEqual(self.get("/metrics").status_code, 401)
        answer = self.get("/metrics", headers=headers)
        self.assertEqual(answer.status_code, 200)
        self.assertEqual(answer.headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
        line = 'poundcake_notifications_total{code="202",source="listener"} 1.0'
        self.assertIn(line, answer.text.splitlines())
        self.assertIn("process_resident_memory_bytes", answer.text)
        for name in ("part_up", "datastore_call_seconds_count", "acknowledgement_seconds_count"):
            self.assertIn("poundcake_" + name, answer.text)
        self.assertNotIn(TOKEN, answer.text)

    def test_many_posts_at_once_are_all_acknowledged_and_each_alert_is_sent_once(self):
        """The listener's threads hand their entries to one decision maker."""
        self.start(max_concurrent=1000)
        codes = []

        def work(first):
            for number in range(first, first + 5):
                codes.append(self.post(notification(alert(number))).status_code)

        threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 40, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_SECONDS)
        self.assertEqual(codes, [202] * 40)
        self.wait_for(lambda: len(self.dispatched(triggers.ALERT)) >= 40, "the dispatches")
        sent = [item["payload"]["fingerprint"] for item in self.dispatched(triggers.ALERT)]
        self.assertEqual(len(sent), len(set(sent)))


class TestCredentials(SensorTestCase):
    __test__ = True

    def test_credentials_open_the_door_and_are_kept_nowhere(self):
        """Not in a row, a trigger or a log, whether right or wrong."""
        self.start(token=TOKEN, username="alertmanager", password=PASSWORD)
        right = [
            {"headers": {"Authorization": "Bearer " + TOKEN}},
            {"auth": ("alertmanager", PASSWORD)},
        ]
        wrong = [
            {},
            {"headers": {"Authorization": "Bearer wrong-credential-1"}},
            {"auth": ("alertmanager", "wrong-credential-2")},
            {"headers": {"St2-Api-Key": TOKEN}},
        ]
        for number, more in enumerate(right):
            self.assertEqual(self.post(notification(alert(number)), **more).status_code, 202)
        for more in wrong:
            answer = self.post(notification(alert(9)), **more)
            self.assertEqual(answer.status_code, 401)
            self.assertIn("WWW-Authenticate", answer.headers)
        self.wait_for(lambda: len(self.dispatched(triggers.ALERT)) == 2, "the dispatches")
        self.assertEqual(len(self.stackstorm.list_keys(rows.INBOX)), 2)
        sent = [item["payload"] for item in self.get_dispatched_triggers()]
        kept = json.dumps([self.stackstorm.keys, sent]) + self.logged()
        basic = base64.b64encode(("alertmanager:" + PASSWORD).encode()).decode()
        for secret in (TOKEN, PASSWORD, basic, "wrong-credential-1", "wrong-credential-2"):
            self.assertNotIn(secret, kept)


class TestLife(SensorTestCase):
    __test__ = True

    def test_a_sensor_that_starts_again_takes_what_is_in_the_inbox(self):
        """What was acknowledged before a kill is decided after it."""
        inbox.accept(self.stackstorm, notification(alert()), inbox.LISTENER)
        self.start()
        self.wait_for(lambda: self.dispatched(triggers.ALERT), "the dispatch")

    def test_sigterm_stops_the_intake_and_ends_the_process_as_the_signal_would(self):
        """No notification is acknowledged and lost."""
        self.start()
        (number, handler), _ = alertmanager_sensor.signal.signal.call_args
        self.assertEqual(number, signal.SIGTERM)
        handler(signal.SIGTERM, None)
        self.assertEqual(self.post(notification(alert())).status_code, 503)
        self.wait_for(lambda: self.ended, "the end")
        self.assertEqual(self.ended, [(os.getpid(), signal.SIGTERM)])
        alertmanager_sensor.signal.signal.assert_called_with(signal.SIGTERM, signal.SIG_DFL)

    def test_a_sensor_that_fails_at_once_waits_before_it_dies(self):
        """After two deaths within ten seconds of a start, StackStorm stops restarting it."""
        sensor = self.get_sensor_instance({"port": 0})
        sensor.setup()
        self.addCleanup(sensor.cleanup)
        fake_time = mock.Mock()
        fake_time.time.return_value = sensor._born + 2
        with mock.patch.object(alertmanager_sensor, "time", fake_time):
            with mock.patch.object(sensor._controller, "run", side_effect=KeyError("a bug")):
                with self.assertRaises(KeyError):
                    sensor.run()
        (waited,) = fake_time.sleep.call_args[0]
        self.assertGreaterEqual(waited, 9)
        self.assertTrue(sensor._controller.refusal())

    def test_cleanup_before_setup_is_no_trouble(self):
        """The container may call it at any time."""
        self.get_sensor_instance().cleanup()

    def test_a_bus_that_is_away_is_no_end(self):
        """The notification is acknowledged, and dispatched when the bus is back."""
        broken = [True]
        service_dispatch = self.sensor_service.dispatch

        def dispatch(**more):
            if broken[0]:
                raise AttributeError("'NoneType' object has no attribute 'channel'")
            return service_dispatch(**more)

        self.sensor_service.dispatch = dispatch
        self.start()
        self.assertEqual(self.post(notification(alert())).status_code, 202)
        self.wait_for(lambda: self.get("/ready").status_code == 503, "not ready")
        self.assertFalse(self.get("/ready").json()["parts"]["trigger_bus"]["ok"])
        broken[0] = False
        self.wait_for(lambda: self.dispatched(triggers.ALERT), "the dispatch")
        self.assertEqual(len(self.dispatched(triggers.ALERT)), 1)
