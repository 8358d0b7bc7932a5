"""Commands of people about one alert, which the sensor finds in the inbox."""

from types import SimpleNamespace

import acknowledge_alert
import dismiss_alert
import pytest
import requests
import retry_alert
from hypothesis import given
from poundcake import clock, people
from poundcake.core import lifecycle
from poundcake.errors import ExpectedError
from poundcake.operators import commands
from poundcake.st2 import inbox, rows
from poundcake.views import queries

from tests.support.actions import PackActionTestCase
from tests.support.facts import fact
from tests.support.fakes import JSON_TEXT, NOW, PROPERTY, Clock, FakeStackStorm

FINGERPRINT = "0123456789abcdef"
EPISODE = "2026-11-21T08:00:00.000000000Z"
ALERT = {"alertname": "HostDown", "severity": "critical", "labels": {"alertname": "HostDown"}}


def facts(*kinds):
    """Return facts of one alert, a second apart; the remediation runs until "executed"."""
    execution = {
        "execution_id": "execution1",
        "status": "running",
        "rule_ref": "mine.fix",
        "action_ref": "mine.fix",
        "started_at": clock.to_text(NOW),
        "ended_at": None,
        "error": "",
        "ran": True,
    }
    ended = dict(execution, status="failed", ended_at=clock.to_text(NOW + 9))
    more = {
        "notified": {"status": "firing", "alert": ALERT},
        "dispatched": {"dispatch_id": "dispatch1", "attempt": 1},
        "running": {"dispatch_id": "dispatch1", "execution": execution},
        "settled": {"dispatch_id": "dispatch1", "reason": ""},
        "executed": {"dispatch_id": "dispatch1", "execution": ended},
        "resolved": {"status": "resolved", "alert": ALERT},
    }
    named = {"running": "executed", "resolved": "notified"}
    for second, kind in enumerate(kinds):
        yield fact(
            named.get(kind, kind),
            **more[kind],
            fingerprint=FINGERPRINT,
            episode=EPISODE,
            at=clock.to_text(NOW + second),
            request_id="request%d" % second,
        )


WAITING = ("notified",)
STARTING = ("notified", "dispatched")
RUNNING = ("notified", "dispatched", "running", "settled")
FAILED = RUNNING + ("executed",)
RESOLVED = FAILED + ("resolved",)


def bring(stackstorm, kinds):
    """Write the row of the alert that these facts describe."""
    row = None
    for item in facts(*kinds):
        row = lifecycle.apply(row, item)
    rows.write(stackstorm, rows.ALERT, FINGERPRINT, row)


@pytest.fixture
def stackstorm():
    return FakeStackStorm(Clock())


def order(stackstorm, do, fingerprint=FINGERPRINT, reason="disk replaced", by="ann"):
    return commands.command(stackstorm, do, (fingerprint, "", ""), reason, by, NOW)


@pytest.mark.parametrize(
    "do, kinds",
    [(commands.RETRY, kinds) for kinds in (WAITING, FAILED)]
    + [
        (do, kinds)
        for do in (commands.ACKNOWLEDGE, commands.DISMISS)
        for kinds in (WAITING, STARTING, RUNNING, FAILED)
    ],
)
def test_a_command_goes_into_the_inbox_and_changes_no_row(stackstorm, do, kinds):
    """The sensor decides, and track writes."""
    bring(stackstorm, kinds)
    before = dict(stackstorm.keys)
    answer = order(stackstorm, do)
    (entry,) = inbox.entries(stackstorm)
    assert entry == {
        "request_id": answer["request_id"],
        "received_at": "2026-11-21T08:20:00.000000Z",
        "source": "by_hand",
        "command": {"do": do, "fingerprint": FINGERPRINT, "by": "ann", "reason": "disk replaced"},
    }
    inbox.remove(stackstorm, answer["request_id"])
    assert stackstorm.keys == before


def test_a_command_stays_in_the_inbox_until_the_sensor_is_done_with_it(stackstorm):
    """An accepted command is durable."""
    bring(stackstorm, FAILED)
    answer = order(stackstorm, commands.RETRY)
    assert stackstorm.ttl(rows.key(rows.INBOX, answer["request_id"])) is None


def test_the_answer_names_the_alert_and_its_state(stackstorm):
    """It also has the request_id that the history of the row will show."""
    bring(stackstorm, FAILED)
    answer = order(stackstorm, commands.ACKNOWLEDGE)
    assert dict(answer, request_id="") == {
        "status": "accepted",
        "request_id": "",
        "fingerprint": FINGERPRINT,
        "alertname": "HostDown",
        "state": "failed",
    }


@pytest.mark.parametrize("do", [commands.RETRY, commands.ACKNOWLEDGE, commands.DISMISS])
def test_a_command_for_a_resolved_alert_is_refused(stackstorm, do):
    """There is nothing left to remediate or to stop."""
    bring(stackstorm, RESOLVED)
    with pytest.raises(ExpectedError, match="resolved at .*, so there is nothing to %s" % do):
        order(stackstorm, do)
    assert inbox.entries(stackstorm) == []


@pytest.mark.parametrize(
    "kinds, named", [(STARTING, "no execution yet"), (RUNNING, "mine.fix execution1")]
)
def test_an_alert_is_not_retried_while_its_remediation_runs(stackstorm, kinds, named):
    """One remediation at a time; the error names the running execution."""
    bring(stackstorm, kinds)
    with pytest.raises(ExpectedError) as caught:
        order(stackstorm, commands.RETRY)
    assert "one remediation at a time" in str(caught.value) and named in str(caught.value)
    assert inbox.entries(stackstorm) == []


def test_an_unknown_fingerprint_is_an_error_that_says_what_exists(stackstorm):
    """A person can find the right one in it."""
    with pytest.raises(
        ExpectedError, match='fingerprint: unknown fingerprint "f"; there are no alerts yet'
    ):
        order(stackstorm, commands.RETRY, fingerprint="f")
    bring(stackstorm, FAILED)
    with pytest.raises(ExpectedError, match=FINGERPRINT):
        order(stackstorm, commands.RETRY, fingerprint="f")


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"reason": "\n"}, "reason: is empty; expected a reason"),
        ({"reason": "x" * 1001}, "reason: has 1001 characters; expected at most 1000"),
        ({"by": ""}, "by: is empty; expected your name, as StackStorm does not know who you are"),
        ({"by": "x" * 201}, "by: has 201 characters; expected at most 200"),
    ],
)
def test_a_command_without_a_person_or_a_reason_is_refused(stackstorm, change, sentence):
    """The row will show both."""
    bring(stackstorm, FAILED)
    with pytest.raises(ExpectedError) as caught:
        order(stackstorm, commands.RETRY, **change)
    assert sentence in str(caught.value)
    assert inbox.entries(stackstorm) == []


@PROPERTY
@given(JSON_TEXT, JSON_TEXT)
def test_the_sensor_reads_whatever_was_accepted(reason, by):
    """The name and the reason become one line each, and do not change otherwise."""
    stackstorm = FakeStackStorm(Clock())
    bring(stackstorm, FAILED)
    try:
        order(stackstorm, commands.RETRY, reason=reason, by=by)
    except ExpectedError:
        assert inbox.entries(stackstorm) == []
    else:
        (entry,) = inbox.entries(stackstorm)
        assert entry["command"]["reason"].split() == reason.split()
        assert entry["command"]["by"].split() == by.split()


# --- who ------------------------------------------------------------------------------------------


def service(answer):
    return SimpleNamespace(get_user_info=answer)


def user(name, is_admin=False, roles=()):
    rbac = {"enabled": True, "is_admin": is_admin, "roles": list(roles)}
    return service(lambda: {"username": name, "rbac": rbac})


def test_the_user_of_the_execution_acts():
    """StackStorm knows who it is; naming oneself changes nothing."""
    assert people.operator(user("ann"), "").name == "ann"
    assert people.operator(user("ann"), "ann").name == "ann"
    assert people.operator(user("ann", roles=["ops"]), "").roles == ("ops",)


def test_only_an_administrator_acts_for_somebody_else():
    """The rows show both names."""
    assert people.operator(user("root", is_admin=True), "ann").name == "ann via root"
    with pytest.raises(ExpectedError) as caught:
        people.operator(user("bob"), "ann")
    assert "by: only an administrator may act as somebody else, and you are bob" in str(
        caught.value
    )


def test_in_chat_the_person_acts_through_the_user_of_the_bot():
    """ChatOps runs actions as its own user, which need not be an administrator."""
    assert people.operator(user("chatbot"), "ann", "ann").name == "ann via chatbot"
    with pytest.raises(ExpectedError, match="only an administrator"):
        people.operator(user("chatbot"), "bob", "ann")


def test_without_authentication_stackstorm_knows_no_user():
    """It answers 500 then, and the person has to give a name."""

    def refuse():
        raise requests.HTTPError("500 Server Error")

    assert people.operator(service(refuse), "ann").name == "ann"
    with pytest.raises(ExpectedError, match="by: is empty; expected your name"):
        people.person(people.operator(service(refuse), "").name)


def test_an_unreachable_api_is_not_reported_as_a_missing_name():
    """The error shows the real cause."""

    def away():
        raise requests.ConnectionError("refused")

    with pytest.raises(requests.ConnectionError):
        people.operator(service(away), "")


# --- which alert ----------------------------------------------------------------------------------


def bring_alert(stackstorm, fingerprint, alertname, host, resolved=False):
    described = dict(ALERT, alertname=alertname, host=host, instance=host + ":9100")
    about = {"fingerprint": fingerprint, "episode": EPISODE, "request_id": "request1"}
    row = None
    for second, status in enumerate(["firing"] + ["resolved"] * resolved):
        at = clock.to_text(NOW + second)
        row = lifecycle.apply(row, fact("notified", status=status, alert=described, at=at, **about))
    rows.write(stackstorm, rows.ALERT, fingerprint, row)


@pytest.mark.parametrize("named", [("", "HostDown", "web1"), ("", "HostDown", "web1:9100")])
def test_an_alert_can_be_named_by_its_name_and_host(stackstorm, named):
    """The host or the instance; the name alone is enough where only one alert has it."""
    bring_alert(stackstorm, "a1", "HostDown", "web1")
    bring_alert(stackstorm, "a2", "HostDown", "web2")
    bring_alert(stackstorm, "a3", "HighCpu", "web2")
    answer = commands.command(stackstorm, commands.RETRY, named, "why", "ann", NOW)
    assert answer["fingerprint"] == "a1"
    named = ("", "HighCpu", "")
    assert commands.command(stackstorm, commands.RETRY, named, "why", "ann", NOW)[
        "fingerprint"
    ] == ("a3")


def test_a_resolved_alert_is_not_meant_while_another_one_fires(stackstorm):
    """A name that one firing alert has is enough."""
    bring_alert(stackstorm, "a1", "HostDown", "web1", resolved=True)
    bring_alert(stackstorm, "a2", "HostDown", "web2")
    assert queries.find_alert(stackstorm, "", "HostDown")["fingerprint"] == "a2"


@pytest.mark.parametrize(
    "named, sentence",
    [
        (("", "HostDown", ""), "2 alerts are named HostDown. Give a host, or one of the finger"),
        (("", "HostDwn", ""), 'unknown alertname "HostDwn"; expected one such as HostDown'),
        (("", "HostDown", "web3"), 'unknown host "web3"; expected one such as web'),
        (("", "", "web1"), "fingerprint, alertname: both are empty; expected one of them"),
        (("a9", "", ""), 'unknown fingerprint "a9"; expected one of a1 (HostDown on web1), a2'),
    ],
)
def test_what_is_not_one_alert_is_an_error_that_helps(stackstorm, named, sentence):
    """It lists what comes close, with names and not with bare hashes."""
    bring_alert(stackstorm, "a1", "HostDown", "web1")
    bring_alert(stackstorm, "a2", "HostDown", "web2")
    with pytest.raises(ExpectedError) as caught:
        queries.find_alert(stackstorm, *named)
    assert sentence in str(caught.value)


# --- the actions ----------------------------------------------------------------------------------


def given(fingerprint, by="", chat_user=""):
    """Return the parameters of an action about an alert."""
    named = {"fingerprint": fingerprint, "alertname": "", "host": ""}
    return dict(named, reason="why", by=by, chat_user=chat_user)


class CommandTestCase(PackActionTestCase):
    """One action, on an alert whose remediation failed."""

    __test__ = False
    do = None

    def test_it_gives_the_command_of_its_name(self):
        """The user of the execution gives it."""
        bring(self.stackstorm, FAILED)
        answer = self.succeed(**given(FINGERPRINT))
        (entry,) = inbox.entries(self.stackstorm)
        wanted = {"do": self.do, "fingerprint": FINGERPRINT, "by": "admin", "reason": "why"}
        self.assertEqual(entry["command"], wanted)
        self.assertEqual(entry["request_id"], answer["request_id"])

    def test_a_mistake_is_an_expected_failure(self):
        """The person gets a sentence, not a traceback."""
        error = self.fail_with(**given("f{{", by="ann"))
        self.assertIn("there are no alerts yet", error)


class RetryAlertTest(CommandTestCase):
    __test__ = True
    action_cls = retry_alert.RetryAlert
    do = commands.RETRY


class AcknowledgeAlertTest(CommandTestCase):
    __test__ = True
    action_cls = acknowledge_alert.AcknowledgeAlert
    do = commands.ACKNOWLEDGE


class DismissAlertTest(CommandTestCase):
    __test__ = True
    action_cls = dismiss_alert.DismissAlert
    do = commands.DISMISS
