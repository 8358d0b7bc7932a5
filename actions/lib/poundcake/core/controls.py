"""What operators have set: pauses and maintenance windows, one key each in the datastore.

The actions write them and the sensor reads them, so they hold from one look of the sensor to the
next, and outlive it. A row has:

===========  =====================================================================================
kind         further fields
===========  =====================================================================================
pause        alertname ("" for everything), by, reason, at (RFC 3339)
maintenance  id, matchers (canonical texts), starts_at and ends_at (RFC 3339), by, reason
===========  =====================================================================================
"""

import shlex
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple

from poundcake.errors import UnreadableRow
from poundcake.matchers import Matcher

Row = Dict[str, Any]

PAUSED = "paused"
MAINTENANCE = "maintenance"


@dataclass(frozen=True)
class Window:
    """A maintenance row with its matchers and its end (Unix time in seconds) understood."""

    row: Row
    matchers: Tuple[Matcher, ...]
    ends: float

    def holds(self, labels: Dict[str, str], now: float) -> bool:
        """True when an alert with these labels is in maintenance.

        The start is not asked: a window starts when it is written, and the clocks of whoever wrote
        it and of the sensor may differ.
        """
        return now < self.ends and all(matcher.matches(labels) for matcher in self.matchers)


@dataclass(frozen=True)
class Controls:
    """What is set at a moment.

    :param pauses: pause rows by their alertname, "" for everything.
    :param windows: Window values, the one that ends last first.
    :param unreadable: by key, what is wrong with a row that could not be understood. The sensor
        sets it aside, and holds nothing back for it.
    """

    pauses: Dict[str, Row]
    windows: Tuple[Window, ...]
    unreadable: Mapping[str, UnreadableRow]

    def hold_by(
        self, alertname: str, labels: Dict[str, str], now: float
    ) -> Optional[Tuple[str, str]]:
        """Return what holds an alert back: ``(PAUSED or MAINTENANCE, reason)`` or None.

        :param now: Unix time in seconds.
        """
        if "" in self.pauses:
            return PAUSED, _pause_text(self.pauses[""])
        if alertname in self.pauses:
            return PAUSED, _pause_text(self.pauses[alertname])
        for window in self.windows:
            if window.holds(labels, now):
                return MAINTENANCE, _window_text(window.row)
        return None

    def counts(self, now: float) -> Dict[str, int]:
        """Return how many controls are set: ``{"pause": number, "maintenance": number}``."""
        windows = sum(1 for window in self.windows if now < window.ends)
        return {"pause": len(self.pauses), "maintenance": windows}


def pause_name(alertname: str) -> str:
    return "pause-" + alertname if alertname else "pause"


def window_name(id: str) -> str:
    return "maintenance-" + id


def _pause_text(row: Row) -> str:
    name, end = row["alertname"] or "everything", resume_command(row["alertname"])
    return (
        f"{name} is paused by {row['by']} since {row['at']}: {row['reason']} (end it with: {end})"
    )


def _window_text(row: Row) -> str:
    matchers, until = ", ".join(row["matchers"]), f"by {row['by']} until {row['ends_at']}"
    end = end_command(row["id"])
    return f"in maintenance ({matchers}) {until}: {row['reason']} (end it with: {end})"


def unreadable_text(key: str, error: UnreadableRow) -> str:
    """Return what a row that cannot be understood means, and what to do about it."""
    return (
        f"the key {key} cannot be understood ({error.reason}); the sensor sets it aside, see "
        "st2 run poundcake.list_set_aside"
    )


def resume_command(alertname: str) -> str:
    """Return the command that ends a pause; ``alertname`` is "" for that of everything."""
    command = "st2 run poundcake.resume"
    return command + " alertname=" + shlex.quote(alertname) if alertname else command


def end_command(id: str) -> str:
    """Return the command that ends a maintenance window."""
    return "st2 run poundcake.end_maintenance id=" + id
