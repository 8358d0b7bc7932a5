"""`make screenshots`: pictures of the real status page, for the README.

Runs the embedded engine with this pack, posts alerts to it as Alertmanager does, waits until each
is in the state that the picture shows, and photographs the page in headless Chromium, once in light
and once in dark colours. Writes docs/images/.
"""

import argparse
import base64
import sys
import tempfile
import time
from pathlib import Path

import requests

from tests.demo.servers import ROOT, Engine, ServerError, wait_until
from tests.support.browser import Browser

FOLDER = ROOT / "docs/images"
LARGEST_BYTES = 150_000
WIDTH, HEIGHT = 1100, 710
WAIT_SECONDS = 120
PAUSED = "HighCPUUsage"
# The workflow is the pack's own, with commands that need no systemd.
SERVICE_DOWN = {
    "service": "{{ trigger.service }}",
    "alert": "{{ trigger | to_json_string }}",
    "settle_seconds": 0,
}
DOWN = 'echo "$SERVICE is inactive (dead)"; exit 3'


def rules(folder):
    """Return the rules of the picture: alertname, action, parameters."""
    restarted = f"{folder}/$SERVICE.up"
    check = f'test -e "{restarted}" && echo "$SERVICE is active" || {{ {DOWN}; }}'
    works = dict(SERVICE_DOWN, check_command=check, restart_command=f'touch "{restarted}"')
    fails = dict(SERVICE_DOWN, check_command=DOWN, restart_command="true")
    asks = dict(works, approval=True)
    return [
        ("ServiceDown", "poundcake.service_down", works),
        ("QueueWorkerDown", "poundcake.service_down", fails),
        ("DatabaseDown", "poundcake.service_down", asks),
        ("ReindexNeeded", "core.local", {"cmd": "sleep 600", "timeout": 900}),
    ]


# What arrives, and the state in which the picture shows it.
ALERTS = [
    ("ServiceDown", "web-01", "critical", "nginx", "resolved"),
    ("ServiceDown", "web-02", "critical", "nginx", "remediated"),
    ("ServiceDown", "cache-01", "warning", "redis", "remediated"),
    ("QueueWorkerDown", "jobs-03", "critical", "celery", "failed"),
    ("DatabaseDown", "db-01", "critical", "postgresql", "awaiting_approval"),
    ("ReindexNeeded", "search-01", "warning", "opensearch", "remediating"),
    (PAUSED, "batch-07", "warning", "", "suppressed"),
    ("FanFailure", "rack-12", "warning", "", "unmatched"),
]


def make_rule(engine, alertname, action, parameters):
    """Create and enable a rule for one alertname."""
    rule = {
        "name": f"{alertname.lower()}",
        "pack": "default",
        "enabled": True,
        "trigger": {"type": "poundcake.alert"},
        "criteria": {"trigger.alertname": {"type": "eq", "pattern": alertname}},
        "action": {"ref": action, "parameters": parameters},
    }
    engine.request("POST", "/rules", json=rule).raise_for_status()


def notification(alertname, host, severity, service, status="firing"):
    """Return a version 4 body with one alert."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    labels = {"alertname": alertname, "instance": f"{host}:9100", "severity": severity}
    if service:
        labels["service"] = service
    entry = {
        "status": status,
        "labels": labels,
        "annotations": {"summary": f"{alertname} on {host}"},
        "startsAt": now,
        "endsAt": now if status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example.com/graph",
    }
    return {
        "version": "4",
        "status": status,
        "receiver": "poundcake",
        "groupKey": f'{{}}:{{alertname="{alertname}"}}',
        "externalURL": "http://alertmanager.example.com",
        "alerts": [entry],
    }


def post(engine, *about):
    """Post one alert to the listener."""
    requests.post(engine.webhook_url, json=notification(*about), timeout=30).raise_for_status()


def wait_for(engine, host, state):
    """Wait until the alert of a host has a state."""
    url = f"{engine.listener_url}/alerts"
    states = []

    def arrived():
        answer = requests.get(url, params={"instance": f"{host}:9100"}, timeout=30)
        states[:] = [alert["status"] for alert in answer.json()["alerts"]]
        return state in states

    try:
        wait_until(arrived, f"the alert of {host} to be {state}", seconds=WAIT_SECONDS, every=0.2)
    except ServerError as error:
        raise ServerError(f"{error}; it was {', '.join(states)}") from None


def arrange(engine, folder):
    """Bring about everything that the picture shows."""
    for rule in rules(folder):
        make_rule(engine, *rule)
    engine.ask("pause", alertname=PAUSED, reason="load test until 18:00")
    # The paused one comes after the others have settled, when the sensor has seen the pause.
    for batch in (
        [item for item in ALERTS if item[0] != PAUSED],
        [item for item in ALERTS if item[0] == PAUSED],
    ):
        for *about, _ in batch:
            post(engine, *about)
        for _, host, _, _, state in batch:
            wait_for(engine, host, "remediated" if state == "resolved" else state)
    for *about, state in ALERTS:
        if state == "resolved":
            post(engine, *about, "resolved")
            wait_for(engine, about[1], "resolved")


def photograph(page, path):
    """Write what the window shows as a PNG."""
    picture = base64.b64decode(page.send("Page.captureScreenshot", format="png")["data"])
    path.write_bytes(picture)
    if len(picture) > LARGEST_BYTES:
        raise RuntimeError(
            f"{path.name}: {len(picture)} bytes; expected at most {LARGEST_BYTES}. "
            "Lower HEIGHT in tests/demo/screenshots.py"
        )
    print(f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}: {len(picture)} bytes")


def take(folder):
    """Run the engine, arrange the alerts and write the pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, Browser(scratch) as browser:
        with Engine(Path(scratch) / "engine", rate_limit=[]) as engine:
            arrange(engine, scratch)
            for scheme in ("light", "dark"):
                url = f"{engine.listener_url}/?state=all"
                page = browser.open(url, width=WIDTH, height=HEIGHT, dark=scheme == "dark")
                photograph(page, folder / f"status-page-{scheme}.png")
                opened = "document.querySelector('.alerts details').open = true"
                page.evaluate(opened)
                page.evaluate("document.querySelector('.alerts').scrollIntoView()")
                photograph(page, folder / f"alert-{scheme}.png")


def main(arguments=None):
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo.screenshots", description=__doc__)
    parser.add_argument("--dir", type=Path, default=FOLDER, help="where the pictures go")
    try:
        take(parser.parse_args(arguments).dir)
    except (ServerError, RuntimeError) as error:
        print(f"The pictures could not be taken: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
