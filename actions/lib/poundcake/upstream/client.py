"""HTTP to the servers whose place and credentials the config gives: Alertmanager and Prometheus.

The settings of a server are ``<name>_url``, ``<name>_token``, ``<name>_username`` and
``<name>_password``.
"""

import requests

from poundcake.errors import ExpectedError

TIMEOUT_SECONDS = 30
_TITLES = {"alertmanager": "Alertmanager", "prometheus": "Prometheus"}
_PORTS = {"alertmanager": 9093, "prometheus": 9090}


class Refused(ExpectedError):
    """A server answers that it will not; ``status`` is the HTTP status, ``reason`` its words."""

    def __init__(self, text, status, reason):
        super().__init__(text)
        self.status = status
        self.reason = reason


def call(settings, name, method, path, missing_ok=False, **more):
    """Return the decoded JSON that a server answers, ``{}`` for an empty answer.

    :param name: of the server: alertmanager or prometheus.
    :param missing_ok: return None when the answer is 404.
    :param more: for requests, such as ``json`` or ``params``.
    :raises ExpectedError: that names the setting, when there is none, the server cannot be reached,
        does not let us in, refuses (Refused), or answers no JSON.
    """
    server = getattr(settings, name)
    base = server.url
    if not base:
        text = "%s_url: is not set; write it into the config of poundcake, as in http://%s:%d"
        raise ExpectedError(text % (name, name + ".example.com", _PORTS[name]))
    url = base.rstrip("/") + path
    try:
        answer = requests.request(method, url, auth=_login(server), timeout=TIMEOUT_SECONDS, **more)
    except (requests.RequestException, UnicodeError) as error:
        raise ExpectedError("%s_url: %s cannot be reached: %s" % (name, url, error))
    except ValueError:  # its text has the token in it
        raise ExpectedError(
            "%s_token: has a character that no token has, such as a line break" % name
        )
    if answer.status_code == 404 and missing_ok:
        return None
    if answer.status_code in (401, 403):
        text = "{0}_token: {1} answers {2}; set it, or {0}_username and {0}_password, "
        text += "in the config of poundcake"
        raise ExpectedError(text.format(name, url, answer.status_code))
    if not answer.ok:
        text = "%s_url: %s %s answers %d: %s"
        text = text % (name, method, url, answer.status_code, answer.text.strip()[:300])
        raise Refused(text, answer.status_code, _reason(answer))
    try:
        return answer.json() if answer.content else {}
    except ValueError:
        raise ExpectedError("%s_url: %s answers no JSON; is it %s?" % (name, url, _TITLES[name]))


def _reason(answer):
    """Return the words of an error: Prometheus puts them into ``error``."""
    try:
        body = answer.json()
        return str(body.get("error") or answer.text)[:1000]
    except (ValueError, AttributeError):
        return answer.text.strip()[:1000]


def _login(server):
    """Return what requests takes as ``auth``: as a header, a token would give way to ~/.netrc."""
    token = server.token.strip()
    user, password = server.username, server.password
    if token:

        def login(request):
            request.headers["Authorization"] = "Bearer " + token
            return request

        return login
    return tuple(text.encode("utf-8") for text in (user, password)) if user else None
