"""What one notification of many alerts costs, and how long others wait for an answer meanwhile."""

import re
import threading
import time

import requests

from tests.bench.report import print_table, say
from tests.support.alerts import alert
from tests.support.world import unique

SIZES = (500, 1000, 2000, 5000)
MOST_SECONDS = 6
MOST_HEALTH_SECONDS = 0.25
DEADLINE_SECONDS = 300


def bench(world):
    """Print the table; ends with an error when the largest takes too long."""
    results = [measure(world, size) for size in SIZES]
    columns = (
        ("alerts", "%d", "alerts"),
        ("acknowledged s", "%.2f", "acknowledged"),
        ("decided s", "%.2f", "decided"),
        ("sensor's CPU s", "%.2f", "cpu"),
        ("its ms an alert", "%.2f", "each"),
        ("longest /health ms", "%.0f", "health"),
    )
    print_table(columns, results)
    last = results[-1]
    if last["decided"] > MOST_SECONDS or last["health"] > 1000 * MOST_HEALTH_SECONDS:
        raise SystemExit(
            f"{SIZES[-1]} alerts are to be decided within {MOST_SECONDS} s, and /health answered "
            f"within {1000 * MOST_HEALTH_SECONDS:.0f} ms"
        )


def measure(world, size):
    """Return the figures of one notification; its alerts resolve afterwards."""
    say(f"one notification of {size} alerts")
    name = unique("BenchLarge")
    alerts = [
        alert(number, alertname=name, instance=f"{name}-{number}:9100") for number in range(size)
    ]
    before, used = decisions(world), cpu(world)
    slowest, stop = [0.0], threading.Event()
    asking = threading.Thread(target=ask, args=(world.listener_url, slowest, stop))
    asking.start()
    began = time.perf_counter()
    world.accept(*alerts)
    acknowledged = time.perf_counter() - began
    world.wait(lambda: decisions(world) >= before + size, "the decisions", DEADLINE_SECONDS)
    decided, used = time.perf_counter() - began, cpu(world) - used
    stop.set()
    asking.join()
    resolved = [dict(item, status="resolved") for item in alerts]
    world.completed(world.accept(*resolved), DEADLINE_SECONDS)
    return {
        "alerts": size,
        "acknowledged": acknowledged,
        "decided": decided,
        "cpu": used,
        "each": 1000 * used / size,
        "health": 1000 * slowest[0],
    }


def decisions(world):
    """Return on how many alerts the sensor has decided."""
    found = re.findall(r"^poundcake_decisions_total.* (\S+)$", world.metrics(), re.M)
    return sum(map(float, found))


def cpu(world):
    """Return how many seconds the sensor's process has computed."""
    return float(re.search(r"^process_cpu_seconds_total (\S+)$", world.metrics(), re.M).group(1))


def ask(url, slowest, stop):
    """Ask for the health again and again; keep how long the slowest answer took."""
    with requests.Session() as session:
        while not stop.wait(0.02):
            began = time.perf_counter()
            session.get(url + "/health", timeout=60).raise_for_status()
            slowest[0] = max(slowest[0], time.perf_counter() - began)
