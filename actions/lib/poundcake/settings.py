"""The pack's configuration as values. Names, defaults and texts stand in config.schema.yaml."""

import functools
import re
from dataclasses import dataclass, fields

from poundcake import clock

# What a row keeps of earlier attempts is what a rate can be counted over.
MOST_IN_RATE = 50


class SettingsError(ValueError):
    """A setting that cannot be used; the text names it, what is wrong and what to write."""


@dataclass(frozen=True)
class Settings:
    """One field a setting of config.schema.yaml; spans in seconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = 8090
    token: str = ""
    username: str = ""
    password: str = ""
    allow_unauthenticated: bool = False
    st2_web_url: str = ""
    max_body_bytes: int = 4194304
    threads: int = 8
    max_backlog: int = 1000
    max_concurrent: int = 10
    serialize_by: str = "host"
    cooldown_seconds: int = 300
    backoff_factor: int = 2
    max_attempts: int = 3
    rate_limit: tuple = ("3/1h", "7/1d")
    breaker_failures: int = 5
    breaker_seconds: int = 1800
    dry_run: bool = False
    dry_run_alertnames: tuple = ()
    cancel_on_resolve: bool = False
    watchdog_alertname: str = "Watchdog"
    watchdog_seconds: int = 900
    request_retention_seconds: int = 604800
    alert_retention_seconds: int = 86400
    execution_retention_seconds: int = 604800
    notify_action: str = "poundcake.log_notification"
    notify_parameters: dict = None
    alertmanager_url: str = ""
    alertmanager_token: str = ""
    alertmanager_username: str = ""
    alertmanager_password: str = ""
    prometheus_url: str = ""
    prometheus_token: str = ""
    prometheus_username: str = ""
    prometheus_password: str = ""
    certificate_renew_command: str = ""
    hemako_path: str = "hemako"
    jfr_duration: str = "30s"
    jfr_timeout_seconds: int = 300
    jfr_directory: str = ""
    s3_bucket: str = ""
    s3_prefix: str = ""
    s3_region: str = ""
    s3_endpoint_url: str = ""
    s3_access_key_id: str = ""
    s3_secret_access_key: str = ""
    promtool_path: str = "promtool"
    crd_enabled: bool = True
    crd_namespace: str = "prometheus"
    crd_labels: dict = None
    kube_api_url: str = ""
    kube_token: str = ""
    kube_ca_path: str = ""
    kube_config: str = ""
    kube_context: str = ""
    git_repo_url: str = ""
    git_branch: str = "main"
    git_rules_path: str = "prometheus/rules"
    git_file_pattern: str = "{alert_name}.yaml"
    git_file_form: str = "rules"
    git_branch_prefix: str = "poundcake/"
    git_provider: str = "github"
    git_api_url: str = ""
    git_username: str = ""
    git_token: str = ""
    git_ssh_key: str = ""
    git_known_hosts: str = ""
    git_ca_path: str = ""
    git_user_name: str = "PoundCake"
    git_user_email: str = "poundcake@example.com"
    git_timeout_seconds: int = 120

    @property
    def has_credentials(self):
        return bool(self.token or (self.username and self.password))

    @functools.cached_property
    def rates(self):
        """``rate_limit`` as a list of ``(how many, seconds)``."""
        return [_rate(text) for text in self.rate_limit]

    def is_dry(self, alertname):
        """True when nothing is dispatched for this alertname."""
        return self.dry_run or alertname in self.dry_run_alertnames

    def is_heartbeat(self, alertname):
        """True for the alert that always fires, and of which only the absence matters."""
        return bool(alertname) and alertname == self.watchdog_alertname


_RANGES = {
    "port": (0, 65535),
    "max_body_bytes": (1024, 104857600),
    "threads": (1, 100),
    "max_backlog": (1, 1000000),
    "max_concurrent": (1, 10000),
    "cooldown_seconds": (0, 604800),
    "backoff_factor": (1, 100),
    "max_attempts": (1, 50),
    "breaker_failures": (0, 1000),
    "breaker_seconds": (1, 604800),
    "watchdog_seconds": (10, 604800),
    "request_retention_seconds": (60, 31536000),
    "alert_retention_seconds": (60, 31536000),
    "execution_retention_seconds": (60, 31536000),
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


def from_config(config):
    """Return Settings from the pack's config; an absent or null setting takes its default.

    Raises SettingsError for a value of the wrong type or out of range.
    """
    values = {}
    for item in fields(Settings):
        value = (config or {}).get(item.name)
        if value is not None:
            values[item.name] = _checked(item.name, item.type, value)
    settings = Settings(**values)
    if settings.st2_web_url and not re.match(r"https?://[^\s/]", settings.st2_web_url):
        text = 'st2_web_url: "%s" is no address; write one as in https://stackstorm.example.com'
        raise SettingsError(text % settings.st2_web_url)
    settings.rates  # noqa: B018 - raises for a rate that is none
    for pair in _PAIRS:
        missing = [name for name in pair if not getattr(settings, name)]
        if len(missing) == 1:
            raise SettingsError("%s: missing; %s and %s go together" % (missing[0], *pair))
    return settings


def check_exposure(settings):
    """Raise SettingsError when the listener would be open to a network without credentials."""
    if settings.host in ("127.0.0.1", "::1", "localhost"):
        return
    if settings.has_credentials or settings.allow_unauthenticated:
        return
    raise SettingsError(
        "host: %s is not a loopback address, and no credentials are set, so anyone who reaches "
        "port %d could start remediations. Set token (or username and password) in the config of "
        "the pack poundcake, or set host to 127.0.0.1, or, if something else guards the port, "
        "set allow_unauthenticated to true" % (settings.host, settings.port)
    )


def _checked(name, kind, value):
    if kind is tuple and isinstance(value, list) and all(isinstance(v, str) for v in value):
        value = tuple(value)
    if kind is int and isinstance(value, bool) or not isinstance(value, kind):
        wanted = {
            str: "a string",
            int: "a whole number",
            bool: "true or false",
            dict: "an object",
            tuple: "a list of strings",
        }
        raise SettingsError("%s: expected %s in the config of poundcake" % (name, wanted[kind]))
    low, high = _RANGES.get(name, (None, None))
    if low is not None and not low <= value <= high:
        text = "%s: %d is out of range; expected %d to %d"
        raise SettingsError(text % (name, value, low, high))
    return value


def _rate(text):
    match = re.match(r"\s*(\d{1,9})\s*/\s*(\S+)\s*\Z", text)
    try:
        count, seconds = int(match.group(1)), clock.span(match.group(2))
    except (AttributeError, ValueError):
        raise SettingsError(
            'rate_limit: "%s" is no rate; write how many and in which time, as in 3/1h or 7/1d'
            % text
        )
    if not 1 <= count <= MOST_IN_RATE:
        message = 'rate_limit: "%s" is out of range; expected 1 to %d in a span'
        raise SettingsError(message % (text, MOST_IN_RATE))
    return count, seconds
