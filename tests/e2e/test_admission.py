"""Admission end to end: what PoundCake does not do at 3 a.m., and what a person can do about it.

What works with the default config speaks to the ``world`` at hand. ``strict`` is a world of its
own, with short times, one remediation at a time, and no rate limit.
"""

import contextlib
import datetime
import os
import time

import pytest

from tests.crash import checks
from tests.support.alerts import alert
from tests.support.tracking import executions_of, max_overlap, states_of
from tests.support.world import open_world, unique

COOLDOWN_SECONDS = 6
DRY = "E2eDryRun"
STUCK_SECONDS = 180
START = "2026-02-01T0%d:00:00Z"
END = "2026-02-01T0%d:30:00Z"
SLEEPS = """
version: 1.0
tasks:
  fix:
    action: core.local cmd="sleep %d"
"""
TWO_STEPS = """
version: 1.0
tasks:
  first:
    action: core.local cmd="sleep 5"
    next:
      - do: second
  second:
    action: core.noop
"""
OF_ANOTHER = """
version: 1.0
tasks:
  whole:
    action: %s
"""


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A world in which limits are met, and end, within seconds."""
    if "ST2_API_URL" in os.environ:
        pytest.skip("needs a config of its own, and a real StackStorm keeps its own")
    config = dict(max_concurrent=1, cooldown_seconds=COOLDOWN_SECONDS, backoff_factor=1)
    config.update(max_attempts=2, rate_limit=[], breaker_failures=3, breaker_seconds=10)
    config.update(cancel_on_resolve=True, dry_run_alertnames=[DRY])
    with open_world(tmp_path_factory.mktemp("strict"), **config) as found, found.hears():
        yield found


# --- in small steps -------------------------------------------------------------------------------


def decided(world, *alerts):
    """Post alerts; return what was decided on each, with the ``request_id``, once it was."""
    request_id = world.accept(*alerts)
    found = world.wait(lambda: world.status(request_id)["alerts"], "a decision")
    return [dict(entry, request_id=request_id) for entry in found]


def repeat_until(world, decision, item):
    """Post an alert again and again, as Alertmanager does, until that is decided on it.

    Return the entry, and the decisions before it.
    """
    before = []
    while True:
        (entry,) = decided(world, item)
        if entry["decision"] == decision:
            return entry, before
        before.append(entry["decision"])
        assert len(before) < 120, "%s never came: %s" % (decision, entry)
        time.sleep(0.5)


def held_back(world, name, host):
    """Post alerts until one is suppressed, and return its entry: a person is obeyed in seconds."""

    def check():
        (entry,) = decided(world, alert(alertname=name, instance=unique(host) + ":9100"))
        return entry if entry["decision"] == "suppress" else None

    return world.wait(check, "an alert to be suppressed")


def reaches(world, entry, *states):
    """Wait until the alert of an entry is in one of these states, as the sensor knows it."""

    def check():
        found = world.status(entry["request_id"])["alerts"]
        return [e for e in found if e["fingerprint"] == entry["fingerprint"]][0]["state"] in states

    world.wait(check, "the alert to be %s" % " or ".join(states))


def shown(world, entry, state):
    """What get_alert shows once it shows a state: rows follow the truth by a second or two."""

    def check():
        status, found = world.run("get_alert", fingerprint=entry["fingerprint"])
        return found if status == "succeeded" and found["state"] == state else None

    return world.wait(check, "get_alert to show " + state)


def told(world, name):
    """What poundcake.lifecycle has said of an alertname, as ``(host, to)``, oldest first."""
    found = checks.listing(world, "/triggerinstances", trigger="poundcake.lifecycle")
    payloads = [item["payload"] for item in found if item["payload"]["alertname"] == name]
    payloads.sort(key=lambda payload: payload["at"])
    return [(payload["host"], payload["to"]) for payload in payloads]


def by_start(executions):
    return sorted(executions, key=lambda execution: execution["start_timestamp"])


def payload_of(execution):
    return execution["trigger_instance"]["payload"]


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


# --- with the default config ----------------------------------------------------------------------


def test_what_comes_while_its_alertname_is_paused_is_remediated_after_resume(world):
    """Suppressed with who, why and how to end it; then remediated with no further notification."""
    name = unique("E2ePaused")
    world.ask("pause", alertname=name, reason="the rack is moved", by="ann")
    try:
        entry = held_back(world, name, "web")
        assert "%s is paused by ann" % name in entry["reason"]
        assert "the rack is moved" in entry["reason"]
        assert "st2 run poundcake.resume alertname=" + name in entry["reason"]
        held = shown(world, entry, "suppressed")["held"]
        assert (held["state"], held["cause"]) == ("suppressed", "paused")
        paused = world.ask("list_maintenance")["paused"]
        assert name in [row["alertname"] for row in paused]
        with world.workflow(SLEEPS % 0) as action, world.rule(name, action):
            world.ask("resume", alertname=name, by="bob")
            reaches(world, entry, "remediated")
            ran = [payload_of(e)["fingerprint"] for e in executions_of(world, action)]
    finally:
        world.run("resume", alertname=name, by="bob")
    assert ran.count(entry["fingerprint"]) == 1
    states = states_of(shown(world, entry, "remediated"))
    assert states == ["received", "suppressed", "remediating", "remediated"]


def test_what_comes_in_maintenance_is_remediated_after_it(world):
    """One window ends by itself, one by hand; whatever does not match is remediated at once."""
    name = unique("E2eMaintenance")
    matchers = 'alertname="%s",host=~"%s.*"'
    short = world.ask(
        "start_maintenance",
        matchers=matchers % (name, "db"),
        duration="15s",
        reason="new disks",
        by="ann",
    )
    long = world.ask(
        "start_maintenance",
        matchers=matchers % (name, "cache"),
        duration="1h",
        reason="new memory",
        by="ann",
    )
    try:
        by_itself, by_hand = held_back(world, name, "db"), held_back(world, name, "cache")
        for entry, window in ((by_itself, short), (by_hand, long)):
            assert entry["reason"].startswith("in maintenance (")
            until = "by %s until %s: %s" % (window["by"], window["ends_at"], window["reason"])
            assert window["by"].startswith("ann via ") and until in entry["reason"]
        with world.rule(name, "core.noop"):
            (free,) = decided(world, alert(alertname=name, instance=unique("web") + ":9100"))
            assert free["decision"] == "dispatch"
            reaches(world, by_itself, "remediated")
            world.ask("end_maintenance", id=long["id"], by="ann")
            reaches(world, by_hand, "remediated")
            reaches(world, free, "remediated")
    finally:
        world.run("end_maintenance", id=long["id"], by="ann")
    began = shown(world, by_itself, "remediated")["attempts"][0]["dispatched_at"]
    assert moment(began) >= moment(short["ends_at"])


def test_a_host_is_remediated_once_at_a_time(world):
    """serialize_by: two alerts of one host follow each other, and other hosts do not wait."""
    name = unique("E2eSerialized")
    hosts = [unique("a"), unique("b")]
    alerts = [
        alert(alertname=name, instance=host + ":9100", disk=d) for host in hosts for d in "cd"
    ]
    with world.workflow(SLEEPS % 2) as action, world.rule(name, action):
        row = world.completed(world.accept(*alerts))
        executions = executions_of(world, action)
    assert [entry["decision"] for entry in row["alerts"]] == ["dispatch", "pend"] * 2
    assert 'same target, "%s"' % hosts[0] in row["alerts"][1]["reason"]
    assert len(executions) == len(alerts)
    for host in hosts:
        assert max_overlap([e for e in executions if payload_of(e)["host"] == host]) == 1
    assert max_overlap(executions) > 1


def test_the_rate_limit_says_when_the_next_one_may_go(world):
    """3/1h, as it is by default: the fourth of an alertname on a host waits for its time."""
    name, host = unique("E2eRate"), unique("h") + ":1"
    with world.workflow(SLEEPS % 0) as action, world.rule(name, action):
        for hour in range(3):
            (entry,) = decided(world, alert(alertname=name, instance=host, starts_at=START % hour))
            assert entry["decision"] == "dispatch"
            reaches(world, entry, "remediated")
            over = alert(alertname=name, status="resolved", instance=host, starts_at=START % hour)
            decided(world, dict(over, endsAt=END % hour))
        (fourth,) = decided(world, alert(alertname=name, instance=host, starts_at=START % 3))
        (elsewhere,) = decided(world, alert(alertname=name, instance=unique("h") + ":1"))
        reaches(world, elsewhere, "remediated")
        assert len(executions_of(world, action)) == 4
    assert fourth["decision"] == "suppress"
    text = "rate limit reached: 3 in 3600 s; the next may start at "
    assert fourth["reason"].startswith(text)
    found = shown(world, fourth, "suppressed")
    first = moment(found["attempts"][0]["dispatched_at"])
    goes = moment(fourth["reason"][len(text) :])
    assert goes - first == datetime.timedelta(hours=1)


def test_a_remediation_runs_on_when_its_alert_resolves(world):
    """Without cancel_on_resolve: the alert is resolved, and the history tells how it ended."""
    name, host = unique("E2eRunsOn"), unique("h") + ":1"
    with world.workflow(SLEEPS % 5) as action, world.rule(name, action):
        (entry,) = decided(world, alert(alertname=name, instance=host))
        world.wait(lambda: executions_of(world, action), "the execution")
        decided(world, alert(alertname=name, status="resolved", instance=host))
        world.completed(entry["request_id"])
        (execution,) = executions_of(world, action)
    assert execution["status"] == "succeeded"
    found = shown(world, entry, "resolved")
    assert states_of(found) == ["received", "remediating", "resolved", "resolved"]
    assert found["history"][-1]["reason"] == "after the resolve: remediated"


def test_a_track_that_is_switched_off_is_told_and_made_up_for(world):
    """/ready says what to do, remediation goes on meanwhile, and no row is lost."""
    name = unique("E2eStuck")

    def tracking():
        status, parts = world.ready()
        return status, parts["tracking"]

    world.st2("rule", "disable", "poundcake.track")
    try:
        with world.rule(name, "core.noop"):
            (before,) = decided(world, alert(alertname=name, instance=unique("h") + ":1"))
            status, part = world.wait(
                lambda: (lambda found: found if found[0] != 200 else None)(tracking()),
                "/ready to say that rows wait",
                STUCK_SECONDS,
            )
            assert status == 503 and not part["ok"]
            assert part["detail"].endswith("st2 rule enable poundcake.track")
            (after,) = decided(world, alert(alertname=name, instance=unique("h") + ":1"))
            assert after["decision"] == "dispatch"
            reaches(world, after, "remediated")
            keys = "/keys?prefix=poundcake.alert."
            assert not world.api("GET", keys + after["fingerprint"])
    finally:
        world.st2("rule", "enable", "poundcake.track")
    for entry in (before, after):
        row = world.completed(entry["request_id"], STUCK_SECONDS)
        assert row["alerts"][0]["outcome"] == "remediated"
        assert shown(world, entry, "remediated")["labels"]["alertname"] == name
    world.wait(lambda: tracking()[0] == 200, "/ready to be ready", STUCK_SECONDS)


# --- with a config of its own ---------------------------------------------------------------------


def test_an_alert_that_fires_on_gets_a_few_attempts_and_then_a_person(strict):
    """Cooldown, ineffective, exhausted once; then one more because somebody asked for it."""
    name = unique("E2eAttempts")
    firing = alert(alertname=name, instance="web-01:9100")
    with strict.workflow(SLEEPS % 0) as action, strict.rule(name, action):
        (first,) = decided(strict, firing)
        reaches(strict, first, "remediated")
        (again,) = decided(strict, firing)
        assert again["decision"] == "duplicate"
        assert "within its cooldown, which ends at" in again["reason"]
        second, before = repeat_until(strict, "dispatch", firing)
        assert set(before) == {"duplicate"}
        assert second["reason"] == "still firing after attempt 1: remediated"
        reaches(strict, second, "remediated")
        third, before = repeat_until(strict, "suppress", firing)
        assert set(before) == {"duplicate"}
        assert third["reason"].startswith("attempts exhausted")
        for _ in range(3):
            assert decided(strict, firing)[0]["decision"] == "suppress"
        found = shown(strict, first, "exhausted")
        assert found["ineffective"] == 2
        assert found["table"].splitlines()[-1].split()[2] == "exhausted"
        strict.wait(lambda: ("web-01", "exhausted") in told(strict, name), "a person to be told")

        strict.ask(
            "retry_alert", fingerprint=first["fingerprint"], reason="the disk is new", by="ann"
        )
        reaches(strict, first, "remediated")
        executions = by_start(executions_of(strict, action))
    assert [payload_of(e)["attempt"] for e in executions] == [1, 2, 3]
    ends = [moment(e["end_timestamp"]) for e in executions]
    cooldown = moment(executions[1]["start_timestamp"]) - ends[0]
    assert cooldown >= datetime.timedelta(seconds=COOLDOWN_SECONDS)
    found = shown(strict, first, "remediated")
    last = found["attempts"][-1]
    assert last["by"].startswith("ann via ") and last["why"] == "the disk is new"
    assert "attempt 3: the disk is new (by %s)" % last["by"] in found["table"]
    assert [to for _, to in told(strict, name)].count("exhausted") == 1


def test_an_acknowledged_alert_gets_no_more_attempts(strict):
    """Not after the cooldown either; the row says who took it over, and why."""
    name = unique("E2eAcknowledged")
    with strict.workflow(SLEEPS % 0) as action, strict.rule(name, action):
        (entry,) = decided(strict, alert(alertname=name))
        reaches(strict, entry, "remediated")
        shown(strict, entry, "remediated")
        strict.ask(
            "acknowledge_alert", fingerprint=entry["fingerprint"], reason="I look at it", by="ann"
        )
        reaches(strict, entry, "suppressed")
        time.sleep(COOLDOWN_SECONDS)
        (again,) = decided(strict, alert(alertname=name))
        assert again["decision"] == "suppress"
        assert again["reason"].startswith("acknowledged by ann via ")
        assert again["reason"].endswith(": I look at it")
        assert len(executions_of(strict, action)) == 1
    found = shown(strict, entry, "suppressed")
    assert found["reason"].startswith("acknowledged: I look at it (by ann via ")


def test_the_breaker_stops_an_alertname_until_a_trial_succeeds(strict):
    """Across hosts: three failures open it, what comes is suppressed, one trial closes it."""
    name = unique("E2eBreaker")

    def alerts(code, *hosts):
        return [alert(alertname=name, instance=host + ":1", code=code) for host in hosts]

    with strict.rule(name, "core.local", {"cmd": "exit {{ trigger.labels.code }}"}):
        for entry in decided(strict, *alerts("1", "bad1", "bad2", "bad3")):
            reaches(strict, entry, "failed")
        held = decided(strict, *alerts("0", "good1", "good2"))
        for entry in held:
            assert entry["decision"] == "suppress"
            text = "the breaker of %s is open after 3 failures in a row" % name
            assert entry["reason"].startswith(text + "; one remediation is tried at ")
        for entry in held:
            reaches(strict, entry, "remediated")
            history = shown(strict, entry, "remediated")["history"]
            assert any(item["reason"].startswith(text) for item in history)
    words = ("breaker_opened", "breaker_closed")
    strict.wait(lambda: ("", words[1]) in told(strict, name), "the breaker to close")
    assert [to for _, to in told(strict, name) if to in words] == list(words)


def test_the_worst_goes_first(strict):
    """With room for one: critical, error, warning, others, whatever came first."""
    name = unique("E2eOrder")
    severities = ["info", "warning", "critical", "error"]
    with strict.workflow(SLEEPS % 3) as action, strict.rule(name, action):
        decided(strict, alert(alertname=name, severity="blocker"))
        waiting = [
            alert(alertname=name, instance=item + ":1", severity=item) for item in severities
        ]
        entries = decided(strict, *waiting)
        assert [entry["decision"] for entry in entries] == ["pend"] * len(waiting)
        strict.completed(entries[0]["request_id"])
        executions = by_start(executions_of(strict, action))
    went = [payload_of(execution)["severity"] for execution in executions]
    assert went == ["blocker", "critical", "error", "warning", "info"]
    assert max_overlap(executions) == 1


def test_a_dry_run_decides_and_tracks_and_dispatches_nothing(strict):
    """However often the alert is repeated, it says the same thing, once."""
    with strict.workflow(SLEEPS % 0) as action, strict.rule(DRY, action):
        entries = [decided(strict, alert(alertname=DRY))[0] for _ in range(5)]
        assert {entry["decision"] for entry in entries} == {"suppress"}
        assert entries[0]["reason"] == "dry run: it would have been dispatched"
        time.sleep(COOLDOWN_SECONDS)
        entries += decided(strict, alert(alertname=DRY))
        for entry in entries:
            strict.completed(entry["request_id"])
        assert executions_of(strict, action) == []
    found = shown(strict, entries[0], "suppressed")
    assert states_of(found) == ["received", "suppressed"]
    assert (found["occurrences"], found["held"]["cause"]) == (len(entries), "dry_run")
    dispatched = checks.listing(strict, "/triggerinstances", trigger="poundcake.alert")
    assert DRY not in [item["payload"]["alertname"] for item in dispatched]
    assert sorted(to for _, to in told(strict, DRY)) == ["received", "suppressed"]


def test_a_remediation_is_canceled_when_its_alert_resolves(strict):
    """With cancel_on_resolve: the workflow and the workflow in it; what has not begun never does.

    A task that runs comes to its end first: StackStorm cancels those that are workflows only.
    """
    name = unique("E2eCanceled")
    with contextlib.ExitStack() as stack:
        inner = stack.enter_context(strict.workflow(TWO_STEPS))
        action = stack.enter_context(strict.workflow(OF_ANOTHER % inner))
        stack.enter_context(strict.rule(name, action))
        (entry,) = decided(strict, alert(alertname=name))
        execution = strict.wait(lambda: executions_of(strict, action), "the execution")[0]
        path = "/executions/%s/children" % execution["id"]
        strict.wait(lambda: len(strict.api("GET", path)) == 2, "the first step")
        decided(strict, alert(alertname=name, status="resolved"))
        assert strict.finished(execution["id"])["status"] == "canceled"
        statuses = {e["action"]["ref"]: e["status"] for e in strict.api("GET", path)}
        row = strict.completed(entry["request_id"])
    assert statuses == {inner: "canceled", "core.local": "succeeded"}
    assert row["alerts"][0]["outcome"] == "failed"
    found = shown(strict, entry, "resolved")
    assert states_of(found) == ["received", "remediating", "resolved", "resolved"]
    assert found["history"][-1]["reason"] == "after the resolve: failed: %s canceled" % action
