"""An attempt has a time limit, and what it waits for a person does not count."""

import pytest
from poundcake import clock
from poundcake.core import overtime
from poundcake.core.facts import Executed, Settled

from tests.support.fakes import NOW

AT = clock.to_text(NOW)
ROW = {"fingerprint": "f"}


def execution(status="running", **more):
    made = {"execution_id": "e1", "status": status, "ended_at": None, "error": "", "ran": True}
    return dict(made, **more)


def attempt(*executions, asked=(), settled_at=AT):
    inquiries = [
        {"inquiry_id": "i%d" % n, "asked_at": clock.to_text(NOW + begin), "answered_at": end}
        for n, (begin, end) in enumerate(asked)
    ]
    made = {"dispatch_id": "d", "episode": AT, "dispatched_at": AT, "settled_at": settled_at}
    return dict(made, executions=list(executions), inquiries=inquiries)


def test_an_attempt_is_over_when_its_time_is():
    """Not before, and not when nothing was started for it: then it is sent again."""
    assert not overtime.is_over(attempt(execution()), 60, NOW + 60)
    assert overtime.is_over(attempt(execution()), 60, NOW + 61)
    assert not overtime.is_over(attempt(), 60, NOW + 10**6)


@pytest.mark.parametrize(
    "end, seconds, is_over",
    [(None, 10**6, False), (NOW + 1010, 1060, False), (NOW + 1010, 1062, True)],
)
def test_the_time_in_which_a_person_is_asked_does_not_count(end, seconds, is_over):
    """They may take a day."""
    asked = [(10, end and clock.to_text(end))]
    assert overtime.is_over(attempt(execution(), asked=asked), 60, NOW + seconds) == is_over


@pytest.mark.parametrize("status", ["canceled", "failed", "abandoned"])
def test_what_ends_because_its_time_was_over_says_so(status):
    """StackStorm says only that it was canceled."""
    ended = Executed("f", AT, AT, "d", execution(status, ended_at=AT))
    said = overtime.explained(ended, attempt(execution()), 60, NOW + 61)
    assert said.execution["status"] == "timeout"
    assert said.execution["error"] == "it took longer than attempt_seconds (60 s)"
    assert overtime.explained(ended, attempt(execution()), 60, NOW + 59) == ended


def test_what_succeeds_at_the_last_moment_has_succeeded():
    """The cancel came too late."""
    ended = Executed("f", AT, AT, "d", execution("succeeded", ended_at=AT))
    assert overtime.explained(ended, attempt(execution()), 60, NOW + 61) == ended


def test_what_is_not_canceled_in_time_is_ended():
    """Each execution that runs, and the attempt when StackStorm has not said that this is all."""
    done = execution("succeeded", execution_id="e2")
    one = attempt(execution(), done, settled_at=None)
    late = 60 + overtime.CANCEL_SECONDS
    assert overtime.ends(ROW, one, 60, NOW + late) == []
    ended, settled = overtime.ends(ROW, one, 60, NOW + late + 1)
    assert ended.execution["execution_id"] == "e1" and ended.execution["status"] == "timeout"
    assert isinstance(settled, Settled)
    (only,) = overtime.ends(ROW, dict(one, settled_at=AT), 60, NOW + late + 1)
    assert isinstance(only, Executed)
