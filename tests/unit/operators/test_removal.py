"""The end of PoundCake: nothing of it stays in the datastore, and nothing of others goes."""

import pytest
import remove_rows
from poundcake.errors import ExpectedError
from poundcake.operators import removal
from poundcake.st2 import rows

from tests.support.actions import PackActionTestCase
from tests.support.fakes import Clock, FakeStackStorm

OTHERS = {
    "poundcake_token": "x",
    "poundcakes.inbox.1": "x",
    "poundcake": "x",
    "poundcake.mine": "x",
}


def a_full_datastore():
    stackstorm = FakeStackStorm(Clock())
    for number, prefix in enumerate(rows.PREFIXES):
        for one in range(number + 1):
            rows.write(stackstorm, prefix, f"row{one}", {})
    stackstorm.keys.update(OTHERS)
    return stackstorm


def test_every_key_of_poundcake_goes_and_no_other():
    """The answer says how many of each kind there were."""
    stackstorm = a_full_datastore()
    answer = removal.remove_rows(stackstorm, True)
    assert stackstorm.keys == OTHERS
    assert answer["kinds"]["inbox"] == 1 and answer["kinds"]["outbox"] == 2
    assert answer["removed"] == sum(answer["kinds"].values()) == sum(range(len(rows.PREFIXES) + 1))
    assert removal.remove_rows(stackstorm, True) == {"removed": 0, "kinds": {}}


def test_nothing_goes_without_a_confirmation():
    """The error says what there is."""
    stackstorm = a_full_datastore()
    before = dict(stackstorm.keys)
    with pytest.raises(ExpectedError, match="confirm: is false; expected true. .* 1 inbox, 2 outb"):
        removal.remove_rows(stackstorm, False)
    assert stackstorm.keys == before


def test_every_kind_of_row_is_among_those_that_are_removed():
    """A kind that is added to rows.py must not be forgotten here."""
    named = {v for n, v in vars(rows).items() if n.isupper() and isinstance(v, str)}
    assert named == set(rows.PREFIXES)


class RemoveRowsActionTest(PackActionTestCase):
    action_cls = remove_rows.RemoveRows
    __test__ = True

    def test_it_asks_for_confirmation_by_default(self):
        """A mistyped command must not delete the history."""
        self.assertIn("add confirm=true", self.fail_with())
        self.assertEqual(self.succeed(confirm=True), {"removed": 0, "kinds": {}})
