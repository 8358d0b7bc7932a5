"""Where a git repository is: an HTTPS or SSH URL, as text and as its parts. Pure.

https://git-scm.com/docs/git-clone#_git_urls
"""

import re
import urllib.parse
from dataclasses import dataclass

from poundcake.errors import ExpectedError

# user@host:path, which is SSH, too
_SHORT = re.compile(r"([A-Za-z0-9_][\w.-]*)@([A-Za-z0-9][\w.-]*):(?!//)([^\s-][^\s]*)\Z")
_SCHEMES = ("https", "http", "ssh", "file")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class GitUrl:
    """A URL that git takes; it has no secret in it.

    ``scheme`` is https, http, ssh or file. ``origin`` is scheme, host and port, as in
    https://git.example.com:8443. ``path`` is that of the repository, as in team/rules.
    """

    text: str
    scheme: str
    host: str
    origin: str
    path: str


def parse(text, has_token=False):
    """Return the GitUrl of a text.

    :param has_token: whether a token will be sent there.
    :raises ExpectedError: when it is none, or would show a secret. The text is not repeated where a
        secret may be in it.
    """
    if not text:
        text = "git_repo_url: is not set; write it into the config of poundcake, as in "
        raise ExpectedError(text + "https://github.com/example/rules.git")
    short = _SHORT.match(text)
    if short:
        user, host, path = short.groups()
        return GitUrl(text, "ssh", host, "https://" + host, _path(path))
    try:
        parts = urllib.parse.urlsplit(text)
        host, port, user = parts.hostname or "", parts.port, parts.username or ""
    except ValueError:
        raise ExpectedError("git_repo_url: this is no URL")
    if parts.password is not None or (user and parts.scheme != "ssh"):
        raise ExpectedError(
            "git_repo_url: has a user or password in it, which anyone could read in the list of "
            "processes; write the URL without, and set git_token and git_username"
        )
    odd = any(not one.isprintable() or one.isspace() for one in text)
    hostless = not host and parts.scheme != "file"
    if odd or hostless or parts.scheme not in _SCHEMES or not parts.path.strip("/"):
        shown = "%s://%s%s" % (parts.scheme, host, parts.path)
        remedy = "write https://..., ssh://... or git@host:path"
        raise ExpectedError(
            "git_repo_url: %s is no URL of a repository; %s" % (shown[:200], remedy)
        )
    if parts.query or parts.fragment or host.startswith("-") or user.startswith("-"):
        raise ExpectedError("git_repo_url: write it without ?, # and names that begin with -")
    if parts.scheme == "http" and has_token and host not in _LOOPBACK:
        raise ExpectedError("git_repo_url: http would show git_token to the network; write https")
    return GitUrl(text, parts.scheme, host, _origin(parts.scheme, host, port), _path(parts.path))


def _origin(scheme, host, port):
    host = "[%s]" % host if ":" in host else host
    if scheme in ("ssh", "file"):
        return "https://" + host  # where the API of the same host is; the port is that of SSH
    return "%s://%s%s" % (scheme, host, ":%d" % port if port else "")


def _path(path):
    path = path.strip("/")
    return path[: -len(".git")] if path.endswith(".git") else path
