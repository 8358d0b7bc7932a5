"""What holds for every workflow of the library, tried where its evidence calls for a change."""

import base64
import json

import pytest

from tests.support.remediations import (
    CASES,
    ESCALATED,
    EVIL_TEXTS,
    NOT_NEEDED,
    REMEDIATED,
    asked,
    outcome_of,
    output_of,
    run,
)
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
    assert outcome_of(execution) == REMEDIATED, execution["result"]
    output = output_of(execution)
    assert set(output) == {"outcome", "evidence", "remediation", "verification", "reason"}
    assert output["remediation"] not in ("", "none") and output["verification"]
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
    assert outcome_of(again) == NOT_NEEDED, again["result"]
    assert place.log().count("change") == 1
    assert output_of(again)["remediation"].startswith("none")


@pytest.mark.parametrize("workflow", sorted(CASES))
def test_a_dry_run_looks_and_touches_nothing(place, workflow):
    """It says what it would have done."""
    place.shell("echo it is broken > {folder}/seen")
    execution = place.run(workflow, dry_run=True)
    assert outcome_of(execution) == NOT_NEEDED
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
    "response, said, outcome",
    [
        ({"approved": False}, "a person said no", "escalated"),
        ({}, "a person said no", "escalated"),
        ({"approved": False, "expired": True}, "nobody answered in time", "failed"),
    ],
    ids=["no", "unticked", "expired"],
)
def test_without_a_yes_nothing_is_touched(place, workflow, response, said, outcome):
    """The web UI sends nothing for a box that is not ticked; the sensor answers when time is up."""
    execution_id = place.start(workflow, approval=True)
    answer = {"id": asked(place, execution_id)["id"], "response": response}
    place.world.api("PUT", "/inquiries/" + answer["id"], json=answer)
    execution = place.world.finished(execution_id)
    assert outcome_of(execution) == ("failed", outcome)
    output = output_of(execution)
    assert said in output["reason"] and output["remediation"] == "none"
    assert set(place.log()) == {"look"}


@pytest.mark.parametrize("workflow", LOGS_IN)
@pytest.mark.parametrize("hosts", ["{0},{0}", "root@{0}", "-oProxyCommand=x", "{0} {0}"])
def test_only_one_host_is_worked_on(place, workflow, hosts):
    """core.remote takes lists and user names; whoever controls a label must not choose them."""
    execution = place.run(workflow, host=hosts.format(place.host or "127.0.0.1"))
    assert outcome_of(execution) == ESCALATED
    assert "one host only" in output_of(execution)["reason"]
    assert place.log() == ["look" if CASES[workflow].looks_from_here else ""]


@pytest.mark.parametrize("workflow, name", NAMES)
def test_a_missing_label_is_named(place, workflow, name):
    """An alert without it runs no command of the rule, and a person is told which it is."""
    execution = place.run(workflow, **{name: ""})
    assert outcome_of(execution) == ESCALATED
    reason = output_of(execution)["reason"]
    assert name in reason and ": empty; expected" in reason
    assert place.log() == [""]


@pytest.mark.parametrize("workflow, name", NAMES)
@pytest.mark.parametrize("kind", sorted(EVIL_TEXTS))
def test_a_label_that_is_no_name_reaches_no_command(place, workflow, name, kind):
    """It is not of its type, so a person is told, and no shell on the way runs a word of it."""
    evil = EVIL_TEXTS[kind].format(mark=place.folder + "/mark")
    execution = place.run(workflow, **{name: evil})
    assert outcome_of(execution) == ESCALATED
    assert not place.has("mark")
    assert place.log() == [""]


@pytest.mark.parametrize("kind", sorted(EVIL_TEXTS))
def test_a_value_is_data(place, kind):
    """A command gets it whole in its environment, also one without a type."""
    evil = EVIL_TEXTS[kind].format(mark=place.folder + "/mark")
    command = 'printf %s "$NAME" | base64 -w0'
    given = {"host": place.host, "command": command, "env": {"NAME": evil}}
    execution = run(place.world, "poundcake.run_command", **given)
    assert execution["status"] == "succeeded", execution["result"]
    assert base64.b64decode(output_of(execution)["text"]).decode() == evil
    assert not place.has("mark")


@pytest.mark.parametrize(
    "command, code, text",
    [
        ("echo no unit >&2; exit 3", 3, "no unit"),
        ("echo half; echo no unit >&2; exit 3", 3, "half"),
        ("echo noise >&2", 0, ""),
        ("echo 0; exit 1", 1, "0"),
        ("echo e3sgMSB9fSA8JSAxICU+ | base64 -d >&2; exit 1", 1, "❴❴ 1 }} ‹% 1 %>"),
    ],
)
def test_a_command_that_fails_without_output_has_said_why_on_stderr(place, command, code, text):
    """Then that is its text, as inert as any other."""
    execution = run(place.world, "poundcake.run_command", host=place.host, command=command)
    output = output_of(execution)
    assert (output["code"], output["text"]) == (code, text)


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
