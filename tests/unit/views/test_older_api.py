"""The read API of the older designs: their paths, parameters and field names."""

import io
import json
import logging
import re
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import pytest
from poundcake.core.alert import ENDED_STATUSES, STATES
from poundcake.sensor.listener import Listener
from poundcake.views import older_api

from tests.support.alerts import alert
from tests.support.fakes import PACK, FakeContent
from tests.support.pack import Pack

LOG = logging.getLogger("poundcake.test_older_api")
FAILURE = {"errors": [{"message": "it did not come up", "task_id": "check"}]}
LISTS = {
    "/alerts": "alerts",
    "/remediations": "remediations",
    "/handlers": "handlers",
    "/api/v1/executions/recent": "executions",
    "/api/v1/alerts/active": "active_alerts",
    "/api/v1/st2/executions": "st2_executions",
}
# Every field of an entry in the answers of the older designs, by path.
SUMMARY = {
    *("fingerprint", "alertname", "instance", "severity", "status", "received_at"),
    *("status_changed_at", "resolved_at", "total_attempts", "successful_attempts"),
    *("failed_attempts", "last_error"),
}
FIELDS = {
    "/alerts": SUMMARY,
    "/remediations": {
        *("alert_name", "action_name", "status", "started_at", "completed_at", "execution_id"),
        "error",
    },
    "/handlers": {"name", "description"},
    "/api/v1/executions/recent": {
        *("request_id", "received_at", "alert_count", "st2_execution_count", "alerts"),
    },
    "/api/v1/alerts/active": {
        *("fingerprint", "alert_name", "severity", "instance", "starts_at", "st2_workflow"),
    },
    "/api/v1/st2/executions": {
        *("request_id", "st2_execution_id", "st2_workflow", "st2_rule", "triggered_at", "alert"),
    },
}


class Api:
    """A Pack and rules with the older API in front of them, called over WSGI."""

    def __init__(self, **config):
        self.pack = Pack(**config)
        self.content = FakeContent()

    def ask(self, path, query="", **environ):
        """Return ``(status, decoded answer)``."""
        pack = self.pack
        pages = older_api.pages(self.content, pack.controller.snapshot)
        app = Listener(pack.settings, pack.stackstorm, pack.controller, LOG, pages)
        environ = dict({"PATH_INFO": path, "QUERY_STRING": query}, **environ)
        environ["wsgi.input"] = io.BytesIO()
        setup_testing_defaults(environ)
        seen = []
        body = b"".join(app(environ, lambda *args: seen.append(args)))
        return int(seen[0][0].split()[0]), json.loads(body)

    def get(self, path, query=""):
        status, answer = self.ask(path, query)
        assert status == 200, answer
        return answer

    def hosts(self, path, query=""):
        """Return the instances in a list of alerts, without their ports."""
        found = self.get(path, query)[LISTS[path]]
        return [item["instance"].split(":")[0] for item in found]


@pytest.fixture
def api():
    """One alert failed, one remediated, one that no rule matched, one resolved; in this order."""
    api = Api(token="")
    pack = api.pack
    pack.stackstorm.rule("mine.fix", matches=lambda payload: payload["alertname"] == "ServiceDown")
    for host, status, result in ((1, "failed", FAILURE), (2, "succeeded", None)):
        pack.post(alert(host, severity="warning" if host == 2 else "critical"))
        pack.step()
        pack.finish(status, result)
        pack.steps(3)
    pack.post(alert(3, alertname="DiskFull", severity=""))
    pack.steps(3)
    pack.post(alert(4, alertname="HostDown"))
    pack.steps(3)
    pack.post(alert(4, alertname="HostDown", status="resolved"))
    pack.steps(3)
    for name in ("fix", "other"):
        trigger = "poundcake.alert" if name == "fix" else "core.st2.webhook"
        api.content.found["rules"]["mine." + name] = {
            "ref": "mine." + name,
            "pack": "mine",
            "enabled": True,
            "description": "Fixes it.",
            "trigger": {"type": trigger},
            "criteria": {"trigger.alertname": {"type": "eq", "pattern": "ServiceDown"}},
            "action": {"ref": "core.noop", "parameters": {"key": "s3cret"}},
        }
    api.content.found["rules"]["mine.orphan"] = {"ref": "mine.orphan", "pack": "mine"}
    return api


# --- shapes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(LISTS))
def test_every_field_of_the_older_answer_is_there(api, path):
    """Fields and lists have their old names; a page says how many entries there are in total."""
    answer = api.get(path)
    entries = answer[LISTS[path]]
    assert entries and answer["total"] == len(entries) and answer["offset"] == 0
    for entry in entries:
        assert FIELDS[path] <= set(entry)


def same_paths():
    """Return the GET paths that docs/migrating.md says are the same as in the older designs."""
    table = (Path(PACK) / "docs" / "migrating.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`GET .*?) \| the same", table, re.MULTILINE)
    return [path for row in rows for path in re.findall(r"`(?:GET )?(/[^`]*)`", row)]


def test_what_the_guide_to_migrating_says_is_the_same_answers(api):
    """Each path, with the fields of the older documents where it is a list."""
    paths = same_paths()
    assert set(LISTS) <= set(paths)
    (newest, *_) = api.get("/api/v1/executions/recent")["executions"]
    known = {"request_id": newest["request_id"], "fingerprint": api.pack.alerts()[0]["fingerprint"]}
    for path in paths:
        assert api.get(path.format(**known)), path


def test_the_status_of_a_request_has_the_older_names(api):
    """The executions under both names; alerts and executions have severity and instance."""
    (newest, *_, oldest) = api.get("/api/v1/executions/recent")["executions"]
    status = api.get("/api/v1/status/" + oldest["request_id"])
    assert {"request_id", "received_at", "alerts"} <= set(status)
    (older,) = status["stackstorm_executions"]
    (new,) = status["executions"]
    assert older["st2_execution_id"] == new["execution_id"] and older["st2_workflow"] == "core.noop"
    assert (new["severity"], new["instance"]) == ("critical", "web1:9100")
    assert "it did not come up" in new["result"]
    (entry,) = status["alerts"]
    assert (entry["severity"], entry["instance"]) == ("critical", "web1:9100")
    assert api.get("/api/v1/status/" + newest["request_id"])["stackstorm_executions"] == []


def test_an_empty_answer_is_no_error(api):
    """A value that no alert has gives an empty list; one that cannot be is 400."""
    for path in ("/alerts", "/api/v1/alerts/active"):
        assert api.get(path, "instance=nowhere")[LISTS[path]] == []
    assert api.get("/api/v1/st2/executions", "request_id=nope")["st2_executions"] == []
    assert api.ask("/alerts", "status=nope")[0] == 400
    assert api.ask("/remediations", "status=nope")[0] == 400


def test_an_alert_has_its_status_and_counts_its_attempts(api):
    """An attempt is an execution of the present episode."""
    found = {item["alertname"]: item for item in api.get("/alerts", "severity=critical")["alerts"]}
    failed = found["ServiceDown"]
    assert (failed["status"], failed["instance"]) == ("failed", "web1:9100")
    assert (failed["total_attempts"], failed["successful_attempts"]) == (1, 0)
    assert failed["failed_attempts"] == 1 and "it did not come up" in failed["last_error"]
    assert failed["received_at"] < failed["status_changed_at"] and failed["resolved_at"] is None
    resolved = found["HostDown"]
    assert resolved["status"] == "resolved" and resolved["resolved_at"]


def test_one_alert_has_its_labels_and_attempts_too(api):
    """It has the fields of the list and more."""
    summary = api.get("/alerts", "instance=web1:9100")["alerts"][0]
    (execution_id,) = [
        e for e, x in api.pack.stackstorm.executions.items() if x["status"] == "failed"
    ]
    found = api.get("/alerts/" + summary["fingerprint"])["alert"]
    assert {name: found[name] for name in SUMMARY} == summary
    assert found["labels"]["alertname"] == "ServiceDown" and found["processed_by"] is None
    assert found["annotations"] == {"summary": "the service is down"}
    (attempt,) = found["remediation_attempts"]
    assert attempt["stackstorm_action"] == "core.noop" and attempt["action_name"] == "noop"
    assert (attempt["status"], attempt["execution_id"]) == ("failed", execution_id)
    assert attempt["started_at"] <= attempt["completed_at"] and attempt["error"]


def test_statistics_are_by_status_and_by_severity(api):
    """Every state is listed, also those without alerts."""
    found = api.get("/alerts/stats")
    assert found["total"] == 4 and set(found["by_status"]) == set(STATES)
    there = {state: count for state, count in found["by_status"].items() if count}
    assert there == {"failed": 1, "remediated": 1, "unmatched": 1, "resolved": 1}
    assert found["by_severity"] == {"critical": 2, "none": 1, "warning": 1}


def test_remediations_say_how_they_ended(api):
    """They come newest first, with the older status words."""
    found = api.get("/remediations")["remediations"]
    assert [item["status"] for item in found] == ["success", "failed"]
    assert found[1]["alert_name"] == "ServiceDown" and found[1]["error"]
    assert found[0]["error"] is None


@pytest.mark.parametrize(
    "status, wanted",
    [
        ("requested", "pending"),
        ("delayed", "pending"),
        ("running", "running"),
        ("paused", "running"),
        ("canceling", "running"),
        ("succeeded", "success"),
        ("failed", "failed"),
        ("timeout", "failed"),
        ("abandoned", "failed"),
        ("canceled", "skipped"),
    ],
)
def test_every_status_of_stackstorm_has_an_older_word(status, wanted):
    """They are the five of the first design."""
    api = Api(token="")
    api.pack.stackstorm.rule("mine.fix")
    api.pack.post(alert(1))
    api.pack.step()
    (execution_id,) = api.pack.stackstorm.running()
    execution = api.pack.stackstorm.executions[execution_id]
    execution["status"] = status
    if status in ENDED_STATUSES:
        execution["end_timestamp"] = execution["start_timestamp"]
    api.pack.tick(3)
    (found,) = api.get("/remediations")["remediations"]
    assert found["status"] == wanted
    active = api.get("/remediations", "active=true")["total"]
    assert active == (wanted in ("pending", "running"))


def test_handlers_are_the_rules_on_alerts(api):
    """They show their action without its parameters, which may be private."""
    (found,) = api.get("/handlers")["handlers"]
    assert (found["name"], found["action"]) == ("mine.fix", "core.noop")
    assert found["description"] == "Fixes it." and found["enabled"] is True
    assert "s3cret" not in json.dumps(api.get("/handlers"))


def test_recent_executions_are_requests_with_their_alerts(api):
    """They come newest first, each with what ran for it."""
    found = api.get("/api/v1/executions/recent")["executions"]
    assert [item["alert_count"] for item in found] == [1] * 5
    assert [item["st2_execution_count"] for item in found] == [0, 0, 0, 1, 1]
    assert found[-1]["alerts"] == [
        {"name": "ServiceDown", "severity": "critical", "st2_workflow": "core.noop"}
    ]


def test_active_alerts_are_the_firing_ones(api):
    """The result of their remediation does not matter."""
    answer = api.get("/api/v1/alerts/active")
    assert answer["count"] == 3
    names = {item["alert_name"]: item["st2_workflow"] for item in answer["active_alerts"]}
    assert names == {"ServiceDown": "core.noop", "DiskFull": None}


def test_st2_executions_link_requests_to_what_ran(api):
    """They show the alert, too."""
    answer = api.get("/api/v1/st2/executions", "status=failed")
    (found,) = answer["st2_executions"]
    assert answer["count"] == 1 and found["st2_rule"] == "mine.fix"
    assert found["st2_workflow"] == "core.noop"
    assert found["alert"] == {
        "name": "ServiceDown",
        "severity": "critical",
        "instance": "web1:9100",
    }
    again = api.get("/api/v1/st2/executions", "request_id=" + found["request_id"])
    assert [item["st2_execution_id"] for item in again["st2_executions"]] == [
        found["st2_execution_id"]
    ]


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, query, hosts",
    [
        ("/alerts", "", ["web4", "web3", "web2", "web1"]),
        ("/alerts", "status=failed", ["web1"]),
        ("/alerts", "status=firing", ["web3", "web2", "web1"]),
        ("/alerts", "alertname=ServiceDown", ["web2", "web1"]),
        ("/alerts", "severity=critical&status=firing", ["web1"]),
        ("/alerts", "limit=1", ["web4"]),
        ("/alerts", "limit=2&offset=1", ["web3", "web2"]),
        ("/alerts", "offset=4", []),
        ("/api/v1/alerts/active", "", ["web3", "web2", "web1"]),
        ("/api/v1/alerts/active", "alert_name=DiskFull", ["web3"]),
        ("/api/v1/alerts/active", "severity=warning&instance=web2:9100", ["web2"]),
        ("/api/v1/alerts/active", "limit=1&offset=2", ["web1"]),
    ],
)
def test_alerts_are_filtered_and_paged(api, path, query, hosts):
    """The latest change comes first."""
    assert api.hosts(path, query) == hosts


@pytest.mark.parametrize(
    "path, query, count",
    [
        ("/remediations", "status=success", 1),
        ("/remediations", "alert_name=Other", 0),
        ("/remediations", "active=false", 2),
        ("/remediations", "limit=1", 1),
        ("/api/v1/st2/executions", "st2_workflow=core.noop", 2),
        ("/api/v1/st2/executions", "st2_rule=other", 0),
        ("/api/v1/st2/executions", "limit=1&offset=1", 1),
        ("/api/v1/executions/recent", "limit=3", 3),
        ("/api/v1/executions/recent", "offset=3", 2),
        ("/handlers", "offset=1", 0),
    ],
)
def test_lists_are_filtered_and_paged(api, path, query, count):
    """``total`` counts entries on other pages, but none that a filter excludes."""
    answer = api.get(path, query)
    assert len(answer[LISTS[path]]) == count
    if "limit" in query or "offset" in query:
        assert answer["total"] == api.get(path)["total"]
    else:
        assert answer["total"] == count


@pytest.mark.parametrize("path", sorted(LISTS))
@pytest.mark.parametrize(
    "query, words",
    [
        ("limit=0", 'limit: "0" given; expected a number from 1 to 10000'),
        ("limit=10001", 'limit: "10001" given'),
        ("limit=x", 'limit: "x" given'),
        ("limit=1e3", 'limit: "1e3" given'),
        ("offset=-1", 'offset: "-1" given; expected a number from 0 to'),
        ("stat=x", 'parameter: unknown parameter "stat"; expected one of '),
    ],
)
def test_a_bad_parameter_is_named_with_the_remedy(api, path, query, words):
    """The answer is 400."""
    status, answer = api.ask(path, query)
    assert status == 400 and answer["error"].startswith(words)


@pytest.mark.parametrize(
    "path, query, words",
    [
        ("/alerts", "status=bad", 'status: unknown status "bad"; expected one of received, '),
        (
            "/remediations",
            "status=succeeded",
            'status: unknown status "succeeded"; expected one of pending',
        ),
        (
            "/remediations",
            "active=perhaps",
            'active: unknown active "perhaps"; expected one of true',
        ),
        (
            "/alerts/stats",
            "limit=1",
            'parameter: unknown parameter "limit"; expected no parameters',
        ),
        ("/alerts/x", "verbose=1", 'parameter: unknown parameter "verbose"'),
    ],
)
def test_a_bad_filter_is_named_with_its_known_values(api, path, query, words):
    """The answer is 400."""
    status, answer = api.ask(path, query)
    assert status == 400 and answer["error"].startswith(words)


def test_an_unknown_alert_is_not_found(api):
    """The answer is 404 and says where to look."""
    status, answer = api.ask("/alerts/nothing")
    assert status == 404
    expected = 'fingerprint: unknown fingerprint "nothing". GET /alerts lists the known ones'
    assert answer["error"] == expected


def test_a_fingerprint_may_have_any_characters():
    """It is text from outside."""
    api = Api(token="")
    api.pack.post(dict(alert(1), fingerprint="a/b?c#ü"))
    api.pack.step()
    # A WSGI server passes the decoded path, its bytes as Latin-1.
    path = "/alerts/a/b?c#ü".encode().decode("latin-1")
    assert api.get(path)["alert"]["fingerprint"] == "a/b?c#ü"


# --- credentials, and StackStorm out of reach -----------------------------------------------------


@pytest.mark.parametrize("path", sorted(LISTS) + ["/alerts/stats", "/alerts/x"])
def test_they_need_the_credentials_of_the_webhook(path):
    """Alerts reveal things about the network."""
    api = Api(token="t0ken")
    assert api.ask(path)[0] == 401
    assert api.ask(path, HTTP_AUTHORIZATION="Bearer t0ken")[0] in (200, 404)
    assert api.ask(path, HTTP_AUTHORIZATION="Bearer t0ken", REQUEST_METHOD="POST")[0] == 405


@pytest.mark.parametrize("path", sorted(set(LISTS) - {"/handlers"}))
def test_they_answer_while_stackstorm_is_away(api, path):
    """Answers from memory need no call."""
    api.pack.stackstorm.away = True
    assert api.get(path)["total"]
