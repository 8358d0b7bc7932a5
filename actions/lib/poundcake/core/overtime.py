"""The time limit of a whole attempt, ``attempt_seconds``. Pure.

A runner that dies leaves its execution running for good, and with it the attempt and its place in
the window. The time in which a person is asked does not count.
"""

from dataclasses import replace
from typing import List

from poundcake import clock
from poundcake.core.alert import (
    ENDED_STATUSES,
    SUCCEEDED,
    Attempt,
    Execution,
    Row,
    inquiries_of,
    open_inquiries,
)
from poundcake.core.facts import Executed, Fact, Settled

# StackStorm has so long to cancel. Without its runner, an execution stays canceling for good.
CANCEL_SECONDS = 60.0
TIMEOUT = "timeout"


def is_over(attempt: Attempt, limit: int, now: float) -> bool:
    """True when an attempt that has executions has taken longer than ``attempt_seconds``."""
    if not attempt["executions"] or not attempt["dispatched_at"] or open_inquiries(attempt):
        return False
    return now - clock.to_seconds(attempt["dispatched_at"]) - _asked_seconds(attempt) > limit


def reason(limit: int) -> str:
    """Return why an execution is canceled."""
    return f"it took longer than attempt_seconds ({limit} s)"


def explained(fact: Fact, attempt: Attempt, limit: int, now: float) -> Fact:
    """Return a fact; that of an execution which ended because its time was over says so."""
    if isinstance(fact, Executed) and is_over(attempt, limit, now):
        status = fact.execution["status"]
        if status in ENDED_STATUSES and status != SUCCEEDED:
            ended_at = fact.execution["ended_at"] or clock.to_text(now)
            return replace(fact, execution=_timed_out(fact.execution, limit, ended_at))
    return fact


def ends(row: Row, attempt: Attempt, limit: int, now: float) -> List[Fact]:
    """Return the facts that end an attempt whose executions StackStorm did not cancel in time."""
    if not is_over(attempt, limit + int(CANCEL_SECONDS), now):
        return []
    at = clock.to_text(now)
    about = (row["fingerprint"], attempt["episode"], at, attempt["dispatch_id"])
    facts: List[Fact] = [
        Executed(*about, _timed_out(execution, limit, at))
        for execution in attempt["executions"]
        if execution["status"] not in ENDED_STATUSES
    ]
    if not attempt["settled_at"]:
        facts.append(Settled(*about, reason(limit)))
    return facts


def _timed_out(execution: Execution, limit: int, at: str) -> Execution:
    made = execution.copy()
    made["status"], made["ended_at"], made["error"] = TIMEOUT, at, reason(limit)
    return made


def _asked_seconds(attempt: Attempt) -> float:
    return sum(
        clock.elapsed(item["asked_at"], item["answered_at"]) or 0.0
        for item in inquiries_of(attempt)
    )
