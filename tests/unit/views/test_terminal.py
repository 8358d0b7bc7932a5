"""Tables for people: they fit a terminal, and ids in them can be copied whole."""

import pytest
from poundcake.views import terminal

ID = "0193f3a2-0000-7000-8000-000000000000"
LONG = "a reason that nobody reads to its end " * 5


@pytest.mark.parametrize(
    "seconds, words",
    [
        (None, ""),
        (0.26, "0.3 s"),
        (119, "119 s"),
        (7199, "119 min"),
        (7200, "2 h"),
        (864000, "10 d"),
    ],
)
def test_a_length_of_time_is_for_people(seconds, words):
    """One unit is enough."""
    assert terminal.ago(seconds) == words


def fits(table):
    return all(len(line) <= terminal.WIDTH for line in table.split("\n"))


def test_ids_are_whole_and_reasons_are_cut():
    """The command below a list can be pasted."""
    silence = {"id": ID, "state": "active", "ends_at": "2026-11-21T10:20:00.000Z"}
    table = terminal.silences([dict(silence, by="ann" * 20, reason=LONG)])
    assert ID in table and "2026-11-21 10:20:00" in table and fits(table)
    execution = {
        "execution_id": "69202e0e4f3d69202e0e4f3d",
        "started_at": "2026-11-21T10:20:00.123456Z",
        "elapsed": 12.5,
        "alertname": "KubeContainerWaitingForever" * 2,
        "action_ref": "my_company_pack.restart_everything",
        "status": "failed",
        "result": LONG,
    }
    table = terminal.executions([execution], 3, False)
    assert "st2 execution get 69202e0e4f3d69202e0e4f3d" in table and fits(table)
    assert "12 s" in table and "failed: a reason" in table
    assert LONG.strip() in terminal.executions([execution], 3, True)


def test_an_empty_list_is_a_sentence():
    """And no table of headings."""
    assert terminal.alerts([], 0, False, 0) == "no alerts"
    assert terminal.requests([], 0, False) == "no requests"
    assert terminal.executions([], 0, False) == "no executions"
    assert terminal.silences([]) == "no silences"
    nothing = {"paused": [], "maintenance": []}
    assert terminal.maintenance(nothing) == "nothing is paused or in maintenance"
