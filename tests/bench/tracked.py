"""What PoundCake costs, beside StackStorm alone, with few and with many alerts tracked.

The remediation is the pack's own service_down, whole: check, restart, check again, in the local
shell. It is started by PoundCake, and bare by a rule on core.st2.webhook, in turns, so that both
meet the same machine.
"""

import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from tests.bench.rates import CLIENTS, accepted, bare_rate, poundcake_rate, quiet
from tests.bench.report import print_table, say
from tests.support.alerts import alert, notification
from tests.support.world import unique

ACKNOWLEDGEMENTS = 300
# A real StackStorm makes one or two a second, the embedded engine twenty.
REMEDIATIONS = 20 if os.environ.get("ST2_API_URL") else 80
ROUNDS = 3
ALERTS_IN_FILLING = 50
ACTION = "poundcake.service_down"
FLAG = '"/tmp/poundcake-bench-$SERVICE"'
COMMANDS = {
    "check_command": "rm " + FLAG,  # down at first; up, and tidied away, after the restart
    "restart_command": "touch " + FLAG,
    "settle_seconds": 0,
}
COLUMNS = (
    ("alerts tracked", "%d", "tracked"),
    ("ack p50 ms", "%.1f", "p50"),
    ("ack p99 ms", "%.1f", "p99"),
    ("webhooks/s", "%.0f", "webhooks"),
    ("bare/s", "%.2f", "bare"),
    ("PoundCake/s", "%.2f", "ours"),
    ("ratio", "%.2f", "ratio"),
)


def bench(world):
    """Print the table."""
    tracked = 0
    results = []
    for goal in (100, 10000):
        fill(world, goal - tracked)
        tracked = goal
        results.append(measure(world, tracked))
    print_table(COLUMNS, results)
    low, high = results
    print(
        "\nAn acknowledgement (p50) costs %.2f times as much with %d alerts tracked as with %d."
        % (high["p50"] / low["p50"], high["tracked"], low["tracked"])
    )


def fill(world, count, name=None, status="resolved", first=0):
    """Have ``count`` more alerts tracked; they resolve at once, so that nothing is remediated.

    :param name: their alertname, a new one unless given.
    :param status: "firing" for some that do not; whoever asks for it has paused the alertname.
    :param first: the number of the first; the same number is the same alert.
    """
    name = name or unique("BenchTracked")
    say("tracking %d more alerts" % count)
    bodies = []
    for start in range(first, first + count, ALERTS_IN_FILLING):
        numbers = range(start, min(first + count, start + ALERTS_IN_FILLING))
        alerts = [
            alert(alertname=name, status=status, instance="h%d:1" % number) for number in numbers
        ]
        bodies.append(notification(*alerts, status=status))
    with ThreadPoolExecutor(2) as pool:
        request_ids = list(pool.map(lambda body: accepted(world, body), bodies))
    for request_id in request_ids:
        world.completed(request_id, timeout=3600)
    quiet(world)


def measure(world, tracked):
    """Return the figures with so many alerts tracked."""
    say("measuring with %d alerts tracked" % tracked)
    found = dict(tracked=tracked, **acknowledgements(world))
    quiet(world)
    bare, ours = [], []
    for _ in range(ROUNDS):
        bodies = [{"service": unique("bare")} for _ in range(REMEDIATIONS)]
        parameters = dict(COMMANDS, service="{{ trigger.body.service }}")
        bare.append(bare_rate(world, ACTION, parameters, bodies))
        ours.append(tracked_rate(world))
        quiet(world)
    found.update(bare=statistics.median(bare), ours=statistics.median(ours))
    found["ratio"] = statistics.median(o / b for o, b in zip(ours, bare, strict=True))
    return found


def tracked_rate(world):
    """Remediations a second through PoundCake, one notification an alert."""
    name = unique("BenchAlert")
    names = [unique("ours") for _ in range(REMEDIATIONS)]
    bodies = [notification(alert(alertname=name, instance=item, service=item)) for item in names]
    parameters = dict(COMMANDS, service="{{ trigger.service }}")
    return poundcake_rate(world, ACTION, parameters, name, bodies)


def acknowledgements(world):
    """Repeat one alert, as Alertmanager does: milliseconds until the 202, and how many a second."""
    body = notification(alert(alertname=unique("BenchAck"), status="resolved"), status="resolved")
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
