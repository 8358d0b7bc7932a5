"""The words of a decision, and a decision. Pure."""

from dataclasses import dataclass
from typing import Optional

from poundcake.core.alert import PENDING, SUPPRESSED

DISPATCH = "dispatch"
PEND = "pend"
DUPLICATE = "duplicate"
SUPPRESS = "suppress"
RESOLVE = "resolve"
REJECTED = "rejected"
DECISIONS = (DISPATCH, PEND, DUPLICATE, SUPPRESS, RESOLVE, REJECTED)

NEW_EPISODE = "new episode"
HEARTBEAT_TEXT = "it is a heartbeat (watchdog_alertname): its absence matters, it is not remediated"

# Why an attempt is held back. Of the suppressed ones, dry_run alone does not end by itself.
WINDOW = "window"
SERIALIZED = "serialized"
PREVIOUS = "previous"
RETRY = "retry"
REOPENED = "reopened"
PAUSED = "paused"
MAINTENANCE = "maintenance"
BREAKER = "breaker"
RATE = "rate"
ALERTNAME_RATE = "alertname_rate"
TARGET_RATE = "target_rate"
DRY_RUN = "dry_run"
HEARTBEAT = "heartbeat"
HOLD_CAUSES = {
    PENDING: (WINDOW, SERIALIZED, PREVIOUS, RETRY, REOPENED),
    SUPPRESSED: (
        PAUSED,
        MAINTENANCE,
        BREAKER,
        RATE,
        ALERTNAME_RATE,
        TARGET_RATE,
        DRY_RUN,
        HEARTBEAT,
    ),
}

# Why, where nothing is held back. Metrics name them, so they are few and never a text.
NEW = "new_episode"
AGAIN = "next_attempt"
FORCED = "by_hand"
UNDER_WAY = "under_way"
COOLDOWN = "cooldown"
RESOLVED = "resolved"
ACKNOWLEDGED = "acknowledged"
DISMISSED = "dismissed"
EXHAUSTED = "exhausted"
ESCALATED = "escalated"
INVALID = "invalid"
UNKNOWN = "unknown"
FAULT = "internal_error"
CAUSES = {
    DISPATCH: (NEW, AGAIN, FORCED),
    PEND: HOLD_CAUSES[PENDING],
    DUPLICATE: (*HOLD_CAUSES[PENDING], UNDER_WAY, COOLDOWN, RESOLVED),
    SUPPRESS: (*HOLD_CAUSES[SUPPRESSED], ACKNOWLEDGED, DISMISSED, EXHAUSTED, ESCALATED),
    RESOLVE: (RESOLVED,),
    REJECTED: (INVALID, FAULT, UNKNOWN, UNDER_WAY, RESOLVED, DRY_RUN, HEARTBEAT),
}


@dataclass(frozen=True)
class Decision:
    """What to do with an alert and why, in a sentence and as one of CAUSES.

    ``attempt`` counts from 1 and is set for a dispatch. ``hold`` is set when the attempt is held
    back. ``ineffective`` and ``exhausted`` are the dispatch id of the attempt of which that has
    become known, "" otherwise.
    """

    kind: str
    reason: str
    cause: str
    attempt: int = 0
    hold: Optional["Hold"] = None
    ineffective: str = ""
    exhausted: str = ""


@dataclass(frozen=True)
class Hold:
    """What holds an attempt back: a state (pending or suppressed), a cause, a reason.

    ``until``: RFC 3339, it waits at least so long.
    """

    state: str
    cause: str
    reason: str
    until: Optional[str] = None

    @property
    def decision(self) -> str:
        return PEND if self.state == PENDING else SUPPRESS
