"""Tells who last wrote each rule of a PrometheusRule: PoundCake, or somebody else. Pure.

An annotation of the resource holds a digest of every rule as PoundCake wrote it. A rule without a
digest is somebody else's; one with a different digest was changed since. (Kubernetes' managedFields
track groups, not rules, and take two programs with the same user agent for one writer. The
resourceVersion protects only the time between a read and a write.)
"""

import collections
import hashlib
import json
from typing import Any, Dict, Iterable, List, Optional, Tuple

# A part is what has one owner: a rule, or the fields that a group has beside its rules. Its key is
# (group, name), with "" as the name for the group's own fields.
Key = Tuple[str, str]
Document = Optional[Dict[str, Any]]

WRITTEN = "poundcake/written"
OWNER = "poundcake/owner"
MANAGED_BY = ("app.kubernetes.io/managed-by", "poundcake")
POUNDCAKE, CHANGED, SOMEBODY = "poundcake", "changed by somebody else", "somebody else"

_OF_GROUP = ""


def groups_of(document: Document) -> List[Dict[str, Any]]:
    """Return the groups of a resource, ``[]`` for None and for one without groups."""
    return ((document or {}).get("spec") or {}).get("groups") or []


def parts(groups: List[Dict[str, Any]]) -> Dict[Key, Any]:
    """Return ``{(group, name): value}`` of all parts of groups, in order.

    Rules with the same name differ in their severity, otherwise in their number.
    """
    by_key = {}
    for group in groups:
        name = group["name"]
        own_fields = {key: item for key, item in group.items() if key not in ("name", "rules")}
        by_key[name, _OF_GROUP] = own_fields
        seen: Dict[str, int] = collections.Counter()
        for rule in group.get("rules") or []:
            key = name_of(rule)
            seen[key] += 1
            by_key[name, key if seen[key] == 1 else f"{key} #{seen[key]}"] = rule
    return by_key


def name_of(rule: Dict[str, Any]) -> str:
    """Return the name of a rule within its group, for people."""
    severity = (rule.get("labels") or {}).get("severity")
    name = str(rule.get("alert") or rule.get("record"))
    return f"{name} ({severity})" if severity else name


def is_rule(key: Key) -> bool:
    """Return whether a key is that of a rule, not of a group's own fields."""
    return key[1] != _OF_GROUP


def digest(value: Any) -> str:
    """Return a digest of a part, twelve hexadecimal digits."""
    if isinstance(value, dict) and isinstance(value.get("expr"), str):
        value = dict(value, expr=value["expr"].strip())
    content = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(content.encode("utf-8")).hexdigest()[:12]


def version(digests: Iterable[str]) -> str:
    """Return one digest for several; a single digest is returned as it is."""
    digests = sorted(digests)
    return digests[0] if len(digests) == 1 else digest(digests)


def written(document: Document) -> Dict[Key, str]:
    """Return ``{key: digest}`` of the parts that PoundCake wrote into a resource."""
    annotations = ((document or {}).get("metadata") or {}).get("annotations") or {}
    try:
        groups = json.loads(annotations.get(WRITTEN, "{}"))
        return {
            (group, name): one for group, names in groups.items() for name, one in names.items()
        }
    except (ValueError, AttributeError):  # somebody edited it by hand: then every rule is theirs
        return {}


def writer(key: Key, value: Any, digests: Dict[Key, str]) -> str:
    """Return who wrote a part last; digests are those that ``written`` returns."""
    if key not in digests:
        return SOMEBODY
    return POUNDCAKE if digests[key] == digest(value) else CHANGED


def overwritten(before: Document, after: Document) -> Dict[Key, str]:
    """Return ``{key: digest}`` of the parts of others that a change would replace or delete.

    :param before, after: the resource; None when it does not exist.
    """
    digests, kept = written(before), parts(groups_of(after))
    theirs = {}
    for key, value in parts(groups_of(before)).items():
        is_deleted = key not in kept and is_rule(key)
        differs = key in kept and digest(kept[key]) != digest(value)
        if (is_deleted or differs) and writer(key, value, digests) != POUNDCAKE:
            theirs[key] = digest(value)
    return theirs


def sign(before: Document, after: Dict[str, Any]) -> None:
    """Record in the annotation of ``after``, in place, which parts PoundCake writes.

    A part that does not change keeps its writer.
    """
    digests, old = written(before), parts(groups_of(before))
    signed: Dict[str, Dict[str, str]] = {}
    for key, value in parts(groups_of(after)).items():
        if key not in old or digest(old[key]) != digest(value):
            signed.setdefault(key[0], {})[key[1]] = digest(value)
        elif key in digests:
            signed.setdefault(key[0], {})[key[1]] = digests[key]
    annotations = dict(after["metadata"].get("annotations") or {})
    annotations[WRITTEN] = json.dumps(signed, sort_keys=True)
    after["metadata"]["annotations"] = annotations
