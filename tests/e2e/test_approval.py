"""A person in the loop, from the alert to the row: asked, and what comes of each answer."""

import contextlib

import pytest

from tests.support.alerts import alert
from tests.support.guarded import reach
from tests.support.remediations import ASKS_FIRST
from tests.support.world import unique


class Asked:
    """An alert whose remediation waits for a person."""

    def __init__(self, world, name, **more):
        self.world = world
        self.alert = alert(alertname=name, instance="%s:9100" % name.lower(), **more)
        self.request_id = world.accept(self.alert)
        self.wait_for("awaiting_approval")
        (execution,) = world.status(self.request_id)["executions"]
        self.execution_id = execution["execution_id"]
        query = "/executions?action=core.ask&status=pending&parent=" + self.execution_id
        ((inquiry),) = world.api("GET", query)
        self.inquiry_id = inquiry["id"]
        # The actions read the row.
        world.tracked(self.row()["fingerprint"], "awaiting_approval")

    def row(self):
        """The alert as its request has it, None while it is not decided."""
        return next(iter(self.world.status(self.request_id)["alerts"]), None)

    def wait_for(self, state):
        self.world.wait(lambda: self.row() and self.row()["state"] == state, "the state " + state)

    def shown(self):
        """The alert as get_alert has it, when its row is as new as the state."""
        state, fingerprint = self.row()["state"], self.row()["fingerprint"]

        def tracked():
            status, found = self.world.run("get_alert", fingerprint=fingerprint)
            return found if status == "succeeded" and found["state"] == state else None

        return self.world.wait(tracked, "the row of the alert")

    def respond(self, approved):
        body = {"id": self.inquiry_id, "response": {"approved": approved}}
        self.world.api("PUT", "/inquiries/" + self.inquiry_id, json=body)


@pytest.fixture
def asking(world):
    """Callable that makes an alert of which a person is asked."""
    with contextlib.ExitStack() as stack:

        def make(**more):
            name = unique("E2eAsk")
            parameters = dict(ASKS_FIRST, **more)
            stack.enter_context(world.rule(name, "poundcake.service_down", parameters))
            return Asked(world, name)

        yield make


def test_the_alert_shows_that_a_person_is_asked(asking):
    """With the command that answers; yes lets it go on."""
    asked = asking()
    shown = asked.shown()
    assert "Restart shop on " in shown["reason"]
    command = "st2 run poundcake.approve_alert fingerprint=" + shown["fingerprint"]
    assert command in shown["reason"]
    listed = asked.world.ask("list_alerts", state="awaiting_approval", limit=100)
    assert shown["fingerprint"] in [item["fingerprint"] for item in listed["alerts"]]
    asked.respond(True)
    asked.wait_for("failed")  # the check says no again: the restart did nothing
    states = [entry["state"] for entry in asked.shown()["history"]]
    assert states[:3] == ["received", "remediating", "awaiting_approval"]


def test_an_approval_by_action_is_in_the_history(asking):
    """With who approved and why; the answer waits for a question that is just being asked."""
    asked = asking()
    answer = asked.world.ask("approve_alert", alertname=asked.row()["alertname"], reason="ok")
    assert (answer["status"], answer["by"]) == ("approved", "st2admin")
    asked.wait_for("failed")  # the check says no again: the restart did nothing
    reasons = [entry["reason"] for entry in asked.shown()["history"]]
    assert "approved: ok (by st2admin)" in reasons


def test_an_alert_is_approved_from_chat(asking):
    """In the name of who chats."""
    asked = asking()
    command = "poundcake approve %s because it is night" % asked.row()["fingerprint"]
    body = {"command": command, "user": "ann", "source_channel": "ops"}
    asked.world.api("POST", "/aliasexecution/match_and_execute", json=body)
    asked.wait_for("failed")  # the check says no again: the restart did nothing
    reasons = [entry["reason"] for entry in asked.shown()["history"]]
    assert any(reason.startswith("approved: it is night (by ann via ") for reason in reasons)


WORKFLOW = """
version: 1.0
input: [service]
output:
  - restarted: <% ctx().service %>
tasks:
  approval:
    action: core.ask
    input:
      route: poundcake
      schema:
        type: object
        properties:
          approved: {type: boolean, description: "Restart <% ctx().service %>?"}
          service: {type: string, description: "The unit to restart."}
    next:
      - when: <% succeeded() and result().response.get(approved, false) %>
        publish:
          - service: <% result().response.get(service, ctx().service) %>
        do: restart
  restart:
    action: core.noop
"""


def test_an_approval_changes_a_parameter_that_the_question_lists(world):
    """The workflow goes on with it, and the history says so; nothing else can be changed."""
    name = unique("E2eAsk")
    with world.workflow(WORKFLOW, ["service"]) as ref:
        with world.rule(name, ref, {"service": "apache2"}):
            request_id = world.accept(alert(alertname=name))
            (entry,) = world.wait(lambda: world.status(request_id)["alerts"], "the decision")
            reach(world, entry["fingerprint"], "awaiting_approval")  # the rows lag a little
            host = {"alertname": name, "reason": "moved", "parameters": '{"host": "x"}'}
            status, answer = world.run("approve_alert", **host)
            assert status == "failed" and "expected one of service" in answer["error"]
            changed = {"alertname": name, "reason": "moved", "parameters": '{"service": "nginx"}'}
            answer = world.ask("approve_alert", **changed)
            assert answer["question"] == "Restart apache2?"
            world.completed(request_id)
    (execution,) = world.status(request_id)["executions"]
    result = world.execution(execution["execution_id"])["result"]
    assert result["output"] == {"restarted": "nginx"}
    fingerprint = world.status(request_id)["alerts"][0]["fingerprint"]
    history = world.ask("get_alert", fingerprint=fingerprint)["history"]
    reasons = [entry["reason"] for entry in history]
    assert "approved with service=nginx: moved (by st2admin)" in reasons


def test_an_alert_is_declined_from_chat(asking):
    """The history shows the person in chat and the user of the bot."""
    asked = asking()
    host = asked.row()["alertname"].lower()
    command = f"poundcake decline {asked.row()['alertname']} on {host} because of the backup"
    body = {"command": command, "user": "bob", "source_channel": "ops"}
    answer = asked.world.api("POST", "/aliasexecution/match_and_execute", json=body)
    execution = asked.world.finished(answer["results"][0]["execution"]["id"])
    assert execution["status"] == "succeeded", execution["result"]
    assert "is declined by bob via " in execution["result"]["result"]["chat"]
    asked.world.completed(asked.request_id)
    history = str(asked.shown()["history"])
    assert "not approved: because of the backup (by bob via st2admin)" in history


def test_whoever_says_no_takes_the_alert_over(asking):
    """The attempt failed with that reason, and no other follows."""
    asked = asking()
    asked.respond(False)
    asked.world.completed(asked.request_id)
    history = str(asked.shown()["history"])
    assert "a person said no, nothing was done" in history
    assert "its remediation was not approved" in history


def test_nobody_is_asked_about_an_alert_that_has_resolved(asking):
    """The workflow ends with nothing done, and the question is gone."""
    asked = asking()
    asked.world.accept(dict(asked.alert, status="resolved"))
    execution = asked.world.finished(asked.execution_id)
    assert execution["status"] == "failed"
    assert "nothing was done" in execution["result"]["output"]["reason"]
    asked.wait_for("resolved")
    waiting = [item["id"] for item in asked.world.api("GET", "/inquiries")]
    assert asked.inquiry_id not in waiting


def test_the_question_ends_with_its_time(asking):
    """One minute, which StackStorm itself would let go by."""
    asked = asking(approval_minutes=1)
    asked.wait_for("failed")
    assert "nobody answered in time, nothing was done" in asked.shown()["reason"]
