"""StackStorm's Jinja, for tests that render what it would."""

import jinja2

from tests.engine import expressions


def get_jinja_environment(allow_undefined=False):
    """The environment with StackStorm's filters; what is undefined is empty where it is allowed."""
    undefined = jinja2.Undefined if allow_undefined else jinja2.StrictUndefined
    return expressions.environment().overlay(undefined=undefined)
