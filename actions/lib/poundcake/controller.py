"""The one decision maker: takes notifications, decides, dispatches, watches, hands rows over.

One thread calls ``tick``; the listener's threads only put entries in and ask questions. The order
inside a tick is what makes a crash harmless: rows (with the dispatches in them) go to the outbox
first, triggers are sent after it, and an inbox entry leaves only when ``track`` has written its
rows.
"""

import collections
import threading
import time

from poundcake import admission, clock, inbox, lifecycle, outbox, payload, rows, triggers, watch
from poundcake.ids import dispatch_id, new_uuid7
from poundcake.ledger import Ledger
from poundcake.stackstorm import StackStormError

WATCH_SECONDS = 0.5
WATCH_AT_EASE_SECONDS = 1.0  # when nobody waits for room
WATCH_STORM_SECONDS = 2.0  # likewise, and many run: a look costs with their number
INBOX_POLL_SECONDS = 1.0
INBOX_WHOLE_SECONDS = 30
INBOX_OVERLAP = 20
REMEMBERED_REQUESTS = 10000
TRACK_POLL_SECONDS = 0.25
# A run of track costs a process; in a storm one run for many rows costs next to nothing.
TRACK_AFTER_SECONDS = 1.0
TRACK_EVERY_SECONDS = 2.0
TRACK_EVERY_STORM_SECONDS = 5.0
STORM_IN_FLIGHT = 5
# Dispatches go out at once. What only tells of them is a trigger as well, which StackStorm must
# take through its rules: while remediations run, 20 a second are more than it makes of them.
REPORTS_A_TICK = 50
REPORTS_A_BUSY_TICK = 2
TRACK_AGAIN_SECONDS = 60
PROBE_SECONDS = 60
PROBE_AGAIN_SECONDS = 5
LOST_SECONDS = 15
SWEEP_SECONDS = 60
ENTRIES_A_TICK = 50
# What arrives together is decided together: one batch and one look at the datastore.
TOGETHER_SECONDS = 0.05


class Controller:
    """Intake, admission, dispatch, watch and the hand-over to ``track``.

    :param settings: settings.Settings.
    :param stackstorm: stackstorm.StackStorm.
    :param dispatch: callable ``(trigger, payload, trace_tag)`` that puts a trigger on the bus and
        raises when it could not.
    :param schemas: triggers.Schemas.
    :param log: a logger.
    :param now: the clock, Unix time in seconds.
    """

    def __init__(self, settings, stackstorm, dispatch, schemas, log, now=time.time):
        self._settings = settings
        self._stackstorm = stackstorm
        self._dispatch = dispatch
        self._schemas = schemas
        self._log = log
        self._now = now
        self._ledger = Ledger()
        self._lock = threading.Lock()
        self._queue = collections.deque()  # inbox entries that are not decided
        self._known_inbox = set()  # request ids of the entries in the inbox that it has seen
        self._done = collections.OrderedDict()  # request ids of the latest ones that left it
        self._outgoing = collections.deque()  # dispatches, to be sent once their rows are safe
        self._reports = collections.deque()  # alert_resolved and lifecycle, likewise
        self._sent_at = {}  # dispatch_id -> when this process sent it last; endless when it did not
        self._removals = []  # (batch_id, request_id): remove the entry once the batch is tracked
        self._newest_batch = None
        self._tracking = None  # (batch_id, sent_at) of the tracking trigger under way
        self._probe = None  # (probe_id, sent_at) under way
        self._bus = {"ok": True, "detail": "nothing sent yet"}
        self._bus_seen_at = 0.0
        self._due = collections.defaultdict(float)
        self._loaded = False
        self._loaded_at = 0.0
        self._stopping = ""
        self.wake = threading.Event()

    # --- asked by the listener's threads ---------------------------------------------------------

    def refusal(self):
        """Return why a notification cannot be taken now, "" when it can."""
        if self._stopping:
            return self._stopping
        if len(self._queue) >= self._settings.max_backlog:
            return "backlog: %d notifications wait (max_backlog)" % len(self._queue)
        return ""

    def take(self, entry):
        """Take an entry that has just been written to the inbox."""
        with self._lock:
            request_id = entry["request_id"]
            if request_id not in self._known_inbox and request_id not in self._done:
                self._known_inbox.add(request_id)
                self._queue.append(entry)
        self.wake.set()

    def stop(self, reason):
        """Refuse notifications from now on."""
        self._stopping = reason
        self.wake.set()

    def health(self):
        """Return ``{part: {"ok": bool, "detail": text}}`` for the parts that PoundCake needs."""
        parts = {"trigger_bus": dict(self._bus)}
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
        parts["sensor"] = {"ok": self._loaded and not self._stopping, "detail": state}
        return parts

    def request_status(self, request_id):
        """Return a request with its alerts and executions, None when it is not known."""
        request = self._ledger.requests.get(request_id)
        request = request or rows.read(self._stackstorm, rows.REQUEST, request_id)
        if request is None:
            entry = rows.read(self._stackstorm, rows.INBOX, request_id)
            return _undecided(entry) if entry else None
        alerts, executions = [], []
        for entry in request["alerts"]:
            row = self._ledger.alerts.get(entry["fingerprint"])
            if row is None and entry["fingerprint"]:
                row = rows.read(self._stackstorm, rows.ALERT, entry["fingerprint"])
            alerts.append(dict(entry, state=row["state"] if row else None))
            for attempt in row["attempts"] if row else []:
                if attempt["request_id"] == request_id:
                    executions += [
                        dict(execution, fingerprint=row["fingerprint"])
                        for execution in attempt["executions"]
                    ]
        status = "complete" if request["completed_at"] else "in progress"
        shown = {name: value for name, value in request.items() if name != "rev"}
        return dict(shown, status=status, alerts=alerts, executions=executions)

    # --- called by the one thread that decides ---------------------------------------------------

    def load(self):
        """Fill the memory from the datastore: rows, outbox, inbox."""
        self._ledger.load(self._stackstorm)
        waiting = outbox.waiting(self._stackstorm)
        if waiting:
            self._newest_batch = waiting[-1]["batch_id"]
        self._poll_inbox()
        self._loaded = True
        self._loaded_at = self._now()
        self._log.info(
            "loaded: alerts=%d in_flight=%d pending=%d inbox=%d outbox=%d",
            len(self._ledger.alerts),
            self._ledger.in_flight,
            len(self._ledger.waiting),
            len(self._queue),
            len(waiting),
        )

    def run(self):
        """Load, then tick until ``stop``; a fault of StackStorm's is logged and tried again."""
        while not self._stopping:
            try:
                if not self._loaded:
                    self.load()
                self.tick()
            except StackStormError as error:
                self._log.warning("StackStorm is away, trying again: %s", error)
                self.wake.wait(1.0)
            busy = self._queue or self._reports or self._ledger.in_flight or self._newest_batch
            if self.wake.wait(0.1 if busy else 0.5):
                self.wake.clear()
                time.sleep(TOGETHER_SECONDS)

    def tick(self):
        """Do everything that is due, once. Raises StackStormError when StackStorm is away."""
        if self._is_due("inbox", INBOX_POLL_SECONDS):
            self._poll_inbox()
        if self._ledger.waiting:
            pace = WATCH_SECONDS
        else:
            pace = WATCH_STORM_SECONDS if self._storm else WATCH_AT_EASE_SECONDS
        if self._ledger.in_flight and self._is_due("watch", pace):
            self._watch()
        self._intake()  # before the release: a pending alert may have resolved
        self._release()
        self._flush()
        self._send()
        self._track()
        self._check_bus()
        if self._is_due("sweep", SWEEP_SECONDS):
            self._ledger.forget(self._now(), self._settings)

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
                    self._decide(entry)
                except Exception as error:
                    # A fault of PoundCake's must not stop every other alert, now and after a
                    # restart: this one is rejected, and says so.
                    self._log.error("request %s failed", entry["request_id"], exc_info=True)
                    reason = "internal error (%s), see the sensor's log" % type(error).__name__
                    refused = [_request_entry("", "", None, admission.REJECTED, reason)]
                    self._ledger.add_request(_request(entry, refused))
            self._removals.append((None, entry["request_id"]))
            self._queue.popleft()

    def _decide(self, entry):
        notification = payload.parse(entry["notification"])
        alerts = []
        seen = set()
        for item in notification.entries:
            if isinstance(item, payload.Alert):
                again = item.fingerprint in seen
                seen.add(item.fingerprint)
                item = self._decide_alert(item, notification, entry, again)
            else:
                item = _request_entry(item.fingerprint, "", None, admission.REJECTED, item.reason)
            alerts.append(item)
        request = _request(entry, alerts, notification)
        self._ledger.add_request(request)
        self._log.info(
            "request %s: %s",
            entry["request_id"],
            " ".join("%s=%d" % item for item in sorted(request["counts"].items())),
        )

    def _decide_alert(self, alert, notification, entry, again):
        request_id, received_at = entry["request_id"], entry["received_at"]
        row = self._ledger.alerts.get(alert.fingerprint)
        episode = lifecycle.episode_of(row, alert, received_at)
        before = None if again else _decided_before(row, episode, alert, request_id)
        view = self._ledger.view_for(alert.fingerprint)
        decision = before or admission.decide(alert, episode, view, self._settings)
        fact = {"fingerprint": alert.fingerprint, "episode": episode, "request_id": request_id}
        described = lifecycle.describe(alert, notification)
        self._ledger.apply(
            dict(fact, kind="notified", at=received_at, status=alert.status, alert=described)
        )
        if before:
            pass  # the dispatch is on its way, or _resend finds that it is not
        elif decision.kind == admission.DISPATCH:
            self._start(alert.fingerprint, episode, decision.attempt, request_id)
        elif decision.kind == admission.PEND:
            at = clock.to_text(self._now())
            self._ledger.apply(dict(fact, kind="pended", at=at, reason=decision.reason))
        elif decision.kind == admission.RESOLVE:
            resolved = self._ledger.alerts[alert.fingerprint]
            if lifecycle.current(resolved)["starts_at"] == episode:
                payload_ = triggers.alert_resolved_payload(resolved)
                self._reports.append((triggers.ALERT_RESOLVED, payload_, request_id))
        return _request_entry(
            alert.fingerprint, alert.alertname, episode, decision.kind, decision.reason
        )

    def _start(self, fingerprint, episode, attempt, request_id):
        """Take down a dispatch; it is sent when the row that says so is safe in the outbox."""
        identity = dispatch_id(fingerprint, episode, attempt)
        self._ledger.apply(
            {
                "kind": "dispatched",
                "fingerprint": fingerprint,
                "episode": episode,
                "at": clock.to_text(self._now()),
                "dispatch_id": identity,
                "attempt": attempt,
                "request_id": request_id,
            }
        )
        self._queue_dispatch(identity)

    def _queue_dispatch(self, identity):
        row, attempt = self._ledger.flight(identity)
        self._sent_at[identity] = float("inf")
        payload_ = triggers.alert_payload(row, attempt)
        try:
            self._schemas.check(triggers.ALERT, payload_)
        except ValueError as error:
            self._log.error("dispatch %s cannot be sent: %s", identity, error)
            fact = {"kind": "settled", "fingerprint": row["fingerprint"], "reason": str(error)}
            fact.update(episode=attempt["starts_at"], dispatch_id=identity)
            self._ledger.apply(dict(fact, at=clock.to_text(self._now())))
            return
        self._outgoing.append((triggers.ALERT, payload_, attempt["request_id"]))

    def _watch(self):
        facts, lost = watch.observe(self._stackstorm, self._ledger.flights(), self._now())
        for fact in facts:
            self._ledger.apply(fact)
            if fact["kind"] == "settled":
                self._sent_at.pop(fact["dispatch_id"], None)
        self._resend(lost)

    def _resend(self, lost):
        """Send a dispatch again of which StackStorm knows nothing.

        No trace of it may also mean that the rules engine is behind. The bus keeps the order, so a
        probe that was sent later and has arrived says that the dispatch never will.
        """
        # What an earlier process sent counts from the start of this one.
        sent_at = {identity: self._sent_at.get(identity, self._loaded_at) for identity in lost}
        late = [d for d in lost if self._now() - sent_at[d] > LOST_SECONDS]
        if late and self._probe is None:
            self._send_probe()
        for identity in late:
            if sent_at[identity] < self._bus_seen_at:
                self._log.warning("dispatch %s never reached StackStorm; sent again", identity)
                self._queue_dispatch(identity)

    def _release(self):
        if not self._ledger.waiting:
            return
        ledger = self._ledger
        for fingerprint in admission.release(
            ledger.waiting, ledger.in_flight, ledger.busy, self._settings
        ):
            row = ledger.alerts[fingerprint]
            pended = lifecycle.current(row)["pended"]
            self._start(fingerprint, row["starts_at"], 1, pended["request_id"])

    def _flush(self):
        """Write what changed to the outbox; nothing is sent before that has succeeded."""
        changed = self._ledger.take_changed()
        if any(changed.values()):
            if not self._newest_batch:
                after = TRACK_EVERY_STORM_SECONDS if self._storm else TRACK_AFTER_SECONDS
                soon = self._now() + after
                self._due["tracking"] = max(self._due["tracking"], soon)
            try:
                self._newest_batch = outbox.put(self._stackstorm, changed)
            except Exception:
                self._ledger.put_back(changed)
                raise
        self._removals = [(batch or self._newest_batch, r) for batch, r in self._removals]
        for row, came_from, went_to, entry in self._ledger.take_transitions():
            # No trace tag: StackStorm opens a trace of its own for each trigger that arrives at
            # the same moment, and the trace of the remediation would be hard to find among them.
            payload_ = triggers.lifecycle_payload(row, came_from, went_to, entry)
            self._reports.append((triggers.LIFECYCLE, payload_, None))

    def _send(self):
        reports = REPORTS_A_BUSY_TICK if self._ledger.in_flight else REPORTS_A_TICK
        for queue, most in ((self._outgoing, len(self._outgoing)), (self._reports, reports)):
            for _ in range(min(most, len(queue))):
                trigger, payload_, trace_tag = queue[0]
                if not self._emit(trigger, payload_, trace_tag):
                    return
                if trigger == triggers.ALERT:
                    self._sent_at[payload_["dispatch_id"]] = self._now()
                queue.popleft()

    def _emit(self, trigger, payload_, trace_tag=None):
        """Send one trigger; False when the bus is away and it must be tried again."""
        try:
            self._schemas.check(trigger, payload_)
        except ValueError as error:
            self._log.error("not sent, as StackStorm would drop it: %s", error)
            return True
        try:
            self._dispatch(trigger, payload_, trace_tag)
        except Exception as error:
            self._bus = {"ok": False, "detail": "dispatch failed: %s" % type(error).__name__}
            self._due["send probe"] = self._now() + PROBE_AGAIN_SECONDS
            self._log.error("the trigger bus is away: %s: %s", type(error).__name__, error)
            return False
        return True

    def _track(self):
        """Have ``track`` write the batches, one trigger at a time."""
        now = self._now()
        if self._tracking:
            batch_id, sent_at = self._tracking
            if not self._is_due("track", TRACK_POLL_SECONDS):
                return
            if outbox.is_tracked(self._stackstorm, batch_id):
                self._finish_removals(batch_id)
                self._tracking = None
            elif abs(now - sent_at) > TRACK_AGAIN_SECONDS:
                self._tracking = None
            else:
                return
        pace = TRACK_EVERY_STORM_SECONDS if self._storm else TRACK_EVERY_SECONDS
        if not self._newest_batch or not self._is_due("tracking", pace):
            return
        if self._emit(triggers.TRACKING, {"batch_id": self._newest_batch}):
            self._tracking = (self._newest_batch, now)

    def _finish_removals(self, batch_id):
        tracked = [item for item in self._removals if item[0] is None or item[0] <= batch_id]
        for item in tracked:
            request_id = item[1]
            inbox.remove(self._stackstorm, request_id)
            with self._lock:
                self._known_inbox.discard(request_id)
                self._done[request_id] = True
                while len(self._done) > REMEMBERED_REQUESTS:
                    self._done.popitem(last=False)
            self._removals.remove(item)
        if batch_id == self._newest_batch:
            self._newest_batch = None
            self._ledger.forget_requests()

    def _check_bus(self):
        """Send a probe when there is no recent proof that the bus and the rules engine work."""
        if self._probe:
            probe_id, sent_at = self._probe
            if self._is_due("probe", 1.0) and self._has_arrived(probe_id, sent_at):
                self._bus = {"ok": True, "detail": "a probe came through"}
                self._bus_seen_at, self._probe = sent_at, None
            elif abs(self._now() - sent_at) > PROBE_SECONDS:
                waited = int(self._now() - sent_at)
                self._bus = {"ok": False, "detail": "a probe sent %d s ago has not come" % waited}
                self._probe = None
        elif self._is_due("send probe", PROBE_SECONDS):
            self._send_probe()

    def _send_probe(self):
        probe_id = new_uuid7()
        if self._emit(triggers.PROBE, {"probe_id": probe_id}):
            self._probe = (probe_id, self._now())

    def _has_arrived(self, probe_id, sent_at):
        since = clock.to_text(sent_at - watch.WIDE_MARGIN_SECONDS)
        found = self._stackstorm.list_trigger_instances(triggers.PROBE, since)
        return any(instance["payload"].get("probe_id") == probe_id for instance in found)


def _decided_before(row, episode, alert, request_id):
    """Return the decision on an alert that a crash cut off from its request, None otherwise.

    The rows of alerts reach the outbox before the row of their request, so an entry that is read
    again after a crash may find what it decided.
    """
    if row is None:
        return None
    if alert.status == payload.FIRING:
        for attempt in lifecycle.attempts_of(row, episode):
            if attempt["request_id"] == request_id:
                return admission.Decision(admission.DISPATCH, "new episode", attempt["attempt"])
    for known in row["episodes"]:
        pended = known["pended"]
        if known["starts_at"] == episode and pended and pended["request_id"] == request_id:
            return admission.Decision(admission.PEND, pended["reason"])
    return None


def _request(entry, alerts, notification=None):
    """Return the row of a request whose alerts are decided."""
    counts = collections.Counter(item["decision"] for item in alerts)
    return {
        "request_id": entry["request_id"],
        "received_at": entry["received_at"],
        "completed_at": None,
        "source": entry["source"],
        "receiver": notification.receiver if notification else "",
        "group_key": notification.group_key if notification else "",
        "truncated_alerts": notification.truncated_alerts if notification else 0,
        "warnings": notification.warnings if notification else [],
        "counts": dict(counts, alerts=len(alerts)),
        "alerts": alerts,
    }


def _request_entry(fingerprint, alertname, episode, decision, reason):
    return {
        "fingerprint": fingerprint,
        "alertname": alertname,
        "starts_at": episode,
        "decision": decision,
        "reason": reason,
        "dispatch_id": None,
        "outcome": None,
    }


def _undecided(entry):
    """Return the status of a request that is in the inbox and not decided yet."""
    return {
        "request_id": entry["request_id"],
        "received_at": entry["received_at"],
        "completed_at": None,
        "source": entry["source"],
        "status": "accepted",
        "alerts": [],
        "executions": [],
    }
