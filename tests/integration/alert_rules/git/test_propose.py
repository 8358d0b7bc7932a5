"""A change of a rule becomes a branch with one commit that changes one place of one file."""

from pathlib import Path

import pytest
import yaml
from poundcake.alert_rules import change as rule_change
from poundcake.alert_rules.apply import apply as apply_rules
from poundcake.alert_rules.errors import BrokenRules
from poundcake.alert_rules.git import propose as gitops
from poundcake.errors import ExpectedError

from tests.demo import servers
from tests.support.fakes import make_settings
from tests.support.git_servers import GitHubHost, Repository, git

FOLDER = "prometheus/rules/"
HOSTS = """\
# Ann's rules
groups:
  - name: hosts
    rules:
      # is it there?
      - alert: HostDown
        expr: up == 0   # every target
        for: 5m
        labels: {severity: critical}
        annotations:
          summary: '{{ $labels.instance }} is down'
"""
BRANCH = "poundcake/update-HostDown-"


def promtool():
    try:
        return servers.program("promtool")
    except servers.ServerError:
        return None


pytestmark = pytest.mark.skipif(not promtool(), reason="bash tests/demo/install_servers")


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path, files={FOLDER + "hosts.yaml": HOSTS}.items())


def change(operation="update", rule="HostDown", group="hosts", **more):
    if operation == "update" and not more:
        more = {"for_duration": "10m"}
    if operation == "create" and not more:
        more = {"expr": "up == 0"}
    return rule_change.make(operation, "node-alerts", group, rule, **more)


def propose(repository, made=None, reason="", by="", **settings):
    found = {"git_repo_url": repository.url, "git_provider": "none", "promtool_path": promtool()}
    return gitops.propose(make_settings(**dict(found, **settings)), made or change(), reason, by)


def fail(repository, *arguments, **settings):
    with pytest.raises(ExpectedError) as caught:
        propose(repository, *arguments, **settings)
    return str(caught.value)


def test_a_change_is_one_commit_on_a_branch_of_its_own(repository):
    """It is based on the newest main, by the config's author; main itself does not change."""
    before = repository.branches()["main"]
    found = propose(repository, reason="it flaps", by="bob")
    assert repository.branches() == {"main": before, found["branch"]: found["commit"]}
    assert found["branch"].startswith(BRANCH)
    assert git(repository.path, "rev-parse", found["commit"] + "^") == before == found["base"]
    assert repository.changed(found["branch"]) == ["M\t" + FOLDER + "hosts.yaml"]
    text = repository.read(found["branch"], FOLDER + "hosts.yaml")
    assert text == HOSTS.replace("for: 5m", "for: 10m")
    log = repository.log(found["branch"])
    assert log.startswith("PoundCake <poundcake@example.com>\nUpdate alert rule HostDown\n\n")
    for line in ("for_duration: 10m", "reason: it flaps", "proposed_by: bob", "PoundCake-Change: "):
        assert line in log


def test_the_answer_says_what_was_done(repository):
    """It has the file, the diff and what checked it; without a provider, no pull request."""
    found = propose(repository)
    assert found["changed"] and found["pushed"] and found["checked_by"] == "promtool"
    assert (found["url"], found["number"], found["state"]) == (None, None, "none")
    assert found["file"] == FOLDER + "hosts.yaml"
    lines = found["diff"].splitlines()
    assert lines[:2] == ["--- a/" + found["file"], "+++ b/" + found["file"]]
    changed = [line for line in lines[2:] if line[0] in "+-"]
    assert changed == ["-        for: 5m", "+        for: 10m"]


def test_the_same_change_again_is_the_same_commit(repository):
    """Nothing is pushed; a different reason is still the same change."""
    first = propose(repository, reason="a")
    again = propose(repository, reason="b")
    assert (again["commit"], again["pushed"]) == (first["commit"], False)


def test_another_change_has_another_branch(repository):
    """So a later proposal does not replace it."""
    first, second = propose(repository), propose(repository, change(for_duration="20m"))
    assert first["branch"] != second["branch"] and len(repository.branches()) == 3


def test_when_main_has_moved_the_same_change_moves_with_it(repository):
    """Its commit is replaced by one on the newest main, which has the work of others."""
    first = propose(repository)
    moved = repository.write({FOLDER + "hosts.yaml": HOSTS.replace("up == 0", "up < 1")})
    again = propose(repository)
    assert again["pushed"] and again["branch"] == first["branch"]
    assert again["base"] == moved and again["commit"] != first["commit"]
    text = repository.read(again["branch"], FOLDER + "hosts.yaml")
    assert "up < 1" in text and "for: 10m" in text


def test_a_commit_of_somebody_else_on_the_branch_is_not_overwritten(repository):
    """The error says who made it, and what to do."""
    first = propose(repository)
    theirs = repository.write({FOLDER + "hosts.yaml": HOSTS}, first["branch"])
    told = fail(repository)
    assert "branch: Ann <ann@example.com> pushed to the branch of this change" in told
    assert "propose the change again" in told
    assert repository.branches()[first["branch"]] == theirs


def test_what_somebody_adds_beside_the_change_stays(repository):
    """Such as a merge of main: the branch has the change, and nothing needs to be pushed."""
    first = propose(repository)
    theirs = repository.write({"README.md": "More.\n"}, first["branch"])
    again = propose(repository)
    assert (again["commit"], again["pushed"]) == (theirs, False)


def test_a_push_between_look_and_push_is_not_overwritten(repository, monkeypatch):
    """The lease protects it: the branch must still be at the commit that was fetched."""
    first = propose(repository)
    repository.write({"more": "x"})  # so that there is something to push
    commit = gitops.git_remote.Remote.commit

    def after_somebody(self, *arguments):
        repository.write({"theirs": "x"}, first["branch"])
        return commit(self, *arguments)

    monkeypatch.setattr(gitops.git_remote.Remote, "commit", after_somebody)
    told = fail(repository)
    assert told.startswith("branch: somebody else has just pushed to " + first["branch"])
    assert repository.read(first["branch"], "theirs") == "x\n"


def test_a_change_that_main_has_already_does_nothing(repository):
    """No branch, no pull request."""
    found = propose(repository, change(for_duration="5m"))
    assert found["changed"] is False and list(repository.branches()) == ["main"]
    merged = propose(repository)
    git(repository.path, "update-ref", "refs/heads/main", merged["commit"])
    assert propose(repository)["changed"] is False


def test_a_new_rule_gets_the_file_of_the_pattern(repository):
    """Characters that are not allowed in a file name become _."""
    found = propose(repository, change("create", "Disk full/nearly?"))
    assert found["file"] == FOLDER + "Disk_full_nearly_.yaml"
    assert repository.changed(found["branch"]) == ["A\t" + found["file"]]
    written = yaml.safe_load(repository.read(found["branch"], found["file"]))
    assert written["groups"][0]["rules"] == [{"alert": "Disk full/nearly?", "expr": "up == 0"}]


def test_a_new_rule_joins_the_file_of_its_group_where_the_pattern_says_so(repository):
    """One file a group."""
    found = propose(repository, change("create", "B"), git_file_pattern="{group_name}.yaml")
    assert repository.changed(found["branch"]) == ["M\t" + FOLDER + "hosts.yaml"]
    assert repository.read(found["branch"], found["file"]).startswith(HOSTS)


def test_a_rule_that_is_there_is_not_created_in_a_second_file(repository):
    """In any file; the same rule with another severity goes there, too."""
    told = fail(repository, change("create", expr="up < 1", severity="critical"))
    assert "already exists in the group hosts" in told and FOLDER + "hosts.yaml" in told
    found = propose(repository, change("create", expr="up < 1", severity="warning"))
    assert found["file"] == FOLDER + "hosts.yaml"


def test_a_manifest_is_changed_and_made(repository):
    """With the namespace and labels of the config."""
    settings = {
        "git_file_form": "PrometheusRule",
        "git_file_pattern": "{crd_name}.yaml",
        "git_rules_path": "k8s",
        "crd_labels": {"release": "prom"},
    }
    first = propose(repository, change("create"), **settings)
    made = yaml.safe_load(repository.read(first["branch"], "k8s/node-alerts.yaml"))
    assert (made["kind"], made["metadata"]["labels"]) == ("PrometheusRule", {"release": "prom"})
    git(repository.path, "update-ref", "refs/heads/main", first["commit"])
    second = propose(repository, change(), **settings)
    assert repository.changed(second["branch"]) == ["M\tk8s/node-alerts.yaml"]


def test_the_last_rule_of_a_file_takes_the_file_with_it(repository):
    """Prometheus needs no empty one."""
    found = propose(repository, change("delete"))
    assert repository.changed(found["branch"]) == ["D\t" + FOLDER + "hosts.yaml"]
    assert found["checked_by"] is None and found["pushed"]


def test_a_rule_in_two_files_is_ambiguous(repository):
    """Unless one of them is the file of the pattern."""
    repository.write({FOLDER + "copy.yml": HOSTS, "elsewhere/hosts.yaml": HOSTS})
    told = fail(repository)
    assert told.startswith("rule: HostDown is in %scopy.yml, %shosts.yaml" % (FOLDER, FOLDER))
    found = propose(repository, git_file_pattern="{group_name}.yaml")
    assert found["file"] == FOLDER + "hosts.yaml"


def test_a_rule_that_is_nowhere_is_told(repository):
    """The message says where PoundCake looked."""
    told = fail(repository, change(rule="Nothing"))
    assert told.startswith("rule: no file below prometheus/rules has node-alerts with a rule")


def test_files_that_are_none_of_ours_are_passed_over(repository):
    """A repository may have templates, pictures and large files."""
    repository.write(
        {
            FOLDER + "helm.yaml": "{{- if x }}\n# HostDown\n{{- end }}\n",
            FOLDER + "odd.yaml": b"\xff HostDown",
            FOLDER + "large.yaml": "# HostDown\n" * 120000,
            FOLDER + "caf\u00e9 \u2713.txt": HOSTS,
        }
    )
    assert propose(repository)["file"] == FOLDER + "hosts.yaml"


@pytest.mark.parametrize(
    "content, reason",
    [
        ("{{- if x }}\n- alert: Other\n{{- end }}\n", "not valid YAML"),
        (b"\xff\n- alert: Other\n", "is not UTF-8"),
        ("# Other\n" * 140000, "has more than 1048576 bytes"),
    ],
    ids=["template", "no_text", "large"],
)
@pytest.mark.parametrize("operation", ["create", "update", "delete"])
def test_a_rule_that_may_be_in_an_unreadable_file_is_left_to_a_person(
    repository, operation, content, reason
):
    """A second one of it would fire, too; and it is not missing."""
    repository.write({FOLDER + "helm.yaml": content})
    error = fail(repository, change(operation, "Other"))
    assert error.startswith("file: ") and reason in error and FOLDER + "helm.yaml" in error


def test_a_folder_that_is_too_large_is_not_searched(repository, monkeypatch):
    """All its files would be read into memory."""
    monkeypatch.setattr(gitops, "MOST_BYTES", 100)
    assert fail(repository).startswith("git_rules_path: the YAML files below prometheus/rules have")


@pytest.mark.parametrize(
    "text, says",
    [(b"\xff", "is not UTF-8"), (b"# x\n" * 300000, "has more than 1048576 bytes")],
    ids=["no_text", "large"],
)
def test_a_file_of_the_pattern_that_cannot_be_read_is_told(repository, text, says):
    """It would be overwritten otherwise."""
    repository.write({FOLDER + "B.yaml": text})
    told = fail(repository, change("create", "B"))
    assert told.startswith("file: %sB.yaml %s" % (FOLDER, says))


def test_a_broken_rule_is_not_proposed(repository):
    """No branch is made of it; the error has the rule and the reason."""
    with pytest.raises(BrokenRules) as caught:
        propose(repository, change(expr="sum("))
    (error,) = caught.value.details["errors"]
    assert (error["group"], error["rule"]) == ("hosts", "HostDown")
    assert "unclosed left parenthesis" in error["reason"]
    assert list(repository.branches()) == ["main"]


@pytest.mark.parametrize(
    "links, says",
    [
        ({FOLDER + "HostUp.yaml": "/etc/passwd"}, FOLDER + "HostUp.yaml is a symlink"),
        ({"elsewhere": "../.."}, "elsewhere is a symlink"),
    ],
    ids=["file", "folder"],
)
def test_a_symlink_of_the_repository_is_not_followed(repository, links, says):
    """Neither the file nor a folder above it."""
    repository.write({}, links=links.items())
    path = "elsewhere/rules" if "elsewhere" in links else FOLDER
    told = fail(repository, change("create", "HostUp"), git_rules_path=path)
    assert told.startswith("file: " + says)


def test_a_symlink_beside_the_rules_is_passed_over(repository):
    """Only regular files count."""
    repository.write({}, links={FOLDER + "a.yaml": "hosts.yaml"}.items())
    assert propose(repository)["file"] == FOLDER + "hosts.yaml"


def test_a_file_in_the_place_of_a_folder_is_told(repository):
    """The file stays."""
    told = fail(repository, change("create", "B"), git_rules_path="README.md")
    assert told.startswith("file: README.md is not a regular file or folder")


def test_nothing_of_a_repository_is_run(repository, tmp_path, monkeypatch):
    """Its hooks, attributes and filters have no work tree to act on; neither has the node's own
    config of git."""
    ran = tmp_path / "ran"
    script = "#!/bin/sh\ntouch %s\n" % ran
    repository.write(
        {
            ".gitattributes": "* filter=evil\n",
            ".githooks/pre-push": script,
            ".gitmodules": '[submodule "x"]\n\tpath = x\n\turl = ext::touch %s\n' % ran,
        }
    )
    home = tmp_path / "home"
    home.mkdir()
    (home / "hook").mkdir()
    (home / "hook" / "pre-push").write_text(script)
    (home / "hook" / "pre-push").chmod(0o755)
    config = '[core]\n\thooksPath = %s\n[filter "evil"]\n\tclean = touch %s\n'
    (home / ".gitconfig").write_text(config % (home / "hook", ran))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_SSH_COMMAND", "touch %s" % ran)
    assert propose(repository)["pushed"] and not ran.exists()


@pytest.mark.parametrize(
    "settings, start",
    [
        ({"git_repo_url": ""}, "git_repo_url: not set"),
        ({"git_repo_url": "file:///no/such/repository"}, "git_repo_url: git ls-remote ended with"),
        ({"git_branch": "release"}, "git_branch: the repository has no branch release"),
        ({"git_branch": "--upload-pack=x"}, 'git_branch: "--upload-pack=x" is not a valid'),
        ({"git_branch": "a..b"}, "git_branch: "),
        ({"git_branch_prefix": "-x/"}, "git_branch_prefix: "),
        ({"git_branch_prefix": "a b/"}, "git_branch_prefix: "),
        ({"git_branch_prefix": "x/../"}, "git_branch_prefix: "),
        ({"git_rules_path": "../x"}, "git_rules_path: "),
        ({"git_rules_path": "a/.git"}, "git_rules_path: "),
        ({"git_rules_path": "a/.GIT/b"}, "git_rules_path: "),
        ({"git_rules_path": "-a"}, "git_rules_path: "),
        ({"git_file_pattern": "../{alert_name}.yaml"}, "git_file_pattern: "),
        (
            {"git_file_pattern": "{alert_name}"},
            'git_file_pattern: "{alert_name}"; expected a name ending in',
        ),
        ({"git_file_pattern": "all.yaml"}, 'git_file_pattern: "all.yaml"; expected {alert_name}'),
        (
            {"git_file_pattern": "{alertname}.yaml"},
            'git_file_pattern: "{alertname}.yaml"; expected {alert_name}',
        ),
        ({"git_file_form": "helm"}, 'git_file_form: unknown "helm"'),
        (
            {"git_file_form": "PrometheusRule"},
            "git_file_pattern: each PrometheusRule needs its own file",
        ),
        ({"git_user_email": ""}, "git_user_email: "),
        ({"git_user_name": "a <b>"}, "git_user_name: "),
        ({"git_token": "a\nb"}, "git_token: has a character"),
        ({"git_provider": "github"}, "git_token: not set"),
        ({"promtool_path": "/no/promtool"}, "promtool_path: /no/promtool does not exist"),
    ],
)
def test_a_setting_that_cannot_work_is_named(repository, settings, start):
    """And nothing is pushed."""
    assert fail(repository, **settings).startswith(start)
    assert list(repository.branches()) == ["main"]


def test_without_git_on_the_node_that_is_told(repository, monkeypatch, tmp_path):
    """With the remedy."""
    monkeypatch.setenv("PATH", str(tmp_path))
    message = fail(repository)
    assert message.startswith("git: cannot be run on this StackStorm node: ")
    assert message.endswith(". Install git")


def test_a_push_that_the_server_refuses_is_told_in_its_words(repository):
    """Such as a protected branch."""
    repository.hook("pre-receive", "echo 'this branch is protected' >&2; exit 1\n")
    told = fail(repository)
    assert told.startswith("git_repo_url: git push ended with status 1")
    assert "this branch is protected" in told


def test_a_git_that_does_not_end_is_ended(repository):
    """Its child processes end, too, and the error names the setting."""
    repository.hook("pre-receive", "echo $$ > pid; exec sleep 60\n")
    told = fail(repository, git_timeout_seconds=3)
    assert told == "git_timeout_seconds: git push did not finish within 3 s in all"
    stat = Path("/proc", (repository.path / "pid").read_text().strip(), "stat")
    servers.wait_until(lambda: not stat.exists() or ") Z " in stat.read_text(), "sleep to end")


def test_a_proposal_is_a_pull_request_and_the_same_one_updates_it(repository):
    """What a reviewer reads is in a fence: nothing in it is a mention or a command."""
    with GitHubHost(repository) as host:
        settings = host.settings()
        made = change(annotations={"summary": "```\n/merge @everyone"})
        first = propose(repository, made, "it flaps", "ann", **settings)
        again = propose(repository, made, "it flaps a lot", "ann", **settings)
    (pull,) = host.pulls
    assert (first["state"], again["state"]) == ("opened", "updated")
    assert first["number"] == again["number"] == pull["number"]
    assert first["url"] == again["url"] and first["url"].endswith("/team/rules/pull/1")
    assert (pull["head"], pull["base"]) == (first["branch"], "main")
    assert pull["title"] == "Update alert rule HostDown"
    assert pull["body"].startswith("````yaml\n") and pull["body"].endswith("\n````\n")
    assert "reason: it flaps a lot" in pull["body"]
    assert again["pushed"] is False


def test_a_pull_request_that_fails_leaves_a_branch_and_says_so(repository):
    """The error says what is done; the same change again opens the pull request."""
    with GitHubHost(repository) as host:
        settings = host.settings()
        create, host.check_new = host.check_new, lambda sent: 1 / 0  # the connection ends
        with pytest.raises(ExpectedError) as caught:
            propose(repository, **settings)
        details = caught.value.details
        assert repository.branches()[details["branch"]] == details["commit"]
        assert "The branch %s is pushed" % details["branch"] in str(caught.value)
        host.check_new = create
        again = propose(repository, **settings)
    assert (again["state"], again["commit"]) == ("opened", details["commit"])


# --- many rules, one pull request ---------------------------------------------------------------


def apply(repository, rules, reason="", resource="node-alerts", by="", **settings):
    found = {"git_repo_url": repository.url, "git_provider": "none", "promtool_path": promtool()}
    found = make_settings(**dict(found, crd_enabled=False, **settings))
    return apply_rules(found, "", rules, resource, reason=reason, by=by)


MANY = """
groups:
  - name: hosts
    rules:
      - {alert: HostDown, expr: up == 0, labels: {severity: critical, team: infra}}
      - {alert: HostDown, expr: up == 0, for: 1h, labels: {severity: page}}
      - {alert: HostSlow, expr: load > 9}
  - name: disks
    rules:
      - {alert: DiskFull, expr: used > 90}
"""


def test_all_changes_are_one_commit_and_one_pull_request(repository):
    """A rule that is there becomes what is wanted, without what it had before."""
    with GitHubHost(repository) as host:
        found = apply(repository, MANY, "a new team", by="ann", **host.settings())
        again = apply(repository, MANY, "a new team", by="ann", **host.settings())
    (pull,) = host.pulls
    assert pull["title"] == "Apply 4 alert rules" and "proposed_by: ann" in pull["body"]
    assert "- node-alerts/hosts/HostSlow" in pull["body"]
    assert found["updated"] == ["node-alerts/hosts/HostDown (critical)"]
    assert found["created"] == [
        "node-alerts/hosts/HostDown (page)",
        "node-alerts/hosts/HostSlow",
        "node-alerts/disks/DiskFull",
    ]
    done = found["pull_request"]
    assert done["files"] == [
        FOLDER + one for one in ("DiskFull.yaml", "HostSlow.yaml", "hosts.yaml")
    ]
    assert (done["state"], again["pull_request"]["state"]) == ("opened", "updated")
    assert again["pull_request"]["commit"] == done["commit"]
    assert again["pull_request"]["pushed"] is False
    assert done["branch"].startswith("poundcake/apply-")
    text = repository.read(done["branch"], FOLDER + "hosts.yaml")
    assert text.startswith("# Ann's rules")
    first, second = yaml.safe_load(text)["groups"][0]["rules"]
    labels = {"severity": "critical", "team": "infra"}
    assert first == {"alert": "HostDown", "expr": "up == 0", "labels": labels}
    assert second["for"] == "1h"


def test_rules_that_git_has_already_open_no_pull_request(repository):
    """Nothing is pushed."""
    found = apply(repository, HOSTS)
    assert found["unchanged"] == ["node-alerts/hosts/HostDown (critical)"]
    assert found["pull_request"]["changed"] is False
    assert list(repository.branches()) == ["main"]


@pytest.mark.parametrize(
    "rules, settings, named",
    [
        (MANY.replace("used > 90", "used >"), {}, "DiskFull"),
        ("groups: [{name: g, rules: [{record: a, expr: up}]}]", {}, "has record"),
        ("groups: [{name: g, interval: 1m, rules: [{alert: A, expr: up}]}]", {}, "has interval"),
        (MANY, {"git_repo_url": ""}, "nowhere to write"),
    ],
)
def test_what_cannot_be_proposed_is_told_and_nothing_is_pushed(repository, rules, settings, named):
    """Not even the rules that are fine."""
    with pytest.raises(ExpectedError) as caught:
        apply(repository, rules, **settings)
    assert named in str(caught.value)
    assert list(repository.branches()) == ["main"]


def test_git_alone_cannot_prune(repository):
    """Nothing there says who wrote a rule."""
    found = make_settings(git_repo_url=repository.url, crd_enabled=False)
    with pytest.raises(ExpectedError) as caught:
        apply_rules(found, "", MANY, "node-alerts", "sre", True)
    assert str(caught.value).startswith("prune: ")
