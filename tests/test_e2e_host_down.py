"""host_down for real: what it does and says, and what no name can make it do."""

import time

import pytest

from tests.remediations import (
    EVIL_NAMES,
    children_of,
    enabled,
    exists,
    output_of,
    reason_of,
    run,
    shell,
    started_for,
)
from tests.world import alert, unique


def test_the_alert_says_that_the_host_does_not_answer(world):
    """The same for host_down."""
    parameters = {"host": "{{ trigger.host }}", "ping_command": "false", "retries": 0}
    reason = reason_of(world, "poundcake.host_down", parameters)
    assert "no answer after 0 retries" in reason


def test_the_rule_takes_a_host_down_alert(world):
    """A host that answers again: the workflow ends well and the alert is remediated."""
    made = alert("HostDown", instance="127.0.0.1:9100", tag=unique("host-"))
    with enabled(world, "host_down"):
        request_id = world.accept(made)
        execution = started_for(world, request_id)
    wanted = {
        "host": "127.0.0.1",
        "alertname": "HostDown",
        "summary": "HostDown on 127.0.0.1:9100",
        "request_id": request_id,
    }
    assert {key: execution["parameters"].get(key) for key in wanted} == wanted
    assert output_of(execution)["outcome"] == "the host answers"
    assert world.status(request_id)["alerts"][0]["state"] == "remediated"


# --- host_down --------------------------------------------------------------------------------


def host_down(world, **parameters):
    """Run host_down to its end, with one retry and no wait before it."""
    given = {"host": "127.0.0.1", "retries": 1, "retry_seconds": 0}
    given.update(parameters)
    return run(world, "poundcake.host_down", **given)


def test_a_host_that_answers_ends_well(world):
    """A real ping, and nobody is told."""
    execution = run(world, "poundcake.host_down", host="127.0.0.1")
    assert execution["status"] == "succeeded"
    assert output_of(execution) == {
        "outcome": "the host answers",
        "notified": False,
        "reason": None,
        "host": "127.0.0.1",
    }
    assert children_of(world, execution, "poundcake.log_notification") == []


def test_a_host_that_answers_the_second_ping_ends_well(world):
    """One lost ping is no reason to wake a person."""
    path = "/tmp/" + unique("poundcake-e2e-ping-")
    execution = host_down(world, ping_command="test -e %s || { touch %s; false; }" % (path, path))
    shell(world, "rm " + path)
    assert execution["status"] == "succeeded"
    assert output_of(execution)["outcome"] == "the host answers"
    assert len(children_of(world, execution, "core.local")) == 2
    assert children_of(world, execution, "poundcake.log_notification") == []


def test_a_host_that_does_not_answer_is_told_to_a_person(world):
    """The message says alert, host, summary and request; the workflow fails all the same."""
    execution = host_down(
        world,
        host="10.255.255.1",
        ping_command="false",
        alertname="NodeDown",
        summary="rack 7 is dark",
        request_id="01-request",
    )
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert (output["outcome"], output["notified"]) == ("the host does not answer", True)
    assert output["reason"] == "no answer after 1 retries"
    assert len(children_of(world, execution, "core.local")) == 2
    told = children_of(world, execution, "poundcake.log_notification")
    assert [one["status"] for one in told] == ["succeeded"]
    message = told[0]["parameters"]["message"]
    for text in ("NodeDown", "10.255.255.1", "rack 7 is dark", "01-request"):
        assert text in message


def test_a_host_that_nobody_has_does_not_answer(world):
    """The default ping, with a name that no name server may ever know."""
    execution = host_down(world, host="poundcake.invalid", retries=0)
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert (output["outcome"], output["notified"]) == ("the host does not answer", True)
    assert output["reason"] == "no answer after 0 retries"


def test_a_ping_that_hangs_is_ended(world):
    """It counts as no answer."""
    begun = time.monotonic()
    execution = host_down(world, ping_command="sleep 60", retries=0, timeout_seconds=2)
    assert time.monotonic() - begun < 40
    assert execution["status"] == "failed"
    assert output_of(execution)["notified"] is True


def test_notify_action_gets_its_parameters(world):
    """What notify_parameters says arrives beside the message."""
    definition = "version: 1.0\ninput: [message, channel]\ntasks: {tell: {action: core.noop}}\n"
    with world.workflow(definition, inputs=("message", "channel")) as action:
        execution = host_down(
            world,
            ping_command="false",
            notify_action=action,
            notify_parameters={"channel": "#night"},
        )
        told = children_of(world, execution, action)
    assert [one["parameters"]["channel"] for one in told] == ["#night"]
    assert output_of(execution)["notified"] is True


def test_a_notify_action_that_fails_is_part_of_the_reason(world):
    """Nobody knows: that is what a person must read first."""
    definition = "version: 1.0\ninput: [message]\ntasks: {tell: {action: core.local cmd=false}}\n"
    with world.workflow(definition, inputs=("message",)) as action:
        execution = host_down(world, ping_command="false", notify_action=action)
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert output["notified"] is False
    assert output["reason"] == "no answer after 1 retries, and notify_action failed"


def test_a_notify_action_that_does_not_exist_is_shown_by_the_alert(world):
    """A typo in the config shows where the failure is read."""
    parameters = {
        "host": "{{ trigger.host }}",
        "ping_command": "false",
        "retries": 0,
        "notify_action": "nothing.like_this",
    }
    assert "nothing.like_this" in reason_of(world, "poundcake.host_down", parameters)


@pytest.mark.parametrize("kind", sorted(EVIL_NAMES))
def test_a_hosts_name_is_data(world, kind):
    """Neither the ping nor the notification runs a word of it."""
    mark = "/tmp/" + unique("poundcake-e2e-mark-")
    name = EVIL_NAMES[kind].format(mark=mark)
    execution = host_down(world, host=name, retries=0, summary=name)
    assert execution["status"] == "failed"
    assert output_of(execution)["host"] == name
    assert output_of(execution)["notified"] is True
    assert not exists(world, mark)
