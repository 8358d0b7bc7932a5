"""service_down for real: what it does and says beside what holds for every workflow."""

import json

import pytest

from tests.support.alerts import alert
from tests.support.ports import free_port
from tests.support.processes import run_script
from tests.support.remediations import (
    CHANGE,
    ESCALATED,
    EVIL_NAMES,
    FAILED,
    LOOK,
    NOT_NEEDED,
    REMEDIATED,
    Place,
    children_of,
    enabled,
    exists,
    outcome_of,
    output_of,
    reason_of,
    started_for,
)
from tests.support.world import unique


def test_a_service_that_is_down_is_restarted(place):
    """Looked at, restarted, looked at again, all of it where the service is."""
    execution = place.run("service_down")
    assert outcome_of(execution) == REMEDIATED
    output = output_of(execution)
    assert output["remediation"] == "restarted shop"
    assert output["verification"] == "checked again, the check passes"
    assert place.log() == ["look", "change", "look"]
    used = "core.remote" if place.host else "core.local"
    assert len(children_of(place.world, execution, used)) == 3


def test_a_service_that_is_up_is_left_alone(place):
    """The alert came late: nothing is restarted."""
    place.shell("touch {folder}/up")
    execution = place.run("service_down")
    assert outcome_of(execution) == NOT_NEEDED
    assert output_of(execution)["remediation"] == "none, the service was already up"
    assert place.log() == ["look"]


def test_a_restart_that_fails_says_so(place):
    """Still down, failed, and the reason names the restart and what it printed."""
    execution = place.run("service_down", restart_command="echo no such unit; exit 5")
    assert outcome_of(execution) == FAILED
    output = output_of(execution)
    assert output["remediation"] == "the restart command failed"
    assert "still down" in output["reason"] and "no such unit" in output["reason"]
    assert place.log() == ["look"]


def test_a_restart_that_does_not_help_says_so(place):
    """The restart succeeds and the service stays down: failed, and the reason says so."""
    execution = place.run("service_down", restart_command=CHANGE)
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert output["remediation"] == "restarted shop"
    assert output["reason"].startswith("restarted shop, but the symptom remains")
    assert place.log() == ["look", "change", "look"]


def test_a_restart_that_is_refused_is_told_to_a_person(place):
    """The next try would be refused too (exit code 77), so there is no other one."""
    execution = place.run("service_down", restart_command="echo no sudo here; exit 77")
    assert outcome_of(execution) == ESCALATED
    output = output_of(execution)
    assert output["remediation"] == "the restart was refused"
    assert output["reason"].endswith("refused - no sudo here; a person was told")
    assert len(children_of(place.world, execution, "poundcake.notify")) == 1


@pytest.mark.parametrize("place", ["local"], indirect=True)
@pytest.mark.parametrize(
    "unit",
    ["reboot.target", "poweroff.target", "rescue.target", "debug-shell.service", "*", "sshd"]
    + ["st2api", "systemd-logind.service", "home.mount", "-H", "a b", "../a"],
)
def test_a_unit_that_may_not_be_restarted_is_told_to_a_person(place, unit):
    """No command gets to see it, not even the one that only looks."""
    execution = place.run("service_down", service=unit)
    assert outcome_of(execution) == ESCALATED
    assert 'service: "%s' % unit in output_of(execution)["reason"]
    assert place.log() == [""]


@pytest.mark.parametrize("unit", ["reboot.target", "-.mount", "*", "--now", "a\nb", ""])
def test_the_script_on_the_host_refuses_it_again(tmp_path, unit):
    """Whatever has let it through."""
    for program in ("systemctl", "sudo"):
        path = tmp_path / program
        path.write_text('#!/bin/sh\n[ "$1" = -n ] && shift && exec "$@"\ntouch %s/ran\n' % tmp_path)
        path.chmod(0o755)
    code, text = run_script("restart_service", path="%s:" % tmp_path, SERVICE=unit)
    assert code == 77 and text.strip()
    assert not (tmp_path / "ran").exists()
    assert run_script("restart_service", path="%s:" % tmp_path, SERVICE="nginx") == (0, "")
    assert (tmp_path / "ran").exists()


def test_a_host_that_cannot_be_reached_is_no_service_that_is_down(over_ssh):
    """Nothing was seen, so nothing is done."""
    world, _ = over_ssh
    place = Place(world, "127.0.0.1:%d" % free_port())
    execution = place.run("service_down")
    assert execution["status"] == "failed"
    output = output_of(execution)
    told = "could not check, nothing was done - Failed connecting to host 127.0.0.1. "
    assert output["reason"].startswith(told)
    assert output["reason"][-1] not in '",\n'
    assert output["remediation"] == "none"


def test_a_check_that_hangs_is_ended_and_the_service_restarted(place):
    """A service that hangs is down as well."""
    check = LOOK + "test -e {folder}/up || sleep 600"
    execution = place.run("service_down", check_command=check, timeout_seconds=2)
    assert execution["status"] == "succeeded"
    assert place.log() == ["look", "change", "look"]


def test_a_restart_that_hangs_is_ended(place):
    """The workflow ends as failed, when the command's time is up."""
    execution = place.run("service_down", restart_command="sleep 600", timeout_seconds=2)
    assert execution["status"] == "failed"
    assert "the restart command failed" in output_of(execution)["reason"]


def test_service_down_reads_well_in_st2_run(world):
    """Without a host and an alert, as a person types it."""
    check = "check_command=true"
    done = world.st2_process("run", "-j", "poundcake.service_down", "service=shop", check)
    # Behind the execution, st2 lists its tasks.
    execution, _ = json.JSONDecoder().raw_decode(done.stdout.lstrip())
    assert execution["status"] == "succeeded"
    assert output_of(execution)["remediation"] == "none, the service was already up"


def test_the_rule_takes_a_service_down_alert(world):
    """Enabled with one command, it hands on the service and the host without its port."""
    name = unique("shop-")
    made = alert(alertname="ServiceDown", instance="web-1.invalid:9100", service=name)
    with enabled(world, "service_down"):
        request_id = world.accept(made)
        execution = started_for(world, request_id)
    assert execution["action"]["ref"] == "poundcake.service_down"
    assert execution["rule"]["ref"] == "poundcake.service_down"
    given = execution["parameters"]
    assert (given["service"], given["host"]) == (name, "web-1.invalid")
    assert given["alert"]["request_id"] == request_id
    assert given["alert"]["labels"]["service"] == name


def test_the_rule_takes_node_exporters_alerts(world):
    """They name the unit in the label "name"."""
    name = unique("shop-") + ".service"
    made = alert(alertname="SystemdServiceFailed", instance="web-1.invalid:9100", name=name)
    with enabled(world, "service_down"):
        execution = started_for(world, world.accept(made))
    assert execution["parameters"]["service"] == name


def test_the_rule_takes_an_alert_that_names_no_service(world):
    """A person is told, with what has failed on the host."""
    made = alert(alertname="ServiceDown", instance="web-1.invalid:9100", tag=unique("none-"))
    with enabled(world, "service_down"):
        execution = started_for(world, world.accept(made))
    assert outcome_of(execution) == ESCALATED
    assert "service: empty" in output_of(execution)["reason"]


def test_a_services_name_is_data_all_the_way_from_the_alert(world):
    """From the label through trigger, rule and workflow to the shell."""
    mark = "/tmp/" + unique("poundcake-e2e-mark-")
    names = [text.format(mark=mark) for text in EVIL_NAMES.values()]
    # A host each: of one alertname on one host only a few an hour are remediated.
    hosts = ["web-%d.invalid:9100" % number for number in range(2, 2 + len(names))]
    alerts = [
        alert(alertname="ServiceDown", instance=host, service=name)
        for host, name in zip(hosts, names, strict=True)
    ]
    no_host = alert(
        alertname="ServiceDown", instance="$(touch %s):9100" % mark, service=unique("shop-")
    )
    with enabled(world, "service_down"):
        request_id = world.accept(*alerts, no_host)
        row = world.completed(request_id)
    assert row["alerts"][-1]["outcome"] == "unmatched", "what is no host is worked on nowhere"
    found = world.status(request_id)["executions"]
    assert len(found) == len(alerts)
    passed = [world.execution(one["execution_id"])["parameters"]["service"] for one in found]
    assert sorted(passed) == sorted(one["labels"]["service"] for one in alerts)
    assert not exists(world, mark)


def test_the_alert_says_why_the_restart_failed(world):
    """What the workflow gives as its reason is what get_alert shows."""
    parameters = {"service": "shop", "check_command": "false", "restart_command": "false"}
    reason = reason_of(world, "poundcake.service_down", parameters)
    assert "the restart command failed" in reason
