"""check_health against a running StackStorm, and real servers beside it."""

import os

import pytest
from poundcake import health
from poundcake.settings import Settings

from tests.demo import servers

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
    """With their versions, and through Prometheus' own query API."""
    with servers.Alertmanager(tmp_path / "am", []) as am:
        found = health.check_alertmanager(Settings(alertmanager_url=am.url))
        assert found.status == health.OK, found
        assert found.detail[len("version ")].isdigit(), found
    with servers.Prometheus(tmp_path / "prometheus", []) as prometheus:
        found = health.check_prometheus({"prometheus_url": prometheus.url})
        assert found.status == health.OK, found
    # And the same servers, when they are gone.
    assert health.check_alertmanager(Settings(alertmanager_url=am.url)).status == health.FAULT
    assert health.check_prometheus({"prometheus_url": prometheus.url}).status == health.FAULT
