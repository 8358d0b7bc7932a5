"""The sensor's controller over a StackStorm in memory, moved step by step."""

import logging
import os

from poundcake.operators import commands, controls
from poundcake.sensor.controller import Controller
from poundcake.sensor.metrics import Metrics
from poundcake.st2 import inbox, rows, triggers

from tests.support.alerts import NO_CAPS, notification
from tests.support.fakes import PACK, Clock, FakeStackStorm, Killed, make_settings

TOKEN = "t0ken-that-nobody-may-see"
SCHEMAS = triggers.Schemas(os.path.join(PACK, "sensors", "alertmanager_sensor.yaml"))
LOG = logging.getLogger("poundcake.tests")
FINAL = ("remediated", "failed", "unmatched", "resolved", "suppressed", "exhausted")


class Pack:
    """The sensor's controller, StackStorm and the action ``track``, moved step by step."""

    def __init__(self, **config):
        self.settings = make_settings(**{"token": TOKEN, **NO_CAPS, **config})
        self.clock = Clock()
        self.stackstorm = FakeStackStorm(self.clock)
        self.most_in_flight = 0
        self.start()

    def start(self):
        """Start the sensor, or start it again after a kill: only StackStorm is as it was."""
        self.metrics = Metrics()
        self.controller = Controller(
            self.settings,
            self.metrics.measured(self.stackstorm),
            self.stackstorm.dispatch,
            lambda: self.stackstorm.bus_answers,
            SCHEMAS,
            LOG,
            now=self.clock,
            metrics=self.metrics,
        )
        self.metrics.watch(self.controller.state)
        self.controller.load()

    def restart(self):
        """Start again until that succeeds: a start may be killed as well."""
        while True:
            try:
                return self.start()
            except Killed:
                pass

    def post(self, *alerts, **more):
        """Take a notification through the listener's door; return its request_id."""
        return self.post_document(notification(*alerts, **more))

    def post_document(self, document):
        most = self.settings.listener.max_alerts
        about = (document, inbox.LISTENER, self.clock(), most)
        entry, answer = inbox.accept(self.stackstorm, *about)
        self.controller.take(entry)
        return answer["request_id"]

    def tick(self, seconds=1.0):
        """Let time pass and the sensor do what is due."""
        self.clock.advance(seconds)
        self.controller.tick()
        self.most_in_flight = max(self.most_in_flight, len(self.stackstorm.running()))

    def step(self, seconds=1.0):
        """One tick of everybody: sensor, rules engine, the action track."""
        self.tick(seconds)
        self.stackstorm.process()
        self.most_in_flight = max(self.most_in_flight, len(self.stackstorm.running()))
        self.stackstorm.track(self.settings)

    def steps(self, seconds, finish=None):
        """Let everybody go on for some seconds; executions end with the status ``finish``."""
        for _ in range(int(seconds)):
            if finish:
                self.finish(finish)
            self.step()

    def finish(self, status="succeeded", result=None, ran=True):
        """End every execution that runs."""
        for execution_id in self.stackstorm.running():
            self.stackstorm.finish(execution_id, status, result, ran)

    def settle(self, steps=200, finish=True):
        """Step until nothing is left to do."""
        for _ in range(steps):
            if finish:
                self.finish()
            self.step()
            if not self.stackstorm.running() and not self.waits():
                return
        raise AssertionError("not done after %d steps: %s" % (steps, self.waits()))

    def waits(self):
        """Return what is not done: queue entries, and alerts that are not in a final state."""
        keys = [key for key in self.stackstorm.keys if key.startswith((rows.INBOX, rows.OUTBOX))]
        return keys + [a for a in self.alerts() if a["state"] not in FINAL]

    def alerts(self):
        return self.stackstorm.rows(rows.ALERT)

    def alert(self):
        """Return the row of the only alert."""
        (row,) = self.alerts()
        return row

    def request(self, request_id):
        (row,) = [r for r in self.stackstorm.rows(rows.REQUEST) if r["request_id"] == request_id]
        return row

    def states(self):
        return [entry["state"] for entry in self.alert()["history"]]

    def told(self):
        """Return the payloads of the lifecycle triggers so far."""
        return self.stackstorm.dispatched(triggers.LIFECYCLE)

    def changes(self):
        """Return the lifecycle triggers so far as ``from>to``."""
        return ["%s>%s" % (item["from"], item["to"]) for item in self.told()]

    def pause(self, alertname="", by="ann", reason="deploying"):
        controls.pause(self.stackstorm, alertname, reason, by, self.clock())

    def resume(self, alertname="", by="ann"):
        controls.resume(self.stackstorm, alertname, by)

    def order(self, do, host="web1", by="ann", reason="the disk is replaced"):
        """Do by hand what the actions do with the alert of a host; return the request_id."""
        (row,) = [row for row in self.alerts() if row["host"] == host]
        named = (row["fingerprint"], "", "")
        answer = commands.command(self.stackstorm, do, named, reason, by, self.clock())
        return answer["request_id"]


def steps_of(told, fingerprint):
    """Return the reported states of one alert, each once, in the order of their first report."""
    events = {item["event_id"]: item["to"] for item in told if item["fingerprint"] == fingerprint}
    return list(events.values())
