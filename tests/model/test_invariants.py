"""Whatever happens, in whatever order: the invariants hold, and in the end nothing is left over.

Hypothesis draws what Alertmanager sends, how remediations end, what operators do, what is away and
when the process is killed; after every step all of it is looked at.
"""

import collections

from hypothesis import given, settings
from hypothesis import strategies as st
from poundcake import clock
from poundcake.core import limits, payload
from poundcake.core.alert import REMEDIATED, UNCOUNTED, attempts_of, current_hold, open_attempts
from poundcake.errors import ExpectedError
from poundcake.operators import commands
from poundcake.sensor.publisher import BusBroken
from poundcake.st2 import rows, triggers
from poundcake.st2.client import StackStormError

from tests.support.alerts import alert
from tests.support.fakes import PROPERTY, Killed, make_settings
from tests.support.pack import Pack

# Two of one host, one of them with a second disk, and two further hosts.
ALERTS = [
    {"number": 1},
    {"number": 1, "disk": "b"},
    {"number": 1, "alertname": "HostDown"},
    {"number": 2, "severity": "warning"},
    {"number": 3},
]
STARTS = [0, 600, None]  # seconds before the first notification; None is now
METHODS = ["set_key", "list_keys", "get_key", "delete_key", "list_trigger_instances"]
METHODS += ["list_enforcements", "list_executions", "get_execution"]

_alerts = st.tuples(
    st.sampled_from(ALERTS), st.sampled_from(STARTS), st.sampled_from(["firing"] * 3 + ["resolved"])
)
_ends = st.sampled_from(["succeeded", "failed", "failed", "never_ran", "canceled", "lost"])
_moments = st.sampled_from([1, 1, 3, 20, 70, 400, 4000])
_traffic = st.one_of(
    st.tuples(st.just("post"), st.lists(_alerts, min_size=1, max_size=4)),
    st.tuples(st.just("step"), _moments),
    st.tuples(st.just("step"), _moments),
    st.tuples(st.just("tick"), _moments),
    st.tuples(st.just("finish"), st.integers(0, 5), _ends),
    st.tuples(st.just("finish"), st.integers(0, 5), _ends),
)
_operators = st.one_of(
    st.tuples(st.just("pause"), st.sampled_from(["", "ServiceDown"])),
    st.tuples(st.just("resume")),
    st.tuples(st.just("dry_run"), st.booleans()),
    st.tuples(
        st.just("order"), st.integers(0, 5), st.sampled_from(["retry"] * 2 + ["acknowledge"])
    ),
)
_faults = st.one_of(
    st.tuples(st.just("kill_in"), st.integers(1, 40)),
    st.tuples(st.just("restart")),
    st.tuples(st.just("fail"), st.sampled_from(METHODS)),
    st.tuples(st.just("break_publisher")),
    st.tuples(st.just("lose"), st.booleans()),
    st.tuples(st.just("get_stuck")),
)
_steps = st.lists(
    st.one_of(_traffic, _traffic, _traffic, _operators, _faults), min_size=5, max_size=40
)
_configs = st.fixed_dictionaries(
    {
        "max_concurrent": st.integers(1, 3),
        "max_attempts": st.integers(1, 3),
        "serialize_by": st.sampled_from(["host", "target", "none", "disk"]),
        "rate_limit": st.sampled_from([(), ("2/1h",), ("1/10m", "3/1d")]),
        "breaker_failures": st.sampled_from([0, 2]),
        "cooldown_seconds": st.sampled_from([0, 300]),
        "reopen_seconds": st.sampled_from([0, 60]),
        "cancel_on_resolve": st.booleans(),
        "attempt_seconds": st.sampled_from([120, 3600]),
    }
)


class Ward:
    """A pack to which things happen, and what must be true of it all the time."""

    def __init__(self, config):
        self.config = config
        self.pack = Pack(**config)
        self.pack.stackstorm.rule("mine.fix")
        self.began = self.pack.clock()
        self.paused = None  # alertname, "" for everything
        self.lost = False
        self.frozen = None  # the automatic attempts when the sensor had seen the pause

    # --- what happens -----------------------------------------------------------------------------

    def do(self, step):
        """Let one thing happen, and start the sensor again when that killed it."""
        try:
            getattr(self, step[0])(*step[1:])
        except StackStormError:
            pass  # the sensor tries again, Alertmanager and people too
        except Killed:
            self.restart()
        except BusBroken:
            self.restart()
        self.check()

    def post(self, items):
        entries = []
        for named, before, status in items:
            at = self.pack.clock() if before is None else self.began - before
            entries.append(alert(status=status, starts_at=clock.to_text(at), **named))
        self.pack.post(*entries)

    def step(self, seconds):
        self.pack.step(seconds)
        self.freeze()

    def tick(self, seconds):
        """The rules engine is behind."""
        self.pack.tick(seconds)
        self.freeze()

    def finish(self, index, how):
        running = self.pack.stackstorm.running()
        if running:
            execution_id = running[index % len(running)]
            if how == "lost":
                self.pack.stackstorm.lose(execution_id)
            else:
                status = "failed" if how == "never_ran" else how
                self.pack.stackstorm.finish(execution_id, status, ran=how != "never_ran")

    def pause(self, alertname):
        if self.paused is None:
            self.pack.pause(alertname)
            self.paused = alertname

    def resume(self):
        if self.paused is not None:
            self.pack.resume(self.paused)
            self.paused = self.frozen = None

    def dry_run(self, dry):
        self.pack.settings = make_settings(**dict(self.config, dry_run=dry))
        self.restart()
        self.frozen = self.automatic() if dry else None

    def order(self, index, do):
        found = self.pack.alerts()
        if found:
            named = (found[index % len(found)]["fingerprint"], "", "")
            arguments = (named, "a reason", "ann", self.pack.clock())
            try:
                commands.command(self.pack.stackstorm, do, *arguments)
            except ExpectedError:
                pass

    def kill_in(self, calls):
        self.pack.stackstorm.die_at = self.pack.stackstorm.calls + calls

    def restart(self):
        stackstorm = self.pack.stackstorm
        stackstorm.bus_away = stackstorm.bus_answers = False
        while True:
            try:
                return self.pack.restart()
            except StackStormError:
                pass

    def fail(self, method):
        self.pack.stackstorm.fail(method)

    def break_publisher(self):
        self.pack.stackstorm.bus_away = self.pack.stackstorm.bus_answers = True

    def lose(self, lose):
        """The bus takes triggers and loses them."""
        self.lost = True
        self.pack.stackstorm.swallow = lose

    def get_stuck(self):
        for instance in self.pack.stackstorm.instances:
            if instance["trigger"] == triggers.ALERT and instance["status"] == "pending":
                self.pack.stackstorm.get_stuck(instance)

    # --- what must be true ------------------------------------------------------------------------

    def freeze(self):
        """The sensor has looked: from now on nothing begins that a person forbids."""
        if self.paused is not None and self.frozen is None:
            self.frozen = self.automatic()

    @property
    def alerts(self):
        return list(self.pack.controller._ledger.alerts.values())

    def automatic(self):
        """Return the dispatch ids of the attempts that no person asked for."""
        return {
            attempt["dispatch_id"]
            for row in self.alerts
            for attempt in row["attempts"]
            if not attempt["by"] and self.paused in (None, "", row["alertname"])
        }

    def check(self):
        window = self.pack.settings.admission.max_concurrent
        running = self.running()
        assert len(running) <= window and self.pack.controller._ledger.in_flight <= window
        for row in self.alerts:
            assert len(open_attempts(row)) <= 1
            for episode in row["episodes"]:
                self.check_attempts(row, episode["id"])
        if self.config["serialize_by"] in ("host", "target"):
            self.check_distinct(item["host"] for item in running)
        if self.config["serialize_by"] == "disk":
            self.check_distinct(i["labels"]["disk"] for i in running if "disk" in i["labels"])
        self.check_rates()
        if self.frozen is not None:
            assert self.automatic() <= self.frozen, "dispatched in a pause or a dry run"

    def check_attempts(self, row, episode):
        attempts = attempts_of(row, episode)
        assert [a["attempt"] for a in attempts] == list(range(1, 1 + len(attempts)))
        counted = [a for a in attempts if a["outcome"] not in UNCOUNTED and not a["by"]]
        assert len(counted) <= self.pack.settings.admission.max_attempts

    def check_distinct(self, values):
        assert not [value for value, n in collections.Counter(values).items() if n > 1]

    def check_rates(self):
        began = collections.defaultdict(list)
        for row in self.alerts:
            for a in row["attempts"]:
                if a["outcome"] not in UNCOUNTED:
                    at = clock.to_seconds(a["dispatched_at"])
                    began[limits.rate_keys(row)["rate"]].append((at, a["by"]))
        for times in began.values():
            for at, by in times:
                for count, seconds in self.pack.settings.admission.rates["rate"]:
                    within = [other for other, _ in times if at - seconds < other <= at]
                    assert by or len(within) <= count

    def running(self):
        """Return the payloads for which something runs; each was processed once."""
        stackstorm = self.pack.stackstorm
        instances = {i["id"]: i for i in stackstorm.instances if i["trigger"] == triggers.ALERT}
        processed = [i["payload"] for i in instances.values() if i["status"] == "processed"]
        self.check_distinct(item["dispatch_id"] for item in processed)
        alive = set(stackstorm.running())
        started = [e for e in stackstorm.enforcements if e.get("execution_id") in alive]
        return [instances[e["trigger_instance_id"]]["payload"] for e in started]

    def end_well(self):
        """Mend everything; nothing may be left over then, and every change was told."""
        self.pack.stackstorm.die_at = None
        self.pack.stackstorm.swallow = False
        self.pack.stackstorm._failing.clear()
        self.resume()
        self.dry_run(False)
        self.pack.settle(steps=1000)
        self.pack.steps(120, "succeeded")  # what got lost, of an alert that has resolved since
        held = {row["fingerprint"] for row in self.pack.alerts() if current_hold(row)}
        for request in self.pack.stackstorm.rows(rows.REQUEST):
            waits = held & {entry["fingerprint"] for entry in request["alerts"]}
            assert request["completed_at"] or waits
        told = {(item["fingerprint"], item["to"]) for item in self.pack.told()}
        for row in self.pack.alerts():
            assert row["reason"] or row["state"] in (REMEDIATED, payload.RESOLVED)
            for entry in row["history"]:
                assert (row["fingerprint"], entry["state"]) in told or self.lost
        self.check()


@settings(PROPERTY, max_examples=150)
@given(_configs, _steps)
def test_no_sequence_of_events_breaks_an_invariant(config, steps):
    """Notifications, ends, operators, faults and kills; in the end nothing waits."""
    ward = Ward(config)
    for step in steps:
        ward.do(step)
    ward.end_well()
