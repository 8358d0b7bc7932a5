"""Approve and decline: who may, what they may change, and what the alert shows of it."""

import approve_alert
import decline_alert
import pytest
from poundcake.errors import ExpectedError
from poundcake.operators import approval
from poundcake.people import Operator

from tests.support.actions import PackActionTestCase
from tests.support.alerts import alert
from tests.support.fakes import assert_inert
from tests.support.pack import Pack

ANN = Operator("ann")
SERVICE = {"service": {"type": "string", "description": "The unit"}}


class Asking:
    """A remediation that waits for an answer about the only alert."""

    def __init__(self, host=1, **fields):
        self.pack = Pack()
        self.pack.stackstorm.rule("mine.fix")
        self.pack.post(alert(host))
        self.pack.steps(3)
        self.begun = self.pack.stackstorm.running()[0]
        self.inquiry_id = self.pack.stackstorm.ask(self.begun, **fields)
        self.pack.steps(3)

    def answer(self, approved=True, **more):
        given = {
            "roles": (),
            "alert": (self.pack.alerts()[0]["fingerprint"], "", ""),
            "reason": "the disk is fine",
            "parameters": {},
            "operator": ANN,
            "sleep": lambda seconds: self.pack.steps(1),
        }
        given.update(more)
        return approval.answer(self.pack.stackstorm, approved=approved, **given)

    def reasons(self):
        return [entry["reason"] for entry in self.pack.alert()["history"]]


def test_the_alert_shows_the_question_until_when_and_the_command():
    """A person can decide and answer without looking anywhere else."""
    row = Asking().pack.alert()
    assert row["state"] == "awaiting_approval"
    command = f'st2 run poundcake.approve_alert fingerprint={row["fingerprint"]} reason="WHY"'
    assert row["reason"].startswith("Restart it? It is down (until 2026-11-21T09:20:")
    assert row["reason"].endswith(f"Z): {command}, or decline_alert")


def test_who_approved_and_why_is_in_the_history():
    """The remediation goes on."""
    asking = Asking()
    answer = asking.answer()
    assert (answer["status"], answer["by"]) == ("approved", "ann")
    assert answer["question"] == "Restart it? It is down"
    assert asking.begun in asking.pack.stackstorm.running()
    asking.pack.steps(3)
    assert "approved: the disk is fine (by ann)" in asking.reasons()
    (known,) = asking.pack.alert()["attempts"][0]["inquiries"]
    assert (known["approved"], known["by"], known["reason"]) == (True, "ann", "the disk is fine")


def test_who_approved_is_known_even_of_a_workflow_that_ended_at_once():
    """The sensor sees both together; the answer came first."""
    asking = Asking()
    asking.answer()
    asking.pack.clock.advance(1)
    asking.pack.stackstorm.finish(asking.begun)
    asking.pack.steps(3)
    assert "approved: the disk is fine (by ann)" in asking.reasons()
    assert asking.pack.alert()["state"] == "remediated"


def test_a_declined_alert_is_acknowledged_for_the_person_who_declined():
    """Nobody is asked again in this episode, and the row says who decided that."""
    asking = Asking()
    assert asking.answer(False, reason="not now")["status"] == "declined"
    asking.pack.steps(3)
    assert "not approved: not now (by ann)" in asking.reasons()
    said = "acknowledged: its remediation was not approved: not now (by ann)"
    assert said in asking.reasons()


def test_an_approval_may_change_what_the_question_lists():
    """It is passed to the workflow, shown and kept."""
    asking = Asking(**SERVICE)
    asking.answer(parameters={"service": "nginx"})
    response = asking.pack.stackstorm.executions[asking.inquiry_id]["result"]["response"]
    assert response["approved"] is True and response["service"] == "nginx"
    asking.pack.steps(3)
    assert "approved with service=nginx: the disk is fine (by ann)" in asking.reasons()
    (known,) = asking.pack.alert()["attempts"][0]["inquiries"]
    assert known["parameters"] == {"service": "nginx"}


@pytest.mark.parametrize(
    "fields, expected",
    [({}, "expected none for this question"), (SERVICE, "expected one of service")],
)
def test_an_approval_changes_nothing_else(fields, expected):
    """The error says what it may change; the question stays open."""
    asking = Asking(**fields)
    with pytest.raises(ExpectedError) as caught:
        asking.answer(parameters={"host": "web9"})
    assert f'parameters: unknown parameter "host"; {expected}' in str(caught.value)
    assert asking.pack.alert()["state"] == "awaiting_approval"


def test_the_answer_holds_no_expression():
    """A workflow publishes it, and StackStorm evaluates what a workflow publishes."""
    asking = Asking(**SERVICE)
    asking.answer(reason="{{ 7*7 }}", parameters={"service": "<% 7*7 %>"})
    response = asking.pack.stackstorm.executions[asking.inquiry_id]["result"]["response"]
    assert_inert(response)


@pytest.mark.parametrize(
    "operator, roles",
    [
        (ANN, ()),
        (ANN, ("bob", "ann")),
        (Operator("cho", roles=("oncall",)), ("oncall",)),
        (Operator("chatbot", "ann"), ("ann", "chatbot")),
    ],
)
def test_who_is_listed_may_approve(operator, roles):
    """By name or by a role in StackStorm; everyone when nobody is listed."""
    assert Asking().answer(operator=operator, roles=roles)["by"] == operator.name


@pytest.mark.parametrize(
    "operator, problem",
    [
        (Operator("eve"), "eve may not approve or decline"),
        (Operator("eve", "ann"), "eve may not approve or decline"),
        (Operator("chatbot", "eve"), "eve may not approve or decline"),
        (Operator("", "ann"), "StackStorm does not know who you are"),
    ],
)
def test_everybody_else_is_refused(operator, problem):
    """A chat name counts only from a bot that is listed: anybody can claim to be a bot."""
    asking = Asking()
    for approved in (True, False):
        with pytest.raises(ExpectedError) as caught:
            asking.answer(approved, operator=operator, roles=("ann", "chatbot"))
        assert problem in str(caught.value) and "one of ann, chatbot" in str(caught.value)
    assert asking.pack.alert()["state"] == "awaiting_approval"


def test_an_answer_before_the_question_is_not_lost():
    """StackStorm loses one that comes before the workflow is paused; so it waits until then."""
    asking = Asking()
    stackstorm = asking.pack.stackstorm
    stackstorm.executions[asking.begun]["status"] = "pausing"
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            stackstorm.executions[asking.begun]["status"] = "paused"

    assert asking.answer(sleep=sleep)["status"] == "approved"
    assert len(waits) == 3


def test_no_open_question_is_an_error_that_says_how_the_alert_is():
    """At once when no remediation runs."""
    pack = Pack()
    pack.post(alert(1))
    pack.steps(5)
    named = (pack.alert()["fingerprint"], "", "")
    with pytest.raises(ExpectedError) as caught:
        approval.answer(pack.stackstorm, (), True, named, "why", {}, ANN, sleep=pytest.fail)
    assert "no question about ServiceDown is open; it is unmatched" in str(caught.value)
    assert "st2 run poundcake.list_alerts state=awaiting_approval" in str(caught.value)


def test_a_refusal_of_stackstorm_is_shown():
    """Its RBAC and the question's own users decide as well."""
    asking = Asking()
    asking.pack.stackstorm.refusal = lambda inquiry_id, response: "User ann may not respond"
    with pytest.raises(ExpectedError, match="StackStorm: it refuses the answer: User ann may not"):
        asking.answer()


def test_a_question_of_another_kind_is_answered_by_hand():
    """The error names its fields and the command."""
    asking = Asking(**SERVICE)
    schema = asking.pack.stackstorm.executions[asking.inquiry_id]["parameters"]["schema"]
    del schema["properties"]["approved"]
    with pytest.raises(ExpectedError, match="question: it asks for service; .* web UI; the inq"):
        asking.answer()


def test_several_open_questions_are_not_guessed_between():
    """The error names them; each can be answered in the web UI."""
    asking = Asking()
    other = asking.pack.stackstorm.ask(asking.begun)
    with pytest.raises(ExpectedError, match="several questions are open: ") as caught:
        asking.answer()
    assert asking.inquiry_id in str(caught.value) and other in str(caught.value)


def test_a_name_means_the_alert_that_waits():
    """Of several alerts with the name, one waits for an answer."""
    asking = Asking()
    asking.pack.stackstorm.rules.clear()
    asking.pack.post(alert(2))
    asking.pack.steps(3)
    assert asking.answer(alert=("", "ServiceDown", ""))["status"] == "approved"


class ApproveAlertTest(PackActionTestCase):
    __test__ = True
    action_cls = approve_alert.ApproveAlert

    def test_an_unknown_alert_is_an_expected_failure(self):
        """The person gets a sentence, not a traceback."""
        self.assertIn("there are no alerts", self.fail_with(alertname="x", reason="why"))

    def test_the_config_says_who_may(self):
        """The user of the execution must be listed."""
        config = {"approval_roles": ["ann"]}
        ok, result = self.run_action(config, alertname="x", reason="why")
        self.assertFalse(ok)
        self.assertEqual(
            result["error"], "approval_roles: admin may not approve or decline; expected one of ann"
        )


class DeclineAlertTest(ApproveAlertTest):
    action_cls = decline_alert.DeclineAlert
