"""The operators of rule criteria, as the embedded engine compares."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[4])
if ROOT not in sys.path:
    sys.path.append(ROOT)  # an action's process has the stand-ins alone

from tests.engine import criteria  # noqa: E402


def get_allowed_operators():
    """{name: function of value and criteria_pattern}."""
    return {name: get_operator(name) for name in criteria.OPERATORS}


def get_operator(op):
    """The function of an operator; an Exception when there is none of this name."""
    name = op.lower()
    if name not in criteria.OPERATORS:
        raise Exception("Invalid operator: " + name)

    def compare(value, criteria_pattern):
        return criteria.OPERATORS[name](value, criteria_pattern)

    return compare
