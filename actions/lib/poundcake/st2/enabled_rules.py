"""Which of the pack's rules are on, and StackStorm's rules brought in line with that.

Registering a pack sets every rule back to what its file says, so what is on must stand somewhere
else: in the setting ``enabled_rules``, and in one key of the datastore for each rule that a person
has switched with ``enable_remediation`` or ``disable_remediation``. The key wins. An action cannot
edit the config file safely: it may run on another node, the file has comments and belongs to root,
and StackStorm reads it only when it is registered. With one key for each rule, two people who
switch two rules at the same moment do not undo each other.

A rule that is switched on here carries a tag. Registering removes the tag, and a person's
``st2 rule disable`` does not: so a registration is undone, and what a person did is left alone.
"""

import functools
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import yaml

from poundcake.st2 import rows
from poundcake.st2.client import StackStorm

PACK = "poundcake"
RULES_PATH = Path(__file__).resolve().parents[4] / "rules"
TAG = {"name": PACK, "value": "enabled_rules"}


@functools.lru_cache(maxsize=None)
def names() -> Tuple[str, ...]:
    """Return the names of the pack's rules that a person can switch on: those that ship off."""
    shipped = [
        yaml.safe_load(path.read_text(encoding="utf-8")) for path in RULES_PATH.glob("*.yaml")
    ]
    return tuple(sorted(rule["name"] for rule in shipped if not rule.get("enabled", True)))


def bare(name: str) -> str:
    """Return the name of a rule without the pack."""
    prefix = PACK + "."
    return name[len(prefix) :] if name.startswith(prefix) else name


def wanted(stackstorm: StackStorm, setting: Sequence[str]) -> Dict[str, bool]:
    """Return for each name whether it is to be on.

    :param setting: ``enabled_rules`` of the config.
    """
    listed = {bare(name) for name in setting}
    switched = {row["name"]: row["enabled"] for row in rows.read_all(stackstorm, rows.RULE)}
    return {name: switched.get(name, name in listed) for name in names()}


def differing(stackstorm: StackStorm, setting: Sequence[str]) -> List[Tuple[str, bool]]:
    """Return ``(name, whether it is to be on)`` of the rules that differ from that."""
    known = _rules(stackstorm)
    return [
        (name, on)
        for name, on in wanted(stackstorm, setting).items()
        if name in known and known[name]["enabled"] != on
    ]


def bring_in_line(stackstorm: StackStorm, setting: Sequence[str]) -> List[Tuple[str, bool]]:
    """Switch the rules that a registration or a change of the setting has left behind.

    :returns: what was switched, as ``(name, whether it is on)``.
    """
    known = _rules(stackstorm)
    changed = []
    for name, on in wanted(stackstorm, setting).items():
        rule = known.get(name)
        # On with the tag, or off without it: no person did that.
        if rule and rule["enabled"] != on and rule["enabled"] == _is_tagged(rule):
            _save(stackstorm, rule["ref"], on)
            changed.append((name, on))
    return changed


def switch(stackstorm: StackStorm, name: str, row: Mapping[str, Any]) -> bool:
    """Keep what a person wants of a rule, then switch it; return False when it is not registered.

    :param row: with ``enabled``, and who wants it.
    """
    rows.write(stackstorm, rows.RULE, name, dict(row, name=name))
    return _save(stackstorm, f"{PACK}.{name}", row["enabled"])


def _rules(stackstorm: StackStorm) -> Dict[str, Dict[str, Any]]:
    return {rule["name"]: rule for rule in stackstorm.list_resources("rules", pack=PACK)}


def _is_tagged(rule: Mapping[str, Any]) -> bool:
    return TAG in (rule.get("tags") or [])


def _save(stackstorm: StackStorm, ref: str, on: bool) -> bool:
    rule = stackstorm.get_resource("rules", ref)
    if rule is None:
        return False
    tags = [tag for tag in rule.get("tags") or [] if tag != TAG]
    changed = dict(rule, enabled=on, tags=tags + [TAG] * on)
    stackstorm.save_resource("rules", changed, rule["id"])
    return True
