"""What grows with the number of active alerts: the list, the page, a restart, the sensor's memory.

The alerts are written as rows, each with two failed attempts behind it, and read by a sensor that
starts: thousands of remediations would take an hour. Times are medians; memory is the most that the
sensor's process has had, with all of it done.
"""

import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import requests

from tests.bench.report import print_table, say
from tests.bench.storm import restart_sensor
from tests.support.facts import fact
from tests.support.world import ROOT, unique

sys.path.insert(0, str(ROOT / "actions/lib"))
from poundcake import clock
from poundcake.core import lifecycle
from poundcake.st2 import rows  # noqa: E402

SIZES = (1000, 10000)
ROUNDS = 5
KEPT_SECONDS = 7200  # then StackStorm forgets them
MOST_MEGABYTES = 200
MEASURES = (
    ("list_alerts s", "%.2f", "list"),
    ("status page s", "%.3f", "page"),
    ("restart s", "%.1f", "restart"),
    ("sensor MB", "%.0f", "memory"),
)


def bench(world):
    """Print the table; ends with an error when something grows faster than the alerts do."""
    results, names = [], []
    try:
        for goal in SIZES:
            say("writing %d active alerts" % (goal - len(names)))
            names += fill(world, goal - len(names))
            results.append(measure(world, goal))
    finally:
        each(names, lambda name: world.api("DELETE", "/keys/" + name, ok=False))
        restart_sensor(world)
    print_table((("active alerts", "%d", "alerts"), *MEASURES), results)
    check(*results)


def check(low, high):
    """Print how each measure grew, and end with an error when one grew too much."""
    alerts = high["alerts"] / low["alerts"]
    grown = {title.rsplit(" ", 1)[0]: high[key] / low[key] for title, _, key in MEASURES}
    said = ", ".join("%s %.1f" % item for item in grown.items())
    print("\n%.0f times the alerts cost so many times as much: %s." % (alerts, said))
    faults = ["%s grows faster than the alerts" % name for name, g in grown.items() if g > alerts]
    if high["memory"] >= MOST_MEGABYTES:
        faults.append("the sensor takes %d MB" % high["memory"])
    if faults:
        raise SystemExit("; ".join(faults))


def fill(world, count):
    """Write the rows of ``count`` more active alerts; return their keys."""
    stem = unique("BenchScale")
    found = {}
    for number in range(count):
        row = active_row(stem, number)
        found[rows.key(rows.ALERT, row["fingerprint"])] = rows.dump(row)

    def put(item):
        name, value = item
        body = {"name": name, "value": value, "scope": "system", "ttl": KEPT_SECONDS}
        world.api("PUT", "/keys/" + name, json=body)

    each(found.items(), put)
    return list(found)


def active_row(stem, number):
    """A row as the sensor has it of an alert that fires on after two attempts."""
    fingerprint = "%s-%05d" % (stem, number)
    host = "web-%05d.example.com" % number
    name = "%s%d" % (stem, number % 40)
    begun = time.time() - 7200 + number / 10
    episode = clock.canonical(clock.to_text(begun))
    request_id = unique("request-")
    labels = {
        "alertname": name,
        "severity": ("critical", "warning", "info")[number % 3],
        "instance": host + ":9100",
        "job": "node",
        "cluster": "eu-west-1",
        "namespace": "production",
        "team": "platform",
        "pod": "web-%05d-0" % number,
    }
    described = {
        "alertname": name,
        "severity": labels["severity"],
        "instance": labels["instance"],
        "host": host,
        "labels": labels,
        "annotations": {
            "summary": "The service on %s is down" % host,
            "description": "It has not answered for five minutes, and %s is what is to do." % host,
            "runbook_url": "https://runbooks.example.com/" + name,
        },
        "generator_url": "http://prometheus.example.com/graph?g0.expr=up%%3D%%3D%d" % number,
        "ends_at": "0001-01-01T00:00:00Z",
        "receiver": "poundcake",
        "group_key": '{}:{alertname="%s"}' % name,
        "external_url": "http://alertmanager.example.com",
        "extra": {},
    }
    row = None
    for known in facts(begun, number, request_id, described):
        row = lifecycle.apply(row, fact(fingerprint=fingerprint, episode=episode, **known))
    return row


def facts(begun, number, request_id, described):
    """Yield what became known of such an alert."""
    at = clock.to_text(begun)
    yield dict(kind="notified", at=at, status="firing", request_id=request_id, alert=described)
    for attempt in (1, 2):
        start, end = (clock.to_text(begun + 600 * attempt + more) for more in (0, 7))
        same = {"dispatch_id": unique("dispatch-"), "attempt": attempt, "request_id": request_id}
        yield dict(same, kind="dispatched", at=start, reason="still firing", by="")
        ran = {
            "execution_id": "%024x" % (number * 2 + attempt),
            "status": "failed",
            "rule_ref": "poundcake.service_down",
            "action_ref": "poundcake.service_down",
            "started_at": start,
            "ended_at": end,
            "error": "task check: the service did not come up",
            "ran": True,
        }
        yield dict(same, kind="executed", at=end, execution=ran)
        yield dict(same, kind="settled", at=end, reason="")


def measure(world, goal):
    """Return the figures with so many active alerts."""
    say("measuring with %d active alerts" % goal)
    start = time.perf_counter()
    restart_sensor(world)
    found = {"alerts": goal, "restart": time.perf_counter() - start}
    known = get(world, "/alerts?limit=1").json()["total"]
    if known < goal:
        raise SystemExit("the sensor knows %d alerts of %d" % (known, goal))
    found["list"] = median(lambda: list_alerts(world))
    found["page"] = median(lambda: get(world, "/").elapsed.total_seconds())
    found["memory"] = most_memory(urlsplit(world.listener_url).port) / 1e6
    return found


def get(world, path):
    token = os.environ.get("LISTENER_TOKEN")
    headers = {"Authorization": "Bearer " + token} if token else {}
    answer = requests.get(world.listener_url + path, headers=headers, timeout=300)
    answer.raise_for_status()
    return answer


def list_alerts(world):
    """Run the action; return the seconds that it took."""
    created = world.api("POST", "/executions", json={"action": "poundcake.list_alerts"})
    done = world.finished(created["id"])
    if done["status"] != "succeeded":
        raise SystemExit("list_alerts: %s" % done["result"])
    return clock.elapsed(done["start_timestamp"], done["end_timestamp"])


def median(question):
    return statistics.median(question() for _ in range(ROUNDS))


def each(items, call):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(call, items))


def most_memory(port):
    """The most bytes of memory that the process which listens on a port has had.

    It must run on this machine, as this user or with this one being root.
    """
    # https://www.kernel.org/doc/html/latest/filesystems/proc.html: local address, state, inode
    with open("/proc/net/tcp", encoding="ascii") as table:
        lines = [line.split() for line in list(table)[1:]]
    sockets = {
        "socket:[%s]" % line[9]
        for line in lines
        if line[3] == "0A" and int(line[1].split(":")[1], 16) == port
    }
    for pid in filter(str.isdigit, os.listdir("/proc")):
        folder = "/proc/%s/fd" % pid
        try:
            held = {os.readlink("%s/%s" % (folder, number)) for number in os.listdir(folder)}
        except OSError:
            continue  # it has ended, or is somebody else's
        if held & sockets:
            with open("/proc/%s/status" % pid, encoding="ascii") as status:
                peak = next(line for line in status if line.startswith("VmHWM:"))
            return int(peak.split()[1]) * 1024
    raise SystemExit("the sensor's process is not to be seen from here")
