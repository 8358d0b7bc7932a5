"""Facts by the name of their kind, for tests that tell what happened to an alert."""

import dataclasses

from poundcake.core import facts


def fact(kind, **known):
    """Return the fact of a kind (its class in lower case) with the fields that it has."""
    cls = getattr(facts, kind.capitalize())
    names = {field.name for field in dataclasses.fields(cls)}
    return cls(**{name: value for name, value in known.items() if name in names})


def kind_of(a_fact):
    """Return the kind of a fact, as ``fact`` takes it."""
    return type(a_fact).__name__.lower()
