"""What holds for every workflow of the library, tried where its evidence calls for a change."""

import base64
import json

import pytest

from tests.support.remediations import CASES, EVIL_TEXTS, asked, output_of
from tests.support.world import unique

SECRET_KEY = "poundcake_e2e_evidence"
NAMES = [(workflow, name) for workflow in sorted(CASES) for name in CASES[workflow].names]
# The others do not log in to their host: it is a label like any other.
LOGS_IN = [workflow for workflow in sorted(CASES) if "host" not in CASES[workflow].names]


@pytest.fixture(scope="module")
def secret(world):
    """What an expression in a command's output tries to read, encrypted in the datastore."""
    value = unique("evidence-secret-")
    world.st2("key", "set", SECRET_KEY, value, "--encrypt")
    yield value
    world.st2("key", "delete", SECRET_KEY)


@pytest.mark.parametrize("workflow", sorted(CASES))
def test_three_phases_show_in_the_output_and_among_the_tasks(place, workflow):
    """What was seen, what was done, and that the symptom is gone; each in a task of that name."""
    place.shell("echo it is broken > {folder}/seen")
    execution = place.run(workflow)
    assert execution["status"] == "succeeded", execution["result"]
    output = output_of(execution)
    assert set(output) == {"evidence", "remediation", "verification", "reason"}
    assert "it is broken" in output["evidence"]
    assert output["reason"] is None
    shown = place.world.st2("execution", "get", execution["id"], "--show-tasks")
    for phase in ("evidence", "remediation", "verification"):
        assert phase in shown
    log = place.log()
    assert "change" in log and log.index("look") < log.index("change")


@pytest.mark.parametrize("workflow", sorted(CASES))
def test_a_second_run_changes_nothing(place, workflow):
    """What is remediated already is left alone."""
    assert place.run(workflow)["status"] == "succeeded"
    assert place.log().count("change") == 1
    again = place.run(workflow)
    assert again["status"] == "succeeded", again["result"]
    assert place.log().count("change") == 1
    assert output_of(again)["remediation"].startswith("none")


@pytest.mark.parametrize("workflow", sorted(CASES))
def test_a_dry_run_looks_and_touches_nothing(place, workflow):
    """It says what it would have done."""
    place.shell("echo it is broken > {folder}/seen")
    execution = place.run(workflow, dry_run=True)
    assert execution["status"] == "succeeded"
    output = output_of(execution)
    assert output["remediation"].startswith("none, this is a dry run")
    assert "it is broken" in output["evidence"]
    assert set(place.log()) == {"look"}


@pytest.mark.parametrize("workflow", sorted(CASES))
def test_a_person_who_says_yes_lets_it_go_on(place, workflow):
    """They see the evidence, and until they have answered nothing is touched."""
    place.shell("echo it is broken > {folder}/seen")
    execution_id = place.start(workflow, approval=True)
    inquiry = asked(place, execution_id)
    assert "it is broken" in inquiry["schema"]["properties"]["approved"]["description"]
    assert set(place.log()) == {"look"}
    place.world.st2("inquiry", "respond", inquiry["id"], "-r", '{"approved": true}')
    execution = place.world.finished(execution_id)
    assert execution["status"] == "succeeded", execution["result"]
    assert place.log().count("change") == 1


@pytest.mark.parametrize("workflow", sorted(CASES))
@pytest.mark.parametrize(
    "response, said",
    [
        ({"approved": False}, "a person said no"),
        ({"approved": False, "expired": True}, "nobody answered in time"),
    ],
)
def test_without_a_yes_nothing_is_touched(place, workflow, response, said):
    """The second is what the sensor answers for a person who did not."""
    execution_id = place.start(workflow, approval=True)
    answer = {"id": asked(place, execution_id)["id"], "response": response}
    place.world.api("PUT", "/inquiries/" + answer["id"], json=answer)
    execution = place.world.finished(execution_id)
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert said in output["reason"] and output["remediation"] == "none"
    assert set(place.log()) == {"look"}


@pytest.mark.parametrize("workflow", LOGS_IN)
@pytest.mark.parametrize("hosts", ["{0},{0}", "root@{0}", "-oProxyCommand=x", "{0} {0}"])
def test_only_one_host_is_worked_on(place, workflow, hosts):
    """core.remote takes lists and user names; whoever controls a label must not choose them."""
    execution = place.run(workflow, host=hosts.format(place.host or "127.0.0.1"))
    assert execution["status"] == "failed"
    assert "one host only" in output_of(execution)["reason"]
    assert place.log() == ["look" if CASES[workflow].looks_from_here else ""]


@pytest.mark.parametrize("workflow, name", NAMES)
def test_a_missing_label_is_named(place, workflow, name):
    """An alert without it runs no command at all, and the reason says which it is."""
    execution = place.run(workflow, **{name: ""})
    assert execution["status"] == "failed"
    reason = output_of(execution)["reason"]
    assert name in reason and "not set in the alert" in reason
    assert place.log() == [""]


@pytest.mark.parametrize("workflow, name", NAMES)
@pytest.mark.parametrize("kind", sorted(EVIL_TEXTS))
def test_a_label_is_data(place, workflow, name, kind):
    """Every command gets it whole in its environment, and no shell on the way runs a word of it."""
    evil = EVIL_TEXTS[kind].format(mark=place.folder + "/mark")
    commands = {
        key: "env -0 | base64 -w0 >> {folder}/env; echo >> {folder}/env; " + value
        for key, value in CASES[workflow].parameters.items()
        if key.endswith("_command")
    }
    place.run(workflow, **dict(commands, **{name: evil}))
    seen = [base64.b64decode(line).decode() for line in place.shell("cat {folder}/env").split()]
    assert seen
    for environment in seen:
        assert evil in [item.partition("=")[2] for item in environment.split("\0")]
    assert not place.has("mark")


@pytest.mark.parametrize("workflow, name", NAMES)
@pytest.mark.parametrize("kind", sorted(EVIL_TEXTS))
def test_a_label_is_data_in_the_default_commands(place, workflow, name, kind):
    """The commands that ship are told a name that does not exist, and that is all."""
    evil = EVIL_TEXTS[kind].format(mark=place.folder + "/mark")
    case = CASES[workflow].parameters
    given = {key: value for key, value in case.items() if not key.endswith("_command")}
    given = dict({"host": place.host, "timeout_seconds": 10}, **given)
    given[name] = evil
    body = {"action": "poundcake." + workflow, "parameters": given}
    execution = place.world.finished(place.world.api("POST", "/executions", json=body)["id"])
    assert execution["status"] in ("succeeded", "failed")
    assert not place.has("mark")


@pytest.mark.parametrize("workflow", sorted(CASES))
def test_what_a_command_prints_is_never_evaluated(place, workflow, secret):
    """Expressions that read a secret stay text in everything that the workflow leaves behind."""
    expressions = [
        "{{ st2kv('system.%s', decrypt=true) }}" % SECRET_KEY,
        "{{ st2kv.system.%s | decrypt_kv }}" % SECRET_KEY,
        "<%% st2kv('system.%s', decrypt => true) %%>" % SECRET_KEY,
        "{%% if true %%}{{ st2kv('system.%s', decrypt=true) }}{%% endif %%}" % SECRET_KEY,
    ]
    # The command that writes them must not be evaluated either.
    text = base64.b64encode("\n".join(expressions).encode()).decode()
    place.shell("echo %s | base64 -d > {folder}/seen" % text)
    execution = place.run(workflow)
    assert execution["status"] == "succeeded", execution["result"]
    world = place.world
    found = [execution, *world.api("GET", "/executions/%s/children?depth=-1" % execution["id"])]
    whole = json.dumps([world.execution(one["id"]) for one in found])
    assert "st2kv" in whole, "the evidence must have been kept"
    assert secret not in whole
    assert "❴❴ st2kv" in output_of(execution)["evidence"]
