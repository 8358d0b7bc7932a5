"""One alert rule is changed in the cluster and in git, and no work of others is lost.

The rules are checked by the real promtool; Kubernetes is tests/support/kubernetes_api.py.
"""

import copy

import pytest
import yaml
from poundcake.alert_rules import ownership
from poundcake.inert import original

from tests.support import git_servers
from tests.support.rule_cluster import RULE, at_first, open_cluster

EXPR = "memory_usage > 90"


@pytest.fixture
def cluster():
    with open_cluster() as found:
        yield found


def test_a_rule_is_created_changed_and_deleted(cluster):
    """The resource is created with its first rule and deleted with its last."""
    answer = cluster.done("create", expr=EXPR, for_duration="5m", severity="critical")
    assert answer["changed"] and answer["cluster"]["state"] == "created"
    rule = {"alert": "HighMemory", "expr": EXPR, "for": "5m", "labels": {"severity": "critical"}}
    assert cluster.rules() == [rule]
    labels = cluster.api.objects["my-alerts"]["metadata"]["labels"]
    assert labels == {"release": "prom", "app.kubernetes.io/managed-by": "poundcake"}

    cluster.done("update", expr="memory_usage > 95", annotations={"summary": "{{ $value }}"})
    changed = dict(rule, expr="memory_usage > 95", annotations={"summary": "{{ $value }}"})
    assert cluster.rules() == [changed]
    assert cluster.done("delete")["cluster"]["state"] == "deleted"
    assert cluster.api.objects == {}


def test_the_same_change_again_changes_nothing(cluster):
    """So a half-done change can be repeated."""
    for _ in range(2):
        answer = cluster.done("create", expr=EXPR)
    assert not answer["changed"] and answer["cluster"]["state"] == "unchanged"
    assert not cluster.done("update", expr=EXPR)["changed"]
    assert cluster.api.writes() == ["create my-alerts"]


def test_what_is_not_there_is_told(cluster):
    """The message names the parameter: resource, group or rule."""
    assert cluster.failed("update", expr=EXPR)["error"].startswith("resource: there is no")
    assert cluster.failed("delete")["error"].startswith("resource: there is no")
    cluster.done("create", expr=EXPR)
    assert cluster.failed("update", expr=EXPR, group="x")["error"].startswith("group: ")
    assert cluster.failed("delete", rule="x")["error"].startswith("rule: ")
    assert cluster.failed("create", expr="1")["error"].startswith("rule: ")
    for name, more in (("group", {"group": "x"}), ("rule", {"rule": "x"})):
        succeeded, answer = cluster.run("get", **dict(RULE, severity="", **more))
        assert not succeeded and answer["error"].startswith(name)


def test_no_broken_rule_is_written(cluster):
    """Kubernetes gets no write either, not even a dry run."""
    answer = cluster.failed("create", expr="memory_usage >")
    assert "HighMemory" in answer["error"] and answer["errors"][0]["rule"] == "HighMemory"
    cluster.done("create", expr=EXPR)
    cluster.failed("update", expr="sum(")
    assert cluster.rules()[0]["expr"] == EXPR
    assert [one for one in cluster.api.log if "?" in one] == ["create? my-alerts"]


# --- somebody else --------------------------------------------------------------------------------

OTHERS = [{"name": "app", "rules": [{"alert": "HighMemory", "expr": "theirs > 1"}]}]


def test_a_rule_of_somebody_else_is_not_overwritten_unseen(cluster):
    """The error shows it, and the version to give in order to replace it."""
    cluster.api.put("my-alerts", OTHERS)
    answer = cluster.failed("update", expr=EXPR)
    assert answer["error"].startswith(
        "expected: this would overwrite rules of others: my-alerts/app/HighMemory (somebody else)"
    )
    (one,) = answer["others"]
    assert one["present"]["expr"] == "theirs > 1" and one["written_by"] == "somebody else"
    assert one["version"] == answer["expected"] == cluster.get()["version"]
    assert cluster.failed("delete")["expected"] == answer["expected"]
    assert cluster.rules() == OTHERS[0]["rules"] and cluster.api.writes() == []

    cluster.done("update", expr=EXPR, expected=answer["expected"])
    assert cluster.rules()[0]["expr"] == EXPR
    cluster.done("update", expr="now_ours > 1")  # PoundCake wrote it last
    cluster.done("delete")
    assert cluster.api.objects["my-alerts"]["spec"]["groups"] == [], "the resource is theirs"


def test_what_somebody_changed_after_poundcake_is_not_overwritten(cluster):
    """A later change by somebody else is not covered by the version that was given."""
    cluster.done("create", expr=EXPR)
    groups = copy.deepcopy(cluster.api.objects["my-alerts"]["spec"]["groups"])
    groups[0]["rules"][0]["expr"] = "memory_usage > 50"
    cluster.api.put("my-alerts", groups)
    answer = cluster.failed("update", expr="memory_usage > 99")
    assert answer["others"][0]["written_by"] == "changed by somebody else"
    groups[0]["rules"][0]["expr"] = "memory_usage > 51"
    cluster.api.put("my-alerts", groups)
    again = cluster.failed("update", expr="memory_usage > 99", expected=answer["expected"])
    assert again["expected"] != answer["expected"]
    assert cluster.rules()[0]["expr"] == "memory_usage > 51"


def test_the_rules_beside_it_stay_whoever_wrote_them(cluster):
    """They do not get in the way; nor do manual edits of the annotation."""
    beside = {"alert": "Theirs", "expr": "theirs > 1"}
    cluster.api.put("my-alerts", [{"name": "app", "interval": "1m", "rules": [beside]}])
    cluster.done("create", expr=EXPR)
    cluster.done("update", expr="memory_usage > 95")
    assert cluster.rules() == [beside, {"alert": "HighMemory", "expr": "memory_usage > 95"}]
    found = {one["rule"]: one["written_by"] for one in cluster.get(rule="")["rules"]}
    assert found == {"Theirs": "somebody else", "HighMemory": "poundcake"}
    cluster.done("delete")
    assert cluster.rules() == [beside]
    cluster.done("create", expr=EXPR)
    for text in ("", "[]", '{"app": 1}'):
        cluster.api.put(
            "my-alerts",
            cluster.api.objects["my-alerts"]["spec"]["groups"],
            annotations={ownership.WRITTEN: text},
        )
        assert cluster.failed("delete")["others"][0]["written_by"] == "somebody else"


@pytest.mark.parametrize("moment", ["update? my-alerts", "update my-alerts"])
def test_a_conflict_is_read_again_and_both_changes_stay(cluster, moment):
    """Between the read and the dry run, and between the dry run and the write."""
    cluster.done("create", expr=EXPR)
    groups = copy.deepcopy(cluster.api.objects["my-alerts"]["spec"]["groups"])
    groups[0]["rules"].append({"alert": "Theirs", "expr": "theirs > 1"})
    at_first(cluster.api, moment, lambda: cluster.api.put("my-alerts", groups))
    cluster.done("update", expr="memory_usage > 95")
    assert [rule["expr"] for rule in cluster.rules()] == ["memory_usage > 95", "theirs > 1"]


@pytest.mark.parametrize("moment", ["update? my-alerts", "update my-alerts"])
def test_a_conflict_about_the_same_rule_is_not_won_by_force(cluster, moment):
    """The first writer wins."""
    cluster.done("create", expr=EXPR)
    at_first(cluster.api, moment, lambda: cluster.api.put("my-alerts", OTHERS))
    answer = cluster.failed("update", expr="memory_usage > 95")
    assert answer["others"][0]["present"]["expr"] == "theirs > 1"
    assert cluster.rules() == OTHERS[0]["rules"]


def test_two_that_create_one_resource_both_have_their_rule(cluster):
    """409 AlreadyExists is handled as a conflict."""
    theirs = [{"name": "other", "rules": [{"alert": "Theirs", "expr": "up"}]}]
    at_first(cluster.api, "create my-alerts", lambda: cluster.api.put("my-alerts", theirs))
    cluster.done("create", expr=EXPR)
    assert cluster.rules("other") == theirs[0]["rules"] and len(cluster.rules()) == 1


@pytest.mark.parametrize("name", ["update", "delete"])
def test_a_resource_that_somebody_deletes_in_between_is_gone(cluster, name):
    """A write to a missing resource is not a success."""
    more = {"expr": "1"} if name == "update" else {}
    cluster.done("create", expr=EXPR)
    at_first(cluster.api, name + " my-alerts", lambda: cluster.api.objects.clear())
    assert cluster.failed(name, **more)["error"].startswith("resource: there is no PrometheusRule")
    assert cluster.api.objects == {}


def test_who_is_always_faster_is_told_about(cluster):
    """PoundCake gives up, and nothing is written."""
    cluster.done("create", expr=EXPR)
    numbers = iter(range(100))

    def act(verb, name):
        if verb.startswith("update"):
            labels = {"their": str(next(numbers))}
            cluster.api.put(name, cluster.api.objects[name]["spec"]["groups"], labels=labels)

    cluster.api.before = act
    assert cluster.failed("update", expr="1")["error"].startswith(
        "resource: my-alerts was changed by others"
    )
    assert cluster.rules()[0]["expr"] == EXPR


# --- reading --------------------------------------------------------------------------------------


def test_a_rule_is_shown_as_yaml(cluster):
    """The whole resource without what Kubernetes adds, a group as a rule file, or one rule."""
    cluster.done("create", expr=EXPR, severity="page", annotations={"summary": "{{ $value }}"})
    cluster.done("create", expr="1", severity="warning")

    def read(**more):
        text = cluster.get(**more)["yaml"]
        return yaml.safe_load(original(text))

    found = read(group="", rule="")
    assert sorted(found["metadata"]) == ["labels", "name", "namespace"]
    assert found["spec"] == cluster.api.objects["my-alerts"]["spec"]
    assert read(rule="") == {"groups": found["spec"]["groups"]}
    succeeded, answer = cluster.run("get", **dict(RULE, severity=""))
    assert not succeeded and "2 alert rules" in answer["error"]
    succeeded, answer = cluster.run("get", **dict(RULE, severity="warning"))
    assert "severity: warning" in answer["yaml"] and answer["rules"][0]["rule"].endswith(
        "(warning)"
    )


# --- git, too -------------------------------------------------------------------------------------


@pytest.fixture
def both(cluster, tmp_path):
    """A cluster, and a repository at a GitHub: both enabled."""
    repository = git_servers.Repository(tmp_path)
    with git_servers.GitHubHost(repository) as host:
        cluster.config.update(host.settings())
        cluster.host = host
        yield cluster


def test_a_change_goes_to_the_cluster_and_to_a_pull_request(both):
    """One answer describes both."""
    answer = both.done("create", expr=EXPR)
    assert answer["cluster"]["state"] == "created" and len(both.rules()) == 1
    assert answer["pull_request"]["state"] == "opened" and len(both.host.pulls) == 1


def test_when_the_pull_request_fails_it_says_what_was_done_and_the_next_try_ends_it(both):
    """The cluster already has the change."""
    both.host.scopes = {"read"}
    answer = both.failed("create", expr=EXPR)
    assert "The cluster was changed, but the pull request failed" in answer["error"]
    assert answer["cluster"]["state"] == "created" and len(both.rules()) == 1
    both.host.scopes = {"read", "write"}
    answer = both.done("create", expr=EXPR)
    assert not answer["cluster"]["changed"] and answer["pull_request"]["state"] == "opened"


def test_when_the_cluster_refuses_there_is_no_pull_request(both):
    """Nothing is changed anywhere."""
    both.api.verbs.discard("create")
    assert both.failed("create", expr=EXPR)["error"].startswith("crd_namespace: ")
    assert both.host.pulls == [] and list(both.host.repository.branches()) == ["main"]


def test_a_delete_that_was_half_done_can_be_ended(both):
    """The rule is already deleted in the cluster, but not yet in git."""
    files = {"prometheus/rules/HighMemory.yaml": yaml.safe_dump({"groups": OTHERS})}
    both.host.repository.write(files)
    answer = both.done("delete")
    assert answer["cluster"]["state"] == "deleted already"
    assert answer["pull_request"]["state"] == "opened"
    assert both.failed("delete", rule="Nowhere")["error"].startswith("resource: there is no")


def test_git_alone_and_nothing_at_all(both):
    """The config decides."""
    both.config["crd_enabled"] = False
    answer = both.done("create", expr=EXPR)
    assert answer["cluster"] is None and answer["pull_request"]["state"] == "opened"
    assert both.api.log == []
    both.config["git_repo_url"] = ""
    assert both.failed("create", expr=EXPR)["error"].startswith("crd_enabled: ")


# --- rules as a file --------------------------------------------------------------------------

ALONE = """
alert: HighMemory
expr: memory_usage > 90
for: 5m
labels: {severity: critical, team: 7}
annotations: {summary: '{{ $value }} %'}
"""
IN_FILE = "groups: [{name: other, rules: []}, {name: app, rules: [%s]}]"
IN_MANIFEST = "{kind: PrometheusRule, metadata: {name: x}, spec: %s}"


def in_flow(text):
    return yaml.safe_dump(yaml.safe_load(text), default_flow_style=True, width=10**6).strip()


@pytest.mark.parametrize("form", ["alone", "rule file", "manifest"])
@pytest.mark.parametrize("given", ["path", "rules"])
def test_a_rule_is_created_from_a_file(cluster, tmp_path, form, given):
    """Of any form that holds it."""
    text = ALONE if form == "alone" else IN_FILE % in_flow(ALONE)
    if form == "manifest":
        text = IN_MANIFEST % in_flow(text)
    (tmp_path / "rule.yaml").write_text(text)
    cluster.done("create", **{given: str(tmp_path / "rule.yaml") if given == "path" else text})
    (rule,) = cluster.rules()
    assert rule == {
        "alert": "HighMemory",
        "expr": EXPR,
        "for": "5m",
        "labels": {"severity": "critical", "team": "7"},
        "annotations": {"summary": "{{ $value }} %"},
    }


def test_what_is_given_beside_the_file_wins(cluster):
    """In an update too, which leaves alone what neither names."""
    cluster.done("create", rules=ALONE, severity="warning", labels={"team": "8"})
    (rule,) = cluster.rules()
    assert rule["labels"] == {"severity": "warning", "team": "8"}
    cluster.done("update", rules="{alert: HighMemory, expr: memory_usage > 95}", for_duration="9m")
    (rule,) = cluster.rules()
    assert (rule["expr"], rule["for"]) == ("memory_usage > 95", "9m")
    assert rule["labels"] == {"severity": "warning", "team": "8"}


@pytest.mark.parametrize(
    "text, named",
    [
        ("{alert: Other, expr: up}", 'rules: it has no rule "HighMemory"'),
        ("groups: [{name: other, rules: [{alert: HighMemory, expr: up}]}]", "it has no rule"),
        ("[{alert: HighMemory, expr: up}, {alert: HighMemory, expr: up}]", "2 times"),
        ("{alert: HighMemory, expr: up, keep_firing_for: 5m}", "keep_firing_for"),
        ("{alert: HighMemory}", "expr: empty"),
        ("{", "not valid YAML"),
    ],
)
def test_a_file_without_that_rule_is_told(cluster, text, named):
    """Nothing is written."""
    assert named in cluster.failed("create", rules=text)["error"]
    assert cluster.api.objects == {}
