"""A process that is killed at any call to StackStorm loses no report."""

import pytest

from tests.support.alerts import alert
from tests.support.fakes import Killed
from tests.support.pack import Pack, steps_of


def a_busy_while(pack):
    """Changes come faster than they are reported, while ``track`` runs all the time."""
    for start in range(0, 40, 10):
        pack.post(*[alert(number) for number in range(start, start + 10)])
        pack.steps(3)
        for execution_id in pack.stackstorm.running()[:4]:
            pack.stackstorm.finish(execution_id)
    pack.settle()
    pack.steps(60)


def a_busy_pack():
    pack = Pack(max_concurrent=10)
    pack.stackstorm.rule("mine.fix")
    return pack


@pytest.mark.parametrize("part", range(4))
def test_wherever_the_process_is_killed_every_change_is_told_in_its_order(part):
    """At least once, even when ``track`` has removed the batch that contained it."""
    pack = a_busy_pack()
    first = pack.stackstorm.calls
    a_busy_while(pack)
    for call in range(first + 1 + part * 10, pack.stackstorm.calls, 40):
        killed = a_busy_pack()
        killed.stackstorm.die_at = call
        try:
            a_busy_while(killed)
        except Killed:
            killed.restart()
            killed.settle()
            killed.steps(60)
        for row in killed.alerts():
            told = steps_of(killed.told(), row["fingerprint"])
            assert told == [entry["state"] for entry in row["history"]], call
