"""high_memory for real: what its script finds among real processes, and what is done then.

Whether memory is short is said by parameter, as the machine has plenty.
"""

import re

import pytest
from poundcake import host_commands

from tests.support.alerts import alert
from tests.support.processes import (
    HOLD,
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
    enabled,
    kill,
    outcome_of,
    output_of,
    run,
    started_for,
)
from tests.support.world import unique

CHECK = host_commands.text_of("check_memory")
# With a flag in the folder there is enough.
CHECK_UNTIL_OVER = "test -e {folder}/over && export FREE_PERCENT=0; " + CHECK
SHORT = {"free_percent": 100, "share_percent": 2}
DROP = "echo drop >> {folder}/log"
# Five processes that hold the same 200 MB.
HOLD_TOGETHER = """
held = mmap.mmap(-1, 200 << 20)
ready = mmap.mmap(-1, 5)
for number in range(5):
    if not os.fork():
        prctl(1, 9)
        for at in range(0, len(held), 4096): held[at] = 1
        ready[number] = 1
        time.sleep(600)
while sum(ready[:]) < 5: time.sleep(0.01)
print(flush=True)
time.sleep(600)
"""
MAP_A_FILE = """
with open(sys.argv[1], "wb") as made: made.write(b"x" * (200 << 20))
opened = open(sys.argv[1], "rb")
held = mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)
sum(held[at] for at in range(0, len(held), 4096))
print(flush=True)
time.sleep(600)
"""


def look(pids, shell="sh", **more):
    """Run the script that checks where memory is short; return (exit code, what it printed)."""
    pids_command = pids if isinstance(pids, str) else "echo %d" % pids.pid
    env = dict({"FREE_PERCENT": "100", "SHARE_PERCENT": "2"}, PIDS_COMMAND=pids_command, **more)
    return run_script("check_memory", shell, **env)


def held_of(text):
    """How many MB the service holds, as the evidence says."""
    available, total, share = re.search(
        r"available, (\d+) of (\d+) MB. ([0-9.]+) % of the rest", text
    ).groups()
    return (int(total) - int(available)) * float(share) / 100


# --- what is seen ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_the_service_that_holds_the_memory_is_found(shell):
    """Exit code 1, and it is marked among the top processes."""
    with process(HOLD % 600) as service:
        service.stdout.readline()
        code, text = look(service, shell)
    assert code == 1, text
    assert marked(text) == [str(service.pid)]
    assert 580 < held_of(text) < 700
    assert len(text.splitlines()) <= 12


def test_another_process_that_holds_it_is_not_the_service():
    """Exit code 3: a restart of the service would be no help."""
    with process(HOLD % 600) as other, process(SLEEP) as service:
        other.stdout.readline()
        code, text = look(service)
    assert code == 3, text
    assert str(other.pid) in text and not marked(text)


def test_while_there_is_enough_nothing_is_to_be_done():
    """Exit code 0, however much of the rest the service holds."""
    with process(HOLD % 600) as service:
        service.stdout.readline()
        code, text = look(service, FREE_PERCENT="0")
    assert code == 0, text


def test_memory_that_processes_share_counts_once():
    """Such as the buffers of a database, which each of its processes has."""
    with process(HOLD_TOGETHER) as service:
        service.stdout.readline()
        _, text = look("echo %d; ps -o pid= --ppid %d" % (service.pid, service.pid))
    assert "6 processes" in text
    assert 190 < held_of(text) < 400, text


def test_a_mapped_file_does_not_count(tmp_path):
    """The kernel gives its memory away when it is needed, and counts it as available."""
    with process(MAP_A_FILE, arguments=[str(tmp_path / "file")]) as service:
        service.stdout.readline()
        _, text = look(service)
    assert held_of(text) < 100, text


@pytest.mark.parametrize("name", [b"x\nVmRSS: 9", b"RssAnon:9999999", b"\xff {%"])
def test_a_name_does_not_change_what_is_seen(name):
    """A process may call itself what looks like a line of numbers."""
    with process(HOLD % 600, name=name) as other, process(SLEEP, name=name) as service:
        other.stdout.readline()
        code, text = look(service)
        assert code == 3, text
        code, text = look(other)
        assert code == 1, text
    assert marked(text) == [str(other.pid)]
    assert len(text.splitlines()) <= 12


def test_the_arguments_of_processes_are_not_shown():
    """Passwords may stand there."""
    with process(HOLD % 600, arguments=["--password=hunter2"]) as service:
        service.stdout.readline()
        _, text = look(service)
    assert str(service.pid) in text
    assert "hunter2" not in text


def test_processes_that_cannot_be_told_are_no_evidence():
    """Neither 0 nor 1 nor 3, and what pids_command said."""
    code, text = look("echo no such unit; exit 1")
    assert code not in (0, 1, 3)
    assert "no such unit" in text


# --- what is done ---------------------------------------------------------------------------------


def test_the_service_that_holds_the_memory_is_restarted(place):
    """The memory before is in the evidence, and the memory after in the verification."""
    with process(HOLD % 600, name=b"hog") as service:
        service.stdout.readline()
        execution = place.run(
            "high_memory",
            check_command=CHECK_UNTIL_OVER,
            pids_command="echo %d" % service.pid,
            restart_command=CHANGE + kill(service.pid) + " && touch {folder}/over",
            drop_command=DROP,
            **SHORT,
        )
        assert execution["status"] == "succeeded", execution["result"]
        service.wait(10)
    output = output_of(execution)
    assert output["remediation"] == "restarted shop"
    assert marked(output["evidence"]) == [str(service.pid)]
    assert held_of(output["evidence"]) > 580 and held_of(output["verification"]) == 0
    assert place.log() == ["change"], "the page cache is dropped only when that is asked for"


@pytest.mark.parametrize("place", ["local"], indirect=True)
@pytest.mark.parametrize(
    "given, log, remediation",
    [
        ({}, [""], "none, something else holds the memory"),
        ({"drop_caches": True}, ["drop"], "dropped the page cache"),
        ({"drop_caches": True, "service": ""}, ["drop"], "dropped the page cache"),
        (
            {"drop_caches": True, "dry_run": True},
            [""],
            "none, this is a dry run; it would drop the page cache",
        ),
    ],
    ids=["others", "asked", "no-service", "dry-run"],
)
def test_the_page_cache_is_dropped_when_that_is_asked_for(place, given, log, remediation):
    """Whoever holds the memory, and without a service's name as well."""
    drop = DROP + "; touch {folder}/over"
    given = dict(SHORT, pids_command="true", drop_command=drop, **given)
    execution = place.run("high_memory", check_command=CHECK_UNTIL_OVER, **given)
    assert execution["status"] == "succeeded", execution["result"]
    output = output_of(execution)
    wanted = {"drop": "remediated", "": "escalated" if not given.get("dry_run") else "not_needed"}
    assert output["outcome"] == wanted[log[0]]
    assert output["remediation"] == remediation
    assert "of the memory is available" in output["evidence"]
    assert ("of the memory is available" in output["verification"]) == (log == ["drop"])
    assert place.log() == log


@pytest.mark.parametrize("place", ["local"], indirect=True)
def test_the_service_is_restarted_before_the_page_cache_is_dropped(place):
    """When both are called for."""
    execution = place.run("high_memory", drop_caches=True, drop_command=DROP)
    assert execution["status"] == "succeeded", execution["result"]
    assert output_of(execution)["remediation"] == "restarted shop, dropped the page cache"
    assert [done for done in place.log() if done != "look"] == ["change", "drop"]


@pytest.mark.parametrize("place", ["local"], indirect=True)
@pytest.mark.parametrize("failing", ["restart_command", "drop_command"])
def test_a_command_that_fails_says_so(place, failing):
    """And what it printed."""
    given = {"drop_caches": True, "drop_command": DROP, failing: "echo not allowed; exit 5"}
    execution = place.run("high_memory", **given)
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert output["reason"].startswith(
        "memory is still short, the %s command failed" % failing[:-8]
    )
    assert "not allowed" in output["reason"]
    assert ("drop" in place.log()) is False


@pytest.mark.parametrize("place", ["local"], indirect=True)
@pytest.mark.parametrize(
    "code, outcome, remediation",
    [
        (0, "not_needed", "none, enough memory was available"),
        (3, "escalated", "none, something else holds the memory"),
        (2, "failed", "none"),
        (127, "failed", "none"),
    ],
)
def test_what_does_not_show_that_the_service_holds_it_restarts_nothing(
    place, code, outcome, remediation
):
    """Each end says which it was."""
    check = LOOK + "echo what was seen; exit %d" % code
    execution = place.run("high_memory", check_command=check)
    output = output_of(execution)
    assert output["outcome"] == outcome
    assert (execution["status"] == "failed") == (outcome == "failed")
    assert output["remediation"] == remediation
    assert "what was seen" in output["evidence"] + (output["reason"] or "")
    assert place.log() == ["look"]


@pytest.mark.parametrize("place", ["local"], indirect=True)
def test_memory_that_stays_short_is_a_failure(place):
    """The restart succeeded and did not help; what is available then is said."""
    execution = place.run("high_memory", check_command="echo seen; exit 1", restart_command=CHANGE)
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert output["remediation"] == "restarted shop"
    assert output["reason"].startswith("restarted shop, but the symptom remains")
    assert output["verification"].startswith("seen")


def test_the_name_of_a_process_is_never_evaluated(place):
    """Neither what ps shows of it nor how its command line begins."""
    with secret_to_read(place.world) as (expression, secret):
        with process(HOLD % 600, name=b"{{7*191}}", word=expression) as service:
            service.stdout.readline()
            pids_command = "echo %d" % service.pid
            given = dict(SHORT, check_command=CHECK, pids_command=pids_command)
            execution = place.run("high_memory", dry_run=True, **given)
        assert secret not in everything_of(place.world, execution)
    assert execution["status"] == "succeeded", execution["result"]
    assert output_of(execution)["remediation"].startswith("none, this is a dry run")
    assert "❴❴7*191}}" in output_of(execution)["evidence"]


def test_the_rule_takes_node_exporters_alert(world):
    """It hands on the service and the host without its port."""
    name = unique("shop-")
    made = alert(alertname="NodeMemoryHighUtilization", instance="web-1.invalid:9100", service=name)
    with enabled(world, "high_memory"):
        execution = started_for(world, world.accept(made))
    given = execution["parameters"]
    assert execution["rule"]["ref"] == "poundcake.high_memory"
    assert (given["service"], given["host"]) == (name, "web-1.invalid")
    assert given["alert"]["labels"]["service"] == name


def test_the_rule_takes_an_alert_that_names_no_service(world):
    """A person is told what was measured, unless there is nothing to tell."""
    made = alert(alertname="HostOutOfMemory", instance="web-1.invalid:9100", tag=unique("none-"))
    with enabled(world, "high_memory"):
        execution = started_for(world, world.accept(made))
    assert outcome_of(execution) == ESCALATED
    assert "service: empty" in output_of(execution)["reason"]


def test_without_a_service_a_person_is_told_what_was_measured(world):
    """The public alerts name none."""
    execution = run(world, "poundcake.high_memory", service="", free_percent=100)
    assert outcome_of(execution) == ESCALATED
    assert " PID " in output_of(execution)["evidence"]


def test_a_service_that_is_not_there_is_not_restarted(world):
    """With the commands as they ship."""
    name = unique("no-such-shop-")
    execution = run(world, "poundcake.high_memory", service=name, free_percent=100)
    assert output_of(execution)["remediation"].startswith("none")
