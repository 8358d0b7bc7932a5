"""The base class for tests of aliases, with the names and helpers of StackStorm's."""

from pathlib import Path
from types import SimpleNamespace

import yaml

from st2tests.pack_resource import BasePackResourceTestCase
from tests.engine import aliases


class BaseActionAliasTestCase(BasePackResourceTestCase):
    """For aliases: set `action_alias_name`, then assert what commands match and give."""

    action_alias_name = None
    action_alias_db = None

    def setUp(self):
        super().setUp()
        files = Path(self._get_base_pack_path(), "aliases").glob("*.yaml")
        found = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]
        (found,) = [alias for alias in found if alias["name"] == self.action_alias_name]
        self.action_alias_db = SimpleNamespace(**found)
        strings = [representation for _, representation in aliases.formats(found)]
        self.action_alias_db.get_format_strings = lambda: strings

    def assertCommandMatchesExactlyOneFormatString(self, format_strings, command):
        """One of these formats takes the command, and no other."""
        matched = []
        for format_string in format_strings:
            try:
                aliases.extract(format_string, command)
            except aliases.NoMatch:
                continue
            matched.append(format_string)
        if len(matched) != 1:
            raise AssertionError(f'Command "{command}" matched {matched}')

    def assertExtractedParametersMatch(self, format_string, command, parameters):
        """The command gives exactly these parameters for a format of the alias."""
        if format_string not in self.action_alias_db.get_format_strings():
            raise ValueError(f'Format string "{format_string}" is not available on the alias')
        self.assertEqual(aliases.extract(format_string, command), parameters)
