"""HTTP/1.1 for the API: requests with their credentials checked, routes, errors as JSON."""

import json
import logging
import re
import socketserver
import threading
import urllib.parse
import uuid
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer

import orjson

from tests.engine.access import Unauthorized

LOG = logging.getLogger("engine.api")
TRUE, FALSE = ("true", "1", "yes", "y"), ("false", "0", "no", "n")
MAX_QUERY_LIST = 100


class HttpError(Exception):
    """Answered with this status and {"faultstring": message, **more}."""

    def __init__(self, status, message, **more):
        super().__init__(message)
        self.status = status
        self.body = {"faultstring": message, **more}


class Request:
    """What a handler gets; `user`, `auth_method`, `token_expiry` are set once authenticated."""

    def __init__(self, method, target, headers, body):
        parts = urllib.parse.urlsplit(target)
        self.method = method
        self.path = urllib.parse.unquote(parts.path)
        self.query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        self.headers = headers
        self.body = body
        self.user = self.auth_method = self.auth_location = self.token_expiry = None

    def json(self):
        """The body as JSON ({} when empty), or form fields. Raises HttpError 400."""
        content_type = self.headers.get("Content-Type", "application/json").split(";")[0].strip()
        if content_type == "application/x-www-form-urlencoded":
            return urllib.parse.parse_qs(self.body.decode())
        if content_type not in ("application/json", "text/plain"):
            raise HttpError(
                400, f'Failed to parse request body: Unsupported Content-Type: "{content_type}"'
            )
        try:
            return orjson.loads(self.body or b"{}")
        except ValueError as e:
            raise HttpError(400, f"Failed to parse request body: {e}") from e

    def flag(self, name):
        """A boolean of the query; False when absent. Raises HttpError 400."""
        value = self.query.get(name, "false").lower()
        if value not in TRUE + FALSE:
            raise HttpError(400, f'Parameter "{name}" is not of type boolean')
        return value in TRUE

    def integer(self, name, default=None):
        """A whole number of the query. Raises HttpError 400."""
        value = self.query.get(name)
        if value is None:
            return default
        if not re.fullmatch(r"-?[0-9]+", value):
            raise HttpError(400, f'Parameter "{name}" is not of type integer')
        return int(value)

    def page(self, default=100):
        """(limit, offset); limit 0 for everything. Raises HttpError 400."""
        limit = self.integer("limit", default)
        if limit == -1:
            limit = 0
        elif limit == 0:
            raise HttpError(
                400,
                'Limit, "0" specified, must be a positive number or -1 for full result set.',
            )
        elif limit < 0:
            raise HttpError(400, f'Limit, "{limit}" specified, must be a positive number.')
        return limit, self.integer("offset", 0)

    def names(self, name):
        """A comma separated list of the query; [] when absent."""
        value = self.query.get(name)
        return value.split(",") if value else []


class Router:
    """Patterns like /v1/keys/{name} (one segment) or {hook:.*} -> handlers."""

    def __init__(self):
        self._routes = []

    def route(self, method, pattern, public=False):
        """Decorator. The handler returns (status, body[, headers]); body None for none."""
        regex = re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", pattern)
        regex = re.compile(re.sub(r"{(\w+):\.\*}", r"(?P<\1>.*)", regex) + "/?")

        def register(handler):
            self._routes.append((method, regex, handler, public))
            return handler

        return register

    def find(self, method, path):
        """(handler, path variables, public). Raises HttpError 404."""
        # nginx serves the API under /api; st2 clients may be told to use either.
        path = path[4:] if path.startswith("/api/") else path
        for candidate, regex, handler, public in self._routes:
            match = regex.fullmatch(path)
            if match and candidate == method:
                return handler, match.groupdict(), public
        raise HttpError(404, "The resource could not be found.")


def _handler_class(router, authenticate):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        # One packet an answer.
        wbufsize = -1
        # Seconds a connection may be idle; clients keep theirs for long.
        timeout = 3600

        def _serve(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else b""
            headers = {name.title(): value for name, value in self.headers.items()}
            headers.setdefault("X-Request-Id", str(uuid.uuid4()))
            request = Request(self.command, self.path, headers, body)
            try:
                answer = self._answer(request)
            except HttpError as e:
                answer = e.status, e.body
            except ValueError as e:
                answer = 400, {"faultstring": str(e)}
            except NotImplementedError as e:
                answer = 501, {"faultstring": str(e)}
            except Exception:
                LOG.exception("API call failed: %s %s", self.command, request.path)
                answer = 500, {"faultstring": "Internal Server Error"}
            self._send(*answer)

        def _answer(self, request):
            handler, variables, public = router.find(request.method, request.path)
            if not public:
                try:
                    authenticate(request)
                except Unauthorized as e:
                    text = f"Unauthorized - {e}" if str(e) else "Unauthorized"
                    raise HttpError(401, text) from e
            return handler(request, **variables)

        def _send(self, status, body=None, headers=None):
            headers = dict(headers or {})
            if hasattr(body, "__next__"):
                self._stream(status, body, headers)
                return
            if body is not None and not isinstance(body, bytes):
                body = orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)
            if body is not None:
                headers.setdefault("Content-Type", "application/json")
            self.send_response_only(HTTPStatus(status))
            if status != HTTPStatus.NO_CONTENT:
                headers["Content-Length"] = str(len(body or b""))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body or b"")
            self.wfile.flush()

        def _stream(self, status, events, headers):
            self.send_response_only(status)
            headers.update({"Content-Type": "text/event-stream; charset=UTF-8"})
            headers["Connection"] = "close"
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.close_connection = True
            for name, data in events:
                text = f"event: {name}\ndata: {json.dumps(data)}\n\n" if name else "\n"
                self.wfile.write(text.encode())
                self.wfile.flush()

        do_GET = do_POST = do_PUT = do_DELETE = _serve

        def log_message(self, *args):
            """No line for each request."""

    return Handler


class Server(socketserver.ThreadingMixIn, HTTPServer):
    """Serves the routes on 127.0.0.1; `port` 0 takes a free one, see `server_address`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port):
        # The handlers come with `serve`: the engine needs to know the port before there are any.
        super().__init__(("127.0.0.1", port), None)
        self._thread = None

    def serve(self, router, authenticate):
        """Answer from now on, on threads; `authenticate(request)` raises Unauthorized."""
        self.RequestHandlerClass = _handler_class(router, authenticate)
        self._thread = threading.Thread(target=self.serve_forever, name="api", daemon=True)
        self._thread.start()

    def handle_error(self, request, client_address):
        """A client that went away is no error."""
        LOG.debug("Connection from %s failed", client_address, exc_info=True)

    def stop(self):
        """Stop answering."""
        if self._thread:
            self.shutdown()
        self.server_close()
