"""An HTTP proxy between the sensor and StackStorm's API: it sees every step, and kills at one."""

import dataclasses
import http.client
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DISPATCH = "POST /engine/dispatch"


@dataclasses.dataclass(frozen=True)
class Kill:
    """Where the sensor is killed.

    :param step: what the name of the step begins with, such as ``PUT /keys/poundcake.outbox.``;
        the sending of a trigger has the trigger in its name: ``dispatch poundcake.alert``.
    :param numbers: at the how-manieth of these steps, over all lives of the sensor.
    :param answered: False, and StackStorm never hears of the step; True, and StackStorm has done
        it, but the sensor never hears so.
    """

    step: str
    numbers: tuple = (1,)
    answered: bool = False


class Proxy:
    """Serves on 127.0.0.1 from its start on.

    :param api_url: StackStorm's API, with /v1.
    :param kill: a Kill, or None.
    :param sensor: what is killed: ``kill()``.

    ``url`` is what the sensor takes for the API; ``steps`` lists every step so far, ``killed_at``
    those at which the sensor was killed.
    """

    def __init__(self, api_url, kill, sensor):
        self._host, self._prefix = api_url.split("://")[1].split("/", 1)
        self._kill = kill
        self._sensor = sensor
        self._seen = 0
        self._lock = threading.Lock()
        self.steps = []
        self.killed_at = []
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = "http://127.0.0.1:%d/%s" % (self._server.server_address[1], self._prefix)
        threading.Thread(target=self._server.serve_forever, name="proxy", daemon=True).start()

    def stop(self):
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()

    def pass_on(self, connection, method, target, headers, body):
        """Return the answer ``(status, headers, body)`` of StackStorm; None when the sensor died.

        :param connection: what ``connect`` gave.
        """
        step = self._step(method, target, body)
        self.steps.append(step)
        dies = self._is_last(step)
        if dies and not self._kill.answered:
            self._die(step)
            return None
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if dies:
            self._die(step)
            return None
        return answer.status, answer.getheaders(), content

    def connect(self):
        """A connection to StackStorm."""
        return http.client.HTTPConnection(self._host, timeout=60)

    def _step(self, method, target, body):
        step = "%s %s" % (method, target.removeprefix("/" + self._prefix))
        if step == DISPATCH:
            step = "dispatch " + json.loads(body)["trigger"]
        return step

    def _is_last(self, step):
        if not self._kill or not step.startswith(self._kill.step):
            return False
        with self._lock:
            self._seen += 1
            return self._seen in self._kill.numbers

    def _die(self, step):
        self._sensor.kill()
        self.killed_at.append(step)


class _Server(ThreadingHTTPServer):
    """One thread a connection."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        """That a connection breaks is what this is about; anything else is told."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection of the sensor's, and the one to StackStorm that belongs to it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet an answer
    proxy = None

    def setup(self):
        super().setup()
        self._upstream = self.proxy.connect()

    def finish(self):
        self._upstream.close()
        try:
            super().finish()
        except OSError:
            pass  # the sensor died while it was being answered

    def _serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        own = ("host", "connection", "content-length")
        headers = {name: text for name, text in self.headers.items() if name.lower() not in own}
        try:
            answer = self.proxy.pass_on(self._upstream, self.command, self.path, headers, body)
            if answer is None:
                self.close_connection = True
                return
            self._answer(*answer)
        except OSError:
            self.close_connection = True  # one of the two has died

    def _answer(self, status, headers, content):
        self.send_response_only(status)
        for name, text in headers:
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                self.send_header(name, text)
        if status != http.HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def log_message(self, *args):
        """No line for each request."""
