"""Alertmanager's webhook payload, version 4, as values with clear errors. Pure.

Grafana's webhook has the same fields and another version, so any version is read.

Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config and
``notify/webhook`` and ``template.Data`` in Alertmanager. The fingerprint is
``model.LabelSet.Fingerprint`` of prometheus/common: 64-bit FNV-1a over the sorted labels.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

from poundcake import clock
from poundcake.errors import PayloadError

FIRING = "firing"
RESOLVED = "resolved"
_STATUSES = (FIRING, RESOLVED)
_FIELDS = ("labels", "annotations", "status", "fingerprint", "startsAt", "endsAt", "generatorURL")
_MOST_LEVELS = 50  # of unknown fields; copying and writing them recurses
_MOST_DIGITS = 400  # of a whole number; reading one costs the square of its length
# What a row holds of an alert stays far below the 16 MB that the datastore takes. In bytes.
_MOST_OF_LABELS = 64 * 1024
_MOST_OF_ANNOTATION = 16 * 1024
_MOST_OF_ANNOTATIONS = 256 * 1024
_MOST_OF_EXTRA = 64 * 1024
_MOST_OF_TEXT = 4 * 1024  # of the group's facts: each of its alerts has them
_MOST_OF_FINGERPRINT = 128
_CUT = " [cut by PoundCake]"
_MOST_WARNINGS = 20
_FNV_OFFSET = 14695981039346656037
_FNV_PRIME = 1099511628211


@dataclass(frozen=True)
class Alert:
    """One good entry of ``alerts[]``.

    ``starts_at`` and ``ends_at`` are canonical UTC text or None; ``extra`` holds what PoundCake
    does not know.
    """

    fingerprint: str
    status: str
    labels: Dict[str, str]
    annotations: Dict[str, str]
    starts_at: Optional[str]
    ends_at: Optional[str]
    generator_url: str
    extra: Dict[str, Any] = field(default_factory=dict)

    @property
    def alertname(self) -> str:
        return self.labels.get("alertname", "")

    @property
    def severity(self) -> str:
        return self.labels.get("severity", "")

    @property
    def instance(self) -> str:
        return self.labels.get("instance", "")


@dataclass(frozen=True)
class Rejected:
    """One entry of ``alerts[]`` that is not an alert, and why. ``fingerprint`` may be empty."""

    index: int
    reason: str
    fingerprint: str = ""


@dataclass(frozen=True)
class Notification:
    """One webhook POST: the group's facts, the good alerts and the rejected ones, in order.

    ``left_out`` counts further alerts, which ``bounded`` has taken away unread.
    """

    status: str
    receiver: str
    group_key: str
    external_url: str
    truncated_alerts: int
    entries: List[Union[Alert, Rejected]]
    warnings: List[str]
    left_out: int = 0

    @property
    def alerts(self) -> List[Alert]:
        return [entry for entry in self.entries if isinstance(entry, Alert)]

    @property
    def rejected(self) -> List[Rejected]:
        return [entry for entry in self.entries if isinstance(entry, Rejected)]


def load_json(body: Union[bytes, str]) -> Any:
    """Return the JSON value in ``body`` (bytes or str); raises PayloadError when there is none."""
    try:
        # json.loads would guess UTF-16, and let half characters pass that no store gives back.
        text = body.decode("utf-8") if isinstance(body, bytes) else body
        return json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite_float, parse_int=_bounded_int
        )
    except (ValueError, RecursionError) as error:
        raise PayloadError(
            "body: not valid JSON (%s); expected Alertmanager's webhook object" % _brief(error)
        )


def bounded(document: Any, most: int) -> Tuple[Any, int]:
    """Return a decoded JSON value with at most so many alerts, and how many are left out."""
    alerts = document.get("alerts") if isinstance(document, dict) else None
    if not isinstance(alerts, list) or len(alerts) <= most:
        return document, 0
    return dict(document, alerts=alerts[:most]), len(alerts) - most


def parse(
    document: Any, left_out: int = 0, take_turns: Callable[[], None] = lambda: None
) -> Notification:
    """Return the Notification in a decoded JSON value.

    A bad entry of ``alerts`` becomes Rejected and the others go on; a bad optional field is left
    out with a warning. Raises PayloadError when nothing of it can be used.

    :param left_out: how many alerts ``bounded`` has left out of it.
    :param take_turns: called between two alerts, of which there may be thousands.
    """
    _check(document)
    warnings: List[str] = []
    if document.get("version") not in (None, "4", 4):
        found = _quote(document["version"])
        warnings.append(f'version: {found} found; expected "4". It is read as if it were "4"')
    if left_out:
        most = len(document["alerts"])
        warnings.append(f"alerts: {left_out} are rejected unread; max_alerts is {most}")
    status = _text(document, "status", warnings)
    group_status = status if status in _STATUSES else None
    entries: List[Union[Alert, Rejected]] = []
    for index, entry in enumerate(document["alerts"]):
        take_turns()
        try:
            entries.append(_parse_alert(entry, "alerts[%d]" % index, group_status, warnings))
        except PayloadError as error:
            entries.append(Rejected(index, str(error), _given_fingerprint(entry)))
    return Notification(
        status=status,
        receiver=_text(document, "receiver", warnings),
        group_key=_text(document, "groupKey", warnings),
        external_url=_text(document, "externalURL", warnings),
        truncated_alerts=_optional(document, "truncatedAlerts", int, 0, warnings),
        entries=entries,
        warnings=_few(warnings),
        left_out=left_out,
    )


def _check(document: Any) -> None:
    """Raise PayloadError when nothing of a notification can be used."""
    if _is_deep(document, 10 * _MOST_LEVELS):
        raise PayloadError("body: nested too deeply; expected Alertmanager's webhook object")
    if not isinstance(document, dict):
        raise PayloadError(
            "body: %s found; expected a JSON object as Alertmanager sends" % _kind(document)
        )
    if "alerts" not in document and "TopicArn" in document:
        raise PayloadError(
            "body: an envelope of Amazon SNS found (Type %s); expected Alertmanager's webhook "
            "object. SNS wraps what Alertmanager sends to it: point Alertmanager's webhook_configs "
            "at PoundCake itself" % _quote(document.get("Type"))
        )
    if "alerts" not in document:
        raise PayloadError("alerts: missing; expected a list of alerts")
    if not isinstance(document["alerts"], list):
        raise PayloadError("alerts: %s found; expected a list" % _kind(document["alerts"]))


def _few(warnings: List[str]) -> List[str]:
    more = len(warnings) - _MOST_WARNINGS
    return warnings[:_MOST_WARNINGS] + ([f"and {more} more"] if more > 0 else [])


def field_of(reason: str) -> str:
    """Return the field that the text of a PayloadError names, without what came from outside."""
    known = "labels|annotations|status|fingerprint|startsAt|endsAt|generatorURL"
    match = re.match(r"\w*(\[\d+\])?(\.(%s)\b)?" % known, reason)
    return match.group() if match else ""


def fingerprint(labels: Dict[str, str]) -> str:
    """Return Alertmanager's fingerprint of a label set: 16 hexadecimal digits."""
    value = _FNV_OFFSET
    for name in sorted(labels, key=lambda text: text.encode("utf-8", "surrogatepass")):
        for text in (name, labels[name]):
            for byte in text.encode("utf-8", "surrogatepass") + b"\xff":
                value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFFFFFFFFFF
    return "%016x" % value


def _parse_alert(entry: Any, where: str, group_status: Optional[str], warnings: List[str]) -> Alert:
    if not isinstance(entry, dict):
        raise PayloadError("%s: %s found; expected an object" % (where, _kind(entry)))
    labels = _strings(entry, "labels", where, required=True)
    size = sum(map(_size, labels)) + sum(map(_size, labels.values()))
    if size > _MOST_OF_LABELS:
        raise PayloadError(
            "%s.labels: %d bytes; expected at most %d together" % (where, size, _MOST_OF_LABELS)
        )
    status = entry.get("status", group_status)
    if status not in _STATUSES:
        raise PayloadError(
            '%s.status: %s found; expected "firing" or "resolved"' % (where, _quote(status))
        )
    given = entry.get("fingerprint")
    if given is not None and not isinstance(given, str):
        raise PayloadError("%s.fingerprint: %s found; expected a string" % (where, _kind(given)))
    if given and len(given) > _MOST_OF_FINGERPRINT:
        expected = "at most %d" % _MOST_OF_FINGERPRINT
        raise PayloadError(
            "%s.fingerprint: %d characters; expected %s" % (where, len(given), expected)
        )
    if _is_deep(entry, _MOST_LEVELS):
        raise PayloadError(
            "%s: nested too deeply; expected at most %d levels" % (where, _MOST_LEVELS)
        )
    return Alert(
        fingerprint=given or fingerprint(labels),
        status=status,
        labels=labels,
        annotations=_annotations(entry, where, warnings),
        starts_at=_time(entry, "startsAt", where),
        ends_at=_time(entry, "endsAt", where),
        generator_url=_text(entry, "generatorURL", warnings, where + "."),
        extra=_extra(entry, where, warnings),
    )


def _annotations(entry: Dict[str, Any], where: str, warnings: List[str]) -> Dict[str, str]:
    """Return the annotations; long ones are cut and marked, the last of very many left out."""
    given = _strings(entry, "annotations", where, required=False)
    kept: Dict[str, str] = {}
    size = 0
    for name, text in given.items():
        kept[name] = _cut(text, _MOST_OF_ANNOTATION)
        size += _size(name) + _size(kept[name])
        if size > _MOST_OF_ANNOTATIONS:
            del kept[name]
            left = len(given) - len(kept)
            found = f"more than {_MOST_OF_ANNOTATIONS} bytes together; {left} are left out"
            warnings.append(f"{where}.annotations: {found}")
            break
    return kept


def _extra(entry: Dict[str, Any], where: str, warnings: List[str]) -> Dict[str, Any]:
    """Return the fields of an alert that PoundCake does not know."""
    extra = {key: value for key, value in entry.items() if key not in _FIELDS}
    if extra and len(json.dumps(extra)) > _MOST_OF_EXTRA:
        found = f"unknown fields of more than {_MOST_OF_EXTRA} bytes are left out"
        warnings.append(f"{where}: {found}")
        return {}
    return extra


def _text(document: Dict[str, Any], name: str, warnings: List[str], where: str = "") -> str:
    return _cut(_optional(document, name, str, "", warnings, where), _MOST_OF_TEXT)


def _cut(text: str, most: int) -> str:
    """Return a text of at most so many bytes, with a mark where it is cut."""
    if len(text) <= most // 4 or _size(text) <= most:
        return text
    kept = text.encode("utf-8", "surrogatepass")[: most - len(_CUT)]
    while kept and kept[-1] & 0xC0 == 0x80:  # not in the middle of a character
        kept = kept[:-1]
    return kept[:-1].decode("utf-8", "surrogatepass") + _CUT


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _strings(entry: Dict[str, Any], name: str, where: str, required: bool) -> Dict[str, str]:
    value = entry.get(name)
    if value is None and not required:
        return {}
    if not isinstance(value, dict):
        found = "missing" if value is None else "%s found" % _kind(value)
        raise PayloadError("%s.%s: %s; expected an object of strings" % (where, name, found))
    if required and not value:
        raise PayloadError("%s.%s: empty; expected at least one label" % (where, name))
    for key, item in value.items():
        if not isinstance(item, str):
            raise PayloadError(
                "%s.%s.%s: %s found; expected a string" % (where, name, _brief(key), _kind(item))
            )
    return dict(value)


def _time(entry: Dict[str, Any], name: str, where: str) -> Optional[str]:
    value = entry.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise PayloadError(
            "%s.%s: %s found; expected an RFC 3339 time" % (where, name, _kind(value))
        )
    if clock.is_zero(value):
        return None
    try:
        return clock.canonical(value)
    except (ValueError, OverflowError):
        raise PayloadError(
            "%s.%s: %s found; expected an RFC 3339 time such as 2026-01-31T12:00:00Z"
            % (where, name, _quote(value))
        )


def _optional(
    document: Dict[str, Any],
    name: str,
    kind: type,
    default: Any,
    warnings: List[str],
    where: str = "",
) -> Any:
    value = document.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = "a string" if kind is str else "a whole number"
        found = (where + name, _kind(value), wanted)
        warnings.append("%s: %s found and left out; expected %s" % found)
        return default
    return value


def _is_deep(value: Any, most: int) -> bool:
    """True when a JSON value has more than ``most`` levels; looks without recursion."""
    level, nodes = 0, [value]
    while nodes:
        level += 1
        if level > most:
            return True
        nodes = [
            child
            for node in nodes
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
        ]
    return False


def _given_fingerprint(entry: Any) -> str:
    value = entry.get("fingerprint") if isinstance(entry, dict) else None
    return value if isinstance(value, str) and len(value) <= _MOST_OF_FINGERPRINT else ""


def _refuse_constant(name: str) -> None:
    raise ValueError("%s is not JSON" % name)


def _finite_float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number is out of range")
    return value


def _bounded_int(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError("a number is out of range")
    return int(text)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string"}
    return names.get(type(value)) or ("a list" if isinstance(value, list) else "an object")


def _quote(value: Any) -> str:
    return '"%s"' % _brief(value) if isinstance(value, str) else _kind(value)


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
