"""Which alerts StackStorm would remediate: a real Prometheus' rules against the pack's own."""

import os
from glob import glob
from unittest import mock

import check_remediation_coverage
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from poundcake.alert_rules import coverage
from poundcake.core import payload
from poundcake.inert import inert
from poundcake.st2 import triggers
from poundcake.st2.criteria import UNKNOWN

from tests.demo import servers
from tests.support.alerts import alert, notification
from tests.support.fakes import PACK, PROPERTY, FakeContent, assert_inert
from tests.support.rows import a_row

TWO = 'label_replace(vector(1), "a", "b", "", "")'  # many to one: Prometheus sees it when it runs
ALERTS = [
    {"alert": "HostDown", "expr": "vector(1) > 2", "labels": {"severity": "critical"}},
    {"alert": "DiskFull", "expr": "vector(1)", "labels": {"team": "infra", "severity": "{{ 1 }}"}},
    {"alert": "Nobody's", "expr": "vector(1) < 0"},
    {"alert": "Broken", "expr": "vector(1) * on() (vector(1) or %s)" % TWO},
    {"alert": "Watchdog", "expr": "vector(1)"},
    {"record": "one", "expr": "vector(1)"},
]


def rule(name, enabled=True, trigger="poundcake.alert", pack="my_pack", **criteria):
    """A StackStorm rule; criteria by label: ``alertname="A"``, ``team=("neq", "")``."""
    found = {}
    for key, asked in criteria.items():
        kind, pattern = ("eq", asked) if isinstance(asked, str) else asked
        path = "trigger." + (key if key in ("alertname", "host") else "labels." + key)
        found[path] = {"type": kind, "pattern": pattern}
    return {
        "pack": pack,
        "name": name,
        "enabled": enabled,
        "trigger": {"type": trigger},
        "criteria": found,
    }


def alerting(name, labels=None, annotations=None, health="ok"):
    found = {"group": "g", "name": name, "kind": "alerting", "state": "inactive", "error": "why"}
    return dict(found, labels=labels or {}, annotations=annotations or {}, health=health)


def covered(alerts, *rules):
    """Return (covered, by) of each alert."""
    found = coverage.compare(alerts, list(rules))
    return [(one["covered"], one["by"]) for one in found["alerts"]]


def test_an_alert_is_remediated_or_not_or_it_depends():
    """By what its rule says of its labels, and no more."""
    disk = alerting("DiskFull", {"team": "infra", "size": "{{ $value }}"})
    (one,) = coverage.compare([disk], [rule("a", alertname="DiskFull")])["alerts"]
    assert (one["covered"], one["by"], one["depends_on"]) == ("yes", ["my_pack.a"], [])
    needs = rule("a", alertname="DiskFull", host=("neq", ""), mountpoint=("regex", "^/var"))
    (one,) = coverage.compare([disk], [needs])["alerts"]
    assert (one["covered"], one["by"]) == ("maybe", ["my_pack.a"])
    assert one["depends_on"] == ["trigger.host neq", "trigger.labels.mountpoint regex ^/var"]
    assert covered([disk], rule("a", alertname="Other")) == [("no", [])]
    assert covered([disk], rule("a", team="db")) == [("no", [])]
    assert covered([disk], rule("a", size="9")) == [("maybe", ["my_pack.a"])]
    assert covered([disk]) == [("no", [])]


def test_every_rule_that_takes_it_is_named_and_a_certain_one_decides():
    """What the others depend on does not matter then."""
    one, two = rule("one", alertname="A"), rule("two", host=("neq", ""))
    assert covered([alerting("A")], two, one) == [("yes", ["my_pack.one", "my_pack.two"])]


def test_a_rule_that_is_not_enabled_remediates_nothing_and_is_named():
    """It is one command away."""
    off = rule("off", enabled=False, alertname="A")
    found = coverage.compare([alerting("A")], [off])
    assert found["alerts"][0]["covered"] == "no"
    assert found["alerts"][0]["disabled"] == ["my_pack.off"]
    assert "my_pack.off, which is not enabled" in found["table"]


def test_rules_that_name_alerts_which_nothing_fires_are_told():
    """Some of their names, or all; and those that no alert can satisfy for another reason."""
    found = coverage.compare(
        [alerting("A", {"team": "infra"}), alerting("Broken", health="err")],
        [
            rule("good", alertname=("in", ["A"])),
            rule("some", alertname=("in", ["A", "B"])),
            rule("gone", alertname="C", enabled=False),
            rule("broken", alertname="Broken"),
            rule("team", team="db"),
            rule("templated", alertname="{{ st2kv.system.name }}"),
        ],
    )
    told = [(one["rule"], one["takes_any"], one["missing"]) for one in found["rules"]]
    assert told == [
        ("my_pack.some", True, ["B"]),
        ("my_pack.gone", False, ["C"]),
        ("my_pack.broken", False, ["Broken"]),
        ("my_pack.team", False, []),
    ]
    assert "my_pack.gone names alerts that nothing fires: C" in found["table"]
    assert "my_pack.team takes no alert at all" in found["table"]


@pytest.mark.parametrize("kind", ["eq", "in", "regex", "gt", "search", "exists", "bogus", None, 5])
@pytest.mark.parametrize(
    "pattern",
    [None, 5, 0.5, True, "", [], [1, None, ["x"]], {}, {"item.a": {"type": "eq"}}],
    ids=str,
)
def test_no_criterion_of_any_pack_ends_it(kind, pattern):
    """Rules have patterns of every JSON type; older ones may have unknown types or none."""
    odd = [rule("odd", **{key: (kind, pattern)}) for key in ("alertname", "team", "odd-name")]
    without_pattern = dict(odd[0], criteria={"trigger.alertname": {"type": kind}})
    without_type = dict(odd[0], criteria={"trigger.alertname": {}})
    found = coverage.compare(
        [alerting("A", {"team": "infra"})],
        odd + [without_pattern, without_type, rule("good", alertname="A")],
    )
    (one,) = found["alerts"]
    assert one["covered"] == "yes" and "my_pack.good" in one["by"]


def test_percentages_count_what_can_fire():
    """None when there is nothing to count."""
    alerts = [alerting(name) for name in "ABC"] + [alerting("D", health="err")]
    rules = [rule("a", alertname="A"), rule("b", alertname="B", host=("neq", ""))]
    found = coverage.compare(alerts, rules)
    assert found["counts"] == {"yes": 1, "maybe": 1, "no": 1}
    assert (found["percent_certain"], found["percent_possible"]) == (33.3, 66.7)
    assert found["broken"] == [{"group": "g", "name": "D", "error": "why"}]
    assert coverage.compare([], rules)["percent_certain"] is None


TEXTS = st.sampled_from(["", "web-01:9100", "a,b", "infra", "{x", "% y"])
TEMPLATES = st.sampled_from(["{{ $labels.x }}", "{{ $value }}"])
LABELS = st.sampled_from(["severity", "instance", "team", "job", "odd-name", "alertname"])
ANNOTATIONS = st.sampled_from(["summary", "description", "other"])


@given(
    st.dictionaries(LABELS, TEXTS | TEMPLATES),
    st.dictionaries(ANNOTATIONS, TEXTS | TEMPLATES),
    st.dictionaries(LABELS, TEXTS),
    TEXTS,
)
@PROPERTY
def test_what_is_known_of_an_alert_is_what_poundcake_will_send(labels, annotations, series, made):
    """For any series and whatever a template makes; and every field of the trigger is there.

    Prometheus puts a rule's labels over those of the series, and drops empty ones.
    """
    known = coverage.payload_of(alerting("A", labels, annotations))
    brought = dict(series, **{k: made if "{{" in v else v for k, v in labels.items()})
    brought = {name: text for name, text in dict(brought, alertname="A").items() if text}
    noted = {k: made if "{{" in v else v for k, v in annotations.items()}
    entry = dict(alert(), labels=brought, annotations={k: v for k, v in noted.items() if v})
    parsed = payload.parse(notification(entry))
    row = a_row(parsed.alerts[0], parsed)
    sent = triggers.alert_payload(row, row["attempts"][0])
    assert set(known) == set(sent)
    for name, value in known.items():
        if isinstance(value, dict):
            for key, text in value.items():
                assert text in UNKNOWN or text == sent[name].get(inert(key)), (name, key)
        else:
            assert value in UNKNOWN or value == sent[name], name
    assert set(sent["annotations"]) <= set(known["annotations"])


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    if servers.missing():
        pytest.skip("bash tests/demo/install_servers installs %s" % ", ".join(servers.missing()))
    folder = tmp_path_factory.mktemp("prometheus")
    with servers.Prometheus(folder, [], ALERTS) as found:
        servers.wait_until(lambda: found.alerts(), "the alerts")
        yield found


def test_a_real_prometheus_against_the_rules_of_the_pack(prometheus):
    """As the action answers: a table for people, values for programs, all inert."""
    content = FakeContent()
    for path in glob(os.path.join(PACK, "rules", "*.yaml")):
        with open(path, encoding="utf-8") as handle:
            found = yaml.safe_load(handle)
        content.found["rules"]["poundcake." + found["name"]] = dict(found, enabled=True)
    content.found["rules"]["my_pack.disk"] = rule("disk", alertname="DiskFull", team="infra")
    config = {"prometheus_url": prometheus.url}
    with mock.patch("poundcake.st2.action.StackStorm", lambda get_client: content):
        action = check_remediation_coverage.CheckRemediationCoverage(config)
        action.action_service = mock.Mock()
        answer = action.run()
    assert_inert(answer)
    told = {one["name"]: (one["covered"], one["by"]) for one in answer["alerts"]}
    assert told["HostDown"][0] == "maybe" and "poundcake.host_down" in told["HostDown"][1]
    assert told["DiskFull"][0] == "yes" and "my_pack.disk" in told["DiskFull"][1]
    assert told["Nobody's"] == ("no", [])
    assert set(told) == {"HostDown", "DiskFull", "Nobody's"}
    assert [one["name"] for one in answer["broken"]] == ["Broken"]
    missing = {one["rule"]: one["missing"] for one in answer["rules"]}
    assert "HostDown" not in missing["poundcake.host_down"]
    assert "InstanceDown" in missing["poundcake.host_down"]
    lines = answer["table"].splitlines()
    assert lines[0].split() == ["alert", "severity", "group", "remediated", "by"]
    assert "33.3 % certain, 66.7 % possible, of 3 alerts" in lines
