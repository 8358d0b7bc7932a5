"""StackStorm's Jinja: its environment, its filters, and lookups in the datastore.

Used for rule criteria, rule parameters, execution parameters and pack config. (Inside a workflow
Orquesta evaluates expressions with an environment of its own: see workflows.py.)

`kv` is, here and in the modules beside this one, a callable `kv(scope, key, decrypt) -> str | None`
with scope "system" or "user"; the caller has bound it to a user. An encrypted value comes back as
its ciphertext unless `decrypt` is true; `kv.decrypt(ciphertext) -> str` serves `decrypt_kv` on
ciphertext that did not come straight from a lookup.
"""

import datetime
import functools
import json
import os.path
import re
from collections.abc import Mapping

import jinja2
import jinja2.meta
import jinja2.sandbox
import jsonpath_rw
import orjson
import semver
import yaml

# What `use_none` writes into the rendered text and the casts (parameters.py) turn back into None.
NONE_MARKER = "%*****__%NONE%__*****%"

YamlLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
YamlDumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class Lookup:
    """`st2kv.system` or `st2kv.user` in a template: every attribute or item lengthens the key.

    It turns into text at the end, because only then the key is whole (`st2kv.system.a.b` is the
    key `a.b`). A key that does not exist is the empty text, as in StackStorm.
    """

    def __init__(self, kv, scope, key=None):
        # Only `scope` may have a plain name: any other would hide the datastore key of that name.
        self.scope = scope
        self._kv = kv
        self._key = key

    def __getattr__(self, name):
        return self[name]

    def __getitem__(self, name):
        key = f"{self._key}.{name}" if self._key else name
        return Lookup(self._kv, self.scope, key)

    def __str__(self):
        if self._key is None:
            raise KeyError("")
        return self._kv(self.scope, self._key, False) or ""

    def __float__(self):
        return float(str(self))

    def __int__(self):
        return int(float(self))


def datastore_context(kv):
    """The value of the variable `st2kv` in templates."""
    return {"system": Lookup(kv, "system"), "user": Lookup(kv, "user")}


def read_secret(kv, scope, key):
    """Plain text of an encrypted datastore value. Raises ValueError when it is not encrypted."""
    plain = kv(scope, key, True)
    if plain == kv(scope, key, False):
        raise ValueError("Non-hexadecimal digit found")
    return plain


@jinja2.pass_context
def decrypt_kv(context, value):
    """Plain text of an encrypted datastore value: a lookup, or ciphertext.

    Raises ValueError for a key that does not exist or is empty.
    """
    if not isinstance(value, Lookup):
        return context["st2kv"]["system"]._kv.decrypt(value)
    if not str(value):
        raise ValueError(
            f'Referenced datastore item "st2kv.{value.scope}.{value._key}" doesn\'t exist or it '
            "contains an empty string"
        )
    return read_secret(value._kv, value.scope, value._key)


def json_encode(value):
    """Compact JSON, as StackStorm writes it (orjson)."""
    return orjson.dumps(value).decode()


def _plain(value):
    # YAQL hands over mappings that are no dict. (Its lists are tuples, which StackStorm leaves
    # as they are: a mapping within one cannot be serialised.)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def from_json_string(value):
    return orjson.loads(str(value))


def to_json_string(value, indent=None, sort_keys=False, separators=(",", ": ")):
    options = {"indent": indent, "sort_keys": bool(sort_keys), "separators": separators}
    return json.dumps(_plain(value), **options)


def to_yaml_string(value, indent=None, allow_unicode=True):
    options = {"indent": indent, "allow_unicode": allow_unicode, "default_flow_style": False}
    return yaml.dump(_plain(value), Dumper=YamlDumper, **options)


def jsonpath_query(value, query):
    """Values that a JSONPath selects, None when there are none."""
    return [match.value for match in jsonpath_rw.parse(query).find(value)] or None


def _text(value):
    return value if isinstance(value, str) else str(value)


def _flags(ignorecase):
    return re.IGNORECASE if ignorecase else 0


def regex_match(value, pattern, ignorecase=False):
    return bool(re.match(pattern, _text(value), _flags(ignorecase)))


def regex_search(value, pattern, ignorecase=False):
    return bool(re.search(pattern, _text(value), _flags(ignorecase)))


def regex_replace(value, pattern, replacement, ignorecase=False):
    return re.sub(pattern, replacement, _text(value), flags=_flags(ignorecase))


def regex_substring(value, pattern, result_index=0, ignorecase=False):
    return re.findall(pattern, _text(value), _flags(ignorecase))[result_index]


def to_human_time_from_seconds(seconds):
    """`3m5s` for 185 seconds; the largest unit is a year of 365 days."""
    assert isinstance(seconds, (int, float))
    if seconds == 0:
        return "0s"
    if seconds < 1:
        return f"{seconds}\u03bcs"
    moment = datetime.datetime(1, 1, 1) + datetime.timedelta(seconds=round(seconds))
    parts = [moment.year - 1, moment.day - 1, moment.hour, moment.minute, moment.second]
    while parts and not parts[0]:
        parts.pop(0)
    units = "ydhms"[5 - len(parts) :]
    return "".join(f"{part}{unit}" for part, unit in zip(parts, units, strict=True)) or "0s"


_version = semver.VersionInfo.parse


def version_match(value, pattern):
    if pattern[:1].isdigit():
        pattern = "==" + pattern  # newer versions of semver allow to leave it out
    return _version(value).match(pattern)


# The filters that StackStorm also gives to workflows, as functions (workflows.py). The names of
# their arguments count: YAQL can give them by name.
FUNCTIONS = {
    "basename": lambda path: os.path.basename(path),
    "dirname": lambda path: os.path.dirname(path),
    "from_json_string": from_json_string,
    "from_yaml_string": lambda value: yaml.load(str(value), YamlLoader),
    "json_escape": lambda value: json.dumps(value).strip('"'),
    "jsonpath_query": jsonpath_query,
    "regex_match": regex_match,
    "regex_replace": regex_replace,
    "regex_search": regex_search,
    "regex_substring": regex_substring,
    "to_human_time_from_seconds": to_human_time_from_seconds,
    "to_json_string": to_json_string,
    "to_yaml_string": to_yaml_string,
    "use_none": lambda value: NONE_MARKER if value is None else value,
    "version_bump_major": lambda value: str(_version(value).bump_major()),
    "version_bump_minor": lambda value: str(_version(value).bump_minor()),
    "version_bump_patch": lambda value: str(_version(value).bump_patch()),
    "version_compare": lambda value, pattern: _version(value).compare(pattern),
    "version_equal": lambda value, pattern: _version(value).compare(pattern) == 0,
    "version_less_than": lambda value, pattern: _version(value).compare(pattern) == -1,
    "version_match": version_match,
    "version_more_than": lambda value, pattern: _version(value).compare(pattern) == 1,
    "version_strip_patch": lambda value: "{0.major}.{0.minor}".format(_version(value)),
}


@functools.cache
def environment():
    """The Jinja environment of everything outside workflows: sandboxed, undefined is an error."""
    env = jinja2.sandbox.SandboxedEnvironment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    env.filters.update(FUNCTIONS, decrypt_kv=decrypt_kv, to_complex=json.dumps)
    env.tests["in"] = lambda item, container: item in container
    return env


def is_template(value):
    """Whether StackStorm takes the value for a Jinja template. A lone `{#` does not count."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def render(template, variables, kv=None):
    """The text that a template gives. Adds `st2kv` to `variables` when `kv` is given.

    Raises whatever Jinja or a filter raises.
    """
    if kv is not None:
        variables = {**variables, "st2kv": datastore_context(kv)}
    return _compiled(template).render(variables)


@functools.lru_cache(maxsize=1000)
def _compiled(template):
    # Compiling takes most of the time, and a rule's templates come with every trigger instance.
    return environment().from_string(template)
