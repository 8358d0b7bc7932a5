"""Facts by the name of their kind, for tests that tell what happened to an alert."""

import dataclasses

from poundcake import settings
from poundcake.core import facts, lifecycle, target

SAID = {"outcome": "", "remediation": "", "verification": ""}  # by the output of an execution
DESCRIBED = {"host": "", "workload": "", "target": "", "ends_at": None}


def fact(kind, **known):
    """Return the fact of a kind (its class in lower case) with the fields that it has.

    A notification's startsAt is the episode's id unless it is given.
    """
    cls = getattr(facts, kind.capitalize())
    if kind == "notified":
        known.setdefault("starts_at", known["episode"])
        known["alert"] = {**DESCRIBED, **known["alert"]}
    elif kind == "executed":
        known["execution"] = {**SAID, **known["execution"]}
    names = {field.name for field in dataclasses.fields(cls)}
    return cls(**{name: value for name, value in known.items() if name in names})


def described(one, parsed):
    """Return ``lifecycle.describe`` of an alert with its target by the default settings."""
    subject = target.read(one.labels, settings.from_config({}).target)
    return lifecycle.describe(one, subject, parsed)


def kind_of(a_fact):
    """Return the kind of a fact, as ``fact`` takes it."""
    return type(a_fact).__name__.lower()
