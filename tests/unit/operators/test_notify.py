"""notify reaches people through the action that the config names, or says why not."""

from unittest import mock

import notify as notify_action
import pytest
from hypothesis import given
from poundcake.errors import ExpectedError
from poundcake.operators import notify
from poundcake.st2.client import StackStormError
from st2tests.base import BaseActionTestCase

from tests.support.fakes import (
    PROPERTY,
    TRICKY_TEXT,
    Clock,
    FakeStackStorm,
    assert_inert,
    make_settings,
)

SLACK = make_settings(
    notify_action="slack.post_message", notify_parameters={"channel": "#ops", "text": "$message"}
)


class Phone(FakeStackStorm):
    """StackStorm with an action that notifies people and takes a second to do so."""

    def __init__(self, status="succeeded", result=None, seconds=1.0):
        super().__init__(Clock())
        self.status, self.result, self.seconds = status, result, seconds
        self.started = []

    def run_action(self, action_ref, parameters):
        self._answer("run_action")
        self.started.append((action_ref, parameters))
        self.executions["e1"] = {"id": "e1", "status": "running"}
        return "e1"

    def sleep(self, seconds):
        self.seconds -= seconds
        if self.seconds <= 0:
            self.finish("e1", self.status, self.result)


def tell(phone, message="the house is on fire", settings=SLACK):
    return notify.notify(phone, message, {}, settings, phone.sleep)


@pytest.mark.parametrize(
    "given_parameters, expected",
    [
        ({}, {"message": "M"}),
        ({"channel": "#ops"}, {"channel": "#ops", "message": "M"}),
        ({"channel": "#ops", "text": "$message"}, {"channel": "#ops", "text": "M"}),
        ({"text": "PoundCake: $message!", "n": 3}, {"text": "PoundCake: M!", "n": 3}),
        ({"blocks": [{"text": ["$message"]}]}, {"blocks": [{"text": ["M"]}]}),
    ],
)
def test_the_message_goes_where_the_config_says(given_parameters, expected):
    """It replaces ``$message`` wherever that is, or else is the parameter ``message``."""
    assert notify.parameters_for("M", given_parameters) == expected


# What these actions take, and which of it they cannot do without: StackStorm's core and chatops
# packs, and the packs slack and email of StackStorm Exchange.
ACTIONS = {
    "core.sendmail": ({"from", "to", "subject", "body", "content_type"}, {"to", "subject", "body"}),
    "chatops.post_message": ({"message", "channel", "user", "whisper"}, {"message", "channel"}),
    "slack.post_message": ({"message", "channel", "username", "icon_emoji"}, {"message"}),
    "slack.chat.postMessage": ({"channel", "text", "as_user", "username"}, {"channel", "text"}),
    "email.send_email": (
        {"email_from", "email_to", "subject", "message", "account", "mime"},
        {"email_from", "email_to", "subject", "message", "account"},
    ),
}


@pytest.mark.parametrize(
    "action, notify_parameters, message_in",
    [
        ("core.sendmail", {"to": "a@x.y", "subject": "PoundCake", "body": "$message"}, "body"),
        ("chatops.post_message", {"channel": "ops"}, "message"),
        ("slack.post_message", {}, "message"),
        ("slack.chat.postMessage", {"channel": "#ops", "text": "$message"}, "text"),
        (
            "email.send_email",
            {"email_from": "p@x.y", "email_to": ["a@x.y"], "subject": "P", "account": "smtp"},
            "message",
        ),
    ],
)
def test_notification_actions_get_the_parameters_that_they_accept(
    action, notify_parameters, message_in
):
    """StackStorm refuses an execution with an unknown parameter."""
    phone = Phone()
    found = make_settings(notify_action=action, notify_parameters=notify_parameters)
    assert tell(phone, "M", found)["status"] == "succeeded"
    ((started, given_parameters),) = phone.started
    takes, needs = ACTIONS[action]
    assert started == action and needs <= set(given_parameters) <= takes
    assert given_parameters[message_in] == "M"


@PROPERTY
@given(TRICKY_TEXT)
def test_a_message_is_data(message):
    """It contains alert text, which StackStorm must not evaluate."""
    assert_inert(notify.parameters_for(message, {"text": "$message"}))
    assert_inert(notify.parameters_for(message, {}))


def test_the_answer_comes_when_the_action_has_ended():
    """The answer names the execution."""
    phone = Phone()
    assert tell(phone) == {
        "notify_action": "slack.post_message",
        "execution_id": "e1",
        "status": "succeeded",
    }
    expected = {"channel": "#ops", "text": "the house is on fire"}
    assert phone.started == [("slack.post_message", expected)]


@pytest.mark.parametrize(
    "phone, named",
    [
        (Phone("failed", {"error": "no such channel"}), "failed, execution e1: no such channel"),
        (Phone("timeout"), "timeout, execution e1"),
        (Phone(seconds=3600), "running, execution e1: it did not end within 60 s"),
    ],
)
def test_a_notification_that_may_be_lost_is_a_failure_that_says_why(phone, named):
    """The error also names the settings to check."""
    with pytest.raises(ExpectedError) as caught:
        tell(phone)
    text = str(caught.value)
    assert text.startswith("notify_action: slack.post_message is ") and named in text
    assert text.endswith(". Check notify_action and notify_parameters in the config of poundcake")


def test_an_action_that_cannot_be_started_is_a_failure_that_says_why():
    """For example, an action that is not installed."""
    phone = Phone()
    phone.run_action = mock.Mock(side_effect=StackStormError("POST /executions: 400 not found"))
    with pytest.raises(ExpectedError) as caught:
        tell(phone)
    assert "slack.post_message: POST /executions: 400 not found. Check notify_action" in str(
        caught.value
    )


def test_an_execution_that_is_gone_is_a_failure():
    """Nobody can say whether a person got the message."""
    phone = Phone()
    phone.sleep = lambda seconds: phone.executions.clear()
    with pytest.raises(ExpectedError) as caught:
        tell(phone)
    assert "execution e1 is gone" in str(caught.value)


def test_a_message_is_made_fit():
    """Slack would take the label for a mention, and refuse the length."""
    phone = Phone()
    tell(phone, "<!channel>\n" + "a" * 300000)
    text = phone.started[0][1]["text"]
    assert text.startswith("‹!channel› aaa") and len(text) == 3000


def test_an_event_becomes_a_message():
    """When there is no message; one of the two is needed."""
    phone = Phone()
    event = {"alertname": "HostDown", "host": "web-1", "to": "failed", "reason": "no route"}
    notify.notify(phone, "", event, SLACK, phone.sleep)
    assert phone.started[0][1]["text"] == "HostDown on web-1: failed: no route"
    with pytest.raises(ExpectedError, match="message, event: both are empty"):
        notify.notify(phone, "", {}, SLACK, phone.sleep)


KEYED = make_settings(
    notify_action="slack.post_message",
    notify_parameters={"webhook_url": "$key(slack_url)", "message": "x: $message"},
)


def with_action(**secret):
    phone = Phone()
    phone.keys["slack_url"] = "https://hooks.example/s3cret"
    parameters = {"webhook_url": {"type": "string", **secret}, "message": {"type": "string"}}
    phone.get_resource = lambda kind, ref: {"parameters": parameters}
    return phone


def test_a_parameter_can_come_from_the_datastore():
    """Where executions mask it."""
    phone = with_action(secret=True)
    tell(phone, "M", KEYED)
    expected = {"webhook_url": "https://hooks.example/s3cret", "message": "x: M"}
    assert phone.started == [("slack.post_message", expected)]


def test_a_key_is_not_passed_where_executions_would_show_it():
    """The error names the action that keeps it."""
    phone = with_action()
    with pytest.raises(ExpectedError) as caught:
        tell(phone, "M", KEYED)
    assert "webhook_url of slack.post_message is no secret parameter" in str(caught.value)
    assert "poundcake.notify_webhook" in str(caught.value) and phone.started == []


def test_a_key_that_is_missing_is_told():
    """With its name, and nothing is sent."""
    phone = with_action(secret=True)
    phone.keys.clear()
    with pytest.raises(ExpectedError, match="notify_parameters: .* has no key slack_url"):
        tell(phone, "M", KEYED)
    assert phone.started == []


def test_an_alert_names_no_key():
    """A message is filled in last, and what is in it stays as it is."""
    read = mock.Mock(return_value="s3cret")
    filled = notify.parameters_for("$key(x) $message", {"text": "$message"}, read)
    assert filled == {"text": "$key(x) $message"} and not read.called


class NotifyTestCase(BaseActionTestCase):
    action_cls = notify_action.Notify

    def run_action(self, phone):
        with mock.patch("poundcake.st2.action.StackStorm", lambda get_client: phone):
            return self.get_action_instance({}).run(message="{{ 7 * 7 }}", event={})

    def test_it_runs_the_action_of_the_config(self):
        """The default action writes a log line."""
        phone = Phone(seconds=0)
        phone.get_execution = lambda execution_id: {"status": "succeeded"}
        self.assertEqual(self.run_action(phone)["status"], "succeeded")
        (started,) = phone.started
        self.assertEqual(started, ("poundcake.log_notification", {"message": "❴❴ 7 * 7 }}"}))

    def test_it_fails_when_nobody_got_the_message(self):
        """So its execution shows as failed, too."""
        phone = Phone()
        phone.get_execution = lambda execution_id: {"status": "failed", "result": "{{ 1 }}"}
        ok, result = self.run_action(phone)
        self.assertFalse(ok)
        assert_inert(result)
