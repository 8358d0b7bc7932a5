"""No server that the config names can hold a client, fill its memory, or send it elsewhere."""

import functools
import gzip
import os
import subprocess
import sys

import pytest
import requests
from poundcake.alert_rules.git import hosts
from poundcake.alert_rules.git import url as git_url
from poundcake.alert_rules.resources import Resources
from poundcake.errors import ExpectedError
from poundcake.flight_recorder import s3
from poundcake.upstream import bounded, client

from tests.support.fakes import PACK, make_settings
from tests.support.hostile_server import (
    OK,
    HostileServer,
    drip,
    flood,
    redirect,
    say,
    silent,
)

CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def ask_prometheus(url):
    client.call(make_settings(prometheus_url=url), "prometheus", "GET", "/api/v1/rules")


def ask_alertmanager(url):
    settings = make_settings(alertmanager_url=url, alertmanager_token="t0ken")
    client.call(settings, "alertmanager", "GET", "/api/v2/alerts")


def ask_git_host(provider, url):
    settings = make_settings(
        git_repo_url="https://git.example.com/team/rules",
        git_provider=provider,
        git_api_url=url,
        git_token="t0ken",
    )
    host = hosts.host_of(settings, git_url.parse(settings.git.repo_url))
    host.propose("change", "title", "body")


def ask_kubernetes(url):
    Resources(make_settings(kube_api_url=url, kube_token="t0ken")).list()


CLIENTS = {
    "prometheus": ask_prometheus,
    "alertmanager": ask_alertmanager,
    "github": functools.partial(ask_git_host, "github"),
    "gitlab": functools.partial(ask_git_host, "gitlab"),
    "gitea": functools.partial(ask_git_host, "gitea"),
    "kubernetes": ask_kubernetes,
}
NEVER_ENDS = {
    "body": drip(OK + b"Content-Length: 1000000\r\n\r\n["),
    "body without a length": drip(OK + b"\r\n{}"),
    "chunks": drip(OK + CHUNKED + b"1\r\n[\r\n"),
    "headers": drip(OK + b"X-Slow: "),
    "status": drip(b"HTTP/1.1 200 "),
    "nothing": silent,
}
ENDLESS = {
    "body": flood(OK + b"\r\n[", b"[" * 65536),
    "chunks": flood(OK + CHUNKED, b"10000\r\n" + b"[" * 65536 + b"\r\n"),
}


@pytest.fixture(params=CLIENTS.values(), ids=CLIENTS)
def ask(request):
    """A client, called with the URL of its server."""
    return request.param


@pytest.mark.parametrize("answer", NEVER_ENDS.values(), ids=NEVER_ENDS)
def test_an_answer_that_does_not_end_is_given_up(ask, answer, monkeypatch):
    """Bytes that come now and then prolong nothing."""
    monkeypatch.setattr(bounded, "SECONDS", 0.5)
    with HostileServer(answer) as server, pytest.raises(ExpectedError) as caught:
        ask(server.url)
    assert "0.5 s" in str(caught.value) or "timed out" in str(caught.value)


@pytest.mark.parametrize("answer", ENDLESS.values(), ids=ENDLESS)
def test_an_answer_without_end_is_not_read(ask, answer, monkeypatch):
    """It would fill the memory."""
    monkeypatch.setattr(bounded, "MOST_BYTES", 1 << 20)
    with HostileServer(answer) as server, pytest.raises(ExpectedError) as caught:
        ask(server.url)
    assert "more than 1048576 bytes" in str(caught.value)


def test_no_redirect_is_followed(ask):
    """Another host gets no credentials, and what it answers is not believed."""
    with HostileServer(say(b'{"status": "success"}')) as other:
        with HostileServer(redirect(other.url + "/x")) as server:
            with pytest.raises(ExpectedError) as caught:
                ask(server.url)
        assert other.connections == 0
    assert "307" in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"[" * 1000000, b"\xff\xfe", b"<html>"], ids=["deep", "not UTF-8", "HTML"]
)
def test_an_answer_that_is_no_json_names_the_setting(ask, content):
    """Whatever it is, the action fails with a reason."""
    with HostileServer(say(content)) as server, pytest.raises(ExpectedError) as caught:
        ask(server.url)
    assert "_url: " in str(caught.value)


def test_a_compressed_answer_is_not_unfolded():
    """Of nothing but zeros, 32 MiB unfold to 32 GiB."""
    bomb = gzip.compress(b"0" * (8 << 20))
    answer = say(bomb, OK + b"Content-Encoding: gzip\r\n")
    with HostileServer(answer) as server:
        assert bounded.request("GET", server.url).content == bomb


def test_a_tls_handshake_that_does_not_end_is_given_up(monkeypatch):
    """The time counts from the first byte."""
    monkeypatch.setattr(bounded, "SECONDS", 0.5)
    hello = b"\x16\x03\x03\x40\x00"  # the head of a long record
    with HostileServer(drip(hello)) as server, pytest.raises(requests.RequestException):
        bounded.request("GET", server.url.replace("http:", "https:"))


def test_the_limits():
    """Half a minute and 32 MiB, for all of an answer."""
    assert (bounded.SECONDS, bounded.MOST_BYTES) == (30, 33554432)


def ask_s3(url):
    settings = make_settings(
        s3_bucket="b",
        s3_region="us-east-1",
        s3_endpoint_url=url,
        s3_access_key_id="id",
        s3_secret_access_key="key",
    )
    s3.find(settings, "a.jfr")


def test_s3_gives_up_on_silence(monkeypatch):
    """boto3 has its own limits: for each read, and for the number of tries."""
    monkeypatch.setattr(s3, "READ_SECONDS", 0.5)
    monkeypatch.setattr(s3, "TRIES", 1)
    with HostileServer(silent) as server, pytest.raises(ExpectedError) as caught:
        ask_s3(server.url)
    assert "timeout" in str(caught.value).lower()


def test_s3_follows_no_redirect(monkeypatch):
    """Another host must not get a signed request."""
    monkeypatch.setattr(s3, "TRIES", 1)
    with HostileServer(say(b"")) as other:
        with HostileServer(redirect(other.url)) as server, pytest.raises(ExpectedError):
            ask_s3(server.url)
        assert other.connections == 0


@pytest.mark.parametrize("answer", ["body", "headers", "nothing"])
def test_the_time_is_limited_in_a_sensor_too(answer):
    """There, eventlet replaces sockets, threads and time."""
    code = (
        "import eventlet, sys; eventlet.monkey_patch(); import requests\n"
        "from poundcake.upstream import bounded\n"
        "try: bounded.request('GET', sys.argv[1], 0.5)\n"
        "except requests.RequestException as error: print(type(error).__name__)"
    )
    with HostileServer(NEVER_ENDS[answer]) as server:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, server.url],
            env=dict(os.environ, PYTHONPATH=os.path.join(PACK, "actions", "lib")),
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.stdout in ("LimitExceeded\n", "ReadTimeout\n"), done.stderr
