"""Changes several PrometheusRules together: everything is checked before anything is written.

A plan has an edit for each resource: a function from the current resource to the wanted one. When
another client wrote the resource first, the edit is called again. It may then overwrite only those
rules of others that the caller agreed to.
"""

import copy
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Set, Tuple

from poundcake.alert_rules import checks, ownership
from poundcake.alert_rules.errors import (
    BrokenRules,
    OwnershipConflict,
    WriteConflict,
    add_context,
)
from poundcake.alert_rules.ownership import Document, Key, groups_of, is_rule, parts
from poundcake.alert_rules.resources import Resources
from poundcake.errors import ExpectedError
from poundcake.settings import Settings

Edit = Callable[[Document], Document]
Agreed = Set[Tuple[str, Key, str]]  # resource, key and digest of what may be overwritten
ATTEMPTS = 5
CREATED, UPDATED, DELETED, UNCHANGED = "created", "updated", "deleted", "unchanged"


@dataclass(frozen=True)
class Step:
    """The change of one resource; before is None for a new one, after for a deleted one."""

    name: str
    before: Optional[Dict[str, Any]]
    after: Optional[Dict[str, Any]]

    @property
    def state(self) -> str:
        if self.before == self.after:
            return UNCHANGED
        if self.before is None:
            return CREATED
        return DELETED if self.after is None else UPDATED

    def parts(self) -> List[Tuple[str, Key]]:
        """Return ``[(state, key)]`` of the rules, and of groups whose own fields change."""
        before, after = (parts(groups_of(one)) for one in (self.before, self.after))
        states = []
        for key in list(after) + [key for key in before if key not in after]:
            if key not in before:
                state = CREATED
            elif key not in after:
                state = DELETED
            else:
                state = UNCHANGED if before[key] == after[key] else UPDATED
            if is_rule(key) or state == UPDATED:
                states.append((state, key))
        return states

    def name_of(self, key: Key) -> str:
        """Return the name of a part in answers: ``resource/group/rule``."""
        return "/".join(filter(None, (self.name,) + key))


def run(
    settings: Settings, resources: Resources, edits: Mapping[str, Edit], expected: str = ""
) -> List[Step]:
    """Check and write, and return the Steps that were done.

    :param edits: for each resource, by name, its edit. It gets a copy of the current resource, or
        None, and raises ExpectedError when the edit is not possible.
    :param expected: the version of the rules of others that may be replaced, as an
        OwnershipConflict names it.
    :raises ExpectedError: when nothing was written, or not everything; then ``details`` has
        written and not_written.
    """
    steps, agreed = _prepare(settings, resources, edits, expected)
    done: List[Step] = []
    for step in steps:
        try:
            done.append(_write(settings, resources, step, edits[step.name], agreed))
        except ExpectedError as error:
            written = [one.name for one in done if one.state != UNCHANGED]
            not_written = [one.name for one in steps[len(done) :]]
            if written:
                names = ", ".join(written), ", ".join(not_written)
                add_context(
                    error, "; before that, %s was written, and %s was not. Run it again" % names
                )
                error.details = dict(error.details, written=written, not_written=not_written)
            raise
    return done


def _prepare(
    settings: Settings, resources: Resources, edits: Mapping[str, Edit], expected: str
) -> Tuple[List[Step], Agreed]:
    """Return the checked Steps, each accepted in a dry run, and what they may overwrite."""
    for _ in range(ATTEMPTS):
        steps = [_step(resources, name, edit) for name, edit in edits.items()]
        _check(settings, steps)
        agreed = _agreed(steps, expected)
        try:
            for step in steps:
                if step.state != UNCHANGED:
                    resources.write(step.before, step.after, dry_run=True)
            return steps, agreed
        except WriteConflict:
            continue
    raise _busy(step.name)


def _step(resources: Resources, name: str, edit: Edit) -> Step:
    before = resources.get(name)
    after = edit(copy.deepcopy(before))
    if before is not None and after is not None and _same(before, after):
        after = before
    elif after is not None:
        ownership.sign(before, after)
    return Step(name, before, after)


def _same(before, after):
    def content(document):
        metadata = document["metadata"]
        described = [metadata.get(field) or {} for field in ("labels", "annotations")]
        return described, groups_of(document)

    return content(before) == content(after)


def _check(settings, steps):
    """Raise BrokenRules that has the errors of all resources."""
    errors = []
    for step in steps:
        if step.after is None or step.state == UNCHANGED:
            continue
        try:
            checks.check(settings, groups_of(step.after))
        except BrokenRules as error:
            errors += [dict(one, resource=step.name) for one in error.details["errors"]]
    if errors:
        raise BrokenRules(errors)


def _agreed(steps: List[Step], expected: str) -> Agreed:
    """Return which parts of others may be overwritten.

    :raises OwnershipConflict: when the steps overwrite any, and expected is not their version.
    """
    agreed, others = set(), []
    for step in steps:
        digests, present = ownership.written(step.before), parts(groups_of(step.before))
        for key, digest in ownership.overwritten(step.before, step.after).items():
            agreed.add((step.name, key, digest))
            others.append(
                {
                    "rule": step.name_of(key),
                    "written_by": ownership.writer(key, present[key], digests),
                    "version": digest,
                    "present": present[key],
                }
            )
    if others and ownership.version(one["version"] for one in others) != expected:
        raise OwnershipConflict(others)
    return agreed


def _write(
    settings: Settings, resources: Resources, step: Step, edit: Edit, agreed: Agreed
) -> Step:
    """Write one step, and return it as it was written in the end."""
    for _ in range(ATTEMPTS):
        if step.state == UNCHANGED:
            return step
        try:
            resources.write(step.before, step.after)
            return step
        except WriteConflict:
            step = _step(resources, step.name, edit)
            _check(settings, [step])
            overwritten = ownership.overwritten(step.before, step.after).items()
            if not {(step.name, key, digest) for key, digest in overwritten} <= agreed:
                _agreed([step], "")
    raise _busy(step.name)


def _busy(name: str) -> ExpectedError:
    problem = f"{name} was changed by others during each of {ATTEMPTS} attempts"
    return ExpectedError("resource", problem, remedy="Run it again")
