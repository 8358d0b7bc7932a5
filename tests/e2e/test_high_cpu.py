"""high_cpu for real: what its script finds among real processes, and what is done then.

The machine may be busy with other things as well, so the thresholds are low, and what "busy" means
is said by parameter.
"""

import re
import threading

import pytest
from poundcake import host_commands

from tests.support.alerts import alert
from tests.support.processes import (
    BURN,
    SLEEP,
    everything_of,
    marked,
    process,
    run_script,
    secret_to_read,
)
from tests.support.remediations import (
    CHANGE,
    ESCALATED,
    LOOK,
    REMEDIATED,
    enabled,
    kill,
    outcome_of,
    output_of,
    run,
    started_for,
)
from tests.support.world import unique

CHECK = host_commands.text_of("check_cpu")
# With a flag in the folder the host counts as calm.
CHECK_UNTIL_OVER = "test -e {folder}/over && export BUSY_PERCENT=101; " + CHECK
LOW = {"busy_percent": 5, "share_percent": 2, "sample_seconds": 1}
# A child works before anything is measured, and ends at a word from outside.
WORKED_BEFORE = """
worked, out = os.pipe()
child = os.fork()
if not child:
    prctl(1, 9)
    while time.process_time() < 2: pass
    os.write(out, b"x")
    while not os.path.exists(sys.argv[1] + "/end"): time.sleep(0.01)
    os._exit(0)
os.read(worked, 1)
print(flush=True)
os.wait()
open(sys.argv[1] + "/ended", "w").close()
time.sleep(600)
"""
SHORT_LIVED = """
while True:
    if not os.fork():
        end = time.process_time() + 0.1
        while time.process_time() < end: pass
        os._exit(0)
    os.wait()
"""


def look(pids, shell="sh", **more):
    """Run the script that checks with low thresholds; return (exit code, what it printed)."""
    pids_command = pids if isinstance(pids, str) else "echo %d" % pids.pid
    env = {"BUSY_PERCENT": "5", "SHARE_PERCENT": "2", "SAMPLE_SECONDS": "1"}
    env.update(more, PIDS_COMMAND=pids_command)
    return run_script("check_cpu", shell, **env)


def share_of(text):
    """How much of the busy time was the service, as the evidence says."""
    return float(re.search(r"([0-9.]+) % of that was the service", text).group(1))


# --- what is measured -----------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_the_service_that_burns_is_found(shell):
    """Exit code 1, and it is marked among the top processes."""
    with process(BURN) as burner:
        code, text = look(burner, shell)
    assert code == 1, text
    assert marked(text) == [str(burner.pid)]
    assert share_of(text) >= 2
    assert len(text.splitlines()) <= 12


def test_another_process_that_burns_is_not_the_service():
    """Exit code 3: the host is busy, and a restart of the service would be no help."""
    with process(BURN) as burner, process(SLEEP) as service:
        code, text = look(service)
    assert code == 3, text
    assert str(burner.pid) in text
    assert share_of(text) < 2


@pytest.mark.parametrize("written", ["  1 %d\n", "1\n  %d  ", "%d 1 1"])
def test_pids_may_be_written_as_ps_and_pidof_do(written):
    """With room around them, or many on a line."""
    with process(BURN) as burner:
        code, text = look("printf '%s'" % (written % burner.pid))
    assert code == 1, text
    assert "2 processes" in text


def test_a_service_that_does_not_run_is_not_the_one_that_burns():
    """It has no processes."""
    with process(BURN):
        code, text = look("true")
    assert code == 3, text
    assert "0 processes" in text


def test_a_host_that_is_not_busy_is_left_alone():
    """Exit code 0, whoever uses most of the little."""
    with process(BURN) as burner:
        code, text = look(burner, BUSY_PERCENT="101")
    assert code == 0, text


def test_what_burnt_long_ago_does_not_burn_now():
    """A process is judged by what it does while it is measured, and not by all that it ever did."""
    with process("while time.process_time() < 1: pass\nprint(flush=True); " + SLEEP) as service:
        service.stdout.readline()
        with process(BURN):
            code, text = look(service)
    assert code == 3, text


def test_children_that_come_and_go_count():
    """A service that burns in short-lived children burns."""
    with process(SHORT_LIVED) as service:
        code, text = look(service, SHARE_PERCENT="1")
    assert code == 1, text


def test_a_child_that_worked_before_does_not_count(tmp_path):
    """Its parent gets the time of its whole life at once, when it ends: more than there was."""
    with process(WORKED_BEFORE, arguments=[str(tmp_path)]) as service:
        service.stdout.readline()
        # It is run at the begin of the interval, and at its end, when the child must end.
        pids_command = (
            "cd %s; [ ! -e begun ] || touch end; until [ ! -e begun ] || [ -e ended ]; "
            "do sleep 0.1; done; touch begun; echo %d"
        ) % (tmp_path, service.pid)
        # Of what is really worked nobody can have done more than all of it.
        code, text = look(pids_command, BUSY_PERCENT="0", SHARE_PERCENT="101", SAMPLE_SECONDS="0")
    assert (tmp_path / "ended").exists()
    assert code == 3, text


@pytest.mark.parametrize("name", [b") R 1 1 1 1 1 1", b"x\n1 (x) R 1 1 1", b"((((", b"\xff\xfe {%"])
def test_a_name_does_not_change_what_is_measured(name):
    """A process may call itself what looks like other numbers, or like another process."""
    with process(BURN, name=name) as burner, process(SLEEP, name=name) as service:
        code, text = look(service)
        assert code == 3, text
        code, text = look(burner)
        assert code == 1, text
    assert marked(text) == [str(burner.pid)]
    assert len(text.splitlines()) <= 12


def test_the_arguments_of_processes_are_not_shown():
    """Passwords may stand there."""
    with process(BURN, arguments=["--password=hunter2"]) as burner:
        _, text = look(burner)
    assert str(burner.pid) in text
    assert "hunter2" not in text


def test_processes_that_cannot_be_told_are_no_evidence():
    """Neither 0 nor 1 nor 3, and what pids_command said."""
    code, text = look("echo no such unit; exit 1")
    assert code not in (0, 1, 3)
    assert "no such unit" in text


# --- pids_command ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "says, code",
    [
        ("ControlGroup=", 0),
        ("ControlGroup=/system.slice/no-such-shop.service", 0),
        ("ControlGroup=/system.slice", 1),
        ("ControlGroup=/", 1),
        ("ControlGroup=/a.slice\n\nControlGroup=/user.slice", 1),
    ],
    ids=["stopped", "just-ended", "slice", "root", "several"],
)
@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_only_a_service_has_processes(tmp_path, shell, says, code):
    """system.slice has nearly all there are; a label that says so restarts nothing."""
    stand_in = tmp_path / "systemctl"
    stand_in.write_text("#!/bin/sh\ncat <<'END'\n%s\nEND\n" % says)
    stand_in.chmod(0o755)
    given = {"BUSY_PERCENT": "0", "SHARE_PERCENT": "0", "SAMPLE_SECONDS": "0.2", "SERVICE": "shop"}
    got, text = run_script("check_cpu", shell, "%s:" % tmp_path, **given)
    assert got == (2 if code else 1)
    assert ("not the name of one service" if code else " 0 processes") in text


def test_both_workflows_find_the_processes_of_a_service_in_the_same_way():
    """What is put right in one is put right in the other."""
    cpu, memory = [host_commands.text_of(name) for name in ("check_cpu", "check_memory")]
    start = "pids_of_the_service="
    assert cpu.startswith(start) and cpu.split("\nawk ")[0] == memory.split("\nawk ")[0]


# --- what is done ---------------------------------------------------------------------------------


def test_the_service_that_burns_is_restarted(place):
    """Measured, restarted, measured again."""
    with process(BURN, name=b"burner") as burner:
        # Whom nobody waits for stays among the processes when it is killed.
        threading.Thread(target=burner.wait, daemon=True).start()
        execution = place.run(
            "high_cpu",
            check_command=CHECK_UNTIL_OVER,
            pids_command="echo %d" % burner.pid,
            restart_command=CHANGE + kill(burner.pid) + " && touch {folder}/over",
            **LOW,
        )
        assert outcome_of(execution) == REMEDIATED, execution["result"]
        burner.wait(60)
    output = output_of(execution)
    assert output["remediation"] == "restarted shop"
    assert marked(output["evidence"]) == [str(burner.pid)]
    assert "burner" in output["evidence"]
    assert "The CPUs were busy" in output["verification"]
    assert "burner" not in output["verification"]
    assert place.log() == ["change"]


@pytest.mark.parametrize("place", ["local"], indirect=True)
def test_a_service_that_burns_on_after_the_restart_is_a_failure(place):
    """The restart succeeded and did not help."""
    with process(BURN) as burner:
        pids_command = "echo %d" % burner.pid
        given = dict(LOW, check_command=CHECK, pids_command=pids_command, restart_command=CHANGE)
        execution = place.run("high_cpu", **given)
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert output["remediation"] == "restarted shop"
    assert output["reason"].startswith("restarted shop, but the symptom remains")
    assert output["verification"].startswith("checked again, The CPUs were busy")


@pytest.mark.parametrize(
    "code, outcome, remediation",
    [
        (0, "not_needed", "none, the CPUs were not busy"),
        (3, "escalated", "none, something else uses the CPU"),
        (2, "failed", "none"),
        (127, "failed", "none"),
    ],
)
@pytest.mark.parametrize("place", ["local"], indirect=True)
def test_what_does_not_show_that_the_service_burns_restarts_nothing(
    place, code, outcome, remediation
):
    """Each end says which it was."""
    check = LOOK + "echo what was seen; exit %d" % code
    execution = place.run("high_cpu", check_command=check)
    output = output_of(execution)
    assert output["outcome"] == outcome
    assert (execution["status"] == "failed") == (outcome == "failed")
    assert output["remediation"] == remediation
    assert "what was seen" in output["evidence"] + (output["reason"] or "")
    assert place.log() == ["look"]


@pytest.mark.parametrize("place", ["local"], indirect=True)
def test_a_restart_that_fails_says_so(place):
    """And what it printed."""
    execution = place.run("high_cpu", restart_command="echo no such unit; exit 5")
    assert execution["status"] == "failed"
    reason = output_of(execution)["reason"]
    assert "the restart command failed" in reason and "no such unit" in reason


def test_the_name_of_a_process_is_never_evaluated(place):
    """Neither what ps shows of it nor how its command line begins."""
    with secret_to_read(place.world) as (expression, secret):
        with process(BURN, name=b"{{7*191}}", word=expression) as burner:
            given = dict(LOW, check_command=CHECK, pids_command="echo %d" % burner.pid)
            execution = place.run("high_cpu", dry_run=True, **given)
        assert secret not in everything_of(place.world, execution)
    assert execution["status"] == "succeeded", execution["result"]
    assert output_of(execution)["remediation"].startswith("none, this is a dry run")
    assert "❴❴7*191}}" in output_of(execution)["evidence"]


def test_the_rule_takes_node_exporters_alert(world):
    """It hands on the service and the host without its port."""
    name = unique("shop-")
    made = alert(alertname="NodeCPUHighUsage", instance="web-1.invalid:9100", service=name)
    with enabled(world, "high_cpu"):
        execution = started_for(world, world.accept(made))
    given = execution["parameters"]
    assert execution["rule"]["ref"] == "poundcake.high_cpu"
    assert (given["service"], given["host"]) == (name, "web-1.invalid")
    assert given["alert"]["labels"]["service"] == name


def test_the_rule_takes_an_alert_that_names_no_service(world):
    """A person is told what was measured, unless there is nothing to tell."""
    made = alert(alertname="HostHighCpuLoad", instance="web-1.invalid:9100", tag=unique("none-"))
    with enabled(world, "high_cpu"):
        execution = started_for(world, world.accept(made))
    assert outcome_of(execution) == ESCALATED
    assert "service: empty" in output_of(execution)["reason"]


def test_without_a_service_a_person_is_told_what_was_measured(world):
    """The public alerts name none."""
    execution = run(world, "poundcake.high_cpu", service="", busy_percent=0, sample_seconds=1)
    assert outcome_of(execution) == ESCALATED
    assert " PID " in output_of(execution)["evidence"]


def test_a_service_that_is_not_there_is_not_restarted(world):
    """With the commands as they ship."""
    execution = run(world, "poundcake.high_cpu", service=unique("no-such-shop-"), sample_seconds=1)
    assert output_of(execution)["remediation"].startswith("none")
