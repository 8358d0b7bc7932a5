"""1,000 distinct alerts in one burst: each remediated once, a few at a time, all accounted for.

Against a real StackStorm, which takes 0.1 to 0.5 s of CPU for each, ``STORM_ALERTS`` are 100.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.crash import checks
from tests.support.alerts import alert, notification
from tests.support.tracking import max_overlap
from tests.support.world import unique

pytestmark = pytest.mark.soak

ALERTS = int(os.environ.get("STORM_ALERTS") or (100 if os.environ.get("ST2_API_URL") else 1000))
NOTIFICATIONS = 20
WINDOW = 10  # max_concurrent, as it is by default


def test_a_storm_is_remediated_to_the_last_alert(world):
    """20 notifications at once: executions, and rows of all three kinds, agree to the last one."""
    name = unique("E2eStorm")
    alerts = [alert(alertname=name, instance="host-%d:9100" % number) for number in range(ALERTS)]
    bodies = [notification(*alerts[start::NOTIFICATIONS]) for start in range(NOTIFICATIONS)]
    with world.rule(name, "core.noop"):
        with ThreadPoolExecutor(NOTIFICATIONS) as pool:
            answers = list(pool.map(world.post, bodies))
        assert {status for status, _ in answers} == {202}
        requests = [world.completed(answer["request_id"], 600) for _, answer in answers]

    executions = [e for e in checks.remediations(world) if alertname_of(e) == name]
    assert {e["status"] for e in executions} == {"succeeded"}
    assert max_overlap(executions) <= WINDOW
    remediated = {e["trigger_instance"]["payload"]["fingerprint"]: e["id"] for e in executions}
    assert len(executions) == len(remediated) == ALERTS, "some were remediated more than once"

    rows = [row for row in checks.rows(world, "alert") if row["alertname"] == name]
    assert {row["state"] for row in rows} == {"remediated"}
    attempts = {row["fingerprint"]: [run_of(a) for a in row["attempts"]] for row in rows}
    assert attempts == {fingerprint: [run] for fingerprint, run in remediated.items()}
    tracked = [row for row in checks.rows(world, "execution") if row["alertname"] == name]
    assert {row["fingerprint"]: row["execution_id"] for row in tracked} == remediated
    assert len(tracked) == ALERTS

    entries = [entry for request in requests for entry in request["alerts"]]
    assert sorted(entry["fingerprint"] for entry in entries) == sorted(remediated)
    assert {entry["outcome"] for entry in entries} == {"succeeded"}
    counts = [request["counts"] for request in requests]
    assert sum(count["alerts"] for count in counts) == ALERTS
    assert sum(count.get("dispatch", 0) + count.get("pend", 0) for count in counts) == ALERTS


def alertname_of(execution):
    """Its alert; other packs may have a trigger named alert, which StackStorm lists as well."""
    return execution["trigger_instance"]["payload"].get("alertname")


def run_of(attempt):
    """The one execution of an attempt."""
    (execution,) = attempt["executions"]
    return execution["execution_id"]
