"""What people should know of many alerts at once, gathered into one message. Pure."""

import collections
from typing import Dict, Iterable, List, Optional, Tuple

from poundcake import clock
from poundcake.core.alert import UNMATCHED, Row, current_episode, current_hold
from poundcake.core.decisions import ALERTNAME_RATE, RATE, TARGET_RATE
from poundcake.settings import NotifySettings

FLAPPING = "flapping"
AGAIN_SECONDS = 3600  # the same about the same alert, or rate, is not told sooner
HOUR = 3600
RESTART_SECONDS = 60  # that a sensor may have been away when its successor starts
MOST_NAMED = 5

_TOLD = {
    UNMATCHED: "no rule takes {}",
    RATE: "rate_limit is used up for {}",
    ALERTNAME_RATE: "alertname_rate_limit is used up for {}",
    TARGET_RATE: "target_rate_limit is used up for {}",
    FLAPPING: "{} fires again and again",
}

Subject = Tuple[str, str]  # kind, and what it is about


class Attention:
    """Gathers what happened for ``notify_group_seconds``."""

    def __init__(self, settings: NotifySettings):
        self._settings = settings
        self._told: Dict[Subject, float] = {}  # Unix time
        self._gathered: Dict[Subject, Row] = {}
        self._since = 0.0

    def load(self, alerts: Iterable[Row], now: float) -> None:
        """Take what happened before the sensor was started.

        What its predecessor may not have told is gathered again; what is older counts as told.
        """
        for row in alerts:
            for subject in self._subjects(None, row):
                at = clock.to_seconds(_time_of(subject[0], row))
                if now - at < AGAIN_SECONDS:
                    self._told[subject] = at
                if now - at < self._settings.group_seconds + RESTART_SECONDS:
                    self._gather(subject, row, at)

    def note(self, before: Optional[Row], after: Row, at: str) -> None:
        """Gather what a change of a row means for people, unless they know it already.

        :param at: when it happened, RFC 3339.
        """
        for subject in self._subjects(before, after):
            now = clock.to_seconds(at)
            if now - self._told.get(subject, now - AGAIN_SECONDS) >= AGAIN_SECONDS:
                self._told[subject] = now
                self._gather(subject, after, now)

    def due(self, now: float) -> Tuple[str, List[Row]]:
        """Return a message, "" when none is due yet, and the rows of the alerts it is about."""
        if not self._gathered or now - self._since < self._settings.group_seconds:
            return "", []
        gathered, self._gathered = self._gathered, {}
        self._told = {s: at for s, at in self._told.items() if now - at < AGAIN_SECONDS}
        parts = []
        for kind, told in _TOLD.items():
            names = collections.Counter(about for known, about in gathered if known == kind)
            if names:
                shown = ", ".join(name for name, _ in names.most_common(MOST_NAMED))
                rest = len(names) - MOST_NAMED
                parts.append(told.format(shown + (f" and {rest} more" if rest > 0 else "")))
        return "; ".join(parts), list(gathered.values())

    def _gather(self, subject: Subject, row: Row, at: float) -> None:
        self._since = min(self._since, at) if self._gathered else at
        self._gathered[subject] = row

    def _subjects(self, before: Optional[Row], after: Row) -> List[Subject]:
        kinds: List[str] = []
        if after["state"] == UNMATCHED and (before is None or before["state"] != UNMATCHED):
            kinds.append(UNMATCHED)
        hold = current_hold(after)
        if hold and hold["cause"] in _TOLD:
            kinds.append(hold["cause"])
        if self._flaps(before, after):
            kinds.append(FLAPPING)
        return [(kind, _named(kind, after)) for kind in kinds]

    def _flaps(self, before: Optional[Row], after: Row) -> bool:
        """Return whether an episode has opened, and so many have within the last hour."""
        most, episodes = self._settings.flapping_episodes, after["episodes"]
        is_new = before is None or before["episode"] != after["episode"]
        if not most or not is_new or len(episodes) < most:
            return False
        opened = current_episode(after)["id"], episodes[-most]["id"]
        newest, oldest = map(clock.to_seconds, opened)
        return newest - oldest < HOUR


def _time_of(kind: str, row: Row) -> str:
    """Return when what is to be told of an alert began, RFC 3339."""
    if kind == FLAPPING:
        return row["episode"]
    hold = current_hold(row)
    return hold["at"] if hold and hold["cause"] == kind else row["state_since"] or row["episode"]


def _named(kind: str, row: Row) -> str:
    """Return what is to be named: the alertname, the target, or one on the other."""
    place = row["target"] or row["instance"]
    if kind == TARGET_RATE:
        return place
    if kind in (UNMATCHED, ALERTNAME_RATE) or not place:
        return row["alertname"]
    return f"{row['alertname']} on {place}"
