"""Many rules are applied at once: the cluster matches the YAML, and everything else stays.

The rules are checked by the real promtool; Kubernetes is tests/support/kubernetes_api.py.
"""

import os

import pytest
import yaml

from tests.support.fakes import PACK
from tests.support.kubernetes_api import ALL
from tests.support.rule_cluster import at_first, open_cluster

HOSTS = """\
groups:
- name: hosts
  interval: 30s
  rules:
  - alert: HostDown
    expr: up == 0
    for: 0
    labels: {severity: critical, tier: 1}
    annotations: {summary: "{{ $labels.instance }} is down"}
  - alert: HostSlow
    expr: node_load5 > 9
  - record: job:up:sum
    expr: sum by (job) (up)
"""
MANIFESTS = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: disks, namespace: monitoring, labels: {team: infra}}
spec:
  groups:
  - name: disks
    rules: [{alert: DiskFull, expr: free < 1}]
---
apiVersion: v1
kind: List
items:
- apiVersion: monitoring.coreos.com/v1
  kind: PrometheusRule
  metadata: {name: hosts}
  spec: {groups: [{name: hosts, rules: [{alert: HostDown, expr: up == 0}]}]}
"""
DISKS = MANIFESTS.split("---")[0]
OWNED = {"owner": "team-infra", "prune": True}


@pytest.fixture
def cluster():
    with open_cluster() as found:
        yield found


def names(resource, api):
    groups = api.objects[resource]["spec"]["groups"]
    rules = [rule for group in groups for rule in group.get("rules", ())]
    return [rule.get("alert") or rule["record"] for rule in rules]


def test_a_rule_file_becomes_a_resource(cluster):
    """Numbers become the strings that a PrometheusRule needs; the config's labels are set."""
    answer = cluster.applied(HOSTS, resource="node-alerts")
    rules = ["HostDown (critical)", "HostSlow", "job:up:sum"]
    assert answer == {"created": ["node-alerts/hosts/" + name for name in rules]}
    found = cluster.api.objects["node-alerts"]
    (group,) = found["spec"]["groups"]
    assert group["interval"] == "30s"
    assert group["rules"][0] == {
        "alert": "HostDown",
        "expr": "up == 0",
        "for": "0s",
        "labels": {"severity": "critical", "tier": "1"},
        "annotations": {"summary": "{{ $labels.instance }} is down"},
    }
    assert found["metadata"]["labels"]["release"] == "prom"


def test_labels_without_quotes_reach_the_cluster_as_prometheus_reads_them(cluster):
    """Alerts are routed by them."""
    rules = HOSTS.replace("tier: 1", "version: 1.10, page: true, zone: 010")
    cluster.applied(rules, resource="hosts")
    rule = cluster.api.objects["hosts"]["spec"]["groups"][0]["rules"][0]
    expected = {"severity": "critical", "version": "1.10", "page": "true", "zone": "010"}
    assert rule["labels"] == expected


def test_what_is_the_same_is_left_alone(cluster):
    """Nothing is written, not even the resource."""
    cluster.applied(HOSTS, resource="hosts")
    before = dict(cluster.api.objects)
    answer = cluster.applied(HOSTS, resource="hosts")
    assert list(answer) == ["unchanged"] and len(answer["unchanged"]) == 3
    assert cluster.api.objects == before and cluster.api.writes() == ["create hosts"]


def test_what_changed_is_updated_and_what_vanished_is_left(cluster):
    """Without prune nothing is deleted; the answer says what is left."""
    cluster.applied(HOSTS, resource="hosts")
    changed = HOSTS.replace("> 9", "> 8").replace("30s", "1m").split("  - record")[0]
    assert cluster.applied(changed, resource="hosts") == {
        "updated": ["hosts/hosts", "hosts/hosts/HostSlow"],
        "unchanged": ["hosts/hosts/HostDown (critical)"],
        "left": ["hosts/hosts/job:up:sum"],
    }
    assert cluster.rules("hosts", "hosts")[1]["expr"] == "node_load5 > 8"


def test_a_file_a_folder_and_manifests_in_a_list(cluster, tmp_path):
    """All of them may have PrometheusRules."""
    (tmp_path / "a.yaml").write_text(DISKS)
    (tmp_path / "b.yml").write_text(MANIFESTS.split("---")[1])
    assert len(cluster.applied(MANIFESTS)["created"]) == 2
    assert len(cluster.applied(path=str(tmp_path))["unchanged"]) == 2
    assert len(cluster.applied(path=str(tmp_path / "a.yaml"))["unchanged"]) == 1
    assert cluster.api.objects["disks"]["metadata"]["labels"]["team"] == "infra"


def test_a_folder_of_rule_files_is_one_resource(cluster, tmp_path):
    """It has all their groups."""
    (tmp_path / "a.yaml").write_text(HOSTS)
    (tmp_path / "b.yaml").write_text(HOSTS.replace("name: hosts", "name: more"))
    assert len(cluster.applied(path=str(tmp_path), resource="all")["created"]) == 6
    assert len(cluster.applied(path=str(tmp_path), resource="all")["unchanged"]) == 6


def test_labels_and_annotations_of_a_manifest_are_set(cluster):
    """Labels of others stay, and so does the record of who wrote the rules."""
    cluster.applied(DISKS)
    found = cluster.api.objects["disks"]
    theirs = dict(found["metadata"]["annotations"], theirs="a")
    cluster.api.put("disks", found["spec"]["groups"], annotations=theirs)
    more = DISKS.replace("labels: {team: infra}", "annotations: {ours: b}, labels: {team: x}")
    cluster.applied(more)
    metadata = cluster.api.objects["disks"]["metadata"]
    assert metadata["labels"]["team"] == "x"
    assert (metadata["annotations"]["theirs"], metadata["annotations"]["ours"]) == ("a", "b")
    writes = cluster.api.writes()
    cluster.applied(more)
    assert cluster.api.writes() == writes
    cluster.applied(more.replace("< 1", "< 2"))


def test_what_get_shows_can_be_applied(cluster):
    """It has look-alike characters that StackStorm's templates do not take for braces."""
    cluster.applied(HOSTS, resource="hosts")
    shown = cluster.get(resource="hosts", group="", rule="")["yaml"]
    assert "{" not in shown
    assert list(cluster.applied(shown)) == ["unchanged"]


@pytest.mark.parametrize(
    "rules, more, start",
    [
        ("", {}, "path, rules: give one of them"),
        ("", {"path": "/no/file"}, "path: "),
        ("a: [", {}, "file: not valid YAML"),
        ("a: b", {}, "rules: a document has apiVersion unknown"),
        ("- a", {}, "rules: a document is not a mapping"),
        ("# none", {}, "rules: empty; expected"),
        (HOSTS, {}, "resource: empty; expected the name of the PrometheusRule"),
        (HOSTS, {"resource": "A b"}, 'resource: "A b"; expected a valid name'),
        (MANIFESTS.replace("monitoring, ", "other, "), {}, "crd_namespace: disks is in the namesp"),
        (MANIFESTS.replace("name: disks,", "name: hosts,"), {}, "resource: hosts is defined twice"),
        (HOSTS + "---\n" + HOSTS, {"resource": "a"}, "rules: nothing was written"),
        (DISKS, {"prune": True}, "owner: empty; expected"),
        (DISKS, {"owner": "a b"}, 'owner: "a b"; expected a valid label value'),
        (DISKS.replace("infra", "a b"), {}, "resource: Kubernetes does not accept it"),
    ],
)
def test_what_cannot_be_applied_is_told(cluster, rules, more, start):
    """The message names the parameter, and nothing is written."""
    assert cluster.refused(rules, **more)["error"].startswith(start)
    assert cluster.api.objects == {}


def test_one_broken_rule_and_none_is_written(cluster):
    """The error names the broken rules of all resources."""
    broken = MANIFESTS.replace("free < 1", "free <").replace("up == 0", "sum(")
    answer = cluster.refused(broken)
    found = [(one["resource"], one["rule"]) for one in answer["errors"]]
    assert found == [("disks", "DiskFull"), ("hosts", "HostDown")]
    assert cluster.api.objects == {}
    assert cluster.refused(MANIFESTS.replace("expr: free", "exprs: free"))["errors"]


def test_one_resource_that_kubernetes_refuses_and_none_is_written(cluster):
    """All resources are checked in a dry run first."""
    wrong = MANIFESTS.replace("name: hosts}", "name: hosts, labels: {a: 'b c'}}")
    assert "does not accept it" in cluster.refused(wrong)["error"]
    assert cluster.api.objects == {}


def test_what_fails_half_way_says_what_was_written(cluster):
    """It can be run again."""
    at_first(cluster.api, "create disks", lambda: cluster.api.verbs.discard("create"))
    answer = cluster.refused(MANIFESTS)
    assert answer["written"] == ["disks"] and answer["not_written"] == ["hosts"]
    assert "before that, disks was written, and hosts was not" in answer["error"]
    cluster.api.verbs.add("create")
    answer = cluster.applied(MANIFESTS)
    assert answer == {"unchanged": ["disks/disks/DiskFull"], "created": ["hosts/hosts/HostDown"]}


def test_where_git_is_enabled_the_answer_says_that_it_got_nothing(cluster):
    """The answer never hides that something is missing."""
    cluster.config["git_repo_url"] = "https://git.example.com/rules.git"
    assert cluster.applied(DISKS)["pull_requests"].startswith("none; ")


# --- others ---------------------------------------------------------------------------------------


def test_what_others_wrote_is_replaced_only_when_it_was_seen(cluster):
    """All of it at once, with the version that the error names."""
    for name, rule in (("disks", "DiskFull"), ("hosts", "HostDown")):
        cluster.api.put(name, [{"name": name, "rules": [{"alert": rule, "expr": "theirs"}]}])
    answer = cluster.refused(MANIFESTS)
    assert [one["rule"] for one in answer["others"]] == [
        "disks/disks/DiskFull",
        "hosts/hosts/HostDown",
    ]
    assert cluster.api.writes() == []
    assert len(cluster.applied(MANIFESTS, expected=answer["expected"])["updated"]) == 2
    assert cluster.rules("hosts", "hosts")[0]["expr"] == "up == 0"


def test_what_others_write_after_it_was_agreed_is_not_replaced(cluster):
    """It happens at the last moment, when the first resource is already written."""

    def theirs(expr):
        cluster.api.put(
            "hosts", [{"name": "hosts", "rules": [{"alert": "HostDown", "expr": expr}]}]
        )

    theirs("theirs > 1")
    expected = cluster.refused(MANIFESTS)["expected"]
    at_first(cluster.api, "update hosts", lambda: theirs("theirs > 2"))
    answer = cluster.refused(MANIFESTS, expected=expected)
    assert answer["others"][0]["present"]["expr"] == "theirs > 2"
    assert answer["written"] == ["disks"]
    assert cluster.rules("hosts", "hosts")[0]["expr"] == "theirs > 2"


def test_what_was_agreed_stays_agreed_when_others_change_something_else(cluster):
    """It happens at the last moment: the resource is read again, and their rule is kept."""
    theirs = {"name": "hosts", "rules": [{"alert": "HostDown", "expr": "theirs"}]}
    cluster.api.put("hosts", [theirs])
    expected = cluster.refused(MANIFESTS)["expected"]
    more = {"name": "more", "rules": [{"alert": "More", "expr": "more"}]}
    at_first(cluster.api, "update hosts", lambda: cluster.api.put("hosts", [theirs, more]))
    cluster.applied(MANIFESTS, expected=expected)
    assert names("hosts", cluster.api) == ["HostDown", "More"]
    assert cluster.rules("hosts", "hosts")[0]["expr"] == "up == 0"


def test_a_rule_that_others_put_beside_them_stays(cluster):
    """It stays in its group, after the rules of the YAML."""
    cluster.applied(DISKS, **OWNED)
    groups = cluster.api.objects["disks"]["spec"]["groups"]
    theirs = {"alert": "Theirs", "expr": "theirs"}
    cluster.api.put("disks", [dict(groups[0], rules=[theirs] + groups[0]["rules"])])
    empty = {"name": "empty", "interval": "1m"}
    cluster.api.put("disks", cluster.api.objects["disks"]["spec"]["groups"] + [empty])
    answer = cluster.applied(DISKS.replace("< 1", "< 2"), **OWNED)
    assert answer["left"] == ["disks/disks/Theirs"]
    assert names("disks", cluster.api) == ["DiskFull", "Theirs"]
    assert cluster.api.objects["disks"]["spec"]["groups"][1] == empty


# --- prune ----------------------------------------------------------------------------------------


def test_prune_deletes_what_vanished_from_what_the_owner_has(cluster):
    """Rules, groups and resources, but only those of the owner."""
    cluster.applied(MANIFESTS, **OWNED)
    cluster.applied(DISKS.replace("disks", "more"), owner="another")
    cluster.applied(DISKS.replace("disks", "unowned"))
    cluster.api.put("theirs", [{"name": "a", "rules": []}], labels={"poundcake/owner": "team-x"})
    two = DISKS.replace("[{alert: DiskFull", "[{alert: DiskHot, expr: up}, {alert: DiskFull")
    assert len(cluster.applied(two, **OWNED)["deleted"]) == 1, "hosts"
    assert sorted(cluster.api.objects) == ["disks", "more", "theirs", "unowned"]
    assert cluster.applied(DISKS, **OWNED)["deleted"] == ["disks/disks/DiskHot"]
    assert names("disks", cluster.api) == ["DiskFull"]


def test_prune_spares_what_others_wrote_and_asks_about_what_they_changed(cluster):
    """A rule that PoundCake never wrote stays; one that others changed needs their version."""
    cluster.applied(MANIFESTS, **OWNED)
    mine = {"alert": "HostDown", "expr": "up == 0"}
    theirs = {"alert": "Theirs", "expr": "theirs"}
    cluster.api.put("hosts", [{"name": "hosts", "rules": [dict(mine, expr="changed"), theirs]}])
    answer = cluster.refused(DISKS, **OWNED)
    assert [one["rule"] for one in answer["others"]] == ["hosts/hosts/HostDown"]
    cluster.applied(DISKS, expected=answer["expected"], **OWNED)
    assert names("hosts", cluster.api) == ["Theirs"]


def test_prune_deletes_nothing_from_a_resource_that_others_made(cluster):
    """PoundCake wrote its rules, but the resource does not have the owner's label."""
    cluster.api.put("disks", [])
    two = DISKS.replace("[{alert: DiskFull", "[{alert: DiskHot, expr: up}, {alert: DiskFull")
    cluster.applied(two, **OWNED)
    assert cluster.applied(DISKS, **OWNED)["left"] == ["disks/disks/DiskHot"]


def test_a_resource_of_another_owner_is_not_taken_over(cluster):
    """Two sets of rules in one resource would delete each other's rules."""
    cluster.applied(DISKS, owner="another")
    assert cluster.refused(DISKS, **OWNED)["error"].startswith('owner: disks belongs to "another"')


# --- rights ---------------------------------------------------------------------------------------


def test_the_role_of_the_pack_suffices(cluster):
    """Every action works with it."""
    cluster.api.allow(role())
    everything(cluster)
    assert cluster.api.verbs == set(ALL) and "disks" not in cluster.api.objects


@pytest.mark.parametrize("verb", ALL)
def test_the_role_of_the_pack_has_no_right_too_many(cluster, verb):
    """Without any one of them something fails, and the error names it."""
    cluster.api.allow(role())
    cluster.api.verbs.discard(verb)
    with pytest.raises(AssertionError) as caught:
        everything(cluster)
    text = "crd_namespace: Kubernetes refuses to %s prometheusrules in monitoring" % verb
    assert text in str(caught.value.args)


def role():
    with open(os.path.join(PACK, "rbac", "prometheusrules.yaml"), encoding="utf-8") as handle:
        return yaml.safe_load(handle)


def everything(cluster):
    """Run each kind of action once."""
    cluster.done("create", expr="up == 0")
    cluster.done("update", expr="up == 1")
    cluster.get()
    cluster.done("delete")
    cluster.applied(MANIFESTS, **OWNED)
    cluster.applied(MANIFESTS.split("---")[1], **OWNED)
