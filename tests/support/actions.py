"""The base of the tests that run an action of the pack."""

import functools
import json
import os
from unittest import mock

import yaml
from st2tests.base import BaseActionTestCase

from tests.support.fakes import PACK, Clock, FakeStackStorm, assert_inert


@functools.lru_cache(maxsize=None)
def defaults(name):
    """Return the defaults of an action's parameters; a template is rendered to nothing."""
    with open(os.path.join(PACK, "actions", name + ".yaml"), encoding="utf-8") as handle:
        described = yaml.safe_load(handle)["parameters"]
    values = {p: schema["default"] for p, schema in described.items() if "default" in schema}
    return {p: "" if "{{" in str(value) else value for p, value in values.items()}


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
        """Return ``(succeeded, result)`` as StackStorm's runner reads it.

        As StackStorm does, it passes the default of each parameter that is not given.
        """
        parameters = dict(defaults(self.action_cls.__module__), **parameters)
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
