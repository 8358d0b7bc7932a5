"""The status page and the older API of a running sensor, with StackStorm behind it."""

import os

import pytest

from tests.support import browser as chromium
from tests.support.alerts import alert
from tests.support.world import unique

ATTACK = "<img src=x onerror='window.hacked = 1'><script>window.hacked = 1</script>"
WORKFLOW = """
version: 1.0
tasks:
  fix:
    action: core.noop
"""


@pytest.mark.skipif(
    not chromium.command() and not os.environ.get("CI"),
    reason="bash tests/demo/install_servers installs Chromium",
)
@pytest.mark.skipif(
    bool(os.environ.get("LISTENER_TOKEN")), reason="a browser sends basic auth, not a token"
)
def test_an_operator_follows_an_alert_with_hostile_labels(world, tmp_path):
    """It fires, is remediated and resolves while the page is open; its labels stay text."""
    name = unique("Page")
    with chromium.Browser(tmp_path) as browser, world.workflow(WORKFLOW) as action:
        page = browser.open("%s/?state=all&alertname=%s" % (world.listener_url, name))
        assert "No alerts match." in page.text("main")
        with world.rule(name, action):
            request_id = world.accept(alert(alertname=name, summary=ATTACK, **{"team": ATTACK}))
            page.wait(lambda: "✓ remediated" in page.text(".alerts"), "the remediation")
            page.click(".alerts summary")
            row = world.completed(request_id)
            text = page.text(".alerts")
            assert action in text and "dispatch" in text and request_id in text
            assert text.count(ATTACK) == 2
            fingerprint = row["alerts"][0]["fingerprint"]
            assert "st2 run poundcake.get_alert fingerprint=" + fingerprint in text
            world.accept(
                alert(alertname=name, status="resolved", summary=ATTACK, **{"team": ATTACK})
            )
            page.wait(lambda: "✓ resolved" in page.text(".alerts summary"), "the resolve")
            assert page.evaluate("document.querySelector('.alerts details').open")
        assert page.evaluate("window.hacked") is None
        assert page.complaints == []
        assert all(url.startswith((world.listener_url, "data:")) for url in page.requests)


def test_the_command_on_the_page_shows_the_execution(world):
    """The page shows StackStorm's own id of the execution."""
    name = unique("Page")
    with world.workflow(WORKFLOW) as action, world.rule(name, action):
        world.completed(world.accept(alert(alertname=name)))
        (found,) = world.read("/remediations?alert_name=" + name)["remediations"]
    assert found["status"] == "success"
    assert action in world.st2("execution", "get", found["execution_id"])


def test_an_older_client_gets_its_answers(world):
    """It sends its requests in the order in which such a client does."""
    name = unique("Older")
    with world.workflow(WORKFLOW) as action, world.rule(name, action) as rule:
        request_id = world.accept(alert(alertname=name))
        world.completed(request_id)
        handlers = world.read("/handlers?limit=1000")["handlers"]
        assert action in [item["action"] for item in handlers if item["name"] == rule["ref"]]
    assert "poundcake.host_down" in [item["name"] for item in handlers]
    (found,) = world.read("/alerts?status=remediated&alertname=" + name)["alerts"]
    whole = world.read("/alerts/" + found["fingerprint"])["alert"]
    (attempt,) = whole["remediation_attempts"]
    (link,) = world.read("/api/v1/st2/executions?request_id=" + request_id)["st2_executions"]
    assert link["st2_execution_id"] == attempt["execution_id"]
    assert (link["st2_workflow"], link["st2_rule"]) == (action, rule["ref"])
    recent = world.read("/api/v1/executions/recent?limit=1000")["executions"]
    assert request_id in [item["request_id"] for item in recent]
    active = world.read("/api/v1/alerts/active?alert_name=" + name)["active_alerts"]
    assert [item["fingerprint"] for item in active] == [found["fingerprint"]]
    assert world.read("/alerts/stats")["by_status"]["remediated"] >= 1
