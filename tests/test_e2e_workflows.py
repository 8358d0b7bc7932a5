"""service_down and host_down for real: what they do and say, and what no name can make them do.

The commands of both are parameters, so a service here is a file on the host that the workflow
works on. Every test of service_down runs on the StackStorm node (core.local) and over a real SSH
server (core.remote).
"""

import base64
import contextlib
import json
import os
import shlex
import time

import pytest

from tests.world import World, alert, unique

CHECK = 'echo "check $SERVICE" >> {folder}/log; test -e {folder}/up'
RESTART = 'echo "restart $SERVICE" >> {folder}/log; touch {folder}/up'

# What an alert may call a service. {mark} is a file that none of them may make.
EVIL_NAMES = {
    "semicolon": "x; touch {mark}",
    "substitution": "$(touch {mark})",
    "backticks": "`touch {mark}`",
    "double_quotes": '"; touch {mark}; "',
    "single_quotes": "'; touch {mark}; '",
    "newline": "x\ntouch {mark}\n",
    "pipe": "x | touch {mark} & touch {mark}",
    "backslash": "\\\"; touch {mark}; \\'",
    "option": "--now -rf $HOME/{mark}",
}


@pytest.fixture(scope="module")
def over_ssh(tmp_path_factory):
    """A World whose core.remote reaches a real SSH server, and the host to name there."""
    if os.environ.get("ST2_API_URL"):
        pytest.skip("needs an SSH server that StackStorm's key opens; the embedded engine has one")
    from tests.demo import servers

    if servers.missing():
        pytest.skip("bash tests/demo/install_servers installs %s" % ", ".join(servers.missing()))
    folder = tmp_path_factory.mktemp("ssh")
    with contextlib.ExitStack() as stack:
        sshd = stack.enter_context(servers.Sshd(folder / "sshd"))
        engine = stack.enter_context(servers.Engine(folder / "engine", env=sshd.env))
        found = World(engine.api_url, engine.api_key, engine.listener_url, engine.env)
        yield found, sshd.address


class Place:
    """Where service_down works: a StackStorm, the host to name, and a service that is a file."""

    def __init__(self, world, host):
        self.world = world
        self.host = host
        self.folder = shell(world, "mktemp -d /tmp/poundcake-e2e-XXXXXX")

    def service_down(self, check=CHECK, restart=RESTART, **parameters):
        """Run service_down to its end; ``{folder}`` in the commands is this place's folder."""
        given = {
            "service": "shop",
            "host": self.host,
            "check_command": check.format(folder=self.folder),
            "restart_command": restart.format(folder=self.folder),
            "settle_seconds": 0,
        }
        given.update(parameters)
        return run(self.world, "poundcake.service_down", **given)

    def bring_up(self):
        shell(self.world, "touch %s/up" % self.folder)

    def log(self):
        """What the commands were called for, in order."""
        return shell(self.world, "cat %s/log 2>/dev/null || true" % self.folder).split("\n")

    def has(self, name):
        return exists(self.world, "%s/%s" % (self.folder, name))


@pytest.fixture(params=["local", "remote"])
def place(request):
    """Where service_down works: the StackStorm node, or a host over SSH."""
    if request.param == "local":
        made = Place(request.getfixturevalue("world"), "")
    else:
        made = Place(*request.getfixturevalue("over_ssh"))
    yield made
    shell(made.world, "rm -rf " + made.folder)


def run(world, action, **parameters):
    """Run an action to its end and return the execution."""
    body = {"action": action, "parameters": parameters}
    return world.finished(world.api("POST", "/executions", json=body)["id"])


def shell(world, command):
    """Run a command on the StackStorm node; what it printed."""
    execution = run(world, "core.local", cmd=command)
    assert execution["status"] == "succeeded", execution["result"]
    return execution["result"]["stdout"]


def exists(world, path):
    return shell(world, "test -e %s && echo yes || echo no" % shlex.quote(path)) == "yes"


def children_of(world, execution, action):
    """The executions of an action that a workflow started."""
    children = world.api("GET", "/executions/%s/children" % execution["id"])
    return [child for child in children if child["action"]["ref"] == action]


def output_of(execution):
    return execution["result"]["output"]


# --- service_down -----------------------------------------------------------------------------


def test_a_service_that_is_down_is_restarted(place):
    """Down, restarted, and up at the second check, each command with the service's name."""
    execution = place.service_down()
    assert execution["status"] == "succeeded"
    assert output_of(execution) == {
        "outcome": "restarted and up",
        "restarted": True,
        "reason": None,
        "service": "shop",
        "host": place.host,
    }
    assert place.log() == ["check shop", "restart shop", "check shop"]
    used = "core.remote" if place.host else "core.local"
    assert len(children_of(place.world, execution, used)) == 3


def test_a_service_that_is_up_is_left_alone(place):
    """The alert came late: nothing is restarted."""
    place.bring_up()
    execution = place.service_down(restart="touch {folder}/restarted")
    assert execution["status"] == "succeeded"
    output = output_of(execution)
    assert (output["outcome"], output["restarted"]) == ("was up already", False)
    assert not place.has("restarted")


def test_a_restart_that_fails_says_so(place):
    """Still down, failed, and the reason names the restart."""
    execution = place.service_down(restart="echo no such unit >&2; exit 5")
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert (output["outcome"], output["restarted"]) == ("still down", False)
    assert "restart command failed" in output["reason"]
    assert place.log() == ["check shop"]


def test_a_restart_that_does_not_help_says_so(place):
    """The restart succeeds and the service stays down: failed, and the reason names the check."""
    execution = place.service_down(restart="touch {folder}/restarted")
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert (output["outcome"], output["restarted"]) == ("still down", True)
    assert "check still fails" in output["reason"]
    assert place.has("restarted")


def test_no_service_is_a_failure_with_a_reason(place):
    """An alert without the label runs no command at all."""
    execution = place.service_down(service="")
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert (output["outcome"], output["restarted"]) == ("nothing done", False)
    assert "names no service" in output["reason"]
    assert place.log() == [""]


@pytest.mark.parametrize("hosts", ["{0},{0}", "root@{0}", "-oProxyCommand=x", "{0} {0}"])
def test_only_one_host_is_worked_on(place, hosts):
    """core.remote takes lists and user names; whoever controls a label must not choose them."""
    execution = place.service_down(host=hosts.format(place.host or "127.0.0.1"))
    assert execution["status"] == "failed"
    assert "one host only" in output_of(execution)["reason"]
    assert place.log() == [""]


def test_a_check_that_hangs_is_ended_and_the_service_restarted(place):
    """A service that hangs is down as well."""
    check = "test -e {folder}/up || sleep 60"
    begun = time.monotonic()
    execution = place.service_down(check=check, timeout_seconds=2)
    assert time.monotonic() - begun < 40
    assert execution["status"] == "succeeded"
    assert output_of(execution)["outcome"] == "restarted and up"


def test_a_restart_that_hangs_is_ended(place):
    """The workflow ends as failed, soon after the command's time."""
    begun = time.monotonic()
    execution = place.service_down(restart="sleep 60", timeout_seconds=2)
    assert time.monotonic() - begun < 40
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert (output["outcome"], output["restarted"]) == ("still down", False)
    assert "restart command failed" in output["reason"]


@pytest.mark.parametrize("kind", sorted(EVIL_NAMES))
def test_a_services_name_is_data(place, kind):
    """The commands get it whole as $SERVICE, and no shell on the way runs a word of it."""
    name = EVIL_NAMES[kind].format(mark=place.folder + "/mark")
    record = 'printf %%s "$SERVICE" | base64 -w0 > {folder}/%s; test -e {folder}/restarted'
    execution = place.service_down(
        service=name, check=record % "checked", restart=record % "restarted"
    )
    assert execution["status"] == "succeeded"
    assert output_of(execution)["service"] == name
    for file in ("checked", "restarted"):
        got = shell(place.world, "echo text $(cat %s/%s)" % (place.folder, file))
        assert base64.b64decode(got.split(" ", 1)[1]).decode() == name
    assert not place.has("mark")


@pytest.mark.parametrize("kind", sorted(EVIL_NAMES))
def test_a_services_name_is_data_in_the_default_commands(place, kind):
    """systemctl is told the name of a unit that does not exist, and that is all."""
    name = EVIL_NAMES[kind].format(mark=place.folder + "/mark")
    parameters = {"service": name, "host": place.host, "settle_seconds": 0, "timeout_seconds": 10}
    execution = run(place.world, "poundcake.service_down", **parameters)
    assert execution["status"] == "failed"
    assert output_of(execution)["outcome"] == "still down"
    assert not place.has("mark")


def test_service_down_reads_well_in_st2_run(world):
    """Without a host and a request, as a person types it."""
    check = "check_command=true"
    done = world.st2_process("run", "-j", "poundcake.service_down", "service=shop", check)
    # Behind the execution, st2 lists its tasks.
    execution, _ = json.JSONDecoder().raw_decode(done.stdout.lstrip())
    assert execution["status"] == "succeeded"
    assert execution["result"]["output"]["outcome"] == "was up already"


# --- the rules --------------------------------------------------------------------------------


@contextlib.contextmanager
def enabled(world, rule):
    """A rule of the pack enabled with ``st2 rule enable``, disabled again afterwards."""
    assert world.api("GET", "/rules/poundcake." + rule)["enabled"] is False
    world.st2("rule", "enable", "poundcake." + rule)
    try:
        yield
    finally:
        world.st2("rule", "disable", "poundcake." + rule)


def started_for(world, request_id):
    """The execution that a rule started for the only alert of a request."""
    row = world.completed(request_id)
    found = world.status(row["request_id"])["executions"]
    assert len(found) == 1, row
    return world.execution(found[0]["execution_id"])


def test_the_rule_takes_a_service_down_alert(world):
    """Enabled with one command, it hands on the service and the host without its port."""
    name = unique("shop-")
    made = alert("ServiceDown", instance="127.0.0.1:9100", service=name)
    with enabled(world, "service_down"):
        request_id = world.accept(made)
        execution = started_for(world, request_id)
    assert execution["action"]["ref"] == "poundcake.service_down"
    assert execution["rule"]["ref"] == "poundcake.service_down"
    wanted = {"service": name, "host": "127.0.0.1", "request_id": request_id}
    assert {key: execution["parameters"].get(key) for key in wanted} == wanted


def test_the_rule_takes_node_exporters_alerts(world):
    """They name the unit in the label "name"."""
    name = unique("shop-") + ".service"
    made = alert("SystemdServiceFailed", instance="127.0.0.1:9100", name=name)
    with enabled(world, "service_down"):
        execution = started_for(world, world.accept(made))
    assert execution["parameters"]["service"] == name


def test_the_rule_takes_an_alert_that_names_no_service(world):
    """The workflow fails with the reason, and so does the alert."""
    made = alert("ServiceDown", instance="127.0.0.1:9100", tag=unique("none-"))
    with enabled(world, "service_down"):
        execution = started_for(world, world.accept(made))
    assert execution["status"] == "failed"
    assert "names no service" in output_of(execution)["reason"]


def test_a_services_name_is_data_all_the_way_from_the_alert(world):
    """From the label through trigger, rule and workflow to the shell."""
    mark = "/tmp/" + unique("poundcake-e2e-mark-")
    names = [text.format(mark=mark) for text in EVIL_NAMES.values()]
    # A host each: of one alertname on one host only a few an hour are remediated.
    hosts = ["127.0.0.%d:9100" % number for number in range(2, 2 + len(names))]
    alerts = [
        alert("ServiceDown", instance=host, service=name)
        for host, name in zip(hosts, names, strict=True)
    ]
    no_host = alert("ServiceDown", instance="$(touch %s):9100" % mark, service=unique("shop-"))
    with enabled(world, "service_down"):
        request_id = world.accept(*alerts, no_host)
        row = world.completed(request_id)
    assert row["alerts"][-1]["outcome"] == "unmatched", "what is no host is worked on nowhere"
    found = world.status(request_id)["executions"]
    assert len(found) == len(alerts)
    passed = [world.execution(one["execution_id"])["parameters"]["service"] for one in found]
    assert sorted(passed) == sorted(one["labels"]["service"] for one in alerts)
    assert not exists(world, mark)


def reason_of(world, action, parameters):
    """Why the alert failed whose rule ran this action."""
    name = unique("E2eReason")
    with world.rule(name, action, parameters):
        row = world.completed(world.accept(alert(name)))
    shown = world.ask("get_alert", fingerprint=row["alerts"][0]["fingerprint"])
    assert shown["state"] == "failed"
    return shown["reason"]


def test_the_alert_says_why_the_restart_failed(world):
    """What the workflow gives as its reason is what get_alert shows."""
    parameters = {"service": "shop", "check_command": "false", "restart_command": "false"}
    reason = reason_of(world, "poundcake.service_down", parameters)
    assert "the restart command failed" in reason


def test_the_alert_says_that_the_host_does_not_answer(world):
    """The same for host_down."""
    parameters = {"host": "{{ trigger.host }}", "ping_command": "false", "retries": 0}
    reason = reason_of(world, "poundcake.host_down", parameters)
    assert "no answer after 0 retries" in reason


def test_the_rule_takes_a_host_down_alert(world):
    """A host that answers again: the workflow ends well and the alert is remediated."""
    made = alert("HostDown", instance="127.0.0.1:9100", tag=unique("host-"))
    with enabled(world, "host_down"):
        request_id = world.accept(made)
        execution = started_for(world, request_id)
    wanted = {
        "host": "127.0.0.1",
        "alertname": "HostDown",
        "summary": "HostDown on 127.0.0.1:9100",
        "request_id": request_id,
    }
    assert {key: execution["parameters"].get(key) for key in wanted} == wanted
    assert output_of(execution)["outcome"] == "the host answers"
    assert world.status(request_id)["alerts"][0]["state"] == "remediated"


# --- host_down --------------------------------------------------------------------------------


def host_down(world, **parameters):
    """Run host_down to its end, with one retry and no wait before it."""
    given = {"host": "127.0.0.1", "retries": 1, "retry_seconds": 0}
    given.update(parameters)
    return run(world, "poundcake.host_down", **given)


def test_a_host_that_answers_ends_well(world):
    """A real ping, and nobody is told."""
    execution = run(world, "poundcake.host_down", host="127.0.0.1")
    assert execution["status"] == "succeeded"
    assert output_of(execution) == {
        "outcome": "the host answers",
        "notified": False,
        "reason": None,
        "host": "127.0.0.1",
    }
    assert children_of(world, execution, "poundcake.log_notification") == []


def test_a_host_that_answers_the_second_ping_ends_well(world):
    """One lost ping is no reason to wake a person."""
    path = "/tmp/" + unique("poundcake-e2e-ping-")
    execution = host_down(world, ping_command="test -e %s || { touch %s; false; }" % (path, path))
    shell(world, "rm " + path)
    assert execution["status"] == "succeeded"
    assert output_of(execution)["outcome"] == "the host answers"
    assert len(children_of(world, execution, "core.local")) == 2
    assert children_of(world, execution, "poundcake.log_notification") == []


def test_a_host_that_does_not_answer_is_told_to_a_person(world):
    """The message says alert, host, summary and request; the workflow fails all the same."""
    execution = host_down(
        world,
        host="10.255.255.1",
        ping_command="false",
        alertname="NodeDown",
        summary="rack 7 is dark",
        request_id="01-request",
    )
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert (output["outcome"], output["notified"]) == ("the host does not answer", True)
    assert output["reason"] == "no answer after 1 retries"
    assert len(children_of(world, execution, "core.local")) == 2
    told = children_of(world, execution, "poundcake.log_notification")
    assert [one["status"] for one in told] == ["succeeded"]
    message = told[0]["parameters"]["message"]
    for text in ("NodeDown", "10.255.255.1", "rack 7 is dark", "01-request"):
        assert text in message


def test_a_host_that_nobody_has_does_not_answer(world):
    """The default ping, with a name that no name server may ever know."""
    execution = host_down(world, host="poundcake.invalid", retries=0)
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert (output["outcome"], output["notified"]) == ("the host does not answer", True)
    assert output["reason"] == "no answer after 0 retries"


def test_a_ping_that_hangs_is_ended(world):
    """It counts as no answer."""
    begun = time.monotonic()
    execution = host_down(world, ping_command="sleep 60", retries=0, timeout_seconds=2)
    assert time.monotonic() - begun < 40
    assert execution["status"] == "failed"
    assert output_of(execution)["notified"] is True


def test_notify_action_gets_its_parameters(world):
    """What notify_parameters says arrives beside the message."""
    definition = "version: 1.0\ninput: [message, channel]\ntasks: {tell: {action: core.noop}}\n"
    with world.workflow(definition, inputs=("message", "channel")) as action:
        execution = host_down(
            world,
            ping_command="false",
            notify_action=action,
            notify_parameters={"channel": "#night"},
        )
        told = children_of(world, execution, action)
    assert [one["parameters"]["channel"] for one in told] == ["#night"]
    assert output_of(execution)["notified"] is True


def test_a_notify_action_that_fails_is_part_of_the_reason(world):
    """Nobody knows: that is what a person must read first."""
    definition = "version: 1.0\ninput: [message]\ntasks: {tell: {action: core.local cmd=false}}\n"
    with world.workflow(definition, inputs=("message",)) as action:
        execution = host_down(world, ping_command="false", notify_action=action)
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert output["notified"] is False
    assert output["reason"] == "no answer after 1 retries, and notify_action failed"


def test_a_notify_action_that_does_not_exist_is_shown_by_the_alert(world):
    """A typo in the config shows where the failure is read."""
    parameters = {
        "host": "{{ trigger.host }}",
        "ping_command": "false",
        "retries": 0,
        "notify_action": "nothing.like_this",
    }
    assert "nothing.like_this" in reason_of(world, "poundcake.host_down", parameters)


@pytest.mark.parametrize("kind", sorted(EVIL_NAMES))
def test_a_hosts_name_is_data(world, kind):
    """Neither the ping nor the notification runs a word of it."""
    mark = "/tmp/" + unique("poundcake-e2e-mark-")
    name = EVIL_NAMES[kind].format(mark=mark)
    execution = host_down(world, host=name, retries=0, summary=name)
    assert execution["status"] == "failed"
    assert output_of(execution)["host"] == name
    assert output_of(execution)["notified"] is True
    assert not exists(world, mark)
