"""What the sensor asks of StackStorm: nothing is read or sent that nobody needs."""

from poundcake.st2 import triggers
from poundcake.st2.listeners import KNOWN_SECONDS

from tests.support.alerts import alert
from tests.support.pack import Pack

# Of the pack's rule notify_people, in short.
FAILURES = {"trigger.to": {"type": "equals", "pattern": "failed"}}


def new_pack(*listeners):
    pack = Pack()
    pack.stackstorm.rule("mine.fix")
    pack.stackstorm.listeners = list(listeners)
    return pack


def told_to(pack):
    """The states that lifecycle triggers have told of."""
    return [item["to"] for item in pack.told()]


def test_what_no_rule_listens_to_is_not_sent():
    """Each trigger costs StackStorm a trigger instance and its rules engine's work."""
    disabled = {"ref": "mine.tell", "enabled": False, "criteria": {}}
    pack = new_pack(disabled)
    pack.post(alert(1))
    pack.settle()
    pack.post(alert(1, status="resolved"))
    pack.settle()
    assert pack.told() == [] and pack.stackstorm.dispatched(triggers.ALERT_RESOLVED) == []
    assert len(pack.stackstorm.dispatched()) == 1


def test_only_what_a_rule_may_take_is_sent():
    """Its criteria are StackStorm's; one that cannot be decided here counts as a match."""
    pack = new_pack({"ref": "poundcake.notify_people", "enabled": True, "criteria": FAILURES})
    pack.post(alert(1))
    pack.steps(3, "failed")
    pack.settle()
    assert told_to(pack) == ["failed"]
    open_one = {"trigger.fingerprint": {"type": "search", "pattern": {}}}
    pack.stackstorm.listeners = [{"ref": "mine.odd", "enabled": True, "criteria": open_one}]
    pack.steps(KNOWN_SECONDS)
    pack.post(alert(2))
    pack.settle()
    assert told_to(pack)[1:] == ["received", "remediating", "remediated"]


def test_a_rule_that_is_enabled_hears_what_happens_soon_after():
    """It is looked for again when there is something to tell."""
    pack = new_pack()
    pack.post(alert(1))
    pack.settle()
    pack.stackstorm.listeners.append({"ref": "mine.tell", "enabled": True, "criteria": {}})
    pack.steps(KNOWN_SECONDS)
    pack.post(alert(2))
    pack.settle()
    assert {item["host"] for item in pack.told()} == {"web2"}


def test_an_idle_minute_is_at_most_thirty_calls():
    """And two triggers: the probe, and what its answer costs."""
    pack = new_pack()
    pack.post(alert(1))
    pack.settle()
    pack.steps(60)
    calls, sent = pack.stackstorm.calls, len(pack.stackstorm.instances)
    for _ in range(600):
        pack.step(0.1)
    assert pack.stackstorm.calls - calls <= 30
    assert len(pack.stackstorm.instances) - sent <= 2
