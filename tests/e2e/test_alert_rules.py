"""Alert rules through StackStorm: the pack in processes of its own, Prometheus, Kubernetes' API."""

import os

import pytest
import yaml

if os.environ.get("ST2_API_URL"):
    pytest.skip("needs a config of its own", allow_module_level=True)

from tests.demo import servers
from tests.support.alerts import alert
from tests.support.kubernetes_api import NAMESPACE, TOKEN, KubernetesApi
from tests.support.world import open_world, unique

pytestmark = pytest.mark.skipif(
    bool(servers.missing()), reason="bash tests/demo/install_servers installs Prometheus"
)

RULES = [
    {"alert": "HostDown", "expr": "vector(1) > 2", "labels": {"severity": "critical"}},
    {"alert": "DiskFull", "expr": "vector(1)", "labels": {"team": "infra"}},
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A StackStorm whose pack knows a Prometheus and a cluster; and the cluster's API."""
    folder = tmp_path_factory.mktemp("rules")
    with KubernetesApi() as api, servers.Prometheus(folder / "prometheus", [], RULES) as prometheus:
        config = {
            "prometheus_url": prometheus.url,
            "promtool_path": servers.program("promtool"),
            "kube_api_url": api.url,
            "kube_token": TOKEN,
            "crd_namespace": NAMESPACE,
        }
        with open_world(folder / "world", **config) as world:
            yield world, api


def test_a_rule_is_written_shown_and_deleted(place):
    """The YAML that is shown can be applied; no template in it is rendered on the way."""
    world, api = place
    made = {"resource": "my-alerts", "group": "app", "rule": "HighMemory"}
    text = '{"summary": "{% raw %}{{ $labels.instance }}{% endraw %}"}'
    world.ask("create_prometheus_rule", expr="mem > 90", annotations=text, severity="page", **made)
    (group,) = api.objects["my-alerts"]["spec"]["groups"]
    assert group["rules"][0]["annotations"] == {"summary": "{{ $labels.instance }}"}
    shown = world.ask("get_prometheus_rule", resource="my-alerts")
    assert shown["rules"][0]["written_by"] == "poundcake"
    answer = world.ask("apply_prometheus_rules", rules=shown["yaml"])
    assert answer["unchanged"] == ["my-alerts/app/HighMemory (page)"]
    status, answer = world.run("update_prometheus_rule", expr="mem >", **made)
    assert status == "failed" and "HighMemory" in answer["error"]
    world.ask("delete_prometheus_rule", **made)
    assert api.objects == {}


def test_a_file_is_applied(place, tmp_path):
    """The file is on the node that runs the action."""
    world, api = place
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": RULES}]}))
    answer = world.ask("apply_prometheus_rules", path=str(path), resource="from-a-file")
    assert len(answer["created"]) == 2 and "from-a-file" in api.objects


def test_prometheus_rules_and_their_coverage(place):
    """With StackStorm's own rules and operators, in a process of the pack."""
    world, _ = place
    assert world.ask("list_prometheus_rules", name="DiskFull")["total"] == 1
    with world.rule("DiskFull", "core.noop"):
        answer = world.ask("check_remediation_coverage")
    told = {one["name"]: one["covered"] for one in answer["alerts"]}
    assert told == {"HostDown": "no", "DiskFull": "yes"}
    assert answer["alerts"][0]["disabled"] == ["poundcake.host_down"]
    assert "50.0 % certain" in answer["table"]


def test_a_tracked_alert_leads_to_its_rule(place):
    """The fingerprint is enough."""
    world, _ = place
    one = alert(alertname="DiskFull", instance=unique("web") + ":9100", team="infra")
    one["generatorURL"] = "http://prometheus/graph?g0.expr=vector%281%29"
    request_id = world.accept(one)
    status = world.completed(request_id)
    answer = world.ask("show_rule_of_alert", fingerprint=status["alerts"][0]["fingerprint"])
    assert answer["rules"][0]["name"] == "DiskFull"
    assert answer["match"] == "the rule has the alert's expression and labels"
