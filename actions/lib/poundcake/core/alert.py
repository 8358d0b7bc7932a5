"""What an alert's row looks like, and what is read off it. Pure."""

import copy
from typing import Any, Dict, List, Optional, Sequence, Set, TypedDict, cast

from poundcake import clock

RECEIVED = "received"
PENDING = "pending"
REMEDIATING = "remediating"
AWAITING_APPROVAL = "awaiting_approval"
REMEDIATED = "remediated"
NOT_NEEDED = "not_needed"
ESCALATED = "escalated"
FAILED = "failed"
UNMATCHED = "unmatched"
SUPPRESSED = "suppressed"
EXHAUSTED = "exhausted"
RESOLVED = "resolved"
STATES = (
    RECEIVED,
    PENDING,
    REMEDIATING,
    AWAITING_APPROVAL,
    REMEDIATED,
    NOT_NEEDED,
    ESCALATED,
    FAILED,
    EXHAUSTED,
    UNMATCHED,
    SUPPRESSED,
    RESOLVED,
)

SUCCEEDED = "succeeded"
ENDED_STATUSES = (SUCCEEDED, "failed", "timeout", "abandoned", "canceled")
NEVER_RAN = "never_ran"
# How an attempt ends. But for never_ran, which counts as failed, they are states as well.
OUTCOMES = (REMEDIATED, NOT_NEEDED, ESCALATED, FAILED, UNMATCHED, NEVER_RAN)
UNCOUNTED = (UNMATCHED, NEVER_RAN)  # outcomes of attempts that did nothing
FORM = 2  # of the rows that this version writes; those of form 1 have no "form"

LATEST = "~"  # later than any time


class Execution(TypedDict):
    """``ran``: it has done something, or may have.

    ``outcome``, ``remediation`` and ``verification``: what its output says, or "".
    """

    execution_id: str
    status: str
    rule_ref: str
    action_ref: str
    started_at: Optional[str]
    ended_at: Optional[str]
    error: str
    ran: bool
    outcome: str
    remediation: str
    verification: str


class Inquiry(TypedDict):
    """A question to a person; ``until`` is None for as long as it takes."""

    inquiry_id: str
    execution_id: str
    asked_at: Optional[str]
    until: Optional[str]
    answered_at: Optional[str]
    approved: Optional[bool]


class Exhaustion(TypedDict):
    at: str
    reason: str
    request_id: Optional[str]


class Attempt(TypedDict):
    """``why``: why it began. ``reason``: what kept a rule from starting an execution."""

    dispatch_id: str
    episode: str
    attempt: int
    request_id: Optional[str]
    why: str
    by: str
    dispatched_at: Optional[str]
    settled_at: Optional[str]
    reason: str
    executions: List[Execution]
    inquiries: List[Inquiry]
    outcome: Optional[str]
    ended_at: Optional[str]
    ineffective_at: Optional[str]
    exhausted: Optional[Exhaustion]


class HoldRow(TypedDict):
    """What holds (or held) an attempt back; fields as those of facts.Held."""

    attempt: int
    at: str
    state: str
    cause: str
    reason: str
    request_id: Optional[str]
    until: Optional[str]
    by: str
    forced: bool


class Acknowledgement(TypedDict):
    at: str
    by: str
    reason: str
    request_id: Optional[str]
    dismissed: bool


class Episode(TypedDict):
    """One firing period, opened and closed by notifications in the order of their arrival.

    ``id``: when it was opened, RFC 3339; ids sort in the order of arrival. ``starts_at`` and
    ``last_starts_at``: the earliest and the latest startsAt heard. ``ends_at``: the endsAt of the
    resolve. None where nothing was said.
    """

    id: str
    starts_at: Optional[str]
    last_starts_at: Optional[str]
    ends_at: Optional[str]
    received_at: Optional[str]
    request_id: Optional[str]
    holds: List[HoldRow]
    acknowledged: Optional[Acknowledgement]
    resolved_at: Optional[str]
    resolved_request_id: Optional[str]
    occurrences: int


class HistoryEntry(TypedDict):
    state: str
    at: str
    reason: str
    episode: str
    request_id: Optional[str]
    attempt: Optional[int]
    execution_id: Optional[str]


class HeartbeatTimes(TypedDict):
    """When it came last, when it was last found missing, and why."""

    seen_at: str
    missing_at: str
    reason: str


class Row(TypedDict, total=False):
    """An alert; ``episode``, ``starts_at``, ``state`` and ``reason`` are of its latest episode.

    ``host``: what its instance names. ``workload``: the Kubernetes workload. ``target``: what a
    remediation acts on (target.py). All may be empty.
    """

    form: int
    rev: int
    fingerprint: str
    alertname: str
    severity: str
    instance: str
    host: str
    workload: str
    target: str
    labels: Dict[str, str]
    annotations: Dict[str, str]
    generator_url: str
    receiver: str
    group_key: str
    external_url: str
    extra: Dict[str, Any]
    episode: str
    starts_at: str
    ends_at: Optional[str]
    state: str
    state_since: Optional[str]
    reason: str
    occurrences: int
    last_seen_at: Optional[str]
    request_ids: List[str]
    attempts: List[Attempt]
    episodes: List[Episode]
    history: List[HistoryEntry]
    heartbeat: HeartbeatTimes  # of heartbeats only


def new_row(fingerprint: str, at: str) -> Row:
    """Return the row of an alert without facts, from which nothing is derived yet.

    :param at: RFC 3339.
    """
    return {
        "form": FORM,
        # A row that was forgotten and comes again must be newer than what is still stored of it.
        "rev": int(clock.to_seconds(at) * 1000),
        "fingerprint": fingerprint,
        "alertname": "",
        "severity": "",
        "instance": "",
        "host": "",
        "workload": "",
        "target": "",
        "labels": {},
        "annotations": {},
        "generator_url": "",
        "receiver": "",
        "group_key": "",
        "external_url": "",
        "extra": {},
        "ends_at": None,
        "state_since": None,
        "reason": "",
        "occurrences": 0,
        "last_seen_at": None,
        "request_ids": [],
        "attempts": [],
        "episodes": [],
        "history": [],
    }


def upgraded(row: Dict[str, Any]) -> Row:
    """Return a row as this version writes it; one of an earlier version is converted.

    In form 1 the startsAt of an episode was its identity.
    """
    if "form" in row or "episodes" not in row:
        return cast(Row, row)
    new = copy.deepcopy(row)
    new.update(form=FORM, episode=new["starts_at"], workload="", target=new["host"])
    for episode in new["episodes"]:
        start = episode["starts_at"]
        episode.update(id=start, last_starts_at=start, ends_at=None)
    for attempt in new["attempts"]:
        attempt["episode"] = attempt.pop("starts_at")
        attempt["outcome"] = _OUTCOMES_OF_FORM_1.get(attempt["outcome"], attempt["outcome"])
        attempt.setdefault("inquiries", [])
        for execution in attempt["executions"]:
            execution.update(outcome="", remediation="", verification="")
    for entry in new["history"]:
        entry["episode"] = entry.pop("starts_at")
    return cast(Row, new)


_OUTCOMES_OF_FORM_1 = {"succeeded": REMEDIATED, "never ran": NEVER_RAN}


def current_episode(row: Row) -> Episode:
    """Return the latest episode of a row."""
    return row["episodes"][-1]


def ended_at(attempt: Attempt) -> str:
    """Return when an attempt ended that has ended."""
    assert attempt["ended_at"], "only what has ended is asked"
    return attempt["ended_at"]


def find_episode(row: Row, identity: str) -> Optional[Episode]:
    """Return one of the episodes that a row keeps, None when it does not keep it (any more)."""
    return next((item for item in row["episodes"] if item["id"] == identity), None)


def attempts_of(row: Row, episode: str) -> List[Attempt]:
    """Return the attempts of one episode, oldest first."""
    return [attempt for attempt in row["attempts"] if attempt["episode"] == episode]


def open_attempts(row: Row) -> List[Attempt]:
    """Return the attempts that have not ended, of whatever episode."""
    return [a for a in row["attempts"] if a["dispatched_at"] and not a["outcome"]]


def awaits_approval(attempt: Attempt) -> bool:
    """True when all that an attempt still does is wait for a person's answer."""
    return bool(attempt["settled_at"]) and not attempt["outcome"] and waits_at(attempt, LATEST)


def is_dismissed(row: Row) -> bool:
    """True when a person has dismissed the alert, and nothing has happened since."""
    said = current_episode(row)["acknowledged"]
    return bool(said and said["dismissed"] and row["state"] == SUPPRESSED)


def open_inquiries(attempt: Attempt) -> List[Inquiry]:
    """Return the inquiries of an attempt that nobody has answered."""
    return [item for item in inquiries_of(attempt) if item["asked_at"] and not item["answered_at"]]


def counted_attempts(row: Row, episode: str) -> int:
    """Return how many attempts of an episode did something, or still may."""
    return sum(1 for a in attempts_of(row, episode) if a["outcome"] not in UNCOUNTED)


def next_attempt_number(row: Row) -> int:
    """Return the number of the next attempt of the latest episode."""
    return 1 + max([a["attempt"] for a in attempts_of(row, row["episode"])], default=0)


def current_hold(row: Row) -> Optional[HoldRow]:
    """Return what holds the next attempt of the latest episode back, None when nothing does."""
    episode = current_episode(row)
    holds = [item for item in episode["holds"] if item["attempt"] == next_attempt_number(row)]
    if not holds or episode["resolved_at"]:
        return None
    last = holds[-1]
    acknowledged = episode["acknowledged"]
    if acknowledged and not (last["forced"] and last["at"] >= acknowledged["at"]):
        return None
    return last


def held_since(row: Row) -> str:
    """Return since when the next attempt of the latest episode waits, whatever held it."""
    return min(
        i["at"] for i in current_episode(row)["holds"] if i["attempt"] == next_attempt_number(row)
    )


def request_ids_of(row: Row, episode: str, number: int) -> Set[Optional[str]]:
    """Return the ids of the requests that brought an attempt or waited for it, made or not."""
    attempts, known = attempts_of(row, episode), find_episode(row, episode)
    holds = known["holds"] if known else []
    made = {item["request_id"] for item in attempts if item["attempt"] == number}
    return made | {item["request_id"] for item in holds if item["attempt"] == number}


def inquiries_of(attempt: Attempt) -> Sequence[Inquiry]:
    """Return what an attempt has asked people."""
    return attempt["inquiries"]


def waits_at(attempt: Attempt, at: str) -> bool:
    """Return whether all that an attempt still did at a time was wait for a person's answer."""
    waiting = {
        item["execution_id"]
        for item in inquiries_of(attempt)
        if _is_within(at, item["asked_at"], item["answered_at"])
    }
    going = [e for e in attempt["executions"] if not (e["ended_at"] and e["ended_at"] <= at)]
    return bool(going) and all(item["execution_id"] in waiting for item in going)


def _is_within(at: str, begin: Optional[str], end: Optional[str]) -> bool:
    return begin is not None and begin <= at and not (end and end <= at)
