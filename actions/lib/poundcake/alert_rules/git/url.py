"""Parses the URL of a git repository, HTTPS or SSH. Pure.

https://git-scm.com/docs/git-clone#_git_urls
"""

import re
import urllib.parse
from dataclasses import dataclass

from poundcake import logins
from poundcake.errors import ExpectedError

# user@host:path, the short form for SSH
_SHORT = re.compile(r"([A-Za-z0-9_][\w.-]*)@([A-Za-z0-9][\w.-]*):(?!//)([^\s-][^\s]*)\Z")
_SCHEMES = ("https", "http", "ssh", "file")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_EXPECTED = "https://..., ssh://... or git@host:path"


@dataclass(frozen=True)
class GitUrl:
    """A URL that git accepts, without any secret in it.

    ``scheme`` is https, http, ssh or file. ``origin`` is scheme, host and port, as in
    https://git.example.com:8443. ``path`` is that of the repository, such as team/rules.
    """

    address: str
    scheme: str
    host: str
    origin: str
    path: str


def parse(address: str, has_token: bool = False) -> GitUrl:
    """Return the GitUrl of a setting.

    :param has_token: whether a token will be sent there.
    :raises ExpectedError: when it is not a URL, or would show a secret. The URL is not repeated
        where it may contain a secret.
    """
    if not address:
        remedy = "Set it in the config of poundcake, such as https://github.com/example/rules.git"
        raise ExpectedError("git_repo_url", "not set", remedy=remedy)
    short = _SHORT.match(address)
    if short:
        user, host, path = short.groups()
        return GitUrl(address, "ssh", host, "https://" + host, _path(path))
    try:
        parts = urllib.parse.urlsplit(address)
        host, port, user = parts.hostname or "", parts.port, parts.username or ""
    except ValueError:
        raise ExpectedError("git_repo_url", "not a URL", _EXPECTED)
    if parts.password is not None or (user and parts.scheme != "ssh"):
        raise ExpectedError(
            "git_repo_url",
            "has a user or password in it, which anyone could read in the list of processes",
            remedy="Remove it from the URL, and set git_token and git_username",
        )
    odd = any(not one.isprintable() or one.isspace() for one in address)
    hostless = not host and parts.scheme != "file"
    if odd or hostless or parts.scheme not in _SCHEMES or not parts.path.strip("/"):
        shown = f"{parts.scheme}://{host}{parts.path}"[:200]
        raise ExpectedError("git_repo_url", f"{shown} is not the URL of a repository", _EXPECTED)
    if parts.query or parts.fragment or host.startswith("-") or user.startswith("-"):
        raise ExpectedError("git_repo_url", "it must not have ?, # or a name that begins with -")
    if parts.scheme == "http" and has_token and host not in _LOOPBACK:
        raise logins.unencrypted("git_repo_url", "git_token")
    return GitUrl(address, parts.scheme, host, _origin(parts.scheme, host, port), _path(parts.path))


def _origin(scheme, host, port):
    host = f"[{host}]" if ":" in host else host
    if scheme in ("ssh", "file"):
        return "https://" + host  # the API of the same host; the port is that of SSH
    return f"{scheme}://{host}:{port}" if port else f"{scheme}://{host}"


def _path(path):
    path = path.strip("/")
    return path[: -len(".git")] if path.endswith(".git") else path
