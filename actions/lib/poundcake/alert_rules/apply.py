"""Many rules at once: resources become what YAML says, as ``kubectl apply`` has it."""

import copy
import re

from poundcake import files
from poundcake.alert_rules import manifests as rule_manifests
from poundcake.alert_rules import ownership, plan
from poundcake.alert_rules.manifests import annotations_of, labels_of, with_groups
from poundcake.alert_rules.ownership import MANAGED_BY, OWNER, groups_of, parts
from poundcake.alert_rules.resources import Resources
from poundcake.errors import ExpectedError

_OWNER = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z")

# What is applied comes from git; and one pull request a rule would be no review.
_NO_REQUEST = "none; apply what is in git already, or propose_rule_change one rule at a time"


def apply(settings, path, text, resource="", owner="", prune=False, expected=""):
    """Make PrometheusRules what YAML says.

    :param path, text: rule files (``groups``) or PrometheusRule manifests, see yaml_sources.
    :param resource: the PrometheusRule that a rule file's groups belong to.
    :param owner: the name of this set of rules, a label of the resources that it makes.
    :param prune: deletes the rules that the owner's resources have from PoundCake, and the YAML has
        not.
    :param expected: the version of what others wrote and may be replaced, as a refusal tells it.
    :returns: ``created``, ``updated``, ``deleted`` and ``unchanged``: ``resource/group/rule``;
        ``left``, what is there and not in the YAML; and ``pull_requests``, where git is enabled:
        that there is none.
    """
    if not _OWNER.match(owner):
        text = 'owner: "%s" is no value of a label; write at most 63 letters, digits, -, _ and .'
        raise ExpectedError(text % owner)
    if prune and not owner:
        raise ExpectedError("owner: prune deletes what an owner's resources have; give its name")
    if not settings.crd.enabled:
        text = "crd_enabled: is false; apply_prometheus_rules writes PrometheusRules alone"
        raise ExpectedError(text)
    manifests = rule_manifests.read(files.read("rules", path, text), resource, settings)
    resources = Resources(settings)
    edits = {
        name: _Edit(settings, name, manifest, owner, prune) for name, manifest in manifests.items()
    }
    for found in resources.list("%s=%s" % (OWNER, owner)) if prune else ():
        name = found["metadata"]["name"]
        edits.setdefault(name, _Edit(settings, name, None, owner, prune))
    steps = plan.run(settings, resources, edits, expected)
    answer = _told(steps, manifests)
    if settings.git.repo_url:
        answer["pull_requests"] = _NO_REQUEST
    return answer


def _told(steps, manifests):
    answer = {state: [] for state in ("created", "updated", "deleted", "unchanged", "left")}
    for step in steps:
        wanted = parts(groups_of(manifests.get(step.name)))
        for state, key in step.parts():
            left = state == plan.UNCHANGED and key not in wanted
            answer["left" if left else state].append(step.name_of(key))
    return answer


class _Edit:
    """What ``apply`` makes of one resource: called with it, returns what it shall be."""

    def __init__(self, settings, name, manifest, owner, prune):
        self._settings, self._name, self._manifest = settings, name, manifest
        self._owner, self._prune = owner, prune

    def __call__(self, document):
        owner = labels_of(document).get(OWNER, "")
        if self._manifest and owner and owner != self._owner:
            text = 'owner: %s belongs to "%s"; give that, or rename one of the two'
            raise ExpectedError(text % (self._name, owner))
        if document is None and self._manifest is None:
            return None
        known = ownership.written(document)
        made = document or rule_manifests.new(self._settings, self._name)
        labels = dict(labels_of(made), **labels_of(self._manifest))
        if self._owner and labels.get(MANAGED_BY[0]) == MANAGED_BY[1]:
            labels[OWNER] = self._owner
        annotations = dict(annotations_of(made), **annotations_of(self._manifest))
        for field, texts in (("labels", labels), ("annotations", annotations)):
            if texts:
                made["metadata"][field] = texts
        wanted = copy.deepcopy(groups_of(self._manifest))
        goes = set(known) if self._prune and labels.get(OWNER) == self._owner else set()
        return with_groups(made, merged(groups_of(made), wanted, goes))


def merged(groups, wanted, goes):
    """Return groups as wanted, with what they had beside that, but for keys that go."""
    asked, names = parts(wanted), [group["name"] for group in wanted]
    found = {group["name"]: group for group in wanted}
    for group in groups:
        kept = [
            value
            for key, value in parts([group]).items()
            if ownership.is_rule(key) and key not in asked and key not in goes
        ]
        if group["name"] in found:
            found[group["name"]]["rules"] += kept
        elif kept or not group.get("rules"):
            found[group["name"]] = dict(group, rules=kept) if kept else group
    order = dict.fromkeys([group["name"] for group in groups] + names)
    return [found[name] for name in order if name in found]
