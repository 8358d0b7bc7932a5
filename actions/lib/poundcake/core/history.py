"""The history of an alert, derived from what its row holds. Pure."""

from typing import Dict, Iterator, List, Optional, Tuple

from poundcake.core.alert import (
    AWAITING_APPROVAL,
    ESCALATED,
    EXHAUSTED,
    FAILED,
    NEVER_RAN,
    RECEIVED,
    REMEDIATING,
    RESOLVED,
    SUCCEEDED,
    SUPPRESSED,
    UNMATCHED,
    Attempt,
    Episode,
    Execution,
    HistoryEntry,
    HoldRow,
    Inquiry,
    Row,
    attempts_of,
    ended_at,
    inquiries_of,
    waits_at,
)

# episode, state, attempt; and how many entries before it are the same in these.
Key = Tuple[object, ...]
Change = Tuple[Optional[str], str, HistoryEntry]  # from, to, entry
Event = Tuple[str, int, str, str, Optional[str], Optional[Attempt]]


class _Events:
    """The events of an episode as ``(at, number, state, reason, request_id, attempt)``."""

    def __init__(self) -> None:
        self.floor = ""  # the earliest time of what comes next
        self.events: List[Event] = []

    def add(
        self,
        at: str,
        state: str,
        reason: str,
        request_id: Optional[str],
        attempt: Optional[Attempt] = None,
    ) -> None:
        # What follows from something never comes before it, even when a clock has stepped back.
        self.floor = max(self.floor, at)
        self.events.append((self.floor, len(self.events), state, reason, request_id, attempt))

    def add_hold(self, hold: HoldRow) -> None:
        self.add(hold["at"], hold["state"], hold["reason"] + _by(hold["by"]), hold["request_id"])

    def add_attempt(self, attempt: Attempt) -> None:
        request_id = attempt["request_id"]
        if attempt["dispatched_at"]:
            why = ": " + attempt["why"] if attempt["why"] else ""
            reason = f"attempt {attempt['attempt']}{why}{_by(attempt['by'])}"
            self.add(attempt["dispatched_at"], REMEDIATING, reason, request_id, attempt)
        for at, inquiry, waits in _waits(attempt):
            state = AWAITING_APPROVAL if waits else REMEDIATING
            self.add(at, state, _waiting_reason(inquiry, waits), request_id, attempt)
        if attempt["outcome"]:
            state = FAILED if attempt["outcome"] == NEVER_RAN else attempt["outcome"]
            self.add(ended_at(attempt), state, outcome_reason(attempt), request_id, attempt)
        if attempt["exhausted"]:
            last = attempt["exhausted"]
            self.add(last["at"], EXHAUSTED, last["reason"], last["request_id"], attempt)


def history_of(row: Row, episode: Episode) -> List[HistoryEntry]:
    """Return the history of an episode: the states in it with their times and reasons."""
    events = _Events()
    if episode["received_at"]:
        events.add(episode["received_at"], RECEIVED, "", episode["request_id"])
    received = events.floor
    attempts = attempts_of(row, episode["id"])
    holds = list(episode["holds"])
    for attempt in attempts:
        while holds and holds[0]["attempt"] <= attempt["attempt"]:
            events.add_hold(holds.pop(0))
        events.add_attempt(attempt)
    for hold in holds:
        events.add_hold(hold)
    said = episode["acknowledged"]
    if said:
        events.floor = received  # a person may act at any time
        what = "dismissed" if said["dismissed"] else "acknowledged"
        reason = f"{what}: {said['reason']}{_by(said['by'])}"
        runs = any(_runs_at(attempt, said["at"]) for attempt in attempts)
        events.add(said["at"], REMEDIATING if runs else SUPPRESSED, reason, said["request_id"])
    if episode["resolved_at"]:
        events.floor = received  # a resolve follows from nothing that PoundCake did
        events.add(episode["resolved_at"], RESOLVED, "", episode["resolved_request_id"])
    return _entries(episode["id"], sorted(events.events, key=lambda event: event[:2]))


def _entries(episode: str, events: List[Event]) -> List[HistoryEntry]:
    entries: List[HistoryEntry] = []
    resolved = False
    for at, _, state, reason, request_id, attempt in events:
        if resolved:
            # The alert stays resolved; what a running remediation did is said all the same.
            reason = f"after the resolve: {state}" + (": " + reason if reason else "")
            state = RESOLVED
        resolved = resolved or state == RESOLVED
        executions = attempt["executions"] if attempt else []
        entries.append(
            {
                "state": state,
                "at": at,
                "reason": reason,
                "episode": episode,
                "request_id": request_id,
                "attempt": attempt["attempt"] if attempt else None,
                "execution_id": executions[0]["execution_id"] if executions else None,
            }
        )
    return entries


def _waits(attempt: Attempt) -> Iterator[Tuple[str, Inquiry, bool]]:
    """Yield ``(at, inquiry, waits)`` where an attempt begins and ends to wait for a person.

    It waits when each of its executions has ended or waits; the end of all of it is its outcome.
    """
    times = {item["asked_at"] for item in inquiries_of(attempt)}
    times |= {item["answered_at"] for item in inquiries_of(attempt)}
    times |= {item["ended_at"] for item in attempt["executions"]}
    waited = False
    for at in sorted(filter(None, times)):
        waits = waits_at(attempt, at)
        ended = attempt["ended_at"] and attempt["ended_at"] <= at
        if waits != waited and not ended:
            waited = waits
            asked = [i for i in inquiries_of(attempt) if i["asked_at"] and i["asked_at"] <= at]
            yield at, asked[-1], waits


def _waiting_reason(inquiry: Inquiry, waits: bool) -> str:
    if not waits:
        return {True: "approved", False: "not approved", None: "answered"}[inquiry.get("approved")]
    until = f" until {inquiry['until']}" if inquiry["until"] else ""
    return f"a person is asked{until}: st2 inquiry respond {inquiry['inquiry_id']}"


def _runs_at(attempt: Attempt, at: str) -> bool:
    began, ended = attempt["dispatched_at"], attempt["ended_at"]
    return began is not None and began <= at and (not ended or ended > at)


def _by(name: str) -> str:
    return f" (by {name})" if name else ""


def outcome_reason(attempt: Attempt) -> str:
    """Return why an attempt that has ended ended so: what was done, or what went wrong."""
    if attempt["outcome"] == UNMATCHED:
        return attempt["reason"] or "no rule on poundcake.alert matched"
    parts = [_said(item) for item in attempt["executions"]] + [attempt["reason"]]
    reason = "; ".join(filter(None, parts))
    return f"it never ran: {reason}" if attempt["outcome"] == NEVER_RAN else reason


def _said(execution: Execution) -> str:
    """Return what an execution did and how that was verified, or why it failed."""
    done = "; ".join(filter(None, (execution["remediation"], execution["verification"])))
    if execution["status"] == SUCCEEDED and execution["outcome"] == FAILED:
        return f"{execution['action_ref']}: {execution['error'] or done}"
    if execution["status"] == SUCCEEDED or execution["outcome"] == ESCALATED:
        return done or execution["error"]
    status = f"{execution['action_ref']} {execution['status']}"
    return f"{status}: {execution['error']}" if execution["error"] else status


def _keyed(history: List[HistoryEntry]) -> Iterator[Tuple[Key, HistoryEntry]]:
    """Yield ``(key, entry)``; an entry keeps its key when further facts come before or after it."""
    seen: Dict[Key, int] = {}
    for entry in history:
        key: Key = (entry["episode"], entry["state"], entry["attempt"])
        seen[key] = seen.get(key, 0) + 1
        yield key + (seen[key],), entry


def transitions(before: Optional[Row], after: Row) -> List[Change]:
    """Return the state changes between two versions of a row, as ``(from, to, entry)``."""
    known = {key for key, _ in _keyed(before["history"])} if before else set()
    changes: List[Change] = []
    previous: Optional[HistoryEntry] = None
    for key, entry in _keyed(after["history"]):
        same_episode = previous is not None and previous["episode"] == entry["episode"]
        came_from = previous["state"] if previous and same_episode else None
        if key not in known and came_from != entry["state"]:
            changes.append((came_from, entry["state"], entry))
        previous = entry
    return changes
