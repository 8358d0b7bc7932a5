"""The sensor's process, killed and started again at once, without StackStorm's patience.

StackStorm gives a sensor up that dies soon and often, so its own container cannot run this one.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.engine.sensors import WRAPPER


class Sensor:
    """One process after the other, each the sensor of the pack in a folder.

    :param pack_dir: the pack's folder.
    :param config: settings of the pack.
    :param token: an auth token of StackStorm's.
    :param log_path: where it logs to.

    ``deaths`` lists how the processes ended, as ``returncode`` says it: all -SIGKILL, unless the
    sensor ended by itself.
    """

    def __init__(self, pack_dir, config, token, log_path):
        self._pack_dir = Path(pack_dir)
        self._config = config
        self._token = token
        self.log_path = Path(log_path)
        self._process = None
        self._stopped = False
        self._changed = threading.Condition()
        self.deaths = []
        self._thread = None

    def start(self, api_url):
        """Keep a process alive from now on, which reaches StackStorm at ``api_url``."""
        request = {
            "pack": "poundcake",
            "file_path": str(self._pack_dir / "sensors" / "alertmanager_sensor.py"),
            "class_name": "AlertmanagerSensor",
            "poll_interval": None,
            "config": self._config,
            "triggers": [],
            "api_url": api_url,
        }
        environment = dict(
            os.environ,
            PYTHONPATH=str(WRAPPER.with_name("standins")),
            ST2_ACTION_API_URL=api_url,
            ST2_ACTION_AUTH_TOKEN=self._token,
        )
        # One thread starts them all: the kernel ends a sensor when the thread that forked it ends.
        arguments = (json.dumps(request), environment)
        self._thread = threading.Thread(target=self._keep, args=arguments, daemon=True)
        self._thread.start()

    def kill(self):
        """SIGKILL, as the kernel does when memory is short; the next process starts at once."""
        with self._changed:
            if self._process:
                self._process.kill()

    def stop(self):
        """End it for good."""
        self._stopped = True
        self.kill()
        self._thread.join()

    def log(self):
        """What it logged so far."""
        return self.log_path.read_text(errors="replace")

    def _keep(self, request, environment):
        while not self._stopped:
            with open(self.log_path, "ab") as log, self._changed:
                self._process = subprocess.Popen(
                    [sys.executable, "-u", str(WRAPPER)],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                )
                with self._process.stdin as stdin:
                    stdin.write(request.encode())
            self.deaths.append(self._process.wait())
            if self.deaths[-1] != -signal.SIGKILL:
                return  # it must not, and the tests see that it did
