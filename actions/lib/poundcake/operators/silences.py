"""What operators do with silences in Alertmanager: create, list and expire them."""

import re
import time
from typing import Any, Dict, List, Mapping, Optional

from poundcake import clock, matchers
from poundcake.arguments import one_of, span
from poundcake.errors import ExpectedError
from poundcake.inert import ORIGINALS
from poundcake.people import person, why
from poundcake.settings import Settings
from poundcake.upstream import alertmanager
from poundcake.views import terminal

ACTIVE, PENDING, EXPIRED, ALL = "active", "pending", "expired", "all"
STATES = (ACTIVE, PENDING, EXPIRED, ALL)
_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_LIST = "List them with: st2 run poundcake.list_silences state=all"


def create_silence(
    settings: Settings,
    matcher_text: str,
    labels: Mapping[str, Any],
    duration: str,
    reason: str,
    by: str,
    now: Optional[float] = None,
) -> Optional[Dict[str, Any]]:
    """Silence the alerts that match, from now on, and return the silence.

    :param matcher_text: as ``matchers.parse`` takes it; may be empty when there are labels.
    :param labels: ``{name: value}`` that an alert has exactly; empty values are ignored.
    :param duration: a length of time as in 30m or 2h.
    :raises ExpectedError: when matchers and labels are empty, or Alertmanager refuses the silence.
    """
    wanted = _all_matchers(matcher_text, labels)
    seconds = span("duration", duration)
    begin = time.time() if now is None else now
    silence_id = alertmanager.create_silence(
        settings,
        wanted,
        clock.to_text(begin),
        clock.to_text(begin + seconds),
        person(by or "poundcake"),  # a workflow may ask where StackStorm knows no users
        why(reason),
    )
    return alertmanager.get_silence(settings, silence_id)


def list_silences(settings: Settings, state: str) -> Dict[str, Any]:
    """Return the silences in a state (one of STATES), under ``silences``; the next to end first."""
    one_of("state", state, STATES)
    silences = [
        silence
        for silence in alertmanager.list_silences(settings)
        if state in (ALL, silence["state"])
    ]
    silences.sort(key=lambda item: (item["ends_at"], item["id"]))
    return {"silences": silences, "table": terminal.silences(silences)}


def expire_silence(settings: Settings, id: str) -> Optional[Dict[str, Any]]:
    """End a silence and return it; it is no error when it has ended already.

    :raises ExpectedError: when there is no such silence.
    """
    if not _ID.match(id):
        raise ExpectedError("id", f'"{id[:100]}" is not the id of a silence', "a UUID", _LIST)
    silence = alertmanager.get_silence(settings, id)
    if silence is None:
        raise ExpectedError("id", f"Alertmanager has no silence {id}", remedy=_LIST)
    if silence["state"] != EXPIRED:
        alertmanager.delete_silence(settings, id)
        silence = alertmanager.get_silence(settings, id)
    return silence


def _all_matchers(matcher_text: str, labels: Mapping[str, Any]) -> List[matchers.Matcher]:
    wanted: List[matchers.Matcher] = []
    if matcher_text.strip():
        try:
            wanted += matchers.parse(matcher_text)
        except ValueError as error:
            raise ExpectedError("matchers", str(error))
    for name, value in labels.items():
        if not isinstance(value, str):
            raise ExpectedError("labels", f"the value of {name} is not a string", "strings only")
        if value:
            wanted.append(_exactly(name, value))
    if not wanted:
        example = 'matchers such as alertname="HostDown"'
        raise ExpectedError("matchers, labels", "both are empty", example)
    return wanted


def _exactly(name: str, value: str) -> matchers.Matcher:
    """Return the Matcher of one value of a label, in the original or as a workflow sees it.

    A workflow sees look-alikes of a few characters (inert.py), so a look-alike in the value matches
    the original character, too.
    """
    if not any(alike in value for alike in ORIGINALS):
        return matchers.Matcher(name, "=", value)
    either = {alike: f"[{alike}{original}]" for alike, original in ORIGINALS.items()}
    return matchers.Matcher(name, "=~", "".join(either.get(c) or re.escape(c) for c in value))
