"""Hands batches to ``track``, one run at a time, and removes the inbox entries afterwards."""

from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from poundcake import clock
from poundcake.errors import StackStormError
from poundcake.sensor.log import EventLog
from poundcake.sensor.publisher import Publisher
from poundcake.st2 import inbox, outbox, triggers
from poundcake.st2.client import StackStorm

POLL_SECONDS = 0.25
# Each run of track starts a process, so in a storm one run should write many rows.
AFTER_SECONDS = 1.0
EVERY_SECONDS = 2.0
EVERY_STORM_SECONDS = 5.0
# After this time without an answer it looks whether a run is under way, and then at this pace.
AGAIN_SECONDS = 30
LOOK_SECONDS = 10
STUCK_SECONDS = 60
TRACK = "poundcake.track"
# A run ends by itself after 120 s (actions/track.py), one that rebuilds rows after 600 s
# (StackStorm's runner); clocks may differ by a minute. Longer, and its runner was killed: the
# execution keeps its status for good, and a concurrency policy delays all others behind it.
LONGEST_RUN_SECONDS = 180
LONGEST_REBUILD_SECONDS = 660
DELAYED = "delayed"


class Relay:
    """Lets ``track`` write the batches of the outbox.

    :param log: log.EventLog.
    :param now: the clock.
    """

    def __init__(
        self,
        stackstorm: StackStorm,
        publisher: Publisher,
        log: EventLog,
        now: Callable[[], float],
    ) -> None:
        self._stackstorm = stackstorm
        self._publisher = publisher
        self._log = log
        self._now = now
        self._batches: List[str] = []  # ids of the batches in the outbox, oldest first
        self._waits_since = 0.0  # when the oldest of them started to wait
        # (batch_id, request_id): remove the inbox entry once the batch is tracked
        self._removals: List[Tuple[Optional[str], str]] = []
        self._under_way: Optional[Tuple[str, float]] = None  # (batch_id, sent_at) of the trigger
        self._send_due = 0.0
        self._poll_due = 0.0
        self._look_due = 0.0

    @property
    def waits(self) -> bool:
        """Whether rows wait to be written."""
        return bool(self._batches)

    @property
    def waiting(self) -> int:
        """How many batches are in the outbox."""
        return len(self._batches)

    def load(self, batches: List[outbox.Batch]) -> None:
        """Start with what an earlier process left in the outbox."""
        self._batches = [batch["batch_id"] for batch in batches]
        self._waits_since = self._now()

    def add_batch(self, batch_id: str, storm: bool) -> None:
        """Add a batch that has been written to the outbox."""
        if not self._batches:
            self._waits_since = self._now()
            soon = self._now() + (EVERY_STORM_SECONDS if storm else AFTER_SECONDS)
            self._send_due = max(self._send_due, soon)
        self._batches = sorted(self._batches + [batch_id])

    def remove_when_tracked(self, request_ids: Iterable[str]) -> None:
        """Remove these inbox entries once everything now in the outbox is tracked."""
        newest = self._batches[-1] if self._batches else None
        self._removals += [(newest, request_id) for request_id in request_ids]

    def step(self, storm: bool) -> List[str]:
        """Do what is due; return the request ids whose inbox entries were removed."""
        removed: List[str] = []
        if self._under_way:
            removed = self._await(*self._under_way)
            if self._under_way:
                return removed
        elif not self._batches and self._removals:
            removed = self._remove("")
        now, pace = self._now(), EVERY_STORM_SECONDS if storm else EVERY_SECONDS
        if self._batches and not now < self._send_due <= now + pace:
            self._send_due = now + pace
            self._send(self._batches[-1])
        return removed

    @property
    def lag(self) -> float:
        """How many seconds rows have waited to be written."""
        return max(0.0, self._now() - self._waits_since) if self._batches else 0.0

    @property
    def keeps_up(self) -> bool:
        """Whether ``track`` writes rows in time; otherwise something is wrong."""
        return self.lag <= STUCK_SECONDS

    def health(self) -> Dict[str, Any]:
        """Return ``{"ok", "detail"}``: whether ``track`` keeps up, and what to do otherwise."""
        if self.keeps_up:
            return {"ok": True, "detail": "under way" if self._batches else "rows are written"}
        detail = f"rows have waited for {int(self.lag)} s: {self._why_stuck()}"
        return {"ok": False, "detail": detail}

    def _send(self, batch_id: str) -> None:
        self._publisher.save(batch_id)
        if self._publisher.emit(triggers.TRACKING, {"batch_id": batch_id}):
            self._under_way = (batch_id, self._now())

    def _await(self, batch_id: str, sent_at: float) -> List[str]:
        """Look whether a batch is tracked, and forget about it when no run will do so."""
        now = self._now()
        if now < self._poll_due <= now + POLL_SECONDS:
            return []
        self._poll_due = now + POLL_SECONDS
        if outbox.is_tracked(self._stackstorm, batch_id):
            self._under_way, self._waits_since = None, now
            return self._remove(batch_id)
        looks = (
            abs(now - sent_at) > AGAIN_SECONDS and not now < self._look_due <= now + LOOK_SECONDS
        )
        if looks:
            self._look_due = now + LOOK_SECONDS
            if not self._runs():
                self._under_way = None
        return []

    def _remove(self, batch_id: str) -> List[str]:
        tracked = [item for item in self._removals if item[0] is None or item[0] <= batch_id]
        for item in tracked:
            inbox.remove(self._stackstorm, item[1])
            self._removals.remove(item)
        self._batches = [other for other in self._batches if other > batch_id]
        return [request_id for _, request_id in tracked]

    def _runs(self) -> bool:
        """Return whether a run of ``track`` may still come to its end.

        Two at a time could write an older row over a newer one. So the next is sent when no other
        is left; a dead one is canceled, and what StackStorm delays behind it as well.
        """
        runs = self._stackstorm.list_unended(TRACK)
        delayed = [run for run in runs if run["status"] == DELAYED]
        dead = [run for run in runs if run["status"] != DELAYED and self._is_dead(run)]
        if dead:
            dead += delayed
        elif len(delayed) == len(runs):  # they wait for nothing
            dead = [run for run in delayed if self._is_dead(run)]
        for run in dead:
            self._stackstorm.cancel_execution(run["id"])
            text = f"{TRACK} has not ended in time; its execution is canceled, and another sent"
            self._log.record("canceled", text, execution_id=run["id"], status=run["status"])
        return len(runs) > len(dead)

    def _is_dead(self, run: Dict[str, Any]) -> bool:
        rebuilds = (run.get("parameters") or {}).get("since")
        longest = LONGEST_REBUILD_SECONDS if rebuilds else LONGEST_RUN_SECONDS
        return self._now() - clock.to_seconds(run["start_timestamp"]) > longest

    def _why_stuck(self) -> str:
        try:
            rule = self._stackstorm.get_resource("rules", TRACK)
            if rule is None:
                return f"the rule {TRACK} is gone; register the pack again"
            if not rule["enabled"]:
                return f"the rule {TRACK} is disabled; st2 rule enable {TRACK}"
            runs = self._stackstorm.list_unended(TRACK)
            # What the others wait for; one that is delayed only waits itself.
            runs.sort(key=lambda run: (run["status"] == DELAYED, run["start_timestamp"]))
            last = runs[0] if runs else self._stackstorm.last_execution(TRACK)
        except StackStormError as error:
            return str(error)[:300]
        if last is None:
            return f"the action {TRACK} has never run; check that the rules engine runs"
        id_, status = last["id"], last["status"]
        which = "a run" if runs else "the last run"
        since = f" since {last['start_timestamp']}" if runs else ""
        return (
            f"{which} of {TRACK}, execution {id_}, has the status {status}{since}; "
            f"st2 execution get {id_}"
        )
