"""HTTP to the servers that the config names, with its credentials and its certificate authorities.

The settings of Prometheus and Alertmanager are ``<name>_url``, ``<name>_token``,
``<name>_username``, ``<name>_password``, ``<name>_ca_path`` and ``<name>_verify``. How long a
server may take and how much it may send: ``bounded``.
"""

from dataclasses import dataclass
from typing import Any

import requests
import urllib3

from poundcake import logins
from poundcake.errors import ExpectedError
from poundcake.settings import ServerSettings, Settings
from poundcake.upstream import bounded

_TITLES = {"alertmanager": "Alertmanager", "prometheus": "Prometheus"}
_PORTS = {"alertmanager": 9093, "prometheus": 9090}
_LONGEST_ANSWER = 300  # characters of an answer in an error
_LONGEST_REASON = 1000


class Refused(ExpectedError):
    """A server answers with an error.

    :param status: the HTTP status.
    :param reason: what the server says about it.
    """

    def __init__(self, subject: str, problem: str, status: int, reason: str):
        super().__init__(subject, problem)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Server:
    """A server, and the settings that errors name.

    :param title: what it is, such as Alertmanager.
    :param auth: how to log in, as requests takes it.
    :param verify: whether to check its certificate; or a file with the authorities to trust.
    """

    title: str
    url: str
    auth: Any
    verify: Any
    url_setting: str
    token_setting: str
    ca_setting: str

    def request(self, method: str, path: str, **options: Any) -> bounded.Answer:
        """Return the answer to a request, whatever its status, except for a redirect.

        :raises ExpectedError: names the setting, when there is no answer, or not one to accept.
        """
        url = self.url.rstrip("/") + path
        try:
            answer = bounded.request(method, url, auth=self.auth, verify=self.verify, **options)
        except requests.exceptions.SSLError as error:
            raise ExpectedError(self.ca_setting, f"{url} is not trusted: {error}")
        except bounded.LimitExceeded as error:
            raise ExpectedError(self.url_setting, f"{url}: {error}", f"the URL of {self.title}")
        except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as error:
            raise ExpectedError(self.url_setting, f"{url} cannot be reached: {error}")
        except OSError as error:  # requests looks for the file itself
            raise ExpectedError(self.ca_setting, str(error), "a readable file of certificates")
        except ValueError:  # its text contains the token
            raise logins.malformed(self.token_setting)
        if 300 <= answer.status < 400:
            place = answer.headers.get("Location", "")[:_LONGEST_ANSWER]
            raise ExpectedError(
                self.url_setting,
                f"{url} answers {answer.status} and points to {place}",
                f"the URL of {self.title} itself, as redirects are not followed",
            )
        return answer

    def json(self, answer: bounded.Answer, path: str) -> Any:
        """Return the decoded JSON of an answer to a request for a path."""
        try:
            return answer.json()
        except ValueError:
            raise logins.not_json(self.url_setting, self.url.rstrip("/") + path, self.title)


def call(
    settings: Settings, name: str, method: str, path: str, missing_ok: bool = False, **more: Any
) -> Any:
    """Return the decoded JSON that a server answers, ``{}`` for an empty answer.

    :param name: the server: alertmanager or prometheus.
    :param missing_ok: return None when the answer is 404.
    :param more: arguments for requests, such as ``json`` or ``params``.
    :raises ExpectedError: names the setting, when the server is not set, cannot be reached, rejects
        the credentials, answers with an error (Refused), or does not answer JSON.
    """
    server = _server(name, getattr(settings, name))
    answer = server.request(method, path, **more)
    url = server.url.rstrip("/") + path
    if answer.status == 404 and missing_ok:
        return None
    if answer.status in (401, 403):
        remedy = f"Set it, or {name}_username and {name}_password, in the config of poundcake"
        raise ExpectedError(
            f"{name}_token", f"{url} answers {answer.status}", "valid credentials", remedy
        )
    if answer.status >= 400:
        body = answer.text.strip()[:_LONGEST_ANSWER]
        problem = f"{method} {url} answers {answer.status}: {body}"
        raise Refused(f"{name}_url", problem, answer.status, _reason(answer))
    return server.json(answer, path) if answer.content else {}


def _server(name: str, server: ServerSettings) -> Server:
    if not server.url:
        example = f"a URL such as http://{name}.example.com:{_PORTS[name]}"
        remedy = "Set it in the config of poundcake"
        raise ExpectedError(f"{name}_url", "is not set", example, remedy)
    return Server(
        _TITLES[name],
        server.url,
        _login(server),
        server.verify and (server.ca_path or True),
        f"{name}_url",
        f"{name}_token",
        f"{name}_ca_path",
    )


def _reason(answer: bounded.Answer) -> str:
    """Return what a server says about an error; Prometheus says it in ``error``."""
    try:
        return str(answer.json().get("error") or answer.text)[:_LONGEST_REASON]
    except (ValueError, AttributeError):
        return answer.text.strip()[:_LONGEST_REASON]


def _login(server: ServerSettings) -> Any:
    """Return ``auth`` for requests: the token, the user's name and password, or None."""
    token = server.token.value.strip()
    if token:
        return logins.with_token(token)
    if server.username:
        return server.username.encode("utf-8"), server.password.value.encode("utf-8")
    return None
