"""What is enabled stays enabled: after a registration, and whatever else StackStorm does."""

import enable_remediation
import pytest
from poundcake.errors import ExpectedError
from poundcake.operators import remediations
from poundcake.st2 import enabled_rules, rows

from tests.support.actions import PackActionTestCase
from tests.support.fakes import Clock, FakeStackStorm
from tests.support.pack import Pack

NAMES = ("service_down", "host_down")


@pytest.fixture
def stackstorm():
    stackstorm = FakeStackStorm(Clock())
    stackstorm.register(*NAMES)
    return stackstorm


def on(stackstorm):
    """Return the names of the rules that are on."""
    return [rule["name"] for rule in stackstorm.pack_rules.values() if rule["enabled"]]


def by_hand(stackstorm, name, enabled):
    """Do what ``st2 rule enable`` and ``st2 rule disable`` do: the rest of the rule stays."""
    stackstorm.pack_rules["poundcake." + name]["enabled"] = enabled


def switch(stackstorm, name, enabled):
    return remediations.switch(stackstorm, name, enabled, "", "ann", 0)


def test_a_registration_that_comes_after_the_start_is_soon_undone():
    """StackStorm restarts the sensor first and registers the rules later, seconds as a rule."""
    pack = Pack(enabled_rules=["service_down"])
    pack.stackstorm.register(*NAMES)
    pack.tick()
    assert on(pack.stackstorm) == ["service_down"]
    pack.stackstorm.register(*NAMES)
    for _ in range(4):
        pack.tick()
    assert on(pack.stackstorm) == ["service_down"]


def test_only_rules_that_ship_off_can_be_switched():
    """The pack's own plumbing is not for that."""
    assert {"service_down", "notify_people"} <= set(enabled_rules.names())
    assert not {"track", "receive_webhook"} & set(enabled_rules.names())


def test_what_the_setting_lists_is_on_after_a_registration(stackstorm):
    """With or without the pack in the name; nothing else is switched on."""
    for setting in (["service_down"], ["poundcake.service_down"]):
        stackstorm.register(*NAMES)
        assert enabled_rules.bring_in_line(stackstorm, setting) == [("service_down", True)]
        assert on(stackstorm) == ["service_down"]
        assert enabled_rules.bring_in_line(stackstorm, setting) == []


def test_what_leaves_the_setting_is_off(stackstorm):
    """It was the setting that switched it on."""
    enabled_rules.bring_in_line(stackstorm, NAMES)
    assert enabled_rules.bring_in_line(stackstorm, ["host_down"]) == [("service_down", False)]
    assert on(stackstorm) == ["host_down"]


def test_what_an_action_switches_stays_so(stackstorm):
    """Over registrations, and over what the config lists."""
    answer = switch(stackstorm, "service_down", True)
    assert (answer["status"], answer["rule"]) == ("enabled", "poundcake.service_down")
    assert on(stackstorm) == ["service_down"]
    stackstorm.register(*NAMES)
    enabled_rules.bring_in_line(stackstorm, [])
    assert on(stackstorm) == ["service_down"]
    assert switch(stackstorm, "poundcake.service_down", False)["status"] == "disabled"
    stackstorm.register(*NAMES)
    assert enabled_rules.bring_in_line(stackstorm, ["service_down"]) == []
    assert on(stackstorm) == []


def test_what_a_person_switched_in_stackstorm_is_left_alone(stackstorm):
    """At night somebody disables a rule with st2; it must not come back by itself."""
    enabled_rules.bring_in_line(stackstorm, ["service_down"])
    by_hand(stackstorm, "service_down", False)
    by_hand(stackstorm, "host_down", True)
    assert enabled_rules.bring_in_line(stackstorm, ["service_down"]) == []
    assert on(stackstorm) == ["host_down"]
    differing = enabled_rules.differing(stackstorm, ["service_down"])
    assert differing == [("host_down", False), ("service_down", True)]


def test_rules_of_others_are_never_touched(stackstorm):
    """Nor rules that the pack does not ship, and tags of others stay."""
    stackstorm.register("made_by_somebody")
    stackstorm.pack_rules["poundcake.service_down"]["tags"] = [{"name": "team", "value": "db"}]
    enabled_rules.bring_in_line(stackstorm, ["made_by_somebody", "service_down"])
    assert on(stackstorm) == ["service_down"]
    tags = stackstorm.pack_rules["poundcake.service_down"]["tags"]
    assert tags == [{"name": "team", "value": "db"}, enabled_rules.TAG]
    switch(stackstorm, "service_down", False)
    assert stackstorm.pack_rules["poundcake.service_down"]["tags"] == tags[:1]


def test_an_unknown_rule_is_an_error_that_names_what_comes_close(stackstorm):
    """Nothing is written."""
    with pytest.raises(ExpectedError, match='unknown name "servce_down"; .* service_down'):
        switch(stackstorm, "servce_down", True)
    assert not stackstorm.keys


def test_a_rule_that_is_not_registered_is_switched_when_it_is(stackstorm):
    """The choice is kept."""
    del stackstorm.pack_rules["poundcake.service_down"]
    with pytest.raises(ExpectedError, match="is not registered"):
        switch(stackstorm, "service_down", True)
    stackstorm.register(*NAMES)
    enabled_rules.bring_in_line(stackstorm, [])
    assert on(stackstorm) == ["service_down"]


def test_the_sensor_keeps_what_is_enabled():
    """At its start and after a registration; an API that refuses does not stop it."""
    pack = Pack(enabled_rules=("service_down",))
    pack.stackstorm.register(*NAMES)
    pack.step()
    assert on(pack.stackstorm) == ["service_down"]
    pack.stackstorm.register(*NAMES)
    pack.stackstorm.fail("save_resource", times=2)
    pack.steps(120)
    assert on(pack.stackstorm) == ["service_down"]


class EnableRemediationTest(PackActionTestCase):
    __test__ = True
    action_cls = enable_remediation.EnableRemediation

    def test_it_enables_for_the_user_of_the_execution(self):
        """The row says who and why."""
        self.stackstorm.register(*NAMES)
        answer = self.succeed(name="service_down", reason="tested in staging")
        self.assertEqual(answer["status"], "enabled")
        (row,) = self.stackstorm.rows(rows.RULE)
        self.assertEqual((row["by"], row["reason"]), ("admin", "tested in staging"))
