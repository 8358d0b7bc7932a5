"""A server on a free port of 127.0.0.1 that misbehaves in one way for as long as a block lasts."""

import contextlib
import itertools
import socket
import threading

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class HostileServer:
    """Passes each connection, with its request read, to a function ``(connection, ended)``.

    :param answer: it may go on until ``ended``, an event, is set, or the client has left.
    """

    def __init__(self, answer):
        self._answer = answer
        self._server = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self.connections = 0
        self.url = "http://127.0.0.1:%d" % self._server.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._server.close()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self.connections += 1
                threading.Thread(target=self._talk, args=[connection], daemon=True).start()

    def _talk(self, connection):
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            self._answer(connection, self._ended)


def drip(start):
    """Send the start at once, then a byte now and then, without an end."""

    def answer(connection, ended):
        connection.sendall(start)
        while not ended.wait(0.05):
            connection.sendall(b" ")

    return answer


def flood(start, piece):
    """Send the start, then the same piece again and again, without an end."""

    def answer(connection, ended):
        connection.sendall(start)
        for _ in itertools.takewhile(lambda _: not ended.is_set(), itertools.count()):
            connection.sendall(piece)

    return answer


def say(content, head=OK):
    """Send one answer."""

    def answer(connection, ended):
        length = b"Content-Length: %d\r\n\r\n" % len(content)
        connection.sendall(head + length + content)

    return answer


def redirect(url):
    """Point to a URL."""
    head = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: %s\r\n" % url.encode()
    return say(b"", head)


def silent(connection, ended):
    """Keep the connection open and say nothing."""
    ended.wait()
