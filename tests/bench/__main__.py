"""``make bench``: how fast, for the engine at hand, as ratios within one run.

The remediation is the pack's own service_down, whole: check, restart, check again, in the local
shell. It is started by PoundCake, and bare by a rule on core.st2.webhook, in turns, so that both
meet the same machine.
"""

import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.world import alert, notification, open_world, unique

ACKNOWLEDGEMENTS = 300
# A real StackStorm makes one or two a second, the embedded engine twenty.
REMEDIATIONS = 20 if os.environ.get("ST2_API_URL") else 80
ROUNDS = 3
CLIENTS = 8
LONGEST_SECONDS = 600
ALERTS_IN_FILLING = 50
ACTION = "poundcake.service_down"
FLAG = '"/tmp/poundcake-bench-$SERVICE"'
COMMANDS = {
    "check_command": "rm " + FLAG,  # down at first; up, and tidied away, after the restart
    "restart_command": "touch " + FLAG,
    "settle_seconds": 0,
}


def main():
    with tempfile.TemporaryDirectory(prefix="poundcake-bench-") as folder:
        # On the embedded engine the window is as wide as the burst: it is there to slow down, and
        # this measures what tracking and admission cost.
        with open_world(Path(folder), max_concurrent=REMEDIATIONS) as world:
            return bench(world)


def bench(world):
    """Print the table; return 0."""
    tracked = 0
    results = []
    for goal in (100, 10000):
        fill(world, goal - tracked)
        tracked = goal
        results.append(measure(world, tracked))
    print_table(results)
    return 0


def fill(world, count):
    """Have ``count`` more alerts tracked; they resolve at once, so that nothing is remediated."""
    name = unique("BenchTracked")
    say("tracking %d more alerts" % count)
    bodies = []
    for start in range(0, count, ALERTS_IN_FILLING):
        numbers = range(start, min(count, start + ALERTS_IN_FILLING))
        alerts = [alert(name, "resolved", instance="h%d:1" % number) for number in numbers]
        bodies.append(notification(*alerts, status="resolved"))
    with ThreadPoolExecutor(2) as pool:
        request_ids = list(pool.map(lambda body: accepted(world, body), bodies))
    for request_id in request_ids:
        world.completed(request_id, timeout=3600)
    quiet(world)


def accepted(world, body):
    """Post until it is taken: a full backlog answers 503, as it does to Alertmanager."""
    while True:
        status, answer = world.post(body)
        if status == 202:
            return answer["request_id"]
        time.sleep(0.5)


def quiet(world):
    """Wait until nothing is left to do: what is measured next must not meet earlier work.

    The queues are empty, and no more reports of state changes go out.
    """
    seen = [-1]

    def empty():
        keys = ("/keys?limit=1&prefix=poundcake.inbox.", "/keys?limit=1&prefix=poundcake.outbox.")
        if any(world.api("GET", path) for path in keys):
            return False
        seen.append(world.count("/triggerinstances", {"limit": 1}))
        time.sleep(2)
        return seen[-1] == seen[-2]

    world.wait(empty, "the queues to be empty", timeout=3600)


def measure(world, tracked):
    """Return the figures with so many alerts tracked."""
    say("measuring with %d alerts tracked" % tracked)
    found = dict(tracked=tracked, **acknowledgements(world))
    quiet(world)
    bare, ours = [], []
    for _ in range(ROUNDS):
        bare.append(bare_rate(world))
        ours.append(poundcake_rate(world))
        quiet(world)
    found.update(bare=statistics.median(bare), ours=statistics.median(ours))
    found["ratio"] = statistics.median(o / b for o, b in zip(ours, bare, strict=True))
    return found


def acknowledgements(world):
    """Repeat one alert, as Alertmanager does: milliseconds until the 202, and how many a second."""
    body = notification(alert(unique("BenchAck"), "resolved"), status="resolved")
    world.completed(accepted(world, body))
    times = []
    for _ in range(ACKNOWLEDGEMENTS):
        start = time.perf_counter()
        accepted(world, body)
        times.append((time.perf_counter() - start) * 1000)
    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda _: accepted(world, body), range(ACKNOWLEDGEMENTS)))
    times.sort()
    return {
        "p50": times[len(times) // 2],
        "p99": times[int(len(times) * 0.99) - 1],
        "webhooks": ACKNOWLEDGEMENTS / (time.perf_counter() - start),
    }


def bare_rate(world):
    """Remediations a second when a rule on StackStorm's webhook starts the workflow."""
    url = unique("bench-")
    rule = {
        "name": url,
        "pack": "default",
        "enabled": True,
        "trigger": {"type": "core.st2.webhook", "parameters": {"url": url}},
        "criteria": {},
        "action": {
            "ref": ACTION,
            "parameters": dict(COMMANDS, service="{{ trigger.body.service }}"),
        },
    }
    created = world.api("POST", "/rules", json=rule)
    try:
        path = "/webhooks/" + url
        world.wait(lambda: url in str(world.api("GET", "/webhooks")), "the webhook")
        before = ended(world)
        start = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            bodies = [{"service": unique("bare")} for _ in range(REMEDIATIONS)]
            list(pool.map(lambda body: world.api("POST", path, json=body), bodies))
        return rate(world, before, start)
    finally:
        world.api("DELETE", "/rules/" + created["id"])


def poundcake_rate(world):
    """Remediations a second when PoundCake starts the workflow, one notification an alert."""
    name = unique("BenchAlert")
    names = [unique("ours") for _ in range(REMEDIATIONS)]
    bodies = [notification(alert(name, instance=item, service=item)) for item in names]
    with world.rule(name, ACTION, dict(COMMANDS, service="{{ trigger.service }}")):
        before = ended(world)
        start = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            request_ids = list(pool.map(lambda body: accepted(world, body), bodies))
        found = rate(world, before, start)
        for request_id in request_ids:
            world.completed(request_id, timeout=600)
        return found


def rate(world, before, start):
    wanted = before + REMEDIATIONS
    deadline = start + LONGEST_SECONDS
    while ended(world) < wanted:
        if time.perf_counter() > deadline or ended(world, "failed"):
            raise SystemExit("%d of %d succeeded" % (ended(world) - before, REMEDIATIONS))
        time.sleep(0.05)
    return REMEDIATIONS / (time.perf_counter() - start)


def ended(world, status="succeeded"):
    """How many executions of the workflow have ended so; asked so that it costs little."""
    params = {"action": ACTION, "status": status, "include_attributes": "id", "limit": 1}
    return world.count("/executions", params)


def print_table(results):
    columns = (
        ("alerts tracked", "%d", "tracked"),
        ("ack p50 ms", "%.1f", "p50"),
        ("ack p99 ms", "%.1f", "p99"),
        ("webhooks/s", "%.0f", "webhooks"),
        ("bare/s", "%.2f", "bare"),
        ("PoundCake/s", "%.2f", "ours"),
        ("ratio", "%.2f", "ratio"),
    )
    widths = [max(len(title), 8) for title, _, _ in columns]
    line = "  ".join(title.rjust(w) for (title, _, _), w in zip(columns, widths, strict=True))
    print(line)
    print("-" * len(line))
    for result in results:
        cells = [form % result[key] for _, form, key in columns]
        print("  ".join(cell.rjust(w) for cell, w in zip(cells, widths, strict=True)))
    low, high = results
    print(
        "\nAn acknowledgement (p50) costs %.2f times as much with %d alerts tracked as with %d."
        % (high["p50"] / low["p50"], high["tracked"], low["tracked"])
    )


def say(text):
    print(text + " ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
