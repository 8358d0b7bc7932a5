"""Several PrometheusRules are changed together: all of it is checked before any of it is written.

A plan has, for each resource, a function from what is there to what shall be there. It is asked
again when Kubernetes says that somebody was faster; what it takes from others must then be what was
agreed to, no more.
"""

import copy
from dataclasses import dataclass

from poundcake.alert_rules import checks, ownership
from poundcake.alert_rules.ownership import groups_of, is_rule, parts
from poundcake.alert_rules.resources import Conflict
from poundcake.errors import ExpectedError

ATTEMPTS = 5
CREATED, UPDATED, DELETED, UNCHANGED = "created", "updated", "deleted", "unchanged"


class Trespass(ExpectedError):
    """A change would overwrite what somebody else wrote; ``details`` has what, and its version."""

    def __init__(self, found):
        shown = ", ".join("%s (%s)" % (one["rule"], one["written_by"]) for one in found[:5])
        more = " and %d more" % (len(found) - 5) if len(found) > 5 else ""
        version = ownership.version(one["version"] for one in found)
        text = "expected: others wrote %s%s, and that is not overwritten; look at what is there, "
        text += "and give expected=%s to replace just that"
        super().__init__(text % (shown, more, version))
        self.details = {"expected": version, "others": found}


@dataclass(frozen=True)
class Step:
    """What becomes of one resource; before and after are None where there is none."""

    name: str
    before: dict
    after: dict

    @property
    def state(self):
        if self.before == self.after:
            return UNCHANGED
        if self.before is None:
            return CREATED
        return DELETED if self.after is None else UPDATED

    def parts(self):
        """Return ``[(state, key)]`` of the rules, and of groups whose own fields change."""
        before, after = (parts(groups_of(one)) for one in (self.before, self.after))
        found = []
        for key in list(after) + [key for key in before if key not in after]:
            if key not in before:
                state = CREATED
            elif key not in after:
                state = DELETED
            else:
                state = UNCHANGED if before[key] == after[key] else UPDATED
            if is_rule(key) or state == UPDATED:
                found.append((state, key))
        return found

    def name_of(self, key):
        """Return what a part is called in answers: ``resource/group/rule``."""
        return "/".join(filter(None, (self.name,) + key))


def run(settings, resources, edits, expected=""):
    """Check and write, and return the Steps that were done.

    :param edits: ``{name of a resource: function}`` from the resource that is there, a copy or
        None, to the one that shall be. Such a function raises ExpectedError when it cannot.
    :param expected: the version of what others wrote and may be replaced, as Trespass tells it.
    :raises ExpectedError: when nothing was written; or not all of it, then ``details`` has what was.
    """
    agreed, steps = None, []
    for _ in range(ATTEMPTS):
        steps = [_step(resources, name, edit) for name, edit in edits.items()]
        _check(settings, steps)
        agreed = _agreed(steps, expected)
        try:
            for step in steps:
                if step.state != UNCHANGED:
                    resources.write(step.before, step.after, dry_run=True)
            break
        except Conflict:
            continue
    else:
        raise _busy(step.name)
    done = []
    for step in steps:
        try:
            done.append(_write(settings, resources, step, edits[step.name], agreed))
        except ExpectedError as error:
            left = [one.name for one in steps[len(done) + 1 :]]
            written = [one.name for one in done if one.state != UNCHANGED]
            if written:
                text = "%s; %s was written before that, and %s was not; run it again"
                names = ", ".join(written), ", ".join([step.name] + left)
                error.args = (text % ((error,) + names),)
                error.details = dict(error.details, written=written, not_written=[step.name] + left)
            raise
    return done


def _step(resources, name, edit):
    before = resources.get(name)
    after = edit(copy.deepcopy(before))
    if before is not None and after is not None and _same(before, after):
        after = before
    elif after is not None:
        ownership.sign(before, after)
    return Step(name, before, after)


def _same(before, after):
    def shown(document):
        metadata = document["metadata"]
        described = [metadata.get(field) or {} for field in ("labels", "annotations")]
        return described, groups_of(document)

    return shown(before) == shown(after)


def _check(settings, steps):
    """Raise BrokenRules with the broken rules of all resources."""
    errors = []
    for step in steps:
        if step.after is None or step.state == UNCHANGED:
            continue
        try:
            checks.check(settings, groups_of(step.after))
        except checks.BrokenRules as error:
            errors += [dict(one, resource=step.name) for one in error.details["errors"]]
    if errors:
        raise checks.BrokenRules(errors)


def _agreed(steps, expected):
    """Return what may be taken from others, as {(resource, key, digest)}."""
    found, shown = set(), []
    for step in steps:
        known, present = ownership.written(step.before), parts(groups_of(step.before))
        for key, digest in ownership.trespasses(step.before, step.after).items():
            found.add((step.name, key, digest))
            by = ownership.writer(key, present[key], known)
            one = {"rule": step.name_of(key), "written_by": by, "version": digest}
            shown.append(dict(one, present=present[key]))
    if found and ownership.version(one["version"] for one in shown) != expected:
        raise Trespass(shown)
    return found


def _write(settings, resources, step, edit, agreed):
    for _ in range(ATTEMPTS):
        if step.state == UNCHANGED:
            return step
        try:
            resources.write(step.before, step.after)
            return step
        except Conflict:
            step = _step(resources, step.name, edit)
            _check(settings, [step])
            taken = ownership.trespasses(step.before, step.after).items()
            if not {(step.name,) + one for one in taken} <= agreed:
                _agreed([step], "")
    raise _busy(step.name)


def _busy(name):
    text = "resource: others changed %s each of the %d times that PoundCake tried; run it again"
    return ExpectedError(text % (name, ATTEMPTS))
