"""ChatOps: every message matches at most one command, and the answers read well in chat.

StackStorm does the matching where it is installed, otherwise the embedded engine, which agrees with
cases recorded from StackStorm (tests/engine/test_aliases.py).
"""

import glob
import os
from dataclasses import asdict

import pytest
from poundcake.inert import inert
from poundcake.operators import commands, controls
from poundcake.st2 import rows
from poundcake.views import chat as texts
from poundcake.views import health, queries
from st2common.util.jinja import get_jinja_environment
from st2tests.base import BaseActionAliasTestCase

from tests.support.alerts import alert
from tests.support.fakes import PACK
from tests.support.pack import Pack
from tests.support.sources import parse_yaml

ALIASES = {}
for path in sorted(glob.glob(os.path.join(PACK, "aliases", "*.yaml"))):
    with open(path, encoding="utf-8") as handle:
        ALIASES[os.path.splitext(os.path.basename(path))[0]] = parse_yaml(handle)

ID = "0193f3a2-0000-7000-8000-000000000000"
# What people write: the alias that must match, and the parameters that it must give.
COMMANDS = {
    "poundcake alerts": ("list_alerts", {"state": ""}),
    "poundcake list alerts": ("list_alerts", {"state": ""}),
    "poundcake show alerts failed": ("list_alerts", {"state": "failed"}),
    "poundcake alerts severity=critical alertname=HostDown": (
        "list_alerts",
        {"state": "", "severity": "critical", "alertname": "HostDown"},
    ),
    "poundcake alerts exhausted label=team=db": (
        "list_alerts",
        {"state": "exhausted", "label": "team=db"},
    ),
    "poundcake alert 91c7e5b1b6ea25d7": ("get_alert", {"fingerprint": "91c7e5b1b6ea25d7"}),
    "poundcake show alert 91c7e5b1b6ea25d7": ("get_alert", {"fingerprint": "91c7e5b1b6ea25d7"}),
    "poundcake request " + ID: ("get_request", {"request_id": ID}),
    "poundcake show request " + ID: ("get_request", {"request_id": ID}),
    "poundcake health": ("check_health", {}),
    "poundcake check health": ("check_health", {}),
    "poundcake stats": ("get_stats", {}),
    "poundcake show stats": ("get_stats", {}),
    "poundcake statistics": ("get_stats", {}),
    "poundcake pause because the database moves": ("pause", {"reason": "the database moves"}),
    "poundcake pause everything because it is late": ("pause", {"reason": "it is late"}),
    "poundcake pause because it is late because of me": (
        "pause",
        {"reason": "it is late because of me"},
    ),
    "poundcake pause HighCpu because it's noisy": (
        "pause",
        {"alertname": "HighCpu", "reason": "it's noisy"},
    ),
    "poundcake pause 'High CPU' because of a test because we can": (
        "pause",
        {"alertname": "High CPU", "reason": "because of a test because we can"},
    ),
    "poundcake pause because of the storm": ("pause", {"reason": "because of the storm"}),
    "poundcake resume": ("resume", {}),
    "poundcake resume everything": ("resume", {}),
    "poundcake resume HighCpu": ("resume", {"alertname": "HighCpu"}),
    "poundcake resume everythingIsDown": ("resume", {"alertname": "everythingIsDown"}),
    'poundcake maintenance {cluster="eu",host=~"db.*"} for 2h because of the upgrade': (
        "start_maintenance",
        {
            "matchers": '{cluster="eu",host=~"db.*"}',
            "duration": "2h",
            "reason": "because of the upgrade",
        },
    ),
    "poundcake start maintenance on cluster=eu for 1h30m because disks are replaced": (
        "start_maintenance",
        {"matchers": "cluster=eu", "duration": "1h30m", "reason": "disks are replaced"},
    ),
    "poundcake end maintenance " + ID: ("end_maintenance", {"id": ID}),
    "poundcake stop maintenance " + ID: ("end_maintenance", {"id": ID}),
    "poundcake maintenance": ("list_maintenance", {}),
    "poundcake list maintenance": ("list_maintenance", {}),
    "poundcake maintenance list": ("list_maintenance", {}),
    "poundcake show paused": ("list_maintenance", {}),
    "poundcake retry 91c7e5b1b6ea25d7 because the disk is new": (
        "retry_alert",
        {"fingerprint": "91c7e5b1b6ea25d7", "reason": "the disk is new"},
    ),
    "poundcake retry alert 91c7e5b1b6ea25d7 because the disk is new": (
        "retry_alert",
        {"fingerprint": "91c7e5b1b6ea25d7", "reason": "the disk is new"},
    ),
    "poundcake ack 91c7e5b1b6ea25d7 because I am on it": (
        "acknowledge_alert",
        {"fingerprint": "91c7e5b1b6ea25d7", "reason": "I am on it"},
    ),
    "poundcake acknowledge alert 91c7e5b1b6ea25d7 because I am on it": (
        "acknowledge_alert",
        {"fingerprint": "91c7e5b1b6ea25d7", "reason": "I am on it"},
    ),
    "Poundcake retry alert HostDown on web1 because the disk is on its way": (
        "retry_alert",
        {"alertname": "HostDown", "host": "web1", "reason": "the disk is on its way"},
    ),
    "Poundcake ack HostDown on web1 because I am on it": (
        "acknowledge_alert",
        {"alertname": "HostDown", "host": "web1", "reason": "I am on it"},
    ),
    "poundcake dismiss 91c7e5b1b6ea25d7 because it is noise": (
        "dismiss_alert",
        {"fingerprint": "91c7e5b1b6ea25d7", "reason": "it is noise"},
    ),
    "poundcake dismiss HostDown on web1 because it is noise": (
        "dismiss_alert",
        {"alertname": "HostDown", "host": "web1", "reason": "it is noise"},
    ),
    "poundcake alert HostDown on web1": ("get_alert", {"alertname": "HostDown", "host": "web1"}),
    "poundcake approve 91c7e5b1b6ea25d7 because it is down on web1": (
        "approve_alert",
        {"fingerprint": "91c7e5b1b6ea25d7", "reason": "it is down on web1"},
    ),
    "poundcake approve HostDown on web1 because I looked": (
        "approve_alert",
        {"alertname": "HostDown", "host": "web1", "reason": "I looked"},
    ),
    "poundcake decline 91c7e5b1b6ea25d7 because we wait": (
        "decline_alert",
        {"fingerprint": "91c7e5b1b6ea25d7", "reason": "we wait"},
    ),
    "poundcake decline HostDown on web1 because the backup runs on it": (
        "decline_alert",
        {"alertname": "HostDown", "host": "web1", "reason": "the backup runs on it"},
    ),
}
# What must not be taken for a command: nobody may pause or retry anything without saying why.
NO_COMMANDS = [
    "poundcake",
    "poundcake alert",
    "poundcake pause",
    "poundcake pause HighCpu",
    "poundcake pause because",
    "poundcake approve 91c7e5b1b6ea25d7",
    "poundcake alert HostDown on",
    "poundcake decline HostDown on web1",
    "poundcake maintenance {cluster=eu} for 2h",
    "poundcake maintenance because of me",
    "poundcake retry 91c7e5b1b6ea25d7",
    "poundcake end maintenance",
    "poundcake pancake",
    "alerts",
]


def representations(name):
    return [text for item in ALIASES[name]["formats"] for text in item["representation"]]


EVERY_FORMAT = [text for name in ALIASES for text in representations(name)]


class CommandTestCase(BaseActionAliasTestCase):
    """What people write, through StackStorm's own helpers."""

    action_alias_name = "list_alerts"

    def _get_base_pack_path(self):
        return PACK  # st2tests expects the tests of a pack in one flat folder

    def test_a_command_is_of_one_format_of_all_aliases(self):
        """StackStorm refuses what may mean two things."""
        for command in COMMANDS:
            self.assertCommandMatchesExactlyOneFormatString(EVERY_FORMAT, command)

    def test_a_command_gives_its_parameters(self):
        """To the alias that it is meant for."""
        for command, (name, parameters) in COMMANDS.items():
            self.action_alias_db = self._alias(name)
            (format_,) = [text for text in representations(name) if self._takes(text, command)]
            self.assertExtractedParametersMatch(format_, command, parameters)

    def test_half_a_command_is_none(self):
        """And does nothing."""
        for command in NO_COMMANDS:
            taken = [text for text in EVERY_FORMAT if self._takes(text, command)]
            self.assertEqual(taken, [], command)

    def test_every_format_has_a_command_here(self):
        """So every format is tested."""
        for text in EVERY_FORMAT:
            self.assertTrue(any(self._takes(text, command) for command in COMMANDS), text)

    def _alias(self, name):
        self.action_alias_name = name
        self.setUp()
        return self.action_alias_db

    def _takes(self, text, command):
        try:
            self.assertCommandMatchesExactlyOneFormatString([text], command)
        except AssertionError:
            return False
        return True


# --- metadata -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ALIASES))
def test_an_alias_has_the_name_of_its_action_and_gives_valid_parameters(name):
    """Every parameter exists, and every required one is in every format."""
    alias = ALIASES[name]
    assert (alias["name"], alias["pack"]) == (name, "poundcake")
    assert alias["action_ref"] == "poundcake." + name
    assert alias["description"].endswith(".") and alias["ack"]["format"].endswith(".")
    with open(os.path.join(PACK, "actions", name + ".yaml"), encoding="utf-8") as handle:
        known = parse_yaml(handle)["parameters"]
    given = [parameters for _, (of, parameters) in COMMANDS.items() if of == name]
    fixed = set(alias.get("immutable_parameters", {}))
    required = {parameter for parameter, schema in known.items() if schema.get("required")}
    for parameters in given:
        assert required <= set(parameters) | fixed <= set(known)


@pytest.mark.parametrize("name", sorted(ALIASES))
def test_the_acting_person_is_the_one_who_chats(name):
    """An action that needs a name gets the one that chat knows; nobody can give another."""
    with open(os.path.join(PACK, "actions", name + ".yaml"), encoding="utf-8") as handle:
        asks = "by" in parse_yaml(handle)["parameters"]
    fixed = ALIASES[name].get("immutable_parameters", {})
    assert fixed == ({"by": "{{ api_user or '' }}"} if asks else {})


# --- what is answered -----------------------------------------------------------------------------


TEXTS = {
    "acknowledge_alert": texts.acknowledged,
    "approve_alert": texts.answered,
    "decline_alert": texts.answered,
    "dismiss_alert": texts.dismissed,
    "check_health": texts.health,
    "end_maintenance": texts.maintenance_ended,
    "get_alert": texts.alert,
    "get_request": texts.request,
    "get_stats": texts.stats,
    "list_alerts": texts.alerts,
    "list_maintenance": texts.maintenance,
    "pause": texts.paused,
    "resume": texts.resumed,
    "retry_alert": texts.retried,
    "start_maintenance": texts.maintenance_started,
}


@pytest.mark.parametrize("name", sorted(ALIASES))
def test_every_alias_shows_the_text_of_its_action(name):
    """The actions make the texts, and every alias shows them in the same way."""
    known = {alias["result"]["format"] for alias in ALIASES.values()}
    assert len(known) == 1 and name in TEXTS
    (text,) = [key for key, value in vars(texts).items() if value is TEXTS[name]]
    with open(os.path.join(PACK, "actions", name + ".py"), encoding="utf-8") as handle:
        assert "chat=chat." + text in handle.read()


def chat(name, answer, status="succeeded"):
    """Return what StackStorm's ChatOps shows for an execution with this answer."""
    result = answer
    if not isinstance(answer, dict) or "traceback" not in answer:
        answer = dict(answer, chat=TEXTS[name](answer))
        result = {"result": inert(answer), "exit_code": 0, "stdout": "", "stderr": ""}
    execution = {"id": "69202e0e4f3d", "status": status, "result": result}
    environment = get_jinja_environment(allow_undefined=True)
    template = environment.from_string(ALIASES[name]["result"]["format"])
    return template.render({"execution": execution, "alias": ALIASES[name]})


@pytest.fixture
def pack():
    """One alert with a running remediation."""
    pack = Pack()
    pack.stackstorm.rule("my_pack.fix")
    pack.post(alert(1))
    pack.steps(3)
    return pack


@pytest.mark.parametrize("name", sorted(ALIASES))
def test_a_failure_says_why(name):
    """It shows the error of the action on one line."""
    said = chat(
        name, {"error": 'state: unknown state "x";\nexpected one of received, pending'}, "failed"
    )
    assert said.strip() == 'Failed: state: unknown state "x"; expected one of received, pending'


@pytest.mark.parametrize("name", sorted(ALIASES))
@pytest.mark.parametrize(
    "result",
    [
        {"error": "it took too long", "traceback": ""},
        {"result": "None", "stderr": "Traceback", "traceback": ""},
        {"traceback": ""},
    ],
    ids=["timeout", "exception", "nothing"],
)
def test_an_execution_without_an_answer_says_so(name, result):
    """And it says where to see more."""
    said = chat(name, result, "timeout")
    assert said.startswith("Failed (timeout): ")
    assert "it took too long" in said or "st2 execution get 69202e0e4f3d" in said


def test_each_alert_is_a_line(pack):
    """The line has what the next command needs."""
    fingerprint = pack.alert()["fingerprint"]
    said = chat("list_alerts", queries.list_alerts(pack.stackstorm, "", "", "", "", 50))
    assert said.splitlines() == [
        "1 alert, latest change first:",
        "• remediating since 2026-11-21 08:20 UTC: ServiceDown on web1 (critical): attempt 1 [%s]"
        % fingerprint,
    ]
    none = queries.list_alerts(pack.stackstorm, "failed", "", "", "", 50)
    assert chat("list_alerts", none).strip() == "There are no such alerts."


def test_a_long_list_is_cut_and_says_so(pack):
    """A channel must not get four hundred lines."""
    for number in range(2, 44):
        pack.post(alert(number))
    pack.settle()
    said = chat("list_alerts", queries.list_alerts(pack.stackstorm, "", "", "", "", 50))
    lines = said.splitlines()
    assert lines[0] == "43 alerts, latest change first:" and len(lines) == 12
    assert lines[-1].startswith("… and 33 more; ")


def test_alert_text_cannot_forge_a_line_or_mention_the_channel(pack):
    """It becomes one line, is cut, and loses its mentions."""
    text = "down\n✔ all is OK @channel <!here> " + "x" * 1000
    pack.post(alert(2, alertname=text, severity="@all"))
    pack.steps(3)
    said = chat("list_alerts", queries.list_alerts(pack.stackstorm, "", "", "", "", 50))
    assert len(said.splitlines()) == 3 and len(said) < 1000
    assert "@channel" not in said and "@all" not in said and "<!" not in said


def test_an_alert_shows_its_history(pack):
    """It shows the state, the reason, and what ran."""
    pack.finish("failed", {"error": "no route to host"})
    pack.steps(3)
    row = pack.alert()
    lines = chat("get_alert", queries.get_alert(pack.stackstorm, row["fingerprint"])).splitlines()
    assert lines[0].startswith("ServiceDown on web1 (critical) is ")
    assert any("remediating: attempt 1" in line for line in lines)
    assert any(
        line.startswith("Attempt 1: core.noop failed: no route to host (st2 ex") for line in lines
    )


def test_a_request_shows_every_decision(pack):
    """It shows ten of them and counts the rest."""
    request_id = pack.post(*[alert(number) for number in range(20, 35)])
    pack.settle()
    lines = chat("get_request", queries.get_request(pack.stackstorm, request_id)).splitlines()
    assert lines[0].startswith("Request %s of 2026-11-21 " % request_id)
    assert "ServiceDown: dispatch" in lines[1] and lines[11] == "… and 5 more alerts."


def test_stats_are_two_lines(pack):
    """States without alerts are left out."""
    lines = chat("get_stats", queries.get_stats(pack.stackstorm)).splitlines()
    assert lines == [
        "1 alert: 1 remediating.",
        "• core.noop: 0 succeeded, 0 failed, 1 running",
    ]


def test_health_shows_each_fault_with_its_remedy():
    """It shows no long table when there is no fault."""
    findings = [
        health.Finding("api", health.OK, "answers"),
        health.Finding("rules", health.FAULT, "poundcake.track is disabled", "st2 rule enable x"),
    ]
    checks = [asdict(item) for item in findings]
    said = chat("check_health", {"error": "1 at fault: rules", "checks": checks}, "failed")
    assert said.splitlines() == [
        "Failed: 1 at fault: rules",
        "• rules: poundcake.track is disabled → st2 rule enable x",
    ]
    said = chat("check_health", {"error": "20 at fault", "checks": checks * 20}, "failed")
    assert len(said.splitlines()) == 12 and said.splitlines()[-1] == "… and 10 more faults."
    healthy = [
        asdict(findings[0]),
        asdict(health.Finding("remediations", health.INFO, "enabled: a")),
    ]
    said = chat("check_health", {"status": "ok", "checks": healthy})
    assert said.splitlines() == ["PoundCake is OK.", "• remediations: enabled: a"]


def test_controls_say_what_they_did_and_how_to_end_it(pack):
    """The answers give commands that chat understands."""
    stackstorm, now = pack.stackstorm, pack.clock()
    said = chat("pause", controls.pause(stackstorm, "", "the database moves", "ann", now))
    assert said.startswith("Everything is paused by ann: the database moves\n1 unresolved alert ")
    assert "poundcake resume everything" in COMMANDS and "poundcake resume everything" in said
    said = chat("pause", controls.pause(stackstorm, "HighCpu", "noisy", "bob", now))
    assert "HighCpu is paused by bob" in said and "poundcake resume HighCpu" in said
    said = chat("list_maintenance", queries.list_maintenance(stackstorm, now))
    assert said.splitlines() == [
        "• paused: everything by ann: the database moves",
        "• paused: HighCpu by bob: noisy",
    ]
    said = chat("resume", controls.resume(stackstorm, "", "ann"))
    assert said.splitlines() == [
        "Everything is resumed. It was paused by ann: the database moves",
        "Still paused: HighCpu.",
    ]
    controls.resume(stackstorm, "HighCpu", "ann")
    window = controls.start_maintenance(stackstorm, 'host=~"web.*"', "2h", "upgrade", "ann", now)
    said = chat("start_maintenance", window)
    assert said.startswith('In maintenance until 2026-11-21 10:20 UTC: host=~"web.*" (by ann: upgr')
    assert "poundcake end maintenance " + window["id"] in said
    said = chat("list_maintenance", queries.list_maintenance(stackstorm, now))
    assert window["id"] in said and len(said.splitlines()) == 1
    said = chat("end_maintenance", controls.end_maintenance(stackstorm, window["id"], "ann", now))
    assert said.strip() == 'The maintenance of host=~"web.*" is over. It was ann\'s: upgrade'
    said = chat("list_maintenance", queries.list_maintenance(stackstorm, now))
    assert said.strip() == "Nothing is paused, and nothing is in maintenance."


def test_an_unreadable_pause_is_shown_with_its_remedy(pack):
    """Until the sensor has set it aside."""
    pack.stackstorm.set_key(rows.CONTROL + "pause", "{")
    said = chat("list_maintenance", queries.list_maintenance(pack.stackstorm, pack.clock()))
    assert "poundcake.control.pause" in said and "list_set_aside" in said


def test_a_command_about_an_alert_names_its_request(pack):
    """The request shows what becomes of the command."""
    fingerprint = pack.alert()["fingerprint"]
    pack.finish("failed")
    pack.steps(3)
    for do, name in ((commands.RETRY, "retry_alert"), (commands.ACKNOWLEDGE, "acknowledge_alert")):
        answer = commands.command(
            pack.stackstorm, do, (fingerprint, "", ""), "why", "ann", pack.clock()
        )
        said = chat(name, answer)
        assert said.startswith("ServiceDown (") and len(said.splitlines()) == 1
        assert "poundcake request " + answer["request_id"] in said
