"""A passive sensor that does what the datastore key `enginedemo.do` says, and writes it down."""

import json
import os
import sys

import eventlet
from st2reactor.sensor.base import Sensor


class DemoSensor(Sensor):
    """Commands: {"dispatch": payload, "tag": tag}, {"exit": status}."""

    def setup(self):
        """Leave word of the process and its paths."""
        self._log = self.sensor_service.get_logger("demo")
        about = {"pid": os.getpid(), "config": self.config, "path": sys.path}
        self.sensor_service.set_value("enginedemo.sensor", json.dumps(about), local=False)

    def run(self):
        """Look ten times a second."""
        keys = self.sensor_service.datastore_service.get_api_client().keys
        while True:
            found = keys.get_all(prefix="enginedemo.do", limit=1)
            if found:
                command = json.loads(found[0].value)
                self.sensor_service.delete_value("enginedemo.do", local=False)
                self._do(command)
            eventlet.sleep(0.1)

    def _do(self, command):
        if "exit" in command:
            os._exit(command["exit"])
        answer = self.sensor_service.dispatch(
            "enginedemo.alert", command["dispatch"], trace_tag=command.get("tag")
        )
        self.sensor_service.set_value("enginedemo.did", repr(answer), local=False)

    def cleanup(self):
        """Nothing to clean up."""

    def add_trigger(self, trigger):
        """Not used."""

    def update_trigger(self, trigger):
        """Not used."""

    def remove_trigger(self, trigger):
        """Not used."""
