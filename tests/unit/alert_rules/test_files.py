"""A rule file is changed in place: what is not the change is not touched, byte for byte."""

import copy

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from poundcake.alert_rules import change as rule_change
from poundcake.alert_rules import files
from poundcake.errors import ExpectedError

from tests.support.fakes import PROPERTY

ODD = """\
groups:
  - name: 2024
    limit: 5
    labels: {team: 007}
    rules:
      - alert: OddLabels
        expr: 1e3
        labels: &odd
          page: true
          inhibit: False
          quiet: off
          version: 1.10
          ratio: 0.90
          zone: 010
          big: 1e3
          hexa: 0x1F
          under: 1_000
          since: 2024-01-01
          010: yes
          empty:
        annotations:
          runbook: 0042
      - record: 1
        expr: 0x1F
        labels: {<<: *odd, list: [1.10]}
"""
RULES = """\
# Alerts of the hosts. Owner: team-infra

groups:
- name: hosts      # everything that runs Linux
  interval: 30s
  rules:
    # Every scrape target is a host here.
    - alert: HostDown
      expr: up{job='node'}  ==  0     # as the scrape sees it
      for: "5m"
      labels:
          severity: critical          # pages somebody
          team: infra
      annotations:
          summary: "{{ $labels.instance }} is down"
          description: >-
              Somebody should look,
              and soon.

    # Slow is not down.
    - alert: HostSlow
      expr: |
        # the longest one
        node_load5
          > 9

      # as long as a backup takes
      for: 2h

    - record: job:up:sum
      expr: sum by (job) (up)

  # - alert: Retired
  #   expr: vector(1)

- name: disks
  rules:
    - {alert: DiskFull, expr: free < 1, labels: {severity: page}}
# the end
"""

MANIFESTS = """\
---
apiVersion: v1
kind: ConfigMap
metadata: {name: node-alerts}
data: {groups: none}
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: other-alerts
spec:
  groups:
  - name: hosts
    rules:
    - alert: HostDown
      expr: other == 0
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: node-alerts # ours
spec:
  groups:
  - name: hosts
    rules:
    - alert: HostDown
      expr: up == 0
"""


def change(operation, rule="HostDown", group="hosts", **more):
    return rule_change.make(operation, "node-alerts", group, rule, **more)


def edited(made, text=RULES):
    """Return the text after a change, which must mean what the change does to plain values."""
    after, groups = files.apply(made, text)
    found = list(yaml.safe_load_all(after))[-1]
    wanted = list(yaml.safe_load_all(text))[-1]
    wanted = wanted.get("spec", wanted)["groups"] or []
    rule_change.apply(made, wanted)
    assert found.get("spec", found)["groups"] == groups == wanted
    return after


def test_an_update_touches_the_lines_that_it_changes():
    """Comments, quotes, widths and blanks of the rest are as they were."""
    made = change("update", expr="up == 0", for_duration="10m", labels={"team": None, "tier": "1"})
    wanted = RULES.replace("up{job='node'}  ==  0 ", "up == 0 ").replace('"5m"', '"10m"')
    assert edited(made) == wanted.replace("team: infra", 'tier: "1"')


def test_a_block_of_text_gives_way_to_a_line():
    """A new field stands where it usually does."""
    made = change("update", "HostSlow", expr="node_load5 > 8", severity="warning")
    before = "|\n        # the longest one\n        node_load5\n          > 9\n"
    wanted = RULES.replace(before, "node_load5 > 8\n")
    wanted = wanted.replace("for: 2h\n", "for: 2h\n      labels:\n        severity: warning\n")
    assert edited(made) == wanted


def test_a_line_gives_way_to_a_block_of_text():
    """On one line where a comment follows: it would become text."""
    made = change("update", annotations={"description": "a\nb: c\n"}, expr="up\n== 0")
    wanted = RULES.replace("up{job='node'}  ==  0 ", '"up\\n== 0" ').replace(
        ">-\n              Somebody should look,\n              and soon.\n",
        "|\n            a\n            b: c\n",
    )
    assert edited(made) == wanted


def test_a_rule_is_put_behind_the_last_one_of_its_group():
    """Set off as the others are, and before what comments follow them."""
    made = change(
        "create",
        "HostHot",
        expr='temperature{unit="C"} > 80',
        severity="on",
        annotations={"summary": "{{ $labels.instance }} is hot"},
    )
    last = "      expr: sum by (job) (up)\n"
    new = """
    - alert: HostHot
      expr: temperature{unit="C"} > 80
      labels:
        severity: "on"
      annotations:
        summary: "{{ $labels.instance }} is hot"
"""
    assert edited(made) == RULES.replace(last, last + new)


def test_a_group_is_put_behind_the_last_one():
    """Indented as the others are; a file may lack its last line break."""
    made = change("create", "A", "new", expr="up == 0")
    new = "\n- name: new\n  rules:\n    - alert: A\n      expr: up == 0\n"
    assert edited(made) == RULES.replace("# the end\n", new[1:] + "# the end\n").replace(
        "page}}\n- name", "page}}\n\n- name"
    )
    text = "groups:\n  - name: a\n    rules:\n    - {alert: B, expr: up}"
    new = "\n  - name: new\n    rules:\n    - alert: A\n      expr: up == 0"
    assert edited(made, text) == text + new


@pytest.mark.parametrize("rule, first, last", [("HostDown", 7, 20), ("HostSlow", 20, 30)])
def test_a_rule_goes_with_the_comment_right_above_it(rule, first, last):
    """And with no other; of the blank lines around it one stays, or none at the beginning."""
    lines = RULES.splitlines(keepends=True)
    after = edited(change("delete", rule))
    kept = lines[: first - 1] + lines[last - 1 :]
    assert [line for line in after.splitlines(True) if line.strip()] == [
        line for line in kept if line.strip()
    ]
    assert "\n\n\n" not in after


def test_a_comment_inside_an_expression_above_is_none():
    """It is text of the rule above, and stays."""
    text = "groups:\n- name: hosts\n  rules:\n"
    text += "  - alert: A\n    expr: |\n      up\n      # why\n  - alert: HostDown\n    expr: up\n"
    assert edited(change("delete"), text) == text[: text.index("  - alert: HostDown")]


def test_a_group_goes_with_its_last_rule_and_a_file_with_its_last_group():
    """Nobody needs an empty one."""
    gone = RULES[RULES.index("- name: disks") : RULES.index("# the end")]
    assert edited(change("delete", "DiskFull", "disks")) == RULES.replace(gone, "")
    text = "groups: [{name: hosts, rules: [{alert: HostDown, expr: up}]}]\n"
    assert files.apply(change("delete"), text) == (None, [])


def test_what_is_in_braces_stays_in_braces():
    """The smallest of them that changes is written anew."""
    made = change("update", "DiskFull", "disks", labels={"team": "a, b"})
    wanted = RULES.replace("{severity: page}", "{severity: page, team: 'a, b'}")
    assert edited(made) == wanted


@pytest.mark.parametrize(
    "empty, comment",
    [("groups:\n", ""), ("groups: []\n", ""), ("---\n# none yet\ngroups: [] # yet\n", " # yet")],
)
def test_a_file_without_groups_takes_the_first(empty, comment):
    """As somebody prepared it."""
    after = edited(change("create", expr="up == 0"), empty)
    assert after.endswith("expr: up == 0%s\n" % comment)
    assert ("# none yet" in after) == ("# none yet" in empty)


def test_no_change_is_the_same_text():
    """To the byte."""
    assert files.apply(change("update", for_duration="5m"), RULES)[0] is RULES


def test_of_several_resources_the_one_of_the_name_is_changed():
    """The other documents are not touched; the last group leaves an empty list."""
    made = change("update", expr="up < 1")
    assert edited(made, MANIFESTS) == MANIFESTS.replace("expr: up == 0", "expr: up < 1")
    after = edited(change("delete"), MANIFESTS)
    assert after == MANIFESTS[: MANIFESTS.rindex("  - name: hosts")] + "   []\n"


def test_windows_line_ends_stay():
    """A file has one kind of them."""
    made = change("create", "A", expr="up == 0", annotations={"a": "b\nc"})
    after, _ = files.apply(made, RULES.replace("\n", "\r\n"))
    assert after == edited(made).replace("\n", "\r\n")


def test_a_rule_is_in_a_file_or_not():
    """By resource, group and name; YAML that is no rule file has none."""
    assert files.has(change("delete"), RULES) and files.has(change("delete"), MANIFESTS)
    assert not files.has(change("delete", "DiskFull"), RULES)
    assert not files.has(change("delete"), MANIFESTS.replace("node-alerts", "x"))
    assert not files.has(change("delete"), "groups: HostDown")


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    "%s: &%s [%s]\n" % (one, one, ", ".join(["*" + other] * 9))
    for other, one in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    "text, says",
    [
        ("{{- if .Values.rules }}\ngroups: []\n{{- end }}\n", "not valid YAML"),
        ("groups: []\ngroups: []\n", "not valid YAML"),
        ("groups: !vault x\n", "not valid YAML"),
        ("a: &a [*a]\ngroups: []\n", "contains itself"),
        (BOMB + "groups: []\n", "more than 200000 values"),
        ("[" * 1200, "not valid YAML"),
        ("", "neither groups nor a PrometheusRule"),
        ("a: b\n", "neither groups nor a PrometheusRule"),
        (MANIFESTS.replace("node-alerts", "x"), "neither groups nor a PrometheusRule"),
        ("groups: {}\n", "not a list of groups"),
        ("groups: [{rules: []}]\n", "not a list of groups"),
        ("groups: []\n---\ngroups: []\n", "several documents have groups, and 0 have"),
    ],
    ids=[
        "helm",
        "twice",
        "tag",
        "itself",
        "bomb",
        "deep",
        "empty",
        "other",
        "others",
        "mapping",
        "nameless",
        "several",
    ],
)
def test_a_file_that_cannot_be_changed_says_why(text, says):
    """There is never a traceback and never half a file."""
    with pytest.raises(ExpectedError) as caught:
        files.apply(change("create", expr="up == 0"), text)
    assert says in str(caught.value)


def test_what_an_alias_would_change_elsewhere_is_refused():
    """Two groups share their rules, so a change of one would change both."""
    text = "groups:\n- name: hosts\n  rules: &r\n  - alert: HostDown\n    expr: up\n"
    text += "- name: b\n  rules: *r\n"
    with pytest.raises(ExpectedError) as caught:
        files.apply(change("update", expr="up == 0"), text)
    assert "change it by hand" in str(caught.value)


def test_a_new_file_is_a_rule_file_or_a_resource():
    """With the namespace and the labels of the config."""
    made = change("create", expr="up == 0", severity="critical")
    text, groups = files.new(made, files.RULES, "", {})
    assert text == (
        "groups:\n  - name: hosts\n    rules:\n      - alert: HostDown\n        expr: up == 0\n"
        "        labels:\n          severity: critical\n"
    )
    text, again = files.new(made, files.RESOURCE, "monitoring", {"release": "prom"})
    found = yaml.safe_load(text)
    assert found["spec"]["groups"] == groups == again
    assert found["kind"] == "PrometheusRule"
    assert found["apiVersion"] == "monitoring.coreos.com/v1"
    assert found["metadata"] == {
        "name": "node-alerts",
        "namespace": "monitoring",
        "labels": {"release": "prom"},
    }


TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20)
VALUES = TEXT | st.sampled_from(["yes", "1", "1:30", "null", "~", "a\nb", "a: b", "- x", "#", "'"])
LABELS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=3)


@given(st.data())
@PROPERTY
def test_whatever_is_written_reads_as_what_was_wanted(data):
    """Any text, in any of the layouts, for every kind of change; lines of others stay."""
    text = data.draw(st.sampled_from([RULES, RULES.replace("\n", "\r\n"), MANIFESTS]))
    operation = data.draw(st.sampled_from(["create", "update"]))
    more = {"labels": data.draw(LABELS), "annotations": data.draw(LABELS)}
    expr = data.draw(VALUES.filter(str.strip))
    rule = "HostDown" if operation == "update" else data.draw(TEXT.filter(str.strip))
    made = change(operation, rule if rule.isprintable() else "New", expr=expr, **more)
    document = list(yaml.safe_load_all(text))[-1]
    before = document.get("spec", document)["groups"]
    wanted = copy.deepcopy(before)
    try:
        rule_change.apply(made, wanted)
    except ExpectedError:
        return
    after, groups = files.apply(made, text)
    assert groups == wanted
    for line in text.splitlines():
        if "#" in line and "as the scrape sees it" not in line:
            assert line in after.splitlines()


def test_texts_of_rules_are_read_as_they_are_written():
    """As Prometheus reads them: alerts are routed by these values. Numbers stay numbers."""
    (document,) = files.documents(ODD)
    (group,) = document["groups"]
    alert, record = group["rules"]
    labels = {
        "page": "true",
        "inhibit": "False",
        "quiet": "off",
        "version": "1.10",
        "ratio": "0.90",
        "zone": "010",
        "big": "1e3",
        "hexa": "0x1F",
        "under": "1_000",
        "since": "2024-01-01",
        "010": "yes",
        "empty": None,
    }
    assert (group["name"], group["limit"], group["labels"]) == ("2024", 5, {"team": "007"})
    assert alert["labels"] == labels and alert["annotations"] == {"runbook": "0042"}
    assert (alert["expr"], record["record"], record["expr"]) == ("1e3", "1", "0x1F")
    assert record["labels"] == dict(labels, list=[1.1])


@pytest.mark.parametrize("wrap", ["spec: {%s}", "items: [{spec: {%s}}]"])
def test_so_are_those_of_resources(wrap):
    """PrometheusRules have the same rules, and lists of them, too."""
    text = "groups: [{name: g, rules: [{alert: A, labels: {v: 1.10}}]}]"
    (document,) = files.documents(wrap % text)
    holder = document["spec"] if "spec" in document else document["items"][0]["spec"]
    assert holder["groups"][0]["rules"][0]["labels"] == {"v": "1.10"}


def test_a_label_without_quotes_is_kept_by_a_change():
    """And a change can name its rule by it."""
    source = ODD[: ODD.index("      - record")].replace("page: true", "severity: 010")
    source = source.replace("          empty:\n", "")
    change = rule_change.make("update", "r", "2024", "OddLabels", severity="010", expr="up")
    edited, _ = files.apply(change, source)
    assert edited == source.replace("expr: 1e3", "expr: up")


@pytest.mark.parametrize("written", ["It's", "'It''s'", '"It\'s"', '"It\\u0027s"'])
def test_a_name_is_found_however_it_is_written(written):
    """YAML has several ways."""
    change = rule_change.make("delete", "r", "g", "It's")
    source = "groups: [{name: g, rules: [{alert: %s, expr: up}]}]" % written
    assert files.may_have(change, source.encode()) and files.has(change, source)


def test_a_file_that_cannot_be_read_is_no_file_without_the_rule():
    """It may have it."""
    with pytest.raises(ExpectedError, match="file: not valid YAML"):
        files.has(rule_change.make("delete", "r", "g", "A"), "{{- if x }}\n- alert: A\n")
