"""What a scrape of /metrics costs with few and with many active alerts, and what it costs others.

The alerts fire and are paused, so they are gone through again and again, and none is remediated.

While it is read as fast as it answers, acknowledgements go on: they show whether a scrape keeps
whoever decides and answers from work. Prometheus reads it a few times a minute.
"""

import statistics
import threading
import time

from tests.bench.report import print_table, say
from tests.bench.tracked import acknowledgements, fill
from tests.support.world import unique

SCRAPES = 50
GOALS = (1000, 10000)
COLUMNS = (
    ("active alerts", "%d", "alerts"),
    ("/metrics p50 ms", "%.1f", "p50"),
    ("p99 ms", "%.1f", "p99"),
    ("kB", "%.0f", "size"),
    ("ack p50 ms", "%.1f", "ack"),
    ("while scraped", "%.1f", "scraped"),
    ("sensor MB", "%.0f", "memory"),
)


def bench(world):
    """Print the table."""
    name = unique("BenchScrape")
    world.ask("pause", alertname=name, by="bench", reason="they only have to be there")
    alerts, results = 0, []
    for goal in GOALS:
        fill(world, goal - alerts, name, "firing", first=alerts)
        alerts = goal
        say("scraping with %d active alerts" % alerts)
        results.append(dict(alerts=alerts, **measure(world)))
    if not world.pack_dir:  # a StackStorm that goes on after this
        fill(world, alerts, name)
        world.ask("resume", alertname=name, by="bench")
    print_table(COLUMNS, results)
    few, many = results
    print(
        "\nA scrape (p50) takes %.2f times as long with %d alerts as with %d."
        % (many["p50"] / few["p50"], many["alerts"], few["alerts"])
    )


def measure(world):
    """Return the figures with the alerts that there are."""
    times = []
    for _ in range(SCRAPES):
        start = time.perf_counter()
        text = world.metrics()
        times.append((time.perf_counter() - start) * 1000)
    times.sort()
    memory = text.split("\nprocess_resident_memory_bytes ")[1].split("\n")[0]
    alone = acknowledgements(world)["p50"]
    return {
        "p50": statistics.median(times),
        "p99": times[int(len(times) * 0.99) - 1],
        "size": len(text) / 1000,
        "ack": alone,
        "scraped": _while_scraped(world),
        "memory": float(memory) / 1e6,
    }


def _while_scraped(world):
    done = threading.Event()

    def scrape():
        while not done.is_set():
            world.metrics()

    reader = threading.Thread(target=scrape)
    reader.start()
    try:
        return acknowledgements(world)["p50"]
    finally:
        done.set()
        reader.join()
