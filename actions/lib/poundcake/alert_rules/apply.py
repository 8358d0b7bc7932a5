"""Applies many rules at once: makes PrometheusRules match YAML, like ``kubectl apply``."""

import copy
import re
from typing import Any, Dict, List, Optional, Set

from poundcake import files
from poundcake.alert_rules import change as rule_change
from poundcake.alert_rules import manifests as rule_manifests
from poundcake.alert_rules import ownership, plan
from poundcake.alert_rules.change import RuleChange
from poundcake.alert_rules.git import propose as pull_requests
from poundcake.alert_rules.manifests import annotations_of, labels_of, with_groups
from poundcake.alert_rules.ownership import (
    MANAGED_BY,
    OWNER,
    Document,
    Key,
    groups_of,
    parts,
)
from poundcake.alert_rules.resources import Resources
from poundcake.errors import ExpectedError
from poundcake.settings import Settings

_OWNER = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z")

# Rules that are applied usually come from git, and nobody reviews one pull request for each rule.
_NO_PULL_REQUEST = "none; merge the rules to git first, or run propose_rule_change for each rule"


def apply(
    settings: Settings,
    path: str,
    rules: str,
    resource: str = "",
    owner: str = "",
    prune: bool = False,
    expected: str = "",
    reason: str = "",
    by: str = "",
) -> Dict[str, Any]:
    """Make PrometheusRules match YAML; where git alone is on, in one pull request.

    :param path, rules: rule files (``groups``) or PrometheusRule manifests, see ``files.read``.
    :param resource: the PrometheusRule that the groups of rule files belong to.
    :param owner: the name of this set of rules, a label of the resources that it creates.
    :param prune: delete rules that PoundCake wrote to this owner's resources and that are no
        longer in the YAML.
    :param expected: the version of the rules of others that may be replaced, as an
        OwnershipConflict names it.
    :param reason, by: for the pull request.
    :returns: ``created``, ``updated``, ``deleted`` and ``unchanged``, as ``resource/group/rule``;
        ``left``: rules that exist and are not in the YAML; and, where git is enabled,
        ``pull_requests``, which says that there are none; or, where git alone is on,
        ``pull_request``, as ``propose_all`` returns it.
    """
    if not _OWNER.match(owner):
        valid = "a valid label value: at most 63 letters, digits, -, _ and ."
        raise ExpectedError("owner", f'"{owner}"', valid)
    if prune and not owner:
        raise ExpectedError("owner", "empty", "the owner whose rules prune may delete")
    if not settings.crd.enabled:
        _check_git_alone(settings, prune)
    manifests = rule_manifests.read(files.read("rules", path, rules), resource, settings)
    if not settings.crd.enabled:
        return _propose(settings, manifests, reason, by)
    resources = Resources(settings)
    edits = {
        name: _Edit(settings, name, manifest, owner, prune) for name, manifest in manifests.items()
    }
    for document in resources.list(f"{OWNER}={owner}") if prune else ():
        name = document["metadata"]["name"]
        edits.setdefault(name, _Edit(settings, name, None, owner, prune))
    answer: Dict[str, Any] = _answer(plan.run(settings, resources, edits, expected), manifests)
    if settings.git.repo_url:
        answer["pull_requests"] = _NO_PULL_REQUEST
    return answer


def _check_git_alone(settings: Settings, prune: bool) -> None:
    if not settings.git.repo_url:
        raise ExpectedError(
            "crd_enabled",
            "false, and git_repo_url is empty, so there is nowhere to write the rules",
            remedy="Set one of the two in the config of poundcake",
        )
    if prune:
        problem = "crd_enabled is false, and only PrometheusRules say who wrote a rule"
        raise ExpectedError("prune", problem, remedy="Propose each deletion: propose_rule_change")


def _propose(
    settings: Settings, manifests: Dict[str, Dict[str, Any]], reason: str, by: str
) -> Dict[str, Any]:
    """Propose all rules in one pull request."""
    changes = [
        _change_of(name, group, rule)
        for name, manifest in manifests.items()
        for group in groups_of(manifest)
        for rule in group.get("rules") or []
    ]
    done = pull_requests.propose_all(settings, changes, reason, by)
    states = {state: done.pop(state) for state in ("created", "updated", "unchanged")}
    return dict(states, deleted=[], left=[], pull_request=done)


def _change_of(resource: str, group: Dict[str, Any], rule: Dict[str, Any]) -> RuleChange:
    unknown = sorted(set(group) - {"name", "rules"}) + sorted(set(rule) - set(rule_change.FIELDS))
    if unknown:
        raise ExpectedError(
            "rules",
            f"{resource}/{group['name']} has {', '.join(unknown)}",
            rule_change.one_of(sorted(rule_change.FIELDS)),
            "Change the file in git by hand",
        )
    return rule_change.make(
        rule_change.CREATE,
        resource,
        group["name"],
        rule["alert"],
        rule["expr"],
        rule.get("for", ""),
        labels=rule.get("labels"),
        annotations=rule.get("annotations"),
    )


def _answer(steps: List[plan.Step], manifests: Dict[str, Dict[str, Any]]) -> Dict[str, List[str]]:
    """Return the names of rules by what happened to them."""
    answer: Dict[str, List[str]] = {
        state: [] for state in ("created", "updated", "deleted", "unchanged", "left")
    }
    for step in steps:
        wanted = parts(groups_of(manifests.get(step.name)))
        for state, key in step.parts():
            is_left = state == plan.UNCHANGED and key not in wanted
            answer["left" if is_left else state].append(step.name_of(key))
    return answer


class _Edit:
    """The edit of one resource: called with the current one, returns the wanted one."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        manifest: Optional[Dict[str, Any]],
        owner: str,
        prune: bool,
    ):
        self._settings, self._name, self._manifest = settings, name, manifest
        self._owner, self._prune = owner, prune

    def __call__(self, document: Document) -> Document:
        owner = labels_of(document).get(OWNER, "")
        if self._manifest and owner and owner != self._owner:
            raise ExpectedError(
                "owner",
                f'{self._name} belongs to "{owner}"',
                remedy="Give that owner, or rename one of the two resources",
            )
        if document is None and self._manifest is None:
            return None
        digests = ownership.written(document)
        edited = document or rule_manifests.new(self._settings, self._name)
        labels = dict(labels_of(edited), **labels_of(self._manifest))
        if self._owner and labels.get(MANAGED_BY[0]) == MANAGED_BY[1]:
            labels[OWNER] = self._owner
        annotations = dict(annotations_of(edited), **annotations_of(self._manifest))
        for field, mapping in (("labels", labels), ("annotations", annotations)):
            if mapping:
                edited["metadata"][field] = mapping
        wanted = copy.deepcopy(groups_of(self._manifest))
        may_prune = self._prune and labels.get(OWNER) == self._owner
        removed = set(digests) if may_prune else set()
        return with_groups(edited, merged(groups_of(edited), wanted, removed))


def merged(
    groups: List[Dict[str, Any]], wanted: List[Dict[str, Any]], removed: Set[Key]
) -> List[Dict[str, Any]]:
    """Return the wanted groups, with the rules that groups have besides, except removed ones."""
    wanted_parts, names = parts(wanted), [group["name"] for group in wanted]
    by_name = {group["name"]: group for group in wanted}
    for group in groups:
        kept = [
            value
            for key, value in parts([group]).items()
            if ownership.is_rule(key) and key not in wanted_parts and key not in removed
        ]
        if group["name"] in by_name:
            by_name[group["name"]]["rules"] += kept
        elif kept or not group.get("rules"):
            by_name[group["name"]] = dict(group, rules=kept) if kept else group
    order = dict.fromkeys([group["name"] for group in groups] + names)
    return [by_name[name] for name in order if name in by_name]
