"""What the base classes of a pack's unit tests share."""

import inspect
import os
from unittest import TestCase


class BasePackResourceTestCase(TestCase):
    """Finds fixtures in the `fixtures` folder beside the test."""

    def get_fixture_content(self, fixture_path):
        """The text of tests/fixtures/<fixture_path>."""
        path = os.path.join(self._get_base_pack_path(), "tests/fixtures", fixture_path)
        with open(path) as f:
            return f.read()

    def _get_base_pack_path(self):
        return os.path.abspath(os.path.join(os.path.dirname(inspect.getfile(type(self))), ".."))
