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

LOG = logging.getLogger("engine.api")
TRUE, FALSE = ("true", "1", "yes", "y"), ("false", "0", "no", "n")


class HttpError(Exception):
    """Answered with this status and {"faultstring": message, **more}."""

    def __init__(self, status, message, **more):
        super().__init__(message)
        self.status = status
        self.body = {"faultstring": message, **more}


class Request:
    """What a handler gets; authentication sets `user` and how they identified themselves."""

    def __init__(self, method, target, headers, body):
        parts = urllib.parse.urlsplit(target)
        self.method = method
        self.path = urllib.parse.unquote(parts.path)
        self.query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        self.headers = headers
        self.body = body
        self.user = self.authentication = None

    def json(self):
        """The body as JSON ({} when empty), or form fields. Raises HttpError 400."""
        content_type = self.headers.get("Content-Type", "application/json").split(";")[0].strip()
        if content_type == "application/x-www-form-urlencoded":
            return urllib.parse.parse_qs(self.body.decode())
        try:
            if content_type not in ("application/json", "text/plain"):
                raise ValueError(f'Unsupported Content-Type: "{content_type}"')
            return orjson.loads(self.body or b"{}")
        except ValueError as e:
            raise HttpError(400, f"Failed to parse request body: {e}") from e

    def flag(self, name):
        """A boolean of the query; False when absent. Raises HttpError 400."""
        value = self.query.get(name, "false").lower()
        if value not in TRUE + FALSE:
            raise HttpError(400, f'Parameter "{name}" is not of type boolean')
        return value in TRUE

    def integer(self, name, default):
        """A whole number of the query. Raises HttpError 400."""
        value = self.query.get(name, str(default))
        if not re.fullmatch(r"-?[0-9]+", value):
            raise HttpError(400, f'Parameter "{name}" is not of type integer')
        return int(value)

    def page(self, default=100):
        """(limit, offset); limit 0 for everything. Raises HttpError 400."""
        limit = self.integer("limit", default)
        if limit == 0 or limit < -1:
            more = " or -1 for full result set" if limit == 0 else ""
            text = f'Limit, "{limit}" specified, must be a positive number{more}.'
            raise HttpError(400, text)
        return max(limit, 0), self.integer("offset", 0)

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

    def answer(self, request, authenticate):
        """What the request's handler returns. Raises HttpError, and whatever the handler raises."""
        # nginx serves the API under /api; st2 clients may be told to use either.
        path = request.path.removeprefix("/api") or "/"
        for method, regex, handler, public in self._routes:
            match = regex.fullmatch(path)
            if match and method == request.method:
                if not public:
                    authenticate(request)
                return handler(request, **match.groupdict())
        raise HttpError(404, "The resource could not be found.")


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # One packet an answer.
    wbufsize = -1
    # Seconds a connection may be idle; clients keep theirs for long.
    timeout = 3600

    def _serve(self):
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.title(): value for name, value in self.headers.items()}
        headers.setdefault("X-Request-Id", str(uuid.uuid4()))
        request = Request(self.command, self.path, headers, self.rfile.read(length))
        try:
            answer = self.server.router.answer(request, self.server.authenticate)
        except HttpError as e:
            answer = e.status, e.body
        except (ValueError, NotImplementedError) as e:
            answer = 400 if isinstance(e, ValueError) else 501, {"faultstring": str(e)}
        except Exception:
            LOG.exception("API call failed: %s %s", self.command, request.path)
            answer = 500, {"faultstring": "Internal Server Error"}
        self._send(*answer)

    def _send(self, status, body=None, headers=None):
        stream = hasattr(body, "__next__")
        content_type = "text/event-stream; charset=UTF-8" if stream else "application/json"
        headers = {"Content-Type": content_type, **(headers or {})}
        if stream:
            headers["Connection"] = "close"  # send_header heeds it
        elif status == HTTPStatus.NO_CONTENT:
            del headers["Content-Type"]
        else:
            if not isinstance(body, bytes):
                body = orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)
            headers["Content-Length"] = str(len(body))
        self.send_response_only(HTTPStatus(status))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        for part in map(self._event, body) if stream else [body or b""]:
            self.wfile.write(part)
            self.wfile.flush()

    @staticmethod
    def _event(event):
        name, data = event
        return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode() if name else b"\n"

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def log_message(self, *args):
        """No line for each request."""


class Server(socketserver.ThreadingMixIn, HTTPServer):
    """Serves the routes on 127.0.0.1; `port` 0 takes a free one, see `server_address`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port):
        super().__init__(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self.serve_forever, name="api", daemon=True)

    def serve(self, router, authenticate):
        """Answer from now on, on threads; `authenticate(request)` raises HttpError."""
        self.router, self.authenticate = router, authenticate
        self._thread.start()

    def handle_error(self, request, client_address):
        """A client that went away is no error."""
        LOG.debug("Connection from %s failed", client_address, exc_info=True)

    def stop(self):
        """Stop answering."""
        self.shutdown()
        self.server_close()
