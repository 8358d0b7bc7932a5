"""Reads and changes one alert rule in Kubernetes, and in git too where that is enabled."""

import copy
from typing import Any, Dict, List, Optional

from poundcake.alert_rules import change as rule_change
from poundcake.alert_rules import files, manifests, ownership, plan
from poundcake.alert_rules.change import RuleChange
from poundcake.alert_rules.errors import RuleMissing
from poundcake.alert_rules.git import propose as pull_requests
from poundcake.alert_rules.manifests import with_groups
from poundcake.alert_rules.ownership import Document, groups_of, parts
from poundcake.alert_rules.resources import Resources
from poundcake.errors import ExpectedError
from poundcake.settings import Settings


def read(
    settings: Settings, resource: str, group: str = "", rule: str = "", severity: str = ""
) -> Dict[str, Any]:
    """Return a PrometheusRule, or one of its groups or rules, as YAML.

    :returns: ``resource``, ``namespace``, ``yaml``; ``rules``: for each of them group, rule,
        written_by and version; and ``version``, to give as ``expected`` in order to replace these.
    """
    resources = Resources(settings)
    document = resources.get(resource)
    if document is None:
        raise _no_resource(resource)
    groups = groups_of(document)
    content: Any = manifests.bare(document)
    if group or rule:
        groups = [_select(groups, group, rule, severity)]
        content = groups[0]["rules"][0] if rule else {"groups": groups}
    digests = ownership.written(document)
    rules = [
        {
            "group": key[0],
            "rule": key[1],
            "written_by": ownership.writer(key, value, digests),
            "version": ownership.digest(value),
        }
        for key, value in parts(groups).items()
        if ownership.is_rule(key)
    ]
    return {
        "resource": resource,
        "namespace": resources.namespace,
        "yaml": files.dump(content),
        "rules": rules,
        "version": ownership.version(one["version"] for one in rules),
    }


def change(
    settings: Settings, wanted: RuleChange, expected: str = "", reason: str = "", by: str = ""
) -> Dict[str, Any]:
    """Change one alert rule: in its resource, and as a pull request where git is enabled.

    Everything is checked before anything is written. The cluster comes first, so that an outage of
    git does not stop anyone from fixing an alert. The same change made again then only opens the
    pull request.

    :param wanted: as ``rule_change.make`` makes it.
    :param expected: the version of the rule, when somebody else wrote it last.
    :param reason, by: for the pull request.
    :returns: ``changed``, ``cluster`` (resource, namespace, changed and state; None when it is not
        enabled) and ``pull_request`` (what ``propose`` returns; None when git is not enabled).
    :raises ExpectedError: whose ``details`` say what was done in spite of it.
    """
    if not settings.crd.enabled and not settings.git.repo_url:
        raise ExpectedError(
            "crd_enabled",
            "false, and git_repo_url is empty, so there is nowhere to write the change",
            remedy="Set one of the two in the config of poundcake",
        )
    cluster: Optional[Dict[str, Any]] = None
    pull_request: Optional[Dict[str, Any]] = None
    missing = None
    if settings.crd.enabled:
        try:
            cluster = _change_in_cluster(settings, wanted, expected)
        except RuleMissing as error:
            # A rule that is already deleted in the cluster may still have to be deleted in git.
            if wanted.operation != rule_change.DELETE or not settings.git.repo_url:
                raise
            missing = error
            cluster = {"changed": False, "state": "deleted already"}
    if settings.git.repo_url:
        try:
            pull_request = pull_requests.propose(settings, wanted, reason, by)
        except ExpectedError as error:
            if missing and isinstance(error, RuleMissing):
                raise missing
            raise _with_cluster(error, wanted, cluster) if cluster else error
    changed = any(done["changed"] for done in (cluster, pull_request) if done)
    return _answer(wanted, changed, cluster, pull_request)


def _answer(wanted, changed, cluster, pull_request):
    return {
        "change": str(wanted),
        "changed": changed,
        "cluster": cluster,
        "pull_request": pull_request,
    }


def _with_cluster(
    error: ExpectedError, wanted: RuleChange, cluster: Dict[str, Any]
) -> ExpectedError:
    """Return git's error, with what was done in the cluster."""
    done = "was changed" if cluster["changed"] else "already had this change"
    problem = f"{error}. The cluster {done}, but the pull request failed; run it again to open it"
    combined = ExpectedError(problem)
    combined.details = _answer(wanted, cluster["changed"], cluster, error.details)
    return combined


def _no_resource(name: str) -> RuleMissing:
    return RuleMissing("resource", f'there is no PrometheusRule "{name}"')


def _change_in_cluster(settings: Settings, wanted: RuleChange, expected: str) -> Dict[str, Any]:
    resources = Resources(settings)

    def edit(document: Document) -> Document:
        if document is None and wanted.operation != rule_change.CREATE:
            raise _no_resource(wanted.resource)
        document = document or manifests.new(settings, wanted.resource)
        groups = copy.deepcopy(groups_of(document))
        rule_change.apply(wanted, groups)
        return with_groups(document, groups)

    (step,) = plan.run(settings, resources, {wanted.resource: edit}, expected)
    return {
        "resource": wanted.resource,
        "namespace": resources.namespace,
        "changed": step.state != plan.UNCHANGED,
        "state": step.state,
    }


def _select(groups: List[Dict[str, Any]], name: str, rule: str, severity: str) -> Dict[str, Any]:
    """Return the group with a name; with one rule only, when a rule is given."""
    group = rule_change.find_group(groups, name)
    if group is None:
        names = [one["name"] for one in groups]
        raise RuleMissing("group", f'there is no "{name}"', rule_change.one_of(names))
    if not rule:
        return group
    rules = [group["rules"][index] for index in rule_change.find_rules(group, rule)]
    if severity:
        rules = [one for one in rules if (one.get("labels") or {}).get("severity") == severity]
    if len(rules) != 1:
        problem = f'the group {name} has {len(rules)} alert rules "{rule}"'
        names = [ownership.name_of(one) for one in group.get("rules") or []]
        raise RuleMissing("rule", problem, rule_change.one_of(names))
    return dict(group, rules=rules)
