"""check_health: every fault is named with its remedy, and none hides another."""

import threading
from unittest import mock

import check_health
import pytest
from poundcake import clock
from poundcake.operators import controls
from poundcake.st2 import rows, triggers
from poundcake.st2.client import StackStormError
from poundcake.views import health

from tests.support.actions import PackActionTestCase
from tests.support.fakes import Clock, FakeStackStorm, assert_inert, make_settings

RULES = ("receive_webhook", "track")
POLICIES = (
    "poundcake_cratedb_jfr_concurrency",
    "poundcake_track_retry",
)


class Installed(FakeStackStorm):
    """A StackStorm with the pack installed: documents by kind and reference."""

    def __init__(self, now):
        super().__init__(now)
        self.documents = {
            "rules": {"poundcake." + name: {"enabled": True} for name in RULES},
            "policies": {"poundcake." + name: {"enabled": True} for name in POLICIES},
            "sensortypes": {health.SENSOR: {"enabled": True}},
        }
        self.remediations = [
            {"ref": "my_pack.fix", "enabled": True},
            {"ref": "poundcake.host_down", "enabled": False},
        ]

    def get_resource(self, kind, ref):
        self._answer("get_resource")
        return self.documents[kind].get(ref)

    def list_resources(self, kind, **filters):
        self._answer("list_resources")
        if filters == {"pack": "poundcake"}:
            return super().list_resources(kind, **filters)
        assert (kind, filters["trigger"]) == ("rules", triggers.ALERT)
        return self.remediations

    def probe(self, status="processed"):
        self.dispatch(triggers.PROBE, {"probe_id": "probe1"})
        self.instances[-1]["status"] = status


@pytest.fixture
def stackstorm():
    """Everything is fine, and a probe got through a minute ago."""
    now = Clock()
    found = Installed(now)
    found.probe()
    now.advance(60)
    found.now = now
    return found


# --- single checks --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
def test_a_disabled_plumbing_rule_is_a_fault(stackstorm, name):
    """The remedy is the command that enables it."""
    ref = "poundcake." + name
    (found,) = health.check_resources(stackstorm, "rules")
    assert found.status == health.OK and name in found.detail
    stackstorm.documents["rules"][ref]["enabled"] = False
    (found,) = health.check_resources(stackstorm, "rules")
    assert (found.status, found.detail) == (health.FAULT, ref + " is disabled")
    assert found.remedy == "st2 rule enable " + ref


@pytest.mark.parametrize("kind", ["rules", "policies"])
def test_each_unregistered_resource_is_a_fault(stackstorm, kind):
    """That goes for everything that the pack ships enabled, and nothing else."""
    stackstorm.documents[kind] = {}
    found = health.check_resources(stackstorm, kind)
    names = RULES if kind == "rules" else POLICIES
    assert [item.detail for item in found] == [
        "poundcake.%s is not registered" % name for name in names
    ]
    assert all("--register-all" in item.remedy for item in found)


def test_a_disabled_policy_is_a_fault(stackstorm):
    """The st2 command cannot enable a policy; registering the pack does."""
    stackstorm.documents["policies"]["poundcake.poundcake_track_retry"]["enabled"] = False
    (found,) = health.check_resources(stackstorm, "policies")
    assert (
        found.detail == "poundcake.poundcake_track_retry is disabled"
        and "--register-all" in found.remedy
    )


def test_rules_that_remediate_are_listed(stackstorm):
    """Rules of every pack count; having none is a choice and not a fault."""
    found = health.check_remediations(stackstorm)
    assert found.status == health.INFO
    assert found.detail == "1 enabled: my_pack.fix; 1 disabled: poundcake.host_down"
    stackstorm.remediations = []
    assert "nothing is remediated" in health.check_remediations(stackstorm).detail


def test_a_rule_that_is_not_as_the_setting_says_is_a_fault(stackstorm):
    """Either way, and the remedy names both commands; an unknown name is a fault as well."""
    stackstorm.register("service_down", "host_down", "low_disk")
    config = make_settings(enabled_rules=("service_down", "poundcake.low_disk"))
    stackstorm.pack_rules["poundcake.low_disk"]["enabled"] = True
    stackstorm.pack_rules["poundcake.host_down"]["enabled"] = True
    by_hand, missing = health.check_enabled_rules(stackstorm, config)
    assert missing.detail == "poundcake.service_down is disabled, and should be enabled"
    assert "st2 run poundcake.enable_remediation name=service_down" in missing.remedy
    assert (
        by_hand.detail == "poundcake.host_down is enabled only until the pack is registered again"
    )
    assert "st2 run poundcake.disable_remediation name=host_down" in by_hand.remedy
    (unknown,) = health.check_enabled_rules(Installed(Clock()), make_settings(enabled_rules=("x",)))
    assert unknown.detail == "the pack has no rule x" and "service_down" in unknown.remedy
    (fine,) = health.check_enabled_rules(Installed(Clock()), make_settings())
    assert fine.status == health.OK


def test_a_datastore_that_forgets_is_a_fault(stackstorm):
    """And the check leaves nothing behind in it."""
    assert health.check_datastore(stackstorm).status == health.OK
    assert not stackstorm.rows(rows.HEALTH)
    stackstorm.set_key = lambda *_, **__: None
    assert health.check_datastore(stackstorm).status == health.FAULT


def test_a_silent_sensor_is_a_fault(stackstorm):
    """It sends a probe every minute."""
    assert health.check_sensor(stackstorm, stackstorm.now()).status == health.OK
    stackstorm.now.advance(health.PROBE_SILENCE_SECONDS)
    found = health.check_sensor(stackstorm, stackstorm.now())
    assert found.status == health.FAULT and "st2sensorcontainer" in found.remedy
    assert health.check_bus(stackstorm, stackstorm.now()).status == health.FAULT


@pytest.mark.parametrize("document, remedy", [(None, "register"), ({"enabled": False}, "enable")])
def test_a_disabled_sensor_is_a_fault(stackstorm, document, remedy):
    """So is one that is not registered."""
    stackstorm.documents["sensortypes"] = {health.SENSOR: document} if document else {}
    found = health.check_sensor(stackstorm, stackstorm.now())
    assert found.status == health.FAULT and remedy in found.remedy


def test_a_probe_that_does_not_get_through_is_a_fault(stackstorm):
    """It is one after some time, until a later probe gets through."""
    stackstorm.probe("pending")
    assert health.check_bus(stackstorm, stackstorm.now()).status == health.OK
    stackstorm.now.advance(health.BEHIND_SECONDS + 1)
    found = health.check_bus(stackstorm, stackstorm.now())
    assert found.status == health.FAULT and "st2rulesengine" in found.remedy
    stackstorm.probe()
    found = health.check_bus(stackstorm, stackstorm.now())
    assert found.status == health.OK
    assert clock.to_text(stackstorm.now())[:19] in found.detail


@pytest.mark.parametrize(
    "host, url", [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("fe80::1", "[fe80::1]"), ("a", "a")]
)
def test_an_address_to_listen_on_becomes_one_to_connect_to(host, url):
    """Nothing can connect to 0.0.0.0 everywhere."""
    assert health._reachable(host) == url


def test_pauses_are_listed_and_an_unreadable_control_is_a_fault(stackstorm):
    """Until the sensor has set it aside."""
    (found,) = health.check_controls(stackstorm)
    assert found.status == health.OK
    controls.pause(stackstorm, "", "it is late", "ann", stackstorm.now())
    (found,) = health.check_controls(stackstorm)
    assert (found.status, found.detail) == (health.INFO, "everything is paused by ann: it is late")
    stackstorm.set_key(rows.CONTROL + "pause", "{")
    (found,) = health.check_controls(stackstorm)
    assert found.status == health.FAULT
    assert found.remedy == "st2 run poundcake.list_set_aside"
    assert "poundcake.control.pause" in found.detail


@pytest.mark.parametrize("configured, status", [(True, health.OK), (False, health.FAULT)])
def test_policies_need_a_coordination_backend(configured, status):
    """Without one they cannot count exactly."""
    found = health.check_coordination(lambda: configured)
    assert found.status == status and bool(found.remedy) == (not configured)


def test_a_coordination_backend_that_cannot_be_checked_is_not_a_fault():
    """StackStorm's config may not be on this node."""

    def not_installed():
        raise ImportError("no module named st2common.services.coordination")

    assert health.check_coordination(not_installed).status == health.INFO


@pytest.mark.parametrize("config", [{"port": "x"}, {"host": "0.0.0.0"}], ids=str)
def test_a_config_that_stops_the_sensor_is_a_fault(config):
    """The detail is the error that the sensor would give."""
    found = health.check_config(config)
    assert found.status == health.FAULT and found.detail.startswith(list(config)[0])


# --- together -------------------------------------------------------------------------------------


def test_a_check_that_raises_or_hangs_is_a_fault_and_hides_no_other():
    """Results keep their order, and nobody waits for a check that hangs."""
    never = threading.Event()

    def hang():
        never.wait()

    def away():
        raise StackStormError("GET /keys: connection refused")

    def broken():
        return {}["nothing"]

    def fine():
        return [health.Finding("fine", health.OK, "it is")]

    found = health.run([("hang", hang), ("away", away), ("broken", broken), ("fine", fine)], 0.5)
    never.set()
    assert [(item.name, item.status) for item in found] == [
        ("hang", health.FAULT),
        ("away", health.FAULT),
        ("broken", health.FAULT),
        ("fine", health.OK),
    ]
    assert "no answer within 0.5 s" in found[0].detail and "refused" in found[1].detail
    assert all(item.remedy for item in found[:3])


def test_the_table_has_a_line_for_each_and_the_remedy_below():
    """It is aligned, for a terminal."""
    found = [
        health.Finding("api", health.OK, "answers"),
        health.Finding("listener", health.FAULT, "is away", "start it"),
    ]
    assert health.table(found).splitlines() == [
        "ok     api       answers",
        "fault  listener  is away",
        "                 -> start it",
    ]


class CheckHealthTestCase(PackActionTestCase):
    """The action."""

    __test__ = True
    action_cls = check_health.CheckHealth

    def setUp(self):
        super().setUp()
        seen = health.Finding("coordination", health.INFO, "cannot be checked from here")
        self.replace("check_coordination", lambda: seen)
        self.listener = [health.Finding("listener", health.OK, "ready")]
        self.replace("check_listener", lambda settings: self.listener)
        self.stackstorm.__class__ = Installed
        vars(self.stackstorm).update(
            {name: value for name, value in vars(Installed(self.clock)).items() if name != "_now"}
        )
        # The action uses the real clock, so the probe must be recent by that.
        self.clock.now = health.time.time()
        self.stackstorm.probe()

    def replace(self, name, check):
        """Replace a check that uses more than StackStorm's API."""
        patch = mock.patch("poundcake.views.health." + name, check)
        patch.start()
        self.addCleanup(patch.stop)

    def test_a_healthy_poundcake_succeeds_with_a_table(self):
        """Every check has a line in it."""
        ok, answer = self.run_action(config={})
        self.assertTrue(ok, answer)
        self.assertEqual((answer["status"], answer["faults"]), ("ok", 0))
        names = [item["name"] for item in answer["checks"]]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(len(answer["table"].splitlines()), len(names))

    def test_faults_fail_it_and_are_all_listed(self):
        """The answer has the whole table, and text of people is inert."""
        controls.pause(self.stackstorm, "", "{{ 1 }} <% 1 %>", "ann", self.clock())
        self.stackstorm.documents["rules"].pop("poundcake.track")
        self.listener = [health.Finding("listener", health.FAULT, "is away", "start it")]
        ok, answer = self.run_action(config={})
        self.assertFalse(ok)
        self.assertEqual(answer["error"], "2 at fault: rules, listener")
        self.assertEqual(answer["faults"], 2)
        self.assertIn("-> ", answer["table"])
        assert_inert(answer)

    def test_an_invalid_config_hides_no_other_result(self):
        """Checks that need the config say so."""
        ok, answer = self.run_action(config={"port": "x"})
        self.assertFalse(ok)
        by_name = {item["name"]: item["status"] for item in answer["checks"]}
        self.assertEqual(by_name["config"], "fault")
        self.assertEqual((by_name["listener"], by_name["rules"]), ("info", "ok"))

    def test_with_stackstorm_away_every_part_of_it_is_a_fault(self):
        """The other results are there all the same."""
        self.stackstorm.away = True
        ok, answer = self.run_action(config={})
        self.assertFalse(ok)
        by_name = {item["name"]: item["status"] for item in answer["checks"]}
        self.assertEqual(by_name["listener"], "ok")
        for name in ("api", "datastore", "rules", "policies", "sensor", "bus", "controls"):
            self.assertEqual(by_name[name], "fault", name)
