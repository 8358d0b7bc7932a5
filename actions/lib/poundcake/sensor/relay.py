"""Hands batches to ``track``, one trigger at a time, and removes the inbox entries afterwards."""

from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from poundcake.errors import StackStormError
from poundcake.sensor.publisher import Publisher
from poundcake.st2 import inbox, outbox, triggers
from poundcake.st2.client import StackStorm

POLL_SECONDS = 0.25
# Each run of track starts a process, so in a storm one run should write many rows.
AFTER_SECONDS = 1.0
EVERY_SECONDS = 2.0
EVERY_STORM_SECONDS = 5.0
AGAIN_SECONDS = 30
STUCK_SECONDS = 60
TRACK = "poundcake.track"


class Relay:
    """Lets ``track`` write the batches of the outbox.

    :param now: the clock.
    """

    def __init__(
        self, stackstorm: StackStorm, publisher: Publisher, now: Callable[[], float]
    ) -> None:
        self._stackstorm = stackstorm
        self._publisher = publisher
        self._now = now
        self._newest: Optional[str] = None  # id of the newest batch in the outbox
        self._waits_since = 0.0  # when the oldest batch in the outbox started to wait
        # (batch_id, request_id): remove the inbox entry once the batch is tracked
        self._removals: List[Tuple[Optional[str], str]] = []
        self._under_way: Optional[Tuple[str, float]] = None  # (batch_id, sent_at) of the trigger
        self._send_due = 0.0
        self._poll_due = 0.0

    @property
    def waits(self) -> bool:
        """Whether rows wait to be written."""
        return self._newest is not None

    def load(self, batches: List[outbox.Batch]) -> None:
        """Start with what an earlier process left in the outbox."""
        if batches:
            self._newest, self._waits_since = batches[-1]["batch_id"], self._now()

    def add_batch(self, batch_id: str, storm: bool) -> None:
        """Add a batch that has been written to the outbox."""
        if not self._newest:
            self._waits_since = self._now()
            soon = self._now() + (EVERY_STORM_SECONDS if storm else AFTER_SECONDS)
            self._send_due = max(self._send_due, soon)
        self._newest = batch_id

    def remove_when_tracked(self, request_ids: Iterable[str]) -> None:
        """Remove these inbox entries once everything now in the outbox is tracked."""
        self._removals += [(self._newest, request_id) for request_id in request_ids]

    def step(self, storm: bool) -> List[str]:
        """Do what is due; return the request ids whose inbox entries were removed."""
        now = self._now()
        removed: List[str] = []
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
    def lag(self) -> float:
        """How many seconds rows have waited to be written."""
        return max(0.0, self._now() - self._waits_since) if self._newest else 0.0

    @property
    def keeps_up(self) -> bool:
        """Whether ``track`` writes rows in time; otherwise something is wrong."""
        return self.lag <= STUCK_SECONDS

    def health(self) -> Dict[str, Any]:
        """Return ``{"ok", "detail"}``: whether ``track`` keeps up, and what to do otherwise."""
        if self.keeps_up:
            return {"ok": True, "detail": "rows are written" if not self._newest else "under way"}
        detail = f"rows have waited for {int(self.lag)} s: {self._why_stuck()}"
        return {"ok": False, "detail": detail}

    def _remove(self, batch_id: str) -> List[str]:
        tracked = [item for item in self._removals if item[0] is None or item[0] <= batch_id]
        for item in tracked:
            inbox.remove(self._stackstorm, item[1])
            self._removals.remove(item)
        if batch_id == self._newest:
            self._newest = None
        return [request_id for _, request_id in tracked]

    def _why_stuck(self) -> str:
        try:
            rule = self._stackstorm.get_resource("rules", TRACK)
            if rule is None:
                return f"the rule {TRACK} is gone; register the pack again"
            if not rule["enabled"]:
                return f"the rule {TRACK} is disabled; st2 rule enable {TRACK}"
            last = self._stackstorm.last_execution(TRACK)
        except StackStormError as error:
            return str(error)[:300]
        if last is None:
            return f"the action {TRACK} has never run; check that the rules engine runs"
        id_, status = last["id"], last["status"]
        return (
            f"the last run of {TRACK}, execution {id_}, has the status {status}; "
            f"st2 execution get {id_}"
        )
