"""A notification of n alerts costs n times one; the work is counted, as time says little in a test.

What is counted are the steps of the interpreter in the pack's own modules.
"""

import sys

import pytest
from poundcake.sensor.open_requests import WRITTEN_IN_PARTS

from tests.support.alerts import alert
from tests.support.fakes import PACK
from tests.support.pack import Pack

FEW, MANY = 20, 160
# Sorting, and numbers that get longer, cost a little more than n times as much.
MOST_GROWTH = 1.3 * MANY / FEW


def steps_of(call):
    """Return how many lines of the pack a call runs, one in a loop each time."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        if not frame.f_code.co_filename.startswith(PACK):
            return None
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)
    return count


def new_pack():
    made = Pack(max_concurrent=1000, serialize_by="instance", rate_limit=[])
    made.stackstorm.rule("mine.fix")
    return made


def entries(count, **more):
    return [alert(number, **more) for number in range(count)]


def deciding(count):
    """The steps that deciding on a notification of so many alerts takes."""
    pack = new_pack()
    pack.post(*entries(count))
    return steps_of(pack.tick)


def holding(count):
    """The same when each of them must wait."""
    pack = Pack(max_concurrent=1)
    pack.stackstorm.rule("mine.fix")
    pack.post(*entries(count))
    return steps_of(pack.tick)


def resolving(count):
    """The same when they resolve while their remediations run."""
    pack = new_pack()
    pack.post(*entries(count))
    pack.tick()
    pack.post(*entries(count, status="resolved"))
    return steps_of(pack.tick)


@pytest.mark.parametrize("work", (deciding, holding, resolving))
def test_n_alerts_cost_n_times_one(work):
    """Neither the request, nor what is held, nor what runs is searched for each of them."""
    few, many = work(FEW), work(MANY)
    assert many < MOST_GROWTH * few, f"{FEW} take {few} steps, {MANY} take {many}"


def remediate_one_by_one(pack, count):
    """Post so many alerts and end their remediations one after another; return the request_id."""
    request_id = pack.post(*entries(count))
    pack.steps(3)
    for execution_id in pack.stackstorm.running():
        pack.stackstorm.finish(execution_id)
        pack.steps(3)
        yield request_id


def writes_of_request(pack, count):
    """Return how often the row of the request is written until all of its alerts are remediated."""
    revisions = set()
    for request_id in remediate_one_by_one(pack, count):
        revisions.add(pack.request(request_id)["rev"])
    assert pack.request(request_id)["completed_at"]
    return len(revisions)


def test_a_request_of_many_alerts_is_not_written_for_each_of_them():
    """Its row names all of them: a write for each would cost the square of their number."""
    assert writes_of_request(new_pack(), 5) == 5
    assert writes_of_request(new_pack(), 40) <= WRITTEN_IN_PARTS + 1


def test_outcomes_that_were_not_written_are_known_after_a_restart():
    """They follow from the rows of the alerts."""
    pack = new_pack()
    for number, request_id in enumerate(remediate_one_by_one(pack, 30), 1):
        if number in (10, 11, 30):
            pack.restart()
            found = pack.controller.request_status(request_id)
            assert [e["outcome"] for e in found["alerts"]].count("remediated") == number
    assert found["status"] == "complete"
