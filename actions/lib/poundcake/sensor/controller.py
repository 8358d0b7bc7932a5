"""The loop of the sensor: reads, decides, writes, sends, in the order that makes a crash harmless.

One thread calls ``tick``; the listener's threads only put entries in and ask questions. Rows (with
the dispatches in them) go to the outbox first, triggers are sent after it, and an inbox entry
leaves only when ``track`` has written its rows.
"""

import collections
import threading
import time
from typing import Any, Callable, DefaultDict, Deque, Dict, List, Optional

from poundcake import clock
from poundcake.core import heartbeat
from poundcake.core.controls import Controls
from poundcake.core.snapshot import Snapshot
from poundcake.errors import BusBroken, StackStormError, UnreadableRow
from poundcake.sensor import trial
from poundcake.sensor.aside import Aside
from poundcake.sensor.dispatches import TRIES, Dispatches
from poundcake.sensor.intake import Intake
from poundcake.sensor.log import EventLog
from poundcake.sensor.metrics import Metrics
from poundcake.sensor.publisher import Publisher
from poundcake.sensor.recorder import Recorder
from poundcake.sensor.relay import Relay
from poundcake.settings import Settings
from poundcake.st2 import aside, controls, enabled_rules, inbox, outbox, requests, rows, triggers
from poundcake.st2.client import StackStorm

WATCH_SECONDS = 0.5
WATCH_AT_EASE_SECONDS = 1.0  # when nobody waits for room
WATCH_STORM_SECONDS = 2.0  # likewise, and many run: a look costs with their number
# The inbox is polled for what came through StackStorm's API. Controls are read before decisions,
# and while anything is held back.
INBOX_POLL_SECONDS = 1.0
INBOX_IDLE_SECONDS = 4.0
INBOX_WHOLE_SECONDS = 30
INBOX_OVERLAP = 20
CONTROLS_SECONDS = 1.0
CONTROLS_IDLE_SECONDS = 10.0
HEARTBEAT_SECONDS = 1.0
REMEMBERED_REQUESTS = 10000
STORM_IN_FLIGHT = 5
SWEEP_SECONDS = 60
RULES_SECONDS = 30
# A registration restarts the sensor before it comes to the rules, and switches them off behind it.
RULES_SECONDS_AT_START = 3
ENTRIES_A_TICK = 50
WRITE_AGAIN_SECONDS = 60
# What arrives together is decided together: one batch and one look at the datastore.
TOGETHER_SECONDS = 0.05


class Controller:
    """The loop. Intake decides; Publisher sends, Dispatches follows, Relay has rows written.

    :param settings: settings.Settings.
    :param stackstorm: client.StackStorm.
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
        settings: Settings,
        stackstorm: StackStorm,
        dispatch: Callable[..., None],
        bus_answers: Callable[[], bool],
        schemas: triggers.Schemas,
        log: Any,
        now: Callable[[], float] = time.time,
        metrics: Optional[Metrics] = None,
    ):
        self._settings = settings
        self._stackstorm = stackstorm
        self._log = EventLog(log)
        self._now = now
        self._metrics = metrics or Metrics()
        self._recorder = Recorder(settings, self._metrics)
        self._ledger = self._recorder.ledger
        self._publisher = Publisher(
            stackstorm, dispatch, bus_answers, schemas, log, now, self._metrics
        )
        self._aside = Aside(settings, stackstorm, self._publisher, self._log, now)
        self._relay = Relay(stackstorm, self._publisher, self._log, now)
        about = (self._recorder, self._publisher, self._log, now, self._set_alert_aside)
        self._dispatches = Dispatches(settings, stackstorm, *about)
        known = (self._recorder, self._dispatches, self._log, self._metrics, now, self._aside.put)
        self._intake = Intake(settings, *known)
        self._controls: Optional[Controls] = None
        self._lock = threading.Lock()
        # Inbox entries that are not decided; received_at by request id of all that it has seen in
        # the inbox; the request ids that left it last.
        self._queue: Deque[Dict[str, Any]] = collections.deque()
        self._known_inbox: Dict[str, str] = {}
        self._done: collections.OrderedDict[str, None] = collections.OrderedDict()
        self._decided: List[str] = []  # request ids whose rows are on their way to the outbox
        self._due: DefaultDict[str, float] = collections.defaultdict(float)
        self._loaded = False
        self._loaded_at = now()
        self._faults = 0  # rounds that have failed in a row
        self._heard_from = now()  # Unix time since when it could hear what Alertmanager says
        self._stopping = ""
        self.wake = threading.Event()

    # --- called by the one thread that decides ---------------------------------------------------

    def run(self) -> None:
        """Load, then tick until ``stop``; an outage of StackStorm is logged and tried again.

        Raises publisher.BusBroken when only a new process can go on.
        """
        while not self._stopping:
            try:
                if not self._loaded:
                    self.load()
                self.tick()
            except StackStormError as error:
                self._heard_from = self._now()
                self._log.record("away", f"StackStorm is away, trying again: {error.brief}")
                self.wake.wait(1.0)
            busy = self._queue or self._publisher.has_reports or self._ledger.in_flight
            if self.wake.wait(0.1 if busy or self._relay.waits else 0.5):
                self.wake.clear()
                time.sleep(TOGETHER_SECONDS)

    def tick(self) -> None:
        """Do everything that is due, once. Raises StackStormError when StackStorm is away.

        When it fails again and again over some alerts, these are set aside.
        """
        try:
            self._round()
            self._faults = 0
        except (StackStormError, BusBroken):
            raise
        except Exception as error:
            self._faults += 1
            self._log.record("fault", "a round of the sensor failed; it is tried again", error)
            if self._faults >= TRIES and not self._set_faulty_alerts_aside():
                raise

    def _round(self) -> None:
        # What may have changed outside: the operators' pauses, the inbox, what was dispatched.
        is_idle = not self._known_inbox and not self._ledger.in_flight
        if self._is_due("inbox", INBOX_IDLE_SECONDS if is_idle else INBOX_POLL_SECONDS):
            self._poll_inbox()
        self._look_aside()
        if self._ledger.in_flight and self._is_due("watch", self._pace()):
            self._dispatches.follow()
        entries = min(ENTRIES_A_TICK, len(self._queue))  # those that the controls are read for
        decides = entries > 0 or self._ledger.holds_any
        if self._is_due("controls", CONTROLS_SECONDS if decides else CONTROLS_IDLE_SECONDS):
            self._read_controls()
        # Decide, in memory alone. Intake comes before release: a held alert may have resolved.
        self._decide(entries)
        if self._is_due("heartbeat", HEARTBEAT_SECONDS):
            self._intake.miss_heartbeats(self._heard_from)
        self._intake.release()
        self._tell_people()
        # Make it durable, then send it: after a crash, the rows in the outbox say what to send.
        self._flush()
        self._publisher.send(busy=self._ledger.in_flight > 0)
        # An inbox entry leaves when ``track`` has written its rows, or set them aside.
        waiting = self._relay.waiting
        self._left(self._relay.step(self._storm))
        self._aside.is_stale |= self._relay.waiting < waiting
        self._publisher.check()
        at_start = abs(self._now() - self._loaded_at) < RULES_SECONDS
        if self._is_due("rules", RULES_SECONDS_AT_START if at_start else RULES_SECONDS):
            self._keep_rules()
        if self._is_due("sweep", SWEEP_SECONDS):
            self._recorder.forget(self._now())

    def load(self) -> None:
        """Fill the memory from the datastore: rows, outbox, controls, inbox."""
        outbox.drop_unfinished(self._stackstorm)
        batches = outbox.waiting(self._stackstorm, self._aside.move)
        self._recorder.load(self._stackstorm, batches, self._aside.move, self._now())
        self._relay.load(batches)
        self._publisher.load(outbox.unsent_reports(self._stackstorm, batches, self._aside.move))
        self._read_controls()
        self._poll_inbox()
        for row in list(self._ledger.alerts.values()):
            self._dispatches.follow_up(row)
        self._look_aside()
        self._heard_from = self._loaded_at = self._now()
        self._loaded = True
        self._log.record(
            "loaded",
            f"{len(self._ledger.alerts)} alerts",
            alerts=len(self._ledger.alerts),
            in_flight=self._ledger.in_flight,
            held=len(self._ledger.held),
            inbox=len(self._queue),
            outbox=len(batches),
        )

    def _read_controls(self) -> None:
        found = controls.read(self._stackstorm)
        self._controls = controls.set_unreadable_aside(
            self._stackstorm, found, self._aside.keep_copy, self._now()
        )
        self._intake.use_controls(self._controls)

    def _keep_rules(self) -> None:
        """Bring the pack's rules in line with ``enabled_rules``, also after a registration."""
        try:
            switched = enabled_rules.bring_in_line(self._stackstorm, self._settings.rules.enabled)
        except StackStormError as error:  # it may not be allowed to; check_health names the rule
            self._log.record("away", f"the pack's rules cannot be checked: {error.brief}")
            return
        for name, on in switched:
            text = f"poundcake.{name} is {'enabled' if on else 'disabled'}, as enabled_rules says"
            self._log.record("rule_switched", text, rule="poundcake." + name)

    def _pace(self) -> float:
        if self._ledger.waiting:
            return WATCH_SECONDS
        return WATCH_STORM_SECONDS if self._storm else WATCH_AT_EASE_SECONDS

    @property
    def _storm(self) -> bool:
        return self._ledger.in_flight > STORM_IN_FLIGHT

    def _is_due(self, name: str, seconds: float) -> bool:
        now = self._now()
        # A due time further away than it can have been set: the clock has stepped back.
        if now < self._due[name] <= now + seconds:
            return False
        self._due[name] = now + seconds
        return True

    def _poll_inbox(self) -> None:
        """Find the entries that did not come through ``take``: receive_webhook's, and old ones.

        Ids sort by time, so new ones stand at the end; now and then the whole inbox is read.
        """
        skip = 0
        if self._loaded and not self._is_due("whole inbox", INBOX_WHOLE_SECONDS):
            skip = max(0, len(self._known_inbox) - INBOX_OVERLAP)
        for entry in inbox.entries(self._stackstorm, skip, self._aside.move):
            if entry["request_id"] in self._known_inbox or entry["request_id"] in self._done:
                continue
            if rows.exists(self._stackstorm, rows.REQUEST, entry["request_id"]):
                inbox.remove(self._stackstorm, entry["request_id"])  # a crash came before this
            else:
                self.take(entry)

    def _look_aside(self) -> None:
        """See what is set aside; go on with what a person has taken up again."""
        for entry in self._aside.look():
            name = entry["key"][len(rows.prefix_of(entry["key"])) :]
            if entry["kind"] == "alert":
                row = rows.read(self._stackstorm, rows.ALERT, name, self._aside.move)
                if row:
                    self._ledger.adopt(row)
            elif entry["kind"] == "outbox":
                if rows.exists(self._stackstorm, rows.OUTBOX, name):
                    self._relay.add_batch(name, self._storm)
            elif entry["kind"] == "reports":
                reports = outbox.unsent_reports(self._stackstorm, (), self._aside.move)
                self._publisher.add_reports(reports)

    def _set_faulty_alerts_aside(self) -> bool:
        """Set the alerts aside over which a round fails; return whether there are any."""
        standing = self._ledger.standing(self._now(), self._controls)
        faults = {
            fingerprint: trial.fault_of(row, self._settings, standing, self._stackstorm)
            for fingerprint, row in list(self._ledger.alerts.items())
        }
        for fingerprint, fault in faults.items():
            if fault:
                self._set_alert_aside(fingerprint, fault)
        return any(faults.values())

    def _set_alert_aside(self, fingerprint: str, error: Exception) -> None:
        row, key = self._ledger.alerts[fingerprint], rows.key(rows.ALERT, fingerprint)
        reason = f"internal error ({type(error).__name__}), see the sensor's log"
        self._log.record("fault", "an alert is set aside", error, fingerprint=fingerprint)
        self._aside.put(aside.of_row(key, reason, row, self._now()))
        self._publisher.withdraw(fingerprint)
        self._recorder.remove(fingerprint)

    def _set_unwritable_aside(self, key: str, content: Any, reason: str) -> None:
        """Set a row aside that the outbox cannot take; what it was to start does not start."""
        if key.startswith(rows.ALERT):
            reason = f"its row cannot be written: {reason}"
            self._dispatches.give_up_unsent(content["fingerprint"], reason)
        row = content if isinstance(content, dict) else {"batch_id": "", "unsent": [content]}
        self._aside.write(aside.of_row(key, reason, row, self._now()))

    def _decide(self, entries: int) -> None:
        for _ in range(entries):
            entry = self._queue[0]
            if entry["request_id"] not in self._recorder.requests.rows:
                self._decide_one(entry)
            self._decided.append(entry["request_id"])
            self._queue.popleft()

    def _decide_one(self, entry: Dict[str, Any]) -> None:
        try:
            self._intake.decide(entry)
        except Exception as error:  # not even as something that cannot be decided
            reason = f"internal error ({type(error).__name__}), see the sensor's log"
            self._log.record("fault", reason, error, request_id=entry["request_id"])
            self._aside.put(aside.of_inbox_entry(entry, reason, self._now()))

    def _flush(self) -> None:
        """Write what changed to the outbox; nothing is sent before that has succeeded."""
        self._aside.write_queue()
        changed, reports = self._recorder.take_changed()
        if any(changed.values()):
            try:
                batch_ids = outbox.put(
                    self._stackstorm, changed, reports, self._set_unwritable_aside
                )
            except Exception:
                self._recorder.put_back(changed, reports)
                raise
            for batch_id in batch_ids:
                self._relay.add_batch(batch_id, self._storm)
            self._publisher.add_reports(reports)
            for trigger, change, _ in reports:
                if trigger == triggers.LIFECYCLE:
                    self._log.record_change(change)
        self._relay.remove_when_tracked(self._decided)
        self._decided = []

    def _tell_people(self) -> None:
        """Send what was gathered for people, as one change of state that no alert has."""
        message, alerts = self._recorder.attention.due(self._now())
        if message:
            change = triggers.attention_payload(alerts, message, clock.to_text(self._now()))
            self._publisher.add_reports([(triggers.LIFECYCLE, change, None)])

    def _left(self, request_ids: List[str]) -> None:
        """Remember what has left the inbox, and forget what is tracked."""
        with self._lock:
            for request_id in request_ids:
                self._known_inbox.pop(request_id, None)
                self._done[request_id] = None
                while len(self._done) > REMEMBERED_REQUESTS:
                    self._done.popitem(last=False)
        if request_ids and not self._relay.waits:
            self._recorder.forget_requests()

    # --- asked by the listener's threads ---------------------------------------------------------

    def refusal(self) -> str:
        """Return why a notification cannot be taken now, "" when it can."""
        if self._stopping:
            return self._stopping
        undecided, batches = len(self._queue), self._relay.waiting
        if undecided + batches >= self._settings.listener.max_backlog:
            return (
                f"backlog: {undecided} notifications and {batches} batches of rows wait "
                "(max_backlog)"
            )
        return ""

    def take(self, entry: Dict[str, Any]) -> None:
        """Take an entry that has just been written to the inbox."""
        with self._lock:
            request_id = entry["request_id"]
            if request_id not in self._known_inbox and request_id not in self._done:
                self._known_inbox[request_id] = entry["received_at"]
                self._queue.append(entry)
        self.wake.set()

    def stop(self, reason: str) -> None:
        """Refuse notifications from now on."""
        self._stopping = reason
        self.wake.set()

    def health(self) -> Dict[str, Dict[str, Any]]:
        """Return ``{part: {"ok": bool, "detail": text}}`` for the parts that PoundCake needs."""
        parts = {
            "trigger_bus": dict(self._publisher.state),
            "tracking": self._relay.health(),
            "set_aside": self._aside.health(),
        }
        for name, check in (("datastore", self._check_datastore), ("api", self._stackstorm.ping)):
            try:
                check()
                parts[name] = {"ok": True, "detail": "answers"}
            except StackStormError as error:
                parts[name] = {"ok": False, "detail": str(error)[:300]}
        state = self._stopping or ("running" if self._loaded else "loading its rows")
        parts["sensor"] = {"ok": self._works, "detail": state}
        if self._settings.admission.watchdog_alertname:
            beats = self._ledger.heartbeats
            parts["heartbeat"] = heartbeat.health(
                beats, self._settings, self._now(), self._heard_from
            )
        return parts

    def _check_datastore(self) -> None:
        """Raise StackStormError when the datastore cannot be read, or the last write failed.

        While that is so, a key of its own is written now and then: an idle pack writes nothing.
        """
        rows.exists(self._stackstorm, rows.INBOX, "ready")
        if not self._metrics.write_error:
            return
        try:
            if self._is_due("write", WRITE_AGAIN_SECONDS):
                at = clock.to_text(self._now())
                rows.write(self._stackstorm, rows.HEALTH, "sensor", at, ttl=WRITE_AGAIN_SECONDS)
        except StackStormError:
            pass  # the metrics have why
        if self._metrics.write_error:
            raise StackStormError(f"cannot be written: {self._metrics.write_error}")

    @property
    def _works(self) -> bool:
        return self._loaded and not self._stopping

    def state(self) -> Dict[str, Any]:
        """Return what metrics show of this moment, from memory alone; StackStorm is not asked.

        :returns: parts (name -> bool), inbox (depth, age in seconds, backlog), lag (seconds),
            set_aside (kind -> how many),
            controls (name -> how many); heartbeat (missing, last_seen as Unix time or None), None
            when none is watched for; ledger (``Ledger.counts``), None until it is loaded.
        """
        now = self._now()
        parts = {
            "sensor": self._works,
            "trigger_bus": self._publisher.state["ok"],
            "tracking": self._relay.keeps_up,
            "set_aside": not self._aside.entries,
        }
        beats = None
        if self._settings.admission.watchdog_alertname:
            known = self._ledger.heartbeats
            beats = heartbeat.counts(known, self._settings, now, self._heard_from)
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
            "set_aside": collections.Counter(
                entry["kind"] for entry in list(self._aside.entries.values())
            ),
            "controls": self._controls.counts(now) if self._controls else {},
            "heartbeat": beats,
            "ledger": self._ledger.counts(now) if self._loaded else None,
        }

    def request_status(self, request_id: str) -> Optional[Dict[str, Any]]:
        """Return a request with its alerts and executions, None when it is not known."""
        try:
            return requests.status(
                self._stackstorm, request_id, self._recorder.requests.rows, self._ledger.alerts
            )
        except UnreadableRow:
            return None

    def snapshot(self) -> Snapshot:
        """Return what there is to see at this moment, as a core.snapshot.Snapshot.

        Rows are replaced and never changed, so a list of them is a moment's truth.
        """
        ledger = self._ledger
        return Snapshot(
            now=self._now(),
            alerts=list(ledger.alerts.values()),
            recent=self._recorder.requests.recent,
            controls=self._controls,
            breakers=ledger.open_breakers(),
            running=ledger.running,
            undecided=len(self._queue),
            set_aside=list(self._aside.entries.values()),
        )
