"""The base of the tests that run an action of the pack."""

import json
from unittest import mock

from st2tests.base import BaseActionTestCase

from tests.support.fakes import Clock, FakeStackStorm, assert_inert


class PackActionTestCase(BaseActionTestCase):
    """Runs an action of the pack with StackStorm in memory."""

    __test__ = False

    def setUp(self):
        super(PackActionTestCase, self).setUp()
        self.clock = Clock()
        self.stackstorm = FakeStackStorm(self.clock)
        patch = mock.patch("poundcake.st2.action.StackStorm", lambda get_client: self.stackstorm)
        patch.start()
        self.addCleanup(patch.stop)

    def run_action(self, config=None, **parameters):
        """Return ``(succeeded, result)`` as StackStorm's runner reads it."""
        result = self.get_action_instance(config).run(**parameters)
        return result if isinstance(result, tuple) else (True, result)

    def succeed(self, **parameters):
        ok, result = self.run_action(**parameters)
        self.assertTrue(ok, result)
        json.dumps(result)
        return result

    def fail_with(self, **parameters):
        """Run an action that must fail as expected; return its sentence."""
        ok, result = self.run_action(**parameters)
        self.assertFalse(ok)
        assert_inert(result)
        return result["error"]
