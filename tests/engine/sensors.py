"""Sensor processes: started, watched, respawned, and restarted when their pack is registered."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.engine.runners import pack_environment

LOG = logging.getLogger("engine.sensors")
WRAPPER = Path(__file__).with_name("sensor_wrapper.py")
# As in StackStorm's process container: seconds, except the count.
RESPAWN_DELAY = 2.5
MAX_RESPAWNS = 2
STARTED_AFTER = 10
STOP_TIMEOUT = 5
POLL_INTERVAL = 0.5
# How long a sensor may run on its token.
YEAR = 365 * 24 * 3600


class SensorContainer:
    """Keeps one process for each enabled sensor.

    A sensor that exits non-zero is started again 2.5 s later, and 5 s later the second time; when
    it dies before 10 s three times in a row it is given up. Exit status 0 is the sensor's wish.
    """

    def __init__(self, store, registry, access, api_url):
        self._store = store
        self._registry = registry
        self._access = access
        self._api_url = api_url
        self._running = {}  # ref -> (process, when it was started, how often before)
        self._due = {}  # ref -> (when to start it again, how often that was done before)
        self._lock = threading.Lock()
        self._wanted = {}
        self._wake = threading.Event()
        self._stopped = False
        # One thread that lives as long as the engine starts them all: the kernel's
        # parent-death signal is tied to the thread that forked.
        self._thread = threading.Thread(target=self._loop, name="sensors", daemon=True)

    def start(self):
        """Start the enabled sensors."""
        for sensor in self._store.find("sensor"):
            self.apply(sensor)
        self._thread.start()

    def stop(self):
        """SIGTERM to all, SIGKILL 5 s later to those that are left."""
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT + 5)

    def apply(self, sensor):
        """(Re)start the sensor, or stop it when it is disabled."""
        with self._lock:
            self._wanted[sensor["ref"]] = sensor if sensor["enabled"] else None
        self._wake.set()

    def _loop(self):
        while not self._stopped:
            with self._lock:
                wanted, self._wanted = self._wanted, {}
            self._stop_all([ref for ref in wanted if ref in self._running])
            for ref, sensor in wanted.items():
                self._due.pop(ref, None)
                if sensor:
                    self._due[ref] = (0, 0)
            self._watch(time.monotonic())
            self._wake.wait(POLL_INTERVAL)
            self._wake.clear()
        self._stop_all(list(self._running))

    def _watch(self, now):
        for ref, (process, started, respawns) in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            LOG.info("Process for sensor %s has exited with code %s", ref, code)
            del self._running[ref]
            if now - started >= STARTED_AFTER:
                respawns = 0
            if code and respawns >= MAX_RESPAWNS:
                LOG.error("Sensor %s has already been respawned max times, giving up", ref)
            elif code:
                self._due[ref] = (now + RESPAWN_DELAY * (respawns + 1), respawns + 1)
        for ref, (at, respawns) in list(self._due.items()):
            if now >= at:
                del self._due[ref]
                self._spawn(self._store.first("sensor", ref=ref), respawns)

    def _spawn(self, sensor, respawns):
        try:
            request = self._request(sensor)
        except Exception:
            LOG.exception("Sensor %s cannot be started", sensor["ref"])
            return
        environment = dict(os.environ, **pack_environment())
        environment["ST2_ACTION_API_URL"] = self._api_url
        token = self._access.new_token("sensors_container", YEAR)
        environment["ST2_ACTION_AUTH_TOKEN"] = token["token"]
        process = subprocess.Popen(
            [sys.executable, "-u", str(WRAPPER)],
            env=environment,
            # StackStorm's sensors read their config from its database: it is no argument.
            stdin=subprocess.PIPE,
            # What a sensor prints belongs into the log.
            stdout=2,
        )
        with process.stdin:
            process.stdin.write(json.dumps(request).encode())
        self._running[sensor["ref"]] = (process, time.monotonic(), respawns)
        LOG.info("Sensor %s started", sensor["ref"])

    def _request(self, sensor):
        types = sensor["trigger_types"]
        return {
            "pack": sensor["pack"],
            "file_path": sensor["artifact_uri"].split("://", 1)[1],
            "class_name": sensor["name"],
            "poll_interval": sensor["_poll_interval"],
            "config": self._registry.config(sensor["pack"]),
            "triggers": self._store.find("trigger", {"type": types}) if types else [],
            "api_url": self._api_url,
        }

    def _stop_all(self, refs):
        processes = [self._running.pop(ref)[0] for ref in refs]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT
        for process in processes:
            try:
                process.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
