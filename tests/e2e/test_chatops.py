"""Commands from chat, through StackStorm's API as its bots send them."""

import requests

from tests.support.alerts import alert
from tests.support.world import unique


def say(world, command, user="ann"):
    """Send a command as a bot does; return ``(status code, decoded answer)``."""
    url = world.api_url + "/aliasexecution/match_and_execute"
    body = {"command": command, "user": user, "source_channel": "ops"}
    headers = {"St2-Api-Key": world.api_key}
    answer = requests.post(url, json=body, headers=headers, timeout=60)
    return answer.status_code, answer.json()


def done(world, command, user="ann"):
    """Send a command that must be taken; return the execution when it has ended."""
    status, answer = say(world, command, user)
    assert status == 201, answer
    (result,) = answer["results"]
    assert result["message"].endswith(".")
    return world.finished(result["execution"]["id"])


def test_an_alert_is_found_and_acknowledged_from_chat(world):
    """By whoever chats: that name is on the alert."""
    name = unique("ChatOps")
    world.completed(world.accept(alert(alertname=name)))
    execution = done(world, "poundcake alerts alertname=" + name)
    assert execution["status"] == "succeeded", execution["result"]
    (found,) = execution["result"]["result"]["alerts"]
    command = "poundcake ack %s because I look at it" % found["fingerprint"]
    execution = done(world, command, "bob")
    assert execution["parameters"]["by"] == "bob"
    assert execution["result"]["result"]["status"] == "accepted"
    world.completed(execution["result"]["result"]["request_id"])
    alert_now = done(world, "poundcake alert " + found["fingerprint"])["result"]["result"]
    assert "acknowledged: I look at it (by bob)" in str(alert_now)


def test_maintenance_begins_and_ends_from_chat(world):
    """With matchers as Alertmanager writes them."""
    name = unique("ChatOps")
    command = 'poundcake maintenance {alertname="%s",host=~"db.*"} for 5m because of a test' % name
    execution = done(world, command)
    assert execution["status"] == "succeeded", execution["result"]
    window = execution["result"]["result"]
    assert window["matchers"] == ['alertname="%s"' % name, 'host=~"db.*"']
    assert (window["by"], window["reason"]) == ("ann", "of a test")
    assert window["id"] in str(done(world, "poundcake maintenance")["result"]["result"])
    assert done(world, "poundcake end maintenance " + window["id"])["status"] == "succeeded"


def test_nobody_acts_in_another_name(world):
    """The parameter is taken from who chats, and a command that gives it does nothing."""
    name = unique("ChatOps")
    status, answer = say(world, "poundcake pause %s because I can by=bob" % name)
    assert status >= 400
    assert name not in str(done(world, "poundcake maintenance")["result"]["result"])


def test_what_is_no_command_is_refused(world):
    """With a word about it."""
    status, answer = say(world, "poundcake pause")
    assert status == 400 and "matched no patterns" in answer["faultstring"]
