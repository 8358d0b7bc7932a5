"""The embedded engine takes commands from chat for what StackStorm takes them for."""

import pytest

from tests.engine import aliases
from tests.support.fakes import load_fixture

RECORDED = load_fixture("alias_matching")


@pytest.mark.parametrize("number", range(len(RECORDED["formats"])))
def test_a_format_takes_and_gives_what_it_does_in_stackstorm(number):
    """As recorded from 3.9.0: every command is of the format or not, and gives these parameters."""
    item = RECORDED["formats"][number]
    found = {}
    for command in RECORDED["commands"]:
        try:
            found[command] = aliases.extract(item["format"], command)
        except aliases.NoMatch:
            pass
    assert found == item["gives"]


def test_what_was_recorded_has_both():
    """Commands that are of a format, and commands that are not."""
    taken = sum(len(item["gives"]) for item in RECORDED["formats"])
    assert 300 < taken < len(RECORDED["formats"]) * len(RECORDED["commands"])


def test_a_command_of_two_formats_is_refused():
    """StackStorm does not choose."""
    alias = {"formats": ["run {{ a }}", {"display": "run", "representation": ["run it"]}]}
    assert aliases.find([alias], "run x") == (alias, "run {{ a }}", "run {{ a }}")
    with pytest.raises(aliases.NoMatch, match="more than 1 pattern"):
        aliases.find([alias], "run it")
    with pytest.raises(aliases.NoMatch, match="no patterns"):
        aliases.find([alias], "stop")
