"""The engine's inquiries do what those of StackStorm 3.9.0 did, where all this was recorded."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.engine import testing
from tests.engine.engine import Engine
from tests.engine.store import Store

YES = {"continue": True}
STARTED = ["requested", "scheduled", "running"]
RESUMED = [*STARTED, "paused", "resuming", "running", "succeeded"]
NOOP = {"action": "core.noop"}
ASK = {
    "action": "core.ask",
    "input": {"route": "ops", "ttl": 1},
    "next": [{"when": "<% succeeded() %>", "do": "after"}],
}
# A branch that goes on when the file is there.
SLOW = {
    "action": "core.local",
    "input": {"cmd": "until [ -e <% ctx(file) %> ]; do sleep 0.1; done"},
    "next": [{"when": "<% succeeded() %>", "do": "then"}],
}


def sub_workflow(name):
    """A task that runs the workflow, and one after it."""
    run = {"action": f"default.{name}", "next": [{"when": "<% succeeded() %>", "do": "after"}]}
    return {"sub": run, "after": NOOP}


WORKFLOWS = {
    "flat": {"ask": ASK, "after": NOOP},
    "outer": sub_workflow("flat"),
    "top": sub_workflow("outer"),
    "beside": {"ask": ASK, "after": NOOP, "slow": SLOW, "then": NOOP},
    "beside_sub": {**sub_workflow("flat"), "slow": SLOW, "then": NOOP},
    "items": {"ask": {**ASK, "with": "<% list(1, 2) %>"}, "after": NOOP},
    "two": {"ask": ASK, "after": NOOP, "other": {**ASK, "next": []}},
    "on_failure": {
        "ask": {
            **ASK,
            "next": [
                {
                    "when": "<% failed() %>",
                    "publish": [{"how": "<% task(ask).status %>"}],
                    "do": "sorry",
                }
            ],
        },
        "sorry": {"action": "core.echo", "input": {"message": "<% ctx().how %>"}},
    },
}


def action(name):
    """(the action of a workflow, the workflow's text)"""
    document = {
        "name": name,
        "pack": "default",
        "runner_type": "orquesta",
        "entry_point": f"workflows/{name}.yaml",
        "parameters": {"file": {"type": "string"}},
    }
    return document, json.dumps({"version": 1.0, "input": ["file"], "tasks": WORKFLOWS[name]})


def write_workflows(engine):
    """Make the actions, as the web UI does."""
    for name in WORKFLOWS:
        document, text = action(name)
        files = [{"file_path": document["entry_point"], "content": text}]
        answer = engine.request("POST", "/actions", json={**document, "data_files": files})
        assert answer.status_code == 201, answer.text


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """One engine with the workflows for all tests that do not stop it."""
    handle = testing.start(tmp_path_factory.mktemp("engine"))
    write_workflows(handle)
    yield handle
    handle.stop()


@pytest.fixture
def stopped(tmp_path):
    """An engine of its own that the test may stop and start."""
    handle = testing.start(tmp_path)
    write_workflows(handle)
    yield handle
    handle.stop()


def start(engine, ref, **parameters):
    """Request an execution; its id."""
    answer = engine.request("POST", "/executions", json={"action": ref, "parameters": parameters})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def get(engine, id_):
    """The execution."""
    return engine.get(f"/executions/{id_}")


def wait_for_status(engine, id_, status):
    """The execution, once it has the status."""

    def reached():
        execution = get(engine, id_)
        return execution if execution["status"] == status else None

    return engine.wait_for(reached, f"{id_} to be {status}")


def asked(engine, id_, count=1):
    """The ids of the inquiries below the execution, when it waits for this many."""

    def pending():
        children = engine.get(f"/executions/{id_}/children")
        found = [child["id"] for child in children if child["status"] == "pending"]
        return found if len(found) == count else None

    return engine.wait_for(pending, "the question")


def paused(engine, ref, **parameters):
    """(execution, inquiry): ids, once the execution of the workflow is paused."""
    id_ = start(engine, ref, **parameters)
    inquiry = asked(engine, id_)[0]
    wait_for_status(engine, id_, "paused")
    return id_, inquiry


def put(engine, id_, response):
    """PUT an answer; what came back."""
    return engine.request("PUT", f"/inquiries/{id_}", json={"id": id_, "response": response})


def respond(engine, id_, response=YES):
    """Answer; it is taken."""
    answer = put(engine, id_, response)
    assert (answer.status_code, answer.json()) == (200, {"id": id_, "response": response})


def log(engine, id_):
    """The statuses that the execution went through."""
    return [entry["status"] for entry in get(engine, id_)["log"]]


def tasks(engine, id_):
    """{name: status} of the workflow's tasks."""
    children = engine.get(f"/executions/{id_}/children", depth=1)
    return {child["context"]["orquesta"]["task_name"]: child["status"] for child in children}


def child(engine, id_, ref):
    """The id of the execution of the action below the execution."""
    children = engine.get(f"/executions/{id_}/children")
    return next(child["id"] for child in children if child["action"]["ref"] == ref)


def make_old(engine):
    """Let the pending inquiries of an engine that is stopped have begun long ago."""
    store = Store(engine.folder / "state.sqlite3")
    for inquiry in store.find("execution", {"status": "pending"}):
        store.put("execution", dict(inquiry, start_timestamp="2020-01-01T00:00:00.000000Z"))
    store.close()


def test_workflow_waits_for_an_answer(engine):
    """The workflow is paused while its question is pending, and goes on with the answer."""
    id_, inquiry = paused(engine, "default.flat")
    assert tasks(engine, id_) == {"ask": "pending"}
    result = get(engine, inquiry)["result"]
    assert (result["route"], result["ttl"], result["roles"], result["users"]) == ("ops", 1, [], [])
    assert result["schema"]["properties"]["continue"]["required"] is True
    respond(engine, inquiry)
    assert engine.finished(id_)["context"]["resumed_by"] == "st2admin"
    assert log(engine, id_) == RESUMED
    assert log(engine, inquiry) == [*STARTED, "pending", "succeeded"]
    assert get(engine, inquiry)["result"] == {**result, "response": YES}
    assert tasks(engine, id_) == {"ask": "succeeded", "after": "succeeded"}


def test_st2_command(engine):
    """`st2 inquiry list`, `get` and `respond` work as they are."""
    id_, inquiry = paused(engine, "default.flat")
    assert inquiry in engine.st2("inquiry", "list").stdout
    shown = json.loads(engine.st2("inquiry", "get", inquiry, "-j").stdout)
    assert (shown["id"], shown["route"], shown["ttl"]) == (inquiry, "ops", 1)
    refused = engine.st2("inquiry", "respond", inquiry, "-r", '{"continue": 7}', check=False)
    assert "did not pass schema validation" in refused.stdout + refused.stderr
    done = engine.st2("inquiry", "respond", inquiry, "-r", json.dumps(YES))
    assert f"Response accepted for inquiry {inquiry}." in done.stdout
    assert engine.finished(id_)["status"] == "succeeded"
    assert inquiry not in engine.st2("inquiry", "list").stdout


def test_lists(engine):
    """/inquiries shows what is pending, newest first; /executions finds it by its fields."""
    older, newer = (start(engine, "core.ask", route=route) for route in ("a", "b"))
    for id_ in older, newer:
        wait_for_status(engine, id_, "pending")
    answer = engine.request("GET", "/inquiries", params={"limit": 1})
    assert [found["id"] for found in answer.json()] == [newer]
    assert set(answer.json()[0]) == {"id", "route", "ttl", "users", "roles", "schema"}
    assert (answer.headers["X-Limit"], int(answer.headers["X-Total-Count"]) >= 2) == ("1", True)
    assert {older, newer} <= {found["id"] for found in engine.get("/inquiries")}
    found = engine.get("/executions", status="pending", action="core.ask")
    assert {older, newer} <= {execution["id"] for execution in found}
    id_, inquiry = paused(engine, "default.flat")
    assert [e["id"] for e in engine.get("/executions", parent=id_, status="pending")] == [inquiry]
    for id_ in older, newer, inquiry:
        respond(engine, id_)
    assert older not in {found["id"] for found in engine.get("/inquiries")}


def test_trigger(engine):
    """A question dispatches a trigger with its id and route, which rules take."""
    rule = {
        "name": "tell",
        "trigger": {"type": "core.st2.generic.inquiry"},
        "criteria": {"trigger.route": {"type": "eq", "pattern": "told"}},
        "action": {"ref": "core.echo", "parameters": {"message": "{{ trigger.id }}"}},
        "enabled": True,
    }
    assert engine.request("POST", "/rules", json=rule).status_code == 201
    id_ = start(engine, "core.ask", route="told")
    told = engine.wait_for(
        lambda: engine.get("/executions", rule="tell", status="succeeded"), "the rule"
    )
    assert told[0]["result"]["stdout"] == id_
    instance = engine.get("/triggerinstances", trigger="core.st2.generic.inquiry")[0]
    assert instance["payload"] == {"id": id_, "route": "told"}
    respond(engine, id_)


@pytest.mark.parametrize(
    ("parameters", "response", "status", "words"),
    [
        ({}, {"continue": "maybe"}, 400, "'maybe' is not of type 'boolean'"),
        ({}, {}, 400, "'continue' is a required property"),
        ({}, "yes", 400, "'yes' is not of type 'object'"),
        ({"users": ["ann"]}, YES, 403, "does not have permission to respond to inquiry"),
        # A schema as draft 4 has it; StackStorm has draft 3's `required`.
        ({"schema": {"required": ["a"]}}, {"a": 1}, 400, "did not pass schema validation"),
    ],
    ids=["type", "required", "not_an_object", "users", "no_schema"],
)
def test_refused_answer(engine, parameters, response, status, words):
    """An answer that does not fit, or of somebody not asked, is refused; the question stays."""
    id_ = start(engine, "core.ask", **parameters)
    wait_for_status(engine, id_, "pending")
    answer = put(engine, id_, response)
    assert answer.status_code == status
    assert words in answer.json()["faultstring"]
    assert get(engine, id_)["status"] == "pending"


def test_answer_of_a_user_who_is_asked(engine):
    """`users` names the requester; roles count for nothing without RBAC; defaults stay out."""
    schema = {"type": "object", "properties": {"n": {"type": "integer", "default": 3}}}
    id_ = start(engine, "core.ask", users=["st2admin"], roles=["boss"], schema=schema)
    wait_for_status(engine, id_, "pending")
    respond(engine, id_, {})
    assert get(engine, id_)["result"]["response"] == {}


def test_no_second_answer(engine):
    """What is answered or no inquiry says so with 400, what is not there with 404."""
    id_ = start(engine, "core.ask")
    wait_for_status(engine, id_, "pending")
    respond(engine, id_)
    noop = engine.run("core.noop")["id"]
    for unknown, status, message in [
        (id_, 400, f'Inquiry "{id_}" has already been responded to.'),
        (noop, 400, f'Action execution "{noop}" is not an inquiry.'),
        ("0" * 24, 404, "The resource could not be found."),
    ]:
        for answer in put(engine, unknown, YES), engine.request("GET", f"/inquiries/{unknown}"):
            assert (answer.status_code, answer.json()) == (status, {"faultstring": message})
    for body, missing in ({}, "id"), ({"id": id_}, "response"):
        answer = engine.request("PUT", f"/inquiries/{id_}", json=body)
        assert answer.status_code == 400
        assert answer.json() == {"faultstring": f"'{missing}' is a required property"}


def test_one_answer_counts(engine):
    """Of answers that come at once, one is taken and the others are late."""
    id_, inquiry = paused(engine, "default.flat")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: put(engine, inquiry, {**YES, "n": n}), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + 7 * [400]
    taken = next(answer.json() for answer in answers if answer.status_code == 200)
    assert get(engine, inquiry)["result"]["response"] == taken["response"]
    assert engine.finished(id_)["status"] == "succeeded"


@pytest.mark.parametrize("above", [["outer"], ["outer", "top"]], ids=["two", "three"])
def test_question_in_a_sub_workflow(engine, above):
    """All workflows above pause and go on; only the one that asks shows `resuming`."""
    id_, inquiry = paused(engine, f"default.{above[-1]}")
    asking = child(engine, id_, "default.flat")
    assert get(engine, asking)["status"] == "paused"
    respond(engine, inquiry)
    assert engine.finished(id_)["status"] == "succeeded"
    assert log(engine, asking) == RESUMED
    ids = [id_, *(child(engine, id_, f"default.{name}") for name in above[:-1])]
    for execution in ids:
        assert log(engine, execution) == [*STARTED, "paused", "running", "succeeded"]
        assert "resumed_by" not in get(engine, execution)["context"]


def test_branch_beside_a_question(engine, tmp_path):
    """A task that runs goes on to its end, the workflow runs until then; the next is held."""
    id_ = start(engine, "default.beside", file=str(tmp_path / "go"))
    inquiry = asked(engine, id_)[0]
    engine.wait_for(lambda: tasks(engine, id_).get("slow") == "running", "the branch")
    assert get(engine, id_)["status"] == "running"
    (tmp_path / "go").touch()
    wait_for_status(engine, id_, "paused")
    assert tasks(engine, id_) == {"ask": "pending", "slow": "succeeded"}
    respond(engine, inquiry)
    assert engine.finished(id_)["status"] == "succeeded"
    assert log(engine, id_) == RESUMED
    assert set(tasks(engine, id_)) == {"ask", "after", "slow", "then"}


def test_answer_while_a_branch_runs(engine, tmp_path):
    """The workflow stays paused for ever: a bug of 3.9.0 that tests here should meet, too."""
    id_ = start(engine, "default.beside", file=str(tmp_path / "go"))
    inquiry = asked(engine, id_)[0]
    engine.wait_for(lambda: tasks(engine, id_).get("slow") == "running", "the branch")
    respond(engine, inquiry)
    wait_for_status(engine, id_, "pausing")
    (tmp_path / "go").touch()
    wait_for_status(engine, id_, "paused")
    assert log(engine, id_) == [*STARTED, "pausing", "paused"]
    assert tasks(engine, id_) == {"ask": "succeeded", "slow": "succeeded"}


def test_answer_in_a_sub_workflow_while_a_branch_runs(engine, tmp_path):
    """The outer workflow does not pause, and the sub-workflow goes on."""
    id_ = start(engine, "default.beside_sub", file=str(tmp_path / "go"))
    inquiry = asked(engine, id_)[0]
    asking = child(engine, id_, "default.flat")
    wait_for_status(engine, asking, "paused")
    engine.wait_for(lambda: tasks(engine, id_).get("slow") == "running", "the branch")
    respond(engine, inquiry)
    engine.finished(asking)
    (tmp_path / "go").touch()
    assert engine.finished(id_)["status"] == "succeeded"
    assert log(engine, id_) == [*STARTED, "succeeded"]
    assert log(engine, asking) == RESUMED


def test_two_questions(engine):
    """The workflow goes on when both are answered."""
    id_ = start(engine, "default.two")
    first, second = asked(engine, id_, 2)
    wait_for_status(engine, id_, "paused")
    respond(engine, first)
    engine.wait_for(lambda: log(engine, id_)[-2:] == ["resuming", "paused"], "the first answer")
    assert len(tasks(engine, id_)) == 2
    respond(engine, second)
    assert engine.finished(id_)["status"] == "succeeded"
    assert log(engine, id_) == [*STARTED, "paused", "resuming", *RESUMED[3:]]


def test_questions_of_a_task_with_items(engine):
    """The workflow never goes on: a bug of 3.9.0. What is left is to cancel it."""
    id_ = start(engine, "default.items")
    first, second = asked(engine, id_, 2)
    wait_for_status(engine, id_, "paused")
    respond(engine, first)
    respond(engine, second)
    assert engine.run("core.noop")["status"] == "succeeded"
    assert log(engine, id_) == [*STARTED, "paused", "resuming"]
    engine.st2("execution", "cancel", id_)
    assert engine.finished(id_)["status"] == "canceled"


def test_cancel_of_a_workflow_that_waits(engine):
    """It is canceled at once; the question stays, and its answer starts nothing."""
    id_, inquiry = paused(engine, "default.flat")
    engine.st2("execution", "cancel", id_)
    assert log(engine, id_) == [*STARTED, "paused", "canceled"]
    assert get(engine, inquiry)["status"] == "pending"
    respond(engine, inquiry)
    assert engine.run("core.noop")["status"] == "succeeded"
    assert get(engine, id_)["status"] == "canceled"
    assert tasks(engine, id_) == {"ask": "succeeded"}


def test_cancel_of_a_sub_workflow_that_waits(engine):
    """It goes through `canceling` and takes the root with it."""
    id_, inquiry = paused(engine, "default.outer")
    asking = child(engine, id_, "default.flat")
    engine.request("DELETE", f"/executions/{asking}")
    assert engine.finished(asking)["status"] == "canceled"
    assert engine.finished(id_)["status"] == "canceled"
    assert log(engine, asking) == [*STARTED, "paused", "canceling", "canceled"]
    assert log(engine, id_) == [*STARTED, "paused", "canceled"]
    respond(engine, inquiry)
    assert tasks(engine, asking) == {"ask": "succeeded"}


def test_cancel_above_a_sub_workflow_that_waits(engine):
    """Only the root shows it: an answer still runs the rest of both workflows, as in 3.9.0."""
    id_, inquiry = paused(engine, "default.outer")
    asking = child(engine, id_, "default.flat")
    engine.request("DELETE", f"/executions/{id_}")
    assert log(engine, id_) == [*STARTED, "paused", "canceled"]
    assert get(engine, asking)["status"] == "paused"
    respond(engine, inquiry)
    engine.wait_for(lambda: "after" in tasks(engine, id_), "the task after the sub-workflow")
    assert log(engine, asking) == RESUMED
    assert get(engine, id_)["status"] == "canceled"


def test_a_question_cannot_be_canceled(engine):
    """The answer to the attempt is a 200 that says so."""
    id_, inquiry = paused(engine, "default.flat")
    answer = engine.request("DELETE", f"/executions/{inquiry}")
    message = "Action cannot be canceled. State = pending."
    assert (answer.status_code, answer.json()) == (200, {"faultstring": message})
    respond(engine, inquiry)
    assert engine.finished(id_)["status"] == "succeeded"


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_questions_outlive_the_engine(stopped, end):
    """After a restart or a crash the question is there, and the answer resumes the workflows."""
    id_, inquiry = paused(stopped, "default.outer")
    getattr(stopped, end)()
    stopped.start()
    assert get(stopped, id_)["status"] == "paused"
    assert [found["id"] for found in stopped.get("/inquiries")] == [inquiry]
    respond(stopped, inquiry)
    assert stopped.finished(id_)["status"] == "succeeded"
    assert log(stopped, id_) == [*STARTED, "paused", "running", "succeeded"]


class Deaf:
    """An engine in this process whose workflows do not hear that a task of theirs waits."""

    def __init__(self, folder):
        self.engine = Engine(folder, "http://127.0.0.1:1/v1")
        document, text = action("flat")
        self.engine.registry.put_action(document)
        (folder / "packs/default/actions/workflows/flat.yaml").write_text(text)
        conduct = self.engine.scheduler.conduct

        def hear(call, *args):
            if call != self.engine.workflows.child_waits:
                conduct(call, *args)

        self.engine.scheduler.conduct = hear

    def __enter__(self):
        self.engine.start(sensors=False)
        return self.engine

    def __exit__(self, *_):
        self.engine.stop()
        self.engine.store.close()


def find(engine, ref, status):
    """The execution of the action in an engine of this process, once it has the status."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = engine.store.find("execution", {"action.ref": ref, "status": status})
        if found:
            return found[0]
        time.sleep(0.02)
    raise AssertionError(f"No {ref} is {status}.")


def test_answer_before_the_workflow_has_heard_of_the_question(tmp_path):
    """It is taken, and the workflow goes on. (In 3.9.0 it was paused for ever in 1 of 3 cases.)"""
    with Deaf(tmp_path) as engine:
        engine.executions.request("default.flat", {}, {"user": "st2admin"})
        inquiry = find(engine, "core.ask", "pending")
        assert find(engine, "default.flat", "running")
        engine.inquiries.respond(inquiry["id"], YES, "st2admin")
        statuses = [entry["status"] for entry in find(engine, "default.flat", "succeeded")["log"]]
        assert statuses == RESUMED


def test_crash_before_the_workflow_has_heard_of_the_question(tmp_path):
    """The next engine tells it."""
    with Deaf(tmp_path) as engine:
        engine.executions.request("default.flat", {}, {"user": "st2admin"})
        find(engine, "core.ask", "pending")
        assert find(engine, "default.flat", "running")
    with Deaf(tmp_path) as engine:
        find(engine, "default.flat", "paused")
        engine.inquiries.respond(find(engine, "core.ask", "pending")["id"], YES, "st2admin")
        find(engine, "default.flat", "succeeded")


def test_time_limit(stopped):
    """With the switch on, time is up after `ttl` minutes, and the failure path is taken.

    Without a path for the failure the workflow succeeds: StackStorm's does.
    """
    bare, inquiry = paused(stopped, "default.flat")
    remedied, _ = paused(stopped, "default.on_failure")
    nested, _ = paused(stopped, "default.outer")
    patient = start(stopped, "core.ask", ttl=0)
    wait_for_status(stopped, patient, "pending")
    stopped.stop()
    make_old(stopped)
    stopped.start()
    assert len(stopped.get("/inquiries")) == 4, "the switch is off unless asked for"
    stopped.options = ["--purge-inquiries"]
    stopped.restart()
    for id_ in bare, remedied, nested:
        assert stopped.finished(id_)["status"] == "succeeded"
    assert get(stopped, inquiry)["status"] == "timeout"
    assert tasks(stopped, bare) == {"ask": "timeout"}
    assert log(stopped, remedied) == RESUMED
    assert tasks(stopped, remedied) == {"ask": "timeout", "sorry": "succeeded"}
    said = get(stopped, child(stopped, remedied, "core.echo"))["result"]["stdout"]
    assert said == "timeout"
    assert log(stopped, nested) == RESUMED
    assert get(stopped, patient)["status"] == "pending"
    answer = put(stopped, inquiry, YES)
    message = f'Inquiry "{inquiry}" timed out and cannot be responded to.'
    assert (answer.status_code, answer.json()) == (400, {"faultstring": message})
