"""Who may ask the listener for what, told from the head of a request. Pure."""

import base64
import binascii
import hmac
import re
from typing import Any, Dict, Mapping, Tuple

from poundcake.hosts import is_loopback
from poundcake.settings import ListenerSettings

Environ = Mapping[str, Any]

# Wrong credentials from one address: so many are answered at once, the others one after another.
FREE_GUESSES = 10
GUESSES_SECONDS = 60
GUESS_SECONDS = 0.2
LONGEST_HOLD_SECONDS = 10.0
MOST_ADDRESSES = 10000
_SHOWN = 100  # characters of a header in an error


class Guard:
    """Checks credentials, names and origins.

    :param settings: of the listener.
    """

    def __init__(self, settings: ListenerSettings):
        self._settings = settings

    def is_authorized(self, environ: Environ) -> bool:
        """Return whether a request has the credentials of the config, or needs none.

        The secrets of the config are read for those who bring some. Raises ExpectedError when they
        cannot be read.
        """
        settings = self._settings
        if not settings.has_credentials:
            return True
        if "HTTP_AUTHORIZATION" not in environ:
            return False
        scheme, _, value = environ["HTTP_AUTHORIZATION"].partition(" ")
        # Always make every comparison, so that the time reveals nothing.
        good_token = scheme.lower() == "bearer" and _same(
            value.strip().encode("latin-1"), settings.token.value
        )
        user, _, password = _basic(value if scheme.lower() == "basic" else "").partition(b":")
        good_user = _same(user, settings.username)
        good_password = _same(password, settings.password.value)
        by_token = bool(settings.token) and good_token
        by_password = bool(settings.username) and good_user and good_password
        return by_token or by_password

    def host_error(self, environ: Environ) -> str:
        """Return what is wrong with the name under which the listener is asked, "" if nothing.

        A web page can give its own name the address of the listener, and is then no foreign page
        to a browser.
        """
        given = environ.get("HTTP_HOST", "")
        name = _name_of(given)
        if not name or is_loopback(name):
            return ""
        settings = self._settings
        names = {_name_of(item) for item in settings.listener_hosts}
        is_any = not names and (settings.has_credentials or settings.allow_unauthenticated)
        if is_any or name in names:
            return ""
        expected = "one of listener_hosts" if names else "localhost or another loopback name"
        return (
            f'Host: "{given[:_SHOWN]}" found; expected {expected}. Add the name to listener_hosts '
            "in the config of the pack poundcake"
        )

    def origin_error(self, environ: Environ) -> str:
        """Return what is wrong when a page of another site has a browser post this, else ""."""
        origin = environ.get("HTTP_ORIGIN")
        site = environ.get("HTTP_SEC_FETCH_SITE", "none")
        own = environ.get("HTTP_HOST", "").lower()
        if origin is not None and (not own or origin.lower().partition("://")[2] != own):
            return f'Origin: "{origin[:_SHOWN]}" found; expected none, or the listener itself'
        if site.lower() not in ("none", "same-origin"):
            return f'Sec-Fetch-Site: "{site[:_SHOWN]}" found; expected none, or same-origin'
        return ""

    @staticmethod
    def type_error(environ: Environ) -> str:
        """Return what is wrong with the Content-Type of a notification, "" if nothing."""
        given = environ.get("CONTENT_TYPE", "")
        if given.partition(";")[0].strip().lower() == "application/json":
            return ""
        if environ.get("HTTP_X_AMZ_SNS_MESSAGE_TYPE"):
            return (
                "Content-Type: an envelope of Amazon SNS found; expected application/json. Point "
                "Alertmanager's webhook_configs at PoundCake itself"
            )
        found = f'"{given[:_SHOWN]}" found' if given else "missing"
        return f"Content-Type: {found}; expected application/json, which Alertmanager sends"


class Guesses:
    """Remembers from where wrong credentials come, and how long their answers are to wait."""

    def __init__(self) -> None:
        # address -> (how many, when the latest came, when the latest is answered)
        self._known: Dict[str, Tuple[int, float, float]] = {}

    def hold(self, address: str, now: float) -> float:
        """Count one more; return for how many seconds its answer waits."""
        count, came, answered = self._known.pop(address, (0, now, now))
        if now - came > GUESSES_SECONDS:
            count = 0
        answered = max(now, answered + GUESS_SECONDS) if count >= FREE_GUESSES else now
        answered = min(answered, now + LONGEST_HOLD_SECONDS)
        self._known[address] = (count + 1, now, answered)
        if len(self._known) > MOST_ADDRESSES:
            del self._known[next(iter(self._known))]  # the one that came longest ago
        return answered - now


def _name_of(host: str) -> str:
    """Return a Host header without its port, as one of several spellings."""
    match = re.match(r"\s*(\[[^\]]*\]|[^:\s]*)(:\d*)?\s*\Z", host)
    name = match.group(1) if match else host
    return name.strip("[]").rstrip(".").lower() if match else name


def _same(given: bytes, expected: str) -> bool:
    return hmac.compare_digest(given, expected.encode("utf-8"))


def _basic(value: str) -> bytes:
    try:
        return base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""
