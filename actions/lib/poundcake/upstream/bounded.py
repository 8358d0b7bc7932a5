"""HTTP with a limit for the whole answer: its time and its size. No redirect is followed.

A timeout of requests or urllib3 counts from byte to byte, so a server that sends a byte now and
then holds its client for as long as it likes. Here, a timer shuts the connection down. Only the
lookup of a name in DNS has the system's own limit.
"""

import contextlib
import io
import json
import socket
import threading
from dataclasses import dataclass
from typing import Any, Iterator, List, Mapping, Optional

import requests
import requests.adapters
import urllib3
import urllib3.connection

SECONDS = 30.0
MOST_BYTES = 32 << 20
_CHUNK_BYTES = 65536
_now = threading.local()  # .deadline: the one of this thread's request


class LimitExceeded(requests.RequestException):
    """A server takes too long, or sends too much."""


@dataclass(frozen=True)
class Answer:
    """What a server answered; the content as it was sent."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the decoded JSON; ValueError when it is none."""
        try:
            return json.loads(self.content)
        except RecursionError:
            raise ValueError("nested too deeply")


def request(method: str, url: str, seconds: Optional[float] = None, **options: Any) -> Answer:
    """Make a request and return the answer, whatever its status.

    :param seconds: for all of it, SECONDS by default.
    :param options: arguments for requests, such as ``json``, ``params``, ``auth`` and ``verify``.
    :raises requests.RequestException: LimitExceeded is one; it also raises what requests does.
    """
    seconds = seconds or SECONDS
    # Compressed, 32 MiB may unfold to 32 GiB.
    headers = dict(options.pop("headers", {}), **{"Accept-Encoding": "identity"})
    with requests.Session() as session, _limited(seconds):
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter())
        response = session.request(
            method,
            url,
            headers=headers,
            stream=True,
            timeout=seconds,
            allow_redirects=False,  # another host must not get the credentials, nor answer
            **options,
        )
        with response:
            content = _content(response.raw)
    return Answer(response.status_code, response.headers, content)


class Pool:
    """Bounds a urllib3 PoolManager, for libraries that use one: their ``pool_manager``.

    ``request`` works as the manager's does, and answers with all content read.
    """

    def __init__(self, manager: urllib3.PoolManager):
        manager.pool_classes_by_scheme = _POOLS
        self._manager = manager

    def request(self, method: str, url: str, **options: Any) -> urllib3.HTTPResponse:
        options.update(preload_content=False, redirect=False, timeout=SECONDS)
        self._manager.clear()  # only new connections are watched
        with _limited(SECONDS):
            response = self._manager.request(method, url, **options)
            content = _content(response)
        return urllib3.HTTPResponse(
            io.BytesIO(content),
            headers=response.headers,
            status=response.status,
            reason=response.reason,
        )


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Shut down the connections of the block when the time is up, and raise LimitExceeded."""
    deadline = _now.deadline = _Deadline(seconds)
    try:
        yield
        deadline.check()
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError):
        deadline.check()
        raise
    finally:
        _now.deadline = None
        deadline.end()


class _Deadline:
    """Shuts down the connections that it watches when the time is up."""

    def __init__(self, seconds: float):
        self._seconds, self._passed = seconds, False
        self._lock = threading.Lock()
        self._sockets: List[socket.socket] = []
        self._timer = threading.Timer(seconds, self._shut_down)
        self._timer.daemon = True
        self._timer.start()

    def watch(self, connection: socket.socket) -> None:
        with self._lock:
            # A copy stays plain and open when TLS wraps the original, or urllib3 closes it.
            self._sockets.append(connection.dup())
        if self._passed:
            self._shut_down()

    def check(self) -> None:
        if self._passed:
            raise LimitExceeded(f"no complete answer within {self._seconds:g} s")

    def end(self) -> None:
        self._timer.cancel()
        with self._lock:
            for connection in self._sockets:
                connection.close()
            self._sockets = []

    def _shut_down(self) -> None:
        self._passed = True
        with self._lock:
            for connection in self._sockets:
                with contextlib.suppress(OSError):  # it is closed already
                    connection.shutdown(socket.SHUT_RDWR)


def _content(response: Any) -> bytes:
    """Read the content of a urllib3 response, as it was sent."""
    content = bytearray()
    while True:
        chunk = response.read(_CHUNK_BYTES, decode_content=False)
        if not chunk:
            return bytes(content)
        content += chunk
        if len(content) > MOST_BYTES:
            raise LimitExceeded(f"the answer has more than {MOST_BYTES} bytes")


class _Watched:
    """A connection that the deadline of this thread watches from its first byte."""

    def _new_conn(self) -> socket.socket:
        connection: socket.socket = super()._new_conn()  # type: ignore[misc]
        _now.deadline.watch(connection)
        return connection


class _Http(_Watched, urllib3.connection.HTTPConnection):
    pass


class _Https(_Watched, urllib3.connection.HTTPSConnection):
    pass


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Https


_POOLS = {"http": _HttpPool, "https": _HttpsPool}


class _Adapter(requests.adapters.HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS  # type: ignore[attr-defined]

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        if type(manager) is urllib3.ProxyManager:  # SOCKS needs its own: only its reads are timed
            manager.pool_classes_by_scheme = _POOLS
        return manager
