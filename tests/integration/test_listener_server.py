"""The listener's server over real sockets: clients that are slow, silent, too many or too large."""

import concurrent.futures
import contextlib
import json
import re
import socket
import threading
import time

import pytest
import requests

from tests.support.alerts import alert, notification
from tests.support.listener_process import Process

TOKEN = "t0ken-that-nobody-may-see"
BODY = json.dumps(notification(alert())).encode("ascii")
JSON = {"Content-Type": "application/json"}
HEAD = b"POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture
def listener():
    """Return a function that starts listeners; they end with the test."""
    started = []

    def start(config=None, **limits):
        started.append(Process(config, **limits))
        return started[-1]

    yield start
    for process in started:
        process.stop()


def post(process, body=BODY, **headers):
    return requests.post(
        process.url + "/webhook", data=body, headers=dict(JSON, **headers), timeout=30
    )


def bearer(token):
    return {"Authorization": "Bearer " + token}


def connect(process, data=b""):
    client = socket.create_connection(("127.0.0.1", process.port), timeout=30)
    client.sendall(data)
    return client


def read_all(client):
    """Return all that a server sends until it closes the connection."""
    parts = []
    while True:
        try:
            part = client.recv(65536)
        except ConnectionResetError:
            part = b""
        if not part:
            return b"".join(parts)
        parts.append(part)


def counted(process, name, **headers):
    """Return the value of a counter, named with its labels."""
    text = requests.get(process.url + "/metrics", headers=headers, timeout=30).text
    return float(re.search("^%s (.*)$" % re.escape(name), text, re.M).group(1))


# --- what is refused without its body -------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [1025, 2000000, 20000000])
def test_a_body_of_any_size_gets_a_413_that_can_be_read(listener, size, chunked):
    """With a line in the log and a count: Alertmanager's log then says why."""
    process = listener({"max_body_bytes": 1024})
    body = b" " * size
    answer = post(
        process, iter([body[i : i + 65536] for i in range(0, size, 65536)]) if chunked else body
    )
    assert answer.status_code == 413
    assert answer.json()["error"] == "body: larger than max_body_bytes (1024)"
    name = 'poundcake_notifications_total{code="413",source="listener"}'
    assert counted(process, name) == 1
    process.wait_for(lambda: process.logged("rejected"), "the line")
    assert post(process, b"{}").status_code == 400


def test_wrong_credentials_are_refused_before_the_body_comes(listener):
    """Nothing of it is kept."""
    process = listener({"token": TOKEN})
    head = HEAD + b"Content-Length: 4000000\r\nAuthorization: Bearer wrong\r\n\r\n"
    with connect(process, head) as client:
        assert client.recv(100).startswith(b"HTTP/1.1 401 ")
    assert post(process, b"x" * 4000000, **bearer("wrong")).status_code == 401


def test_who_asks_before_sending_a_body_is_told(listener):
    """Expect: 100-continue, as curl sends it with a large body."""
    process = listener({"token": TOKEN})
    expect = b"Content-Length: %d\r\nExpect: 100-continue\r\nAuthorization: Bearer " % len(BODY)
    with connect(process, HEAD + expect + b"wrong\r\n\r\n") as client:
        assert read_all(client).startswith(b"HTTP/1.1 401 ")
    with connect(process, HEAD + expect + TOKEN.encode() + b"\r\n\r\n") as client:
        assert client.recv(100).startswith(b"HTTP/1.1 100 ")
        client.sendall(BODY)
        assert client.recv(100).startswith(b"HTTP/1.1 202 ")


def test_what_follows_a_refused_head_is_no_request(listener):
    """A body that looks like one is thrown away."""
    process = listener({"token": TOKEN})
    inner = HEAD + b"Content-Length: 2\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n\r\n{}"
    head = HEAD + b"Content-Length: %d\r\n\r\n" % len(inner)
    with connect(process, head + inner) as client:
        answer = read_all(client)
    assert answer.count(b"HTTP/1.1") == 1 and b" 401 " in answer


def test_a_connection_serves_many_requests(listener):
    """As Alertmanager keeps it open."""
    process = listener()
    with requests.Session() as session:
        session.headers.update(JSON)
        for _ in range(5):
            assert session.post(process.url + "/webhook", data=BODY, timeout=30).status_code == 202
    with connect(process, (HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY) * 3) as client:
        text = b""
        while text.count(b"202 Accepted") < 3:
            text += client.recv(65536)


# --- slow clients ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [b"", b"POST /webhook HTTP/1.1\r\nHos", HEAD + b"Content-Length: 1000\r\n\r\n{"],
    ids=["silent", "half a head", "half a body"],
)
def test_a_thousand_unfinished_connections_leave_room(listener, sent):
    """A notification is acknowledged within a second."""
    process = listener()
    clients = [connect(process, sent) for _ in range(1000)]
    began = time.monotonic()
    assert post(process).status_code == 202
    took = time.monotonic() - began
    for client in clients:
        client.close()
    assert took < 5  # within a second, on a machine that has nothing else to do
    assert counted(process, 'poundcake_closed_connections_total{reason="crowded"}') >= 800
    assert len(process.logged("closed")) <= 2


def test_clients_that_send_a_byte_now_and_then_are_closed(listener):
    """The deadline is that of the whole request, not of the next byte."""
    process = listener(HEAD_SECONDS=1, BODY_SECONDS=1)
    clients = [connect(process) for _ in range(20)]
    clients += [connect(process, HEAD + b"Content-Length: 100000\r\n\r\n") for _ in range(20)]
    began, open_clients = time.monotonic(), list(clients)
    while open_clients and time.monotonic() < began + 20:
        for client in list(open_clients):
            try:
                client.sendall(b"P")
            except OSError:
                open_clients.remove(client)
        time.sleep(0.1)
    assert open_clients == []
    name = 'poundcake_closed_connections_total{reason="slow"}'
    assert counted(process, name) == 40
    for client in clients:
        client.close()


def test_a_client_that_does_not_read_its_answer_is_closed(listener):
    """Its answer is not kept for ever."""
    process = listener(IDLE_SECONDS=1)
    with connect(process, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n") as client:
        time.sleep(2.5)
        assert read_all(client).startswith(b"HTTP/1.1 200 ")  # what was sent, and then the end


def test_health_is_answered_while_the_api_hangs(listener):
    """Eight questions, and no thread that waits."""
    process = listener(hanging=True)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(requests.get, process.url + "/ready", timeout=30) for _ in range(8)]
        began = time.monotonic()
        assert {item.result().status_code for item in asked} == {503}
        assert post(process).status_code == 202
    assert time.monotonic() - began < 5


# --- guesses --------------------------------------------------------------------------------------


def test_guesses_are_slow_and_the_right_credentials_are_not(listener):
    """No thread waits with them, and one line a minute tells of them."""
    process = listener({"token": TOKEN, "threads": 1})
    answered = []

    def guess():
        with contextlib.suppress(requests.ConnectionError):  # the process has ended
            while not stop.is_set():
                answered.append(post(process, **bearer("wrong")).status_code)

    stop = threading.Event()
    guessers = [threading.Thread(target=guess, daemon=True) for _ in range(20)]
    for thread in guessers:
        thread.start()
    process.wait_for(lambda: len(answered) >= 15, "some answers")
    before, began = len(answered), time.monotonic()
    time.sleep(2)
    rate = (len(answered) - before) / (time.monotonic() - began)
    began = time.monotonic()
    assert post(process, **bearer(TOKEN)).status_code == 202
    assert time.monotonic() - began < 1
    stop.set()
    assert rate < 10 and set(answered) == {401}
    name = 'poundcake_refused_requests_total{reason="credentials"}'
    assert counted(process, name, **bearer(TOKEN)) >= len(answered)
    assert len(process.logged("refused")) <= 2


# --- no file descriptors --------------------------------------------------------------------------


def test_without_file_descriptors_there_is_no_storm_in_the_log(listener):
    """Unfinished connections are closed, and the next notification is taken."""
    process = listener(files=60)
    clients = [connect(process) for _ in range(300)]
    assert post(process).status_code == 202
    for client in clients:
        client.close()
    assert process.logged("starved")
    assert len(process.lines) < 20, process.lines[:30]
    assert not [line for line in process.lines if "Traceback" in line]
