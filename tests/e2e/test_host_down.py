"""host_down for real: what it does and says beside what holds for every workflow."""

import os

import pytest

from tests.support.alerts import alert
from tests.support.remediations import (
    ESCALATED,
    EVIL_NAMES,
    FAILED,
    NOT_NEEDED,
    REMEDIATED,
    children_of,
    enabled,
    exists,
    outcome_of,
    output_of,
    run,
    shell,
    started_for,
)
from tests.support.world import open_world, unique

# Every command runs on the StackStorm node.
on_the_node = pytest.mark.parametrize("place", ["local"], indirect=True)
own_config = pytest.mark.skipif("ST2_API_URL" in os.environ, reason="needs a config of its own")


def host_down(world, **parameters):
    """Run host_down to its end, with one retry and no wait before it."""
    given = {"host": "127.0.0.1", "retries": 1, "retry_seconds": 0, "settle_seconds": 0}
    return run(world, "poundcake.host_down", **dict(given, **parameters))


def messages_of(world, execution):
    """What people were told by an execution: notify starts notify_action as one of its own."""
    told = children_of(world, execution, "poundcake.notify")
    assert all(one["status"] == "succeeded" for one in told)
    ids = [world.execution(one["id"])["result"]["result"]["execution_id"] for one in told]
    return [world.execution(one)["parameters"]["message"] for one in ids]


# --- from the alert on ------------------------------------------------------------------------


def test_the_rule_takes_a_host_down_alert(world):
    """A host that answers again needs nothing."""
    # Not 127.0.0.1, which is no host of an alert.
    address = shell(world, "hostname -I").split()[0]
    made = alert(alertname="HostDown", instance=address + ":9100", tag=unique("host-"))
    with enabled(world, "host_down"):
        request_id = world.accept(made)
        execution = started_for(world, request_id)
    given = execution["parameters"]
    assert given["host"] == address
    wanted = {
        "alertname": "HostDown",
        "summary": made["annotations"]["summary"],
        "request_id": request_id,
    }
    assert {key: given["alert"][key] for key in wanted} == wanted
    assert outcome_of(execution) == NOT_NEEDED
    assert output_of(execution)["remediation"] == "none, the host answers"


# --- the ping ---------------------------------------------------------------------------------


def test_a_host_that_answers_ends_well(world):
    """A real ping, and nobody is told."""
    execution = run(world, "poundcake.host_down", host="127.0.0.1")
    assert execution["status"] == "succeeded"
    output = output_of(execution)
    assert "3 packets transmitted" in output.pop("evidence")
    assert output == {
        "outcome": "not_needed",
        "remediation": "none, the host answers",
        "verification": "",
        "reason": None,
    }
    assert messages_of(world, execution) == []


def test_a_host_that_answers_the_second_ping_ends_well(world):
    """One lost ping is no reason to wake a person."""
    path = "/tmp/" + unique("poundcake-e2e-ping-")
    execution = host_down(world, ping_command="test -e %s || { touch %s; false; }" % (path, path))
    shell(world, "rm " + path)
    assert execution["status"] == "succeeded"
    assert output_of(execution)["remediation"] == "none, the host answers"
    assert len(children_of(world, execution, "core.local")) == 2
    assert messages_of(world, execution) == []


def test_a_host_that_nobody_has_does_not_answer(world):
    """The default ping, with a name that no name server may ever know."""
    execution = host_down(world, host="poundcake.invalid", retries=0)
    assert outcome_of(execution) == ESCALATED
    assert output_of(execution)["reason"] == "no answer after 0 retries; a person was told"


def test_a_ping_that_hangs_is_ended(world):
    """It counts as no answer."""
    execution = host_down(world, ping_command="sleep 600", retries=0, timeout_seconds=2)
    assert outcome_of(execution) == ESCALATED
    assert len(messages_of(world, execution)) == 1


# --- a person is told -------------------------------------------------------------------------


def test_a_host_that_does_not_answer_is_told_to_a_person(world):
    """The message says alert, host, summary and request. Told is what was wanted: escalated."""
    execution = host_down(
        world,
        host="10.255.255.1",
        ping_command="echo 100% packet loss; false",
        alert={"alertname": "NodeDown", "summary": "rack 7 is dark", "request_id": "01-request"},
    )
    assert execution["status"] == "succeeded"
    assert output_of(execution) == {
        "outcome": "escalated",
        "evidence": "100% packet loss",
        "remediation": "none",
        "verification": "",
        "reason": "no answer after 1 retries; a person was told",
    }
    assert len(children_of(world, execution, "core.local")) == 2
    (message,) = messages_of(world, execution)
    for text in ("NodeDown", "10.255.255.1", "rack 7 is dark", "01-request"):
        assert text in message


def test_a_dry_run_tells_nobody(world):
    """It says that a person would be told."""
    execution = host_down(world, ping_command="false", dry_run=True)
    assert execution["status"] == "succeeded"
    said = "none, this is a dry run; it would tell a person"
    assert output_of(execution)["remediation"] == said
    assert messages_of(world, execution) == []


@own_config
def test_a_person_is_told_the_way_the_config_says_or_the_reason_says_that_nobody_was(tmp_path):
    """Through any action, with the parameters that it has; its failure hides nothing."""
    told = tmp_path / "told"
    parameters = {
        "cmd": 'test ! -e %s.broken && printf "%%s" "$CHANNEL $MESSAGE" >%s' % (told, told),
        "env": {"CHANNEL": "#night", "MESSAGE": "$message"},
    }
    config = {"notify_action": "core.local", "notify_parameters": parameters}
    with open_world(tmp_path / "world", **config) as world:
        execution = host_down(world, ping_command="false")
        assert output_of(execution)["reason"] == "no answer after 1 retries; a person was told"
        assert told.read_text().startswith("#night host_down - 127.0.0.1 does not answer.")

        (tmp_path / "told.broken").touch()
        execution = host_down(world, ping_command="echo silence; false")
        assert outcome_of(execution) == FAILED
        output = output_of(execution)
        assert output["evidence"] == "silence"
        start = "no answer after 1 retries; nobody was told, notify_action: core.local is failed"
        assert output["reason"].startswith(start)


@own_config
def test_a_notify_action_that_does_not_exist_is_a_failure(tmp_path):
    """A typo in the config shows where the failure is read."""
    with open_world(tmp_path, notify_action="nothing.like_this") as world:
        execution = host_down(world, ping_command="false", retries=0)
    assert outcome_of(execution) == FAILED
    reason = output_of(execution)["reason"]
    assert reason.count("no answer after 0 retries; nobody was told, notify_action: nothing") == 1


# --- power_command ----------------------------------------------------------------------------


@on_the_node
def test_a_host_that_can_be_switched_off_and_on_is(place):
    """It is pinged again, and nobody is woken."""
    execution = place.run("host_down")
    assert outcome_of(execution) == REMEDIATED
    assert output_of(execution)["remediation"] == "power_command ran"
    assert place.log() == ["look", "change", "look"]
    assert messages_of(place.world, execution) == []


@on_the_node
def test_a_power_command_that_fails_is_told_to_a_person(place):
    """With what it printed."""
    execution = place.run("host_down", power_command="echo no such BMC; exit 1")
    assert outcome_of(execution) == FAILED
    output = output_of(execution)
    assert output["remediation"] == "power_command failed"
    assert "power_command failed - no such BMC; a person was told" in output["reason"]
    (message,) = messages_of(place.world, execution)
    assert "no such BMC" in message


@on_the_node
def test_a_host_that_stays_down_is_told_to_a_person(place):
    """power_command succeeds, and the host does not answer."""
    execution = place.run("host_down", power_command="true")
    assert outcome_of(execution) == FAILED
    output = output_of(execution)
    assert output["remediation"] == "power_command ran"
    assert output["reason"].startswith("power_command ran, but the symptom remains - ")
    assert len(messages_of(place.world, execution)) == 1


# --- names are data ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(EVIL_NAMES))
def test_a_hosts_name_is_data(world, kind):
    """It is not pinged, and the notification runs no word of it."""
    mark = "/tmp/" + unique("poundcake-e2e-mark-")
    name = EVIL_NAMES[kind].format(mark=mark)
    execution = host_down(world, host=name, retries=0, alert={"summary": name})
    assert outcome_of(execution) == ESCALATED
    (message,) = messages_of(world, execution)
    assert " ".join(name.split()) in message
    assert not exists(world, mark)
