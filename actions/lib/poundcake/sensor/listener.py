"""The sensor's HTTP interface: a WSGI application that acknowledges only what is in the inbox.

Status codes are a contract with Alertmanager, which retries on 5xx and on network errors and never
on 4xx, 429 included. So 4xx is for what can never succeed, 503 for everything that may succeed
later, and 202 for what is accepted. A notification never gets any other answer.
"""

import base64
import binascii
import gzip
import hmac
import json
import re
import time
import urllib.parse
from typing import Any, Callable, Dict, Iterable, List, Mapping, Match, Optional, Pattern, Tuple

from poundcake.core import payload
from poundcake.errors import PayloadError, StackStormError
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
    404: "404 Not Found",
    405: "405 Method Not Allowed",
    413: "413 Content Too Large",
    503: "503 Service Unavailable",
}
COMPRESSED_FROM_BYTES = 4096
# The last of each are those of the older designs.
_WEBHOOK_PATHS = ("/webhook", "/api/v1/webhook", "/webhook/alertmanager")
_HEALTH_PATHS = ("/health", "/api/v1/health")
_OLDER_PAGE_PATHS = ("/ui", "/ui/")
_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|\Z))")
_STATUS_PATH = re.compile(r"/api/v1/status/([^/]+)\Z")


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
    """

    def __init__(
        self,
        settings: Settings,
        stackstorm: StackStorm,
        controller: Any,
        log: Any,
        pages: Iterable[Page] = (),
        metrics: Optional[Metrics] = None,
    ):
        self._settings = settings
        self._metrics = metrics or Metrics()
        self._pages = list(pages)
        self._stackstorm = stackstorm
        self._controller = controller
        self._log = EventLog(log)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> List[bytes]:
        began = time.perf_counter()
        try:
            status, answer, headers = self._route(environ)
        except StackStormError as error:
            self._log.record("unavailable", f"answered 503: {error.brief}")
            status, answer, headers = _refuse("StackStorm: its datastore or API is not reachable")
        except Exception as error:  # for any error, Alertmanager must send it again
            self._log.record("fault", "answered 503", error)
            status, answer, headers = _refuse("listener: internal error; see the sensor's log")
        if environ["REQUEST_METHOD"] == "POST":  # on any path: a wrong path should show, too
            self._metrics.notified(inbox.LISTENER, status, time.perf_counter() - began)
        if isinstance(answer, bytes):
            body = answer
        else:
            body = json.dumps(answer).encode("ascii") + b"\n"
            headers = [("Content-Type", "application/json")] + headers
        body, headers = _compressed(environ, body, headers)
        headers = headers + [("Content-Length", str(len(body)))]
        start_response(_STATUS_LINES[status], headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _route(self, environ: Environ) -> Answer:
        path = environ.get("PATH_INFO", "") or "/"
        status_request = _STATUS_PATH.match(path)
        if path in _WEBHOOK_PATHS:
            return self._guarded(environ, ("POST",), self._webhook)
        if path in _HEALTH_PATHS:
            return self._open(environ, lambda: (200, {"status": "ok"}, []))
        if path == "/ready":
            return self._open(environ, self._ready)
        if path in _OLDER_PAGE_PATHS:
            # Relative, as a proxy may serve the listener below a path of its own.
            to_page = [("Location", "." if path == "/ui" else "..")]
            return self._open(environ, lambda: (302, {"status": "moved"}, to_page))
        if status_request:
            request_id = status_request.group(1)
            return self._guarded(environ, ("GET", "HEAD"), lambda _: self._status(request_id))
        page_match = self._page(path)
        if page_match:
            match, page = page_match
            query = dict(urllib.parse.parse_qsl(environ.get("QUERY_STRING", "")))
            return self._guarded(environ, ("GET", "HEAD"), lambda _: page(match, query))
        paths = "POST /webhook, GET /health, GET /ready, GET /api/v1/status/{request_id}"
        return 404, {"error": f"path: not found; expected one of {paths}"}, []

    def _page(self, path: str) -> Optional[Tuple[Match[str], PageHandler]]:
        for pattern, page in self._pages:
            match = pattern.fullmatch(path)
            if match:
                return match, page
        return None

    def _open(self, environ: Environ, handler: Callable[[], Answer]) -> Answer:
        return _wrong_method(environ, ("GET", "HEAD")) or handler()

    def _guarded(
        self, environ: Environ, methods: Tuple[str, ...], handler: Callable[[Environ], Answer]
    ) -> Answer:
        wrong = _wrong_method(environ, methods)
        if wrong:
            return wrong
        if not self._is_authorized(environ.get("HTTP_AUTHORIZATION", "")):
            challenge = [
                ("WWW-Authenticate", 'Basic realm="PoundCake"'),
                ("WWW-Authenticate", "Bearer"),
            ]
            message = (
                "Authorization: missing or wrong; expected the token or the basic auth of the "
                "pack's config"
            )
            remote = environ.get("REMOTE_ADDR", "")
            self._log.record("refused", "answered 401: credentials missing or wrong", remote=remote)
            return 401, {"status": "rejected", "error": message}, challenge
        return handler(environ)

    def _is_authorized(self, header: str) -> bool:
        settings = self._settings
        if not settings.listener.has_credentials:
            return True
        scheme, _, value = header.partition(" ")
        # Always make every comparison, so that the time reveals nothing.
        good_token = scheme.lower() == "bearer" and _same(
            value.strip().encode("latin-1"), settings.listener.token.value
        )
        user, _, password = _basic(value if scheme.lower() == "basic" else "").partition(b":")
        good_user = _same(user, settings.listener.username)
        good_password = _same(password, settings.listener.password.value)
        by_token = bool(settings.listener.token) and good_token
        by_password = bool(settings.listener.username) and good_user and good_password
        return by_token or by_password

    def _webhook(self, environ: Environ) -> Answer:
        refusal = self._controller.refusal()
        if refusal:
            self._log.record("unavailable", f"answered 503: {refusal}")
            return _refuse(refusal)
        limit = self._settings.listener.max_body_bytes
        body = environ["wsgi.input"].read(limit + 1)
        if len(body) > limit or int(environ.get("CONTENT_LENGTH") or 0) > limit:
            message = f"body: larger than max_body_bytes ({limit})"
            self._log.record("rejected", f"answered 413: {message}")
            return 413, {"status": "rejected", "error": message}, []
        try:
            document = payload.load_json(body)
            entry, answer = inbox.accept(self._stackstorm, document, inbox.LISTENER)
        except PayloadError as error:
            field = payload.field_of(str(error))
            self._log.record(
                "rejected", f"answered 400: a notification cannot be used because of its {field}"
            )
            return 400, {"status": "rejected", "error": str(error)}, []
        self._controller.take(entry)
        received, rejected = answer["alerts_received"], answer["alerts_rejected"]
        self._log.record(
            "accepted",
            f"{received} alerts, {rejected} rejected",
            request_id=entry["request_id"],
        )
        return 202, answer, []

    def _ready(self) -> Answer:
        parts = self._controller.health()
        ready = all(part["ok"] for part in parts.values())
        status = "ready" if ready else "not ready"
        return (200 if ready else 503), {"status": status, "parts": parts}, []

    def _status(self, request_id: str) -> Answer:
        status = self._controller.request_status(request_id)
        if status is None:
            message = "request_id: unknown; it is wrong, or older than request_retention_seconds"
            return 404, {"error": message}, []
        return 200, status, []


def _compressed(environ: Environ, body: bytes, headers: Headers) -> Tuple[bytes, Headers]:
    """Return a body and its headers, compressed if worthwhile and accepted by the client."""
    accepted = environ.get("HTTP_ACCEPT_ENCODING", "")
    if len(body) < COMPRESSED_FROM_BYTES or not _GZIP.search(accepted):
        return body, headers
    compressed = gzip.compress(body, compresslevel=5)
    return compressed, headers + [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]


def _wrong_method(environ: Environ, methods: Tuple[str, ...]) -> Optional[Answer]:
    if environ["REQUEST_METHOD"] in methods:
        return None
    message = f"method: {environ['REQUEST_METHOD']} is not allowed here; expected {methods[0]}"
    return 405, {"status": "rejected", "error": message}, [("Allow", ", ".join(methods))]


def _refuse(reason: str) -> Answer:
    return 503, {"status": "unavailable", "error": reason}, [("Retry-After", "10")]


def _same(given: bytes, expected: str) -> bool:
    return hmac.compare_digest(given, expected.encode("utf-8"))


def _basic(value: str) -> bytes:
    try:
        return base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""
