"""What is known of an alert: one class for each kind of fact. Pure.

A fact is complete when it is made, and never changes. ``lifecycle.apply`` adds one to the row of
its alert.
"""

from dataclasses import dataclass
from typing import Any, Dict, Optional

from poundcake.core.alert import Execution


@dataclass(frozen=True)
class Fact:
    """``episode``: the id of the episode it belongs to. ``at``: RFC 3339, when it happened."""

    fingerprint: str
    episode: str
    at: str


@dataclass(frozen=True)
class Notified(Fact):
    """Alertmanager has spoken of the alert. ``alert``: ``lifecycle.describe`` of it.

    ``starts_at``: its startsAt, None when it has none.
    """

    request_id: str
    status: str  # firing or resolved
    starts_at: Optional[str]
    alert: Dict[str, Any]


@dataclass(frozen=True)
class Held(Fact):
    """An attempt must wait.

    ``state``: pending or suppressed. ``cause``: one of ``decisions.HOLD_CAUSES``. ``until``: it
    waits at least so long. ``by``: who asked for the attempt. ``forced``: the limits do not apply.
    """

    request_id: Optional[str]
    attempt: int
    state: str
    cause: str
    reason: str
    until: Optional[str] = None
    by: str = ""
    forced: bool = False


@dataclass(frozen=True)
class Acknowledged(Fact):
    """A person took the alert over: no attempt follows in this episode but by hand."""

    request_id: Optional[str]
    by: str
    reason: str
    dismissed: bool = False


@dataclass(frozen=True)
class Heartbeat(Fact):
    """A heartbeat (see heartbeat.py) has come, or is missing."""

    missing: bool
    reason: str = ""


@dataclass(frozen=True)
class OfDispatch(Fact):
    """Base of the facts about one attempt."""

    dispatch_id: str


@dataclass(frozen=True)
class Dispatched(OfDispatch):
    """An attempt begins. ``reason`` and ``by``: why, and who asked for it, where that applies."""

    attempt: int
    request_id: Optional[str]
    reason: str = ""
    by: str = ""


@dataclass(frozen=True)
class Executed(OfDispatch):
    """An execution is in a new status.

    ``execution``: execution_id, status, rule_ref, action_ref, started_at, ended_at, error, ran.
    """

    execution: Execution


@dataclass(frozen=True)
class Settled(OfDispatch):
    """StackStorm has evaluated every rule on the dispatch: no further execution will come.

    ``reason``: what kept a rule from starting one, if anything did.
    """

    reason: str = ""


@dataclass(frozen=True)
class Asked(OfDispatch):
    """An execution waits for a person to answer; ``until`` is None for as long as it takes."""

    execution_id: str
    inquiry_id: str
    until: Optional[str] = None


@dataclass(frozen=True)
class Answered(OfDispatch):
    """It waits no longer.

    ``approved``: the answer; None when the time was up, or something else was asked.
    """

    execution_id: str
    inquiry_id: str
    approved: Optional[bool] = None


@dataclass(frozen=True)
class Ineffective(OfDispatch):
    """The attempt succeeded, and the alert was still firing after its cooldown."""


@dataclass(frozen=True)
class Exhausted(OfDispatch):
    """The attempt was the last one, and a person is needed."""

    reason: str
    request_id: Optional[str]
