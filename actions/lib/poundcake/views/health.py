"""Checks everything that PoundCake needs, and gives a remedy for each fault.

Each check runs in a thread of its own for a limited time: one that hangs or raises is reported as a
fault and does not hide the others.
"""

import glob
import os
import re
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import requests
import yaml

from poundcake import clock, settings
from poundcake.errors import ExpectedError, SettingsError
from poundcake.ids import new_uuid7
from poundcake.settings import ListenerSettings, Settings
from poundcake.st2 import aside, enabled_rules, executions, rows, triggers
from poundcake.st2.client import StackStorm, StackStormError
from poundcake.upstream import bounded, client
from poundcake.views import queries

OK, FAULT, INFO = "ok", "fault", "info"
PACK_DIR = Path(__file__).resolve().parents[4]
SENSOR = "poundcake.AlertmanagerSensor"
ALLOWED_SECONDS = 20
HTTP_SECONDS = 10
PROBE_SILENCE_SECONDS = 180  # the sensor sends a probe every minute
BEHIND_SECONDS = 30
LONGEST_DETAIL = 300
MOST_SET_ASIDE = 5

_START_SENSOR = "sudo st2ctl restart-component st2sensorcontainer; its log says why it stopped"
_RELOAD = "sudo st2ctl reload --register-all"
# Remedies for parts of GET /ready; the detail of the other parts says what to do.
_PARTS = {
    "sensor": _START_SENSOR,
    "heartbeat": "check Prometheus, Alertmanager and its route for the heartbeat",
}
_API = "sudo st2ctl status; check the logs of st2api and of the database"


@dataclass(frozen=True)
class Finding:
    """The result of a check: ``status`` is OK, FAULT or INFO; a fault always has a ``remedy``."""

    name: str
    status: str
    detail: str
    remedy: str = ""


Check = Callable[[], List[Finding]]
Config = Optional[Mapping[str, Any]]


class HealthError(ExpectedError):
    """Some checks failed; ``details`` has the same answer as for a healthy PoundCake."""

    def __init__(self, answer: Dict[str, Any]):
        names = [item["name"] for item in answer["checks"] if item["status"] == FAULT]
        super().__init__(f"{len(names)} at fault", ", ".join(names))
        self.details = answer


def check_health(
    stackstorm: StackStorm, config: Config, seconds: float = ALLOWED_SECONDS
) -> Dict[str, Any]:
    """Run every check and return ``{"status", "faults", "checks", "table"}``.

    :param config: the pack's config as StackStorm passes it to an action.
    :param seconds: the time limit for all checks together.
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


def run(checks: Sequence[Tuple[str, Check]], seconds: float) -> List[Finding]:
    """Return the Findings of checks, given as ``(name, callable)``, in their order.

    A check that raises, or does not answer in time, is a fault.
    """
    findings: Dict[str, List[Finding]] = {}
    threads = []
    for name, check in checks:
        thread = threading.Thread(target=_run_one, args=(name, check, findings), daemon=True)
        thread.start()
        threads.append(thread)
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    silent = f"no answer within {seconds:g} s"
    late = {name: [Finding(name, FAULT, silent, _API)] for name, _ in checks}
    return [_tidy(item) for name, _ in checks for item in dict(late, **findings)[name]]


def checks(stackstorm: StackStorm, config: Config) -> List[Tuple[str, Check]]:
    """Return all checks as ``(name, callable that returns a list of Findings)``."""
    config = config or {}

    def made() -> Settings:
        return settings.from_config(config, lambda key: stackstorm.get_secret(key))

    def server(name: str, path: str) -> Finding:
        return check_server(made(), name, path)

    return [
        ("config", lambda: [check_config(config)]),
        ("secrets", lambda: check_secrets(made())),
        ("api", lambda: [check_api(stackstorm)]),
        ("datastore", lambda: [check_datastore(stackstorm)]),
        ("rules", lambda: check_resources(stackstorm, "rules")),
        ("remediations", lambda: [check_remediations(stackstorm)]),
        ("enabled_rules", lambda: check_enabled_rules(stackstorm, settings.from_config(config))),
        ("policies", lambda: check_resources(stackstorm, "policies")),
        ("coordination", lambda: [check_coordination()]),
        ("sensor", lambda: [check_sensor(stackstorm)]),
        ("bus", lambda: [check_bus(stackstorm)]),
        ("listener", lambda: check_listener(made())),
        ("controls", lambda: check_controls(stackstorm)),
        ("set_aside", lambda: check_set_aside(stackstorm)),
        ("alertmanager", lambda: [server("alertmanager", "/api/v2/status")]),
        ("prometheus", lambda: [server("prometheus", "/api/v1/query?query=vector(1)")]),
    ]


def check_config(config: Config) -> Finding:
    """Check that the sensor can start with this config."""
    remedy = "correct it, then sudo st2ctl reload --register-configs and restart the sensor"
    try:
        settings.check_exposure(settings.from_config(config))
    except SettingsError as error:
        return Finding("config", FAULT, str(error), remedy)
    return Finding("config", OK, "valid")


def check_secrets(made: Settings) -> List[Finding]:
    """Check that the keys of secrets can be read, and that no secret is in the config itself.

    :param made: the Settings.
    """
    findings = []
    secrets = settings.secrets_of(made)
    plain = [secret.setting for secret in secrets if secret.plain]
    if plain:
        detail = (
            f"{', '.join(plain)}: StackStorm hands the config to actions on their command line, "
            "where ps shows it"
        )
        remedy = (
            f"keep each under a datastore key: st2 key set poundcake_{plain[0]} <value> --encrypt, "
            f"and in the config {plain[0]}_key: poundcake_{plain[0]} instead of {plain[0]}"
        )
        findings.append(Finding("secrets", INFO, detail, remedy))
    for secret in secrets:
        try:
            secret.value  # noqa: B018 - reads the key
        except ExpectedError as error:
            remedy = f"st2 key set {secret.key} <value> --encrypt"
            findings.append(Finding("secrets", FAULT, str(error), remedy))
    return findings or [Finding("secrets", OK, "none is in the config itself")]


def check_api(stackstorm: StackStorm) -> Finding:
    """Check that StackStorm's API answers."""
    stackstorm.ping()
    return Finding("api", OK, "answers")


def check_datastore(stackstorm: StackStorm) -> Finding:
    """Check that a key can be written, read and deleted."""
    name, written = new_uuid7(), "written by check_health"
    rows.write(stackstorm, rows.HEALTH, name, written, ttl=60)
    try:
        value = rows.read(stackstorm, rows.HEALTH, name)
    finally:
        rows.delete(stackstorm, rows.HEALTH, name)
    if value != written:
        return Finding("datastore", FAULT, "a key does not have the value just written", _API)
    return Finding("datastore", OK, "writes, reads and deletes")


def check_resources(stackstorm: StackStorm, kind: str) -> List[Finding]:
    """Check that the rules or policies that the pack ships enabled are registered and enabled."""
    names = [item["name"] for item in _shipped(kind) if item.get("enabled", True)]
    faults = []
    for ref in ("poundcake." + name for name in names):
        resource = stackstorm.get_resource(kind, ref)
        if resource is None:
            faults.append(Finding(kind, FAULT, ref + " is not registered", _RELOAD))
        elif not resource["enabled"]:
            # The st2 command cannot enable a policy; registering the pack again does.
            remedy = "st2 rule enable " + ref if kind == "rules" else _RELOAD
            faults.append(Finding(kind, FAULT, ref + " is disabled", remedy))
    return faults or [Finding(kind, OK, "registered and enabled: " + ", ".join(names))]


def check_remediations(stackstorm: StackStorm) -> Finding:
    """List the rules on alerts. Having none enabled is allowed, but remediates nothing."""
    rules = stackstorm.list_resources(
        "rules", trigger=triggers.ALERT, include_attributes="ref,enabled"
    )
    enabled = sorted(rule["ref"] for rule in rules if rule["enabled"])
    disabled = sorted(rule["ref"] for rule in rules if not rule["enabled"])
    detail = "none enabled, so nothing is remediated"
    if enabled:
        detail = f"{len(enabled)} enabled: {', '.join(enabled)}"
    if disabled:
        detail += f"; {len(disabled)} disabled: {', '.join(disabled)}"
    return Finding("remediations", INFO, detail)


def check_enabled_rules(stackstorm: StackStorm, settings: Settings) -> List[Finding]:
    """Check that the pack's rules are on or off as the setting and the actions say."""
    chosen, known = settings.rules.enabled, enabled_rules.names()
    unknown = [name for name in chosen if enabled_rules.bare(name) not in known]
    remedy = "correct enabled_rules in the config; the pack has " + ", ".join(known)
    findings = [
        Finding("enabled_rules", FAULT, f"the pack has no rule {name}", remedy) for name in unknown
    ]
    for name, on in enabled_rules.differing(stackstorm, chosen):
        enable, disable = (
            f"st2 run poundcake.{verb}_remediation name={name}" for verb in ("enable", "disable")
        )
        if on:
            detail = f"poundcake.{name} is disabled, and should be enabled"
            remedy = f"{enable}; to leave it disabled: {disable}"
        else:
            detail = f"poundcake.{name} is enabled only until the pack is registered again"
            remedy = f"{enable} keeps it enabled; {disable} disables it"
        findings.append(Finding("enabled_rules", FAULT, detail, remedy))
    return findings or [Finding("enabled_rules", OK, "every rule is as it should be")]


def check_coordination(is_configured: Optional[Callable[[], bool]] = None) -> Finding:
    """Check for a coordination backend, without which the policies cannot count exactly.

    :param is_configured: callable; StackStorm's own when None.
    """
    try:
        if is_configured is None:
            from st2common.services import coordination

            is_configured = coordination.configured
        configured = is_configured()
    except Exception:  # StackStorm's modules or config may be missing on this node
        return Finding("coordination", INFO, "cannot be checked from here")
    if configured:
        return Finding("coordination", OK, "[coordination] url is set in st2.conf")
    detail = "no backend, so actions that start at the same moment may exceed concurrency limits"
    remedy = "set [coordination] url in st2.conf, as in redis://127.0.0.1:6379, and restart st2"
    return Finding("coordination", FAULT, detail, remedy)


def check_sensor(stackstorm: StackStorm, now: Optional[float] = None) -> Finding:
    """Check that the sensor is registered, enabled, and has recently sent a probe."""
    sensor = stackstorm.get_resource("sensortypes", SENSOR)
    if sensor is None:
        return Finding("sensor", FAULT, SENSOR + " is not registered", _RELOAD)
    if not sensor["enabled"]:
        return Finding("sensor", FAULT, SENSOR + " is disabled", "st2 sensor enable " + SENSOR)
    probes = _probes(stackstorm, now)
    if not probes:
        detail = f"no probe for {PROBE_SILENCE_SECONDS} s: not running, or no message bus"
        return Finding("sensor", FAULT, detail, _START_SENSOR)
    return Finding("sensor", OK, "last probe at " + probes[-1]["occurrence_time"][:19])


def check_bus(stackstorm: StackStorm, now: Optional[float] = None) -> Finding:
    """Check that triggers get through the message bus and the rules engine."""
    probes = _probes(stackstorm, now)
    done = [item for item in probes if item["status"] in executions.DONE]
    now = time.time() if now is None else now
    waiting = [item for item in probes if item["status"] not in executions.DONE]
    newest = done[-1]["occurrence_time"] if done else ""
    # A rules engine that died while processing a trigger instance never returns to it.
    behind = [item for item in waiting if item["occurrence_time"] > newest]
    if behind and now - clock.to_seconds(behind[0]["occurrence_time"]) > BEHIND_SECONDS:
        sent = behind[0]["occurrence_time"][:19]
        detail = f"the probe of {sent} has not got through the rules engine"
        remedy = "sudo st2ctl restart-component st2rulesengine; if it is only behind, wait"
        return Finding("bus", FAULT, detail, remedy)
    if not done:
        detail = f"no probe has got through for {PROBE_SILENCE_SECONDS} s"
        return Finding("bus", FAULT, detail, "check the sensor, then sudo st2ctl status")
    return Finding("bus", OK, "last probe got through at " + newest[:19])


def check_listener(settings: Settings) -> List[Finding]:
    """Check that the listener answers and is ready."""
    if not settings.listener.port:
        return [Finding("listener", INFO, "port is 0, so its port cannot be known from here")]
    url = f"http://{_reachable(settings.listener.host)}:{settings.listener.port}"
    elsewhere = f"; if the sensor runs on another node, run there: curl {url}/ready"
    try:
        health = bounded.request("GET", url + "/health", HTTP_SECONDS)
        why = "" if health.status == 200 else f"answers {health.status}"
    except requests.RequestException as error:
        why = _why(error)
    if why:
        detail = f"{url}/health: {why}"
        return [Finding("listener", FAULT, detail, _START_SENSOR + elsewhere)]
    parts = _ready(settings.listener, url).json()["parts"]
    faults = [
        Finding(
            "listener",
            FAULT,
            f"not ready, {name}: {part.get('detail', 'see GET /ready with the credentials')}",
            _PARTS.get(
                name, "sudo st2ctl status; the sensor continues by itself once this is fixed"
            ),
        )
        for name, part in sorted(parts.items())
        if not part["ok"] and name != "set_aside"  # a check of its own names each
    ]
    return faults or [Finding("listener", OK, "ready at " + url)]


def _ready(listener: ListenerSettings, url: str) -> bounded.Answer:
    """Ask with the credentials of the config; without them, the answer has no details."""
    headers, auth = {}, None
    if listener.token:
        headers["Authorization"] = f"Bearer {listener.token.value}"
    elif listener.has_credentials:
        auth = (listener.username.encode("utf-8"), listener.password.value.encode("utf-8"))
    return bounded.request("GET", url + "/ready", HTTP_SECONDS, headers=headers, auth=auth)


def check_controls(stackstorm: StackStorm) -> List[Finding]:
    """List pauses and maintenance, and the controls that cannot be read."""
    controls = queries.list_maintenance(stackstorm)
    windows = [item for item in controls["maintenance"] if item["active"]]
    findings = [
        Finding("controls", FAULT, item["reason"], aside.LIST_COMMAND)
        for item in controls["paused"]
        if item["kind"] == "unreadable"
    ]
    paused = [item for item in controls["paused"] if item["kind"] == "pause"]
    for item in paused:
        name = item["alertname"] or "everything"
        detail = f"{name} is paused by {item['by']}: {item['reason']}"
        findings.append(Finding("controls", INFO, detail))
    if windows:
        detail = f"{len(windows)} active maintenance windows; st2 run poundcake.list_maintenance"
        findings.append(Finding("controls", INFO, detail))
    return findings or [Finding("controls", OK, "nothing is paused or in maintenance")]


def check_set_aside(stackstorm: StackStorm) -> List[Finding]:
    """Name what is set aside because it cannot be read, decided or written."""
    entries = queries.list_set_aside(stackstorm)["set_aside"]
    findings = [
        Finding("set_aside", FAULT, f"{item['key']}: {item['reason']}", aside.LIST_COMMAND)
        for item in entries[:MOST_SET_ASIDE]
    ]
    rest = len(entries) - MOST_SET_ASIDE
    if rest > 0:
        findings.append(Finding("set_aside", FAULT, f"and {rest} more", aside.LIST_COMMAND))
    return findings or [Finding("set_aside", OK, "nothing is set aside")]


def check_server(settings: Settings, name: str, path: str) -> Finding:
    """Check that a server of the config answers with its credentials.

    :param name: alertmanager or prometheus.
    :param path: a path that any client may read.
    """
    if not getattr(settings, name).url:
        return Finding(name, INFO, name + "_url is not set")
    try:
        client.call(settings, name, "GET", path)
    except ExpectedError as error:
        remedy = (
            f"check {name}_url and its credentials in the config of poundcake, and {name} itself"
        )
        return Finding(name, FAULT, str(error), remedy)
    return Finding(name, OK, "answers")


def table(findings: Sequence[Finding]) -> str:
    """Return findings as text for a terminal: a line for each, and one more for a remedy."""
    width = max(len(item.name) for item in findings)
    lines = []
    for item in findings:
        lines.append(f"{item.status:<5}  {item.name:<{width}}  {item.detail}")
        if item.remedy:
            lines.append(f"{'':{width + 9}}-> {item.remedy}")
    return "\n".join(lines)


def _run_one(name: str, check: Check, findings: Dict[str, List[Finding]]) -> None:
    try:
        findings[name] = check()
    except StackStormError as error:
        findings[name] = [Finding(name, FAULT, str(error), _API)]
    except SettingsError:
        findings[name] = [Finding(name, INFO, "cannot be checked until the config is corrected")]
    except Exception as error:
        remedy = "the check itself failed; please report it"
        findings[name] = [Finding(name, FAULT, _why(error), remedy)]


def _tidy(item: Finding) -> Finding:
    detail = " ".join(item.detail.split())
    if len(detail) > LONGEST_DETAIL:
        detail = detail[: LONGEST_DETAIL - 1] + "\u2026"
    return Finding(item.name, item.status, detail, item.remedy)


def _shipped(kind: str) -> Iterator[Dict[str, Any]]:
    for path in sorted(glob.glob(os.path.join(PACK_DIR, kind, "*.yaml"))):
        with open(path, encoding="utf-8") as handle:
            yield yaml.safe_load(handle)


def _probes(stackstorm: StackStorm, now: Optional[float]) -> List[Dict[str, Any]]:
    """Return the probes of the last minutes, oldest first."""
    now = time.time() if now is None else now
    since = clock.to_text(now - PROBE_SILENCE_SECONDS)
    probes = stackstorm.list_trigger_instances(triggers.PROBE, since)
    return sorted(probes, key=lambda item: item["occurrence_time"])


def _reachable(host: str) -> str:
    """Return the host of a URL that reaches a listener on this address."""
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def _why(error: Exception) -> str:
    """Return why a call failed in a few words, those of the operating system if there are any."""
    match = re.search(r"\[Errno -?\d+\] ([^'\")]+)", str(error))
    return match.group(1) if match else f"{type(error).__name__}: {error}"
