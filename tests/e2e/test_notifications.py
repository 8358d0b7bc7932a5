"""From notification to tracked remediation, over HTTP and the ``st2`` command."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.alerts import alert, notification
from tests.support.tracking import executions_of, max_overlap, states_of
from tests.support.world import unique

ROOT = Path(__file__).resolve().parents[2]


def test_alert_becomes_a_tracked_remediation(world):
    """Received, remediated, resolved: the rows, the questions and the trace all tell it."""
    name = unique("E2eRemediated")
    with world.rule(name, "core.local", {"cmd": "echo fixed"}):
        request_id = world.accept(alert(alertname=name, service="nginx"))
        row = world.completed(request_id)
    assert row["counts"] == {"alerts": 1, "dispatch": 1}
    assert row["source"] == "listener"
    entry = row["alerts"][0]
    assert (entry["decision"], entry["outcome"]) == ("dispatch", "remediated")

    found = world.ask("get_request", request_id=request_id)
    assert found["status"] == "complete"
    execution_id = found["executions"][0]["execution_id"]
    assert found["executions"][0]["action_ref"] == "core.local"
    assert world.execution(execution_id)["result"]["stdout"] == "fixed"
    assert request_id in world.st2("trace", "list", "--trace-tag", request_id, "-j")

    world.completed(world.accept(alert(alertname=name, status="resolved", service="nginx")))
    shown = world.ask("get_alert", fingerprint=entry["fingerprint"])
    assert states_of(shown) == ["received", "remediating", "remediated", "resolved"]
    assert shown["labels"]["service"] == "nginx"
    assert shown["attempts"][0]["outcome"] == "remediated"
    listed = world.ask("list_alerts", state="resolved", alertname=name)
    assert [item["fingerprint"] for item in listed["alerts"]] == [entry["fingerprint"]]
    tracked = world.ask("list_executions", request_id=request_id)["executions"]
    assert [item["execution_id"] for item in tracked] == [execution_id]
    assert tracked[0]["elapsed"] >= 0
    stats = world.ask("get_stats")
    assert stats["by_state"]["resolved"] >= 1
    assert "core.local" in [item["action_ref"] for item in stats["workflows"]]


def test_stackstorms_own_webhook_is_an_entrance(world):
    """What Alertmanager posts to /api/v1/webhooks/poundcake goes the same way."""
    name = unique("E2eWebhook")
    with world.rule(name, "core.noop"):
        world.api(
            "POST",
            "/webhooks/poundcake",
            json=notification(alert(alertname=name, text="a {b} <c>")),
        )
        listed = world.wait(
            lambda: _alerts_named(world, name, "remediated"), "the alert to be remediated"
        )
    shown = world.ask("get_alert", fingerprint=listed[0]["fingerprint"])
    request = world.ask("get_request", request_id=shown["request_ids"][0])
    assert request["source"] == "st2_webhook"
    row = json.loads(world.api("GET", "/keys/poundcake.alert." + shown["fingerprint"])["value"])
    assert row["labels"]["text"] == "a {b} <c>"


def test_stackstorms_own_webhook_says_what_is_wrong(world):
    """A body that can never be accepted fails the execution with the field and the remedy."""
    marker = unique("x")
    world.api("POST", "/webhooks/poundcake", json={"version": "4", "alerts": marker})

    def failed():
        listed = world.api("GET", "/executions?action=poundcake.receive_webhook&limit=20")
        return [e for e in listed if marker in json.dumps(e) and e["status"] == "failed"]

    result = world.wait(failed, "the execution to fail")[0]["result"]["result"]
    assert result["status"] == "rejected"
    assert result["error"].startswith("alerts: ")


def test_a_remediation_that_fails_says_why(world):
    """A failed execution makes the alert failed, with the reason in history and execution row."""
    name = unique("E2eFailed")
    with world.rule(name, "core.local", {"cmd": "echo no such disk >&2; exit 3"}):
        row = world.completed(world.accept(alert(alertname=name)))
    assert row["alerts"][0]["outcome"] == "failed"
    shown = world.ask("get_alert", fingerprint=row["alerts"][0]["fingerprint"])
    assert shown["state"] == "failed"
    assert "no such disk" in shown["reason"]
    executions = world.ask("list_executions", request_id=row["request_id"])["executions"]
    assert "no such disk" in executions[0]["error"]


def test_an_alert_that_no_rule_takes_is_unmatched(world):
    """Nothing is lost silently: the alert says that no rule matched."""
    row = world.completed(world.accept(alert(alertname=unique("E2eUnmatched"))))
    shown = world.ask("get_alert", fingerprint=row["alerts"][0]["fingerprint"])
    assert states_of(shown) == ["received", "remediating", "unmatched"]
    assert "no rule" in shown["reason"]


def test_a_rule_that_names_an_absent_label_is_shown(world):
    """StackStorm drops such a rule with a failed enforcement only; the alert shows its reason."""
    name = unique("E2eAbsentLabel")
    with world.rule(name, "core.local", {"cmd": "echo {{ trigger.labels.nothere }}"}) as rule:
        row = world.completed(world.accept(alert(alertname=name)))
    shown = world.ask("get_alert", fingerprint=row["alerts"][0]["fingerprint"])
    assert shown["state"] == "unmatched"
    assert rule["ref"] in shown["reason"]
    assert "nothere" in shown["reason"]


def test_repeats_of_an_episode_are_remediated_once(world):
    """Alertmanager repeats itself, HA pairs double it: one episode, one execution."""
    name = unique("E2eRepeated")
    with world.workflow(_noop_workflow()) as action, world.rule(name, action):
        first = world.accept(alert(alertname=name))
        repeats = [world.accept(alert(alertname=name), alert(alertname=name)) for _ in range(4)]
        world.completed(first)
        rows = [world.completed(request_id) for request_id in repeats]
        assert len(executions_of(world, action)) == 1
        assert {e["decision"] for row in rows for e in row["alerts"]} == {"duplicate"}
        world.completed(world.accept(alert(alertname=name, status="resolved")))
        world.completed(world.accept(alert(alertname=name, starts_at="2026-11-22T00:00:00Z")))
        assert len(executions_of(world, action)) == 2, "a new startsAt is a new episode"


def test_several_rules_on_one_alert_are_all_tracked(world):
    """The alert is failed when one of its executions failed, and both are in the row."""
    name = unique("E2eTwoRules")
    with world.rule(name, "core.noop"), world.rule(name, "core.local", {"cmd": "exit 1"}):
        row = world.completed(world.accept(alert(alertname=name)))
    shown = world.ask("get_alert", fingerprint=row["alerts"][0]["fingerprint"])
    statuses = sorted(e["status"] for e in shown["attempts"][0]["executions"])
    assert statuses == ["failed", "succeeded"]
    assert shown["state"] == "failed"


def test_one_bad_alert_does_not_sink_the_others(world):
    """Nine good and one bad: nine are remediated, the tenth is recorded with its reason."""
    name = unique("E2eNine")
    alerts = [alert(alertname=name, instance="h%d:1" % i) for i in range(9)]
    alerts.insert(4, dict(alert(alertname=name, instance="bad:1"), startsAt="yesterday"))
    with world.rule(name, "core.noop"):
        status, answer = world.post(notification(*alerts))
        assert status == 202
        assert (answer["alerts_received"], answer["alerts_rejected"]) == (10, 1)
        row = world.completed(answer["request_id"])
    outcomes = [entry["outcome"] for entry in row["alerts"]]
    assert outcomes.count("remediated") == 9
    rejected = row["alerts"][4]
    assert rejected["decision"] == "rejected"
    assert rejected["reason"].startswith('alerts[4].startsAt: "yesterday"')


def test_resolved_alerts_cannot_be_remediated_by_mistake(world):
    """A rule on poundcake.alert never sees a resolved alert; poundcake.alert_resolved does."""
    name = unique("E2eResolved")
    with world.rule(name, "core.noop"):
        with world.rule(name, "core.echo", {"message": "bye"}, "poundcake.alert_resolved"):
            world.completed(
                world.accept(alert(alertname=name, status="resolved"), status="resolved")
            )
            path = "/executions?trigger_type=alert_resolved&limit=20"
            found = world.wait(
                lambda: [
                    e for e in world.api("GET", path) if name in json.dumps(e["trigger_instance"])
                ],
                "the rule on poundcake.alert_resolved",
            )
    assert [e["action"]["ref"] for e in found] == ["core.echo"]
    listed = world.ask("list_alerts", alertname=name)["alerts"]
    assert [(item["state"], item["attempts"]) for item in listed] == [("resolved", 0)]


def test_a_burst_stays_in_the_window_and_loses_nothing(world):
    """400 alerts at once: all final, none twice, never more in flight than max_concurrent."""
    name = unique("E2eBurst")
    with world.workflow(_noop_workflow()) as action, world.rule(name, action):
        bodies = [
            notification(
                *[alert(alertname=name, instance="h%d:1" % (20 * i + j)) for j in range(20)]
            )
            for i in range(20)
        ]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(world.post, bodies))
        assert {status for status, _ in answers} == {202}
        rows = [world.completed(a["request_id"], timeout=600) for _, a in answers]
        entries = [entry for row in rows for entry in row["alerts"]]
        assert len(entries) == 400
        assert {entry["outcome"] for entry in entries} == {"remediated"}
        executions = executions_of(world, action)
        fingerprints = [e["trigger_instance"]["payload"]["fingerprint"] for e in executions]
        assert len(fingerprints) == len(set(fingerprints)) == 400
        assert max_overlap(executions) <= 10


@pytest.mark.parametrize(
    "body, field",
    [
        (b"{", "body: not valid JSON"),
        (b"\xff\xfe\x00", "body: not valid JSON"),
        (b"[]", "body: a list"),
        (b"{}", "alerts: missing"),
        (b'{"alerts": {}}', "alerts: an object"),
        (
            b'{"Type": "Notification", "TopicArn": "arn:aws:sns:x"}',
            "body: an envelope of Amazon SNS",
        ),
        (b"[" * 100000, "body: "),
    ],
)
def test_bad_input_is_answered_with_the_field_and_the_remedy(world, body, field):
    """400, and a sentence that names what is wrong and what was expected."""
    status, answer = world.post(body)
    assert status == 400
    assert answer["status"] == "rejected"
    assert answer["error"].startswith(field)
    assert "expected" in answer["error"]


def test_status_codes_are_those_that_alertmanager_understands(world):
    """404 and 405 for what can never work, 413 for too much."""
    assert world.post(notification(), path="/nowhere")[0] == 404
    assert world.look("/webhook").status_code == 405
    assert world.look("/health", "POST").status_code == 405
    assert world.post(b"x" * 4194305)[0] == 413
    assert world.post(b" " * 6000000)[0] == 413
    assert world.post(b"{}", headers={"Content-Type": "text/plain"})[0] == 415
    assert world.look("/api/v1/status/none").status_code == 404


def test_alertmanagers_variety_is_accepted(world):
    """No fingerprint, no startsAt, no alertname, unknown fields, unicode, nothing at all."""
    assert world.post(notification())[0] == 202
    bare = {"status": "firing", "labels": {"job": unique("köln-☂")}}
    full = dict(
        alert(alertname=unique("E2eVariety"), städte="köln-☂"),
        fingerprint="c0ffee" + unique("")[:10],
        notification_reason="group interval",
    )
    body = notification(bare, full, routeLabels={"a": "b"}, truncatedAlerts=7)
    status, answer = world.post(body, path="/api/v1/webhook")
    assert status == 202
    row = world.completed(answer["request_id"])
    assert row["truncated_alerts"] == 7
    fingerprints = [entry["fingerprint"] for entry in row["alerts"]]
    assert fingerprints[1] == full["fingerprint"]
    stored = json.loads(world.api("GET", "/keys/poundcake.alert." + fingerprints[1])["value"])
    assert stored["labels"]["städte"] == "köln-☂"
    assert stored["extra"] == {"notification_reason": "group interval"}


def test_health_ready_and_status_answer(world):
    """The process lives, its parts are reachable, and a request is known from its 202 on."""
    assert world.read("/health") == {"status": "ok"}
    status, parts = world.ready()
    assert status == 200
    assert {"datastore", "api", "trigger_bus"} <= set(parts)
    request_id = world.accept(alert(alertname=unique("E2eStatus")))
    assert world.status(request_id)["request_id"] == request_id
    world.completed(request_id)


def test_unknown_ids_and_filters_say_what_exists(world):
    """An expected failure is a failed execution with a sentence, not a stack trace."""
    world.completed(world.accept(alert(alertname=unique("E2eKnown"))))
    for action, parameters, text in (
        (
            "get_request",
            {"request_id": "none"},
            'request_id: unknown request id "none"; expected one of',
        ),
        (
            "get_alert",
            {"fingerprint": "none"},
            'fingerprint: unknown fingerprint "none"; expected one of',
        ),
        (
            "list_alerts",
            {"state": "burning"},
            'state: unknown state "burning"; expected one of received',
        ),
        (
            "list_alerts",
            {"severity": "burning"},
            'severity: unknown severity "burning"; expected one of ',
        ),
    ):
        status, result = world.run(action, **parameters)
        assert status == "failed"
        assert result["error"].startswith(text)


def test_tracking_twice_changes_nothing(world):
    """track on a batch that is written already writes no row."""
    request_id = world.accept(alert(alertname=unique("E2eTwice")))
    row = world.completed(request_id)
    result = world.ask("track", batch_id="ffffffff-ffff-7fff-bfff-ffffffffffff")
    assert result["written"] == 0
    stored = world.api("GET", "/keys/poundcake.request." + request_id)["value"]
    assert json.loads(stored) == row


def test_queues_are_empty_when_all_is_done(world):
    """Inbox and outbox entries leave when they are done; rows carry a time to live."""
    request_id = world.accept(alert(alertname=unique("E2eQueues")))
    world.completed(request_id)

    def left():
        inbox = world.api("GET", "/keys?prefix=poundcake.inbox." + request_id)
        return inbox or world.api("GET", "/keys?prefix=poundcake.outbox.")

    world.wait(lambda: not left(), "the queues to be empty")
    assert world.api("GET", "/keys/poundcake.request." + request_id)["expire_timestamp"]


def test_a_workflow_saved_from_the_web_ui_lands_in_workflows(world):
    """The web UI saves through the API; the symlink under actions leads to workflows/."""
    action = world.api("GET", "/actions/poundcake.host_down")
    path = "workflows/host_down.yaml"
    text = (ROOT / path).read_text(encoding="utf-8")
    changed = text + "# saved from the web UI\n"
    try:
        _save(world, action, path, changed)
        if world.pack_dir:
            assert (world.pack_dir / path).read_text(encoding="utf-8") == changed
            assert (world.pack_dir / "actions/workflows").is_symlink()
        else:
            view = world.api("GET", "/actions/views/entry_point/poundcake.host_down")
            assert view == changed
    finally:
        _save(world, action, path, text)


def _save(world, action, path, content):
    body = dict(action, data_files=[{"file_path": path, "content": content}])
    world.api("PUT", "/actions/" + action["id"], json=body)


def _alerts_named(world, name, state):
    status, result = world.run("list_alerts", alertname=name, state=state)
    return result["alerts"] if status == "succeeded" else None


def _noop_workflow():
    return "version: 1.0\ntasks:\n  done:\n    action: core.noop\n"
