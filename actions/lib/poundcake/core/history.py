"""The history of an alert, derived from what its row holds. Pure."""

from poundcake.core.alert import (
    AWAITING_APPROVAL,
    EXHAUSTED,
    FAILED,
    NEVER_RAN,
    RECEIVED,
    REMEDIATED,
    REMEDIATING,
    RESOLVED,
    SUCCEEDED,
    SUPPRESSED,
    UNMATCHED,
    attempts_of,
    inquiries_of,
    waits_at,
)

_STATE_OF_OUTCOME = {
    "succeeded": REMEDIATED,
    "failed": FAILED,
    NEVER_RAN: FAILED,
    UNMATCHED: UNMATCHED,
}


def history_of(row, episode):
    events = []
    floor = ""

    def add(at, state, reason, request_id, attempt=None):
        # What follows from something never comes before it, even when a clock has stepped back.
        nonlocal floor
        floor = max(floor, at)
        events.append((floor, len(events), state, reason, request_id, attempt))

    if episode["received_at"]:
        add(episode["received_at"], RECEIVED, "", episode["request_id"])
    received = floor
    attempts = attempts_of(row, episode["starts_at"])
    holds = list(episode["holds"])

    def add_holds(number):
        while holds and (number is None or holds[0]["attempt"] <= number):
            item = holds.pop(0)
            reason = item["reason"] + _by(item["by"])
            add(item["at"], item["state"], reason, item["request_id"])

    for attempt in attempts:
        request_id = attempt["request_id"]
        add_holds(attempt["attempt"])
        if attempt["dispatched_at"]:
            reason = "attempt %d" % attempt["attempt"]
            reason += (": " + attempt["why"] if attempt["why"] else "") + _by(attempt["by"])
            add(attempt["dispatched_at"], REMEDIATING, reason, request_id, attempt)
        for at, inquiry, waits in _waits(attempt):
            state = AWAITING_APPROVAL if waits else REMEDIATING
            add(at, state, _waiting_reason(inquiry, waits), request_id, attempt)
        if attempt["outcome"]:
            state = _STATE_OF_OUTCOME[attempt["outcome"]]
            add(attempt["ended_at"], state, _outcome_reason(attempt), request_id, attempt)
        if attempt["exhausted"]:
            gone = attempt["exhausted"]
            add(gone["at"], EXHAUSTED, gone["reason"], gone["request_id"], attempt)
    add_holds(None)
    if episode["acknowledged"]:
        floor = received  # a person acts when they please
        said = episode["acknowledged"]
        what = "dismissed" if said["dismissed"] else "acknowledged"
        reason = "%s: %s%s" % (what, said["reason"], _by(said["by"]))
        runs = any(_runs_at(attempt, said["at"]) for attempt in attempts)
        add(said["at"], REMEDIATING if runs else SUPPRESSED, reason, said["request_id"])
    if episode["resolved_at"]:
        floor = received  # a resolve follows from nothing that PoundCake did
        add(episode["resolved_at"], RESOLVED, "", episode["resolved_request_id"])
    events.sort(key=lambda event: event[:2])
    return _entries(episode["starts_at"], events)


def _entries(starts_at, events):
    entries = []
    resolved = False
    for at, _, state, reason, request_id, attempt in events:
        if resolved:
            # The alert stays resolved; what a running remediation did is said all the same.
            reason = "after the resolve: %s%s" % (state, ": " + reason if reason else "")
            state = RESOLVED
        resolved = resolved or state == RESOLVED
        executions = attempt["executions"] if attempt else []
        entries.append(
            {
                "state": state,
                "at": at,
                "reason": reason,
                "starts_at": starts_at,
                "request_id": request_id,
                "attempt": attempt["attempt"] if attempt else None,
                "execution_id": executions[0]["execution_id"] if executions else None,
            }
        )
    return entries


def _waits(attempt):
    """Yield ``(at, inquiry, waits)`` where an attempt begins and ends to wait for a person.

    It waits when each of its executions has ended or waits; the end of all of it is its outcome.
    """
    times = {item[name] for item in inquiries_of(attempt) for name in ("asked_at", "answered_at")}
    times |= {item["ended_at"] for item in attempt["executions"]}
    waited = False
    for at in sorted(times - {None}):
        waits = waits_at(attempt, at)
        ended = attempt["ended_at"] and attempt["ended_at"] <= at
        if waits != waited and not ended:
            waited = waits
            asked = [i for i in inquiries_of(attempt) if i["asked_at"] and i["asked_at"] <= at]
            yield at, asked[-1], waits


def _waiting_reason(inquiry, waits):
    if not waits:
        return {True: "approved", False: "not approved", None: "answered"}[inquiry.get("approved")]
    until = " until %s" % inquiry["until"] if inquiry["until"] else ""
    return "a person is asked%s: st2 inquiry respond %s" % (until, inquiry["inquiry_id"])


def _runs_at(attempt, at):
    begun = attempt["dispatched_at"] and attempt["dispatched_at"] <= at
    return begun and (not attempt["ended_at"] or attempt["ended_at"] > at)


def _by(name):
    return " (by %s)" % name if name else ""


def _outcome_reason(attempt):
    if attempt["outcome"] == UNMATCHED:
        return attempt["reason"] or "no rule on poundcake.alert matched"
    bad = [item for item in attempt["executions"] if item["status"] != SUCCEEDED]
    texts = [
        "%s %s%s"
        % (item["action_ref"], item["status"], ": " + item["error"] if item["error"] else "")
        for item in bad
    ]
    text = "; ".join(texts + ([attempt["reason"]] if attempt["reason"] else []))
    return "it never ran: " + text if attempt["outcome"] == NEVER_RAN else text


def _keyed(history):
    """Yield ``(key, entry)``; an entry keeps its key when further facts come before or after it."""
    seen = {}
    for entry in history:
        key = (entry["starts_at"], entry["state"], entry["attempt"])
        seen[key] = seen.get(key, 0) + 1
        yield key + (seen[key],), entry


def transitions(before, after):
    """Return the state changes between two versions of a row, as ``(from, to, entry)``."""
    known = {key for key, _ in _keyed(before["history"])} if before else set()
    found = []
    previous = None
    for key, entry in _keyed(after["history"]):
        same_episode = previous is not None and previous["starts_at"] == entry["starts_at"]
        came_from = previous["state"] if same_episode else None
        if key not in known and came_from != entry["state"]:
            found.append((came_from, entry["state"], entry))
        previous = entry
    return found
