"""`make demo`: a service dies, and PoundCake restarts it; all of it for real, on 127.0.0.1.

Runs Prometheus, Alertmanager, the embedded engine with this pack, and a service to kill. Keeps its
files in .demo/, and exits 0 only if the alert went received, remediating, remediated, resolved.
"""

import contextlib
import fcntl
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime

import requests

from tests.demo.servers import (
    ROOT,
    Alertmanager,
    Engine,
    Prometheus,
    ServerError,
    free_port,
    target,
    webhook,
)
from tests.demo.timeline import Timeline
from tests.support.world import World

FOLDER = ROOT / ".demo"
SERVICE = "shop"
RULE = "default.demo_service_down"
WORKFLOW = "poundcake.service_down"
EXPECTED = ["received", "remediating", "remediated", "resolved"]
# From the kill on; a run takes some 15 seconds.
TIMEOUT_SECONDS = 80
ROWS_SECONDS = 10
POLL_SECONDS = 0.1
LOG_LINES = 15


class Service:
    """The service that is killed, under servicectl, which stands for systemctl here."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.log_path = folder / f"{SERVICE}.log"
        folder.mkdir(parents=True)
        script = ROOT / "tests/demo/service.py"
        command = [sys.executable, str(script), "--name", SERVICE, "--port", str(self.port)]
        (folder / f"{SERVICE}.unit").write_text(shlex.join(command) + "\n")

    def __enter__(self):
        self.control("start")
        return self

    def __exit__(self, *_):
        self.control("stop")

    def control(self, command):
        """servicectl start, stop, kill. Raises CalledProcessError."""
        script = str(ROOT / "tests/demo/servicectl")
        subprocess.run([script, str(self.folder), command, SERVICE], check=True)

    def shell(self, command):
        """A command for the workflow, which puts the name of the service into $SERVICE."""
        script = str(ROOT / "tests/demo/servicectl")
        return f'{shlex.join([script, str(self.folder), command])} "$SERVICE"'

    def answers(self):
        """Whether it serves."""
        try:
            return requests.get(f"http://{self.address}/metrics", timeout=1).ok
        except requests.RequestException:
            return False


class Demo:
    """The parts while they run, and what is asked of them."""

    def __init__(self, service, engine, alertmanager, prometheus):
        self.service = service
        self.engine = engine
        self.alertmanager = alertmanager
        self.prometheus = prometheus
        self.changes = []  # payloads of poundcake.lifecycle about our alert, oldest first
        self._timeline = None
        self._down_seen = False

    def make_rule(self):
        """Make and enable a rule, with the `st2` command."""
        file = FOLDER / "rule.json"
        file.write_text(json.dumps(demo_rule(self.service), indent=2) + "\n")
        shown = os.path.relpath(file, ROOT)
        for arguments in (["rule", "create", str(file)], ["rule", "enable", RULE]):
            self.engine.st2(*arguments)
            say("  $ st2 " + shlex.join(arguments).replace(str(file), shown))

    def run(self):
        """Kill the service and print what follows, until the alert is resolved or time is up."""
        self._timeline = Timeline(time.time(), say)
        self.service.control("kill")
        self._timeline.add("killed", "service", f"{SERVICE} is killed (kill -9)", time.time())
        deadline = time.monotonic() + TIMEOUT_SECONDS
        try:
            while time.monotonic() < deadline and not self._over():
                # One that does not answer now is asked again.
                with contextlib.suppress(requests.RequestException):
                    self._look()
                self._timeline.print_due()
                time.sleep(POLL_SECONDS)
        finally:
            self._timeline.print_due(everything=True)

    def _over(self):
        return self.changes and self.changes[-1]["to"] in ("resolved", "failed", "unmatched")

    def _look(self):
        self._look_at_prometheus()
        self._look_at_poundcake()
        self._look_at_workflow()
        if "back" not in self._timeline.seen and self.service.answers():
            self._timeline.add("back", "service", f"{SERVICE} answers again")

    def _look_at_prometheus(self):
        up = self.prometheus.value(f'up{{service="{SERVICE}"}}')
        if up == 0:
            self._down_seen = True
            self._timeline.add("down", "Prometheus", f"sees {SERVICE} down (up == 0)")
            if self.prometheus.alerts():
                self._timeline.add("fires", "Prometheus", "fires the alert ServiceDown")
        elif up == 1 and self._down_seen:
            self._timeline.add("up", "Prometheus", f"sees {SERVICE} up")

    def _look_at_poundcake(self):
        found = self.engine.get("/triggerinstances", trigger="poundcake.lifecycle", limit=100)
        payloads = [instance["payload"] for instance in found]
        ours = [one for one in payloads if one["alertname"] == "ServiceDown"]
        order = {state: rank for rank, state in enumerate(EXPECTED)}
        self.changes = sorted(ours, key=lambda one: (one["at"], order.get(one["to"], 2)))
        for change in self.changes:
            self._look_at_post(change)
            text = f"alert is {change['to']}"
            # The reason of a dispatch is its number, which says little.
            if change["reason"] and change["to"] != "remediating":
                text += f": {change['reason']}"
            self._timeline.add(("state", change["to"]), "PoundCake", text, seconds(change["at"]))

    def _look_at_post(self, change):
        # Nobody else posts here, so what PoundCake received is when Alertmanager posted it.
        what = {"received": "alert", "resolved": "resolve"}.get(change["to"])
        if what:
            text = f"posts the {what} to PoundCake"
            self._timeline.add(f"posts {what}", "Alertmanager", text, seconds(change["at"]))

    def _look_at_workflow(self):
        found = self.engine.get("/executions", action=WORKFLOW, limit=1)
        if not found:
            return
        workflow = found[0]
        started = seconds(workflow["start_timestamp"])
        self._timeline.add("workflow", "StackStorm", f"workflow {WORKFLOW} runs", started)
        for task in self.engine.get("/executions", parent=workflow["id"], limit=10):
            name = task["context"].get("orquesta", {}).get("task_name", "")
            if name in TASKS and task.get("end_timestamp"):
                good = task["status"] == "succeeded"
                self._timeline.add(
                    f"task {name}",
                    "StackStorm",
                    f"task {name}: {TASKS[name][0 if good else 1]}",
                    seconds(task["end_timestamp"]),
                )

    def missing(self):
        """What did not happen: sentences; none when the alert went as expected."""
        if not self.changes:
            return ["PoundCake has not reported any state of the alert ServiceDown"]
        fingerprint = self.changes[0]["fingerprint"]
        # The rows are written after the triggers about them are sent.
        deadline = time.monotonic() + ROWS_SECONDS
        while True:
            alert = self.engine.ask("get_alert", fingerprint=fingerprint)
            outcome = alert["attempts"][-1]["outcome"] if alert["attempts"] else None
            is_written = outcome and alert["state"] == self.changes[-1]["to"]
            if is_written or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        states = [entry["state"] for entry in alert["history"]]
        # On a busy machine Alertmanager may send the resolve before the workflow has checked.
        is_early = states == [*EXPECTED[:2], "resolved", "resolved"] and outcome == "remediated"
        if states == EXPECTED or is_early:
            return []
        sentences = [f"the alert was never {state}" for state in EXPECTED if state not in states]
        if alert["reason"]:
            sentences.append(f"the alert's last reason: {alert['reason']}")
        return [f"the state history is: {', '.join(states)}", *sentences]

    def show_audit(self):
        """What the `st2` command shows of it."""
        first = self.changes[0]
        request_id, fingerprint = first["request_id"], first["fingerprint"]
        execution_id = self.engine.get("/executions", action=WORKFLOW, limit=1)[0]["id"]
        columns = ("-a", "id", "action.ref", "status", "start_timestamp")
        for title, *arguments in (
            ("The request", "run", "poundcake.get_request", f"request_id={request_id}"),
            ("The alert", "run", "poundcake.get_alert", f"fingerprint={fingerprint}"),
            ("Executions", "execution", "list", "--action", WORKFLOW, *columns),
            ("The execution", "execution", "get", execution_id),
            ("The trace", "trace", "list", "--trace-tag", request_id),
        ):
            say(f"\n{title}\n$ st2 {shlex.join(arguments)}")
            # `st2 run` prints a dot for every moment that it waits.
            say(self.engine.st2(*arguments).stdout.lstrip(".\n").rstrip())

    def print_logs(self):
        """The end of every log."""
        for part in (self.service, self.prometheus, self.alertmanager, self.engine):
            say(f"\nThe end of {os.path.relpath(part.log_path, ROOT)}")
            lines = part.log_path.read_text(errors="replace").splitlines()
            say("\n".join("  " + line for line in lines[-LOG_LINES:]))


# What a task's success and its failure mean.
TASKS = {
    "evidence": ("the service was looked at", "the service cannot be looked at"),
    "remediation": ("restarted", "the restart failed"),
    "verification": ("the service is up", "the service is still down"),
}


def demo_rule(service):
    """The demo's rule: ServiceDown of our service starts the pack's own workflow.

    No `host`, so the workflow runs its commands on this machine (core.local), not over SSH.
    """
    return {
        "name": RULE.split(".")[1],
        "pack": RULE.split(".")[0],
        "description": f"Restarts {SERVICE}, the service of make demo.",
        "enabled": False,
        "trigger": {"type": "poundcake.alert"},
        "criteria": {
            "trigger.alertname": {"type": "eq", "pattern": "ServiceDown"},
            "trigger.service": {"type": "eq", "pattern": SERVICE},
        },
        "action": {
            "ref": WORKFLOW,
            "parameters": {
                "service": "{{ trigger.service }}",
                "alert": "{{ trigger | to_json_string }}",
                "check_command": service.shell("is-active"),
                "restart_command": service.shell("restart"),
                "settle_seconds": 1,
            },
        },
    }


def alert_rule():
    """The alerting rule of Prometheus."""
    return {
        "alert": "ServiceDown",
        "expr": "up == 0",
        "labels": {"severity": "critical"},
        "annotations": {"summary": "{{ $labels.service }} does not answer"},
    }


def say(text=""):
    """Print at once, into a pipe too."""
    print(text, flush=True)


def seconds(text):
    """RFC 3339 as Unix time."""
    return datetime.fromisoformat(text).timestamp()


def set_up(stack):
    """Start the parts; they stop with `stack`."""
    say("PoundCake demo: a service dies, and is back before anybody is called.")
    say()
    say("Setting up, all on 127.0.0.1:")
    token = secrets.token_urlsafe(16)
    engine = stack.enter_context(Engine(FOLDER / "engine", token=token))
    engine.env["COLUMNS"] = str(shutil.get_terminal_size((150, 24)).columns)
    if not sys.stdout.isatty():
        engine.env["ST2_COLORIZE"] = "false"
    say(f"  engine        runs StackStorm packs; PoundCake's webhook is {engine.webhook_url}")
    # The timeline reads the changes of state, which are sent when a rule listens.
    world = World(engine.api_url, engine.api_key, engine.listener_url, engine.env)
    stack.enter_context(world.hears("poundcake.lifecycle"))
    service = stack.enter_context(Service(FOLDER / "service"))
    say(f"  {SERVICE:<12}  a small HTTP service, the one to die")
    receiver = webhook(engine.webhook_url, token=token)
    # The resolve goes out at the end of an interval: time for the workflow's own check before it.
    alertmanager = Alertmanager(FOLDER / "alertmanager", [receiver], group_interval="5s")
    stack.enter_context(alertmanager)
    say("  Alertmanager  posts to PoundCake, with a bearer token")
    targets = [target(service.address, service=SERVICE)]
    prometheus = Prometheus(FOLDER / "prometheus", targets, [alert_rule()], alertmanager.address)
    stack.enter_context(prometheus)
    say(f"  Prometheus    scrapes {SERVICE} every second; alert ServiceDown when up == 0")
    return Demo(service, engine, alertmanager, prometheus)


def play():
    """Run the demo; returns the exit status."""
    with contextlib.ExitStack() as stack:
        demo = set_up(stack)
        say()
        say("Rules that remediate ship disabled: you decide what may be restarted.")
        say(f"The pack's own rule {WORKFLOW} restarts systemd units over SSH.")
        say("There is no systemd here, so we make a rule for the same workflow with")
        say("other commands to check and to restart, and enable it:")
        demo.make_rule()
        say()
        say("Timeline, in seconds since the kill:")
        demo.run()
        missing = demo.missing()
        if missing:
            say("\nThe demo FAILED:")
            for sentence in missing:
                say(f"  {sentence}")
            demo.print_logs()
            return 1
        say("\nWhat StackStorm knows of it now, through its own command line:")
        demo.show_audit()
    say(f"\nThe alert went {' -> '.join(EXPECTED)}. The demo passed.")
    return 0


def interrupt(*_):
    """End as Ctrl-C does."""
    raise KeyboardInterrupt


def main():
    """Run the demo on a clean folder, alone in it; returns the exit status."""
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, interrupt)
    FOLDER.mkdir(exist_ok=True)
    with open(FOLDER / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say(f"Another demo runs in {FOLDER}; wait for it, or stop it with Ctrl-C.")
            return 1
        for path in FOLDER.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()
        try:
            return play()
        except KeyboardInterrupt:
            say("\nStopped; nothing is left running.")
            return 130
        except (ServerError, subprocess.CalledProcessError) as error:
            say(f"\nThe demo could not run: {error}")
            return 1


if __name__ == "__main__":
    sys.exit(main())
