"""Which enabled rules listen to the triggers that only report. Writes nothing.

A trigger that no rule takes still costs StackStorm a trigger instance and its rules engine's work.
"""

from typing import Any, Callable, Dict, List, Mapping

from poundcake.errors import StackStormError
from poundcake.st2 import criteria
from poundcake.st2.client import StackStorm

# A rule that is enabled hears what happens after this time.
KNOWN_SECONDS = 5.0


class Listeners:
    """The enabled rules on some triggers, read again when they are asked for and may be old.

    :param now: the clock, Unix time in seconds.
    """

    def __init__(self, stackstorm: StackStorm, now: Callable[[], float]):
        self._stackstorm = stackstorm
        self._now = now
        self._criteria: Dict[str, List[Mapping[str, Any]]] = {}  # by trigger
        self._read_at: Dict[str, float] = {}

    def hear(self, trigger: str, payload: Mapping[str, Any]) -> bool:
        """Return whether an enabled rule may take a trigger; also True when that is not known."""
        at = self._read_at.get(trigger)
        if at is None or not at <= self._now() < at + KNOWN_SECONDS:
            try:
                rules = self._stackstorm.list_resources("rules", trigger=trigger)
            except StackStormError:
                return True
            self._criteria[trigger] = [
                rule.get("criteria") or {} for rule in rules if rule["enabled"]
            ]
            self._read_at[trigger] = self._now()
        return any(
            criteria.holds(known, payload)[0] is not False for known in self._criteria[trigger]
        )
