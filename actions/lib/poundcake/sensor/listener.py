"""The sensor's HTTP interface: a WSGI application that acknowledges only what is in the inbox.

Status codes are a contract with Alertmanager, which retries on 5xx and on network errors and never
on 4xx, 429 included. So 4xx is for what can never succeed, 503 for everything that may succeed
later, and 202 for what is accepted. A notification never gets any other answer.

What can be refused is refused for the head of a request, before its body is read.
"""

import gzip
import json
import re
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, Mapping, Match, Optional, Pattern, Tuple

from poundcake.core import payload
from poundcake.errors import ExpectedError, PayloadError, StackStormError
from poundcake.sensor.guard import Guard, Guesses
from poundcake.sensor.known_health import KnownHealth
from poundcake.sensor.log import EventLog
from poundcake.sensor.metrics import Metrics
from poundcake.settings import Settings
from poundcake.st2 import inbox
from poundcake.st2.client import StackStorm

Environ = Dict[str, Any]
Headers = List[Tuple[str, str]]
# (status, a JSON value or bytes, headers)
Answer = Tuple[int, Any, Headers]
PageHandler = Callable[[Match[str], Mapping[str, str]], Answer]
Page = Tuple[Pattern[str], PageHandler]

_STATUS_LINES = {
    200: "200 OK",
    202: "202 Accepted",
    302: "302 Found",
    400: "400 Bad Request",
    401: "401 Unauthorized",
    403: "403 Forbidden",
    404: "404 Not Found",
    405: "405 Method Not Allowed",
    413: "413 Content Too Large",
    415: "415 Unsupported Media Type",
    503: "503 Service Unavailable",
}
COMPRESSED_FROM_BYTES = 4096
_READ = ("GET", "HEAD")
_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|\Z))")
_QUICK = ("/health", "/ready", "/metrics")  # they need nobody else, not even StackStorm


@dataclass(frozen=True)
class _Route:
    """What is at a path; ``is_open`` when it needs no credentials."""

    methods: Tuple[str, ...]
    handler: Callable[[Environ], Answer]
    is_open: bool = False


@dataclass(frozen=True)
class _Refusal:
    """An answer to a request whose head is enough to refuse it, and one of metrics.REFUSALS."""

    reason: str
    answer: Answer


class Listener:
    """The WSGI application.

    :param controller: takes accepted entries and answers questions: ``refusal()`` returns the
        reason for a 503 or "", ``take(entry)``, ``health()`` returns ``{part: {"ok", "detail"}}``,
        ``request_status(request_id)`` returns a JSON value or None.
    :param log: a logger. It never receives a body, a header or a credential.
    :param pages: further pages, as ``(pattern, handler)``: a compiled pattern of the whole path,
        and a callable ``(match, query)`` that returns ``(status, answer, headers)``. ``query`` is
        ``{name: value}``; an answer is a JSON value, or bytes whose Content-Type is among the
        headers. They require the credentials of the webhook.
    :param health: known_health.KnownHealth, when somebody else asks it, too.
    """

    def __init__(
        self,
        settings: Settings,
        stackstorm: StackStorm,
        controller: Any,
        log: Any,
        pages: Iterable[Page] = (),
        metrics: Optional[Metrics] = None,
        health: Optional[KnownHealth] = None,
    ):
        self._settings = settings.listener
        self._metrics = metrics or Metrics()
        self._stackstorm = stackstorm
        self._controller = controller
        self._health = health or KnownHealth(lambda: controller.health())
        self._log = EventLog(log)
        self._guard = Guard(settings.listener)
        self._guesses = Guesses()
        self._routes: List[Tuple[Pattern[str], Callable[[Match[str]], _Route]]] = [
            # The last of each are those of the older designs.
            (
                re.compile("(/api/v1)?/webhook|/webhook/alertmanager"),
                lambda _: _Route(("POST",), self._webhook),
            ),
            (re.compile("(/api/v1)?/health"), lambda _: _Route(_READ, self._alive, is_open=True)),
            (re.compile("/ui(/?)"), lambda match: _Route(_READ, _to_page(match), is_open=True)),
            (re.compile("/ready"), lambda _: _Route(_READ, self._ready, is_open=True)),
            (
                re.compile("/api/v1/status/([^/]+)"),
                lambda match: _Route(_READ, lambda _: self._status(match.group(1))),
            ),
        ]
        self._routes += [(pattern, _page_route(page)) for pattern, page in pages]

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> List[bytes]:
        began = time.perf_counter()
        try:
            status, answer, headers = self._answer(environ)
        except StackStormError as error:
            self._log.record_seldom("unavailable", f"answered 503: {error.brief}")
            status, answer, headers = _refuse("StackStorm: its datastore or API is not reachable")
        except ExpectedError as error:  # a secret of the config that cannot be read
            self._log.record_seldom("unavailable", f"answered 503: {error}")
            status, answer, headers = _refuse("config: cannot be used; see the sensor's log")
        except Exception as error:  # for any error, Alertmanager must send it again
            self._log.record_seldom("fault", "answered 503", error)
            status, answer, headers = _refuse("listener: internal error; see the sensor's log")
        if environ["REQUEST_METHOD"] == "POST":  # on any path: a wrong path should show, too
            self._metrics.notified(inbox.LISTENER, status, time.perf_counter() - began)
        if isinstance(answer, bytes):
            body = answer
        else:
            body = json.dumps(answer).encode("ascii") + b"\n"
            headers = [("Content-Type", "application/json")] + headers
        body, headers = _compressed(environ, body, headers)
        if "Cache-Control" not in dict(headers):
            headers = headers + [("Cache-Control", "no-store")]
        headers = headers + [("Content-Length", str(len(body)))]
        start_response(_STATUS_LINES[status], headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    @staticmethod
    def is_quick(path: str) -> bool:
        """Return whether the answer at a path waits for nobody."""
        return path in _QUICK

    def wants_body(self, environ: Environ) -> bool:
        """Return whether a request is refused without its body, or has no use for one.

        :param environ: what WSGI's environ says of the head of the request.
        """
        return environ["REQUEST_METHOD"] == "POST" and self._refusal(environ) is None

    def _answer(self, environ: Environ) -> Answer:
        refusal = self._refusal(environ)
        if refusal:
            return self._refused(refusal, environ)
        route = self._route(environ)
        assert route, "a path without a route is refused"
        return route.handler(environ)

    def _route(self, environ: Environ) -> Optional[_Route]:
        path = environ.get("PATH_INFO", "") or "/"
        for pattern, make in self._routes:
            match = pattern.fullmatch(path)
            if match:
                return make(match)
        return None

    def _refusal(self, environ: Environ) -> Optional[_Refusal]:
        """Return why the head of a request is enough to refuse it, None when it is not."""
        host_error = self._guard.host_error(environ)
        if host_error:
            return _Refusal("host", _reject(403, host_error))
        route, method = self._route(environ), environ["REQUEST_METHOD"]
        if route is None:
            paths = "POST /webhook, GET /health, GET /ready, GET /api/v1/status/{request_id}"
            error = f"path: not found; expected one of {paths}"
            return _Refusal("path", (404, {"error": error}, []))
        if method not in route.methods:
            error = f"method: {method} is not allowed here; expected {route.methods[0]}"
            allowed = [("Allow", ", ".join(route.methods))]
            return _Refusal("method", _reject(405, error, allowed))
        if not route.is_open and not self._guard.is_authorized(environ):
            challenge = [
                ("WWW-Authenticate", 'Basic realm="PoundCake"'),
                ("WWW-Authenticate", "Bearer"),
            ]
            error = (
                "Authorization: missing or wrong; expected the token or the basic auth of the "
                "pack's config"
            )
            return _Refusal("credentials", _reject(401, error, challenge))
        return self._refused_post(environ) if method == "POST" else None

    def _refused_post(self, environ: Environ) -> Optional[_Refusal]:
        limit = self._settings.max_body_bytes
        if int(environ.get("CONTENT_LENGTH") or 0) > limit:
            return _Refusal("size", _reject(413, f"body: larger than max_body_bytes ({limit})"))
        origin_error = self._guard.origin_error(environ)
        if origin_error:
            return _Refusal("origin", _reject(403, origin_error))
        type_error = self._guard.type_error(environ)
        if type_error:
            return _Refusal("type", _reject(415, type_error))
        return None

    def _refused(self, refusal: _Refusal, environ: Environ) -> Answer:
        """Count and log a refusal; wrong credentials wait for their answer."""
        self._metrics.refused(refusal.reason)
        status, _, _ = refusal.answer
        if refusal.reason == "credentials":
            address = environ.get("REMOTE_ADDR", "")
            text = "answered 401: credentials missing or wrong"
            self._log.record_seldom("refused", text, remote=address)
            hold = environ.get("poundcake.hold")
            if hold and environ.get("HTTP_AUTHORIZATION"):
                hold(self._guesses.hold(address, time.monotonic()))
        elif refusal.reason not in ("path", "method"):
            what = {"size": "the body is too large", "type": "the Content-Type is wrong"}
            text = what.get(refusal.reason, f"the {refusal.reason} is wrong")
            self._log.record_seldom("rejected", f"answered {status}: {text}")
        return refusal.answer

    def _webhook(self, environ: Environ) -> Answer:
        refusal = self._controller.refusal()
        if refusal:
            self._log.record_seldom("unavailable", f"answered 503: {refusal}")
            return _refuse(refusal)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        try:
            document = payload.load_json(body)
            entry, answer = inbox.accept(
                self._stackstorm,
                document,
                inbox.LISTENER,
                max_alerts=self._settings.max_alerts,
            )
        except PayloadError as error:
            field = payload.field_of(str(error))
            self._log.record_seldom(
                "rejected", f"answered 400: a notification cannot be used because of its {field}"
            )
            return _reject(400, str(error))
        self._controller.take(entry)
        received, rejected = answer["alerts_received"], answer["alerts_rejected"]
        self._log.record(
            "accepted",
            f"{received} alerts, {rejected} rejected",
            request_id=entry["request_id"],
        )
        return 202, answer, []

    def _alive(self, _: Environ) -> Answer:
        return 200, {"status": "ok"}, []

    def _ready(self, environ: Environ) -> Answer:
        age, parts = self._health.look()
        ready = all(part["ok"] for part in parts.values())
        if not self._guard.is_authorized(environ):  # errors of StackStorm name addresses
            parts = {name: {"ok": part["ok"]} for name, part in parts.items()}
        answer = {
            "status": "ready" if ready else "not ready",
            "age_seconds": round(age, 1),
            "parts": parts,
        }
        return (200 if ready else 503), answer, []

    def _status(self, request_id: str) -> Answer:
        status = self._controller.request_status(request_id)
        if status is None:
            message = "request_id: unknown; it is wrong, or older than request_retention_seconds"
            return 404, {"error": message}, []
        return 200, status, []


def _to_page(match: Match[str]) -> Callable[[Environ], Answer]:
    # Relative, as a proxy may serve the listener below a path of its own.
    location = [("Location", ".." if match.group(1) else ".")]
    return lambda _: (302, {"status": "moved"}, location)


def _page_route(page: PageHandler) -> Callable[[Match[str]], _Route]:
    def make(match: Match[str]) -> _Route:
        def handler(environ: Environ) -> Answer:
            return page(match, dict(urllib.parse.parse_qsl(environ.get("QUERY_STRING", ""))))

        return _Route(_READ, handler)

    return make


def _compressed(environ: Environ, body: bytes, headers: Headers) -> Tuple[bytes, Headers]:
    """Return a body and its headers, compressed if worthwhile and accepted by the client."""
    accepted = environ.get("HTTP_ACCEPT_ENCODING", "")
    if len(body) < COMPRESSED_FROM_BYTES or not _GZIP.search(accepted):
        return body, headers
    compressed = gzip.compress(body, compresslevel=5)
    return compressed, headers + [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]


def _reject(status: int, error: str, headers: Optional[Headers] = None) -> Answer:
    return status, {"status": "rejected", "error": error}, headers or []


def _refuse(reason: str) -> Answer:
    return 503, {"status": "unavailable", "error": reason}, [("Retry-After", "10")]
