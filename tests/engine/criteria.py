"""Rule criteria: does a rule match a trigger payload?

After st2reactor's filter and st2common's operators. A criterion maps a JSONPath into
`{"trigger": payload}` to `{"type": operator, "pattern": ..., "condition": ...}`.
"""

import datetime
import fnmatch
import functools
import re

import dateutil.parser
import jsonpath_rw

from . import expressions


def check(criteria, payload, kv):
    """(whether all criteria match the payload, texts of the failed enforcements that this left).

    Both can be the case: an item that a `search` cannot compare does not match, and is recorded,
    but another item may match. An operator that does not exist raises ValueError; StackStorm
    refuses such a rule, and marks the trigger instance as failed if it meets one nevertheless.
    """
    if criteria and not payload:
        return False, []
    failures = []
    scope = _Scope("trigger", payload, kv, failures)
    # all() on a generator: StackStorm, too, stops at the first criterion that does not match.
    return all(scope.check(key, criterion) for key, criterion in criteria.items()), failures


class _Scope:
    """The variables that criteria see, named by prefix: the payload, or one item of a search."""

    def __init__(self, prefix, payload, kv, failures):
        self.variables = {prefix: payload, "system": expressions.Lookup(kv, "system")}
        self.kv = kv
        self.failures = failures

    def check(self, key, criterion):
        if "type" not in criterion:
            return False
        operator, pattern = criterion["type"], criterion.get("pattern")
        try:
            pattern = self._render(pattern)
        except Exception as error:
            return self._fail(
                'Failed to render pattern value "%s" for key "%s"', error, pattern, key
            )
        try:
            # `key#1`, `key#2` let one rule test one key twice.
            found = _path(key.split("#", 1)[0]).find(self.variables)
        except Exception as error:
            return self._fail("Failed transforming criteria key %s", error, key)
        value = found[0].value if found else None
        if operator.lower() not in OPERATORS:
            raise ValueError("Invalid operator: " + operator.lower())
        try:
            if operator == "search":
                return self._search(value, pattern, criterion.get("condition"))
            return OPERATORS[operator.lower()](value, pattern)
        except Exception as error:
            return self._fail("There might be a problem with the criteria", error)

    def _fail(self, message, error, *args):
        self.failures.append(f"{message % args}: {error}")
        return False

    def _render(self, pattern):
        if not isinstance(pattern, str):
            return pattern
        # StackStorm has no `st2kv.user` in criteria. The variables keep `st2kv` once a pattern
        # was rendered, so that the keys of later criteria can name it.
        self.variables["st2kv"] = {"system": expressions.Lookup(self.kv, "system")}
        typed = re.sub(r"({{)\s*(.*)\s*(}})", r"\1\2 | to_complex\3", pattern)
        if typed != pattern:
            # A pattern that is one expression keeps the type of its value, if that is JSON.
            try:
                return expressions.from_json_string(expressions.render(typed, self.variables))
            except ValueError:
                pass
        return expressions.render(pattern, self.variables)

    def _search(self, value, patterns, condition):
        try:
            any_or_all_items, any_or_all_patterns = _CONDITIONS[condition]
        except KeyError:
            raise ValueError(
                f"The '{condition}' condition is not recognized for type search, 'any', 'all', "
                "'any2any' and 'all2any' are allowed"
            ) from None
        items = [value] if isinstance(value, dict) else value
        # Lists, not generators: StackStorm tests every item, and records every failure.
        results = []
        for item in items:
            scope = _Scope("item", item, self.kv, self.failures)
            results.append(any_or_all_patterns([scope.check(*pair) for pair in patterns.items()]))
        return any_or_all_items(results)


@functools.lru_cache(maxsize=1000)
def _path(expression):
    # Parsing a JSONPath takes milliseconds; a rule does it for every trigger instance.
    return jsonpath_rw.parse(expression)


_CONDITIONS = {"any": (any, all), "all": (all, all), "all2any": (all, any), "any2any": (any, any)}


def _seconds_since(value):
    text = str(value)
    if re.fullmatch(r"\d{4}(-\d{2})?", text):
        # Without a day, dateutil takes today's; StackStorm's parser takes the first.
        text = (text + "-01")[:7] + "-01"
    moment = dateutil.parser.parse(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return (datetime.datetime.now(datetime.UTC) - moment).total_seconds()


# With a pattern of None, none of these matches whatever the value.
_COMPARISONS = {
    "eq equals": lambda v, p: v == p,
    "ieq iequals": lambda v, p: v.lower() == p.lower(),
    "contains": lambda v, p: p in v,
    "icontains": lambda v, p: p.lower() in v.lower(),
    "ncontains": lambda v, p: p not in v,
    "incontains": lambda v, p: p.lower() not in v.lower(),
    "startswith": lambda v, p: v.startswith(p),
    "istartswith": lambda v, p: v.lower().startswith(p.lower()),
    "endswith": lambda v, p: v.endswith(p),
    "iendswith": lambda v, p: v.lower().endswith(p.lower()),
    "in inside": lambda v, p: v in p,
    "nin ninside": lambda v, p: v not in p,
    "lt lessthan": lambda v, p: v < p,
    "gt greaterthan": lambda v, p: v > p,
    "td_lt timediff_lt": lambda v, p: _seconds_since(v) < float(p),
    "td_gt timediff_gt": lambda v, p: _seconds_since(v) > float(p),
    "matchwildcard": fnmatch.fnmatch,
    "matchregex": lambda v, p: re.compile(p, re.DOTALL).match(v) is not None,
    "regex": lambda v, p: re.compile(p).search(v) is not None,
    "iregex": lambda v, p: re.compile(p, re.IGNORECASE).search(v) is not None,
}

OPERATORS = {
    "exists": lambda value, pattern: value is not None,
    "nexists": lambda value, pattern: value is None,
    "neq": lambda value, pattern: value != pattern,
    "nequals": lambda value, pattern: value != pattern,
    "search": None,  # needs the scope: _Scope._search
}
for _names, _function in _COMPARISONS.items():
    for _name in _names.split():
        OPERATORS[_name] = functools.partial(
            lambda function, value, pattern: pattern is not None and function(value, pattern),
            _function,
        )
