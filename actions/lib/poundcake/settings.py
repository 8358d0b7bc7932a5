"""The pack's configuration as values, in sections.

Names, defaults and texts stand in config.schema.yaml; StackStorm knows them flat. Here a setting is
``settings.<section>.<field>``: ``git_token`` is ``settings.git.token``. Spans are in seconds, sizes
in bytes.
"""

import functools
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

import yaml

from poundcake import clock, hosts
from poundcake.errors import SettingsError
from poundcake.secret import SUFFIX, ReadKey, Secret

SCHEMA_PATH = Path(__file__).resolve().parents[3] / "config.schema.yaml"
# The rates and the highest count of each. A row keeps 50 earlier attempts, so the first, which may
# be of one alert, cannot count more.
_RATES = {"rate": 50, "alertname_rate": 10000, "target_rate": 10000}


def _named(name: str) -> Any:
    """A field whose setting has another name than the section's prefix gives it."""
    return field(metadata={"name": name})


@dataclass(frozen=True)
class ListenerSettings:
    """The HTTP server that Alertmanager posts to."""

    host: str
    port: int
    token: Secret
    username: str
    password: Secret
    allow_unauthenticated: bool
    listener_hosts: Tuple[str, ...]
    st2_web_url: str
    max_body_bytes: int
    max_alerts: int
    threads: int
    max_backlog: int

    @property
    def has_credentials(self) -> bool:
        return bool(self.token) or bool(self.username and self.password)


@dataclass(frozen=True)
class AdmissionSettings:
    """The limits within which alerts are remediated."""

    max_concurrent: int
    serialize_by: str
    cooldown_seconds: int
    backoff_factor: int
    max_attempts: int
    reopen_seconds: int
    rate_limit: Tuple[str, ...]
    alertname_rate_limit: Tuple[str, ...]
    target_rate_limit: Tuple[str, ...]
    breaker_failures: int
    breaker_seconds: int
    dry_run: bool
    dry_run_alertnames: Tuple[str, ...]
    cancel_on_resolve: bool
    attempt_seconds: int
    watchdog_alertname: str
    watchdog_seconds: int

    @functools.cached_property
    def rates(self) -> Dict[str, List[Tuple[int, float]]]:
        """The limits ``..._limit`` as lists of ``(count, seconds)``."""
        limits = {name: getattr(self, name + "_limit") for name in _RATES}
        return {name: [_rate(name, item) for item in items] for name, items in limits.items()}

    @property
    def longest_rate(self) -> float:
        """How many seconds the rates look back."""
        return max((seconds for rate in self.rates.values() for _, seconds in rate), default=0)

    def is_dry(self, alertname: str) -> bool:
        """True when nothing is dispatched for this alertname."""
        return self.dry_run or alertname in self.dry_run_alertnames

    def is_heartbeat(self, alertname: str) -> bool:
        """True for the alert that always fires; only its absence matters."""
        return bool(alertname) and alertname == self.watchdog_alertname


@dataclass(frozen=True)
class TargetSettings:
    """What a remediation acts on."""

    labels: Tuple[str, ...]
    exporter_jobs: Tuple[str, ...] = _named("exporter_jobs")
    host_exporter_jobs: Tuple[str, ...] = _named("host_exporter_jobs")
    local_instance_is_node: bool = _named("local_instance_is_node")

    @functools.cached_property
    def label_sets(self) -> List[Tuple[str, ...]]:
        """``labels`` as a list of tuples of label names."""
        return [tuple(_label_set(item)) for item in self.labels]


@dataclass(frozen=True)
class RetentionSettings:
    """How long rows stay in the datastore."""

    request_seconds: int = _named("request_retention_seconds")
    alert_seconds: int = _named("alert_retention_seconds")
    execution_seconds: int = _named("execution_retention_seconds")


@dataclass(frozen=True)
class NotifySettings:
    """The action that tells people."""

    action: str
    parameters: Optional[Dict[str, Any]]
    group_seconds: int
    flapping_episodes: int = _named("flapping_episodes")


@dataclass(frozen=True)
class ApprovalSettings:
    """Who may answer a remediation that asks."""

    roles: Tuple[str, ...]


@dataclass(frozen=True)
class RulesSettings:
    """The pack's rules that are on."""

    enabled: Tuple[str, ...] = _named("enabled_rules")


@dataclass(frozen=True)
class ServerSettings:
    """A server of Prometheus or Alertmanager, and how to log in to it."""

    url: str
    token: Secret
    username: str
    password: Secret
    ca_path: str
    verify: bool


@dataclass(frozen=True)
class RemediationSettings:
    """What the pack's own remediations need to know."""

    certificate_renew_command: str
    unit_pattern: str
    allowed_hosts: Tuple[str, ...]
    mapping_timeout_seconds: int


@dataclass(frozen=True)
class JfrSettings:
    """Flight recordings of Java processes."""

    hemako_path: str = _named("hemako_path")
    duration: str
    timeout_seconds: int
    directory: str


@dataclass(frozen=True)
class S3Settings:
    """The bucket that files are uploaded to."""

    bucket: str
    prefix: str
    region: str
    endpoint_url: str
    access_key_id: str
    secret_access_key: Secret


@dataclass(frozen=True)
class CrdSettings:
    """PrometheusRule resources in Kubernetes."""

    enabled: bool
    namespace: str
    labels: Optional[Dict[str, Any]]


@dataclass(frozen=True)
class KubernetesSettings:
    """The cluster, and how to log in to it."""

    api_url: str
    token: Secret
    ca_path: str
    config: str
    context: str
    cluster: str


@dataclass(frozen=True)
class GitSettings:
    """The repository of rule files, and the host that takes pull requests."""

    repo_url: str
    branch: str
    rules_path: str
    file_pattern: str
    file_form: str
    branch_prefix: str
    provider: str
    api_url: str
    username: str
    token: Secret
    ssh_key: Secret
    known_hosts: str
    ca_path: str
    user_name: str
    user_email: str
    timeout_seconds: int


@dataclass(frozen=True)
class Settings:
    """The whole configuration; make it with ``from_config``."""

    listener: ListenerSettings
    admission: AdmissionSettings
    target: TargetSettings
    retention: RetentionSettings
    notify: NotifySettings
    approval: ApprovalSettings
    rules: RulesSettings
    alertmanager: ServerSettings
    prometheus: ServerSettings
    remediation: RemediationSettings
    jfr: JfrSettings
    s3: S3Settings
    crd: CrdSettings
    kubernetes: KubernetesSettings
    git: GitSettings
    promtool_path: str


_SECTIONS = {
    "listener": ("", ListenerSettings),
    "admission": ("", AdmissionSettings),
    "target": ("target_", TargetSettings),
    "retention": ("", RetentionSettings),
    "notify": ("notify_", NotifySettings),
    "approval": ("approval_", ApprovalSettings),
    "rules": ("", RulesSettings),
    "alertmanager": ("alertmanager_", ServerSettings),
    "prometheus": ("prometheus_", ServerSettings),
    "remediation": ("", RemediationSettings),
    "jfr": ("jfr_", JfrSettings),
    "s3": ("s3_", S3Settings),
    "crd": ("crd_", CrdSettings),
    "kubernetes": ("kube_", KubernetesSettings),
    "git": ("git_", GitSettings),
}
_RANGES = {
    "port": (0, 65535),
    "max_body_bytes": (1024, 104857600),
    "max_alerts": (1, 100000),
    "threads": (1, 100),
    "max_backlog": (1, 1000000),
    "max_concurrent": (1, 10000),
    "cooldown_seconds": (0, 604800),
    "backoff_factor": (1, 100),
    "max_attempts": (1, 50),
    "attempt_seconds": (1, 604800),
    "reopen_seconds": (0, 3600),
    "notify_group_seconds": (0, 3600),
    "flapping_episodes": (0, 5),  # a row keeps so many episodes
    "breaker_failures": (0, 1000),
    "breaker_seconds": (1, 604800),
    "watchdog_seconds": (10, 604800),
    "request_retention_seconds": (60, 31536000),
    "alert_retention_seconds": (60, 31536000),
    "execution_retention_seconds": (60, 31536000),
    "mapping_timeout_seconds": (0, 604800),
    "jfr_timeout_seconds": (1, 570),  # StackStorm ends an action without a word after 600
    "git_timeout_seconds": (1, 500),
}
_PAIRS = (
    ("username", "password"),
    ("alertmanager_username", "alertmanager_password"),
    ("prometheus_username", "prometheus_password"),
    ("s3_access_key_id", "s3_secret_access_key"),
    ("kube_api_url", "kube_token"),
)
_TYPES = {
    "string": (str, "a string"),
    "integer": (int, "a whole number"),
    "boolean": (bool, "true or false"),
    "object": (dict, "an object"),
    "array": (list, "a list of strings"),
}
# A wrong value is not repeated: it may be a secret.
_GIVEN = {
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


@functools.lru_cache(maxsize=None)
def schema() -> Dict[str, Dict[str, Any]]:
    """Return config.schema.yaml: for each setting its type, default and description."""
    # Every action reads it: the loader in C takes a tenth of the time.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loaded: Dict[str, Dict[str, Any]]
    loaded = yaml.load(SCHEMA_PATH.read_text(encoding="utf-8"), Loader=loader)
    return loaded


def value_of(settings: Settings, name: str) -> Any:
    """Return the value of a setting by its name in config.schema.yaml."""
    for section, (_, kind) in _SECTIONS.items():
        for item in fields(kind):
            if name_of(section, item.name) == name:
                return getattr(getattr(settings, section), item.name)
    return getattr(settings, name)


def name_of(section: str, field_name: str) -> str:
    """Return the name that a setting has in config.schema.yaml."""
    prefix, kind = _SECTIONS[section]
    (found,) = [item for item in fields(kind) if item.name == field_name]
    return str(found.metadata.get("name", prefix + found.name))


def secrets_of(settings: Settings) -> List[Secret]:
    """Return the secret settings, whether they are set or not."""
    return [value_of(settings, name) for name, entry in schema().items() if entry.get("secret")]


def from_config(config: Optional[Mapping[str, Any]], read: Optional[ReadKey] = None) -> Settings:
    """Return Settings from the pack's config; an absent or null setting takes its default.

    :param read: reads the datastore keys that secret settings name; nothing is read before a secret
        is used.
    :raises SettingsError: for a value of the wrong type or out of range.
    """
    values = {name: _value(name, (config or {}).get(name)) for name in schema()}
    for name, described in schema().items():
        if described.get("secret"):
            values[name] = Secret(name, values[name], values[name + SUFFIX], read)
    for pair in _PAIRS:
        missing = [name for name in pair if not values[name]]
        if len(missing) == 1:
            raise SettingsError(missing[0], "missing", "%s and %s together" % pair)
    url = values["st2_web_url"]
    if url and not re.match(r"https?://[^\s/]", url):
        expected = "an address such as https://stackstorm.example.com"
        raise SettingsError("st2_web_url", '"%s"' % url, expected)
    try:
        re.compile(values["unit_pattern"])
    except re.error as error:
        raise SettingsError("unit_pattern", str(error), "a regular expression of Python")
    sections = {
        section: kind(**{item.name: values[name_of(section, item.name)] for item in fields(kind)})
        for section, (_, kind) in _SECTIONS.items()
    }
    settings = Settings(promtool_path=values["promtool_path"], **sections)
    settings.admission.rates  # noqa: B018 - raises for a malformed rate
    settings.target.label_sets  # noqa: B018 - raises for a malformed set
    return settings


def check_exposure(settings: Settings) -> None:
    """Raise SettingsError when the listener would be open to a network without credentials."""
    listener = settings.listener
    if hosts.is_loopback(listener.host.lower()):
        return
    if listener.has_credentials or listener.allow_unauthenticated:
        return
    raise SettingsError(
        "host",
        "%s is not a loopback address, and no credentials are set, so anyone who reaches port %d "
        "could start remediations" % (listener.host, listener.port),
        remedy="Set token (or username and password) in the config of the pack poundcake, or set "
        "host to 127.0.0.1, or, if something else guards the port, set allow_unauthenticated to "
        "true",
    )


def _value(name: str, value: Any) -> Any:
    """Return a setting's value, checked; its default when it is absent."""
    described = schema()[name]
    if value is None:
        value = described.get("default")
        if value is None:
            return None
    kind, wanted = _TYPES[described["type"]]
    wrong = not isinstance(value, kind) or (kind is int and isinstance(value, bool))
    if wrong or (kind is list and not all(isinstance(item, str) for item in value)):
        raise SettingsError(name, _GIVEN.get(type(value), "a value"), wanted)
    low, high = _RANGES.get(name, (None, None))
    if low is not None and not low <= value <= high:
        raise SettingsError(name, "%d is out of range" % value, "%d to %d" % (low, high))
    return tuple(value) if kind is list else value


def _rate(name: str, value: str) -> Tuple[int, float]:
    setting, most = name + "_limit", _RATES[name]
    match = re.match(r"\s*(\d{1,9})\s*/\s*(\S+)\s*\Z", value)
    expected = "a count and a time, such as 3/1h or 7/1d"
    if not match:
        raise SettingsError(setting, f'"{value}"', expected)
    try:
        count, seconds = int(match.group(1)), clock.span(match.group(2))
    except ValueError:
        raise SettingsError(setting, f'"{value}"', expected)
    if not 1 <= count <= most:
        raise SettingsError(setting, f'"{value}" is out of range', f"a count of 1 to {most}")
    return count, seconds


def _label_set(value: str) -> List[str]:
    names = [name.strip() for name in value.split(",")]
    if not all(names):
        expected = "label names separated by commas, such as namespace,deployment"
        raise SettingsError("target_labels", f'"{value}"', expected)
    return names
