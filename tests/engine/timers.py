"""What happens by the clock: core.st2.IntervalTimer, and the removal of what has expired."""

from tests.engine.store import timestamp

UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "weeks": 604800}
REF = "core.st2.IntervalTimer"
# Seconds; MongoDB, too, removes what has expired once a minute.
PURGE_INTERVAL = 60


class Timers:
    """Looks every second which timers of enabled rules are due."""

    def __init__(self, store, rules, scheduler):
        self._store = store
        self._rules = rules
        self._scheduler = scheduler
        self._seconds = 0
        self._started = {}

    def start(self):
        """Start ticking."""
        self._scheduler.later(1, self._tick)

    def _tick(self):
        self._scheduler.later(1, self._tick)
        self._seconds += 1
        if self._seconds % PURGE_INTERVAL == 0:
            self._store.purge()
        triggers = {}
        for rule in self._store.find("rule", {"trigger.type": REF, "enabled": True}):
            triggers[rule["trigger"]["ref"]] = rule["trigger"]
        for ref, trigger in triggers.items():
            schedule = trigger["parameters"]
            started = self._started.setdefault(ref, self._seconds)
            elapsed = self._seconds - started
            if elapsed and elapsed % (schedule["delta"] * UNITS[schedule["unit"]]) == 0:
                self._rules.emit(ref, {"executed_at": timestamp(), "schedule": schedule})
