"""The sensor's HTTP entrance: a WSGI application that acknowledges only what is in the inbox.

Status codes are a contract with Alertmanager, which retries on 5xx and on network errors and never
on 4xx, 429 included. So 4xx is for what can never succeed, 503 for everything that may succeed
later, and nothing else is ever answered to a notification but 202.
"""

import base64
import binascii
import gzip
import hmac
import json
import re
import time
import urllib.parse

from poundcake.core import payload
from poundcake.sensor.log import EventLog
from poundcake.sensor.metrics import Metrics
from poundcake.st2 import inbox
from poundcake.st2.client import StackStormError

_STATUS_LINES = {
    200: "200 OK",
    202: "202 Accepted",
    400: "400 Bad Request",
    401: "401 Unauthorized",
    404: "404 Not Found",
    405: "405 Method Not Allowed",
    413: "413 Content Too Large",
    503: "503 Service Unavailable",
}
PACKED_FROM_BYTES = 4096
_WEBHOOK_PATHS = ("/webhook", "/api/v1/webhook")
_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|\Z))")
_STATUS_PATH = re.compile(r"/api/v1/status/([^/]+)\Z")


class Listener:
    """The WSGI application.

    :param settings: settings.Settings.
    :param stackstorm: stackstorm.StackStorm.
    :param controller: what takes accepted entries and answers questions: ``refusal()`` gives the
        reason for a 503 or "", ``take(entry)``, ``health()`` gives ``{part: {"ok", "detail"}}``,
        ``request_status(request_id)`` gives a JSON value or None.
    :param log: a logger. It is never given a body, a header or a credential.
    :param pages: what else can be read, as ``(pattern, handler)``: a compiled pattern of the whole
        path, and a callable ``(match, query)`` that gives ``(status, answer, headers)``. ``query``
        is ``{name: text}``; an answer is a JSON value, or bytes whose Content-Type is among the
        headers. They want the credentials of the webhook.
    :param metrics: metrics.Metrics.
    """

    def __init__(self, settings, stackstorm, controller, log, pages=(), metrics=None):
        self._settings = settings
        self._metrics = metrics or Metrics()
        self._pages = pages
        self._stackstorm = stackstorm
        self._controller = controller
        self._log = EventLog(log)

    def __call__(self, environ, start_response):
        began = time.perf_counter()
        try:
            status, answer, headers = self._route(environ)
        except StackStormError as error:
            self._log.record("unavailable", "answered 503: %s" % error.brief)
            status, answer, headers = _refuse("StackStorm: its datastore or API is not reachable")
        except Exception as error:  # whatever it is, Alertmanager must send it again
            self._log.record("fault", "answered 503", error)
            status, answer, headers = _refuse("listener: internal error, see the sensor's log")
        if environ["REQUEST_METHOD"] == "POST":  # on whatever path: a wrong one is worth knowing
            self._metrics.notified(inbox.LISTENER, status, time.perf_counter() - began)
        if isinstance(answer, bytes):
            body = answer
        else:
            body = json.dumps(answer).encode("ascii") + b"\n"
            headers = [("Content-Type", "application/json")] + headers
        body, headers = _packed(environ, body, headers)
        headers = headers + [("Content-Length", str(len(body)))]
        start_response(_STATUS_LINES[status], headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _route(self, environ):
        path = environ.get("PATH_INFO", "") or "/"
        status_request = _STATUS_PATH.match(path)
        if path in _WEBHOOK_PATHS:
            return self._guarded(environ, ("POST",), self._webhook)
        if path == "/health":
            return self._open(environ, lambda: (200, {"status": "ok"}, []))
        if path == "/ready":
            return self._open(environ, self._ready)
        if status_request:
            request_id = status_request.group(1)
            return self._guarded(environ, ("GET", "HEAD"), lambda _: self._status(request_id))
        match, page = self._page(path)
        if page:
            query = dict(urllib.parse.parse_qsl(environ.get("QUERY_STRING", "")))
            return self._guarded(environ, ("GET", "HEAD"), lambda _: page(match, query))
        paths = "POST /webhook, GET /health, GET /ready, GET /api/v1/status/{request_id}"
        return 404, {"error": "path: not known; there are %s" % paths}, []

    def _page(self, path):
        for pattern, page in self._pages:
            match = pattern.fullmatch(path)
            if match:
                return match, page
        return None, None

    def _open(self, environ, handler):
        return _wrong_method(environ, ("GET", "HEAD")) or handler()

    def _guarded(self, environ, methods, handler):
        wrong = _wrong_method(environ, methods)
        if wrong:
            return wrong
        if not self._is_authorized(environ.get("HTTP_AUTHORIZATION", "")):
            challenge = [
                ("WWW-Authenticate", 'Basic realm="PoundCake"'),
                ("WWW-Authenticate", "Bearer"),
            ]
            text = "Authorization: missing or wrong; send the token or the basic auth of the config"
            remote = environ.get("REMOTE_ADDR", "")
            self._log.record("refused", "answered 401: credentials missing or wrong", remote=remote)
            return 401, {"status": "rejected", "error": text}, challenge
        return handler(environ)

    def _is_authorized(self, header):
        settings = self._settings
        if not settings.listener.has_credentials:
            return True
        scheme, _, value = header.partition(" ")
        # Every comparison is made, whatever came, so that the time tells nothing.
        good = scheme.lower() == "bearer" and _same(
            value.strip().encode("latin-1"), settings.listener.token
        )
        user, _, password = _basic(value if scheme.lower() == "basic" else "").partition(b":")
        good_user = _same(user, settings.listener.username)
        good_password = _same(password, settings.listener.password)
        by_token = bool(settings.listener.token) and good
        by_password = bool(settings.listener.username) and good_user and good_password
        return by_token or by_password

    def _webhook(self, environ):
        refusal = self._controller.refusal()
        if refusal:
            self._log.record("unavailable", "answered 503: %s" % refusal)
            return _refuse(refusal)
        limit = self._settings.listener.max_body_bytes
        body = environ["wsgi.input"].read(limit + 1)
        if len(body) > limit or int(environ.get("CONTENT_LENGTH") or 0) > limit:
            text = "body: larger than max_body_bytes (%d)" % limit
            self._log.record("rejected", "answered 413: %s" % text)
            return 413, {"status": "rejected", "error": text}, []
        try:
            document = payload.load_json(body)
            entry, answer = inbox.accept(self._stackstorm, document, inbox.LISTENER)
        except payload.PayloadError as error:
            field = payload.field_of(str(error))
            self._log.record(
                "rejected", "answered 400: a notification cannot be used for its " + field
            )
            return 400, {"status": "rejected", "error": str(error)}, []
        self._controller.take(entry)
        received, rejected = answer["alerts_received"], answer["alerts_rejected"]
        self._log.record(
            "accepted",
            "%d alerts, %d rejected" % (received, rejected),
            request_id=entry["request_id"],
        )
        return 202, answer, []

    def _ready(self):
        parts = self._controller.health()
        ready = all(part["ok"] for part in parts.values())
        status = "ready" if ready else "not ready"
        return (200 if ready else 503), {"status": status, "parts": parts}, []

    def _status(self, request_id):
        found = self._controller.request_status(request_id)
        if found is None:
            text = "request_id: not known; it is wrong, or older than request_retention_seconds"
            return 404, {"error": text}, []
        return 200, found, []


def _packed(environ, body, headers):
    """Return a body and its headers, compressed where that is worth it and the client takes it."""
    accepted = environ.get("HTTP_ACCEPT_ENCODING", "")
    if len(body) < PACKED_FROM_BYTES or not _GZIP.search(accepted):
        return body, headers
    packed = gzip.compress(body, compresslevel=5)
    return packed, headers + [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]


def _wrong_method(environ, methods):
    if environ["REQUEST_METHOD"] in methods:
        return None
    text = "method: %s is not allowed here; use %s" % (environ["REQUEST_METHOD"], methods[0])
    return 405, {"status": "rejected", "error": text}, [("Allow", ", ".join(methods))]


def _refuse(reason):
    return 503, {"status": "unavailable", "error": reason}, [("Retry-After", "10")]


def _same(given, wanted):
    return hmac.compare_digest(given, wanted.encode("utf-8"))


def _basic(value):
    try:
        return base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""
