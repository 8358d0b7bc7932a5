"""What StackStorm did with a dispatch, read from its own records."""

import pytest
from hypothesis import given
from poundcake import clock
from poundcake.core import lifecycle, payload
from poundcake.core.alert import open_attempts
from poundcake.st2 import executions, triggers

from tests.support import facts as facts_module
from tests.support.alerts import alert, notification
from tests.support.facts import fact as make
from tests.support.facts import kind_of
from tests.support.fakes import JSON_VALUES, NOW, PROPERTY, Clock, FakeStackStorm

EPISODE = "2026-11-21T08:00:00.000000000Z"


class Watched:
    """One alert that was dispatched at NOW, and the StackStorm that it was sent to."""

    def __init__(self):
        self.clock = Clock()
        self.stackstorm = FakeStackStorm(self.clock)
        parsed = payload.parse(notification(alert()))
        one = parsed.alerts[0]
        about = {"fingerprint": one.fingerprint, "episode": EPISODE, "at": clock.to_text(NOW)}
        described = facts_module.described(one, parsed)
        self.row = lifecycle.apply(
            None,
            make("notified", **about, status="firing", request_id="r1", alert=described),
        )
        self.apply([make("dispatched", **about, dispatch_id="d1", attempt=1, request_id="r1")])

    def send(self):
        attempt = self.row["attempts"][0]
        self.stackstorm.dispatch(triggers.ALERT, triggers.alert_payload(self.row, attempt), "r1")

    def flights(self):
        return [(self.row, attempt) for attempt in open_attempts(self.row)]

    def observe(self, seconds=1):
        """Look once, some seconds later, and apply what was seen; return ``(facts, lost)``."""
        self.clock.advance(seconds)
        facts, lost = executions.observe(self.stackstorm, self.flights(), self.clock())
        self.apply(facts)
        return facts, lost

    def apply(self, facts):
        for fact in facts:
            self.row = lifecycle.apply(self.row, fact)


@pytest.fixture
def watched():
    return Watched()


def kinds(facts):
    return [kind_of(fact) for fact in facts]


def test_nothing_in_flight_asks_nothing(watched):
    """An idle sensor does not burden the API."""
    watched.stackstorm.away = True
    assert executions.observe(watched.stackstorm, [], NOW) == ([], [])


def test_a_dispatch_without_a_trigger_instance_is_lost(watched):
    """Whether it is still on its way is for others to judge."""
    assert watched.observe() == ([], ["d1"])


def test_a_dispatch_whose_rules_are_not_evaluated_tells_nothing(watched):
    """It is neither lost nor settled."""
    watched.send()
    assert watched.observe() == ([], [])


def test_a_dispatch_that_no_rule_took_is_settled(watched):
    """And so unmatched."""
    watched.send()
    watched.stackstorm.process()
    facts, _ = watched.observe()
    assert kinds(facts) == ["settled"] and watched.row["state"] == "unmatched"


@pytest.mark.parametrize(
    "ref, command",
    [
        ("poundcake.service_down", "st2 run poundcake.enable_remediation name=service_down"),
        ("mine.fix", "st2 rule enable mine.fix"),
    ],
)
def test_a_rule_that_would_match_if_it_were_enabled_is_named(watched, ref, command):
    """With the command that enables it; one for other alerts is not."""
    for name, alertname in ((ref, "ServiceDown"), ("mine.other", "Other")):
        criteria = {"trigger.alertname": {"type": "eq", "pattern": alertname}}
        rule = {"ref": name, "enabled": False, "criteria": criteria}
        watched.stackstorm.disabled_rules.append(rule)
    watched.send()
    watched.stackstorm.process()
    watched.observe()
    reason = f"no enabled rule on poundcake.alert matched; {ref} would match, but is disabled: "
    assert (watched.row["state"], watched.row["reason"]) == ("unmatched", reason + command)


def test_an_attempt_ends_although_the_rules_cannot_be_listed(watched):
    """They are a hint only."""
    watched.send()
    watched.stackstorm.process()
    watched.stackstorm.fail("list_resources")
    watched.observe()
    assert watched.row["reason"] == "no rule on poundcake.alert matched"


def test_the_reason_of_a_failed_enforcement_is_kept(watched):
    """With the rule's name; it is the only trace of a rule that could not fire."""
    watched.stackstorm.rule("mine.fix", failure="'dict object' has no attribute 'x'")
    watched.send()
    watched.stackstorm.process()
    watched.observe()
    assert watched.row["state"] == "unmatched"
    assert watched.row["reason"] == "mine.fix: 'dict object' has no attribute 'x'"


def test_a_trigger_instance_that_failed_to_process_is_settled_with_a_reason(watched):
    """Nobody waits for it."""
    watched.send()
    watched.stackstorm.instances[0]["status"] = "processing_failed"
    watched.observe()
    assert watched.row["state"] == "unmatched" and "instance1" in watched.row["reason"]


def test_an_execution_is_followed_to_its_end(watched):
    """With status, times, rule and action as StackStorm gives them."""
    watched.stackstorm.rule("mine.fix")
    watched.send()
    watched.stackstorm.process()
    facts, _ = watched.observe()
    assert kinds(facts) == ["executed", "settled"]  # else it would be unmatched for a moment
    assert watched.row["state"] == "remediating"
    watched.stackstorm.finish(watched.stackstorm.running()[0])
    facts, _ = watched.observe()
    assert kinds(facts) == ["executed"]
    execution = facts[0].execution
    assert watched.row["state"] == "remediated"
    assert (execution["rule_ref"], execution["action_ref"]) == ("mine.fix", "core.noop")
    assert clock.elapsed(execution["started_at"], execution["ended_at"]) == 1.0
    assert watched.flights() == []


def test_several_rules_on_one_dispatch_are_all_followed(watched):
    """The alert is failed when one of them failed, and says which could not fire."""
    watched.stackstorm.rule("mine.one")
    watched.stackstorm.rule("mine.two")
    watched.stackstorm.rule("mine.three", failure="no such action")
    watched.send()
    watched.stackstorm.process()
    watched.observe()
    one, two = watched.stackstorm.running()
    watched.stackstorm.finish(one)
    watched.observe()
    assert watched.row["state"] == "remediating"
    watched.stackstorm.finish(two, "failed", {"stderr": "boom"})
    watched.observe()
    assert watched.row["state"] == "failed"
    assert watched.row["reason"] == "core.noop failed: boom; mine.three: no such action"


def test_a_trigger_that_was_sent_twice_waits_for_both_instances(watched):
    """Someone re-emitted it, or a sensor that was killed sent it again."""
    watched.stackstorm.rule("mine.fix")
    watched.send()
    watched.stackstorm.process()
    watched.send()
    assert watched.observe() == ([], [])
    watched.stackstorm.process()
    facts, _ = watched.observe()
    assert kinds(facts) == ["executed", "executed", "settled"]


def test_an_execution_that_is_gone_is_abandoned(watched):
    """StackStorm's garbage collector or a person took it away; the slot comes back."""
    watched.stackstorm.rule("mine.fix")
    watched.send()
    watched.stackstorm.process()
    watched.observe()
    watched.stackstorm.executions.clear()
    watched.observe()
    assert watched.row["state"] == "failed" and "no longer has" in watched.row["reason"]
    assert watched.flights() == []


# --- what never gets anywhere ---------------------------------------------------------------------


@pytest.mark.parametrize("status", ["processing", "pending"])
def test_a_dispatch_whose_rules_are_not_evaluated_in_time_is_lost(watched, status):
    """The rules engine died over it, or is very much behind: that is for others to judge."""
    watched.send()
    watched.stackstorm.get_stuck(watched.stackstorm.instances[0], status)
    assert watched.observe(executions.STUCK_SECONDS - 1) == ([], [])
    assert watched.observe(2) == ([], ["d1"])


def test_a_dispatch_that_got_stuck_after_it_started_something_is_not_lost(watched):
    """What has begun is followed."""
    watched.stackstorm.rule("mine.fix")
    watched.send()
    watched.stackstorm.process()
    watched.stackstorm.get_stuck(watched.stackstorm.instances[0])
    facts, lost = watched.observe(executions.STUCK_SECONDS + 1)
    assert kinds(facts) == ["executed", "settled"] and lost == []
    assert "stopped in the middle of the rules" in facts[1].reason


def test_of_two_instances_of_a_dispatch_one_that_was_processed_is_enough(watched):
    """The other got stuck, which is why it was sent again."""
    watched.send()
    watched.stackstorm.get_stuck(watched.stackstorm.instances[0])
    watched.clock.advance(60)
    watched.stackstorm.rule("mine.fix")
    watched.send()
    watched.stackstorm.process()
    facts, lost = watched.observe()
    assert kinds(facts) == ["executed", "settled"] and lost == []


@pytest.mark.parametrize(
    "ran, log, wanted",
    [
        (True, True, True),
        (False, True, False),
        (False, False, True),  # StackStorm does not say
    ],
)
def test_whether_an_execution_ran_before_it_failed_is_in_its_log(watched, ran, log, wanted):
    """An attempt that did nothing does not count."""
    watched.stackstorm.rule("mine.fix")
    watched.send()
    watched.stackstorm.process()
    watched.observe()
    (execution_id,) = watched.stackstorm.running()
    watched.stackstorm.finish(execution_id, "failed", ran=ran)
    if not log:
        del watched.stackstorm.executions[execution_id]["log"]
    facts, _ = watched.observe()
    assert facts[0].execution["ran"] is wanted


def test_an_execution_that_succeeded_ran(watched):
    """Nobody asks for its log."""
    watched.stackstorm.rule("mine.fix")
    watched.send()
    watched.stackstorm.process()
    watched.stackstorm.finish(watched.stackstorm.running()[0])
    facts, _ = watched.observe()
    assert facts[0].execution["ran"] is True


@pytest.mark.parametrize(
    "status, output, wanted",
    [
        ("succeeded", {}, ("", "", "")),
        (
            "succeeded",
            {"outcome": "not_needed", "remediation": "looked"},
            ("not_needed", "looked", ""),
        ),
        (
            "succeeded",
            {"outcome": "remediated", "remediation": "restarted nginx", "verification": "it runs"},
            ("remediated", "restarted nginx", "it runs"),
        ),
        (
            "failed",
            {"outcome": "escalated", "remediation": "told ann"},
            ("escalated", "told ann", ""),
        ),
        ("succeeded", {"outcome": "splendid", "remediation": 7}, ("", "", "")),
        ("succeeded", {"outcome": ["failed"], "verification": "a\n b"}, ("", "", "a b")),
        ("succeeded", None, ("", "", "")),
        ("succeeded", "text", ("", "", "")),
    ],
)
def test_the_output_of_a_workflow_says_what_it_did(watched, status, output, wanted):
    """By its own words, whatever their shape; what is unknown says nothing."""
    watched.stackstorm.rule("mine.fix", runner="orquesta")
    watched.send()
    watched.stackstorm.process()
    (execution_id,) = watched.stackstorm.running()
    watched.stackstorm.finish(execution_id, status, {"output": output})
    execution = watched.observe()[0][0].execution
    said = tuple(execution[name] for name in ("outcome", "remediation", "verification"))
    assert said == wanted


def test_the_reason_of_an_output_is_kept_when_the_execution_succeeds(watched):
    """It says why a person was told."""
    watched.stackstorm.rule("mine.fix", runner="orquesta")
    watched.send()
    watched.stackstorm.process()
    output = {"outcome": "escalated", "reason": "no label names the unit"}
    watched.stackstorm.finish(watched.stackstorm.running()[0], "succeeded", {"output": output})
    watched.observe()
    assert (watched.row["state"], watched.row["reason"]) == ("escalated", output["reason"])


@pytest.mark.parametrize(
    "status, seconds, wanted",
    [
        ("requested", 80, False),
        ("requested", 100, True),
        ("scheduled", 100, False),
        ("scheduled", 700, True),
        ("running", 100000, False),
        ("pending", 100000, False),
        ("canceled", 100000, False),
    ],
)
def test_an_execution_that_is_about_to_start_for_too_long_never_does(status, seconds, wanted):
    """And whatever has started may take its time, as may a person who is asked."""
    execution = {"status": status, "started_at": clock.to_text(NOW)}
    assert executions.never_starts(execution, NOW + seconds) is wanted
    assert executions.never_starts(dict(execution, started_at=None), NOW + seconds) is False


def test_a_clock_that_is_a_little_ahead_hides_no_trigger_instance(watched):
    """The sensor and StackStorm may run on different machines; it is found before it is lost."""
    watched.clock.advance(-30)
    watched.send()
    watched.stackstorm.process()
    facts, lost = watched.observe(31 + executions.CLOCK_MARGIN_SECONDS)
    assert kinds(facts) == ["settled"] and lost == []


def test_the_payloads_of_others_are_passed_over(watched):
    """A trigger that a person sent by hand may be without a dispatch_id."""
    for strange in ({}, {"dispatch_id": None}):
        watched.stackstorm.dispatch(triggers.ALERT, strange)
    assert watched.observe() == ([], ["d1"])


# --- why an execution failed ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "result, wanted",
    [
        (None, ""),
        ({}, ""),
        ("text", "text"),
        ({"stderr": "line one\nline two\n"}, "line one line two"),
        ({"error": "no such host"}, "no such host"),
        ({"message": "timed out"}, "timed out"),
        ({"result": "the reason", "stderr": "noise"}, "the reason"),
        ({"result": {"error": "config: missing"}, "stderr": "noise"}, "config: missing"),
        ({"result": "None", "stderr": "Traceback"}, "Traceback"),
        ({"result": None, "exit_code": 1, "stderr": "boom", "stdout": ""}, "boom"),
        (
            {
                "errors": [
                    {
                        "message": "Execution failed. See result for details.",
                        "task_id": "restart",
                        "type": "error",
                        "result": {"stderr": "unit not found", "return_code": 5},
                    },
                    {"message": "fail", "task_id": "fail"},
                ],
                "output": None,
            },
            "task restart: Execution failed. See result for details. (unit not found); "
            "task fail: fail",
        ),
    ],
)
def test_the_error_is_one_line_from_wherever_the_runner_puts_it(result, wanted):
    """Python, shell, http and Orquesta each have their own place for it."""
    assert executions.error_of(result) == wanted


@PROPERTY
@given(JSON_VALUES)
def test_any_result_gives_one_short_line(result):
    """Whatever an action returned."""
    text = executions.error_of(result)
    assert len(text) <= executions.ERROR_CHARACTERS and "\n" not in text


@pytest.mark.parametrize(
    "errors", [["text"], [None], [{"message": None}], [{"result": {"errors": [1]}}]]
)
def test_odd_lists_of_errors_are_no_trouble(errors):
    """The line says what it can."""
    assert executions.error_of({"errors": errors})


# --- a person in the loop -------------------------------------------------------------------------


@pytest.fixture
def asked(watched):
    """One whose workflow, by way of ask_approval, waits for a person; the inquiry's id."""
    watched.stackstorm.rule("mine.fix")
    watched.send()
    watched.stackstorm.process()
    watched.observe()
    (running,) = watched.stackstorm.running()
    return watched.stackstorm.ask(running, minutes=30)


def test_an_inquiry_is_found_wherever_below_it_was_made(watched, asked):
    """With the time that the workflow gives; and known, it is told no more."""
    facts, _ = watched.observe()
    assert kinds(facts) == ["executed", "asked"]
    assert facts[1].inquiry_id == asked
    until = clock.to_seconds(facts[1].until)
    assert until == clock.to_seconds(facts[1].at) + 30 * 60
    assert watched.row["state"] == "awaiting_approval"
    assert watched.observe() == ([], [])


def test_an_answer_is_noticed(watched, asked):
    """The workflow goes on."""
    watched.observe()
    watched.stackstorm.respond(asked, {"approved": True})
    facts, _ = watched.observe()
    assert kinds(facts) == ["executed", "answered"]
    assert facts[1].approved is True
    assert watched.row["state"] == "remediating"


@pytest.mark.parametrize(
    "response, approved",
    [
        ({"approved": False}, False),
        ({"approved": False, "note": "not now"}, False),
        ({}, False),  # the web UI sends nothing for a box that is not ticked
        (executions.TIME_IS_UP, None),
        ({"approved": "perhaps"}, None),
        ({"answer": 42}, None),
        ("no object", None),
    ],
)
def test_an_answer_is_a_yes_a_no_or_neither(watched, asked, response, approved):
    """Other people's workflows ask other things."""
    watched.observe()
    watched.stackstorm.respond(asked, response)
    facts, _ = watched.observe()
    assert kind_of(facts[-1]) == "answered" and facts[-1].approved is approved


def test_a_second_question_right_after_the_first_is_noticed(watched, asked):
    """Between two looks, so that the workflow was seen paused all the time."""
    watched.observe()
    watched.stackstorm.respond(asked, {"approved": True})
    (running,) = [i for i in watched.stackstorm.running() if i in str(watched.row["attempts"])]
    second = watched.stackstorm.ask(running)
    facts, _ = watched.observe()
    assert kinds(facts) == ["answered", "asked"]
    assert facts[1].inquiry_id == second
    assert watched.row["state"] == "awaiting_approval"


def test_an_inquiry_of_somebody_elses_workflow_has_no_end(watched):
    """Another route: whoever wrote it says how long it may take."""
    watched.stackstorm.rule("mine.fix")
    watched.send()
    watched.stackstorm.process()
    watched.observe()
    watched.stackstorm.ask(watched.stackstorm.running()[0], route="theirs")
    facts, _ = watched.observe()
    assert kind_of(facts[-1]) == "asked" and facts[-1].until is None


def test_a_workflow_that_a_person_has_paused_asks_nobody(watched):
    """It runs, as far as PoundCake is concerned: only its owner knows when it goes on."""
    watched.stackstorm.rule("mine.fix")
    watched.send()
    watched.stackstorm.process()
    watched.stackstorm.executions[watched.stackstorm.running()[0]]["status"] = "paused"
    watched.observe()
    assert watched.row["state"] == "remediating"


def test_what_waits_for_a_person_does_not_widen_the_look_at_what_runs(watched, asked):
    """After hours, only what is paused is listed, not all that the trigger has started since."""
    watched.observe()
    looks = []
    listing = watched.stackstorm.list_executions
    watched.stackstorm.list_executions = lambda *a, **k: looks.append((a, k)) or listing(*a, **k)
    watched.observe(3600)
    assert looks == [(("alert",), {"status": "paused"})]
