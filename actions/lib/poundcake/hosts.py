"""Host names and addresses as labels have them."""

import functools
import ipaddress
import re
import socket
from typing import FrozenSet

_HOST = re.compile(r"[\w:][\w.:%-]*\Z")
# Names that /etc/hosts gives to loopback addresses, beside those that mean nothing else anywhere.
_USUAL_NAMES = re.compile(r"localhost[46]?(\.localdomain[46]?)?|ip6-loopback")
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")


def host_of(instance: str) -> str:
    """Return the host in an instance label: without its scheme, port and path, in lower case.

    What is not one host name or address gives "": ``core.remote`` takes a list of hosts, and
    ``a,b`` or ``user@a`` in a label must not choose where a remediation works.
    """
    host = _without_port(instance.strip()).rstrip(".").lower()
    if not _HOST.match(host):
        return ""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


def is_loopback(name: str) -> bool:
    """Return whether a name, in lower case, or an address means this machine to every client."""
    if name in ("localhost", "ip6-localhost") or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_local(host: str) -> bool:
    """Return whether a host is the machine that this runs on, whatever else has the same name."""
    name = host.rstrip(".").lower()
    if not name:
        return False
    if is_loopback(name) or _USUAL_NAMES.fullmatch(name) or name in _own_names():
        return True
    return _resolves_to_loopback(name)


def _resolves_to_loopback(name: str) -> bool:
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        try:
            # The resolver also takes 127.1, 0x7f000001 and 2130706433.
            address = ipaddress.ip_address(socket.inet_aton(name))
        except (OSError, ValueError):
            return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified or address in _THIS_NETWORK


@functools.lru_cache(maxsize=None)
def _own_names() -> FrozenSet[str]:
    name = socket.gethostname().lower()
    return frozenset({name, name.partition(".")[0]})


def _without_port(text: str) -> str:
    _, separator, rest = text.partition("://")
    if separator:  # only a URL may have a login before its host
        text = rest.split("/", 1)[0].rpartition("@")[2]
    text = text.split("/", 1)[0]
    if text.startswith("["):
        return text[1:].split("]", 1)[0]
    if text.count(":") == 1:
        return text.split(":", 1)[0]
    return text
