"""Secrets of the config: written in it, or better, read from StackStorm's datastore when used.

StackStorm's Python runner hands an action the config on its command line, decrypted, where ``ps``
shows it. The name of a key says nothing.
"""

import functools
import re
from dataclasses import dataclass, field
from typing import Callable, Optional

from poundcake.errors import ExpectedError, SettingsError, StackStormError

# The decrypted value of a key of the datastore, None when there is no such key.
ReadKey = Callable[[str], Optional[str]]

SUFFIX = "_key"  # ``token_key`` names the key for ``token``
_KEY = re.compile(r"[A-Za-z0-9_.:-]{1,200}\Z")
_EXPECTED = "the name of a datastore key: letters, digits, _, -, . and :"


@dataclass(frozen=True)
class Secret:
    """A secret setting. It is true when it is set; nothing is read until ``value`` is.

    :param setting: its name in config.schema.yaml.
    :param plain: its value, when that is in the config.
    :param key: the datastore key that has its value otherwise.
    """

    setting: str
    plain: str = field(default="", repr=False)
    key: str = ""
    read: Optional[ReadKey] = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        name = self.setting + SUFFIX
        if self.plain and self.key:
            raise SettingsError(name, f"given together with {self.setting}", "one of them")
        if self.key and not _KEY.match(self.key):  # not repeated: it may be the secret itself
            raise SettingsError(name, "not a name", _EXPECTED)

    def __bool__(self) -> bool:
        return bool(self.plain or self.key)

    @functools.cached_property
    def value(self) -> str:
        """The secret, "" when it is not set; ExpectedError when its key cannot be read."""
        return read_key(self.setting + SUFFIX, self.key, self.read) if self.key else self.plain


def read_key(setting: str, key: str, read: Optional[ReadKey]) -> str:
    """Return the decrypted value of a datastore key.

    :param setting: the setting that names the key, for an error.
    """
    try:
        value = read(key) if read else None
    except StackStormError as error:
        raise ExpectedError(setting, f"the datastore key {key} cannot be read: {error}")
    if value is None:
        remedy = f"Set it with: st2 key set {key} '<value>' --encrypt"
        raise ExpectedError(setting, f"the datastore has no key {key}", remedy=remedy)
    return value
