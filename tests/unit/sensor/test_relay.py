"""One run of ``track`` at a time, and none that is dead in the way of the next."""

import pytest
from poundcake import clock
from poundcake.sensor.relay import AGAIN_SECONDS, LONGEST_REBUILD_SECONDS, LONGEST_RUN_SECONDS
from poundcake.st2 import rows, triggers

from tests.support.alerts import alert
from tests.support.pack import Pack

TRACK = "poundcake.track"


@pytest.fixture
def pack():
    """A pack whose ``track`` does not run; the notification of an alert waits for its rows."""
    made = Pack()
    made.stackstorm.rule(TRACK, trigger="poundcake.nothing")
    made.post(alert())
    made.tick()
    return made


def run(pack, status="running", seconds=0.0, **parameters):
    """Let StackStorm have an execution of ``track`` that began some seconds ago; return its id."""
    start = clock.to_text(pack.clock() - seconds)
    more = {"status": status, "start_timestamp": start}
    return pack.stackstorm._begin(TRACK, dict({"batch_id": "b"}, **parameters), **more)


def sent(pack):
    return len(pack.stackstorm.dispatched(triggers.TRACKING))


def status(pack, execution_id):
    return pack.stackstorm.executions[execution_id]["status"]


def ticks(pack, seconds):
    for _ in range(int(seconds)):
        pack.tick()


def test_while_a_run_may_still_end_no_other_is_sent(pack):
    """Two at a time could write an older row over a newer one."""
    ticks(pack, 3)
    running = run(pack)
    ticks(pack, LONGEST_RUN_SECONDS - 10)
    assert sent(pack) == 1 and status(pack, running) == "running"
    health = pack.controller.health()["tracking"]
    assert not health["ok"] and running in health["detail"] and "running since" in health["detail"]


def test_a_dead_run_is_canceled_with_what_is_delayed_behind_it(pack):
    """Its runner was killed; and the next is sent."""
    dead = run(pack, seconds=3600)
    ticks(pack, 3)
    delayed = [run(pack, "delayed"), run(pack, "delayed")]
    ticks(pack, AGAIN_SECONDS + 5)
    assert [status(pack, item) for item in [dead] + delayed] == ["canceled"] * 3
    assert sent(pack) == 2
    pack.settle()
    assert pack.controller.health()["tracking"]["ok"]


@pytest.mark.parametrize("stuck", ["requested", "scheduled"])
def test_a_run_that_never_starts_is_canceled_as_well(pack, stuck):
    """StackStorm's services died between their database and their bus."""
    dead = run(pack, stuck, seconds=3600)
    ticks(pack, AGAIN_SECONDS + 5)
    assert status(pack, dead) == "canceled" and sent(pack) == 2


def test_what_is_only_delayed_waits_its_turn(pack):
    """StackStorm starts it when the one before has ended."""
    ticks(pack, 3)
    running, delayed = run(pack, seconds=60), run(pack, "delayed", seconds=LONGEST_RUN_SECONDS * 2)
    ticks(pack, AGAIN_SECONDS + 5)
    assert (status(pack, running), status(pack, delayed)) == ("running", "delayed")
    assert running in pack.controller._relay._why_stuck()
    assert sent(pack) == 1


def test_what_is_delayed_behind_nothing_is_canceled(pack):
    """StackStorm looks no more at a concurrency policy once another policy comes before it."""
    ticks(pack, 3)
    delayed = run(pack, "delayed", seconds=LONGEST_RUN_SECONDS * 2)
    ticks(pack, AGAIN_SECONDS + 5)
    assert status(pack, delayed) == "canceled" and sent(pack) == 2


def test_rebuilding_rows_may_take_longer(pack):
    """As long as StackStorm lets it run."""
    ticks(pack, 3)
    running = run(pack, seconds=LONGEST_RUN_SECONDS * 2, batch_id="", since="7d")
    ticks(pack, AGAIN_SECONDS + 5)
    assert status(pack, running) == "running" and sent(pack) == 1
    ticks(pack, LONGEST_REBUILD_SECONDS)
    assert status(pack, running) == "canceled" and sent(pack) > 1


def test_a_trigger_that_was_lost_is_sent_again(pack):
    """No run is there at all."""
    ticks(pack, AGAIN_SECONDS + 5)
    assert sent(pack) == 2


def test_waiting_costs_a_look_every_ten_seconds(pack):
    """Not one for each look at the batch."""
    ticks(pack, 3)
    run(pack)
    looks = []
    list_unended = pack.stackstorm.list_unended
    pack.stackstorm.list_unended = lambda ref: looks.append(ref) or list_unended(ref)
    ticks(pack, AGAIN_SECONDS + 60)
    assert 5 <= len(looks) <= 8


def test_what_waits_in_the_outbox_counts_for_the_backlog():
    """Alertmanager keeps what cannot be tracked; nothing grows without bound."""
    pack = Pack(max_backlog=5)
    for number in range(5):
        assert pack.controller.refusal() == ""
        pack.post(alert(number))
        pack.tick()
    reason = "backlog: 0 notifications and 5 batches of rows wait (max_backlog)"
    assert pack.controller.refusal() == reason
    pack.step()
    pack.tick()
    assert pack.controller.refusal() == ""
    pack.post(alert(7))
    pack.tick()
    pack.start()
    batches = [key for key in pack.stackstorm.keys if key.startswith(rows.OUTBOX)]
    assert pack.controller._relay.waiting == len(batches) > 0, "after a start, too"
