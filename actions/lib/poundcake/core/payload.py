"""Alertmanager's webhook payload, version 4, as values with clear errors. Pure.

Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config and
``notify/webhook`` and ``template.Data`` in Alertmanager. The fingerprint is
``model.LabelSet.Fingerprint`` of prometheus/common: 64-bit FNV-1a over the sorted labels.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Union

from poundcake import clock
from poundcake.errors import PayloadError

FIRING = "firing"
RESOLVED = "resolved"
_STATUSES = (FIRING, RESOLVED)
_MOST_LEVELS = 50  # of unknown fields; copying and writing them recurses
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
    """One webhook POST: the group's facts, the good alerts and the rejected ones, in order."""

    status: str
    receiver: str
    group_key: str
    external_url: str
    truncated_alerts: int
    entries: List[Union[Alert, Rejected]]
    warnings: List[str]

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
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite_float)
    except (ValueError, RecursionError) as error:
        raise PayloadError(
            "body: not valid JSON (%s); expected Alertmanager's webhook object" % _brief(error)
        )


def parse(document: Any) -> Notification:
    """Return the Notification in a decoded JSON value.

    A bad entry of ``alerts`` becomes Rejected and the others go on; a bad optional field is left
    out with a warning. Raises PayloadError when nothing of it can be used.
    """
    if _is_deep(document, 10 * _MOST_LEVELS):
        raise PayloadError("body: nested too deeply; expected Alertmanager's webhook object")
    if not isinstance(document, dict):
        raise PayloadError(
            "body: %s found; expected a JSON object as Alertmanager sends" % _kind(document)
        )
    version = document.get("version")
    if version is not None and str(version) != "4":
        raise PayloadError('version: %s found; expected "4"' % _quote(version))
    if "alerts" not in document:
        raise PayloadError("alerts: missing; expected a list of alerts")
    if not isinstance(document["alerts"], list):
        raise PayloadError("alerts: %s found; expected a list" % _kind(document["alerts"]))

    warnings: List[str] = []
    status = _optional(document, "status", str, "", warnings)
    group_status = status if status in _STATUSES else None
    entries: List[Union[Alert, Rejected]] = []
    for index, entry in enumerate(document["alerts"]):
        try:
            entries.append(_parse_alert(entry, "alerts[%d]" % index, group_status, warnings))
        except PayloadError as error:
            entries.append(Rejected(index, str(error), _given_fingerprint(entry)))
    return Notification(
        status=status,
        receiver=_optional(document, "receiver", str, "", warnings),
        group_key=_optional(document, "groupKey", str, "", warnings),
        external_url=_optional(document, "externalURL", str, "", warnings),
        truncated_alerts=_optional(document, "truncatedAlerts", int, 0, warnings),
        entries=entries,
        warnings=warnings,
    )


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
    annotations = _strings(entry, "annotations", where, required=False)
    status = entry.get("status", group_status)
    if status not in _STATUSES:
        raise PayloadError(
            '%s.status: %s found; expected "firing" or "resolved"' % (where, _quote(status))
        )
    given = entry.get("fingerprint")
    if given is not None and not isinstance(given, str):
        raise PayloadError("%s.fingerprint: %s found; expected a string" % (where, _kind(given)))
    if _is_deep(entry, _MOST_LEVELS):
        raise PayloadError(
            "%s: nested too deeply; expected at most %d levels" % (where, _MOST_LEVELS)
        )
    known = ("labels", "annotations", "status", "fingerprint", "startsAt", "endsAt", "generatorURL")
    return Alert(
        fingerprint=given or fingerprint(labels),
        status=status,
        labels=labels,
        annotations=annotations,
        starts_at=_time(entry, "startsAt", where),
        ends_at=_time(entry, "endsAt", where),
        generator_url=_optional(entry, "generatorURL", str, "", warnings, where + "."),
        extra={key: value for key, value in entry.items() if key not in known},
    )


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
    return value if isinstance(value, str) else ""


def _refuse_constant(name: str) -> None:
    raise ValueError("%s is not JSON" % name)


def _finite_float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number is out of range")
    return value


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
