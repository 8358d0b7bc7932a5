"""The triggers that PoundCake emits: their payloads, inert, and the check against their schemas."""

import os

import jsonschema
import yaml

from poundcake.core.alert import attempts_of, current_episode, find_episode
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

# A rule whose template names a label that the alert lacks does not fire, so what rule authors use
# most is always there, empty when the alert has no such label or annotation.
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
ANNOTATIONS_AT_HAND = ("summary", "description", "runbook_url")


def alert_payload(row, attempt, status="firing"):
    """Return the payload of ``poundcake.alert`` for one attempt, from the row alone.

    Built from the row, so that a dispatch which got lost can be sent again as it was.
    """
    return _payload(row, find_episode(row, attempt["starts_at"]), status, attempt)


def alert_resolved_payload(row):
    """Return the payload of ``poundcake.alert_resolved`` for the latest episode of a row."""
    episode = current_episode(row)
    attempts = attempts_of(row, episode["starts_at"])
    attempt = dict(attempts[-1] if attempts else {"dispatch_id": "", "attempt": 0})
    attempt["request_id"] = episode["resolved_request_id"]
    return _payload(row, episode, "resolved", attempt)


def lifecycle_payload(row, came_from, went_to, entry):
    """Return the payload of ``poundcake.lifecycle`` for one change of state."""
    return inert(
        {
            "fingerprint": row["fingerprint"],
            "request_id": entry["request_id"] or "",
            "alertname": row["alertname"],
            "severity": row["severity"],
            "host": row["host"],
            "from": came_from or "",
            "to": went_to,
            "attempt": entry["attempt"] or 0,
            "execution_id": entry["execution_id"] or "",
            "reason": entry["reason"],
            "at": entry["at"],
            "event_id": event_id(
                row["fingerprint"], entry["starts_at"], went_to, entry["attempt"], entry["at"]
            ),
        }
    )


def breaker_payload(row, before, after, at):
    """Return the payload of ``poundcake.lifecycle`` for a breaker that has opened or closed.

    :param row: of the alert whose remediation made it do so; the event is the alertname's.
    :param before: admission.Breaker, and ``after``.
    :param at: RFC 3339.
    """
    opened = after.opened_at is not None
    if opened:
        reason = "%d failures in a row" % after.failures
        if before.opened_at is not None:
            reason = "the trial failed: " + reason
    else:
        reason = "a remediation succeeded"
    payload = dict.fromkeys(("fingerprint", "request_id", "severity", "host", "execution_id"), "")
    payload.update(
        {
            "alertname": row["alertname"],
            "from": BREAKER_OPENED if before.opened_at is not None else BREAKER_CLOSED,
            "to": BREAKER_OPENED if opened else BREAKER_CLOSED,
            "attempt": 0,
            "reason": reason,
            "at": at,
            "event_id": event_id(row["alertname"], after.opened_at, before.opened_at),
        }
    )
    return inert(payload)


def heartbeat_payload(row, missing, at):
    """Return the payload of ``poundcake.lifecycle`` for a heartbeat that is missing, or back.

    :param row: of the heartbeat.
    :param at: RFC 3339.
    """
    names = ("request_id", "execution_id")
    payload = dict.fromkeys(names, "")
    payload.update({name: row[name] for name in ("fingerprint", "alertname", "severity", "host")})
    payload.update(
        {
            "from": HEARTBEAT_RETURNED if missing else HEARTBEAT_MISSING,
            "to": HEARTBEAT_MISSING if missing else HEARTBEAT_RETURNED,
            "attempt": 0,
            "reason": row["heartbeat"]["reason"] if missing else "it has come again",
            "at": at,
            "event_id": event_id(row["fingerprint"], row["heartbeat"]["missing_at"], missing),
        }
    )
    return inert(payload)


def _payload(row, episode, status, attempt):
    payload = {name: row["labels"].get(name, "") for name in LABELS_AT_HAND}
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
            "labels": row["labels"],
            "annotations": row["annotations"],
            "starts_at": episode["starts_at"],
            "ends_at": row["ends_at"] or "",
            "generator_url": row["generator_url"],
            "receiver": row["receiver"],
            "group_key": row["group_key"],
            "external_url": row["external_url"],
            "received_at": episode["received_at"] or "",
        }
    )
    return inert(payload)


class SchemaError(ValueError):
    """A payload that StackStorm would drop; ``field`` is where it does not fit, without values."""

    def __init__(self, text, field):
        super().__init__(text)
        self.field = field


class Schemas:
    """The payload schemas of the sensor's metadata, so that they stand in one place.

    StackStorm drops a payload that fails its schema with a log line only; a check before the
    dispatch makes it an error that is seen. Draft 3, because StackStorm's schemas say "required"
    on the property.
    """

    def __init__(self, sensor_yaml):
        with open(sensor_yaml, encoding="utf-8") as handle:
            metadata = yaml.safe_load(handle)
        pack = "poundcake."
        self._validators = {
            pack + item["name"]: jsonschema.Draft3Validator(item["payload_schema"])
            for item in metadata["trigger_types"]
        }

    def check(self, trigger, payload):
        """Raise SchemaError, naming the field, when a payload does not fit its trigger."""
        error = jsonschema.exceptions.best_match(self._validators[trigger].iter_errors(payload))
        if error:
            field = ".".join(str(part) for part in error.absolute_path) or "payload"
            raise SchemaError(
                "%s: %s: %s" % (trigger, field, error.message), field.partition(".")[0]
            )


def sensor_yaml(sensor_file):
    """Return the path of the metadata beside a sensor's Python file."""
    return os.path.splitext(os.path.abspath(sensor_file))[0] + ".yaml"
