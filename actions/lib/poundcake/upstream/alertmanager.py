"""A client of version 2 of Alertmanager's API, as far as silences go.

https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
"""

from typing import Any, Dict, Iterable, List, Optional

from poundcake.matchers import Matcher
from poundcake.settings import Settings
from poundcake.upstream import client

Silence = Dict[str, Any]


def create_silence(
    settings: Settings,
    matchers: Iterable[Matcher],
    starts_at: str,
    ends_at: str,
    by: str,
    reason: str,
) -> str:
    """Create a silence and return its id.

    :raises ExpectedError: when Alertmanager refuses it or cannot be asked; so do the others.
    """
    body = {
        "matchers": [_matcher_to_json(matcher) for matcher in matchers],
        "startsAt": starts_at,
        "endsAt": ends_at,
        "createdBy": by,
        "comment": reason,
    }
    answer = _call(settings, "POST", "/silences", json=body)
    return str(answer.get("silenceID"))


def get_silence(settings: Settings, silence_id: str) -> Optional[Silence]:
    """Return a silence, None when there is none with this id.

    It has ``id``, ``state``, ``matchers`` (as text), ``starts_at``, ``ends_at``, ``by`` and
    ``reason``.
    """
    silence = _call(settings, "GET", "/silence/" + silence_id, missing_ok=True)
    return None if silence is None else _silence_from_json(silence)


def list_silences(settings: Settings) -> List[Silence]:
    """Return every silence that Alertmanager keeps, expired ones included."""
    return [_silence_from_json(silence) for silence in _call(settings, "GET", "/silences")]


def delete_silence(settings: Settings, silence_id: str) -> None:
    """End a silence now."""
    _call(settings, "DELETE", "/silence/" + silence_id)


def _matcher_to_json(matcher: Matcher) -> Dict[str, Any]:
    return {
        "name": matcher.name,
        "value": matcher.value,
        "isRegex": matcher.op in ("=~", "!~"),
        "isEqual": matcher.op in ("=", "=~"),
    }


def _matcher_from_json(item: Dict[str, Any]) -> Matcher:
    equal = item.get("isEqual", True)  # Alertmanager before 0.22 does not send it
    if item["isRegex"]:
        return Matcher(item["name"], "=~" if equal else "!~", item["value"])
    return Matcher(item["name"], "=" if equal else "!=", item["value"])


def _silence_from_json(item: Dict[str, Any]) -> Silence:
    return {
        "id": item["id"],
        "state": item["status"]["state"],
        "matchers": [str(_matcher_from_json(one)) for one in item["matchers"]],
        "starts_at": item["startsAt"],
        "ends_at": item["endsAt"],
        "by": item["createdBy"],
        "reason": item["comment"],
    }


def _call(settings: Settings, method: str, path: str, missing_ok: bool = False, **more: Any) -> Any:
    return client.call(settings, "alertmanager", method, "/api/v2" + path, missing_ok, **more)
