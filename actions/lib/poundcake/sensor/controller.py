"""The one decision maker: takes notifications, decides, releases.

One thread calls ``tick``; the listener's threads only put entries in and ask questions. The order
inside a tick is what makes a crash harmless: rows (with the dispatches in them) go to the outbox
first, triggers are sent after it, and an inbox entry leaves only when ``track`` has written its
rows.
"""

import collections
import threading
import time

from poundcake import clock
from poundcake.core import admission, heartbeat, lifecycle, payload
from poundcake.core.alert import current_hold, next_attempt_number
from poundcake.core.decisions import (
    ACKNOWLEDGED,
    DISMISSED,
    DISPATCH,
    FAULT,
    INVALID,
    NEW_EPISODE,
    REJECTED,
    RESOLVE,
    SUPPRESS,
    UNKNOWN,
    Decision,
)
from poundcake.core.requests import BY_HAND, new_entry, new_request
from poundcake.core.snapshot import Snapshot
from poundcake.ids import dispatch_id
from poundcake.sensor.dispatches import Dispatches
from poundcake.sensor.ledger import Ledger
from poundcake.sensor.log import EventLog
from poundcake.sensor.metrics import Metrics
from poundcake.sensor.publisher import Publisher
from poundcake.sensor.relay import Relay
from poundcake.st2 import controls, inbox, outbox, requests, rows, triggers
from poundcake.st2.client import StackStormError

WATCH_SECONDS = 0.5
WATCH_AT_EASE_SECONDS = 1.0  # when nobody waits for room
WATCH_STORM_SECONDS = 2.0  # likewise, and many run: a look costs with their number
INBOX_POLL_SECONDS = 1.0
INBOX_WHOLE_SECONDS = 30
INBOX_OVERLAP = 20
CONTROLS_SECONDS = 1.0
HEARTBEAT_SECONDS = 1.0
REMEMBERED_REQUESTS = 10000
STORM_IN_FLIGHT = 5
LONGEST_RELEASE_SECONDS = 5
SWEEP_SECONDS = 60
ENTRIES_A_TICK = 50
HELD_TOLD = 20  # lines in the log, when what holds alerts back changes for many
# What arrives together is decided together: one batch and one look at the datastore.
TOGETHER_SECONDS = 0.05


class Controller:
    """The loop: what is done, in which order, and what is told of it.

    :param settings: settings.Settings.
    :param stackstorm: stackstorm.StackStorm.
    :param dispatch: callable ``(trigger, payload, trace_tag)`` that puts a trigger on the bus and
        raises when it could not.
    :param bus_answers: callable that says whether the message bus itself can be reached.
    :param schemas: triggers.Schemas.
    :param log: a logger.
    :param now: the clock, Unix time in seconds.
    :param metrics: metrics.Metrics.
    """

    def __init__(
        self,
        settings,
        stackstorm,
        dispatch,
        bus_answers,
        schemas,
        log,
        now=time.time,
        metrics=None,
    ):
        self._settings = settings
        self._stackstorm = stackstorm
        self._log = EventLog(log)
        self._now = now
        self._metrics = metrics or Metrics()
        self._ledger = Ledger(settings, self._metrics)
        self._publisher = Publisher(
            stackstorm, dispatch, bus_answers, schemas, log, now, self._metrics
        )
        self._relay = Relay(stackstorm, self._publisher, now)
        self._dispatches = Dispatches(
            settings, stackstorm, self._ledger, self._publisher, self._log, now
        )
        self._controls = None
        self._lock = threading.Lock()
        self._queue = collections.deque()  # inbox entries that are not decided
        self._known_inbox = {}  # request id -> received_at of the entries in it that it has seen
        self._done = collections.OrderedDict()  # request ids of the latest ones that left it
        self._decided = []  # request ids whose rows are on their way to the outbox
        self._released_at = None  # the version of the ledger that was gone through last
        self._due = collections.defaultdict(float)
        self._loaded = False
        self._heard_from = now()  # Unix time since when it could hear what Alertmanager says
        self._stopping = ""
        self.wake = threading.Event()

    # --- asked by the listener's threads ---------------------------------------------------------

    def refusal(self):
        """Return why a notification cannot be taken now, "" when it can."""
        if self._stopping:
            return self._stopping
        if len(self._queue) >= self._settings.listener.max_backlog:
            return "backlog: %d notifications wait (max_backlog)" % len(self._queue)
        return ""

    def take(self, entry):
        """Take an entry that has just been written to the inbox."""
        with self._lock:
            request_id = entry["request_id"]
            if request_id not in self._known_inbox and request_id not in self._done:
                self._known_inbox[request_id] = entry["received_at"]
                self._queue.append(entry)
        self.wake.set()

    def stop(self, reason):
        """Refuse notifications from now on."""
        self._stopping = reason
        self.wake.set()

    def health(self):
        """Return ``{part: {"ok": bool, "detail": text}}`` for the parts that PoundCake needs."""
        parts = {"trigger_bus": dict(self._publisher.state), "tracking": self._relay.health()}
        for name, check in (
            ("datastore", lambda: rows.read(self._stackstorm, rows.INBOX, "ready")),
            ("api", self._stackstorm.ping),
        ):
            try:
                check()
                parts[name] = {"ok": True, "detail": "answers"}
            except StackStormError as error:
                parts[name] = {"ok": False, "detail": str(error)[:300]}
        state = self._stopping or ("running" if self._loaded else "loading its rows")
        parts["sensor"] = {"ok": self._works, "detail": state}
        if self._settings.admission.watchdog_alertname:
            found = self._ledger.heartbeats
            parts["heartbeat"] = heartbeat.health(
                found, self._settings, self._now(), self._heard_from
            )
        return parts

    @property
    def _works(self):
        return self._loaded and not self._stopping

    def state(self):
        """Return what metrics show of this moment, from memory alone; StackStorm is not asked.

        :returns: parts (name -> bool), inbox (depth, age in seconds, backlog), lag (seconds),
            levers (name -> how many); heartbeat (missing, last_seen as Unix time or None), None
            when none is watched for; ledger (``Ledger.counts``), None until it is loaded.
        """
        now = self._now()
        parts = {
            "sensor": self._works,
            "trigger_bus": self._publisher.state["ok"],
            "tracking": self._relay.keeps_up,
        }
        beats = None
        if self._settings.admission.watchdog_alertname:
            found = self._ledger.heartbeats
            beats = heartbeat.counts(found, self._settings, now, self._heard_from)
            parts["heartbeat"] = not beats["missing"]
        oldest = min(list(self._known_inbox.values()), default=None)
        return {
            "parts": parts,
            "inbox": {
                "depth": len(self._known_inbox),
                "age": max(0.0, now - clock.to_seconds(oldest)) if oldest else 0.0,
                "backlog": len(self._queue),
            },
            "lag": self._relay.lag,
            "levers": self._controls.counts(now) if self._controls else {},
            "heartbeat": beats,
            "ledger": self._ledger.counts(now) if self._loaded else None,
        }

    def request_status(self, request_id):
        """Return a request with its alerts and executions, None when it is not known."""
        return requests.status(
            self._stackstorm, request_id, self._ledger.requests, self._ledger.alerts
        )

    def snapshot(self):
        """Return what there is to see at this moment, as a core.snapshot.Snapshot.

        Rows are replaced and never changed, so a list of them is a moment's truth.
        """
        ledger = self._ledger
        return Snapshot(
            now=self._now(),
            alerts=list(ledger.alerts.values()),
            recent=ledger.recent,
            controls=self._controls,
            breakers=ledger.open_breakers(),
            running=ledger.running,
            undecided=len(self._queue),
        )

    # --- called by the one thread that decides ---------------------------------------------------

    def load(self):
        """Fill the memory from the datastore: rows, outbox, controls, inbox."""
        outbox.drop_unfinished(self._stackstorm)
        for fingerprint in self._ledger.load(self._stackstorm):
            text = "the row of an alert cannot be used; the alert counts as new"
            self._log.record("unreadable", text, fingerprint=fingerprint)
        batches = outbox.waiting(self._stackstorm)
        self._relay.load(batches)
        self._publisher.load(outbox.unsent_reports(self._stackstorm, batches))
        self._read_controls()
        self._poll_inbox()
        for row in self._ledger.alerts.values():
            self._dispatches.follow_up(row)
        self._heard_from = self._now()
        self._loaded = True
        self._log.record(
            "loaded",
            "%d alerts" % len(self._ledger.alerts),
            alerts=len(self._ledger.alerts),
            in_flight=self._ledger.in_flight,
            held=len(self._ledger.held),
            inbox=len(self._queue),
            outbox=len(batches),
        )

    def run(self):
        """Load, then tick until ``stop``; a fault of StackStorm's is logged and tried again.

        Raises bus.BusBroken when only a new process can go on.
        """
        while not self._stopping:
            try:
                if not self._loaded:
                    self.load()
                self.tick()
            except StackStormError as error:
                self._heard_from = self._now()
                self._log.record("away", "StackStorm is away, trying again: %s" % error.brief)
                self.wake.wait(1.0)
            busy = self._queue or self._publisher.has_reports or self._ledger.in_flight
            if self.wake.wait(0.1 if busy or self._relay.waits else 0.5):
                self.wake.clear()
                time.sleep(TOGETHER_SECONDS)

    def tick(self):
        """Do everything that is due, once. Raises StackStormError when StackStorm is away."""
        if self._is_due("controls", CONTROLS_SECONDS):
            self._read_controls()
            self._released_at = None
        if self._is_due("inbox", INBOX_POLL_SECONDS):
            self._poll_inbox()
        if self._ledger.in_flight and self._is_due("watch", self._pace()):
            self._dispatches.follow()
        self._intake()  # before the release: a held alert may have resolved
        if self._is_due("heartbeat", HEARTBEAT_SECONDS):
            self._listen()
        self._release()
        self._flush()
        self._publisher.send(busy=self._ledger.in_flight > 0)
        self._left(self._relay.step(self._storm))
        self._publisher.check()
        if self._is_due("sweep", SWEEP_SECONDS):
            self._ledger.forget(self._now())

    def _read_controls(self):
        found = controls.read(self._stackstorm)
        for key in found.unreadable:
            if self._controls is None or key not in self._controls.unreadable:
                text = "%s cannot be understood: everything counts as paused until it is corrected"
                self._log.record("unreadable", text % key, key=key)
        self._controls = found

    def _pace(self):
        if self._ledger.waiting:
            return WATCH_SECONDS
        return WATCH_STORM_SECONDS if self._storm else WATCH_AT_EASE_SECONDS

    @property
    def _storm(self):
        return self._ledger.in_flight > STORM_IN_FLIGHT

    def _is_due(self, name, seconds):
        now = self._now()
        # A due time further away than it can have been set: the clock has stepped back.
        if now < self._due[name] <= now + seconds:
            return False
        self._due[name] = now + seconds
        return True

    def _poll_inbox(self):
        """Find the entries that did not come through ``take``: receive_webhook's, and old ones.

        Ids sort by time, so new ones stand at the end; now and then the whole inbox is read.
        """
        skip = 0
        if self._loaded and not self._is_due("whole inbox", INBOX_WHOLE_SECONDS):
            skip = max(0, len(self._known_inbox) - INBOX_OVERLAP)
        for entry in inbox.entries(self._stackstorm, skip):
            if entry["request_id"] in self._known_inbox or entry["request_id"] in self._done:
                continue
            if rows.read(self._stackstorm, rows.REQUEST, entry["request_id"]):
                inbox.remove(self._stackstorm, entry["request_id"])  # a crash came before this
            else:
                self.take(entry)

    def _intake(self):
        for _ in range(min(ENTRIES_A_TICK, len(self._queue))):
            entry = self._queue[0]
            if entry["request_id"] not in self._ledger.requests:
                try:
                    if entry["source"] == BY_HAND:
                        self._command(entry)
                    else:
                        self._decide(entry)
                except Exception as error:
                    refused = [self._answered("", "", None, self._fault(entry, error))]
                    self._ledger.add_request(_request(entry, refused))
            self._decided.append(entry["request_id"])
            self._queue.popleft()

    def _fault(self, entry, error):
        """Return the decision when PoundCake itself has a fault.

        It must not stop any other alert, now or after a restart: this one is rejected, and says so.
        """
        text = "a decision failed; the alert is rejected, and the others go on"
        self._log.record("fault", text, error, request_id=entry["request_id"])
        reason = "internal error (%s), see the sensor's log" % type(error).__name__
        return Decision(REJECTED, reason, FAULT)

    def _answered(self, fingerprint, alertname, episode, decision):
        """Count a decision and return what the request says of it."""
        self._metrics.decided(decision)
        return new_entry(fingerprint, alertname, episode, decision.kind, decision.reason)

    def _decide(self, entry):
        """Decide on every alert of a notification."""
        if entry["source"] == inbox.ST2_WEBHOOK:  # the listener counts its own
            self._metrics.notified(inbox.ST2_WEBHOOK, 202)
        notification = payload.parse(entry["notification"])
        alerts = []
        for item in notification.entries:
            if isinstance(item, payload.Alert):
                try:
                    item = self._decide_alert(item, notification, entry)
                except Exception as error:
                    fault = self._fault(entry, error)
                    item = self._answered(item.fingerprint, item.alertname, None, fault)
            else:
                field, known = payload.field_of(item.reason), item.fingerprint
                text = "an alert is rejected for its " + field
                self._log.record(
                    "rejected", text, request_id=entry["request_id"], fingerprint=known
                )
                bad = Decision(REJECTED, item.reason, INVALID)
                item = self._answered(known, "", None, bad)
            alerts.append(item)
        self._add_request(_request(entry, alerts, notification))

    def _decide_alert(self, alert, notification, entry):
        self._metrics.received(alert)
        request_id, received_at = entry["request_id"], entry["received_at"]
        row = self._ledger.alerts.get(alert.fingerprint)
        episode = lifecycle.episode_of(row, alert, received_at)
        decision = admission.decide(alert, episode, row, self._standing(), self._settings)
        fact = {"fingerprint": alert.fingerprint, "episode": episode, "request_id": request_id}
        described = lifecycle.describe(alert, notification)
        row = self._ledger.apply(
            dict(fact, kind="notified", at=received_at, status=alert.status, alert=described)
        )
        if alert.status == payload.FIRING and self._settings.admission.is_heartbeat(
            alert.alertname
        ):
            self._ledger.apply(dict(fact, **heartbeat.seen(received_at)))
        self._log.record_decision(decision, row, request_id)
        self._carry_out(decision, row, request_id)
        if decision.kind == RESOLVE and row["starts_at"] == episode:
            report = triggers.alert_resolved_payload(row)
            self._ledger.reports.append((triggers.ALERT_RESOLVED, report, request_id))
        return self._answered(alert.fingerprint, alert.alertname, episode, decision)

    def _command(self, entry):
        """Do what a person asked for."""
        command = entry["command"]
        row = self._ledger.alerts.get(command["fingerprint"])
        if row is None:
            text = "the alert is not known (any more)"
            decision = Decision(REJECTED, text, UNKNOWN)
        elif command["do"] == "retry":
            decision = admission.by_hand(row, self._standing(), self._settings)
            self._log.record_decision(decision, row, entry["request_id"])
            self._carry_out(decision, row, entry["request_id"], command)
        else:
            reason = "%s by %s: %s" % (command["do"], command["by"], command["reason"])
            dismissed = command["do"] == "dismiss"
            cause = DISMISSED if dismissed else ACKNOWLEDGED
            decision = Decision(SUPPRESS, reason, cause)
            self._ledger.apply(
                {
                    "kind": "acknowledged",
                    "fingerprint": row["fingerprint"],
                    "episode": row["starts_at"],
                    # What has held the alert back since the command came is over now.
                    "at": clock.to_text(self._now()),
                    "request_id": entry["request_id"],
                    "by": command["by"],
                    "reason": command["reason"],
                    "dismissed": dismissed,
                }
            )
        described = self._answered(
            command["fingerprint"],
            row["alertname"] if row else "",
            row["starts_at"] if row else None,
            decision,
        )
        self._add_request(_request(entry, [described], command=command))

    def _add_request(self, request):
        self._ledger.add_request(request)
        counts = request["counts"]
        self._log.record(
            "decided",
            ", ".join("%s %d" % item for item in sorted(counts.items())),
            request_id=request["request_id"],
            source=request["source"],
            counts=counts,
        )

    def _carry_out(self, decision, row, request_id, command=None):
        """Make the facts that follow from a decision."""
        by = {"by": command["by"], "reason": command["reason"]} if command else {}
        fact = {
            "fingerprint": row["fingerprint"],
            "episode": row["starts_at"],
            "at": clock.to_text(self._now()),
            "request_id": request_id,
        }
        if decision.ineffective:
            found = dict(fact, kind="ineffective", dispatch_id=decision.ineffective)
            row = self._ledger.apply(found)
        if decision.exhausted:
            found = dict(fact, kind="exhausted", dispatch_id=decision.exhausted)
            self._ledger.apply(dict(found, reason=decision.reason))
        if decision.hold:
            self._hold(row, decision.hold, request_id, forced=command is not None, **by)
        elif decision.kind == DISPATCH:
            self._start(row, request_id, **(by or {"reason": decision.reason}))

    def _hold(self, row, hold, request_id, reason="", **more):
        self._ledger.apply(
            dict(
                more,
                kind="held",
                fingerprint=row["fingerprint"],
                episode=row["starts_at"],
                at=clock.to_text(self._now()),
                attempt=next_attempt_number(row),
                state=hold.state,
                cause=hold.cause,
                reason="; ".join(filter(None, (reason, hold.reason))),
                request_id=request_id,
            )
        )

    def _start(self, row, request_id, reason="", by=""):
        """Take down a dispatch; it is sent when the row that says so is safe in the outbox."""
        attempt = next_attempt_number(row)
        identity = dispatch_id(row["fingerprint"], row["starts_at"], attempt)
        self._ledger.apply(
            {
                "kind": "dispatched",
                "fingerprint": row["fingerprint"],
                "episode": row["starts_at"],
                "at": clock.to_text(self._now()),
                "dispatch_id": identity,
                "attempt": attempt,
                "request_id": request_id,
                "reason": "" if reason == NEW_EPISODE else reason,
                "by": by,
            }
        )
        self._dispatches.send(identity)

    def _listen(self):
        """Make the facts about heartbeats that do not come any more."""
        for row in self._ledger.heartbeats:
            fact = heartbeat.missed(row, self._settings, self._now(), self._heard_from)
            if fact:
                fact.update(fingerprint=row["fingerprint"], episode=row["starts_at"])
                self._ledger.apply(dict(fact, at=clock.to_text(self._now())))

    def _release(self):
        """Let go what is held back no longer; go through it when something may have changed."""
        ledger, began = self._ledger, self._now()
        if ledger.version == self._released_at:
            return
        if began < self._due["release"] <= began + LONGEST_RELEASE_SECONDS:
            return
        self._released_at = ledger.version
        held = []
        for row, hold in admission.release(ledger.held, self._standing(), self._settings):
            known = current_hold(row)
            if hold is None:
                reason = "it was %s: %s" % (known["state"], known["reason"])
                self._start(row, known["request_id"], reason, known["by"])
            else:
                self._hold(row, hold, known["request_id"], by=known["by"], forced=known["forced"])
                held.append((row, hold.cause, known["request_id"]))
        self._tell_all_held(held)
        # With thousands held it takes a while, and notifications must be decided meanwhile.
        took = self._now() - began
        self._due["release"] = began + min(10 * took, LONGEST_RELEASE_SECONDS)

    def _tell_all_held(self, held):
        """Tell each, or how many when a lever has moved them all."""
        if len(held) <= HELD_TOLD:
            for item in held:
                self._log.record_held("held", *item)
            return
        for cause, count in collections.Counter(cause for _, cause, _ in held).items():
            self._log.record(
                "held", "%d alerts wait: %s" % (count, cause), alerts=count, cause=cause
            )

    def _standing(self):
        return self._ledger.standing(self._now(), self._controls)

    def _flush(self):
        """Write what changed to the outbox; nothing is sent before that has succeeded."""
        changed, reports = self._ledger.take_changed()
        if any(changed.values()):
            try:
                batch_id = outbox.put(self._stackstorm, changed, reports)
            except Exception:
                self._ledger.put_back(changed, reports)
                raise
            self._relay.add_batch(batch_id, self._storm)
            self._publisher.add_reports(reports)
            for trigger, change, _ in reports:
                if trigger == triggers.LIFECYCLE:
                    self._log.record_change(change)
        self._relay.remove_when_tracked(self._decided)
        self._decided = []

    def _left(self, request_ids):
        """Remember what has left the inbox, and forget what is tracked."""
        with self._lock:
            for request_id in request_ids:
                self._known_inbox.pop(request_id, None)
                self._done[request_id] = True
                while len(self._done) > REMEMBERED_REQUESTS:
                    self._done.popitem(last=False)
        if request_ids and not self._relay.waits:
            self._ledger.forget_requests()


def _request(entry, alerts, notification=None, command=None):
    """Return the row of the request that an inbox entry becomes."""
    about = (entry["request_id"], entry["received_at"], entry["source"])
    return new_request(*about, alerts, notification, command)
