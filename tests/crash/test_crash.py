"""The sensor is killed (SIGKILL) at every step of an alert's way, and at 200 moments at random.

Whatever was killed: what was acknowledged gets a final state, no episode is remediated twice, no
more run at a time than max_concurrent says, and the rows are those of a run that nobody disturbed.
"""

import dataclasses
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.crash import checks
from tests.crash.proxy import Kill
from tests.crash.stream import Stream
from tests.crash.world import open_crash_world
from tests.support.alerts import NO_CAPS, alert, notification

pytestmark = pytest.mark.soak

NAME = "CrashTest"
ALERTS = 6
WIDE, NARROW = 10, 2
# No limit of admission's but the window may come between.
CONFIG = {
    "serialize_by": "none",
    "rate_limit": [],
    "breaker_failures": 0,
    "cooldown_seconds": 604800,
    **NO_CAPS,
}
# A scenario waits most of the time, in the longest case until a dispatch counts as lost.
AT_ONCE = 4
KILLS = 200
# It takes 0.3 s to start, so it is killed there as well.
MEAN_LIFE_SECONDS = 0.5

INBOX_WRITE = "PUT /keys/poundcake.inbox."
OUTBOX_WRITE = "PUT /keys/poundcake.outbox."
INBOX_REMOVAL = "DELETE /keys/poundcake.inbox."
ALERT_REF = "poundcake.alert"
ALERT = "dispatch " + ALERT_REF
LIFECYCLE = "dispatch poundcake.lifecycle"
TRACKING = "dispatch poundcake.tracking"


@dataclasses.dataclass(frozen=True)
class Scenario:
    """Where the sensor is killed, how wide the window is, and which run has the same rows."""

    kill: Kill = None
    window: int = WIDE
    like: str = "undisturbed"
    times: int = 1  # how often the first notification is posted


UNDISTURBED = {
    "undisturbed": Scenario(),
    "undisturbed, narrow": Scenario(window=NARROW),
    "undisturbed, repeated": Scenario(times=2),
}
KILLED = {
    "before the inbox is written": Scenario(Kill(INBOX_WRITE)),
    # It was not acknowledged, so it is posted again.
    "after the inbox is written": Scenario(
        Kill(INBOX_WRITE, answered=True), like="undisturbed, repeated"
    ),
    "before the outbox is written": Scenario(Kill(OUTBOX_WRITE)),
    "after the outbox is written": Scenario(Kill(OUTBOX_WRITE, answered=True)),
    "before the outbox is written again": Scenario(Kill(OUTBOX_WRITE, (2, 3))),
    "before the first dispatch": Scenario(Kill(ALERT)),
    "after the first dispatch": Scenario(Kill(ALERT, answered=True)),
    "before a dispatch inside a batch": Scenario(Kill(ALERT, (3,))),
    "after a dispatch inside a batch": Scenario(Kill(ALERT, (3,), answered=True)),
    "before the lifecycle is told": Scenario(Kill(LIFECYCLE)),
    "while the lifecycle is told": Scenario(Kill(LIFECYCLE, (5, 9), answered=True)),
    "before the resolve is told": Scenario(Kill("dispatch poundcake.alert_resolved")),
    "before tracking": Scenario(Kill(TRACKING)),
    "after tracking": Scenario(Kill(TRACKING, answered=True)),
    "looking for trigger instances": Scenario(Kill("GET /triggerinstances?trigger=" + ALERT_REF)),
    "looking for executions": Scenario(Kill("GET /executions", (1, 2))),
    "before the inbox is cleared": Scenario(Kill(INBOX_REMOVAL)),
    "after the inbox is cleared": Scenario(Kill(INBOX_REMOVAL, answered=True)),
    "before a release": Scenario(Kill(ALERT, (3,)), NARROW, "undisturbed, narrow"),
    "after a release": Scenario(Kill(ALERT, (3,), answered=True), NARROW, "undisturbed, narrow"),
    "before two releases": Scenario(Kill(ALERT, (4, 5)), NARROW, "undisturbed, narrow"),
}


def run(folder, scenario):
    """Fire some alerts, then resolve two; return the rows and the steps at which it was killed."""
    hosts = ["host-%d:9100" % number for number in range(ALERTS)]
    config = dict(CONFIG, max_concurrent=scenario.window)
    with open_crash_world(folder, scenario.kill, **config) as crash:
        world = crash.world
        with world.rule(NAME, "core.local", {"cmd": "sleep 0.3"}):
            firing = notification(*[alert(alertname=NAME, instance=host) for host in hosts])
            resolved = notification(
                *[alert(alertname=NAME, status="resolved", instance=host) for host in hosts[:2]]
            )
            acknowledged = [checks.post(world, firing) for _ in range(scenario.times)]
            checks.check_invariants(world, acknowledged, scenario.window)
            acknowledged.append(checks.post(world, resolved))
            found = checks.check_invariants(world, acknowledged, scenario.window)
            world.wait(lambda: told_resolved(world) == set(hosts[:2]), "both resolves to be told")
        killed_at = crash.proxy.killed_at
        assert len(found["alert"]) == len(found["execution"]) == ALERTS
        assert crash.sensor.deaths == [-signal.SIGKILL] * len(killed_at)
        return checks.comparable(found), killed_at


def told_resolved(world):
    """The hosts whose alerts poundcake.alert_resolved has told of."""
    told = checks.listing(world, "/triggerinstances", trigger="poundcake.alert_resolved")
    return {instance["payload"]["instance"] for instance in told}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """``{name: future}`` of every scenario, a few of them at a time."""
    scenarios = dict(UNDISTURBED, **KILLED)
    pool = ThreadPoolExecutor(AT_ONCE)
    yield {
        name: pool.submit(run, tmp_path_factory.mktemp("crash"), scenario)
        for name, scenario in scenarios.items()
    }
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", KILLED)
def test_a_kill_at_any_step_changes_nothing(runs, name):
    """Killed at this step and started again, the sensor comes to the rows of an undisturbed run."""
    found, killed_at = runs[name].result()
    kill = KILLED[name].kill
    assert len(killed_at) == len(kill.numbers), "the step was never reached"
    expected, _ = runs[KILLED[name].like].result()
    assert found == expected


def test_kills_at_random_moments_under_load_change_nothing(tmp_path):
    """Killed 200 times while notifications stream in, the sensor loses nothing and doubles none."""
    seed = int(os.environ.get("CRASH_SEED") or random.randrange(10**6))
    print("CRASH_SEED=%d" % seed)
    dice = random.Random(seed)
    with open_crash_world(tmp_path, max_concurrent=WIDE, **CONFIG) as crash:
        stream = Stream(crash.world, NAME, random.Random(seed), hosts=400)
        rule = crash.world.rule(NAME, "core.local", {"cmd": "sleep 0.2"})
        with rule, ThreadPoolExecutor(1) as pool:
            posting = pool.submit(stream.run)
            try:
                for _ in range(KILLS):
                    time.sleep(0.1 + min(3.0, dice.expovariate(1 / MEAN_LIFE_SECONDS)))
                    crash.sensor.kill()
            finally:
                stream.stop()
            posting.result()
            found = checks.check_invariants(crash.world, stream.acknowledged, WIDE)
        assert crash.sensor.deaths == [-signal.SIGKILL] * KILLS
    came_to = {row["instance"]: (row["state"], checks.attempts(row)) for row in found["alert"]}
    assert came_to == stream.expected()
