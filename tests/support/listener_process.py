"""A listener in a process of its own, under eventlet as in StackStorm's sensor container.

``Process`` starts it from a test. The process prints its port, then what it logs.
"""

import json
import logging
import re
import resource
import subprocess
import sys
import threading
import time

from tests.conftest import ROOT

SECONDS = 30


class Process:
    """A running listener.

    :param config: settings of the pack.
    :param limits: constants of poundcake.sensor.server that differ, ``files`` (how many file
        descriptors it may have) and ``hanging`` (True: asking for the health hangs).
    """

    def __init__(self, config=None, **limits):
        self.lines = []
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.support.listener_process"],
            cwd=str(ROOT),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._process.stdin.write(json.dumps({"config": config or {}, "limits": limits}) + "\n")
        self._process.stdin.flush()
        self.port = int(self._process.stdout.readline())
        self.url = "http://127.0.0.1:%d" % self.port
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))

    def logged(self, event):
        """Return the lines of an event so far."""
        return [line for line in self.lines if '"event": "%s"' % event in line]

    def wait_for(self, question, what):
        end = time.monotonic() + SECONDS
        while not question():
            assert time.monotonic() < end, "%s: not within %d s" % (what, SECONDS)
            time.sleep(0.02)

    def stop(self):
        self._process.kill()
        self._process.wait()


def main():
    import eventlet

    eventlet.monkey_patch(os=True, select=True, socket=True, thread=True, time=True)
    asked = json.loads(sys.stdin.readline())
    limits = asked["limits"]
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)

    from poundcake.sensor import server
    from poundcake.sensor.listener import Listener
    from poundcake.sensor.metrics import Metrics

    from tests.support.fakes import FakeStackStorm, make_settings

    for name, value in limits.items():
        if name.isupper():
            setattr(server, name, value)
    log = logging.getLogger("listener")
    settings = make_settings(**dict({"port": 0}, **asked["config"]))
    metrics = Metrics()
    pages = [(re.compile("/metrics"), metrics.page)]
    controller = Controller(limits.get("hanging", False))
    listener = Listener(settings, FakeStackStorm(time.time), controller, log, pages, metrics)
    listener._health.start()
    found = server.HttpServer(listener, settings.listener, log, metrics)
    if "files" in limits:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits["files"], limits["files"]))
    print(found.effective_port, flush=True)
    found.run()


class Controller:
    """What the listener asks, with answers that need nothing."""

    def __init__(self, hanging):
        self._hanging = hanging

    def refusal(self):
        return ""

    def take(self, entry):
        pass

    def health(self):
        if self._hanging:
            time.sleep(3600)
        return {"api": {"ok": True, "detail": "answers"}}

    def request_status(self, request_id):
        return None


if __name__ == "__main__":
    main()
