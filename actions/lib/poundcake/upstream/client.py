"""HTTP to Alertmanager and Prometheus, with the URLs and credentials of the config.

The settings of a server are ``<name>_url``, ``<name>_token``, ``<name>_username`` and
``<name>_password``.
"""

from typing import Any

import requests

from poundcake import logins
from poundcake.errors import ExpectedError
from poundcake.settings import Settings

TIMEOUT_SECONDS = 30
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
    server = getattr(settings, name)
    if not server.url:
        example = f"a URL such as http://{name}.example.com:{_PORTS[name]}"
        remedy = "Set it in the config of poundcake"
        raise ExpectedError(f"{name}_url", "is not set", example, remedy)
    url = server.url.rstrip("/") + path
    try:
        answer = requests.request(method, url, auth=_login(server), timeout=TIMEOUT_SECONDS, **more)
    except (requests.RequestException, UnicodeError) as error:
        raise ExpectedError(f"{name}_url", f"{url} cannot be reached: {error}")
    except ValueError:  # its text contains the token
        raise logins.malformed(f"{name}_token")
    if answer.status_code == 404 and missing_ok:
        return None
    if answer.status_code in (401, 403):
        remedy = f"Set it, or {name}_username and {name}_password, in the config of poundcake"
        raise ExpectedError(
            f"{name}_token", f"{url} answers {answer.status_code}", "valid credentials", remedy
        )
    if not answer.ok:
        body = answer.text.strip()[:_LONGEST_ANSWER]
        problem = f"{method} {url} answers {answer.status_code}: {body}"
        raise Refused(f"{name}_url", problem, answer.status_code, _reason(answer))
    try:
        return answer.json() if answer.content else {}
    except ValueError:
        raise logins.not_json(f"{name}_url", url, _TITLES[name])


def _reason(answer: requests.Response) -> str:
    """Return what a server says about an error; Prometheus says it in ``error``."""
    try:
        return str(answer.json().get("error") or answer.text)[:_LONGEST_REASON]
    except (ValueError, AttributeError):
        return answer.text.strip()[:_LONGEST_REASON]


def _login(server: Any) -> Any:
    """Return ``auth`` for requests: the token, the user's name and password, or None."""
    token = server.token.strip()
    if token:
        return logins.with_token(token)
    if server.username:
        return server.username.encode("utf-8"), server.password.encode("utf-8")
    return None
