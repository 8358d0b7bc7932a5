"""What is set aside, as the sensor knows it: it sets aside, tells about it, and shows it."""

import collections
from typing import Any, Callable, Deque, Dict, List

from poundcake.errors import UnreadableRow
from poundcake.sensor.log import EventLog
from poundcake.sensor.publisher import Publisher
from poundcake.settings import Settings
from poundcake.st2 import aside, rows, triggers
from poundcake.st2.client import StackStorm

# How often it looks whether a person has taken something up or dropped it; never while nothing is
# set aside.
LOOK_SECONDS = 5.0
MOST_NAMED = 3


class Aside:
    """Everything that is set aside; ``entries`` is what other threads show, without contents."""

    def __init__(
        self,
        settings: Settings,
        stackstorm: StackStorm,
        publisher: Publisher,
        log: EventLog,
        now: Callable[[], float],
    ):
        self._ttl = settings.retention.request_seconds
        self._stackstorm = stackstorm
        self._publisher = publisher
        self._log = log
        self._now = now
        self._queue: Deque[aside.Entry] = collections.deque()  # not written yet
        self._look_due = 0.0
        self.entries: Dict[str, aside.Entry] = {}
        self.is_stale = True  # something was set aside, here or by ``track``

    def move(self, error: UnreadableRow) -> None:
        """Set an unreadable row aside; raise StackStormError when that could not be done.

        ``track`` does so with what stands inside a batch.
        """
        if error.inside:
            return
        aside.move(self._stackstorm, error, self._ttl, self._now())
        self.is_stale = True

    def keep_copy(self, error: UnreadableRow) -> None:
        """Write an entry about an unreadable row that somebody else takes from its place."""
        self.write(aside.new_entry(error.key, error.reason, error.text, self._now()))

    def write(self, entry: aside.Entry) -> None:
        """Write an entry; raise StackStormError when that could not be done."""
        aside.write(self._stackstorm, entry, self._ttl)
        self.is_stale = True

    def put(self, entry: aside.Entry) -> None:
        """Queue an entry for the next ``write_queue``."""
        self._queue.append(entry)

    def write_queue(self) -> None:
        """Write what is queued, before anything else forgets it."""
        while self._queue:
            self.write(self._queue[0])
            self._queue.popleft()

    def look(self) -> List[aside.Entry]:
        """Read what is set aside, if that may have changed, and tell about what is new.

        :returns: what is there no longer: people have taken it up or dropped it.
        """
        now = self._now()
        waits = now < self._look_due <= now + LOOK_SECONDS
        if not self.is_stale and (waits or not self.entries):
            return []
        self._look_due = now + LOOK_SECONDS
        entries = aside.entries(self._stackstorm)
        self.is_stale = False
        for entry in entries:
            if not entry["told"]:
                self._tell(entry)
        known, self.entries = (
            self.entries,
            {entry["id"]: dict(entry, content=None) for entry in entries},
        )
        return [entry for id, entry in known.items() if id not in self.entries]

    def health(self) -> Dict[str, Any]:
        """Return ``{"ok", "detail"}``: it is not OK while anything is set aside."""
        entries = list(self.entries.values())
        if not entries:
            return {"ok": True, "detail": "nothing is set aside"}
        named = ", ".join(entry["id"] for entry in entries[:MOST_NAMED])
        rest = len(entries) - MOST_NAMED
        more = f" and {rest} more" if rest > 0 else ""
        return {"ok": False, "detail": f"set aside: {named}{more}; {aside.LIST_COMMAND}"}

    def _tell(self, entry: aside.Entry) -> None:
        """Tell of an entry at least once: it is marked only after that."""
        self._log.record(
            "set_aside",
            f"{entry['key']} is set aside; {aside.LIST_COMMAND}",
            key=entry["key"],
            fingerprint=entry["fingerprint"],
            alertname=entry["alertname"],
            request_id=entry["request_id"],
        )
        report = (triggers.LIFECYCLE, triggers.set_aside_payload(entry), None)
        self._publisher.add_reports([report])
        rows.write(self._stackstorm, rows.ASIDE, entry["id"], dict(entry, told=True), ttl=self._ttl)
