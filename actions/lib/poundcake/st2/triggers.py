"""The triggers that PoundCake emits: their inert payloads, and the check against their schemas."""

import os
from typing import Any, Dict, Mapping, Optional, Sequence, cast

import jsonschema
import yaml

from poundcake.core.alert import Attempt, Episode, Row, attempts_of, current_episode, find_episode
from poundcake.errors import SchemaError
from poundcake.ids import event_id
from poundcake.inert import inert

ALERT = "poundcake.alert"
ALERT_RESOLVED = "poundcake.alert_resolved"
TRACKING = "poundcake.tracking"
LIFECYCLE = "poundcake.lifecycle"
PROBE = "poundcake.probe"

BREAKER_OPENED = "breaker_opened"
BREAKER_CLOSED = "breaker_closed"
HEARTBEAT_MISSING = "heartbeat_missing"
HEARTBEAT_RETURNED = "heartbeat_returned"
ATTENTION = "attention"
SET_ASIDE = "set_aside"

Payload = Dict[str, Any]

# A rule whose template names a label that the alert lacks does not fire. So the labels and
# annotations that rules use most are always in the payload, empty when the alert lacks them.
LABELS_AT_HAND = (
    "job",
    "service",
    "namespace",
    "pod",
    "container",
    "node",
    "cluster",
    "environment",
    "region",
    "team",
    "device",
    "mountpoint",
)
_OF_CHANGE = (
    "fingerprint",
    "alertname",
    "severity",
    "host",
    "target",
    "request_id",
    "execution_id",
)
ANNOTATIONS_AT_HAND = ("summary", "description", "runbook_url")


def alert_payload(row: Row, attempt: Attempt, status: str = "firing") -> Payload:
    """Return the payload of ``poundcake.alert`` for one attempt.

    It is built from the row alone, so a lost dispatch can be sent again unchanged.
    """
    episode = cast(Episode, find_episode(row, attempt["episode"]))
    return _payload(row, episode, status, attempt)


def alert_resolved_payload(row: Row) -> Payload:
    """Return the payload of ``poundcake.alert_resolved`` for the latest episode of a row."""
    episode = current_episode(row)
    attempts = attempts_of(row, episode["id"])
    attempt: Dict[str, Any] = {"dispatch_id": "", "attempt": 0}
    if attempts:
        attempt.update(attempts[-1])
    attempt["request_id"] = episode["resolved_request_id"]
    return _payload(row, episode, "resolved", attempt)


def lifecycle_payload(
    row: Row, came_from: Optional[str], went_to: str, entry: Mapping[str, Any]
) -> Payload:
    """Return the payload of ``poundcake.lifecycle`` for one change of state."""
    identity = (row["fingerprint"], entry["episode"], went_to, entry["attempt"], entry["at"])
    return _change(
        went_to,
        entry["at"],
        entry["reason"],
        event_id(*identity),
        came_from=came_from or "",
        request_id=entry["request_id"] or "",
        attempt=entry["attempt"] or 0,
        execution_id=entry["execution_id"] or "",
        **_about(row),
    )


def breaker_payload(row: Row, before: Any, after: Any, at: str) -> Payload:
    """Return the payload of ``poundcake.lifecycle`` for a breaker that has opened or closed.

    :param row: the alert whose remediation opened or closed it; the event is the alertname's.
    :param before: the admission.Breaker before the change.
    :param after: the admission.Breaker after the change.
    :param at: the time, RFC 3339.
    """
    if after.opened_at is None:
        went_to, reason = BREAKER_CLOSED, "a remediation succeeded"
    else:
        went_to, reason = BREAKER_OPENED, f"{after.failures} failures in a row"
        if before.opened_at is not None:
            reason = "the trial failed: " + reason
    came_from = BREAKER_CLOSED if before.opened_at is None else BREAKER_OPENED
    event = event_id(row["alertname"], after.opened_at, before.opened_at)
    return _change(went_to, at, reason, event, came_from=came_from, alertname=row["alertname"])


def heartbeat_payload(row: Row, missing: bool, at: str) -> Payload:
    """Return the payload of ``poundcake.lifecycle`` for a heartbeat that is missing or back.

    :param row: the heartbeat's row.
    :param at: the time, RFC 3339.
    """
    went_to, came_from = HEARTBEAT_RETURNED, HEARTBEAT_MISSING
    if missing:
        went_to, came_from = came_from, went_to
    reason = row["heartbeat"]["reason"] if missing else "it has returned"
    event = event_id(row["fingerprint"], row["heartbeat"]["missing_at"], missing)
    return _change(went_to, at, reason, event, came_from=came_from, **_about(row))


def set_aside_payload(entry: Mapping[str, Any]) -> Payload:
    """Return the payload of ``poundcake.lifecycle`` for something that is set aside.

    :param entry: its row.
    """
    return _change(
        SET_ASIDE,
        entry["at"],
        f"{entry['key']}: {entry['reason']}",
        event_id(SET_ASIDE, entry["id"], entry["at"]),
        fingerprint=entry["fingerprint"],
        request_id=entry["request_id"],
        alertname=entry["alertname"] or entry["key"],
    )


def attention_payload(alerts: Sequence[Row], message: str, at: str) -> Payload:
    """Return the payload of ``poundcake.lifecycle`` for what people should know of some alerts.

    It names what they have in common.

    :param at: the time, RFC 3339.
    """
    first, *others = map(_about, alerts)
    common = {name: value for name, value in first.items() if all(o[name] == value for o in others)}
    return _change(ATTENTION, at, message, event_id(ATTENTION, message, at), **common)


def _about(row: Row) -> Dict[str, str]:
    """Return what a change of state says of its alert."""
    return {
        "fingerprint": row["fingerprint"],
        "alertname": row["alertname"],
        "severity": row["severity"],
        "host": row["host"],
        "target": row["target"],
    }


def _change(
    went_to: str, at: str, reason: str, event: str, came_from: str = "", **known: Any
) -> Payload:
    """Return the payload of ``poundcake.lifecycle``; what is not known of a change is empty."""
    unknown = dict.fromkeys(_OF_CHANGE, "")
    about = {"from": came_from, "to": went_to, "at": at, "reason": reason, "event_id": event}
    return _inert({**unknown, "attempt": 0, **known, **about})


def _payload(row: Row, episode: Episode, status: str, attempt: Mapping[str, Any]) -> Payload:
    payload: Payload = {name: row["labels"].get(name, "") for name in LABELS_AT_HAND}
    payload.update({name: row["annotations"].get(name, "") for name in ANNOTATIONS_AT_HAND})
    payload.update(
        {
            "request_id": attempt["request_id"],
            "dispatch_id": attempt["dispatch_id"],
            "attempt": attempt["attempt"],
            "status": status,
            "fingerprint": row["fingerprint"],
            "alertname": row["alertname"],
            "severity": row["severity"],
            "instance": row["instance"],
            "host": row["host"],
            "workload": row["workload"],
            "target": row["target"],
            "labels": row["labels"],
            "annotations": row["annotations"],
            "starts_at": episode["starts_at"] or episode["id"],
            "ends_at": row["ends_at"] or "",
            "generator_url": row["generator_url"],
            "receiver": row["receiver"],
            "group_key": row["group_key"],
            "external_url": row["external_url"],
            "received_at": episode["received_at"] or "",
        }
    )
    return _inert(payload)


def _inert(payload: Payload) -> Payload:
    harmless: Payload = inert(payload)
    return harmless


class Schemas:
    """The payload schemas, read from the sensor's metadata.

    StackStorm drops a payload that fails its schema and only logs a line. Checking before the
    dispatch makes this a visible error. The schemas are draft 3, because StackStorm's schemas put
    "required" on the property.
    """

    def __init__(self, sensor_yaml: str):
        with open(sensor_yaml, encoding="utf-8") as handle:
            metadata = yaml.safe_load(handle)
        self._validators = {
            "poundcake." + item["name"]: jsonschema.Draft3Validator(item["payload_schema"])
            for item in metadata["trigger_types"]
        }

    def check(self, trigger: str, payload: Payload) -> None:
        """Raise SchemaError, naming the field, when a payload does not match its trigger."""
        if trigger not in self._validators:  # as a newer version of the pack may have
            raise SchemaError(f"{trigger}: unknown trigger", "trigger")
        error = jsonschema.exceptions.best_match(self._validators[trigger].iter_errors(payload))
        if error:
            path = ".".join(str(part) for part in error.absolute_path) or "payload"
            field = path.partition(".")[0]
            raise SchemaError(f"{trigger}: {path}: {error.message}", field)


def sensor_yaml(sensor_file: str) -> str:
    """Return the path of the metadata next to a sensor's Python file."""
    return os.path.splitext(os.path.abspath(sensor_file))[0] + ".yaml"
