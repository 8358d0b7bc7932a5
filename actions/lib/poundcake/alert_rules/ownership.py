"""Who wrote which rule of a PrometheusRule last: PoundCake, or somebody else. Pure.

An annotation of the resource holds a digest of every rule as PoundCake wrote it. A rule that has no
digest is somebody else's, one whose digest differs was changed since. (Kubernetes' managedFields
know of groups, not of rules, and take two programs with one user agent for one writer; the
resourceVersion guards the moment between a read and a write alone.)
"""

import collections
import hashlib
import json

WRITTEN = "poundcake/written"
OWNER = "poundcake/owner"
MANAGED_BY = ("app.kubernetes.io/managed-by", "poundcake")
POUNDCAKE, CHANGED, SOMEBODY = "poundcake", "changed by somebody else", "somebody else"

# A part is what is owned as a whole: a rule, or what a group says beside its rules. Its key is
# (group, name): "" as the name of the latter.
_OF_GROUP = ""


def groups_of(document):
    """Return the groups of a resource, ``[]`` for None and for one that has none."""
    return ((document or {}).get("spec") or {}).get("groups") or []


def parts(groups):
    """Return ``{(group, name): value}`` of all that groups hold, in its order.

    Rules with one name differ in their severity, and else in their number.
    """
    found = {}
    for group in groups:
        name = group["name"]
        rest = {key: item for key, item in group.items() if key not in ("name", "rules")}
        found[name, _OF_GROUP] = rest
        seen = collections.Counter()
        for rule in group.get("rules") or []:
            key = name_of(rule)
            seen[key] += 1
            found[name, key if seen[key] == 1 else "%s #%d" % (key, seen[key])] = rule
    return found


def name_of(rule):
    """Return the name of a rule among those of its group, as people read it."""
    severity = (rule.get("labels") or {}).get("severity")
    name = str(rule.get("alert") or rule.get("record"))
    return "%s (%s)" % (name, severity) if severity else name


def is_rule(key):
    """True for the key of a rule, False for that of what a group says beside its rules."""
    return key[1] != _OF_GROUP


def digest(value):
    """Return what tells a rule from any other, twelve hexadecimal digits."""
    if isinstance(value, dict) and isinstance(value.get("expr"), str):
        value = dict(value, expr=value["expr"].strip())
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:12]


def version(digests):
    """Return one digest for several; the same as its digest for one."""
    digests = sorted(digests)
    return digests[0] if len(digests) == 1 else digest(digests)


def written(document):
    """Return ``{key: digest}`` of the parts that PoundCake wrote into a resource."""
    annotations = ((document or {}).get("metadata") or {}).get("annotations") or {}
    try:
        found = json.loads(annotations.get(WRITTEN, "{}"))
        return {(group, name): one for group, names in found.items() for name, one in names.items()}
    except (ValueError, AttributeError):  # somebody changed it by hand: then all is theirs
        return {}


def writer(key, value, known):
    """Return who wrote a part last, by what ``written`` says of its resource."""
    if key not in known:
        return SOMEBODY
    return POUNDCAKE if known[key] == digest(value) else CHANGED


def trespasses(before, after):
    """Return ``{key: digest}`` of what a change would take from somebody else.

    :param before, after: the resource; None when there is none.
    """
    known, kept = written(before), parts(groups_of(after))
    found = {}
    for key, value in parts(groups_of(before)).items():
        goes = key not in kept and is_rule(key)
        differs = key in kept and digest(kept[key]) != digest(value)
        if (goes or differs) and writer(key, value, known) != POUNDCAKE:
            found[key] = digest(value)
    return found


def sign(before, after):
    """Write into the annotation of ``after``, in place, what PoundCake writes with it.

    What stays as it is keeps the writer that it had.
    """
    known, old = written(before), parts(groups_of(before))
    signed = {}
    for key, value in parts(groups_of(after)).items():
        if key not in old or digest(old[key]) != digest(value):
            signed.setdefault(key[0], {})[key[1]] = digest(value)
        elif key in known:
            signed.setdefault(key[0], {})[key[1]] = known[key]
    annotations = dict(after["metadata"].get("annotations") or {})
    annotations[WRITTEN] = json.dumps(signed, sort_keys=True)
    after["metadata"]["annotations"] = annotations
