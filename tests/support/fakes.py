"""What the unit tests put in StackStorm's place, all in memory."""

import copy
import itertools
import json
import os
import re
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from poundcake import clock
from poundcake.core.alert import ENDED_STATUSES
from poundcake.errors import RefusedError, StackStormError
from poundcake.settings import from_config
from poundcake.st2 import outbox

PACK = str(Path(__file__).resolve().parents[2])
FIXTURES = os.path.join(PACK, "tests", "fixtures")
NOW = clock.to_seconds("2026-11-21T08:20:00Z")
OPENERS = ("{{", "{%", "{#", "<%")

# Shared machines are slow now and then: no deadline, and no complaint about slow examples.
PROPERTY = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "100")),
)

# Text that is likely to open an expression, or to break something: joined from small pieces.
TRICKY_TEXT = st.lists(
    st.sampled_from(
        ["{", "<", "%", "#", "}", ">", "{{", "{%", "{#", "<%", " ", "\n", "\\", '"', "'", "\0", "a"]
        + [
            "\u2028",
            "\ud800",
            "\udfff",
            "ü",
            "🔥",
            "\u2774",
            "\u2039",
            "\uff1c",
            "\uff5b",
            "\uff05",
        ]
    ),
    max_size=8,
).map("".join)
# Lone surrogates are legal in JSON; a high one before a low one is how JSON writes one character.
JSON_TEXT = st.one_of(TRICKY_TEXT, st.text(), st.text(st.characters(), max_size=5)).filter(
    lambda text: not re.search("[\ud800-\udbff][\udc00-\udfff]", text)
)
JSON_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        JSON_TEXT,
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(JSON_TEXT, inner, max_size=4)
    ),
    max_leaves=12,
)


def load_fixture(name):
    """Return one of tests/fixtures/<name>.json, decoded."""
    with open(os.path.join(FIXTURES, name + ".json"), encoding="utf-8") as handle:
        return json.load(handle)


def strings_in(value):
    """Yield every string in a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            for text in strings_in(item):
                yield text
    elif isinstance(value, (list, tuple)):
        for item in value:
            for text in strings_in(item):
                yield text


def assert_inert(value):
    """Fail when a JSON value holds what opens an expression, in whatever order it is joined."""
    for text in strings_in(value):
        assert "{" not in text and "<" not in text, repr(text)
        assert not text.lstrip().startswith("%"), repr(text)
    for text in (json.dumps(value), str(value)):
        assert not any(opener in text for opener in OPENERS), text


def make_settings(**config):
    """Return Settings from the flat names of config.schema.yaml."""
    lists = {name: list(value) for name, value in config.items() if isinstance(value, tuple)}
    return from_config(dict(config, **lists))


class Clock:
    """A clock that moves when it is told to, in seconds."""

    def __init__(self, now=NOW):
        self.now = now

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


class Killed(BaseException):
    """The process is killed: no handler for errors catches it."""


class FakeStackStorm:
    """``poundcake.stackstorm.StackStorm`` in memory, with the trigger bus and rules behind it.

    As the real one it knows the difference between absent and away: while ``away`` is true every
    call raises StackStormError, and ``fail(method, times)`` makes the next calls of one method
    raise. ``events`` tells the successful writes and dispatches in order, as pairs.

    Triggers get in by ``dispatch``; ``process`` evaluates ``rules`` on those that wait. A rule is a
    dict: ref, trigger, action_ref, matches (callable on the payload), and failure, a reason for
    which the enforcement fails. Executions run until ``finish``.
    """

    def __init__(self, now):
        self._now = now
        self._numbers = itertools.count(1)
        self._expires = {}
        self._failing = {}
        self.away = False
        self.bus_away = False
        self.bus_answers = False  # to a connection of one's own
        self.refuses = lambda name, value: False  # for good: it answers 400
        self.swallow = False  # the bus takes triggers and loses them
        self.keys = {}
        self.events = []
        self.calls = 0
        self.die_at = None  # the number of the call at which the process is killed
        self.instances = []
        self.enforcements = []
        self.executions = {}
        self.disabled_rules = []  # documents: ref, enabled, criteria
        # Likewise, on the triggers that only report.
        self.listeners = [{"ref": "tests.listens", "enabled": True, "criteria": {}}]
        self.rules = []
        self.pack_rules = {}

    # --- the methods of StackStorm ----------------------------------------------------------------

    def get_key(self, name):
        self._answer("get_key")
        return self.keys.get(name)

    def get_secret(self, name):
        self._answer("get_secret")
        return self.keys.get(name)

    def set_key(self, name, value, ttl=None):
        self._answer("set_key")
        assert isinstance(value, str), "the datastore keeps text"
        if self.refuses(name, value):
            raise RefusedError("PUT /keys/%s: 400 no" % name, "PUT /keys/%s: 400" % name)
        self.keys[name] = value
        self._expires[name] = self._now() + ttl if ttl else None
        self.events.append(("set", name))

    def delete_key(self, name):
        self._answer("delete_key")
        if self.keys.pop(name, None) is not None:
            self.events.append(("delete", name))

    def list_keys(self, prefix, skip=0):
        self._answer("list_keys")
        names = sorted(name for name in list(self.keys) if name.startswith(prefix))
        return {name: self.keys[name] for name in names[skip:]}

    def each_key(self, prefix, skip=0):
        yield from self.list_keys(prefix, skip).items()

    def list_trigger_instances(self, trigger, since):
        self._answer("list_trigger_instances")
        found = [i for i in self.instances if i["trigger"] == trigger]
        return copy.deepcopy([i for i in found if i["occurrence_time"] > since])

    def list_enforcements(self, since):
        self._answer("list_enforcements")
        return copy.deepcopy([e for e in self.enforcements if e["enforced_at"] > since])

    def list_executions(self, trigger_name, since=None, status=None):
        self._answer("list_executions")
        names = ("id", "status", "start_timestamp", "end_timestamp", "rule", "action", "runner")
        return [
            copy.deepcopy({name: item[name] for name in names if name in item})
            for item in self.executions.values()
            if item["trigger_name"] == trigger_name
            and (since is None or item["start_timestamp"] > since)
            and status in (None, item["status"])
        ]

    def list_children(self, execution_id):
        self._answer("list_children")
        found = [e for e in self.executions.values() if e.get("parent") == execution_id]
        return copy.deepcopy(found)

    def list_pending_inquiries(self):
        self._answer("list_pending_inquiries")
        return {i for i, item in self.executions.items() if item["status"] == "pending"}

    def respond(self, inquiry_id, response):
        return not self.refusal(inquiry_id, response)

    def refusal(self, inquiry_id, response):
        self._answer("respond")
        inquiry = self.executions[inquiry_id]
        if inquiry["status"] != "pending":
            return 'Inquiry "%s" has already been responded to.' % inquiry_id
        inquiry["result"]["response"] = response
        inquiry["end_timestamp"] = clock.to_text(self._now())
        while inquiry:
            inquiry["status"] = "running" if inquiry["status"] == "paused" else "succeeded"
            inquiry = self.executions.get(inquiry.get("parent"))
        return ""

    def list_executions_of(self, trigger_instance_id):
        self._answer("list_executions_of")
        started = [e for e in self.enforcements if e["trigger_instance_id"] == trigger_instance_id]
        return [e["execution_id"] for e in started if "execution_id" in e]

    def list_unended(self, action_ref):
        self._answer("list_unended")
        return [
            copy.deepcopy(item)
            for item in self.executions.values()
            if item["action"]["ref"] == action_ref
            and item["status"] in ("requested", "scheduled", "delayed", "running")
        ]

    def last_execution(self, action_ref):
        self._answer("last_execution")
        found = [e for e in self.executions.values() if e["action"]["ref"] == action_ref]
        return copy.deepcopy(found[-1]) if found else None

    def run_action(self, action_ref, parameters):
        self._answer("run_action")
        return self._begin(action_ref, parameters)

    def _begin(self, action_ref, parameters, **more):
        execution_id = "execution%d" % next(self._numbers)
        self.executions[execution_id] = {
            "id": execution_id,
            "status": "running",
            "start_timestamp": clock.to_text(self._now()),
            "action": {"ref": action_ref},
            "parameters": copy.deepcopy(parameters),
            "trigger_name": None,
        }
        self.executions[execution_id].update(more)
        return execution_id

    def cancel_execution(self, execution_id):
        self._answer("cancel_execution")
        status = self.executions[execution_id]["status"]
        if status not in ENDED_STATUSES:
            self.finish(execution_id, "canceled", ran=status in ("running", "paused"))

    def list_resources(self, kind, pack="poundcake", trigger=None):
        self._answer("list_resources")
        assert (kind, pack) == ("rules", "poundcake"), "FakeContent has the others"
        if trigger == "poundcake.alert":
            return copy.deepcopy(self.disabled_rules)
        if trigger:
            return copy.deepcopy(self.listeners)
        return copy.deepcopy(list(self.pack_rules.values()))

    def save_resource(self, kind, document, id_):
        self._answer("save_resource")
        self.pack_rules[id_] = copy.deepcopy(document)

    def register(self, *names):
        """Register rules of the pack that ship off, as StackStorm does: they are off."""
        for name in names:
            ref = "poundcake." + name
            self.pack_rules[ref] = {"id": ref, "ref": ref, "name": name, "enabled": False}
            self.pack_rules[ref]["tags"] = []

    def get_resource(self, kind, ref):
        self._answer("get_resource")
        assert kind == "rules", "FakeContent has the others"
        if ref in self.pack_rules:
            return copy.deepcopy(self.pack_rules[ref])
        return next(({"ref": ref, "enabled": True} for r in self.rules if r["ref"] == ref), None)

    def get_execution(self, execution_id):
        self._answer("get_execution")
        return copy.deepcopy(self.executions.get(execution_id))

    def ping(self):
        self._answer("ping")

    # --- what the tests do to it ------------------------------------------------------------------

    def fail(self, method, times=1):
        """Make the next calls of a method raise, as when the API is away for a moment."""
        self._failing[method] = times

    def ttl(self, name):
        """Return how many seconds a key has left, None when it stays for good."""
        end = self._expires.get(name)
        return None if end is None else end - self._now()

    def rule(
        self,
        ref,
        matches=lambda payload: True,
        failure="",
        trigger="poundcake.alert",
        runner="noop",
    ):
        """Add a rule that starts ``core.noop``, or what has another runner."""
        self.rules.append(
            {
                "ref": ref,
                "trigger": trigger,
                "action_ref": "core.noop",
                "matches": matches,
                "failure": failure,
                "runner": runner,
            }
        )

    def dispatch(self, trigger, payload, trace_tag=None):
        """Put a trigger on the bus, where it waits for ``process``."""
        if self.bus_away:
            raise ConnectionError("'NoneType' object has no attribute 'channel'")
        self._call()
        self.events.append(("dispatch", trigger))
        if self.swallow:
            return
        self.instances.append(
            {
                "id": "instance%d" % next(self._numbers),
                "trigger": trigger,
                "payload": copy.deepcopy(payload),
                "trace_tag": trace_tag,
                "status": "pending",
                "occurrence_time": clock.to_text(self._now()),
            }
        )

    def get_stuck(self, instance, status="processing"):
        """Make the rules engine die over a trigger instance: it stays as it is for good."""
        instance.update(status=status, stuck=True)

    def process(self):
        """Evaluate the rules on every trigger instance that waits."""
        for instance in self.instances:
            if instance["status"] == "pending" and not instance.get("stuck"):
                for rule in self.rules:
                    if rule["trigger"] == instance["trigger"] and rule["matches"](
                        instance["payload"]
                    ):
                        self._enforce(rule, instance)
                instance["status"] = "processed"

    def lose(self, execution_id, status="requested"):
        """Let StackStorm forget an execution before it runs: it keeps that status for good."""
        self.executions[execution_id]["status"] = status

    def finish(self, execution_id, status="succeeded", result=None, ran=True):
        """End an execution; ``ran`` says whether it did before that."""
        execution = self.executions[execution_id]
        execution["status"] = status
        passed = ["requested", "scheduled"] + ["running"] * ran + [status]
        execution["log"] = [{"status": name} for name in passed]
        execution["result"] = {} if result is None else result
        execution["end_timestamp"] = clock.to_text(self._now())

    def ask(self, execution_id, minutes=60, route="poundcake", **fields):
        """Make an execution wait for a person, as ask_approval does; return the inquiry's id."""
        self.executions[execution_id]["status"] = "paused"
        below = {"parent": execution_id, "status": "paused"}
        below = self._begin("poundcake.ask_approval", {}, **below)
        more = {"parent": below, "status": "pending", "result": {}}
        described = {"approved": {"type": "boolean", "description": "Restart it? It is down"}}
        schema = {"type": "object", "properties": dict(described, **fields)}
        return self._begin("core.ask", {"route": route, "ttl": minutes, "schema": schema}, **more)

    def running(self):
        """Return the ids of the executions that have not ended."""
        return [i for i, item in self.executions.items() if item["status"] == "running"]

    def dispatched(self, trigger="poundcake.alert"):
        """Return the payloads of the instances of a trigger, in order."""
        return [i["payload"] for i in self.instances if i["trigger"] == trigger]

    def track(self, pack_settings):
        """Do what the rule and the action ``track`` do with every tracking trigger so far."""
        counts = []
        for instance in self.instances:
            if instance["trigger"] == "poundcake.tracking" and not instance.get("tracked"):
                instance["tracked"] = True
                counts.append(outbox.track(self, instance["payload"]["batch_id"], pack_settings))
        return counts

    def rows(self, prefix):
        """Return the decoded rows whose key begins with a prefix, without failing."""
        self._expire()
        return [json.loads(t) for n, t in sorted(self.keys.items()) if n.startswith(prefix)]

    def _enforce(self, rule, instance):
        enforcement = {
            "trigger_instance_id": instance["id"],
            "rule": {"ref": rule["ref"]},
            "enforced_at": clock.to_text(self._now()),
        }
        if rule["failure"]:
            enforcement["failure_reason"] = rule["failure"]
        else:
            execution_id = "execution%d" % next(self._numbers)
            enforcement["execution_id"] = execution_id
            self.executions[execution_id] = {
                "id": execution_id,
                "status": "running",
                "start_timestamp": clock.to_text(self._now()),
                "rule": {"ref": rule["ref"]},
                "action": {"ref": rule["action_ref"]},
                "runner": {"name": rule["runner"]},
                "trigger_name": instance["trigger"].split(".", 1)[1],
            }
        self.enforcements.append(enforcement)

    def _call(self):
        self.calls += 1
        if self.calls == self.die_at:
            raise Killed()

    def _answer(self, method):
        self._call()
        if self._failing.get(method):
            self._failing[method] -= 1
            raise StackStormError("GET /fake: %s fails as the test wants it" % method)
        if self.away:
            raise StackStormError("GET /fake: connection refused")
        self._expire()

    def _expire(self):
        for name, end in self._expires.copy().items():  # listeners' threads ask, too
            if end is not None and end <= self._now():
                self.keys.pop(name, None)
                del self._expires[name]


class FakeContent:
    """The part of ``StackStorm`` that deals with packs' content; it refuses the name ``refuse``."""

    def __init__(self):
        self.refuse = None
        self.files = {}
        self.writes = []
        self.found = {
            "packs": {"poundcake": {}},
            "config_schemas": {},
            "runnertypes": {"noop": {"runner_parameters": {}}},
            "actions": {"core.noop": {"pack": "core", "name": "noop", "runner_type": "noop"}},
            "rules": {},
        }

    def get_resource(self, kind, ref):
        return copy.deepcopy(self.found[kind].get(ref))

    def list_resources(self, kind, **filters):
        items = copy.deepcopy(list(self.found[kind].values()))
        if "trigger" in filters:
            triggers = {id(item): (item.get("trigger") or {}).get("type") for item in items}
            items = [item for item in items if triggers[id(item)] == filters["trigger"]]
        return [item for item in items if filters.get("pack", item["pack"]) == item["pack"]]

    def get_entry_point(self, action_ref):
        return self.files.get(action_ref)

    def save_resource(self, kind, document, id_=None):
        ref = "%(pack)s.%(name)s" % document
        if document["name"] == self.refuse:
            raise StackStormError("POST /%s: 400 no" % kind)
        assert id_ == (ref if ref in self.found[kind] else None)
        document = dict(copy.deepcopy(document), id=ref)
        for file in document.pop("data_files", ()):
            self.files[ref] = file["content"]
        self.found[kind][ref] = document
        self.writes.append((kind, ref))

    def delete_resource(self, kind, id_):
        del self.found[kind][id_]
        self.writes.append((kind, id_))
