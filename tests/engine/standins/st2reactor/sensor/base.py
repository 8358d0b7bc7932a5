"""Base classes of sensors."""

import abc
import time


class BaseSensor(abc.ABC):
    """What a sensor is to its container: set up, run, told of triggers, cleaned up."""

    def __init__(self, sensor_service, config=None):
        self.sensor_service = self._sensor_service = sensor_service
        self.config = self._config = config or {}

    @abc.abstractmethod
    def setup(self):
        """Run once, before `run`."""

    @abc.abstractmethod
    def run(self):
        """Run until the sensor ends; an exception exits the process non-zero."""

    @abc.abstractmethod
    def cleanup(self):
        """Run at exit; not when the process is ended by SIGTERM."""

    @abc.abstractmethod
    def add_trigger(self, trigger):
        """A rule made a trigger of one of the sensor's types."""

    @abc.abstractmethod
    def update_trigger(self, trigger):
        """A trigger of one of the sensor's types changed."""

    @abc.abstractmethod
    def remove_trigger(self, trigger):
        """A trigger of one of the sensor's types is gone."""


class Sensor(BaseSensor):
    """Passive sensor: implements its own `run` loop."""


class PollingSensor(BaseSensor):
    """Active sensor: `poll` is called every `poll_interval` seconds."""

    def __init__(self, sensor_service, config=None, poll_interval=5):
        super().__init__(sensor_service, config=config)
        self._poll_interval = poll_interval

    @abc.abstractmethod
    def poll(self):
        """Look once for something to dispatch."""

    def run(self):
        """Poll for ever."""
        while True:
            self.poll()
            time.sleep(self._poll_interval)

    def get_poll_interval(self):
        """Seconds between polls."""
        return self._poll_interval

    def set_poll_interval(self, poll_interval):
        """Change the seconds between polls."""
        self._poll_interval = poll_interval
