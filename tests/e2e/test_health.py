"""check_health against a running StackStorm, and servers beside it."""

import contextlib
import json
import os
import socket

import pytest
from poundcake.views import health

from tests.demo import servers
from tests.support.fakes import make_settings
from tests.support.local_server import LocalServer, QuietHandler

SECRET = "s3cret-that-nobody-may-see"
needs_servers = pytest.mark.skipif(
    bool(servers.missing()) or bool(os.environ.get("ST2_API_URL")),
    reason="bash tests/demo/install_servers installs Prometheus and Alertmanager",
)


def checked(world):
    """Return the status of the execution, and the findings by name."""
    status, answer = world.run("check_health")
    return status, answer, {item["name"]: item for item in answer["checks"]}


def test_an_installed_pack_is_healthy(world):
    """As soon as the sensor's first probe has come through."""

    def well():
        _, answer, found = checked(world)
        # A StackStorm without a coordination backend is told so; that is its own affair here.
        at_fault = [name for name in found if found[name]["status"] == "fault"]
        return found if set(at_fault) <= {"coordination"} else None

    found = world.wait(well, "everything to be well")
    assert found["listener"]["detail"].startswith("ready at http://")
    assert "track" in found["rules"]["detail"] and "track.retry" in found["policies"]["detail"]


def test_a_fault_fails_it_and_its_remedy_helps(world):
    """A rule of the plumbing is disabled, and enabled by the command that the answer gives."""
    world.st2("rule", "disable", "poundcake.receive_webhook")
    try:
        status, answer, found = checked(world)
        assert status == "failed" and "rules" in answer["error"]
        assert found["rules"]["detail"] == "poundcake.receive_webhook is disabled"
        assert found["rules"]["remedy"] in answer["table"]
        st2, *words = found["rules"]["remedy"].split()
        assert st2 == "st2"
        world.st2(*words)
        assert checked(world)[2]["rules"]["status"] == "ok"
    finally:
        world.st2("rule", "enable", "poundcake.receive_webhook")


@needs_servers
def test_a_real_alertmanager_and_a_real_prometheus_answer(tmp_path):
    """Through the APIs that PoundCake uses."""
    with servers.Alertmanager(tmp_path / "am", []) as am:
        with servers.Prometheus(tmp_path / "prometheus", []) as prometheus:
            settings = make_settings(alertmanager_url=am.url, prometheus_url=prometheus.url)
            assert [item.status for item in ask_both(settings)] == [health.OK] * 2
    # And the same servers, when they are gone.
    assert [item.status for item in ask_both(settings)] == [health.FAULT] * 2


# --- servers that answer as the test wants it -----------------------------------------------------


@contextlib.contextmanager
def answering(answers):
    """The address of a server: ``answers`` is {path: (status, JSON value)}; it notes headers."""

    class Handler(QuietHandler):
        seen = []

        def do_GET(self):
            self.seen.append(self.headers.get("Authorization"))
            status, value = answers[self.path.split("?")[0]]
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

    with LocalServer(Handler) as server:
        yield server, Handler.seen


def listener(ready=True, **parts):
    parts = {name: {"ok": False, "detail": detail} for name, detail in parts.items()}
    parts["sensor"] = {"ok": True, "detail": "running"}
    return answering(
        {
            "/health": (200, {"status": "ok"}),
            "/ready": (200 if ready else 503, {"status": "", "parts": parts}),
        }
    )


def port_of(server):
    return int(server.address.rpartition(":")[2])


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_a_listener_that_is_ready_is_fine():
    """Asked on loopback when it listens everywhere."""
    with listener() as (server, _):
        for host in ("127.0.0.1", "0.0.0.0"):
            (found,) = health.check_listener(make_settings(host=host, port=port_of(server)))
            assert found == health.Finding("listener", health.OK, "ready at " + server.url)


def test_a_listener_that_is_not_ready_says_each_reason():
    """As /ready does."""
    with listener(False, tracking="rows wait", api="connection refused") as (server, _):
        found = health.check_listener(make_settings(port=port_of(server)))
    assert [item.detail for item in found] == [
        "not ready, api: connection refused",
        "not ready, tracking: rows wait",
    ]
    assert {item.status for item in found} == {health.FAULT}


def test_a_listener_that_is_away_is_a_fault():
    """In the operating system's words."""
    (found,) = health.check_listener(make_settings(port=closed_port()))
    assert found.status == health.FAULT and found.detail.endswith(": Connection refused")
    assert "another node" in found.remedy


def ask_both(settings):
    """Ask as check_health does."""
    found = dict(health.checks(None, vars(settings)))
    return found["alertmanager"]() + found["prometheus"]()


def test_alertmanager_and_prometheus_are_asked_when_the_config_says_where():
    """With what they want as credentials, which no answer shows."""
    assert [item.status for item in ask_both(make_settings())] == [health.INFO] * 2
    answers = {"/api/v2/status": (200, {}), "/api/v1/query": (200, {"status": "success"})}
    with answering(answers) as (server, seen):
        settings = make_settings(
            alertmanager_url=server.url,
            alertmanager_token=SECRET,
            prometheus_url=server.url + "/",
            prometheus_username="a",
            prometheus_password="b",
        )
        assert [item.status for item in ask_both(settings)] == [health.OK] * 2
        assert seen == ["Bearer " + SECRET, "Basic YTpi"]


@pytest.mark.parametrize("answer", [(401, {}), (500, {}), (200, b"<html>")], ids=str)
def test_a_server_that_answers_otherwise_is_a_fault(answer):
    """Whatever it is that listens there."""
    with answering({"/api/v2/status": answer, "/api/v1/query": answer}) as (server, _):
        urls = {"alertmanager_url": server.url, "prometheus_url": server.url}
        settings = make_settings(alertmanager_token=SECRET, prometheus_token=SECRET, **urls)
        for found in ask_both(settings):
            assert found.status == health.FAULT and found.remedy
            assert SECRET not in str(found)
