"""What PoundCake's window does to a storm: 60 alerts at once, of a workflow of one second.

Beside it no limit at all, and StackStorm's own, a policy on the workflow; in turns, so that all
meet the same machine.
"""

import contextlib
import statistics

import requests
import yaml

from tests.bench.rates import bare_rate, poundcake_rate, quiet
from tests.bench.report import print_table, say
from tests.support.alerts import alert, notification
from tests.support.tracking import max_overlap
from tests.support.world import unique

ALERTS = 60
ROUNDS = 3
POLICY_SLOTS = 5
WINDOWS = (5, 10)
NO_LIMIT = "no limit"
TASK = "core.local"
WORKFLOW = """
version: 1.0
tasks:
  fix:
    action: core.local cmd="sleep 1"
"""
COLUMNS = (
    ("%d one-second remediations at once" % ALERTS, "%s", "limit"),
    ("a second", "%.2f", "rate"),
    ("of no limit", "%.2f", "ratio"),
    ("at a time", "%d", "at_a_time"),
)


def bench(world):
    """Print the table."""
    found = {}
    with world.workflow(WORKFLOW) as action:
        for number in range(ROUNDS):
            say("storm %d of %d" % (number + 1, ROUNDS))
            for limit, rate, most in one_round(world, action):
                found.setdefault(limit, []).append((rate, most))
    unlimited = [rate for rate, _ in found[NO_LIMIT]]
    results = []
    for limit, figures in found.items():
        rates = [rate for rate, _ in figures]
        ratio = statistics.median(r / u for r, u in zip(rates, unlimited, strict=True))
        most = max(most for _, most in figures)
        rate = statistics.median(rates)
        results.append({"limit": limit, "rate": rate, "ratio": ratio, "at_a_time": most})
    print_table(COLUMNS, results)


def one_round(world, action):
    """Yield ``(what limits, remediations a second, how many were under way at a time)`` of each."""
    bodies = [{}] * ALERTS
    yield NO_LIMIT, bare_rate(world, action, {}, bodies), most_at_a_time(world)
    quiet(world)
    with world.workflow(WORKFLOW) as limited, policy(world, limited):
        text = "action.concurrency policy, %d, delay" % POLICY_SLOTS
        yield text, bare_rate(world, limited, {}, bodies), most_at_a_time(world)
    for slots in WINDOWS:
        with window(world, slots):
            name = unique("BenchStorm")
            alerts = [alert(alertname=name, instance="h%d:1" % number) for number in range(ALERTS)]
            rate = poundcake_rate(world, action, {}, name, [notification(*alerts)])
            most = most_at_a_time(world)
            if most > slots:
                raise SystemExit("%d at a time, and max_concurrent is %d" % (most, slots))
            yield "PoundCake, max_concurrent %d" % slots, rate, most
            quiet(world)


def most_at_a_time(world):
    """How many of the latest storm's tasks were under way at the same moment.

    Of the tasks: StackStorm's time of a workflow's start is that of its request, delay included.
    """
    wanted = "start_timestamp,end_timestamp"
    params = {"action": TASK, "limit": ALERTS, "include_attributes": wanted}
    return max_overlap(world.api("GET", "/executions", params=params))


@contextlib.contextmanager
def policy(world, action):
    """StackStorm's own limit on an action, which had none, for as long as the block lasts."""
    body = {
        "name": unique("bench_"),
        "pack": "poundcake",
        "resource_ref": action,
        "policy_type": "action.concurrency",
        "parameters": {"threshold": POLICY_SLOTS, "action": "delay"},
        "enabled": True,
    }
    if not world.pack_dir:
        created = world.api("POST", "/policies", json=body)
        try:
            yield
        finally:
            world.api("DELETE", "/policies/" + created["id"])
        return
    # The embedded engine takes policies from packs only, and forgets none: that is one an action.
    file = world.pack_dir / "policies" / (body["name"] + ".yaml")
    file.write_text(yaml.safe_dump(body), encoding="utf-8")
    restart_sensor(world, "policies")
    file.unlink()
    yield


@contextlib.contextmanager
def window(world, slots):
    """PoundCake with this ``max_concurrent`` for as long as the block lasts."""
    path = "/configs/poundcake"
    before = config(world, path)
    world.api("PUT", path, json=dict(before, max_concurrent=slots))
    try:
        restart_sensor(world)
        yield
    finally:
        world.api("PUT", path, json=before)
        restart_sensor(world)


def config(world, path):
    """The pack's config as it can be put back."""
    found = world.api("GET", path, params={"show_secrets": "true"}, ok=False)
    if "Unable to identify resource" in found.get("faultstring", ""):
        return {}  # there is none: every setting has its default
    if "values" not in found or "********" in found["values"].values():
        raise SystemExit("GET %s: cannot be put back; ST2_API_KEY must be an admin's" % path)
    return found["values"]


def restart_sensor(world, *types):
    """Register the pack, after which StackStorm starts the sensor again; wait until it has."""

    def ready():
        try:
            return requests.get(world.listener_url + "/ready", timeout=5).ok
        except requests.ConnectionError:
            return False

    body = {"packs": ["poundcake"], "types": ["sensors", *types]}
    world.api("POST", "/packs/register", json=body)
    world.wait(lambda: not ready(), "the sensor to stop")
    world.wait(ready, "the sensor to be back")
