"""Rebuilds rows from StackStorm's own records, for when tracking was off or rows were lost.

A dispatch is a trigger instance whose payload has the alert and the attempt; ``executions.observe``
reads what became of it. StackStorm does not know alerts that were never dispatched: they stay lost
until Alertmanager sends them again.

What the sensor has in its memory and in the outbox must win over what is rebuilt: a row that is
overwritten keeps its revision, and a new one gets revision 0.
"""

import dataclasses
import time
import uuid

from poundcake import clock
from poundcake.core import lifecycle
from poundcake.core.alert import ENDED_STATUSES, open_attempts
from poundcake.core.decisions import DISPATCH
from poundcake.core.facts import Dispatched, Notified, Settled
from poundcake.core.requests import REBUILT, new_entry, new_request
from poundcake.errors import ExpectedError
from poundcake.st2 import executions, outbox, rows, triggers

_DESCRIBED = (
    "alertname",
    "severity",
    "instance",
    "host",
    "workload",
    "target",
    "labels",
    "annotations",
    "generator_url",
    "receiver",
    "group_key",
    "external_url",
)


def rebuild(stackstorm, since, settings, now=None):
    """Write the rows of everything that was dispatched since a time, where something is missing.

    Text of alerts is inert in StackStorm's records, and therefore in rows that are new.

    :param since: a duration such as ``24h``, or an RFC 3339 time.
    :returns: counts: instances (of poundcake.alert since then), alerts_written, executions_written,
        requests_written, and unchanged (rows that were complete).
    :raises ExpectedError: when ``since`` is neither.
    """
    now = time.time() if now is None else now
    since = _moment(since, now)
    dispatches = _payloads(stackstorm, triggers.ALERT, since)
    alerts = _Alerts(stackstorm)
    for at, payload in dispatches:
        alerts.add_dispatch(payload, at)
    for at, payload in _payloads(stackstorm, triggers.ALERT_RESOLVED, since):
        alerts.add_resolve(payload, at)
    alerts.observe(now)
    return _write(stackstorm, alerts, [payload for _, payload in dispatches], settings)


class _Alerts:
    """Alert rows by fingerprint: as they are stored, and with the facts that they lacked."""

    def __init__(self, stackstorm):
        self._stackstorm = stackstorm
        self.stored = {}
        self.rows = {}

    def row(self, fingerprint):
        """Return the row of an alert so far, None when there is none."""
        if fingerprint not in self.stored:
            stored = rows.read(self._stackstorm, rows.ALERT, fingerprint)
            self.stored[fingerprint] = stored
            if stored:
                self.rows[fingerprint] = stored
        return self.rows.get(fingerprint)

    def add_dispatch(self, payload, at):
        """Add what the payload of a dispatch tells and the row does not know."""
        row = self.row(payload["fingerprint"])
        if not (row and _episode_in(row, payload)):
            self._notify(payload, payload["received_at"] or at, "firing")
        row = self.row(payload["fingerprint"])
        if payload["dispatch_id"] not in {attempt["dispatch_id"] for attempt in row["attempts"]}:
            episode = _episode_in(row, payload)
            if episode is None:  # newer ones have replaced it
                return
            about = (payload["fingerprint"], episode["id"], at, payload["dispatch_id"])
            self._apply(Dispatched(*about, payload["attempt"], payload["request_id"]))

    def add_resolve(self, payload, at):
        """Add a resolve when the row knows the episode and not that it is over."""
        row = self.row(payload["fingerprint"])
        episode = row and _episode_in(row, payload)
        if episode and not episode["resolved_at"]:
            self._notify(payload, at, "resolved")

    def _notify(self, payload, at, status):
        # A stored row keeps its labels, which are not inert.
        source = self.stored[payload["fingerprint"]] or payload
        alert = {name: source.get(name, "") for name in _DESCRIBED}
        alert.update(extra=source.get("extra", {}), ends_at=payload["ends_at"] or None)
        row = self.row(payload["fingerprint"])
        known = row and _episode_in(row, payload)
        episode = known["id"] if known else clock.canonical(payload["received_at"] or at)
        about = (payload["fingerprint"], episode, at)
        starts_at = payload["starts_at"] or None
        self._apply(Notified(*about, payload["request_id"], status, starts_at, alert))

    def _apply(self, fact):
        self.rows[fact.fingerprint] = lifecycle.apply(self.rows.get(fact.fingerprint), fact)

    def observe(self, now):
        """Add what became of the dispatches that have not ended."""
        dispatches = [
            (row, attempt) for row in self.rows.values() for attempt in open_attempts(row)
        ]
        dispatched_at = {
            attempt["dispatch_id"]: attempt["dispatched_at"] for _, attempt in dispatches
        }
        for fact in executions.observe(self._stackstorm, dispatches, now)[0]:
            if isinstance(fact, Settled):
                # It was settled moments after its dispatch, not when somebody asked at last.
                fact = dataclasses.replace(fact, at=dispatched_at[fact.dispatch_id])
            self._apply(fact)

    def attempt(self, payload):
        """Return ``(row, attempt)`` of a dispatch, None when its row has forgotten it."""
        row = self.rows.get(payload["fingerprint"])
        for attempt in row["attempts"] if row else []:
            if attempt["dispatch_id"] == payload["dispatch_id"]:
                return row, attempt
        return None


def _episode_in(row, payload):
    """Return the episode of a payload in a row, None when the row does not keep it."""
    received_at = payload["received_at"]
    return next((e for e in row["episodes"] if e["received_at"] == received_at), None)


def _moment(since, now):
    try:
        return clock.to_text(max(0, now - clock.span(since)))
    except ValueError:
        pass
    try:
        return clock.to_text(clock.to_seconds(since))
    except ValueError:
        raise ExpectedError(
            "since",
            f'"{since}"',
            "a duration such as 24h or 1h30m, or an RFC 3339 time such as 2026-01-31T12:00:00Z",
        )


def _payloads(stackstorm, trigger, since):
    """Return ``(time, payload)`` of a trigger's instances, oldest first."""
    found = [
        (clock.to_text(clock.to_seconds(item["occurrence_time"])), item["payload"])
        for item in stackstorm.list_trigger_instances(trigger, since)
    ]
    return sorted(found, key=lambda item: item[0])


def _write(stackstorm, alerts, dispatches, settings):
    counts = {"instances": len(dispatches), "alerts_written": 0, "executions_written": 0}
    counts.update(requests_written=0, unchanged=0)

    def put(kind, name, row, known):
        row = dict(row, rev=known["rev"] if known else 0)
        if row == known:
            counts["unchanged"] += 1
            return
        ttl = outbox.time_to_live(kind, row, settings)
        rows.write(stackstorm, rows.KINDS[kind], name, row, ttl=ttl)
        counts[kind + "_written"] += 1

    for fingerprint, row in alerts.rows.items():
        known = rows.read(stackstorm, rows.ALERT, fingerprint)
        seen = alerts.stored[fingerprint]
        # One that has been written since it was read comes from the sensor, which knows more.
        overtaken = known and _rev(known) != _rev(seen)
        put("alerts", fingerprint, known if overtaken else row, known)
    for execution_id, row in _execution_rows(alerts, dispatches):
        known = rows.read(stackstorm, rows.EXECUTION, execution_id)
        ended = known and known["status"] in ENDED_STATUSES
        put("executions", execution_id, known if ended else row, known)
    for request_id, row in _request_rows(alerts, dispatches):
        known = rows.read(stackstorm, rows.REQUEST, request_id)
        # A notification that still is in the inbox is not decided to its end; the sensor takes
        # the row of a request for the proof that it is.
        if known or not rows.read(stackstorm, rows.INBOX, request_id):
            put("requests", request_id, known or row, known)
    return counts


def _rev(row):
    return row["rev"] if row else None


def _execution_rows(alerts, dispatches):
    """Return ``(execution_id, row)`` of every execution of some dispatches."""
    found = {}
    for payload in dispatches:
        row, attempt = alerts.attempt(payload) or (None, {"executions": []})
        for execution in attempt["executions"]:
            made = lifecycle.execution_row(row, attempt["dispatch_id"], execution)
            found[execution["execution_id"]] = made
    return sorted(found.items())


def _request_rows(alerts, dispatches):
    """Return ``(request_id, row)`` of the requests that led to some dispatches."""
    by_request = {}
    for payload in dispatches:
        known = alerts.attempt(payload)
        if known:
            found = by_request.setdefault(payload["request_id"], {})
            found[payload["dispatch_id"]] = (payload,) + known
    return sorted(
        (name, _request_row(name, list(by_request[name].values()))) for name in by_request
    )


def _request_row(request_id, dispatches):
    entries = [
        new_entry(
            row["fingerprint"],
            row["alertname"],
            attempt["episode"],
            DISPATCH,
            f"attempt {attempt['attempt']}, from StackStorm's records",
            dispatch_id=attempt["dispatch_id"],
            outcome=attempt["outcome"],
        )
        for _, row, attempt in dispatches
    ]
    payload, _, first = dispatches[0]
    received_at = _received_at(request_id, first["dispatched_at"])
    request = new_request(request_id, received_at, REBUILT, entries)
    request.update(receiver=payload["receiver"], group_key=payload["group_key"])
    ends = [attempt["ended_at"] for _, _, attempt in dispatches]
    return dict(request, completed_at=max(ends) if all(ends) else None)


def _received_at(request_id, otherwise):
    """A UUIDv7 begins with the milliseconds at which it was made."""
    try:
        return clock.to_text((uuid.UUID(request_id).int >> 80) / 1000.0)
    except ValueError:
        return otherwise
