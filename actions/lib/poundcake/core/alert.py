"""What an alert's row looks like, and what is read off it. Pure."""

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

LATEST = "~"  # later than any time


def new_row(fingerprint, at):
    """Return the row of an alert of which nothing is known; ``at`` is RFC 3339."""
    return {
        # A row that was forgotten and comes again must be newer than what is still stored of it.
        "rev": int(clock.to_seconds(at) * 1000),
        "fingerprint": fingerprint,
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


def current_episode(row):
    """Return the latest episode of a row."""
    return row["episodes"][-1]


def find_episode(row, starts_at):
    """Return one of the episodes that a row keeps, None when it keeps it not (any more)."""
    return next((item for item in row["episodes"] if item["starts_at"] == starts_at), None)


def attempts_of(row, episode):
    """Return the attempts of one episode, oldest first."""
    return [attempt for attempt in row["attempts"] if attempt["starts_at"] == episode]


def open_attempts(row):
    """Return the attempts that have not ended, of whatever episode."""
    return [a for a in row["attempts"] if a["dispatched_at"] and not a["outcome"]]


def awaits_approval(attempt):
    """True when all that an attempt still does is wait for a person's answer."""
    return bool(attempt["settled_at"]) and not attempt["outcome"] and waits_at(attempt, LATEST)


def is_dismissed(row):
    """True when a person has dismissed the alert, and nothing has happened since."""
    said = current_episode(row)["acknowledged"]
    return bool(said and said["dismissed"] and row["state"] == SUPPRESSED)


def open_inquiries(attempt):
    """Return the inquiries of an attempt that nobody has answered."""
    return [item for item in inquiries_of(attempt) if item["asked_at"] and not item["answered_at"]]


def counted_attempts(row, episode):
    """Return how many attempts of an episode did something, or still may."""
    return sum(1 for a in attempts_of(row, episode) if a["outcome"] not in UNCOUNTED)


def next_attempt_number(row):
    """Return the number of the next attempt of the latest episode."""
    return 1 + max([a["attempt"] for a in attempts_of(row, row["starts_at"])], default=0)


def current_hold(row):
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


def held_since(row):
    """Return since when the next attempt of the latest episode waits, whatever held it."""
    return min(
        i["at"] for i in current_episode(row)["holds"] if i["attempt"] == next_attempt_number(row)
    )


def request_ids_of(row, starts_at, number):
    """Return the ids of the requests that brought an attempt or waited for it, made or not."""
    found = [a for a in attempts_of(row, starts_at) if a["attempt"] == number]
    known = find_episode(row, starts_at)
    found += [item for item in known["holds"] if item["attempt"] == number] if known else []
    return {item["request_id"] for item in found}


def inquiries_of(attempt):
    return attempt.get("inquiries", ())  # rows of an earlier version have none


def waits_at(attempt, at):
    waiting = {
        item["execution_id"]
        for item in inquiries_of(attempt)
        if _is_within(at, item["asked_at"], item["answered_at"])
    }
    going = [e for e in attempt["executions"] if not (e["ended_at"] and e["ended_at"] <= at)]
    return bool(going) and all(item["execution_id"] in waiting for item in going)


def _is_within(at, begin, end):
    return bool(begin) and begin <= at and not (end and end <= at)
