"""Silences, over version 2 of Alertmanager's API.

https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
"""

import re
import time

from poundcake import clock, matchers
from poundcake.arguments import span
from poundcake.errors import ExpectedError
from poundcake.inert import ORIGINALS
from poundcake.people import person, why
from poundcake.upstream import client

ACTIVE, PENDING, EXPIRED, ALL = "active", "pending", "expired", "all"
STATES = (ACTIVE, PENDING, EXPIRED, ALL)
_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")


def create_silence(settings, matcher_text, labels, duration, reason, by, now=None):
    """Silence the alerts that match, from now on, and return the silence.

    :param matcher_text: as ``matchers.parse`` takes it; may be empty when there are labels.
    :param labels: ``{name: value}`` that an alert has exactly; empty ones do not count.
    :param duration: a length of time as in 30m or 2h.
    :raises ExpectedError: when that names nothing, or Alertmanager does not take it.
    """
    wanted = _wanted(matcher_text, labels)
    seconds = span("duration", duration)
    begin = time.time() if now is None else now
    body = {
        "matchers": [_to_json(matcher) for matcher in wanted],
        "startsAt": clock.to_text(begin),
        "endsAt": clock.to_text(begin + seconds),
        "createdBy": person(by),
        "comment": why(reason),
    }
    made = _call(settings, "POST", "/silences", json=body).get("silenceID")
    return _silence(_call(settings, "GET", "/silence/%s" % made))


def list_silences(settings, state):
    """Return the silences in a state (one of STATES), under ``silences``; the next to end first."""
    if state not in STATES:
        raise ExpectedError('state: "%s" is none; write one of %s' % (state, ", ".join(STATES)))
    found = [_silence(item) for item in _call(settings, "GET", "/silences")]
    found = [item for item in found if state in (ALL, item["state"])]
    return {"silences": sorted(found, key=lambda item: (item["ends_at"], item["id"]))}


def expire_silence(settings, id):
    """End a silence and return it; one that has ended already is no error.

    :raises ExpectedError: when there is no such silence.
    """
    remedy = "see st2 run poundcake.list_silences"
    if not _ID.match(id):
        raise ExpectedError('id: "%s" is no id of a silence; %s' % (id[:100], remedy))
    found = _call(settings, "GET", "/silence/" + id, missing_ok=True)
    if found is None:
        raise ExpectedError("id: Alertmanager has no silence %s; %s" % (id, remedy))
    if _silence(found)["state"] != EXPIRED:
        _call(settings, "DELETE", "/silence/" + id)
        found = _call(settings, "GET", "/silence/" + id)
    return _silence(found)


def _wanted(matcher_text, labels):
    wanted = []
    if matcher_text.strip():
        try:
            wanted += matchers.parse(matcher_text)
        except ValueError as error:
            raise ExpectedError("matchers: %s" % error)
    for name, value in labels.items():
        if not isinstance(value, str):
            raise ExpectedError("labels: %s is no text; write every value as one" % name)
        if value:
            wanted.append(_exactly(name, value))
    if not wanted:
        text = 'matchers, labels: name nothing; write matchers such as alertname="HostDown"'
        raise ExpectedError(text)
    return wanted


def _exactly(name, value):
    """Return the Matcher of a label's value, as Alertmanager has it or as PoundCake passes it on.

    A workflow sees look-alikes (inert.py) of a few characters: here they stand for either.
    """
    if not any(alike in value for alike in ORIGINALS):
        return matchers.Matcher(name, "=", value)
    either = {alike: "[%s%s]" % (alike, original) for alike, original in ORIGINALS.items()}
    return matchers.Matcher(name, "=~", "".join(either.get(c) or re.escape(c) for c in value))


def _to_json(matcher):
    return {
        "name": matcher.name,
        "value": matcher.value,
        "isRegex": matcher.op in ("=~", "!~"),
        "isEqual": matcher.op in ("=", "=~"),
    }


def _to_text(found):
    equal = found.get("isEqual", True)  # Alertmanager before 0.22 has none
    op = ("=~" if equal else "!~") if found["isRegex"] else ("=" if equal else "!=")
    return str(matchers.Matcher(found["name"], op, found["value"]))


def _silence(item):
    return {
        "id": item["id"],
        "state": item["status"]["state"],
        "matchers": [_to_text(one) for one in item["matchers"]],
        "starts_at": item["startsAt"],
        "ends_at": item["endsAt"],
        "by": item["createdBy"],
        "reason": item["comment"],
    }


def _call(settings, method, path, missing_ok=False, **more):
    return client.call(settings, "alertmanager", method, "/api/v2" + path, missing_ok, **more)
