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
    """It is as soon as the first probe of the sensor has got through."""

    def healthy():
        _, answer, found = checked(world)
        # This StackStorm may lack a coordination backend; that does not matter here.
        at_fault = [name for name in found if found[name]["status"] == "fault"]
        return found if set(at_fault) <= {"coordination"} else None

    found = world.wait(healthy, "everything to be healthy")
    assert found["listener"]["detail"].startswith("ready at http://")
    assert (
        "track" in found["rules"]["detail"]
        and "poundcake_track_retry" in found["policies"]["detail"]
    )


def test_a_fault_fails_it_and_its_remedy_helps(world):
    """A disabled plumbing rule is enabled by the command in the answer."""
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
    """They answer on the APIs that PoundCake uses."""
    with servers.Alertmanager(tmp_path / "am", []) as am:
        with servers.Prometheus(tmp_path / "prometheus", []) as prometheus:
            urls = {"alertmanager_url": am.url, "prometheus_url": prometheus.url}
            assert [item.status for item in ask_both(urls)] == [health.OK] * 2
    # The same servers after they have stopped.
    assert [item.status for item in ask_both(urls)] == [health.FAULT] * 2


# --- fake servers ---------------------------------------------------------------------------------


@contextlib.contextmanager
def answering(answers):
    """A server and the headers it saw; ``answers`` is {path: (status, JSON value)}."""

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


def test_a_ready_listener_is_ok():
    """The check connects to loopback when it listens on every address."""
    with listener() as (server, _):
        for host in ("127.0.0.1", "0.0.0.0"):
            (found,) = health.check_listener(make_settings(host=host, port=port_of(server)))
            assert found == health.Finding("listener", health.OK, "ready at " + server.url)


def test_a_listener_that_is_not_ready_gives_each_reason():
    """The reasons are those of /ready."""
    with listener(False, tracking="rows wait", api="connection refused") as (server, _):
        found = health.check_listener(make_settings(port=port_of(server)))
    assert [item.detail for item in found] == [
        "not ready, api: connection refused",
        "not ready, tracking: rows wait",
    ]
    assert {item.status for item in found} == {health.FAULT}


def test_a_listener_that_is_away_is_a_fault():
    """The detail is the error of the operating system."""
    (found,) = health.check_listener(make_settings(port=closed_port()))
    assert found.status == health.FAULT and found.detail.endswith(": Connection refused")
    assert "another node" in found.remedy


def ask_both(config):
    """Check both servers as check_health does."""
    checks = dict(health.checks(None, config))
    return checks["alertmanager"]() + checks["prometheus"]()


def test_alertmanager_and_prometheus_are_checked_when_their_urls_are_set():
    """The check sends their credentials, which no answer shows."""
    assert [item.status for item in ask_both({})] == [health.INFO] * 2
    answers = {"/api/v2/status": (200, {}), "/api/v1/query": (200, {"status": "success"})}
    with answering(answers) as (server, seen):
        config = {
            "alertmanager_url": server.url,
            "alertmanager_token": SECRET,
            "prometheus_url": server.url + "/",
            "prometheus_username": "a",
            "prometheus_password": "b",
        }
        assert [item.status for item in ask_both(config)] == [health.OK] * 2
        assert seen == ["Bearer " + SECRET, "Basic YTpi"]


@pytest.mark.parametrize("answer", [(401, {}), (500, {}), (200, b"<html>")], ids=str)
def test_a_server_with_another_answer_is_a_fault(answer):
    """It may be any kind of server."""
    with answering({"/api/v2/status": answer, "/api/v1/query": answer}) as (server, _):
        urls = {"alertmanager_url": server.url, "prometheus_url": server.url}
        config = dict(urls, alertmanager_token=SECRET, prometheus_token=SECRET)
        for found in ask_both(config):
            assert found.status == health.FAULT and found.remedy
            assert SECRET not in str(found)
