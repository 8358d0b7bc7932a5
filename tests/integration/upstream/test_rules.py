"""What Prometheus has loaded, asked of a real one."""

import list_prometheus_rules
import pytest
from poundcake.errors import ExpectedError
from poundcake.upstream import rules

from tests.demo import servers
from tests.support.fakes import assert_inert, make_settings

RULES = [
    {
        "alert": "Always",
        "expr": "vector(1) < 2",
        "labels": {"severity": "page", "team": "infra"},
        "annotations": {"summary": "{{ $value }}"},
    },
    {"alert": "Soon", "expr": "vector(1)", "for": "1h", "labels": {"severity": "warning"}},
    {"alert": "Never", "expr": "vector(1) > 2", "for": "5m"},
    {"record": "one", "expr": "vector(1)", "labels": {"team": "infra"}},
]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """A real Prometheus whose rules are in all three states."""
    if servers.missing():
        pytest.skip("bash tests/demo/install_servers installs %s" % ", ".join(servers.missing()))
    with servers.Prometheus(tmp_path_factory.mktemp("prometheus"), [], RULES) as found:
        servers.wait_until(lambda: found.alerts("pending") and found.alerts(), "the alerts")
        yield found


def listed(prometheus, **filters):
    asked = {"state": "", "kind": "", "group": "", "name": "", "label": "", "limit": 100}
    asked["wide"] = False
    action = list_prometheus_rules.ListPrometheusRules({"prometheus_url": prometheus.url})
    result = action.run(**dict(asked, **filters))
    assert_inert(result)
    return result


def names(prometheus, **filters):
    return [rule["name"] for rule in listed(prometheus, **filters)["rules"]]


def test_a_rule_is_shown_with_what_it_says_and_how_it_stands(prometheus):
    """Inert: a workflow may publish it."""
    answer = listed(prometheus)
    assert (answer["total"], answer["shown"]) == (4, 4)
    assert answer["by_state"] == {"firing": 1, "pending": 1, "inactive": 1}
    always, soon, _, one = answer["rules"]
    assert always["group"] == "demo" and always["state"] == "firing" and always["active"] == 1
    assert always["expression"] == "vector(1) \u2039 2"
    assert always["labels"] == {"severity": "page", "team": "infra"}
    assert (soon["for"], soon["health"], soon["error"]) == (3600, "ok", "")
    assert (one["kind"], one["state"], one["for"]) == ("recording", None, None)


def test_the_rules_end_with_a_table(prometheus):
    """A line each, of 100 columns unless it is wide."""
    lines = listed(prometheus)["table"].splitlines()
    assert lines[0] == "4 of 4 rules" and lines[1].split()[:3] == ["rule", "state", "severity"]
    assert lines[2].split() == ["Always", "firing", "page", "1", "demo", "vector(1)", "\u2039", "2"]
    assert lines[3].split()[:5] == ["Soon", "pending", "warning", "60", "min"]
    assert lines[5].split()[:2] == ["one", "recording"]
    assert listed(prometheus, name="Soon", state="firing")["table"] == "no rules"


@pytest.mark.parametrize(
    "filters, wanted",
    [
        ({"state": "firing"}, ["Always"]),
        ({"state": "pending"}, ["Soon"]),
        ({"state": "inactive"}, ["Never"]),
        ({"kind": "recording"}, ["one"]),
        ({"kind": "alerting", "limit": 2}, ["Always", "Soon"]),
        ({"name": "Soon"}, ["Soon"]),
        ({"group": "demo", "label": "team=infra"}, ["Always", "one"]),
        ({"label": 'team=infra, severity="page"'}, ["Always"]),
        ({"label": "team=x"}, []),
        ({"group": "gone"}, []),
        ({"name": "Gone"}, []),
    ],
)
def test_rules_are_filtered(prometheus, filters, wanted):
    """A rule must match all filters."""
    assert names(prometheus, **filters) == wanted


@pytest.mark.parametrize(
    "filters, start",
    [
        ({"state": "on"}, 'state: unknown state "on"; expected one of firing, pending, inactive'),
        ({"kind": "x"}, 'kind: unknown kind "x"; expected one of alerting, recording'),
        ({"label": "team"}, 'label: "team" has no ='),
    ],
)
def test_an_unknown_filter_value_is_an_error_with_the_known_ones(prometheus, filters, start):
    """A value that can never be is a mistake; a group that is not there is an empty answer."""
    succeeded, answer = listed(prometheus, **filters)
    assert not succeeded and answer["error"].startswith(start)


def test_without_a_prometheus_the_setting_is_named():
    """So a person knows what to set."""
    with pytest.raises(ExpectedError) as caught:
        rules.load(make_settings())
    assert str(caught.value).startswith("prometheus_url: is not set")


@pytest.mark.parametrize(
    "file, wanted",
    [
        ("monitoring-my-alerts-0a1b2c3d-0000-4000-8000-0123456789ab.yaml", "my-alerts"),
        ("other-my-alerts-0a1b2c3d-0000-4000-8000-0123456789ab.yaml", None),
        ("monitoring-my-alerts.yaml", None),
        ("", None),
    ],
)
def test_the_operator_s_file_name_tells_the_resource(file, wanted):
    """It is <namespace>-<name>-<uid>.yaml; other files belong to no resource."""
    settings = make_settings(crd_namespace="monitoring")
    path = "/etc/prometheus/rules/prometheus-k8s-rulefiles-0/" + file
    assert rules.resource_of(settings, path) == wanted
