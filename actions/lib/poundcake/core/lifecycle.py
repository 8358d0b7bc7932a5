"""Lifecycle states, derived from facts. Pure.

A row of an alert holds what was observed: notifications, dispatches, executions. ``apply`` adds one
fact (facts.py) and derives state and history anew from all of them, so that facts which arrive
twice or late give the same row.
"""

import copy
from typing import Any, Callable, Dict, Optional, Tuple, Type, Union, cast

from poundcake import clock
from poundcake.core import facts, payload
from poundcake.core.alert import (
    ENDED_STATUSES,
    ESCALATED,
    FAILED,
    NEVER_RAN,
    NOT_NEEDED,
    RECEIVED,
    REMEDIATED,
    SUCCEEDED,
    UNMATCHED,
    Attempt,
    Episode,
    Execution,
    HeartbeatTimes,
    HoldRow,
    Inquiry,
    Row,
    current_episode,
    find_episode,
    new_row,
)
from poundcake.core.history import history_of
from poundcake.core.target import Target

KEPT_EPISODES = 5
KEPT_ATTEMPTS = 50  # of whatever episode: rates and the breaker look back over them
KEPT_HOLDS = 20
KEPT_REQUEST_IDS = 20


def describe(
    alert: payload.Alert, target: Target, notification: payload.Notification
) -> Dict[str, Any]:
    """Return what a row keeps of an alert, its target and the notification that brought it."""
    return {
        "alertname": alert.alertname,
        "severity": alert.severity,
        "instance": alert.instance,
        "host": target.host,
        "workload": target.workload,
        "target": target.name,
        "labels": alert.labels,
        "annotations": alert.annotations,
        "generator_url": alert.generator_url,
        "ends_at": alert.ends_at,
        "receiver": notification.receiver,
        "group_key": notification.group_key,
        "external_url": notification.external_url,
        "extra": alert.extra,
    }


def episode_of(row: Optional[Row], status: str, received_at: str) -> str:
    """Return the id of the episode that a notification belongs to.

    A firing notification opens an episode when none is open. A resolved one belongs to the latest.

    :param received_at: RFC 3339.
    """
    opened_at = clock.canonical(received_at)
    if not row or not row["episodes"]:
        return opened_at
    last = current_episode(row)
    if status == payload.RESOLVED or not last["resolved_at"]:
        return last["id"]
    # Ids sort in the order of arrival, even when the clock has stepped back.
    return max(opened_at, clock.canonical(clock.to_text(clock.to_seconds(last["id"]) + 0.001)))


def apply(row: Optional[Row], fact: facts.Fact) -> Row:
    """Return the row of an alert with one more fact in it.

    :param row: None for a new alert.
    :param fact: a facts.Fact.

    The row given is not changed. A fact that is known already, or belongs to an episode that is no
    longer kept, gives back an equal row.
    """
    old = row
    row = copy.deepcopy(row) if row else new_row(fact.fingerprint, fact.at)
    # An attempt may end long after its episode was forgotten, and must still end.
    known = isinstance(fact, facts.OfDispatch) and any(
        attempt["dispatch_id"] == fact.dispatch_id for attempt in row["attempts"]
    )
    episode = None if known else _episode(row, fact.episode)
    if episode is None and not known:
        return old or row
    _ADD[type(fact)](row, episode, fact)
    _forget_old_episodes(row)
    _derive(row)
    if old is not None and _same(old, row):
        return old
    row["rev"] += 1
    return row


def execution_row(row: Row, dispatch_id: str, execution: Execution) -> Dict[str, Any]:
    """Return the row of an execution: the link from it to its attempt, alert and request.

    :param row: the alert's row.
    :param execution: as ``row`` has it in the attempt with this dispatch id.
    """
    attempt = next(a for a in row["attempts"] if a["dispatch_id"] == dispatch_id)
    return dict(
        execution,
        rev=row["rev"],
        request_id=attempt["request_id"],
        fingerprint=row["fingerprint"],
        alertname=row["alertname"],
        host=row["host"],
        target=row["target"],
        dispatch_id=attempt["dispatch_id"],
        attempt=attempt["attempt"],
        elapsed=clock.elapsed(execution["started_at"], execution["ended_at"]),
    )


def _episode(row: Row, identity: str) -> Optional[Episode]:
    known = find_episode(row, identity)
    if known:
        return known
    if len(row["episodes"]) >= KEPT_EPISODES and identity < row["episodes"][0]["id"]:
        return None
    new: Episode = {
        "id": identity,
        "starts_at": None,
        "last_starts_at": None,
        "ends_at": None,
        "received_at": None,
        "request_id": None,
        "holds": [],
        "acknowledged": None,
        "resolved_at": None,
        "resolved_request_id": None,
        "occurrences": 0,
    }
    row["episodes"].append(new)
    row["episodes"].sort(key=lambda item: item["id"])
    return new


def _notified(row: Row, episode: Episode, fact: facts.Notified) -> None:
    _count(row, episode, fact.request_id)
    if not episode["received_at"] or fact.at < episode["received_at"]:
        episode["received_at"], episode["request_id"] = fact.at, fact.request_id
    if fact.starts_at:
        episode["starts_at"] = min(filter(None, (episode["starts_at"], fact.starts_at)))
        episode["last_starts_at"] = max(filter(None, (episode["last_starts_at"], fact.starts_at)))
    if fact.status == payload.RESOLVED:
        if not episode["resolved_at"] or fact.at < episode["resolved_at"]:
            episode["resolved_at"] = fact.at
            episode["resolved_request_id"] = fact.request_id
            episode["ends_at"] = fact.alert["ends_at"]
    if row["last_seen_at"] is None or fact.at >= row["last_seen_at"]:
        row["last_seen_at"] = fact.at
        row.update(cast(Row, copy.deepcopy(fact.alert)))


def _count(row: Row, episode: Episode, request_id: str) -> None:
    kept = row["request_ids"]
    # Request ids sort by time: one before the oldest that is kept was counted long ago.
    forgotten = len(kept) >= KEPT_REQUEST_IDS and request_id < kept[0]
    if request_id not in kept and not forgotten:
        row["request_ids"] = sorted(kept + [request_id])[-KEPT_REQUEST_IDS:]
        episode["occurrences"] += 1


def _held(row: Row, episode: Episode, fact: facts.Held) -> None:
    new: HoldRow = {
        "attempt": fact.attempt,
        "at": fact.at,
        "state": fact.state,
        "cause": fact.cause,
        "reason": fact.reason,
        "request_id": fact.request_id,
        "until": fact.until,
        "by": fact.by,
        "forced": fact.forced,
    }
    if new not in episode["holds"]:
        holds = episode["holds"] + [new]
        holds.sort(key=lambda item: (item["attempt"], item["at"], item["state"], item["cause"]))
        episode["holds"] = holds[-KEPT_HOLDS:]


def _dispatched(row: Row, episode: Optional[Episode], fact: facts.Dispatched) -> None:
    attempt = _attempt(row, episode, fact.dispatch_id)
    if not attempt["dispatched_at"] or fact.at < attempt["dispatched_at"]:
        attempt["dispatched_at"] = fact.at
        attempt["attempt"] = fact.attempt
        attempt["request_id"] = fact.request_id
        attempt["why"] = fact.reason
        attempt["by"] = fact.by


def _executed(row: Row, episode: Optional[Episode], fact: facts.Executed) -> None:
    attempt = _attempt(row, episode, fact.dispatch_id)
    new = copy.deepcopy(fact.execution)
    for index, known in enumerate(attempt["executions"]):
        if known["execution_id"] == new["execution_id"]:
            if known["status"] not in ENDED_STATUSES:
                attempt["executions"][index] = new
            return
    attempt["executions"].append(new)
    attempt["executions"].sort(key=lambda item: item["execution_id"])


def _asked(row: Row, episode: Optional[Episode], fact: facts.Asked) -> None:
    inquiry = _inquiry(_attempt(row, episode, fact.dispatch_id), fact)
    if not inquiry["asked_at"] or fact.at < inquiry["asked_at"]:
        inquiry["asked_at"], inquiry["until"] = fact.at, fact.until


def _answered(row: Row, episode: Optional[Episode], fact: facts.Answered) -> None:
    inquiry = _inquiry(_attempt(row, episode, fact.dispatch_id), fact)
    if not inquiry["answered_at"] or fact.at < inquiry["answered_at"]:
        inquiry["answered_at"], inquiry["approved"] = fact.at, fact.approved


def _inquiry(attempt: Attempt, fact: Union[facts.Asked, facts.Answered]) -> Inquiry:
    inquiries = attempt["inquiries"]
    for known in inquiries:
        if known["inquiry_id"] == fact.inquiry_id:
            return known
    inquiry: Inquiry = {
        "inquiry_id": fact.inquiry_id,
        "execution_id": fact.execution_id,
        "asked_at": None,
        "until": None,
        "answered_at": None,
        "approved": None,
    }
    inquiries.append(inquiry)
    inquiries.sort(key=lambda item: item["inquiry_id"])
    return inquiry


def _settled(row: Row, episode: Optional[Episode], fact: facts.Settled) -> None:
    attempt = _attempt(row, episode, fact.dispatch_id)
    if not attempt["settled_at"] or fact.at < attempt["settled_at"]:
        attempt["settled_at"] = fact.at
        attempt["reason"] = fact.reason


def _ineffective(row: Row, episode: Optional[Episode], fact: facts.Ineffective) -> None:
    attempt = _attempt(row, episode, fact.dispatch_id)
    if not attempt["ineffective_at"] or fact.at < attempt["ineffective_at"]:
        attempt["ineffective_at"] = fact.at


def _exhausted(row: Row, episode: Optional[Episode], fact: facts.Exhausted) -> None:
    attempt = _attempt(row, episode, fact.dispatch_id)
    known = attempt["exhausted"]
    if not known or fact.at < known["at"]:
        attempt["exhausted"] = {
            "at": fact.at,
            "reason": fact.reason,
            "request_id": fact.request_id,
        }


def _acknowledged(row: Row, episode: Episode, fact: facts.Acknowledged) -> None:
    known = episode["acknowledged"]
    order = (fact.at, fact.request_id or "")
    if not known or order < (known["at"], known["request_id"] or ""):
        episode["acknowledged"] = {
            "at": fact.at,
            "by": fact.by,
            "reason": fact.reason,
            "request_id": fact.request_id,
            "dismissed": fact.dismissed,
        }


def _heartbeat(row: Row, episode: Episode, fact: facts.Heartbeat) -> None:
    known: HeartbeatTimes = {"seen_at": "", "missing_at": "", "reason": ""}
    known.update(row.get("heartbeat") or {})
    if fact.missing and fact.at > known["missing_at"]:
        known["missing_at"], known["reason"] = fact.at, fact.reason
    elif not fact.missing and fact.at > known["seen_at"]:
        known["seen_at"] = fact.at
    row["heartbeat"] = known


_ADD: Dict[Type[facts.Fact], Callable[[Row, Any, Any], None]] = {
    facts.Notified: _notified,
    facts.Held: _held,
    facts.Dispatched: _dispatched,
    facts.Executed: _executed,
    facts.Settled: _settled,
    facts.Asked: _asked,
    facts.Answered: _answered,
    facts.Ineffective: _ineffective,
    facts.Exhausted: _exhausted,
    facts.Acknowledged: _acknowledged,
    facts.Heartbeat: _heartbeat,
}


def _attempt(row: Row, episode: Optional[Episode], dispatch_id: str) -> Attempt:
    """Return an attempt, a new one if need be; ``episode`` may be None for one that is known."""
    for known in row["attempts"]:
        if known["dispatch_id"] == dispatch_id:
            return known
    assert episode, "an attempt is made in an episode"
    attempt: Attempt = {
        "dispatch_id": dispatch_id,
        "episode": episode["id"],
        "attempt": 0,
        "request_id": None,
        "why": "",
        "by": "",
        "dispatched_at": None,
        "settled_at": None,
        "reason": "",
        "executions": [],
        "inquiries": [],
        "outcome": None,
        "ended_at": None,
        "ineffective_at": None,
        "exhausted": None,
    }
    row["attempts"].append(attempt)
    return attempt


def _forget_old_episodes(row: Row) -> None:
    row["episodes"] = row["episodes"][-KEPT_EPISODES:]
    kept = {episode["id"] for episode in row["episodes"]}
    latest = sorted(row["attempts"], key=_attempt_order)[-KEPT_ATTEMPTS:]
    row["attempts"] = [
        a for a in row["attempts"] if a in latest or a["episode"] in kept or not a["outcome"]
    ]


def _attempt_order(attempt: Attempt) -> Tuple[str, int, str]:
    return attempt["episode"], attempt["attempt"], attempt["dispatch_id"]


def _derive(row: Row) -> None:
    for attempt in row["attempts"]:
        _derive_outcome(attempt)
    row["attempts"].sort(key=_attempt_order)
    row["history"] = [entry for episode in row["episodes"] for entry in history_of(row, episode)]
    last = current_episode(row)
    entries = [entry for entry in row["history"] if entry["episode"] == last["id"]]
    row["episode"] = last["id"]
    row["starts_at"] = last["starts_at"] or last["id"]
    row["occurrences"] = last["occurrences"]
    row["state"] = entries[-1]["state"] if entries else RECEIVED
    row["state_since"] = entries[-1]["at"] if entries else None
    row["reason"] = entries[-1]["reason"] if entries else ""


def _derive_outcome(attempt: Attempt) -> None:
    executions = attempt["executions"]
    attempt["outcome"] = attempt["ended_at"] = None
    if not attempt["settled_at"]:
        return
    if not executions:
        attempt["outcome"], attempt["ended_at"] = UNMATCHED, attempt["settled_at"]
        return
    if all(item["status"] in ENDED_STATUSES for item in executions):
        outcomes = [_outcome_of(item) for item in executions]
        attempt["outcome"] = next(item for item in _WEIGHT if item in outcomes)
        if attempt["outcome"] == NEVER_RAN and any(e["ran"] for e in executions):
            attempt["outcome"] = FAILED
        ends = [item["ended_at"] for item in executions if item["ended_at"]]
        # StackStorm's clock and the sensor's differ: an attempt never ends before it began.
        attempt["ended_at"] = max(ends + [attempt["dispatched_at"] or attempt["settled_at"]])


# Where rules started several executions for one dispatch, the first of these is its outcome.
_WEIGHT = (FAILED, NEVER_RAN, REMEDIATED, ESCALATED, NOT_NEEDED)


def _outcome_of(execution: Execution) -> str:
    """Return how an execution that has ended counts: as its output says, or else as its status."""
    if execution["status"] == SUCCEEDED:
        return execution["outcome"] or REMEDIATED
    if execution["outcome"] == ESCALATED:
        return ESCALATED
    return FAILED if execution["ran"] else NEVER_RAN


def _same(old: Row, new: Row) -> bool:
    return {k: v for k, v in old.items() if k != "rev"} == {
        k: v for k, v in new.items() if k != "rev"
    }
