"""Decides on what comes in, and releases what was held back.

A notification or a command becomes decisions; each decision becomes facts in the ledger, and a
dispatch that goes out when the row that says so is safe in the outbox.
"""

import collections
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

from poundcake import clock
from poundcake.core import admission, consequences, heartbeat, lifecycle, payload, target
from poundcake.core.alert import Row
from poundcake.core.controls import Controls
from poundcake.core.decisions import (
    ACKNOWLEDGED,
    DISMISSED,
    FAULT,
    INVALID,
    REJECTED,
    RESOLVE,
    SUPPRESS,
    UNKNOWN,
    Decision,
)
from poundcake.core.facts import Acknowledged, Dispatched, Fact, Held
from poundcake.core.limits import Standing
from poundcake.core.requests import BY_HAND, new_entry, new_request
from poundcake.sensor.dispatches import Dispatches
from poundcake.sensor.log import EventLog
from poundcake.sensor.metrics import Metrics
from poundcake.sensor.recorder import Recorder
from poundcake.settings import Settings
from poundcake.st2 import aside, inbox, triggers
from poundcake.turns import Turns

Entry = Dict[str, Any]  # of the inbox

LONGEST_RELEASE_SECONDS = 5
MOST_HELD_LINES = 20  # in the log, when many alerts are held back for a new reason at once
MOST_LINES = 100  # in the log, about the alerts of one notification; its request names them all


class Intake:
    """Takes inbox entries one at a time.

    :param settings: settings.Settings.
    :param recorder: recorder.Recorder.
    :param dispatches: dispatches.Dispatches.
    :param log: log.EventLog.
    :param metrics: metrics.Metrics.
    :param now: the clock, Unix time in seconds.
    :param set_aside: called with the aside.Entry of what cannot be decided.
    """

    def __init__(
        self,
        settings: Settings,
        recorder: Recorder,
        dispatches: Dispatches,
        log: EventLog,
        metrics: Metrics,
        now: Callable[[], float],
        set_aside: Callable[[aside.Entry], None],
    ):
        self._settings = settings
        self._set_aside = set_aside
        self._recorder = recorder
        self._ledger = recorder.ledger
        self._dispatches = dispatches
        self._log = log
        self._metrics = metrics
        self._now = now
        self._controls: Optional[Controls] = None
        self._take_turns = Turns()
        self._lines = 0  # which the log may still have about the alerts of this notification
        # The version of the ledger for which ``release`` went through what is held.
        self._released_version: Optional[int] = None
        self._release_due = 0.0

    def use_controls(self, controls: Optional[Controls]) -> None:
        """Take what operators have set now; the next ``release`` goes through all that is held."""
        self._controls = controls
        self._released_version = None

    # --- notifications and commands --------------------------------------------------------------

    def decide(self, entry: Entry) -> None:
        """Decide on everything in an inbox entry; what cannot be decided is set aside."""
        try:
            if entry["source"] == BY_HAND:
                self._obey(entry)
            else:
                self._decide_notification(entry)
        except Exception as error:
            fault = self._fault(entry, error)
            self._set_aside(aside.of_inbox_entry(entry, fault.reason, self._now()))
            refused = self._answer("", "", None, fault)
            self._recorder.requests.add(_request(entry, [refused]))

    def _decide_notification(self, entry: Entry) -> None:
        if entry["source"] == inbox.ST2_WEBHOOK:  # the listener counts its own
            self._metrics.notified(inbox.ST2_WEBHOOK, 202)
        left_out = entry.get("left_out", 0)
        notification = payload.parse(entry["notification"], left_out, self._take_turns)
        self._lines = MOST_LINES
        if left_out:
            self._metrics.decided(Decision(REJECTED, "", INVALID), left_out)
        answers = [self._decide_item(item, notification, entry) for item in notification.entries]
        self._add_request(_request(entry, answers, notification))

    def _decide_item(
        self,
        item: Union[payload.Alert, payload.Rejected],
        notification: payload.Notification,
        entry: Entry,
    ) -> Dict[str, Any]:
        """Return what the request says of one entry of ``alerts[]``."""
        self._take_turns()
        if isinstance(item, payload.Rejected):
            return self._reject(item, entry["request_id"])
        try:
            return self._decide_alert(item, notification, entry)
        except Exception as error:
            fault = self._fault(entry, error)
            about = {"fingerprint": item.fingerprint, "alertname": item.alertname}
            number = [one is item for one in notification.entries].index(True)
            self._set_aside(aside.of_alert(entry, number, fault.reason, self._now(), **about))
            return self._answer(item.fingerprint, item.alertname, None, fault)

    def _reject(self, item: payload.Rejected, request_id: str) -> Dict[str, Any]:
        if self._lines:
            self._lines -= 1
            text = "an alert is rejected for its " + payload.field_of(item.reason)
            self._log.record("rejected", text, request_id=request_id, fingerprint=item.fingerprint)
        return self._answer(item.fingerprint, "", None, Decision(REJECTED, item.reason, INVALID))

    def _decide_alert(
        self, alert: payload.Alert, notification: payload.Notification, entry: Entry
    ) -> Dict[str, Any]:
        self._metrics.received(alert)
        request_id, received_at = entry["request_id"], entry["received_at"]
        row = self._ledger.alerts.get(alert.fingerprint)
        episode = lifecycle.episode_of(row, alert.status, received_at)
        subject = target.read(alert.labels, self._settings.target)
        about = (alert, subject, episode, row, self._standing(), self._settings)
        decision = admission.decide(*about)
        beats = self._settings.admission.is_heartbeat(alert.alertname)
        facts = consequences.of_notification(
            alert, subject, notification, episode, request_id, received_at, beats
        )
        row = self._apply(facts)
        if self._lines and self._log.record_decision(decision, row, request_id):
            self._lines -= 1
        self._apply(consequences.of_decision(decision, row, request_id, self._at()))
        if decision.kind == RESOLVE and row["episode"] == episode:
            report = triggers.alert_resolved_payload(row)
            self._recorder.report(triggers.ALERT_RESOLVED, report, request_id)
        return self._answer(alert.fingerprint, alert.alertname, episode, decision)

    def _obey(self, entry: Entry) -> None:
        """Do what a person asked for."""
        command = entry["command"]
        row = self._ledger.alerts.get(command["fingerprint"])
        if row is None:
            decision = Decision(REJECTED, "the alert is not known (any more)", UNKNOWN)
        elif command["do"] == "retry":
            decision = admission.by_hand(row, self._standing(), self._settings)
            self._log.record_decision(decision, row, entry["request_id"])
            about = (decision, row, entry["request_id"], self._at())
            self._apply(consequences.of_decision(*about, command))
        else:
            fact = consequences.of_acknowledgement(row, command, entry["request_id"], self._at())
            decision = _acknowledged(fact, command)
            self._apply([fact])
        alertname, episode = (row["alertname"], row["episode"]) if row else ("", None)
        answer = self._answer(command["fingerprint"], alertname, episode, decision)
        self._add_request(_request(entry, [answer], command=command))

    def _fault(self, entry: Entry, error: Exception) -> Decision:
        """Return the decision when PoundCake itself has a fault.

        It must not stop any other alert, now or after a restart.
        """
        text = "a decision failed; the alert is set aside, and the others go on"
        self._log.record("fault", text, error, request_id=entry["request_id"])
        reason = f"set aside: internal error ({type(error).__name__}), see the sensor's log"
        return Decision(REJECTED, reason, FAULT)

    def _answer(
        self, fingerprint: str, alertname: str, episode: Optional[str], decision: Decision
    ) -> Dict[str, Any]:
        """Count a decision and return what the request says of it."""
        self._metrics.decided(decision)
        return new_entry(fingerprint, alertname, episode, decision.kind, decision.reason)

    def _add_request(self, request: Dict[str, Any]) -> None:
        self._recorder.requests.add(request)
        counts = request["counts"]
        self._log.record(
            "decided",
            ", ".join(f"{name} {count}" for name, count in sorted(counts.items())),
            request_id=request["request_id"],
            source=request["source"],
            counts=counts,
        )

    def _apply(self, facts: List[Fact]) -> Row:
        """Add facts to the ledger, and have what is dispatched sent; return the row with the last.

        A dispatch goes out when the row that says so is safe in the outbox.
        """
        row: Row = {}
        for fact in facts:
            row = self._recorder.apply(fact)
            if isinstance(fact, Dispatched):
                self._dispatches.send(fact.dispatch_id)
        return row

    # --- what time brings ------------------------------------------------------------------------

    def miss_heartbeats(self, heard_from: float) -> None:
        """Make the facts about heartbeats that no longer come.

        :param heard_from: Unix time since when the sensor could have heard of them.
        """
        for row in self._ledger.heartbeats:
            fact = heartbeat.missed(row, self._settings, self._now(), heard_from)
            if fact:
                self._recorder.apply(fact)

    def release(self) -> None:
        """Dispatch what is no longer held back, if anything may have changed since last time."""
        began = self._now()
        if self._ledger.version == self._released_version:
            return
        if began < self._release_due <= began + LONGEST_RELEASE_SECONDS:
            return
        self._released_version = self._ledger.version
        held: List[Tuple[Row, str, Optional[str]]] = []
        for row, hold in admission.release(self._ledger.held, self._standing(), self._settings):
            self._take_turns()
            fact = consequences.of_release(row, hold, self._at())
            self._apply([fact])
            if isinstance(fact, Held):
                held.append((row, fact.cause, fact.request_id))
        self._record_held(held)
        # With thousands held it takes a while, and notifications must be decided meanwhile.
        took = self._now() - began
        self._release_due = began + min(10 * took, LONGEST_RELEASE_SECONDS)

    def _record_held(self, held: List[Tuple[Row, str, Optional[str]]]) -> None:
        """Write a line for each, or one for each cause when a pause has moved them all."""
        if len(held) <= MOST_HELD_LINES:
            for row, cause, request_id in held:
                self._log.record_held("held", row, cause, request_id)
            return
        for cause, count in collections.Counter(cause for _, cause, _ in held).items():
            self._log.record("held", f"{count} alerts wait: {cause}", alerts=count, cause=cause)

    def _at(self) -> str:
        return clock.to_text(self._now())

    def _standing(self) -> Standing:
        return self._ledger.standing(self._now(), self._controls)


def _acknowledged(fact: Acknowledged, command: Dict[str, str]) -> Decision:
    """Return the decision on a command after which no attempt follows."""
    reason = f"{command['do']} by {fact.by}: {fact.reason}"
    return Decision(SUPPRESS, reason, DISMISSED if fact.dismissed else ACKNOWLEDGED)


def _request(
    entry: Entry,
    alerts: List[Dict[str, Any]],
    notification: Optional[payload.Notification] = None,
    command: Optional[Dict[str, str]] = None,
) -> Dict[str, Any]:
    """Return the row of the request that an inbox entry becomes."""
    about = (entry["request_id"], entry["received_at"], entry["source"])
    return new_request(*about, alerts, notification, command)
