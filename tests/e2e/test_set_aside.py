"""What cannot be read is set aside end to end, and a person takes it up or drops it."""

import pytest

from tests.support.alerts import alert
from tests.support.world import open_world, unique

QUEUED = {"poundcake.inbox.zzz": "inbox-zzz", "poundcake.outbox.000": "outbox-000"}
ROW = "poundcake.alert.garbage"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with open_world(tmp_path_factory.mktemp("world")) as found:
        yield found


def ready(world):
    """Return the status of GET /ready, and whether nothing is set aside."""
    status, parts = world.ready()
    return status, parts["set_aside"]["ok"]


def test_garbage_in_the_queues_holds_nothing_up(world):
    """It is listed with its key, shows on /ready, and is gone when it is dropped."""
    for key in list(QUEUED) + [ROW]:
        body = {"name": key, "value": "no JSON", "scope": "system"}
        world.api("PUT", "/keys/" + key, json=body)
    name = unique("Garbage")
    with world.rule(name, "core.noop"):
        world.completed(world.accept(alert(alertname=name)))

    def listed():
        found = world.ask("list_set_aside")["set_aside"]
        return len(found) == len(QUEUED) and found

    found = world.wait(listed, "the garbage to be set aside")
    assert {item["key"]: item["id"] for item in found} == QUEUED
    assert {(item["reason"], item["content"]) for item in found} == {("not JSON", "no JSON")}
    world.wait(lambda: ready(world) == (503, False), "/ready to say so")
    assert 'poundcake_set_aside{kind="inbox"} 1.0' in world.metrics()
    answer = world.ask("list_alerts")
    assert answer["unreadable"] == [ROW] and answer["total"]
    status, result = world.run("check_health")
    assert status == "failed" and "poundcake.inbox.zzz: not JSON" in str(result)
    world.api("DELETE", "/keys/" + ROW)
    assert len(world.ask("drop_set_aside", id="all")["dropped"]) == len(QUEUED)
    world.wait(lambda: ready(world) == (200, True), "/ready to be well again")
