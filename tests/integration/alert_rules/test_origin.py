"""From an alert to its rule: alerts that a real Prometheus sent through a real Alertmanager."""

from unittest import mock

import pytest
import show_rule_of_alert
from poundcake.alert_rules import origin
from poundcake.inert import inert

from tests.demo import servers
from tests.support.fakes import assert_inert
from tests.support.pack import Pack

RULES = [
    {"alert": "Twins", "expr": "vector(2) > 1", "labels": {"severity": "page"}},
    {"alert": "Twins", "expr": "vector(2) > 0", "labels": {"severity": "warning"}},
    {"alert": "Twins", "expr": "vector(2) < 3", "labels": {"severity": "warning"}},
    {
        "alert": "Made",
        "expr": "vector(1)",
        "labels": {"severity": "page", "value": "{{ $value }}"},
    },
]
# What fires before Prometheus knows of Alertmanager is told a minute later; this fires after it.
LATE = [dict(rule, **{"for": "8s"}) for rule in RULES]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A Prometheus, and the alerts that it sent, as Alertmanager has them."""
    if servers.missing():
        pytest.skip("bash tests/demo/install_servers installs %s" % ", ".join(servers.missing()))
    folder = tmp_path_factory.mktemp("servers")
    with servers.Alertmanager(folder / "am", []) as am:
        with servers.Prometheus(folder / "prom", [], LATE, am.address) as prometheus:
            # Two of the twins have the same labels: to Alertmanager they are one alert.
            servers.wait_until(lambda: len(am.alerts()) == 3, "the alerts", 90)
            yield prometheus, am.alerts()


def show(prometheus, stackstorm=None, fingerprint="", generator_url="", labels=None):
    with mock.patch("poundcake.st2.action.StackStorm", lambda get_client: stackstorm):
        action = show_rule_of_alert.ShowRuleOfAlert({"prometheus_url": prometheus.url})
        action.action_service = mock.Mock()
        answer = action.run(fingerprint, generator_url, labels or {})
    assert_inert(answer)
    return answer


def alerts(place, name):
    return [one for one in place[1] if one["labels"]["alertname"] == name]


def test_an_alert_that_poundcake_tracks_leads_to_its_rule(place):
    """By its fingerprint; of two with one name the one whose labels it has."""
    prometheus, _ = place
    (one,) = [x for x in alerts(place, "Twins") if x["labels"]["severity"] == "page"]
    pack = Pack()
    fields = ("labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint")
    pack.post(dict({name: one[name] for name in fields}, status="firing"))
    pack.steps(3)
    answer = show(prometheus, pack.stackstorm, fingerprint=pack.alert()["fingerprint"])
    (rule,) = answer["rules"]
    assert rule["group"] == "demo" and rule["expression"] == answer["expression"] == "vector(2) > 1"
    assert rule["labels"] == {"severity": "page"} and rule["state"] == "firing"
    assert answer["match"] == origin.EXACT and answer["prometheus"].startswith("http://")


def test_the_expression_tells_rules_apart_whose_labels_are_the_same(place):
    """Inert or not."""
    (one,) = [x for x in alerts(place, "Twins") if x["labels"]["severity"] == "warning"]
    for expression in ("vector(2) > 0", "vector(2) < 3", "vector(2) \u2039 3"):
        url = "http://prom/graph?g0.expr=" + expression.replace(" ", "+")
        answer = show(place[0], generator_url=url, labels=one["labels"])
        (rule,) = answer["rules"]
        assert rule["expression"] == inert(expression.replace("\u2039", "<"))


def test_a_rule_that_was_edited_since_is_found_by_what_stayed(place):
    """And the answer says so; it never takes a guess for the rule."""
    labels = {"alertname": "Twins", "severity": "warning"}
    url = "http://prom/graph?g0.expr=up"
    answer = show(place[0], generator_url=url, labels=labels)
    assert answer["match"] == origin.EDITED and len(answer["rules"]) == 2
    answer = show(place[0], generator_url="", labels=dict(labels, severity="other"))
    assert answer["match"] == origin.NAME_ALONE and len(answer["rules"]) == 3
    assert answer["expression"] == answer["prometheus"] == ""


@pytest.mark.parametrize("url", ["", "http://vmalert:8880/vmalert/alert?group_id=1&alert_id=2"])
def test_an_expression_that_is_not_known_has_not_changed(place, url):
    """vmalert does not put it into the URL."""
    labels = {"alertname": "Twins", "severity": "page"}
    answer = show(place[0], generator_url=url, labels=labels)
    assert answer["match"] == origin.UNCOMPARED and answer["expression"] == ""


def test_a_label_that_a_template_made_is_no_difference(place):
    """The rule has the template, the alert what became of it."""
    (one,) = alerts(place, "Made")
    assert one["labels"]["value"] == "1"
    answer = show(place[0], generator_url=one["generatorURL"], labels=one["labels"])
    assert answer["match"] == origin.EXACT and len(answer["rules"]) == 1


@pytest.mark.parametrize(
    "given, start",
    [
        ({}, "fingerprint, labels: both are empty; expected the fingerprint"),
        (
            {"fingerprint": "a", "labels": {"a": "b"}},
            "fingerprint, labels: both are given; expected the fingerprint",
        ),
        ({"labels": {"a": "b"}}, "labels: alertname, which is the rule's name, is missing"),
        ({"labels": {"alertname": "Gone"}}, 'alertname: Prometheus no longer has a rule "Gone"'),
        ({"fingerprint": "unknown"}, 'fingerprint: unknown fingerprint "unknown"'),
    ],
)
def test_what_cannot_be_found_is_told(place, given, start):
    """By the parameter."""
    succeeded, answer = show(place[0], Pack().stackstorm, **given)
    assert not succeeded and answer["error"].startswith(start)
