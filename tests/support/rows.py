"""Rows made by facts."""

from poundcake import clock
from poundcake.core import lifecycle

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
