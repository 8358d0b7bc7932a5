"""What must hold when all is done, whatever was killed on the way. Speaks HTTP only."""

import collections
import json
import re

import requests

from tests.support.tracking import max_overlap

FINAL = (
    "remediated",
    "not_needed",
    "escalated",
    "failed",
    "exhausted",
    "unmatched",
    "suppressed",
    "resolved",
)
PAGE = 100
# What differs from run to run: times, ids of requests and dispatches, of executions, of rules.
VARYING = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+Z|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|\b[0-9a-f]{24}\b|\be2e_[0-9a-f]{10}\b"
)


def post(world, body):
    """Post a notification until it is acknowledged, as Alertmanager does; return the request id."""

    def acknowledged():
        try:
            status, answer = world.post(body)
        except requests.RequestException:
            return None  # nobody listens, or the connection broke: nothing is known of it
        assert status in (202, 503), answer
        return answer["request_id"] if status == 202 else None

    return world.wait(acknowledged, "an acknowledgement")


def listing(world, path, **params):
    """Everything that a listing of the API has, page by page."""
    found = []
    while len(found) % PAGE == 0:
        page = world.api("GET", path, params=dict(params, limit=PAGE, offset=len(found)))
        if not page:
            break
        found += page
    return found


def rows(world, kind):
    """The rows of a kind: request, alert, execution, inbox, outbox."""
    found = listing(world, "/keys", prefix="poundcake.%s." % kind)
    return [json.loads(item["value"]) for item in found]


def remediations(world):
    """The executions that poundcake.alert has started."""
    return listing(world, "/executions", trigger_type="alert")


def settle(world, seconds=180):
    """Wait until nothing is left to do: the queues are empty and every alert is in a final state.

    Return ``{kind: rows}`` of alerts, requests and executions; fail with what is left otherwise.
    """
    left = {}

    def done():
        # The queues first: once they are empty, the rows that follow are all there.
        left.update({kind: len(rows(world, kind)) for kind in ("inbox", "outbox")})
        found = {kind: rows(world, kind) for kind in ("alert", "request", "execution")}
        left["alert"] = [
            (row["state"], row["episodes"][-1]["holds"][-1:])
            for row in found["alert"]
            if row["state"] not in FINAL
        ]
        left["request"] = sum(not row["completed_at"] for row in found["request"])
        return found if found["alert"] and not any(left.values()) else None

    try:
        return world.wait(done, "everything to be final", seconds)
    except AssertionError as error:
        raise AssertionError("%s; left: %s" % (error, json.dumps(left)[:2000]))


def check_invariants(world, acknowledged, window):
    """Settle; fail when anything was lost, untold, done twice or done beyond the window.

    :param acknowledged: the request ids that the listener answered.
    :param window: ``max_concurrent``.
    :returns: what ``settle`` gave.
    """
    found = settle(world)
    kept = {row["request_id"] for row in found["request"]}
    assert set(acknowledged) <= kept, "acknowledged and lost: %s" % (set(acknowledged) - kept)
    executions = remediations(world)
    payloads = [item["trigger_instance"]["payload"] for item in executions]
    times = collections.Counter((item["fingerprint"], item["starts_at"]) for item in payloads)
    again = {episode: count for episode, count in times.items() if count > 1}
    assert not again, "remediated more than once: %s" % again
    owed = {
        (row["fingerprint"], starts_at) for row in found["alert"] for starts_at, _ in attempts(row)
    }
    assert set(times) == owed, "rows and executions differ: %s" % (set(times) ^ owed)
    tracked = {row["execution_id"]: row["status"] for row in found["execution"]}
    assert tracked == {item["id"]: item["status"] for item in executions}
    assert max_overlap(executions) <= window
    world.wait(lambda: not untold(world, found["alert"]), "every change of state to be told")
    return found


def attempts(row):
    """``(startsAt of its episode, outcome)`` of each attempt of a row."""
    starts = {episode["id"]: episode["starts_at"] for episode in row["episodes"]}
    return [(starts[attempt["episode"]], attempt["outcome"]) for attempt in row["attempts"]]


def untold(world, alerts):
    """The changes of state, ``{(fingerprint, state): count}``, that no lifecycle trigger told."""
    told = listing(world, "/triggerinstances", trigger="poundcake.lifecycle")
    payloads = [instance["payload"] for instance in told]
    owed = collections.Counter()
    for row in alerts:
        previous = None
        for entry in row["history"]:
            now = (entry["episode"], entry["state"])
            owed[row["fingerprint"], entry["state"]] += now != previous
            previous = now
    # A kill may have come between the telling and its being written down: twice is well.
    return owed - collections.Counter((item["fingerprint"], item["to"]) for item in payloads)


def comparable(found):
    """Rows as lines of text, without what differs from run to run, in an order that does not."""
    steady = {
        kind: sorted((_steady(row) for row in group), key=json.dumps)
        for kind, group in found.items()
    }
    return json.dumps(steady, indent=1, sort_keys=True).splitlines()


def _steady(value):
    if isinstance(value, dict):
        # Why it is a duplicate depends on how far its first coming was.
        told = {"reason"} if value.get("decision") == "duplicate" else set()
        dropped = {"rev", "elapsed"} | told
        return {name: _steady(item) for name, item in value.items() if name not in dropped}
    if isinstance(value, list):
        return [_steady(item) for item in value]
    return VARYING.sub("*", value) if isinstance(value, str) else value
