"""What is enabled stays enabled when the pack is registered again, as every upgrade does."""

import os

import pytest

from tests.support.world import open_world

if os.environ.get("ST2_API_URL"):
    pytest.skip("it registers the pack, which restarts the sensor", allow_module_level=True)


def enabled(world):
    """Return the names of the pack's rules that are enabled, but for its plumbing."""
    rules = world.api("GET", "/rules", params={"pack": "poundcake"})
    names = {rule["name"] for rule in rules if rule["enabled"]}
    return names - {"track", "receive_webhook"}


def test_enabled_stays_enabled_over_a_registration(tmp_path):
    """By the setting and by the actions; what a person did with st2 rule is reported."""
    with open_world(tmp_path, enabled_rules=["low_disk", "high_cpu"]) as world:
        world.wait(lambda: enabled(world) == {"low_disk", "high_cpu"}, "the setting to be obeyed")
        answer = world.ask("enable_remediation", name="service_down", reason="tested")
        assert (answer["status"], answer["by"]) == ("enabled", "st2admin")
        assert world.ask("disable_remediation", name="high_cpu")["status"] == "disabled"
        assert enabled(world) == {"low_disk", "service_down"}
        world.api("POST", "/packs/register", json={"packs": ["poundcake"], "types": ["all"]})
        wanted = {"low_disk", "service_down"}
        world.wait(lambda: enabled(world) == wanted, "the registration to be undone")
        world.st2("rule", "disable", "poundcake.low_disk")
        world.st2("rule", "enable", "poundcake.host_down")
        status, result = world.run("check_health")
        faults = [
            c for c in result["checks"] if (c["name"], c["status"]) == ("enabled_rules", "fault")
        ]
        assert status == "failed" and len(faults) == 2
        assert "enable_remediation name=host_down" in faults[0]["remedy"]
        assert "enable_remediation name=low_disk" in faults[1]["remedy"]
        assert enabled(world) == {"service_down", "host_down"}
