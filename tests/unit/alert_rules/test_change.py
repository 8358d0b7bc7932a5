"""A change of an alert rule is applied to groups of rules, or fails with a reason."""

import copy

import pytest
from poundcake.alert_rules import change as rule_change
from poundcake.alert_rules.errors import RuleMissing
from poundcake.errors import ExpectedError


def groups():
    """Return two groups; SlowDisk exists once for each severity, as is usual."""
    return [
        {
            "name": "hosts",
            "interval": "30s",
            "rules": [
                {"alert": "HostDown", "expr": "up == 0", "for": "5m", "labels": {"severity": "x"}},
                {"record": "job:up:sum", "expr": "sum by (job) (up)"},
            ],
        },
        {
            "name": "disks",
            "rules": [
                {"alert": "SlowDisk", "expr": "d > 1", "labels": {"severity": "warning"}},
                {"alert": "SlowDisk", "expr": "d > 2", "labels": {"severity": "critical"}},
            ],
        },
    ]


def change(operation, group="hosts", rule="HostDown", **more):
    return rule_change.make(operation, "node-alerts", group, rule, **more)


def applied(made, before=None):
    """Return whether a change changed anything, and the groups after it."""
    after = groups() if before is None else before
    return rule_change.apply(made, after), after


def test_a_rule_is_created_at_the_end_of_its_group():
    """With what was given, and no empty fields."""
    made = change(
        "create",
        rule="HostSlow",
        expr="load > 9",
        for_duration="10m",
        severity="warning",
        labels={"team": "db"},
        annotations={"summary": "{{ $labels.instance }} is slow"},
    )
    changed, after = applied(made)
    assert changed and after[0]["rules"][2] == {
        "alert": "HostSlow",
        "expr": "load > 9",
        "for": "10m",
        "labels": {"team": "db", "severity": "warning"},
        "annotations": {"summary": "{{ $labels.instance }} is slow"},
    }
    bare = rule_change.new_rule(change("create", expr="up == 0"))
    assert list(bare) == ["alert", "expr"]


def test_a_group_that_is_not_there_is_made():
    """At the end; the others are as they were."""
    changed, after = applied(change("create", group="new", expr="up == 0"))
    assert changed and after[:2] == groups()
    assert after[2] == {"name": "new", "rules": [{"alert": "HostDown", "expr": "up == 0"}]}


@pytest.mark.parametrize("rules", [None, []])
def test_a_group_may_have_no_rules_yet(rules):
    """People write both."""
    changed, after = applied(change("create", expr="up == 0"), [{"name": "hosts", "rules": rules}])
    assert changed and len(after[0]["rules"]) == 1


def test_a_rule_that_is_there_already_is_not_created_again():
    """A different rule is an error; the same one is no change, so work can be repeated."""
    with pytest.raises(ExpectedError) as caught:
        applied(change("create", expr="up == 1", severity="x"))
    assert str(caught.value) == (
        'rule: "HostDown" with severity "x" already exists in the group hosts. Update it instead'
    )
    same = change("create", expr="up == 0", for_duration="5m", severity="x")
    assert applied(same) == (False, groups())
    block = groups()
    block[0]["rules"][0]["expr"] += "\n"
    assert not applied(same, copy.deepcopy(block))[0]
    assert applied(change("update", expr="up == 0"), copy.deepcopy(block)) == (False, block)


def test_another_severity_of_a_rule_is_another_rule():
    """As with SlowDisk."""
    changed, after = applied(change("create", expr="up == 0", severity="page"))
    assert changed and len(after[0]["rules"]) == 3


def test_an_update_changes_what_was_given_and_nothing_else():
    """A new field comes into its usual place."""
    made = change("update", expr="up < 1", severity="page", labels={"team": "db"})
    changed, after = applied(made)
    rule = after[0]["rules"][0]
    assert changed and rule == {
        "alert": "HostDown",
        "expr": "up < 1",
        "for": "5m",
        "labels": {"severity": "page", "team": "db"},
    }
    assert after[1] == groups()[1]
    before = [{"name": "hosts", "rules": [{"alert": "HostDown", "expr": "u", "annotations": {}}]}]
    before[0]["rules"][0]["annotations"] = {"a": "b"}
    changed, after = applied(change("update", for_duration="1m", severity="x"), before)
    rule = after[0]["rules"][0]
    assert changed and list(rule) == ["alert", "expr", "for", "labels", "annotations"]


def test_an_update_takes_away_what_has_no_value():
    """And the field with its last name."""
    changed, after = applied(change("update", labels={"severity": None, "absent": None}))
    assert changed and "labels" not in after[0]["rules"][0]


@pytest.mark.parametrize(
    "more",
    [{"expr": "up == 0"}, {"for_duration": "5m"}, {"severity": "x"}, {"labels": {"absent": None}}],
    ids=["expr", "for_duration", "severity", "labels"],
)
def test_an_update_to_what_is_there_changes_nothing(more):
    """And says so."""
    assert applied(change("update", **more)) == (False, groups())


def test_a_rule_is_deleted_and_its_group_with_the_last_one():
    """Nobody needs an empty group."""
    changed, after = applied(change("delete"))
    assert changed and [rule.get("record") for rule in after[0]["rules"]] == ["job:up:sum"]
    single = [{"name": "hosts", "rules": groups()[0]["rules"][:1]}]
    assert applied(change("delete"), single + groups()[1:]) == (True, groups()[1:])


@pytest.mark.parametrize("operation, more", [("update", {"expr": "d > 3"}), ("delete", {})])
def test_of_several_rules_of_a_name_the_severity_says_which(operation, more):
    """Without a severity, PoundCake does not guess."""
    with pytest.raises(ExpectedError) as caught:
        applied(change(operation, "disks", "SlowDisk", **more))
    assert 'more than once, with the severities "warning", "critical"' in str(caught.value)
    changed, after = applied(change(operation, "disks", "SlowDisk", severity="critical", **more))
    rules = after[1]["rules"]
    assert changed and rules[0] == groups()[1]["rules"][0]
    assert [rule["expr"] for rule in rules] == (["d > 1", "d > 3"] if more else ["d > 1"])


@pytest.mark.parametrize(
    "where, says",
    [
        ({"group": "host"}, 'group: node-alerts has no group "host"; expected one of hosts, disks'),
        ({"rule": "Down"}, 'rule: the group hosts has no rule "Down"; expected one of HostDown'),
        ({"rule": "job:up:sum"}, 'rule: the group hosts has no rule "job:up:sum"; expected one of'),
    ],
    ids=["group", "rule", "record"],
)
@pytest.mark.parametrize("operation, more", [("update", {"expr": "1"}), ("delete", {})])
def test_what_is_not_there_is_named_with_what_is(operation, more, where, says):
    """A recording rule is not an alert."""
    before = groups()
    with pytest.raises(RuleMissing) as caught:
        rule_change.apply(change(operation, **dict(more, **where)), before)
    assert str(caught.value).startswith(says) and before == groups()


def test_two_groups_of_one_name_are_ambiguous():
    """Prometheus refuses such a file; its author must choose."""
    with pytest.raises(ExpectedError) as caught:
        applied(change("delete"), groups() + groups()[:1])
    assert str(caught.value) == 'group: "hosts" exists 2 times. Rename all but one'


@pytest.mark.parametrize(
    "odd", [None, {}, [None], [{"rules": []}], [{"name": "hosts", "rules": ["x"]}]]
)
def test_what_are_no_groups_is_an_error(odd):
    """It is never a traceback."""
    with pytest.raises(ExpectedError) as caught:
        rule_change.apply(change("delete"), copy.deepcopy(odd))
    assert str(caught.value).startswith("group: groups is not a list of groups")


@pytest.mark.parametrize(
    "arguments, start",
    [
        (("remove", "r", "g", "n"), 'operation: unknown "remove"; expected one of create, update'),
        (
            ("delete", "Upper", "g", "n"),
            'resource: "Upper"; expected a valid name of a PrometheusRule',
        ),
        (("delete", "../x", "g", "n"), 'resource: "../x"; expected a valid name'),
        (("delete", "-r", "g", "n"), 'resource: "-r"; expected a valid name'),
        (("delete", "r" * 254, "g", "n"), "resource: "),
        (("delete", "r", " ", "n"), "group: "),
        (("delete", "r", "g", "n\nx"), "rule: "),
        (("create", "r", "g", "n"), "expr: empty; expected"),
        (("update", "r", "g", "n"), "expr: nothing to update"),
        (("delete", "r", "g", "n", "up"), "operation: delete takes"),
    ],
)
def test_a_parameter_that_cannot_be_is_named(arguments, start):
    """Before anything is read or written."""
    with pytest.raises(ExpectedError) as caught:
        rule_change.make(*arguments)
    assert str(caught.value).startswith(start)


@pytest.mark.parametrize(
    "operation, more, start",
    [
        ("create", {"labels": {"n": 1}}, "labels: n is not a string"),
        ("update", {"annotations": {"n": {}}}, "annotations: n is not a string"),
        ("create", {"labels": {"n": None}}, "labels: n is null"),
        (
            "create",
            {"labels": {"severity": "a"}, "severity": "b"},
            "severity: labels has a different",
        ),
    ],
)
def test_a_label_or_annotation_that_cannot_be_is_named(operation, more, start):
    """None removes a name, which only an update can do."""
    with pytest.raises(ExpectedError) as caught:
        change(operation, expr="up", **more)
    assert str(caught.value).startswith(start)


def test_an_expression_that_an_answer_made_inert_is_what_it_was():
    """A workflow may read a rule in one action and write it in another; labels stay the same."""
    made = change(
        "create", expr='up❴job="a"} ‹ 1', annotations={"summary": "❴❴ $labels.instance }}"}
    )
    assert made.expr == 'up{job="a"} < 1'
    assert made.annotations == {"summary": "❴❴ $labels.instance }}"}


def test_a_rule_is_there_or_not():
    """By group and name, with any severity."""
    assert rule_change.has(change("delete", "disks", "SlowDisk"), groups())
    assert not rule_change.has(change("delete", "disks", "HostDown"), groups())
    assert not rule_change.has(change("delete", "none", "HostDown"), groups())
