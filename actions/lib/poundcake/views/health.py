"""Is everything there that PoundCake needs? For each fault the remedy.

Each check is a thread of its own with a share of the time: one that hangs or raises is a fault
itself and hides no other.
"""

import glob
import os
import re
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import requests
import yaml

from poundcake import clock, settings
from poundcake.errors import ExpectedError, SettingsError
from poundcake.ids import new_uuid7
from poundcake.st2 import executions, rows, triggers
from poundcake.st2.client import StackStormError
from poundcake.upstream import client
from poundcake.views import queries

OK, FAULT, INFO = "ok", "fault", "info"
PACK_DIR = Path(__file__).resolve().parents[4]
SENSOR = "poundcake.AlertmanagerSensor"
ALLOWED_SECONDS = 20
HTTP_SECONDS = 10
PROBE_SILENCE_SECONDS = 180  # the sensor sends a probe every minute
BEHIND_SECONDS = 30
LONGEST_DETAIL = 300

_START_SENSOR = "sudo st2ctl restart-component st2sensorcontainer; its log says why it ended"
_RELOAD = "sudo st2ctl reload --register-all"
# Of the parts that GET /ready names; the others say themselves what to do.
_PARTS = {"sensor": _START_SENSOR, "heartbeat": "see Prometheus, Alertmanager and the route"}
_API = "sudo st2ctl status; see the logs of st2api and of the database"


@dataclass(frozen=True)
class Finding:
    """What a check found: ``status`` is OK, FAULT or INFO; ``remedy`` belongs to a fault."""

    name: str
    status: str
    detail: str
    remedy: str = ""


class HealthError(ExpectedError):
    """Something is at fault; ``details`` has the answer of a healthy PoundCake, too."""

    def __init__(self, answer):
        names = [item["name"] for item in answer["checks"] if item["status"] == FAULT]
        super().__init__("%d at fault: %s" % (len(names), ", ".join(names)))
        self.details = answer


def check_health(stackstorm, config, seconds=ALLOWED_SECONDS):
    """Run every check and return ``{"status", "faults", "checks", "table"}``.

    :param config: the pack's config as StackStorm hands it to an action.
    :param seconds: what all the checks may take together.
    :raises HealthError: when there is a fault.
    """
    findings = run(checks(stackstorm, config), seconds)
    faults = sum(1 for item in findings if item.status == FAULT)
    answer = {
        "status": FAULT if faults else OK,
        "faults": faults,
        "checks": [asdict(item) for item in findings],
        "table": table(findings),
    }
    if faults:
        raise HealthError(answer)
    return answer


def run(checks, seconds):
    """Return the Findings of checks, ``(name, callable)``, in their order.

    A check that raises, or has no answer within the time, is a fault.
    """
    found = {}
    threads = []
    for name, check in checks:
        thread = threading.Thread(target=_run_one, args=(name, check, found), daemon=True)
        thread.start()
        threads.append(thread)
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    silent = "has no answer within %g s" % seconds
    late = {name: [Finding(name, FAULT, silent, _API)] for name, _ in checks}
    return [_tidy(item) for name, _ in checks for item in dict(late, **found)[name]]


def checks(stackstorm, config):
    """Return every check as ``(name, callable that returns a list of Findings)``."""
    config = config or {}

    def server(name, path):
        return check_server(settings.from_config(config), name, path)

    return [
        ("config", lambda: [check_config(config)]),
        ("api", lambda: [check_api(stackstorm)]),
        ("datastore", lambda: [check_datastore(stackstorm)]),
        ("rules", lambda: check_resources(stackstorm, "rules")),
        ("remediations", lambda: [check_remediations(stackstorm)]),
        ("policies", lambda: check_resources(stackstorm, "policies")),
        ("coordination", lambda: [check_coordination()]),
        ("sensor", lambda: [check_sensor(stackstorm)]),
        ("bus", lambda: [check_bus(stackstorm)]),
        ("listener", lambda: check_listener(settings.from_config(config))),
        ("controls", lambda: check_controls(stackstorm)),
        ("alertmanager", lambda: [server("alertmanager", "/api/v2/status")]),
        ("prometheus", lambda: [server("prometheus", "/api/v1/query?query=vector(1)")]),
    ]


def check_config(config):
    """The sensor starts with this config."""
    remedy = "correct it, then sudo st2ctl reload --register-configs and restart the sensor"
    try:
        settings.check_exposure(settings.from_config(config))
    except SettingsError as error:
        return Finding("config", FAULT, str(error), remedy)
    return Finding("config", OK, "can be used")


def check_api(stackstorm):
    """StackStorm's API answers."""
    stackstorm.ping()
    return Finding("api", OK, "answers")


def check_datastore(stackstorm):
    """A key can be written, read and deleted."""
    name, text = new_uuid7(), "written by check_health"
    rows.write(stackstorm, rows.HEALTH, name, text, ttl=60)
    try:
        found = rows.read(stackstorm, rows.HEALTH, name)
    finally:
        rows.delete(stackstorm, rows.HEALTH, name)
    if found != text:
        return Finding("datastore", FAULT, "what was written is not what is read", _API)
    return Finding("datastore", OK, "writes, reads and deletes")


def check_resources(stackstorm, kind):
    """What the pack ships enabled is registered and enabled: its plumbing rules, its policies."""
    names = [item["name"] for item in _shipped(kind) if item.get("enabled", True)]
    faults = []
    for ref in ("poundcake." + name for name in names):
        found = stackstorm.get_resource(kind, ref)
        if found is None:
            faults.append(Finding(kind, FAULT, ref + " is not registered", _RELOAD))
        elif not found["enabled"]:
            # The st2 command can enable no policy; registering it again does.
            remedy = "st2 rule enable " + ref if kind == "rules" else _RELOAD
            faults.append(Finding(kind, FAULT, ref + " is disabled", remedy))
    return faults or [Finding(kind, OK, "registered and enabled: " + ", ".join(names))]


def check_remediations(stackstorm):
    """Which rules take alerts; none is no fault, but nothing is remediated then."""
    found = stackstorm.list_resources("rules", trigger=triggers.ALERT)
    enabled = sorted(rule["ref"] for rule in found if rule["enabled"])
    others = sorted(rule["ref"] for rule in found if not rule["enabled"])
    detail = "enabled: %s" % (", ".join(enabled) or "none, so nothing is remediated")
    if others:
        detail += "; disabled: " + ", ".join(others)
    return Finding("remediations", INFO, detail)


def check_coordination(is_configured=None):
    """The policies can count exactly, which takes a coordination backend.

    :param is_configured: callable; StackStorm's own when None.
    """
    try:
        if is_configured is None:
            from st2common.services import coordination

            is_configured = coordination.configured
        configured = is_configured()
    except Exception:  # another StackStorm, or none: whatever is missing here
        return Finding("coordination", INFO, "cannot be seen from here")
    if configured:
        return Finding("coordination", OK, "[coordination] url is set in st2.conf")
    detail = "no backend, so limits of concurrency may be passed by what starts at the same moment"
    remedy = "set [coordination] url in st2.conf, as in redis://127.0.0.1:6379, and restart st2"
    return Finding("coordination", FAULT, detail, remedy)


def check_sensor(stackstorm, now=None):
    """The sensor is registered, enabled, and has sent a probe lately."""
    found = stackstorm.get_resource("sensortypes", SENSOR)
    if found is None:
        return Finding("sensor", FAULT, SENSOR + " is not registered", _RELOAD)
    if not found["enabled"]:
        return Finding("sensor", FAULT, SENSOR + " is disabled", "st2 sensor enable " + SENSOR)
    probes = _probes(stackstorm, now)
    if not probes:
        detail = "no probe for %d s: it does not run, or cannot reach the message bus"
        return Finding("sensor", FAULT, detail % PROBE_SILENCE_SECONDS, _START_SENSOR)
    return Finding("sensor", OK, "seen at " + probes[-1]["occurrence_time"][:19])


def check_bus(stackstorm, now=None):
    """Triggers come through the message bus and the rules engine."""
    probes = _probes(stackstorm, now)
    done = [item for item in probes if item["status"] in executions.DONE]
    now = time.time() if now is None else now
    waits = [item for item in probes if item["status"] not in executions.DONE]
    newest = done[-1]["occurrence_time"] if done else ""
    # A rules engine that died over one trigger instance never returns to it.
    behind = [item for item in waits if item["occurrence_time"] > newest]
    if behind and now - clock.to_seconds(behind[0]["occurrence_time"]) > BEHIND_SECONDS:
        detail = "a probe of %s has not come through the rules engine"
        remedy = "sudo st2ctl restart-component st2rulesengine; when it is only behind, wait"
        return Finding("bus", FAULT, detail % behind[0]["occurrence_time"][:19], remedy)
    if not done:
        detail = "no probe has come through for %d s" % PROBE_SILENCE_SECONDS
        return Finding("bus", FAULT, detail, "see the sensor; then sudo st2ctl status")
    return Finding("bus", OK, "a probe came through at " + newest[:19])


def check_listener(settings):
    """The listener answers, and is ready."""
    if not settings.listener.port:
        return [Finding("listener", INFO, "port is 0: where it listens cannot be seen from here")]
    url = "http://%s:%d" % (_reachable(settings.listener.host), settings.listener.port)
    elsewhere = "; when the sensor runs on another node, ask there: curl %s/ready" % url
    try:
        requests.get(url + "/health", timeout=HTTP_SECONDS).raise_for_status()
    except requests.RequestException as error:
        detail = "%s/health: %s" % (url, _why(error))
        return [Finding("listener", FAULT, detail, _START_SENSOR + elsewhere)]
    answer = requests.get(url + "/ready", timeout=HTTP_SECONDS)
    parts = answer.json()["parts"]
    faults = [
        Finding(
            "listener",
            FAULT,
            "not ready, %s: %s" % (name, part["detail"]),
            _PARTS.get(name, "sudo st2ctl status; the sensor goes on by itself when it is mended"),
        )
        for name, part in sorted(parts.items())
        if not part["ok"]
    ]
    return faults or [Finding("listener", OK, "ready at " + url)]


def check_controls(stackstorm):
    """Pauses and maintenance are told; a control that cannot be understood holds everything."""
    found = queries.list_maintenance(stackstorm)
    windows = [item for item in found["maintenance"] if item["active"]]
    findings = [
        Finding("controls", FAULT, item["reason"], "st2 key delete " + item["key"])
        for item in found["paused"]
        if item["kind"] == "unreadable"
    ]
    paused = [item for item in found["paused"] if item["kind"] == "pause"]
    for item in paused:
        text = "%s is paused by %s: %s"
        detail = text % (item["alertname"] or "everything", item["by"], item["reason"])
        findings.append(Finding("controls", INFO, detail))
    if windows:
        detail = "%d maintenance windows; st2 run poundcake.list_maintenance" % len(windows)
        findings.append(Finding("controls", INFO, detail))
    return findings or [Finding("controls", OK, "nothing is paused or in maintenance")]


def check_server(settings, name, path):
    """A server answers with its credentials, when the config says where it is.

    :param name: alertmanager or prometheus.
    :param path: of something that any client may ask.
    """
    if not getattr(settings, name).url:
        return Finding(name, INFO, name + "_url is not set")
    try:
        client.call(settings, name, "GET", path)
    except ExpectedError as error:
        remedy = "see %s_url and its credentials in the config of poundcake, and %s itself"
        return Finding(name, FAULT, str(error), remedy % (name, name))
    return Finding(name, OK, "answers")


def table(findings):
    """Return findings as text for a terminal: a line each, the remedy of a fault on a second."""
    width = max(len(item.name) for item in findings)
    lines = []
    for item in findings:
        lines.append("%-5s  %-*s  %s" % (item.status, width, item.name, item.detail))
        if item.remedy:
            lines.append("%s-> %s" % (" " * (width + 9), item.remedy))
    return "\n".join(lines)


def _run_one(name, check, found):
    try:
        found[name] = check()
    except StackStormError as error:
        found[name] = [Finding(name, FAULT, str(error), _API)]
    except SettingsError:
        found[name] = [Finding(name, INFO, "cannot be checked before the config is corrected")]
    except Exception as error:
        remedy = "the check itself failed; please report it"
        found[name] = [Finding(name, FAULT, _why(error), remedy)]


def _tidy(item):
    detail = " ".join(item.detail.split())
    if len(detail) > LONGEST_DETAIL:
        detail = detail[: LONGEST_DETAIL - 1] + "\u2026"
    return Finding(item.name, item.status, detail, item.remedy)


def _shipped(kind):
    for path in sorted(glob.glob(os.path.join(PACK_DIR, kind, "*.yaml"))):
        with open(path, encoding="utf-8") as handle:
            yield yaml.safe_load(handle)


def _probes(stackstorm, now):
    """Return the probes of the last minutes, the oldest first."""
    now = time.time() if now is None else now
    since = clock.to_text(now - PROBE_SILENCE_SECONDS)
    found = stackstorm.list_trigger_instances(triggers.PROBE, since)
    return sorted(found, key=lambda item: item["occurrence_time"])


def _reachable(host):
    """Return where a listener on this address can be reached, as it stands in a URL."""
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return "[%s]" % host if ":" in host else host


def _why(error):
    """Return why a call failed in a few words: the operating system's, where it has some."""
    if isinstance(error, requests.HTTPError):
        return "answers %d" % error.response.status_code
    found = re.search(r"\[Errno -?\d+\] ([^'\")]+)", str(error))
    return found.group(1) if found else "%s: %s" % (type(error).__name__, error)
