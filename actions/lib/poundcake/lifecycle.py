"""Lifecycle states, derived from facts. Pure.

A row of an alert holds what was observed: notifications, dispatches, executions. ``apply`` adds one
fact and derives state and history anew from all of them, so that facts which arrive twice or late
give the same row. A fact is a dict with ``kind``, ``fingerprint``, ``episode``, ``at`` (RFC 3339):

=============  ==================================================================================
kind           further fields
=============  ==================================================================================
notified       status, request_id, alert (``describe`` of it)
pended         reason, request_id
dispatched     dispatch_id, attempt, request_id
executed       dispatch_id, execution (execution_id, status, rule_ref, action_ref, started_at,
               ended_at, error)
settled        dispatch_id, reason: StackStorm has evaluated every rule on the dispatch; no further
               execution will come. ``reason`` says what hindered a rule, if anything did
=============  ==================================================================================
"""

import copy

from poundcake import clock

RECEIVED = "received"
PENDING = "pending"
REMEDIATING = "remediating"
REMEDIATED = "remediated"
FAILED = "failed"
UNMATCHED = "unmatched"
RESOLVED = "resolved"
STATES = (RECEIVED, PENDING, REMEDIATING, REMEDIATED, FAILED, UNMATCHED, RESOLVED)

SUCCEEDED = "succeeded"
ENDED_STATUSES = (SUCCEEDED, "failed", "timeout", "abandoned", "canceled")
_STATE_OF_OUTCOME = {"succeeded": REMEDIATED, "failed": FAILED, "unmatched": UNMATCHED}

KEPT_EPISODES = 5
KEPT_REQUEST_IDS = 20


def describe(alert, notification):
    """Return what a row keeps of a payload.Alert and of the notification that brought it."""
    return {
        "alertname": alert.alertname,
        "severity": alert.severity,
        "instance": alert.instance,
        "host": alert.host,
        "labels": alert.labels,
        "annotations": alert.annotations,
        "generator_url": alert.generator_url,
        "ends_at": alert.ends_at,
        "receiver": notification.receiver,
        "group_key": notification.group_key,
        "external_url": notification.external_url,
        "extra": alert.extra,
    }


def episode_of(row, alert, received_at):
    """Return the episode of a notification: its startsAt, else what is known of the alert.

    An alert without startsAt continues an episode that is not resolved, and opens one otherwise.
    """
    if alert.starts_at:
        return alert.starts_at
    if row and row["episodes"]:
        last = row["episodes"][-1]
        if not last["resolved_at"] or alert.status == "resolved":
            return last["starts_at"]
    return clock.canonical(received_at)


def apply(row, fact):
    """Return the row of an alert with one more fact in it; ``row`` is None for a new alert.

    The row given is not changed. A fact that is known already, or belongs to an episode that is no
    longer kept, gives back an equal row.
    """
    old = row
    row = copy.deepcopy(row) if row else _new_row(fact)
    # An attempt may end long after its episode was forgotten, and must still end.
    known = any(a["dispatch_id"] == fact.get("dispatch_id") for a in row["attempts"])
    episode = None if known else _episode(row, fact["episode"])
    if episode is None and not known:
        return old or row
    _FACTS[fact["kind"]](row, episode, fact)
    _forget_old_episodes(row)
    _derive(row)
    if old is not None and _same(old, row):
        return old
    row["rev"] += 1
    return row


def transitions(before, after):
    """Return the state changes between two versions of a row, as ``(from, to, entry)``."""
    known = {_entry_key(entry) for entry in before["history"]} if before else set()
    found = []
    previous = None
    for entry in after["history"]:
        same_episode = previous is not None and previous["starts_at"] == entry["starts_at"]
        came_from = previous["state"] if same_episode else None
        if _entry_key(entry) not in known and came_from != entry["state"]:
            found.append((came_from, entry["state"], entry))
        previous = entry
    return found


def current(row):
    """Return the latest episode of a row."""
    return row["episodes"][-1]


def attempts_of(row, episode):
    """Return the attempts of one episode, oldest first."""
    return [attempt for attempt in row["attempts"] if attempt["starts_at"] == episode]


def open_attempts(row):
    """Return the attempts that have not ended, of whatever episode."""
    return [a for a in row["attempts"] if a["dispatched_at"] and not a["outcome"]]


def _new_row(fact):
    return {
        # A row that was forgotten and comes again must be newer than what is still stored of it.
        "rev": int(clock.to_seconds(fact["at"]) * 1000),
        "fingerprint": fact["fingerprint"],
        "alertname": "",
        "severity": "",
        "instance": "",
        "host": "",
        "labels": {},
        "annotations": {},
        "generator_url": "",
        "receiver": "",
        "group_key": "",
        "external_url": "",
        "extra": {},
        "starts_at": None,
        "ends_at": None,
        "state": None,
        "state_since": None,
        "reason": "",
        "occurrences": 0,
        "last_seen_at": None,
        "request_ids": [],
        "attempts": [],
        "episodes": [],
        "history": [],
    }


def _episode(row, starts_at):
    for episode in row["episodes"]:
        if episode["starts_at"] == starts_at:
            return episode
    if len(row["episodes"]) >= KEPT_EPISODES and starts_at < row["episodes"][0]["starts_at"]:
        return None
    episode = {
        "starts_at": starts_at,
        "received_at": None,
        "request_id": None,
        "pended": None,
        "resolved_at": None,
        "resolved_request_id": None,
        "occurrences": 0,
    }
    row["episodes"].append(episode)
    row["episodes"].sort(key=lambda item: item["starts_at"])
    return episode


def _notified(row, episode, fact):
    _count(row, episode, fact["request_id"])
    if not episode["received_at"] or fact["at"] < episode["received_at"]:
        episode["received_at"], episode["request_id"] = fact["at"], fact["request_id"]
    if fact["status"] == "resolved":
        if not episode["resolved_at"] or fact["at"] < episode["resolved_at"]:
            episode["resolved_at"] = fact["at"]
            episode["resolved_request_id"] = fact["request_id"]
    if row["last_seen_at"] is None or fact["at"] >= row["last_seen_at"]:
        row["last_seen_at"] = fact["at"]
        row.update(copy.deepcopy(fact["alert"]))


def _count(row, episode, request_id):
    kept = row["request_ids"]
    # Request ids sort by time: one before the oldest that is kept was counted long ago.
    forgotten = len(kept) >= KEPT_REQUEST_IDS and request_id < kept[0]
    if request_id not in kept and not forgotten:
        row["request_ids"] = sorted(kept + [request_id])[-KEPT_REQUEST_IDS:]
        episode["occurrences"] += 1


def _pended(row, episode, fact):
    known = episode["pended"]
    if not known or fact["at"] < known["at"]:
        episode["pended"] = {
            "at": fact["at"],
            "reason": fact["reason"],
            "request_id": fact["request_id"],
        }


def _dispatched(row, episode, fact):
    attempt = _attempt(row, episode, fact["dispatch_id"])
    if not attempt["dispatched_at"] or fact["at"] < attempt["dispatched_at"]:
        attempt["dispatched_at"] = fact["at"]
        attempt["attempt"] = fact["attempt"]
        attempt["request_id"] = fact["request_id"]


def _executed(row, episode, fact):
    attempt = _attempt(row, episode, fact["dispatch_id"])
    new = copy.deepcopy(fact["execution"])
    for index, known in enumerate(attempt["executions"]):
        if known["execution_id"] == new["execution_id"]:
            if known["status"] not in ENDED_STATUSES:
                attempt["executions"][index] = new
            return
    attempt["executions"].append(new)
    attempt["executions"].sort(key=lambda item: item["execution_id"])


def _settled(row, episode, fact):
    attempt = _attempt(row, episode, fact["dispatch_id"])
    if not attempt["settled_at"] or fact["at"] < attempt["settled_at"]:
        attempt["settled_at"] = fact["at"]
        attempt["reason"] = fact["reason"]


_FACTS = {
    "notified": _notified,
    "pended": _pended,
    "dispatched": _dispatched,
    "executed": _executed,
    "settled": _settled,
}


def _attempt(row, episode, dispatch_id):
    """Return an attempt, a new one if need be; ``episode`` may be None for one that is known."""
    for attempt in row["attempts"]:
        if attempt["dispatch_id"] == dispatch_id:
            return attempt
    attempt = {
        "dispatch_id": dispatch_id,
        "starts_at": episode["starts_at"],
        "attempt": 0,
        "request_id": None,
        "dispatched_at": None,
        "settled_at": None,
        "reason": "",
        "executions": [],
        "outcome": None,
        "ended_at": None,
    }
    row["attempts"].append(attempt)
    return attempt


def _forget_old_episodes(row):
    row["episodes"] = row["episodes"][-KEPT_EPISODES:]
    kept = {episode["starts_at"] for episode in row["episodes"]}
    row["attempts"] = [a for a in row["attempts"] if a["starts_at"] in kept or not a["outcome"]]


def _derive(row):
    for attempt in row["attempts"]:
        _derive_outcome(attempt)
    row["attempts"].sort(key=lambda a: (a["starts_at"], a["attempt"], a["dispatch_id"]))
    row["history"] = [entry for episode in row["episodes"] for entry in _history(row, episode)]
    last = current(row)
    entries = [entry for entry in row["history"] if entry["starts_at"] == last["starts_at"]]
    row["starts_at"] = last["starts_at"]
    row["occurrences"] = last["occurrences"]
    row["state"] = entries[-1]["state"] if entries else RECEIVED
    row["state_since"] = entries[-1]["at"] if entries else None
    row["reason"] = entries[-1]["reason"] if entries else ""


def _derive_outcome(attempt):
    executions = attempt["executions"]
    attempt["outcome"] = attempt["ended_at"] = None
    if not attempt["settled_at"]:
        return
    if not executions:
        attempt["outcome"], attempt["ended_at"] = "unmatched", attempt["settled_at"]
        return
    if all(item["status"] in ENDED_STATUSES for item in executions):
        good = all(item["status"] == SUCCEEDED for item in executions)
        attempt["outcome"] = "succeeded" if good else "failed"
        ends = [item["ended_at"] for item in executions if item["ended_at"]]
        # StackStorm's clock and the sensor's differ: an attempt never ends before it began.
        attempt["ended_at"] = max(ends + [attempt["dispatched_at"] or attempt["settled_at"]])


def _history(row, episode):
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
    if episode["pended"]:
        pended = episode["pended"]
        add(pended["at"], PENDING, pended["reason"], pended["request_id"])
    for attempt in attempts_of(row, episode["starts_at"]):
        request_id = attempt["request_id"]
        if attempt["dispatched_at"]:
            reason = "attempt %d" % attempt["attempt"]
            add(attempt["dispatched_at"], REMEDIATING, reason, request_id, attempt)
        if attempt["outcome"]:
            state = _STATE_OF_OUTCOME[attempt["outcome"]]
            add(attempt["ended_at"], state, _outcome_reason(attempt), request_id, attempt)
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


def _outcome_reason(attempt):
    if attempt["outcome"] == "unmatched":
        return attempt["reason"] or "no rule on poundcake.alert matched"
    bad = [item for item in attempt["executions"] if item["status"] != SUCCEEDED]
    texts = [
        "%s %s%s"
        % (item["action_ref"], item["status"], ": " + item["error"] if item["error"] else "")
        for item in bad
    ]
    return "; ".join(texts + ([attempt["reason"]] if attempt["reason"] else []))


def _entry_key(entry):
    return (entry["starts_at"], entry["state"], entry["attempt"])


def _same(old, new):
    return {k: v for k, v in old.items() if k != "rev"} == {
        k: v for k, v in new.items() if k != "rev"
    }
