"""Says why no rule took a dispatch, and what to do about it. Writes nothing."""

from typing import Any, Dict, List, Mapping, Optional

from poundcake.errors import StackStormError
from poundcake.st2 import criteria, triggers
from poundcake.st2.client import StackStorm

MOST_NAMED = 3


class Rules:
    """The disabled rules on ``poundcake.alert``, read once, when the first question comes."""

    def __init__(self, stackstorm: StackStorm):
        self._stackstorm = stackstorm
        self._disabled: Optional[List[Dict[str, Any]]] = None

    def reason(self, payload: Mapping[str, Any]) -> str:
        """Return which rules would take an alert if they were enabled, "" when none would.

        :param payload: of its dispatch.
        """
        if self._disabled is None:
            try:
                rules = self._stackstorm.list_resources("rules", trigger=triggers.ALERT)
            except StackStormError:  # it is a hint; the attempt ends without it
                rules = []
            self._disabled = [rule for rule in rules if not rule["enabled"]]
        names = sorted(
            str(rule["ref"])
            for rule in self._disabled
            if criteria.holds(rule.get("criteria") or {}, payload)[0]
        )
        if not names:
            return ""
        shown = ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
        would = f"{shown} would match, but {'is' if len(names) == 1 else 'are'} disabled"
        return f"no enabled rule on poundcake.alert matched; {would}: {enable_command(names[0])}"


def enable_command(ref: str) -> str:
    """Return the command that enables a rule."""
    pack, _, name = ref.partition(".")
    if pack == "poundcake":
        return f"st2 run poundcake.enable_remediation name={name}"
    return f"st2 rule enable {ref}"
