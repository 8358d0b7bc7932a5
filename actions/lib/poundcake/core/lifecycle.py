"""Lifecycle states, derived from facts. Pure.

A row of an alert holds what was observed: notifications, dispatches, executions. ``apply`` adds one
fact and derives state and history anew from all of them, so that facts which arrive twice or late
give the same row. A fact is a dict with ``kind``, ``fingerprint``, ``episode``, ``at`` (RFC 3339):

=============  ==================================================================================
kind           further fields
=============  ==================================================================================
notified       status, request_id, alert (``describe`` of it)
held           attempt (the one that must wait), state (pending or suppressed), cause (a word of
               admission's), reason, request_id; until, by and forced where they apply
dispatched     dispatch_id, attempt, request_id; reason and by where they apply
executed       dispatch_id, execution (execution_id, status, rule_ref, action_ref, started_at,
               ended_at, error, ran)
settled        dispatch_id, reason: StackStorm has evaluated every rule on the dispatch; no further
               execution will come. ``reason`` says what hindered a rule, if anything did
asked          dispatch_id, execution_id, inquiry_id, until: the execution waits for a person to
               answer an inquiry (until then, None for as long as it takes)
answered       dispatch_id, execution_id, inquiry_id, approved: it waits no longer (True or False is
               the answer, None is neither: the time was up, or something else was asked)
ineffective    dispatch_id: the attempt succeeded, and the alert fired on when its cooldown was over
exhausted      dispatch_id (of the last attempt), reason, request_id
acknowledged   request_id, by, reason, dismissed: a person took it over; no attempt follows in this
               episode but by hand
heartbeat      missing, reason: a heartbeat (heartbeat.py) has come, or is missing
=============  ==================================================================================
"""

import copy

from poundcake import clock

RECEIVED = "received"
PENDING = "pending"
REMEDIATING = "remediating"
AWAITING_APPROVAL = "awaiting_approval"
REMEDIATED = "remediated"
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
    FAILED,
    EXHAUSTED,
    UNMATCHED,
    SUPPRESSED,
    RESOLVED,
)

SUCCEEDED = "succeeded"
ENDED_STATUSES = (SUCCEEDED, "failed", "timeout", "abandoned", "canceled")
NEVER_RAN = "never ran"
UNCOUNTED = (UNMATCHED, NEVER_RAN)  # outcomes of attempts that did nothing
_STATE_OF_OUTCOME = {
    "succeeded": REMEDIATED,
    "failed": FAILED,
    NEVER_RAN: FAILED,
    UNMATCHED: UNMATCHED,
}

_LATEST = "~"  # later than any time
KEPT_EPISODES = 5
KEPT_ATTEMPTS = 50  # of whatever episode: rates and the breaker look back over them
KEPT_HOLDS = 20
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


def current(row):
    """Return the latest episode of a row."""
    return row["episodes"][-1]


def episode(row, starts_at):
    """Return one of the episodes that a row keeps, None when it keeps it not (any more)."""
    return next((item for item in row["episodes"] if item["starts_at"] == starts_at), None)


def attempts_of(row, episode):
    """Return the attempts of one episode, oldest first."""
    return [attempt for attempt in row["attempts"] if attempt["starts_at"] == episode]


def open_attempts(row):
    """Return the attempts that have not ended, of whatever episode."""
    return [a for a in row["attempts"] if a["dispatched_at"] and not a["outcome"]]


def awaits(attempt):
    """True when all that an attempt still does is wait for a person's answer."""
    return bool(attempt["settled_at"]) and not attempt["outcome"] and _waits_at(attempt, _LATEST)


def is_dismissed(row):
    """True when a person has dismissed the alert, and nothing has happened since."""
    said = current(row)["acknowledged"]
    return bool(said and said["dismissed"] and row["state"] == SUPPRESSED)


def open_inquiries(attempt):
    """Return the inquiries of an attempt that nobody has answered."""
    return [item for item in _inquiries(attempt) if item["asked_at"] and not item["answered_at"]]


def counted(row, episode):
    """Return how many attempts of an episode did something, or still may."""
    return sum(1 for a in attempts_of(row, episode) if a["outcome"] not in UNCOUNTED)


def next_attempt(row):
    """Return the number of the next attempt of the latest episode."""
    return 1 + max([a["attempt"] for a in attempts_of(row, row["starts_at"])], default=0)


def hold(row):
    """Return what holds the next attempt of the latest episode back, None when nothing does."""
    episode = current(row)
    holds = [item for item in episode["holds"] if item["attempt"] == next_attempt(row)]
    if not holds or episode["resolved_at"]:
        return None
    last = holds[-1]
    acknowledged = episode["acknowledged"]
    if acknowledged and not (last["forced"] and last["at"] >= acknowledged["at"]):
        return None
    return last


def held_since(row):
    """Return since when the next attempt of the latest episode waits, whatever held it."""
    return min(i["at"] for i in current(row)["holds"] if i["attempt"] == next_attempt(row))


def requests_of(row, starts_at, number):
    """Return the ids of the requests that brought an attempt or waited for it, made or not."""
    found = [a for a in attempts_of(row, starts_at) if a["attempt"] == number]
    known = episode(row, starts_at)
    found += [item for item in known["holds"] if item["attempt"] == number] if known else []
    return {item["request_id"] for item in found}


def execution_row(row, fact):
    """Return the row of an execution: the link from it to its attempt, alert and request.

    :param row: the alert's row, with the fact applied.
    :param fact: of kind executed.
    """
    execution = fact["execution"]
    attempt = next(a for a in row["attempts"] if a["dispatch_id"] == fact["dispatch_id"])
    return dict(
        execution,
        rev=row["rev"],
        request_id=attempt["request_id"],
        fingerprint=row["fingerprint"],
        alertname=row["alertname"],
        host=row["host"],
        dispatch_id=attempt["dispatch_id"],
        attempt=attempt["attempt"],
        elapsed=clock.elapsed(execution["started_at"], execution["ended_at"]),
    )


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
    known = episode(row, starts_at)
    if known:
        return known
    if len(row["episodes"]) >= KEPT_EPISODES and starts_at < row["episodes"][0]["starts_at"]:
        return None
    new = {
        "starts_at": starts_at,
        "received_at": None,
        "request_id": None,
        "holds": [],
        "acknowledged": None,
        "resolved_at": None,
        "resolved_request_id": None,
        "occurrences": 0,
    }
    row["episodes"].append(new)
    row["episodes"].sort(key=lambda item: item["starts_at"])
    return new


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


def _held(row, episode, fact):
    new = {
        "attempt": fact["attempt"],
        "at": fact["at"],
        "state": fact["state"],
        "cause": fact["cause"],
        "reason": fact["reason"],
        "request_id": fact["request_id"],
        "until": fact.get("until"),
        "by": fact.get("by", ""),
        "forced": fact.get("forced", False),
    }
    if new not in episode["holds"]:
        holds = episode["holds"] + [new]
        holds.sort(key=lambda item: (item["attempt"], item["at"], item["state"], item["cause"]))
        episode["holds"] = holds[-KEPT_HOLDS:]


def _dispatched(row, episode, fact):
    attempt = _attempt(row, episode, fact["dispatch_id"])
    if not attempt["dispatched_at"] or fact["at"] < attempt["dispatched_at"]:
        attempt["dispatched_at"] = fact["at"]
        attempt["attempt"] = fact["attempt"]
        attempt["request_id"] = fact["request_id"]
        attempt["why"] = fact.get("reason", "")
        attempt["by"] = fact.get("by", "")


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


def _asked(row, episode, fact):
    inquiry = _inquiry(_attempt(row, episode, fact["dispatch_id"]), fact)
    if not inquiry["asked_at"] or fact["at"] < inquiry["asked_at"]:
        inquiry["asked_at"], inquiry["until"] = fact["at"], fact["until"]


def _answered(row, episode, fact):
    inquiry = _inquiry(_attempt(row, episode, fact["dispatch_id"]), fact)
    if not inquiry["answered_at"] or fact["at"] < inquiry["answered_at"]:
        inquiry["answered_at"], inquiry["approved"] = fact["at"], fact["approved"]


def _inquiry(attempt, fact):
    known = attempt.setdefault("inquiries", [])
    for inquiry in known:
        if inquiry["inquiry_id"] == fact["inquiry_id"]:
            return inquiry
    inquiry = {
        "inquiry_id": fact["inquiry_id"],
        "execution_id": fact["execution_id"],
        "asked_at": None,
        "until": None,
        "answered_at": None,
        "approved": None,
    }
    known.append(inquiry)
    known.sort(key=lambda item: item["inquiry_id"])
    return inquiry


def _settled(row, episode, fact):
    attempt = _attempt(row, episode, fact["dispatch_id"])
    if not attempt["settled_at"] or fact["at"] < attempt["settled_at"]:
        attempt["settled_at"] = fact["at"]
        attempt["reason"] = fact["reason"]


def _ineffective(row, episode, fact):
    attempt = _attempt(row, episode, fact["dispatch_id"])
    if not attempt["ineffective_at"] or fact["at"] < attempt["ineffective_at"]:
        attempt["ineffective_at"] = fact["at"]


def _exhausted(row, episode, fact):
    attempt = _attempt(row, episode, fact["dispatch_id"])
    known = attempt["exhausted"]
    if not known or fact["at"] < known["at"]:
        attempt["exhausted"] = {name: fact[name] for name in ("at", "reason", "request_id")}


def _acknowledged(row, episode, fact):
    known = episode["acknowledged"]
    if not known or (fact["at"], fact["request_id"]) < (known["at"], known["request_id"]):
        names = ("at", "by", "reason", "request_id", "dismissed")
        episode["acknowledged"] = {name: fact[name] for name in names}


def _heartbeat(row, episode, fact):
    known = row.get("heartbeat") or {"seen_at": "", "missing_at": "", "reason": ""}
    name = "missing_at" if fact["missing"] else "seen_at"
    if fact["at"] > known[name]:
        reason = fact["reason"] if fact["missing"] else known["reason"]
        row["heartbeat"] = dict(known, reason=reason, **{name: fact["at"]})


_FACTS = {
    "notified": _notified,
    "held": _held,
    "dispatched": _dispatched,
    "executed": _executed,
    "settled": _settled,
    "asked": _asked,
    "answered": _answered,
    "ineffective": _ineffective,
    "exhausted": _exhausted,
    "acknowledged": _acknowledged,
    "heartbeat": _heartbeat,
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


def _forget_old_episodes(row):
    row["episodes"] = row["episodes"][-KEPT_EPISODES:]
    kept = {episode["starts_at"] for episode in row["episodes"]}
    latest = sorted(row["attempts"], key=_attempt_order)[-KEPT_ATTEMPTS:]
    row["attempts"] = [
        a for a in row["attempts"] if a in latest or a["starts_at"] in kept or not a["outcome"]
    ]


def _attempt_order(attempt):
    return attempt["starts_at"], attempt["attempt"], attempt["dispatch_id"]


def _derive(row):
    for attempt in row["attempts"]:
        _derive_outcome(attempt)
    row["attempts"].sort(key=_attempt_order)
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
        attempt["outcome"], attempt["ended_at"] = UNMATCHED, attempt["settled_at"]
        return
    if all(item["status"] in ENDED_STATUSES for item in executions):
        if all(item["status"] == SUCCEEDED for item in executions):
            attempt["outcome"] = "succeeded"
        else:
            attempt["outcome"] = "failed" if any(e["ran"] for e in executions) else NEVER_RAN
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


def _inquiries(attempt):
    return attempt.get("inquiries", ())  # rows of an earlier version have none


def _waits(attempt):
    """Yield ``(at, inquiry, waits)`` where an attempt begins and ends to wait for a person.

    It waits when each of its executions has ended or waits; the end of all of it is its outcome.
    """
    times = {item[name] for item in _inquiries(attempt) for name in ("asked_at", "answered_at")}
    times |= {item["ended_at"] for item in attempt["executions"]}
    waited = False
    for at in sorted(times - {None}):
        waits = _waits_at(attempt, at)
        ended = attempt["ended_at"] and attempt["ended_at"] <= at
        if waits != waited and not ended:
            waited = waits
            asked = [i for i in _inquiries(attempt) if i["asked_at"] and i["asked_at"] <= at]
            yield at, asked[-1], waits


def _waits_at(attempt, at):
    waiting = {
        item["execution_id"]
        for item in _inquiries(attempt)
        if _is_within(at, item["asked_at"], item["answered_at"])
    }
    going = [e for e in attempt["executions"] if not (e["ended_at"] and e["ended_at"] <= at)]
    return bool(going) and all(item["execution_id"] in waiting for item in going)


def _is_within(at, begin, end):
    return bool(begin) and begin <= at and not (end and end <= at)


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


def _same(old, new):
    return {k: v for k, v in old.items() if k != "rev"} == {
        k: v for k, v in new.items() if k != "rev"
    }
