"""A change of an alert rule goes from the st2 command to a pull request."""

import pytest
import yaml

from tests.demo import servers
from tests.support.environment import REAL_API
from tests.support.git_servers import TOKEN, GitHubHost, Repository

pytestmark = pytest.mark.skipif(
    bool(REAL_API or servers.missing()), reason="needs a config of its own, and promtool"
)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """A host with a repository without rules."""
    with GitHubHost(Repository(tmp_path_factory.mktemp("repository"))) as found:
        yield found


@pytest.fixture(scope="module")
def engine(host, tmp_path_factory):
    """The engine, configured for that host."""
    with servers.Engine(tmp_path_factory.mktemp("engine"), **host.settings()) as found:
        yield found


def test_a_rule_is_proposed_from_the_command_line(engine, host):
    """StackStorm does not render Prometheus' templates, and does not store the token anywhere."""
    engine.st2(
        "run",
        "poundcake.propose_rule_change",
        *("operation=create", "resource=node-alerts", "group=hosts", "rule=HostDown"),
        'expr=up{job="node"} < 1',
        "for_duration=5m",
        "severity=critical",
        'annotations={"summary": "{{ $labels.instance }} is down {{ $value | humanize }}"}',
        "reason=nobody looked",
    )
    (pull,) = host.pulls
    text = host.repository.read(pull["head"], "prometheus/rules/HostDown.yaml")
    assert yaml.safe_load(text)["groups"][0]["rules"] == [
        {
            "alert": "HostDown",
            "expr": 'up{job="node"} < 1',
            "for": "5m",
            "labels": {"severity": "critical"},
            "annotations": {
                "summary": "{{ $labels.instance }} is down {{ $value | humanize }}",
            },
        }
    ]
    assert "reason: nobody looked" in pull["body"]
    (execution,) = engine.get("/executions?action=poundcake.propose_rule_change")
    result = execution["result"]["result"]
    assert execution["status"] == "succeeded" and result["url"].endswith("/pull/1")
    assert "{" not in result["diff"] and "<" not in result["diff"]
    assert TOKEN not in repr(execution) and TOKEN not in engine.log()


def test_a_broken_rule_fails_with_the_reason(engine, host):
    """Both the workflow that proposed it and people see the reason."""
    before = host.repository.branches()
    execution = engine.run(
        "poundcake.propose_rule_change",
        operation="create",
        resource="node-alerts",
        group="hosts",
        rule="Broken",
        expr="sum(",
    )
    (error,) = execution["result"]["result"]["errors"]
    assert execution["status"] == "failed" and error["rule"] == "Broken"
    assert "unclosed left parenthesis" in error["reason"]
    assert host.repository.branches() == before
