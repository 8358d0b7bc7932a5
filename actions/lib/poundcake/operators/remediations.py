"""Switches the pack's rules on and off, for good: registering the pack again changes nothing."""

import time
from typing import Any, Dict, Optional

from poundcake import clock
from poundcake.arguments import unknown
from poundcake.errors import ExpectedError
from poundcake.people import person
from poundcake.st2 import enabled_rules
from poundcake.st2.client import StackStorm


def switch(
    stackstorm: StackStorm,
    name: str,
    enabled: bool,
    reason: str,
    by: str,
    now: Optional[float] = None,
) -> Dict[str, Any]:
    """Enable or disable one of the pack's rules, and return what holds now.

    :param name: of a rule that ships disabled, with or without the pack.
    :raises ExpectedError: when the pack has no such rule, or it is not registered.
    """
    name, by = enabled_rules.bare(name.strip()), person(by)
    if name not in enabled_rules.names():
        raise unknown("name", name, "rules to enable", enabled_rules.names())
    at = clock.to_text(time.time() if now is None else now)
    row = {"enabled": enabled, "by": by, "reason": " ".join(reason.split()), "at": at}
    if not enabled_rules.switch(stackstorm, name, row):
        problem = f"poundcake.{name} is not registered"
        remedy = "It will be, with this choice, after: sudo st2ctl reload --register-all"
        raise ExpectedError("name", problem, remedy=remedy)
    return {"status": "enabled" if enabled else "disabled", "rule": f"poundcake.{name}", **row}
