"""A person in the loop, from the alert to the row: asked, and what comes of each answer."""

import contextlib

import pytest

from tests.support.alerts import alert
from tests.support.world import unique

PARAMETERS = {
    "service": "shop",
    "check_command": "echo it is down; false",
    "restart_command": "true",
    "settle_seconds": 0,
    "approval": True,
    "alert": "{{ trigger | to_json_string }}",
}


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
            parameters = dict(PARAMETERS, **more)
            stack.enter_context(world.rule(name, "poundcake.service_down", parameters))
            return Asked(world, name)

        yield make


def test_the_alert_shows_that_a_person_is_asked(asking):
    """With the command that answers; yes lets it go on."""
    asked = asking()
    shown = asked.shown()
    assert "st2 inquiry respond " + asked.inquiry_id in shown["reason"]
    listed = asked.world.ask("list_alerts", state="awaiting_approval", limit=100)
    assert shown["fingerprint"] in [item["fingerprint"] for item in listed["alerts"]]
    asked.respond(True)
    asked.wait_for("failed")  # the check says no again: the restart did nothing
    states = [entry["state"] for entry in asked.shown()["history"]]
    assert states[:3] == ["received", "remediating", "awaiting_approval"]


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
