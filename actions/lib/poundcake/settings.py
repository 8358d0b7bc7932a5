"""The pack's configuration as values. Names, defaults and texts stand in config.schema.yaml."""

from dataclasses import dataclass, fields


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
    max_body_bytes: int = 4194304
    threads: int = 8
    max_backlog: int = 1000
    max_concurrent: int = 10
    request_retention_seconds: int = 604800
    alert_retention_seconds: int = 86400
    execution_retention_seconds: int = 604800
    notify_action: str = "poundcake.log_notification"
    notify_parameters: dict = None

    @property
    def has_credentials(self):
        return bool(self.token or (self.username and self.password))


_RANGES = {
    "port": (0, 65535),
    "max_body_bytes": (1024, 104857600),
    "threads": (1, 100),
    "max_backlog": (1, 1000000),
    "max_concurrent": (1, 10000),
    "request_retention_seconds": (60, 31536000),
    "alert_retention_seconds": (60, 31536000),
    "execution_retention_seconds": (60, 31536000),
}


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
    if bool(settings.username) != bool(settings.password):
        missing = "password" if settings.username else "username"
        raise SettingsError("%s: missing; username and password go together" % missing)
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
    if kind is int and isinstance(value, bool) or not isinstance(value, kind):
        wanted = {str: "a string", int: "a whole number", bool: "true or false", dict: "an object"}
        raise SettingsError("%s: expected %s in the config of poundcake" % (name, wanted[kind]))
    low, high = _RANGES.get(name, (None, None))
    if low is not None and not low <= value <= high:
        text = "%s: %d is out of range; expected %d to %d"
        raise SettingsError(text % (name, value, low, high))
    return value
