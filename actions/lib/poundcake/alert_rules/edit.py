"""One alert rule, read and changed in Kubernetes, and changed in git where that is enabled, too."""

import copy

from poundcake.alert_rules import change as rule_change
from poundcake.alert_rules import files, manifests, ownership, plan
from poundcake.alert_rules.git import propose
from poundcake.alert_rules.manifests import with_groups
from poundcake.alert_rules.ownership import groups_of, parts
from poundcake.alert_rules.resources import Resources
from poundcake.errors import ExpectedError


def read(settings, resource, group="", rule="", severity=""):
    """Return a PrometheusRule, one of its groups or rules, as YAML.

    :returns: ``resource``, ``namespace``, ``yaml``; ``rules``: for each of them group, rule,
        written_by and version; ``version``, which ``expected`` wants to replace what is shown.
    """
    resources = Resources(settings)
    document = resources.get(resource)
    if document is None:
        raise rule_change.RuleMissing('resource: there is no PrometheusRule "%s"' % resource)
    groups = groups_of(document)
    shown = manifests.bare(document)
    if group or rule:
        groups = [_found(groups, group, rule, severity)]
        shown = groups[0]["rules"][0] if rule else {"groups": groups}
    known = ownership.written(document)
    rules = [
        {
            "group": key[0],
            "rule": key[1],
            "written_by": ownership.writer(key, value, known),
            "version": ownership.digest(value),
        }
        for key, value in parts(groups).items()
        if ownership.is_rule(key)
    ]
    return {
        "resource": resource,
        "namespace": resources.namespace,
        "yaml": files.dump(shown),
        "rules": rules,
        "version": ownership.version(one["version"] for one in rules),
    }


def change(settings, what, expected="", reason="", by=""):
    """Change one alert rule: in its resource, and as a pull request where git is enabled.

    All is checked before anything is written. The cluster comes first: an outage of git does not
    keep an alert from being mended; the same change made again opens the pull request alone.

    :param what: what ``rule_change.make`` takes, operation first.
    :param expected: the version of the rule, when somebody else wrote it last.
    :param reason, by: for the pull request.
    :returns: ``changed``, ``cluster`` (resource, namespace, changed and state; None when it is not
        enabled) and ``pull_request`` (what ``gitops.propose`` returns; None likewise).
    :raises ExpectedError: whose ``details`` have what was done of the two all the same.
    """
    made = rule_change.make(*what)
    if not settings.crd.enabled and not settings.git.repo_url:
        text = "crd_enabled: is false, and git_repo_url is empty, so a change has nowhere to go"
        raise ExpectedError(text)
    answer = {"change": str(made), "changed": False, "cluster": None, "pull_request": None}
    missing = None
    if settings.crd.enabled:
        try:
            answer["cluster"] = _in_cluster(settings, made, expected)
        except rule_change.RuleMissing as error:
            # What is deleted in the cluster already may still have to go from git.
            if made.operation != rule_change.DELETE or not settings.git.repo_url:
                raise
            missing = error
            answer["cluster"] = {"changed": False, "state": "deleted already"}
    if settings.git.repo_url:
        try:
            answer["pull_request"] = propose.propose(settings, made, reason, by)
        except ExpectedError as error:
            if missing and isinstance(error, rule_change.RuleMissing):
                raise missing
            raise _half(error, answer)
    states = [one["changed"] for one in (answer["cluster"], answer["pull_request"]) if one]
    return dict(answer, changed=any(states))


def _half(error, answer):
    """Return the error of git, with what was done in the cluster."""
    cluster = answer["cluster"]
    if not cluster:
        return error
    done = "was changed" if cluster["changed"] else "had this change already"
    text = "%s. The cluster %s, and the pull request failed: run it again for that"
    failed = ExpectedError(text % (error, done))
    failed.details = dict(answer, changed=cluster["changed"], pull_request=error.details)
    return failed


def _in_cluster(settings, made, expected):
    resources = Resources(settings)

    def edit(document):
        if document is None and made.operation != rule_change.CREATE:
            text = 'resource: there is no PrometheusRule "%s"'
            raise rule_change.RuleMissing(text % made.resource)
        document = document or manifests.new(settings, made.resource)
        groups = copy.deepcopy(groups_of(document))
        rule_change.apply(made, groups)
        return with_groups(document, groups)

    (step,) = plan.run(settings, resources, {made.resource: edit}, expected)
    return {
        "resource": made.resource,
        "namespace": resources.namespace,
        "changed": step.state != plan.UNCHANGED,
        "state": step.state,
    }


def _found(groups, name, rule, severity):
    """Return a group, with one rule alone when that is asked for."""
    group = rule_change.find_group(groups, name)
    if group is None:
        known = ", ".join(one["name"] for one in groups) or "none"
        raise rule_change.RuleMissing('group: there is no "%s"; there are: %s' % (name, known))
    if not rule:
        return group
    found = [group["rules"][at] for at in rule_change.find_rules(group, rule)]
    if severity:
        found = [one for one in found if (one.get("labels") or {}).get("severity") == severity]
    if len(found) != 1:
        text = 'rule: the group %s has %d alert rules "%s"; it has: %s'
        known = ", ".join(ownership.name_of(one) for one in group["rules"])
        raise rule_change.RuleMissing(text % (name, len(found), rule, known))
    return dict(group, rules=found)
