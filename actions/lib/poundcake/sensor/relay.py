"""The hand-over to ``track``: one trigger at a time, and inbox entries leave when it is done."""

from poundcake.st2 import inbox, outbox, triggers
from poundcake.st2.client import StackStormError

POLL_SECONDS = 0.25
# A run of track costs a process; in a storm one run for many rows costs next to nothing.
AFTER_SECONDS = 1.0
EVERY_SECONDS = 2.0
EVERY_STORM_SECONDS = 5.0
AGAIN_SECONDS = 30
STUCK_SECONDS = 60
TRACK = "poundcake.track"


class Relay:
    """Has ``track`` write the batches of the outbox.

    :param stackstorm: stackstorm.StackStorm.
    :param bus: bus.Bus.
    :param now: the clock.
    """

    def __init__(self, stackstorm, bus, now):
        self._stackstorm = stackstorm
        self._publisher = bus
        self._now = now
        self._newest = None  # id of the newest batch in the outbox
        self._waits_since = None  # since when something in the outbox has waited
        self._removals = []  # (batch_id, request_id): the entry leaves once the batch is tracked
        self._under_way = None  # (batch_id, sent_at) of the trigger under way
        self._send_due = 0.0
        self._poll_due = 0.0

    @property
    def waits(self):
        """True while rows wait to be written."""
        return self._newest is not None

    def load(self, batches):
        """Begin with what an earlier process left in the outbox."""
        if batches:
            self._newest, self._waits_since = batches[-1]["batch_id"], self._now()

    def add_batch(self, batch_id, storm):
        """Take a batch that has been written to the outbox."""
        if not self._newest:
            self._waits_since = self._now()
            soon = self._now() + (EVERY_STORM_SECONDS if storm else AFTER_SECONDS)
            self._send_due = max(self._send_due, soon)
        self._newest = batch_id

    def remove_when_tracked(self, request_ids):
        """Have inbox entries removed when everything that is in the outbox now is tracked."""
        self._removals += [(self._newest, request_id) for request_id in request_ids]

    def step(self, storm):
        """Do what is due; return the request ids whose entries have left the inbox."""
        now = self._now()
        removed = []
        if self._under_way:
            if now < self._poll_due <= now + POLL_SECONDS:
                return removed
            self._poll_due = now + POLL_SECONDS
            batch_id, sent_at = self._under_way
            if outbox.is_tracked(self._stackstorm, batch_id):
                removed = self._remove(batch_id)
                self._under_way, self._waits_since = None, now
            elif abs(now - sent_at) > AGAIN_SECONDS:
                self._under_way = None
            else:
                return removed
        elif not self._newest and self._removals:
            removed = self._remove("")
        pace = EVERY_STORM_SECONDS if storm else EVERY_SECONDS
        if self._newest and not now < self._send_due <= now + pace:
            self._send_due = now + pace
            self._publisher.save(self._newest)
            if self._publisher.emit(triggers.TRACKING, {"batch_id": self._newest}):
                self._under_way = (self._newest, now)
        return removed

    @property
    def lag(self):
        """For how many seconds rows have waited to be written."""
        return max(0.0, self._now() - self._waits_since) if self._newest else 0.0

    @property
    def keeps_up(self):
        """False when ``track`` has not written what waits for so long that something is wrong."""
        return self.lag <= STUCK_SECONDS

    def health(self):
        """Return ``{"ok", "detail"}``: whether ``track`` keeps up, and what to do if not."""
        if self.keeps_up:
            return {"ok": True, "detail": "rows are written" if not self._newest else "under way"}
        return {"ok": False, "detail": "rows wait for %d s: %s" % (self.lag, self._why_stuck())}

    def _remove(self, batch_id):
        gone = [item for item in self._removals if item[0] is None or item[0] <= batch_id]
        for item in gone:
            inbox.remove(self._stackstorm, item[1])
            self._removals.remove(item)
        if batch_id == self._newest:
            self._newest = None
        return [request_id for _, request_id in gone]

    def _why_stuck(self):
        try:
            rule = self._stackstorm.get_resource("rules", TRACK)
            if rule is None:
                return "the rule %s is gone; register the pack again" % TRACK
            if not rule["enabled"]:
                return "the rule %s is disabled; st2 rule enable %s" % (TRACK, TRACK)
            last = self._stackstorm.last_execution(TRACK)
        except StackStormError as error:
            return str(error)[:300]
        if last is None:
            return "the action %s has never run; does the rules engine run?" % TRACK
        text = "the action %s %s last (execution %s); st2 execution get %s"
        return text % (TRACK, last["status"], last["id"], last["id"])
