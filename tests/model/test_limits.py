"""Admission as an operator sees it: what the sensor does, what the rows say, and who is told."""

import pytest
from poundcake import clock
from poundcake.core.admission import RETRY_SECONDS
from poundcake.core.alert import counted_attempts, current_episode
from poundcake.core.decisions import RETRY
from poundcake.core.requests import BY_HAND
from poundcake.errors import ExpectedError
from poundcake.operators import commands, controls
from poundcake.sensor.controller import INBOX_IDLE_SECONDS
from poundcake.st2 import executions, rows, triggers
from poundcake.views import queries

from tests.support.alerts import alert
from tests.support.pack import SCHEMAS, Pack

MINUTE = 60
HOUR = 3600


def make(**config):
    pack = Pack(**config)
    pack.stackstorm.rule("mine.fix")
    return pack


@pytest.fixture
def pack():
    return make()


def repeat(pack, minutes, status="succeeded", **labels):
    """Let the alert fire on: Alertmanager repeats it every minute, and its remediations end."""
    for _ in range(minutes):
        pack.post(alert(**labels))
        for _ in range(6):
            pack.step(10)
            pack.finish(status, {"stderr": "no luck"} if status == "failed" else None)


def shown(pack, number=0):
    return queries.get_alert(pack.stackstorm, pack.alerts()[number]["fingerprint"])


# --- attempts -------------------------------------------------------------------------------------


def test_an_alert_that_fires_on_gets_its_attempts_with_growing_waits_and_then_a_person(pack):
    """Three in all, whatever is repeated; exhausted is told one time, with the last execution."""
    repeat(pack, 120, "failed")
    attempts = pack.alert()["attempts"]
    assert [sent["attempt"] for sent in pack.stackstorm.dispatched()] == [1, 2, 3]
    began = [clock.to_seconds(a["dispatched_at"]) for a in attempts]
    assert 300 <= began[1] - began[0] < 400 and 600 <= began[2] - began[1] < 700
    (told,) = [item for item in pack.told() if item["to"] == "exhausted"]
    assert (told["from"], told["attempt"]) == ("failed", 3)
    assert told["execution_id"] == attempts[2]["executions"][0]["execution_id"]
    assert pack.alert()["state"] == "exhausted"


def test_a_request_about_an_exhausted_alert_says_so(pack):
    """Suppressed, with the reason, and complete."""
    repeat(pack, 120, "failed")
    request_id = pack.post(alert())
    pack.settle()
    entry = pack.request(request_id)["alerts"][0]
    assert entry["decision"] == "suppress" and "max_attempts is 3" in entry["reason"]
    assert pack.request(request_id)["completed_at"]


def test_a_lowered_limit_holds_for_what_has_failed_already(pack):
    """The sensor starts again with the new config, and tells a person."""
    repeat(pack, 1, "failed")
    assert pack.alert()["state"] == "failed"
    pack.settings = make(max_attempts=1).settings
    pack.start()
    pack.settle()
    assert pack.alert()["state"] == "exhausted" and pack.changes()[-1] == "failed>exhausted"


def test_a_remediation_that_does_not_help_is_shown_as_ineffective(pack):
    """In the alert and in the statistics, and after the last one a person is told."""
    repeat(pack, 120)
    assert pack.alert()["state"] == "exhausted"
    assert shown(pack)["ineffective"] == 3
    assert queries.get_stats(pack.stackstorm)["ineffective"] == 3
    assert pack.changes().count("remediated>exhausted") == 1


def test_a_remediation_that_helped_is_not_ineffective(pack):
    """The alert resolved within the cooldown."""
    repeat(pack, 4)
    pack.post(alert(status="resolved"))
    pack.settle()
    assert shown(pack)["ineffective"] == 0 and len(pack.stackstorm.dispatched()) == 1


def test_an_execution_that_never_ran_is_tried_again_without_counting(pack):
    """No notification is needed; all three attempts are left; the request waits for the result."""
    request_id = pack.post(alert())
    for _ in range(2):
        pack.step()
        pack.finish("failed", ran=False)
        pack.steps(2)
        assert shown(pack)["held"]["cause"] == RETRY
        pack.steps(2 * RETRY_SECONDS + 2)
    assert len(pack.stackstorm.dispatched()) == 3
    pack.settle()
    assert pack.alert()["state"] == "remediated"
    assert counted_attempts(pack.alert(), pack.alert()["episode"]) == 1
    assert pack.request(request_id)["alerts"][0]["outcome"] == "remediated"


@pytest.mark.parametrize("status, patience", [("requested", 90), ("scheduled", 600)])
def test_an_execution_that_stackstorm_lost_before_it_ran_is_canceled_and_tried_again(
    pack, status, patience
):
    """Not before StackStorm may be only behind; once, and without counting."""
    pack.post(alert())
    pack.step()
    (lost,) = pack.stackstorm.running()
    pack.stackstorm.lose(lost, status)
    pack.steps(patience - 5)
    assert pack.stackstorm.executions[lost]["status"] == status
    pack.steps(15 + RETRY_SECONDS)
    assert pack.stackstorm.executions[lost]["status"] == "canceled"
    assert len(pack.stackstorm.dispatched()) == 2
    pack.settle()
    assert pack.alert()["state"] == "remediated"
    assert counted_attempts(pack.alert(), pack.alert()["episode"]) == 1


def test_an_execution_that_got_lost_is_not_tried_again_when_its_alert_has_resolved(pack):
    """It is canceled all the same: its slot is needed."""
    pack.post(alert())
    pack.step()
    pack.stackstorm.lose(pack.stackstorm.running()[0])
    pack.post(alert(status="resolved"))
    pack.steps(200)
    assert len(pack.stackstorm.dispatched()) == 1 and pack.controller._ledger.in_flight == 0
    assert pack.states() == ["received", "remediating", "resolved", "resolved"]


def test_a_killed_sensor_still_tries_again_what_never_ran():
    """What follows from an attempt follows after a restart as well."""
    pack = make()
    pack.post(alert())
    pack.step()
    pack.finish("failed", ran=False)
    pack.steps(3)
    pack.start()
    pack.steps(RETRY_SECONDS + 2)
    assert len(pack.stackstorm.dispatched()) == 2


# --- the time of an attempt -----------------------------------------------------------------------


@pytest.mark.parametrize("answers", [True, False], ids=["canceled", "canceling for good"])
def test_what_a_dead_runner_leaves_running_ends_as_failed(answers):
    """It is canceled once, its place goes to the next alert, and the reason says why."""
    pack = make(max_concurrent=1, attempt_seconds=600, max_attempts=1)
    asked = []
    cancel = pack.stackstorm.cancel_execution

    def canceled(execution_id):
        asked.append(execution_id)
        if answers:
            cancel(execution_id)

    pack.stackstorm.cancel_execution = canceled
    pack.post(alert(1), alert(2))
    pack.steps(5)
    (dead,) = pack.stackstorm.running()
    pack.steps(590)
    assert asked == [] and len(pack.stackstorm.dispatched()) == 1
    pack.steps(90)
    assert asked == [dead] and len(pack.stackstorm.dispatched()) == 2
    failed = next(row for row in pack.alerts() if row["attempts"][0]["outcome"])
    assert failed["state"] == "exhausted"
    assert "it took longer than attempt_seconds (600 s)" in failed["reason"]
    assert failed["attempts"][0]["outcome"] == "failed"


def test_a_run_within_its_time_is_left_alone():
    """And so is one that waits for a person."""
    pack = make(attempt_seconds=600)
    pack.post(alert())
    pack.steps(599)
    pack.settle()
    assert pack.alert()["state"] == "remediated"


def test_the_time_goes_on_over_a_restart_of_the_sensor():
    """The row knows when the attempt began."""
    pack = make(attempt_seconds=600, max_attempts=1)
    pack.post(alert())
    pack.steps(400)
    pack.start()
    pack.steps(210)
    assert pack.stackstorm.running() == []
    assert pack.alert()["state"] == "exhausted"


# --- one at a time --------------------------------------------------------------------------------


def test_alerts_of_one_host_are_remediated_one_after_the_other(pack):
    """Ten alerts of two hosts: two at a time, one each."""
    pack.post(*[alert(1 + number % 2, disk="d%d" % number) for number in range(10)])
    pack.settle()
    assert [row["state"] for row in pack.alerts()].count("remediated") == 6, "three an hour each"
    assert pack.most_in_flight == 2


@pytest.mark.parametrize("cancel", [False, True])
def test_an_alert_that_resolves_while_it_is_remediated(cancel):
    """The run goes on, or is canceled; the state is resolved and the history tells of the run."""
    pack = make(cancel_on_resolve=cancel)
    pack.post(alert())
    pack.steps(3)
    pack.post(alert(status="resolved"))
    pack.steps(5)
    assert len(pack.stackstorm.running()) == (0 if cancel else 1)
    pack.settle()
    assert pack.states() == ["received", "remediating", "resolved", "resolved"]
    last = pack.alert()["history"][-1]["reason"]
    wanted = "failed: core.noop canceled" if cancel else "remediated"
    assert last == "after the resolve: " + wanted
    assert pack.changes()[-1] == "remediating>resolved"


def test_a_cancel_is_asked_for_once():
    """StackStorm may take its time over it."""
    pack = make(cancel_on_resolve=True)
    asked = []
    pack.stackstorm.cancel_execution = asked.append
    pack.post(alert(1), alert(2))
    pack.steps(3)
    pack.post(alert(1, status="resolved"))
    pack.steps(20)
    (running,) = [row for row in pack.alerts() if row["host"] == "web1"]
    assert asked == [running["attempts"][0]["executions"][0]["execution_id"]]


def test_an_alert_that_resolves_while_it_is_suppressed_is_not_remediated(pack):
    """The pause ends, and nothing is left to do."""
    pack.pause()
    pack.post(alert())
    pack.steps(3)
    pack.post(alert(status="resolved"))
    pack.steps(3)
    pack.resume()
    pack.steps(5)
    assert pack.stackstorm.dispatched() == []
    assert pack.states() == ["received", "suppressed", "resolved"]


# --- breaker --------------------------------------------------------------------------------------


@pytest.fixture
def breaking():
    return make(breaker_failures=2, breaker_seconds=600)


def breaker_told(pack):
    sent = [item for item in pack.told() if item["to"].startswith("breaker_")]
    for item in sent:
        SCHEMAS.check(triggers.LIFECYCLE, item)
    return [(item["from"], item["to"], item["alertname"], item["reason"]) for item in sent]


def test_a_breaker_that_opens_and_closes_is_told(breaking):
    """Two hosts fail, the third is suppressed; its trial succeeds and lets the fourth go."""
    pack = breaking
    pack.post(alert(1), alert(2))
    pack.steps(3, "failed")
    assert breaker_told(pack) == [
        ("breaker_closed", "breaker_opened", "ServiceDown", "2 failures in a row")
    ]
    request_id = pack.post(alert(3), alert(4))
    pack.steps(590)
    assert len(pack.stackstorm.dispatched()) == 2
    assert "breaker of ServiceDown is open" in pack.request(request_id)["alerts"][0]["reason"]
    pack.steps(20)
    assert len(pack.stackstorm.dispatched()) == 3, "one trial"
    pack.settle()
    assert len(pack.stackstorm.dispatched()) == 4
    assert breaker_told(pack)[1:] == [
        ("breaker_opened", "breaker_closed", "ServiceDown", "a remediation succeeded")
    ]


def test_a_trial_that_fails_is_told_and_the_breaker_is_open_again(breaking):
    """For as long as before, and for a sensor that starts again meanwhile too."""
    pack = breaking
    pack.post(alert(1), alert(2))
    pack.steps(3, "failed")
    pack.post(alert(3), alert(4))
    pack.steps(610)
    pack.finish("failed")
    pack.steps(3)
    wanted = ("breaker_opened", "breaker_opened", "ServiceDown")
    assert breaker_told(pack)[1:] == [wanted + ("the trial failed: 3 failures in a row",)]
    pack.start()
    pack.steps(580)
    assert len(pack.stackstorm.dispatched()) == 3
    pack.steps(30, "succeeded")
    assert len(pack.stackstorm.dispatched()) == 4


def test_what_fails_while_the_breaker_is_open_already_is_not_told_as_a_trial(breaking):
    """It was running when it opened."""
    pack = breaking
    pack.post(alert(1), alert(2), alert(3))
    pack.step()
    for execution_id in pack.stackstorm.running():
        pack.stackstorm.finish(execution_id, "failed")
        pack.steps(3)
    assert len(breaker_told(pack)) == 1


# --- pause, maintenance, dry run ------------------------------------------------------------------


def test_a_pause_is_obeyed_at_once_and_what_came_meanwhile_is_remediated_afterwards(pack):
    """Pending alerts too; a sensor that starts again stays paused."""
    pack.settings = make(max_concurrent=1).settings
    pack.start()
    pack.post(alert(1), alert(2))
    pack.step()
    pack.pause(reason="deploying")
    pack.steps(2, "succeeded")
    pack.post(alert(3))
    pack.steps(5)
    pack.start()
    pack.steps(300)
    assert len(pack.stackstorm.dispatched()) == 1
    held = {row["host"]: row for row in pack.alerts()}
    assert held["web2"]["state"] == held["web3"]["state"] == "suppressed"
    assert "paused by ann" in held["web2"]["reason"] and "deploying" in held["web2"]["reason"]
    pack.resume()
    pack.settle()
    assert [row["state"] for row in pack.alerts()] == ["remediated"] * 3


def test_a_pause_of_one_alertname_holds_that_one(pack):
    """The others go on."""
    pack.pause("HostDown")
    pack.post(alert(1), alert(2, alertname="HostDown"))
    pack.settle()
    states = {row["alertname"]: row["state"] for row in pack.alerts()}
    assert states == {"ServiceDown": "remediated", "HostDown": "suppressed"}


def test_maintenance_ends_by_itself_and_what_still_fires_is_remediated(pack):
    """What resolved meanwhile is not."""
    by = ("new disks", "ann", pack.clock())
    controls.start_maintenance(pack.stackstorm, 'team=~"db.*"', "10m", *by)
    pack.post(alert(1, team="db1"), alert(2, team="db2"), alert(3, team="web"))
    pack.settle()
    pack.post(alert(1, team="db1", status="resolved"))
    pack.steps(500)
    states = {row["host"]: row["state"] for row in pack.alerts()}
    assert states == {"web1": "resolved", "web2": "suppressed", "web3": "remediated"}
    pack.steps(100)
    pack.settle()
    states = {row["host"]: row["state"] for row in pack.alerts()}
    assert states == {"web1": "resolved", "web2": "remediated", "web3": "remediated"}


def test_maintenance_that_is_ended_by_hand_lets_go_at_once(pack):
    """Before its time."""
    by = ("new disks", "ann", pack.clock())
    window = controls.start_maintenance(pack.stackstorm, "severity=critical", "10m", *by)
    pack.post(alert(1))
    pack.settle()
    assert pack.alert()["state"] == "suppressed"
    controls.end_maintenance(pack.stackstorm, window["id"], "ann", pack.clock())
    pack.steps(2)
    assert len(pack.stackstorm.dispatched()) == 1


@pytest.mark.parametrize(
    "config", [{"dry_run": True}, {"dry_run_alertnames": ("ServiceDown", "Other")}]
)
def test_a_dry_run_is_decided_and_tracked_and_nothing_is_dispatched(config):
    """An hour of repetitions is one change of state, and every request says why."""
    pack = make(**config)
    first = pack.post(alert())
    repeat(pack, 60)
    assert pack.stackstorm.dispatched() == []
    assert pack.changes() == [">received", "received>suppressed"]
    requests = pack.stackstorm.rows(rows.REQUEST)
    assert len(requests) == 61 and all(request["completed_at"] for request in requests)
    assert {request["alerts"][0]["decision"] for request in requests} == {"suppress"}
    assert pack.request(first)["alerts"][0]["reason"].startswith("dry run: ")
    assert shown(pack)["held"]["cause"] == "dry_run"


def test_other_alertnames_are_remediated_while_one_is_dry():
    """The setting names what is dry."""
    pack = make(dry_run_alertnames=("HostDown",))
    pack.post(alert(1), alert(2, alertname="HostDown"))
    pack.settle()
    (sent,) = pack.stackstorm.dispatched()
    assert sent["alertname"] == "ServiceDown"


# --- by hand --------------------------------------------------------------------------------------


def acknowledge(pack):
    pack.order(commands.ACKNOWLEDGE, by="bob", reason="on it")
    pack.steps(3)


@pytest.mark.parametrize(
    "prepare",
    [
        lambda pack: repeat(pack, 120, "failed"),
        lambda pack: (repeat(pack, 1, "failed"), pack.pause(), pack.steps(3)),
        lambda pack: (repeat(pack, 1, "failed"), acknowledge(pack)),
        lambda pack: repeat(pack, 1, "failed"),
    ],
    ids=["exhausted", "paused", "acknowledged", "in its cooldown"],
)
def test_a_person_gets_one_more_attempt_now_whatever_the_limits_say(pack, prepare):
    """Who and why are on the row, in the request and in what is told."""
    prepare(pack)
    sent = len(pack.stackstorm.dispatched())
    request_id = pack.order(commands.RETRY)
    pack.steps(INBOX_IDLE_SECONDS + 4)
    assert len(pack.stackstorm.dispatched()) == sent + 1
    attempt = pack.alert()["attempts"][-1]
    assert (attempt["by"], attempt["why"]) == ("ann", "the disk is replaced")
    assert attempt["request_id"] == request_id
    assert pack.told()[-1]["reason"].endswith("the disk is replaced (by ann)")
    pack.settle()
    request = pack.request(request_id)
    assert request["source"] == BY_HAND and request["command"]["by"] == "ann"
    assert request["alerts"][0]["outcome"] == "remediated" and request["completed_at"]
    assert pack.alert()["state"] == "remediated"


def test_an_attempt_by_hand_waits_when_the_window_is_full():
    """And goes first when there is room."""
    pack = make(max_concurrent=1, rate_limit=())
    repeat(pack, 1, "failed", severity="info")
    pack.post(alert(2), alert(3))
    pack.step()
    request_id = pack.order(commands.RETRY)
    pack.steps(3)
    entry = pack.request(request_id)["alerts"][0]
    assert entry["decision"] == "pend" and "max_concurrent is 1" in entry["reason"]
    (row,) = [row for row in pack.alerts() if row["host"] == "web1"]
    assert row["state"] == "pending" and row["reason"].endswith("(by ann)")
    pack.finish()
    pack.steps(3)
    last = pack.stackstorm.dispatched()[-1]
    assert (last["host"], last["attempt"], last["request_id"]) == ("web1", 2, request_id)
    pack.settle()
    (row,) = [row for row in pack.alerts() if row["host"] == "web1"]
    assert row["attempts"][-1]["by"] == "ann"


@pytest.mark.parametrize("restart", [False, True])
def test_an_attempt_by_hand_of_a_pending_alert_completes_the_request_that_waits_too(restart):
    """Both get the outcome of the one attempt."""
    pack = make(max_concurrent=1)
    first = pack.post(alert(2), alert(1))
    pack.steps(3)
    second = pack.order(commands.RETRY)
    pack.steps(3)
    if restart:
        pack.start()
    pack.settle()
    assert len(pack.stackstorm.dispatched()) == 2
    entries = pack.request(first)["alerts"] + pack.request(second)["alerts"]
    assert [entry["outcome"] for entry in entries] == ["remediated"] * 3
    assert pack.request(first)["completed_at"] and pack.request(second)["completed_at"]


def test_an_attempt_by_hand_is_refused_by_the_action_while_one_runs_or_after_the_resolve(pack):
    """The sentence says which."""
    pack.post(alert())
    pack.steps(3)
    with pytest.raises(ExpectedError, match="is already being remediated"):
        pack.order(commands.RETRY)
    pack.settle()
    pack.post(alert(status="resolved"))
    pack.settle()
    with pytest.raises(ExpectedError, match="there is nothing to retry"):
        pack.order(commands.RETRY)


def test_an_attempt_by_hand_is_refused_by_the_sensor_when_things_changed_meanwhile(pack):
    """Of two commands at once one is obeyed, and the other's request says why not."""
    repeat(pack, 1, "failed")
    ids = [pack.order(commands.RETRY) for _ in range(2)]
    pack.steps(INBOX_IDLE_SECONDS + 4)
    entries = [pack.request(request_id)["alerts"][0] for request_id in ids]
    assert [entry["decision"] for entry in entries] == ["dispatch", "rejected"]
    assert entries[1]["reason"] == "a remediation of it runs: one at a time"
    pack.settle()
    assert len(pack.stackstorm.dispatched()) == 2


def test_an_attempt_by_hand_of_what_resolves_or_is_dry_or_forgotten_meanwhile_is_refused():
    """The sensor decides, with what it knows then."""
    pack = make()
    repeat(pack, 1, "failed")
    reasons = []
    for prepare in (
        lambda: setattr(pack, "settings", make(dry_run=True).settings),
        lambda: (setattr(pack, "settings", make().settings), pack.post(alert(status="resolved"))),
    ):
        prepare()
        request_id = pack.order(commands.RETRY)
        pack.start()
        pack.steps(4)
        entry = pack.request(request_id)["alerts"][0]
        assert entry["decision"] == "rejected"
        reasons.append(entry["reason"])
    assert reasons[0] == "dry_run: nothing is dispatched"
    assert reasons[1].startswith("resolved at ")
    assert len(pack.stackstorm.dispatched()) == 1


def test_a_command_about_an_alert_that_the_sensor_does_not_know_is_rejected(pack):
    """Its row may have expired meanwhile."""
    repeat(pack, 1, "failed")
    request_id = pack.order(commands.RETRY)
    for key in pack.stackstorm.list_keys(rows.ALERT):
        pack.stackstorm.delete_key(key)
    pack.start()
    pack.steps(4)
    entry = pack.request(request_id)["alerts"][0]
    assert (entry["decision"], entry["reason"]) == ("rejected", "the alert is not known (any more)")


@pytest.mark.parametrize("do, word", [("acknowledge", "acknowledged"), ("dismiss", "dismissed")])
def test_what_a_person_takes_over_gets_no_attempt_in_this_episode(pack, do, word):
    """Who and why are on the row; the next episode is remediated again."""
    repeat(pack, 1, "failed")
    request_id = pack.order(do, by="bob", reason="on it")
    repeat(pack, 60)
    assert len(pack.stackstorm.dispatched()) == 1
    assert (pack.alert()["state"], pack.alert()["reason"]) == (
        "suppressed",
        word + ": on it (by bob)",
    )
    assert pack.changes()[-1] == "failed>suppressed"
    assert pack.request(request_id)["command"]["do"] == do
    pack.post(alert(status="resolved"))
    pack.post(alert(starts_at="2026-11-21T12:00:00Z"))
    pack.settle()
    assert len(pack.stackstorm.dispatched()) == 2


def test_what_becomes_pending_while_a_person_takes_it_over_does_not_stay_so(pack):
    """The command was given before the sensor saw that the attempt never ran."""
    pack.post(alert())
    pack.steps(3)
    pack.finish("failed", ran=False)
    pack.order(commands.ACKNOWLEDGE)
    pack.steps(600)
    assert pack.alert()["state"] == "suppressed" and len(pack.stackstorm.dispatched()) == 1


def test_a_pending_alert_that_a_person_takes_over_leaves_the_queue():
    """And its request is complete."""
    pack = make(max_concurrent=1)
    request_id = pack.post(alert(2), alert(1))
    pack.steps(3)
    pack.order(commands.ACKNOWLEDGE)
    pack.settle()
    assert len(pack.stackstorm.dispatched()) == 1
    outcomes = [entry["outcome"] for entry in pack.request(request_id)["alerts"]]
    assert outcomes == ["remediated", "acknowledged"] and pack.request(request_id)["completed_at"]


# --- what is told ---------------------------------------------------------------------------------


def test_each_change_of_state_is_told_with_all_that_a_person_needs(pack):
    """From the first notification to the resolve, each event with an id of its own."""
    request_id = pack.post(alert())
    pack.step()
    pack.finish("failed", {"stderr": "unit not found"})
    pack.settle()
    resolve_id = pack.post(alert(status="resolved"))
    pack.settle()
    row = pack.alert()
    execution_id = row["attempts"][0]["executions"][0]["execution_id"]
    names = ("request_id", "from", "to", "attempt", "execution_id", "reason", "at")
    history = [entry["at"] for entry in row["history"]]
    reason = "core.noop failed: unit not found"
    assert [tuple(item[name] for name in names) for item in pack.told()] == [
        (request_id, "", "received", 0, "", "", history[0]),
        (request_id, "received", "remediating", 1, "", "attempt 1", history[1]),
        (request_id, "remediating", "failed", 1, execution_id, reason, history[2]),
        (resolve_id, "failed", "resolved", 0, "", "", history[3]),
    ]
    for item in pack.told():
        assert item["fingerprint"] == row["fingerprint"] and item["host"] == "web1"
        assert (item["alertname"], item["severity"]) == ("ServiceDown", "critical")
    assert len({item["event_id"] for item in pack.told()}) == 4


def test_suppressed_and_pending_are_told_with_their_reasons():
    """In the order in which they came about."""
    pack = make(max_concurrent=1)
    pack.post(alert(1), alert(2))
    pack.step()
    pack.pause()
    pack.steps(3)
    pack.resume()
    pack.settle()
    told = [(item["to"], item["reason"]) for item in pack.told() if item["host"] == "web2"]
    assert [to for to, _ in told] == ["received", "pending", "suppressed", "remediating"] + [
        "remediated"
    ]
    assert "max_concurrent is 1" in told[1][1] and "paused by ann" in told[2][1]
    assert "it was suppressed" in told[3][1]


# --- a person in the loop -------------------------------------------------------------------------


def ask(pack, minutes=60):
    """Make the only remediation that runs wait for a person; the inquiry's id."""
    (running,) = pack.stackstorm.running()
    inquiry = pack.stackstorm.ask(running, minutes)
    pack.steps(3)
    return inquiry


def begin(pack, *alerts):
    pack.post(*alerts)
    pack.steps(3)


def test_what_waits_for_a_person_holds_no_place_in_the_window():
    """Another host's alert goes; the same host's waits, since nothing else may change it now."""
    pack = make(max_concurrent=1)
    begin(pack, alert(1))
    ask(pack)
    assert pack.alert()["state"] == "awaiting_approval"
    begin(pack, alert(2), alert(1, alertname="Other"))
    found = {(row["alertname"], row["host"]): row["state"] for row in pack.alerts()}
    assert found.pop(("ServiceDown", "web2")) == "remediating"
    assert found.pop(("Other", "web1")) == "pending"
    assert found == {("ServiceDown", "web1"): "awaiting_approval"}


def test_an_answer_is_obeyed_and_the_window_counts_again():
    """It goes on without waiting for a place, and nothing new goes until there is one."""
    pack = make(max_concurrent=1)
    begin(pack, alert(1))
    inquiry = ask(pack)
    begin(pack, alert(2))
    pack.stackstorm.respond(inquiry, {"approved": True})
    begin(pack, alert(3))
    found = {row["host"]: row["state"] for row in pack.alerts()}
    assert found == {"web1": "remediating", "web2": "remediating", "web3": "pending"}


def test_whoever_says_no_takes_the_alert_over(pack):
    """The workflow ends as failed, and nobody is asked again while this episode lasts."""
    begin(pack, alert())
    pack.stackstorm.respond(ask(pack), {"approved": False})
    pack.steps(2)
    pack.finish("failed", {"output": {"reason": "a person said no, nothing was done"}})
    repeat(pack, 30, "failed")
    assert len(pack.stackstorm.dispatched()) == 1
    row = pack.alert()
    assert current_episode(row)["acknowledged"]["reason"] == "its remediation was not approved"
    assert "a person said no" in str([entry["reason"] for entry in row["history"]])


def test_a_no_that_came_while_the_sensor_was_away_counts(pack):
    """The workflow has ended by the time it looks again."""
    begin(pack, alert())
    inquiry = ask(pack)
    pack.stackstorm.respond(inquiry, {"approved": False})
    pack.finish("failed")
    pack.start()
    repeat(pack, 30, "failed")
    assert len(pack.stackstorm.dispatched()) == 1


def test_a_sensor_that_starts_again_knows_who_is_asked():
    """The window is as it was."""
    pack = make(max_concurrent=1)
    begin(pack, alert(1))
    ask(pack)
    pack.start()
    begin(pack, alert(2))
    states = {row["host"]: row["state"] for row in pack.alerts()}
    assert states == {"web1": "awaiting_approval", "web2": "remediating"}


def test_nobody_answers_in_time():
    """StackStorm by itself would wait for ever: PoundCake answers, one time, that it is over."""
    pack = make()
    begin(pack, alert())
    inquiry = ask(pack, minutes=5)
    pack.steps(4 * MINUTE)
    assert pack.alert()["state"] == "awaiting_approval"
    pack.steps(2 * MINUTE)
    response = pack.stackstorm.executions[inquiry]["result"]["response"]
    assert response == {"approved": False, "expired": True}
    assert pack.alert()["state"] == "remediating", "the workflow says what comes of it"
    repeat(pack, 10, "failed")
    assert len(pack.stackstorm.dispatched()) == 2, "nobody has taken it over"


@pytest.mark.parametrize("cancel_on_resolve", [False, True])
def test_nobody_is_asked_any_longer_about_an_alert_that_resolved(cancel_on_resolve):
    """Nothing has been touched yet, and nothing needs to be."""
    pack = make(cancel_on_resolve=cancel_on_resolve)
    begin(pack, alert())
    inquiry = ask(pack)
    pack.post(alert(status="resolved"))
    pack.steps(3)
    assert pack.stackstorm.executions[inquiry]["result"]["response"] == executions.TIME_IS_UP
    pack.finish("failed")
    pack.steps(6)
    assert pack.alert()["state"] == "resolved"


def test_a_person_is_told_that_a_person_is_asked(pack):
    """The change of state is a lifecycle trigger as every other."""
    begin(pack, alert())
    ask(pack)
    (told,) = [item for item in pack.told() if item["to"] == "awaiting_approval"]
    assert told["from"] == "remediating"
    assert "st2 run poundcake.approve_alert fingerprint=" + told["fingerprint"] in told["reason"]
