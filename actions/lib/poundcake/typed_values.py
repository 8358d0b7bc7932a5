"""The types of values that name what a remediation acts on, each with its pattern.

Whoever controls a label chooses such a value. Quoting keeps a value from being more than one
argument; a type keeps that argument from naming anything but what is meant. ``unit`` and ``host``
also obey the settings ``unit_pattern`` and ``allowed_hosts``.
"""

import ipaddress
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Callable, Dict, List, Mapping, Optional

from poundcake.errors import ExpectedError
from poundcake.settings import Settings

_SHOWN_CHARACTERS = 80
_PATH_BELOW = "path below "

# What StackStorm, SSH, systemd and the network need, and units that give away a root shell.
PROTECTED_UNITS = (
    "st2*",
    "ssh",
    "sshd",
    "ssh@*",
    "sshd@*",
    "systemd-*",
    "user@*",
    "user-runtime-dir@*",
    "init",
    "dbus",
    "dbus-broker",
    "polkit",
    "udev",
    "getty@*",
    "serial-getty@*",
    "console-getty",
    "container-getty@*",
    "debug-shell",
    "emergency",
    "rescue",
    "initrd-*",
    "plymouth-*",
    "network",
    "networking",
    "network-manager",
    "NetworkManager",
    "NetworkManager-*",
    "netplan-*",
    "ifup@*",
    "ifupdown*",
    "wpa_supplicant*",
    "dhcpcd*",
    "dhclient*",
    "wg-quick@*",
    "firewalld",
    "nftables",
    "iptables",
    "ip6tables",
    "ufw",
    "cloud-init*",
)
_UNIT_TYPES = "service socket device mount automount swap target path timer slice scope snapshot"
_UNIT_TYPES_PATTERN = re.compile(r"\.(%s)\Z" % "|".join(_UNIT_TYPES.split()))


@dataclass(frozen=True)
class Kind:
    """What a value of one type looks like.

    :param pattern: it matches the whole value.
    :param expected: what a person should have given.
    :param allows: a further check; returns why a value is refused, "" when it is not.
    """

    pattern: "re.Pattern[str]"
    expected: str
    allows: Callable[[str, Optional[Settings]], str] = lambda value, settings: ""


def check(kind: str, value: str, name: str, settings: Optional[Settings] = None) -> str:
    """Return a value if it is of a kind.

    :param kind: a key of ``KINDS``, or ``path below /some/folder``.
    :param name: the parameter that the value comes from; an error begins with it.
    :param settings: where ``unit_pattern`` and ``allowed_hosts`` are read, None for the defaults.
    :raises ExpectedError: when the value is empty or not of that kind.
    """
    found = kind_of(kind, name)
    if not value:
        raise ExpectedError(name, "empty", found.expected)
    if not found.pattern.fullmatch(value):
        raise ExpectedError(name, _shown(value), found.expected)
    problem = found.allows(value, settings)
    if problem:
        raise ExpectedError(name, f"{_shown(value)} {problem}", found.expected)
    return value


def check_all(
    kinds: Mapping[str, str], values: Mapping[str, str], settings: Optional[Settings] = None
) -> None:
    """Check values by their kinds; a value without a kind only must not be empty.

    :raises ExpectedError: about all values that are not of their kind.
    """
    errors: List[ExpectedError] = []
    for name, value in values.items():
        try:
            check(kinds.get(name, "anything"), value, name.lower(), settings)
        except ExpectedError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ExpectedError("; ".join(str(error) for error in errors))


def kind_of(text: str, name: str = "kind") -> Kind:
    """Return the Kind that a text names.

    :raises ExpectedError: when there is no such kind.
    """
    if text.startswith(_PATH_BELOW):
        root = check("path", text[len(_PATH_BELOW) :].strip(), name).rstrip("/")
        below = re.compile(re.escape(root) + _STEPS, re.ASCII)
        return Kind(below, f"a path below {root or '/'} without .., * or ?")
    if text not in KINDS:
        known = ", ".join([*sorted(KINDS), _PATH_BELOW + "/some/folder"])
        raise ExpectedError(name, f'no type of values is called "{text}"', known)
    return KINDS[text]


def _unit_problem(value: str, settings: Optional[Settings]) -> str:
    unit = value if _UNIT_TYPES_PATTERN.search(value) else value + ".service"
    own = settings.remediation.unit_pattern if settings else ""
    if own:
        return "" if re.fullmatch(own, unit) else "does not match the setting unit_pattern"
    if not unit.endswith(".service"):
        return "is not a service"
    stem = unit[: -len(".service")]
    if any(fnmatchcase(stem, pattern) for pattern in PROTECTED_UNITS):
        return "is needed by StackStorm, SSH, systemd or the network"
    return ""


def _host_problem(value: str, settings: Optional[Settings]) -> str:
    name = _without_port(value)
    if name.count(":") or value.startswith("["):
        try:
            ipaddress.IPv6Address(name)
        except ValueError:
            return "is not an address"
    allowed = settings.remediation.allowed_hosts if settings else ()
    name = name.lower().rstrip(".")
    if allowed and not any(fnmatchcase(name, pattern.lower()) for pattern in allowed):
        return "does not match the setting allowed_hosts"
    return ""


def _without_port(value: str) -> str:
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return value.partition(":")[0] if value.count(":") == 1 else value


def _shown(value: str) -> str:
    text = value.encode("unicode_escape").decode("ascii") if not value.isprintable() else value
    if len(text) > _SHOWN_CHARACTERS:
        text = text[:_SHOWN_CHARACTERS] + "…"
    return f'"{text}"'


def _pattern(text: str) -> "re.Pattern[str]":
    return re.compile(text, re.ASCII)


# One or more steps down; none is "." or "..", and none has a glob or a control character.
_STEPS = r"(?:/(?!\.{1,2}(?:/|\Z))[^/*?\[\]\\\x00-\x1f\x7f]{1,255})+"
_HOST_NAME = r"[0-9A-Za-z_](?:[0-9A-Za-z_.-]{0,251}[0-9A-Za-z_])?\.?"
_HOST = rf"(?:{_HOST_NAME}(?::\d{{1,5}})?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)"
_HOST = rf"(?:{_HOST}|\[[0-9A-Fa-f:.]+\](?::\d{{1,5}})?)"
_DNS_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"

KINDS: Dict[str, Kind] = {
    "unit": Kind(
        _pattern(r"[0-9A-Za-z_:][0-9A-Za-z_:.\\@-]{0,254}"),
        "the name of one systemd service that may be restarted",
        _unit_problem,
    ),
    "host": Kind(
        _pattern(_HOST),
        "one name or address; a command runs on one host only",
        _host_problem,
    ),
    "name": Kind(
        _pattern(r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,252}"),
        "letters, digits, _, . and -, and no . or - at the beginning",
    ),
    "path": Kind(_pattern(rf"/|{_STEPS}"), "an absolute path without .., * or ?"),
    "number": Kind(_pattern(r"\d{1,15}(?:\.\d{1,9})?"), "a number, such as 80 or 0.5"),
    "endpoint": Kind(
        _pattern(
            r"(?:[a-z][a-z0-9+.-]{0,20}://)?(?:[0-9A-Za-z_][!-.0-?A-~]{0,200}@)?"
            rf"{_HOST}(?:/[!-~]{{0,2000}})?"
        ),
        "a URL, or a host with or without a port, such as shop.example.com:443",
    ),
    "database": Kind(
        _pattern(r"[0-9A-Za-z_][0-9A-Za-z_$.-]{0,62}"), "the name of a database, such as shop"
    ),
    "pod": Kind(
        _pattern(rf"(?!.{{254}}){_DNS_LABEL}(?:\.{_DNS_LABEL})*"),
        "the name of a Kubernetes object, such as shop-7d4b9-x2x8p",
    ),
    "namespace": Kind(_pattern(_DNS_LABEL), "the name of a Kubernetes namespace, such as shop"),
    "context": Kind(
        _pattern(r"[0-9A-Za-z][0-9A-Za-z_.:@/-]{0,251}"), "the name of a context in a kubeconfig"
    ),
    # For programs that take any text as data, such as echo and logger.
    "text": Kind(
        _pattern(r"[^\x00-\x08\x0b-\x1f\x7f]{1,4096}"), "at most 4096 characters, no control ones"
    ),
    "anything": Kind(_pattern(r"[^\x00]+"), "a text"),
}
