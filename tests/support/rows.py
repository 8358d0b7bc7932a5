"""Rows made by facts."""

from poundcake import clock
from poundcake.core import lifecycle
from poundcake.core.requests import new_entry, new_request

from tests.support import facts
from tests.support.facts import fact
from tests.support.fakes import NOW

STARTS_AT = "2026-11-21T08:00:00.000000000Z"


def a_row(one, parsed):
    """Return the row of an alert that was notified, dispatched, settled and resolved."""
    about = {"fingerprint": one.fingerprint, "episode": STARTS_AT, "request_id": "r1"}
    described = facts.described(one, parsed)
    row = None
    for second, (kind, more) in enumerate(
        [
            ("notified", {"status": "firing", "alert": described}),
            ("dispatched", {"dispatch_id": "d1", "attempt": 1}),
            ("settled", {"dispatch_id": "d1", "reason": "{{ no rule }}"}),
            ("notified", {"status": "resolved", "alert": described, "request_id": "r2"}),
        ]
    ):
        moment = clock.to_text(NOW + second)
        row = lifecycle.apply(row, fact(kind, **dict(about, at=moment, **more)))
    return row


def plain_row(fingerprint, rev=1, state="received", **more):
    """Return the row of an alert with one episode, in which nothing has happened yet."""
    at = clock.to_text(NOW)
    about = {"fingerprint": fingerprint, "episode": STARTS_AT, "at": at, "request_id": "r1"}
    described = dict.fromkeys(("alertname", "severity", "instance", "host"), "")
    described.update(labels={}, annotations={}, extra={})
    row = lifecycle.apply(None, fact("notified", status="firing", alert=described, **about))
    return dict(row, rev=rev, state=state, **more)


def plain_request(request_id, rev=1, **more):
    """Return the row of a request with one alert."""
    entries = [new_entry("f1", "ServiceDown", STARTS_AT, "dispatch", "a new episode")]
    row = new_request(request_id, clock.to_text(NOW), "listener", entries)
    return dict(row, rev=rev, **more)


def plain_execution(execution_id, **more):
    """Return the row of an execution that has succeeded."""
    at = clock.to_text(NOW)
    row = {
        "rev": 1,
        "execution_id": execution_id,
        "status": "succeeded",
        "rule_ref": "mine.fix",
        "action_ref": "mine.fix",
        "started_at": at,
        "ended_at": at,
        "error": "",
        "ran": True,
        "request_id": "r1",
        "fingerprint": "f1",
        "alertname": "ServiceDown",
        "host": "web1",
        "dispatch_id": "d1",
        "attempt": 1,
        "elapsed": 0.0,
    }
    return dict(row, **more)
