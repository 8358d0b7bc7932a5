"""What the tests of the remediation workflows share: where they work, and what is tried on each.

The commands of the workflows are parameters, so a service here is a file on the host that a
workflow works on. Tests run on the StackStorm node (core.local) and over a real SSH server
(core.remote).
"""

import contextlib
import shlex
from dataclasses import dataclass, field

from tests.support.alerts import alert
from tests.support.world import unique

# What an alert may call a thing. {mark} is a file that none of them may make.
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

# All of them at once, for what is tried on many workflows: it breaks out of no quotes, of double
# ones and of single ones alike.
EVIL_TEXTS = {
    "shell": "x$({t})`{t}`; {t} | {t} & {t}\n'; {t}; '".replace("{t}", "touch {mark}"),
    "option": EVIL_NAMES["option"],
}

# Of service_down: a person is asked before anything is done, and the restart does nothing.
ASKS_FIRST = {
    "service": "shop",
    "check_command": "echo it is down; false",
    "restart_command": "true",
    "settle_seconds": 0,
    "approval": True,
    "alert": "{{ trigger | to_json_string }}",
}

LOOK = "cat {folder}/seen 2>/dev/null; echo look >> {folder}/log; "
CHANGE = "echo change >> {folder}/log; "


@dataclass
class Case:
    """A workflow of the library where its evidence calls for a change.

    :param names: the parameters that a rule fills from labels and that reach commands.
    :param looks_from_here: it looks from the StackStorm node, whatever the host is.
    :param parameters: of the workflow; ``{folder}`` in text is the place's folder. What looks
        begins with LOOK, what changes something with CHANGE.
    """

    names: tuple
    parameters: dict = field(default_factory=dict)
    looks_from_here: bool = False


CASES = {
    "certificate_expiring": Case(
        names=("endpoint",),
        looks_from_here=True,
        parameters={
            "endpoint": "127.0.0.1:1",
            "check_command": LOOK + "test -e {folder}/up",
            "renew_command": CHANGE + "touch {folder}/up",
            "settle_seconds": 0,
        },
    ),
    "database_connection_errors": Case(
        names=("service",),
        parameters={
            "service": "postgresql",
            "port": 1,
            "check_command": LOOK + "test -e {folder}/up",
            "restart_command": CHANGE + "touch {folder}/up",
            "settle_seconds": 0,
        },
    ),
    "host_down": Case(
        names=("host",),
        looks_from_here=True,
        parameters={
            "host": "web-01",
            "ping_command": LOOK + "test -e {folder}/up",
            "power_command": CHANGE + "touch {folder}/up",
            "retries": 0,
            "settle_seconds": 0,
        },
    ),
    "low_disk": Case(
        names=("mountpoint",),
        parameters={
            "mountpoint": "/srv/shop",
            "check_command": LOOK + "test -e {folder}/up",
            "remove_command": CHANGE + "touch {folder}/up",
        },
    ),
    "service_down": Case(
        names=("service",),
        parameters={
            "service": "shop",
            "check_command": LOOK + "test -e {folder}/up",
            "restart_command": CHANGE + "touch {folder}/up",
            "settle_seconds": 0,
        },
    ),
}
# Names and commands are the same; what is restarted for another reason is restarted all the same.
# Without a name the scripts measure: whatever this machine does counts as busy.
_RESTART = CASES["service_down"].parameters
_BUSY = {"busy_percent": 0, "sample_seconds": 1}
CASES["high_cpu"] = Case(names=("service",), parameters=dict(_RESTART, **_BUSY))
CASES["high_memory"] = Case(names=("service",), parameters=dict(_RESTART, free_percent=100))


class Place:
    """Where a workflow works: a StackStorm, the host to name, and a folder there."""

    def __init__(self, world, host):
        self.world = world
        self.host = host
        self.folder = shell(world, "mktemp -d /tmp/poundcake-e2e-XXXXXX")

    def start(self, name, **more):
        """Start a workflow as its case says; ``more`` goes over that. Return the execution's id."""
        given = dict({"host": self.host}, **CASES[name].parameters)
        given.update(more)
        given = {key: self.filled(value) for key, value in given.items()}
        body = {"action": "poundcake." + name, "parameters": given}
        return self.world.api("POST", "/executions", json=body)["id"]

    def run(self, name, **more):
        """The same, to its end; return the execution."""
        return self.world.finished(self.start(name, **more))

    def filled(self, value):
        return value.replace("{folder}", self.folder) if isinstance(value, str) else value

    def shell(self, command):
        """Run a command here; what it printed."""
        return shell(self.world, self.filled(command))

    def log(self):
        """What the commands did, in order."""
        return self.shell("cat {folder}/log 2>/dev/null || true").split("\n")

    def has(self, name):
        return exists(self.world, "%s/%s" % (self.folder, name))


def kill(pid):
    """The command that ends a process of the tests; StackStorm's user may be another one."""
    return "(kill %d 2>/dev/null || sudo -n kill %d)" % (pid, pid)


def run(world, action, **parameters):
    """Run an action to its end and return the execution."""
    body = {"action": action, "parameters": parameters}
    return world.finished(world.api("POST", "/executions", json=body)["id"])


def shell(world, command):
    """Run a command on the StackStorm node; what it printed."""
    execution = run(world, "core.local", cmd=command)
    assert execution["status"] == "succeeded", execution["result"]
    return str(execution["result"]["stdout"])


def exists(world, path):
    return shell(world, "test -e %s && echo yes || echo no" % shlex.quote(path)) == "yes"


def children_of(world, execution, action):
    """The executions of an action that a workflow started, in workflows of its own as well."""
    found = world.api("GET", "/executions/%s/children?depth=-1" % execution["id"])
    return [child for child in found if child["action"]["ref"] == action]


def output_of(execution):
    return execution["result"]["output"]


def outcome_of(execution):
    """What the workflow says about its end; the core reads it when the execution has ended."""
    return execution["status"], output_of(execution)["outcome"]


REMEDIATED = ("succeeded", "remediated")
NOT_NEEDED = ("succeeded", "not_needed")
ESCALATED = ("succeeded", "escalated")
FAILED = ("failed", "failed")


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


def reason_of(world, action, parameters):
    """Why the alert failed whose rule ran this action."""
    name = unique("E2eReason")
    with world.rule(name, action, parameters):
        row = world.completed(world.accept(alert(alertname=name)))
    shown = world.ask("get_alert", fingerprint=row["alerts"][0]["fingerprint"])
    assert shown["state"] == "failed"
    return shown["reason"]


def asked(place, execution_id):
    """The inquiry that an execution waits for, as ``st2 inquiry get`` has it."""
    world = place.world
    query = "/executions?action=core.ask&status=pending&parent=" + execution_id

    def find():
        if world.execution(execution_id)["status"] == "paused":
            return [item["id"] for item in world.api("GET", query)]

    (found,) = world.wait(find, "a person to be asked")
    return world.api("GET", "/inquiries/" + found)
