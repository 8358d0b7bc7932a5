"""The HTTP server: waitress, with an end to what a client can hold.

waitress counts its timeout from the last byte and stops accepting at its limit of connections, so a
hundred clients that send a byte now and then would shut everybody else out. Here a request has a
deadline as a whole, for its head and for its body. When there are too many connections, the one
that has been unfinished longest makes room. A body that the application does not want is not
kept: the answer is sent at once, and what still comes is thrown away, so that the client can read
the answer.

Under eventlet's monkey patch one look at all connections takes milliseconds and finds one that is
ready. So the loop keeps its own epoll, and eventlet waits for that alone.
"""

import contextlib
import errno
import functools
import heapq
import logging
import select
import sys
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from waitress import trigger, wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher, WSGITask

from poundcake.sensor.listener import Listener
from poundcake.sensor.log import EventLog
from poundcake.sensor.metrics import Metrics
from poundcake.settings import ListenerSettings

HEAD_SECONDS = 10
BODY_SECONDS = 30
IDLE_SECONDS = 120  # between two requests of one connection, and for reading an answer
LINGER_SECONDS = 5
CONNECTIONS = 200
ACCEPTS_AT_ONCE = 100
STARVED_SECONDS = 0.5
TICK_SECONDS = 0.25
LARGEST_HEAD = 32768
THROWN_AWAY_AT_ONCE = 65536
# The overhead of a chunked body: it has an end, too.
CHUNKED_FACTOR = 4
QUICK_THREADS = 2
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class HttpServer:
    """Serves a Listener until ``close``.

    :raises OSError, ValueError: when the address cannot be listened on.
    """

    def __init__(self, listener: Listener, settings: ListenerSettings, log: Any, metrics: Metrics):
        self.listener = listener
        self.max_body_bytes = settings.max_body_bytes
        self._log = EventLog(log)
        self._metrics = metrics
        self._map: Dict[int, Any] = {}
        self._poller = _Poller(self._map)
        self._due = 0.0
        self._closed = False
        # In a storm, one warning per waiting request would bury everything else.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        adjustments = Adjustments(
            host=settings.host,
            port=settings.port,
            ident=None,
            log_socket_errors=False,
            max_request_header_size=LARGEST_HEAD,
            max_request_body_size=sys.maxsize,  # _Request knows better
            connection_limit=sys.maxsize,
            cleanup_interval=sys.maxsize,
        )
        self._dispatchers = (ThreadedTaskDispatcher(), ThreadedTaskDispatcher())
        try:
            self._sockets = [
                _Socket(
                    listener,
                    self._map,
                    dispatcher=self._dispatchers[0],
                    adj=adjustments,
                    sockinfo=sockinfo,
                    owner=self,
                )
                for sockinfo in adjustments.listen
            ]
        except Exception:
            wasyncore.close_all(self._map, ignore_all=True)
            raise
        for dispatcher, count in zip(self._dispatchers, (settings.threads, QUICK_THREADS)):
            dispatcher.set_thread_count(count)
        for item in self._map.values():
            if isinstance(item, trigger.trigger):
                item.pull_trigger = _one_at_a_time(item.pull_trigger)

    @property
    def effective_port(self) -> int:
        """The port that it listens on."""
        return int(self._sockets[0].effective_port)

    def run(self) -> None:
        """Serve until ``close``."""
        while not self._closed:
            try:
                self._poller.poll(TICK_SECONDS if self._channels() else 1.0)
            except (OSError, ValueError) as error:
                if not self._closed:
                    self.failed(error)
                    time.sleep(TICK_SECONDS)
            self._close_late()

    def close(self) -> None:
        """Stop serving; any thread may call it."""
        self._closed = True
        for dispatcher in self._dispatchers:
            dispatcher.shutdown(timeout=1)
        wasyncore.close_all(self._map, ignore_all=True)

    def add_task(self, channel: "_Channel") -> None:
        """Have a request answered: what needs nobody else is not kept waiting by what does."""
        is_quick = self.listener.is_quick(channel.requests[0].path)
        self._dispatchers[1 if is_quick else 0].add_task(channel)

    def make_room(self) -> None:
        """Close the connection that has been unfinished longest when there are too many."""
        channels = self._channels()
        if len(channels) > CONNECTIONS:
            self._close_oldest(channels, 1)

    def starved(self) -> None:
        """Free what can be freed: the process has no file descriptors left."""
        self._close_oldest(self._channels(), ACCEPTS_AT_ONCE)
        text = "no file descriptors are left; unfinished connections are closed"
        self._log.record_seldom("starved", text)

    def failed(self, error: Optional[BaseException]) -> None:
        """Log an error of one connection, which ends it."""
        self._log.record_seldom("fault", "a connection is closed after an error", error)

    def _channels(self) -> List["_Channel"]:
        return [channel for sock in self._sockets for channel in sock.active_channels.values()]

    def _close_oldest(self, channels: List["_Channel"], count: int) -> None:
        unfinished = [channel for channel in channels if not channel.requests]
        oldest = heapq.nsmallest(count, unfinished, key=lambda channel: channel.since)
        for channel in oldest or channels[-1:]:
            channel.handle_close()
            self._count_closed("crowded")

    def _close_late(self) -> None:
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + TICK_SECONDS
        for channel in self._channels():
            if channel.until < now and not channel.requests:
                channel.handle_close()
                if not channel.is_idle:
                    self._count_closed("slow")

    def _count_closed(self, reason: str) -> None:
        self._metrics.closed(reason)
        text = {
            "slow": "a client took too long to send a request or to read its answer",
            "crowded": f"there are more than {CONNECTIONS} connections",
        }[reason]
        self._log.record_seldom("closed", text)


class _Poller:
    """Waits until connections are ready, and has them do what they are ready for.

    :param map: waitress's: file descriptor -> dispatcher.
    """

    def __init__(self, map: Dict[int, Any]):
        self._map = map
        self._epoll = _epoll()
        self._registered: Dict[int, Tuple[Any, int]] = {}

    def poll(self, timeout: float) -> None:
        """Look once."""
        self._register()
        # The patched select lets the other threads go on meanwhile.
        ready, _, _ = select.select([self._epoll.fileno()], [], [], timeout)
        for descriptor, flags in self._epoll.poll(0) if ready else ():
            dispatcher = self._map.get(descriptor)
            if dispatcher is not None:
                wasyncore.readwrite(dispatcher, flags)

    def _register(self) -> None:
        wanted = {}
        for descriptor, dispatcher in list(self._map.items()):
            flags = select.POLLIN | select.POLLPRI if dispatcher.readable() else 0
            if dispatcher.writable() and not dispatcher.accepting:
                flags |= select.POLLOUT
            if flags:  # otherwise only a hangup would be told, again and again
                wanted[descriptor] = (dispatcher, flags)
        for descriptor, (dispatcher, _) in list(self._registered.items()):
            # The kernel forgets what is closed, and its number may be another connection's now.
            if wanted.get(descriptor, (None, 0))[0] is not dispatcher:
                del self._registered[descriptor]
                with contextlib.suppress(OSError):
                    self._epoll.unregister(descriptor)
        for descriptor, (dispatcher, flags) in wanted.items():
            if descriptor not in self._registered:
                self._epoll.register(descriptor, flags)
            elif self._registered[descriptor][1] != flags:
                self._epoll.modify(descriptor, flags)
            self._registered[descriptor] = (dispatcher, flags)


def _epoll() -> Any:
    """Return a new epoll object; eventlet's patch takes the class away."""
    if hasattr(select, "epoll"):
        return select.epoll()
    import eventlet.patcher

    return eventlet.patcher.original("select").epoll()


class _Request(HTTPRequestParser):
    """A request whose body is read only when the application wants it."""

    def __init__(self, server: HttpServer, adj: Any):
        super().__init__(adj)
        self._server = server
        self._is_checked = False
        self._is_cut = False  # the rest of it is not wanted

    def received(self, data: bytes) -> int:
        if self._is_cut:
            return len(data)
        consumed = int(super().received(data))
        if self.error or not self.headers_finished or self.empty:
            return consumed
        if not self._is_checked:
            self._is_checked = True
            has_body = self.chunked or self.content_length > 0
            if has_body and not self._server.listener.wants_body(self._environ()):
                self._cut()
        elif self.chunked and self._is_too_large():
            self.headers["CONTENT_LENGTH"] = str(self._server.max_body_bytes + 1)
            self._cut()
        return len(data) if self._is_cut else consumed

    def _is_too_large(self) -> bool:
        most = self._server.max_body_bytes
        overhead = self.body_bytes_received > CHUNKED_FACTOR * most
        return overhead or (self.body_rcv is not None and len(self.body_rcv) > most)

    def _cut(self) -> None:
        self.close()
        self.body_rcv = None
        self.headers["CONNECTION"] = "close"
        self.expect_continue = False
        self.completed = self._is_cut = True

    def _environ(self) -> Dict[str, Any]:
        """Return of WSGI's environ what the head of a request says."""
        environ = {"HTTP_" + name: value for name, value in self.headers.items()}
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if name in self.headers:
                environ[name] = self.headers[name]
        path = "/" + self.path.lstrip("/")
        return dict(environ, REQUEST_METHOD=self.command.upper(), PATH_INFO=path)


class _Task(WSGITask):
    def get_environment(self) -> Dict[str, Any]:
        environ: Dict[str, Any] = super().get_environment()
        environ["poundcake.hold"] = self.channel.hold
        return environ


class _Channel(HTTPChannel):
    """A connection with a deadline."""

    task_class = _Task
    close_when_flushed: bool = False

    def __init__(self, server: "_Socket", *args: Any, **kwargs: Any):
        super().__init__(server, *args, **kwargs)
        self.is_idle = False  # between two requests
        self._in_body = False
        self._lingers = False
        self._held_until = 0.0
        self._expect(HEAD_SECONDS)

    @property
    def parser_class(self) -> Callable[[Any], _Request]:
        return functools.partial(_Request, self.server.owner)

    def _expect(self, seconds: float) -> None:
        self.since = time.monotonic()
        self.until = self.since + seconds

    def received(self, data: bytes) -> bool:
        if self.request is None:
            self.is_idle = self._in_body = False
            self._expect(HEAD_SECONDS)
        taken = bool(super().received(data))
        if self.request is not None and self.request.headers_finished and not self._in_body:
            self._in_body = True
            self._expect(BODY_SECONDS)
        return taken

    def service(self) -> None:
        try:
            super().service()
        finally:
            self._expect(IDLE_SECONDS)
            self.is_idle = True

    def hold(self, seconds: float) -> None:
        """Send the answer to this request only after so many seconds; no thread waits for it."""
        self._held_until = time.monotonic() + seconds

    def _is_held(self) -> bool:
        return time.monotonic() < self._held_until

    def _flush_some(self, do_close: bool = True) -> bool:
        return not self._is_held() and bool(super()._flush_some(do_close=do_close))

    def writable(self) -> bool:
        return not self._is_held() and bool(super().writable())

    def readable(self) -> bool:
        return self._lingers or bool(super().readable())

    def handle_write(self) -> None:
        closing: bool = self.close_when_flushed
        self.close_when_flushed = False
        super().handle_write()
        if closing and self.connected:
            if self.total_outbufs_len:
                self.close_when_flushed = True
            else:
                self._linger()

    def _linger(self) -> None:
        """Wait until the client has read the answer: closing now would reset the connection."""
        self._lingers = self.is_idle = True
        self._expect(LINGER_SECONDS)
        try:
            self.socket.shutdown(1)
        except OSError:
            self.handle_close()

    def handle_read(self) -> None:
        if not self._lingers:
            super().handle_read()
        elif not self.recv(THROWN_AWAY_AT_ONCE):
            self.handle_close()

    def handle_error(self) -> None:
        self.server.owner.failed(sys.exc_info()[1])
        self.handle_close()


class _Socket(TcpWSGIServer):
    """A socket that accepts connections."""

    channel_class = _Channel

    def __init__(self, *args: Any, owner: HttpServer, **kwargs: Any):
        self.owner = owner
        self._paused_until = 0.0
        super().__init__(*args, **kwargs)

    def add_task(self, task: _Channel) -> None:
        self.owner.add_task(task)

    def readable(self) -> bool:
        return bool(self.accepting) and time.monotonic() >= self._paused_until

    def handle_accept(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                accepted = self.accept()
                if accepted is None:
                    return
                self.set_socket_options(accepted[0])
            except OSError as error:
                if error.errno in NO_ROOM:
                    self._paused_until = time.monotonic() + STARVED_SECONDS
                    self.owner.starved()
                    return
                continue  # the client has gone
            self.channel_class(self, *accepted, self.adj, map=self._map)
            self.owner.make_room()

    def handle_error(self) -> None:
        self.owner.failed(sys.exc_info()[1])


def _one_at_a_time(call: Callable[..., None]) -> Callable[..., None]:
    """Return ``call`` behind a lock.

    All of waitress's threads wake its loop through one pipe. Sensors run under eventlet, which
    raises when two greenthreads write to one file at the same time; the answer would never be sent.
    """
    lock = threading.Lock()

    def locked(*args: Any) -> None:
        with lock:
            call(*args)

    return locked
