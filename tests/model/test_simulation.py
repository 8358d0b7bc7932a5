"""An hour of mixed traffic in a few seconds, reconciled to the last alert with a simple model.

The controller runs over a StackStorm in memory, with a clock that the test moves. The model knows
what DESIGN.md says of admission, and nothing of the code.
"""

import collections
import dataclasses
import itertools
import os
import random

import pytest
from poundcake import clock
from poundcake.st2 import rows, triggers

from tests.support.alerts import alert
from tests.support.pack import Pack

pytestmark = pytest.mark.soak

HOUR = 3600
ALERTS_OF_A_KIND = 2
GROUPS = 4
GROUP_INTERVAL = 30  # every group is told again so often: a short repeat_interval
# So much later an Alertmanager that is cut off from the first says the same, for some groups. It
# heard of the alert from a Prometheus that saw it a little later.
SECOND_PEERS = {1: 3, 3: 35}
SEEN_LATER = 2
REOPEN = 60
COOLDOWN, FACTOR, MOST = 330, 2, 3
# alertname -> how long its remediation takes, and how it ends
REMEDIATIONS = {"Quick": (12, "succeeded"), "Slow": (140, "succeeded"), "Broken": (12, "failed")}
# The sensor sees an end a second or three after it, and what follows is as much later. What comes
# closer to an end than this is left out: the model cannot know what it meets.
SEEN_AFTER, MARGIN = 2, 6
CONFIG = {
    "max_concurrent": 100,
    "serialize_by": "none",
    "rate_limit": (),
    "breaker_failures": 0,
    "cooldown_seconds": COOLDOWN,
    "backoff_factor": FACTOR,
    "max_attempts": MOST,
}


# --- what Alertmanager sends ----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Entry:
    """An alert in a notification; its times are in seconds since the hour began."""

    number: int
    name: str
    status: str
    starts_at: int
    ends_at: int


def periods(dice, kind):
    """When an alert fires, as ``(start, end)`` in seconds since the hour began."""
    start, found = dice.randint(0, 300), []
    if kind == "steady":
        return [(start, 2 * HOUR)]
    if kind == "once":
        return [(start, start + dice.randint(70, 900))]
    while start < HOUR:
        end = start + dice.randint(30, 180)
        found.append((start, end))
        start = end + dice.randint(20, 120)
    return found


def notifications(dice):
    """Return ``{second: [list of Entry]}`` for the hour: grouped, repeated, some sent by two."""
    kinds = itertools.product(REMEDIATIONS, ["steady", "flapping", "flapping", "once"])
    sources = [
        (number, name, periods(dice, kind))
        for number, (name, kind) in enumerate(list(kinds) * ALERTS_OF_A_KIND)
    ]
    sent = collections.defaultdict(list)
    for group in range(GROUPS):
        told = {}  # number -> when what was last said to be firing starts and ends
        for now in range(group * 7, HOUR, GROUP_INTERVAL):
            entries = list(_group(sources[group::GROUPS], told, now))
            if entries:
                sent[now].append(entries)
                if group in SECOND_PEERS:
                    sent[now + SECOND_PEERS[group]].append([_of_second_peer(e) for e in entries])
    return sent


def _of_second_peer(entry):
    return dataclasses.replace(entry, starts_at=entry.starts_at + SEEN_LATER)


def _group(sources, told, now):
    """Yield what Alertmanager says of a group: what fires, and once what no longer does."""
    for number, name, times in sources:
        firing = [(start, end) for start, end in times if start <= now < end]
        if firing:
            told[number] = firing[0]
            yield Entry(number, name, "firing", *firing[0])
        elif number in told:
            yield Entry(number, name, "resolved", *told.pop(number))


# --- what must come of it -------------------------------------------------------------------------


@dataclasses.dataclass
class Episode:
    """A firing period: when its attempts ended, and how often it was spoken of.

    ``waits_until``: until then it may be a peer that lags.
    """

    starts: list
    waits_until: float = 0
    resolved_at: float = 0
    ended_at: int = 0
    ends: list = dataclasses.field(default_factory=list)
    occurrences: int = 0
    is_resolved: bool = False
    is_exhausted: bool = False

    @property
    def starts_at(self):
        return min(self.starts)


class Model:
    """One alert: which decision every notification of it must get, and what must be dispatched."""

    def __init__(self, name):
        self._lasts, self._outcome = REMEDIATIONS[name]
        self._busy_until = None
        self._waits = None  # the episode that waits for the attempt of an older one to end
        self.episodes = []
        self.reopened = 0
        self.attempts = []  # (starts_at of the episode by then, attempt)

    def decide(self, entry, now):
        """Return the decision on an entry that is decided at a time."""
        self.catch_up(now)
        last = self.episodes[-1] if self.episodes else None
        is_new = last is None or (last.is_resolved and entry.status == "firing")
        if is_new:
            self.episodes.append(Episode([]))
        episode = self.episodes[-1]
        episode.starts.append(entry.starts_at)
        episode.occurrences += 1
        if episode.is_resolved:
            return "duplicate"
        if entry.status == "resolved":
            episode.is_resolved, episode.resolved_at, episode.ended_at = True, now, entry.ends_at
            return "resolve"
        if not is_new:
            return self._repeat(episode, now)
        if last and not self._began_after(last, entry) and now < last.resolved_at + REOPEN:
            episode.waits_until = last.resolved_at + REOPEN
            self.reopened += 1
            return "pend"
        return self._start(episode, now)

    @staticmethod
    def _began_after(last, entry):
        return entry.starts_at > max(last.ended_at, *last.starts)

    def is_close(self, now):
        """Whether something ends just now: a remediation, or a cooldown."""
        self.catch_up(now - MARGIN)
        ends = [self._busy_until]
        if self.episodes:
            latest = self.episodes[-1]
            ends += [latest.waits_until, latest.resolved_at + REOPEN]
            if latest.ends:
                ends.append(self._cooled(latest))
        return any(end is not None and abs(now - end) <= MARGIN for end in ends)

    def catch_up(self, now):
        """Let happen what time alone brings: a release, and the end of a last attempt in vain."""
        latest = self.episodes[-1] if self.episodes else None
        if latest and 0 < latest.waits_until <= now:
            until, latest.waits_until = latest.waits_until, 0
            self.catch_up(until)
            if not latest.is_resolved:
                self._start(latest, until + SEEN_AFTER)
        if self._busy_until is None or now < self._busy_until:
            return
        episode, self._waits = self._waits, None
        ended, self._busy_until = self._busy_until, None
        latest = self.episodes[-1]
        if self._outcome == "failed" and len(latest.ends) == MOST and not latest.is_resolved:
            latest.is_exhausted = True
        if episode and not episode.is_resolved:
            self._dispatch(episode, ended + SEEN_AFTER)
            self.catch_up(now)

    def state(self):
        """The state in which the alert must be in the end."""
        latest = self.episodes[-1]
        if latest.is_resolved:
            return "resolved"
        if latest.is_exhausted:
            return "exhausted"
        return "failed" if self._outcome == "failed" else "remediated"

    def _start(self, episode, now):
        if self._busy_until is not None:
            self._waits = episode
            return "pend"
        return self._dispatch(episode, now)

    def _repeat(self, episode, now):
        if self._busy_until is not None or episode.waits_until:
            return "duplicate"
        if episode.is_exhausted:
            return "suppress"
        if now < self._cooled(episode):
            return "duplicate"
        if len(episode.ends) < MOST:
            return self._dispatch(episode, now)
        episode.is_exhausted = True
        return "suppress"

    @staticmethod
    def _cooled(episode):
        """When the cooldown after the last attempt is over; it doubles with every attempt."""
        return episode.ends[-1] + COOLDOWN * FACTOR ** (len(episode.ends) - 1)

    def _dispatch(self, episode, now):
        self._busy_until = now + self._lasts
        episode.ends.append(self._busy_until)
        self.attempts.append((episode.starts_at, len(episode.ends)))
        return "dispatch"


# --- both -----------------------------------------------------------------------------------------


class Hour:
    """The pack and the model, given the same notifications."""

    def __init__(self):
        self.pack = Pack(**CONFIG)
        self.began = self.pack.clock()
        for name in REMEDIATIONS:
            self.pack.stackstorm.rule(name, lambda payload, n=name: payload["alertname"] == n)
        self.models = {}
        self.decisions = collections.Counter()
        self.left_out = 0

    def pass_second(self, notifications):
        """Post some notifications and let one second go by."""
        self._finish()
        now = self.pack.clock() - self.began + 1  # the sensor decides in its next tick
        for entries in notifications:
            alerts = []
            for entry in entries:
                model = self.models.setdefault(entry.number, Model(entry.name))
                if model.is_close(now):
                    self.left_out += 1
                    continue
                self.decisions[model.decide(entry, now)] += 1
                alerts.append(self._alert(entry))
            self.pack.post(*alerts)
        self.pack.step()

    def text(self, starts_at):
        """A time of the model's as rows write it."""
        return clock.canonical(clock.to_text(self.began + starts_at))

    def _alert(self, entry):
        labels = {"alertname": entry.name}
        made = alert(entry.number, entry.status, self.text(entry.starts_at), **labels)
        return dict(made, endsAt=self.text(entry.ends_at))

    def _finish(self):
        """End the executions that have run long enough."""
        stackstorm = self.pack.stackstorm
        for execution_id in stackstorm.running():
            execution = stackstorm.executions[execution_id]
            lasts, outcome = REMEDIATIONS[execution["rule"]["ref"]]
            if self.pack.clock() - clock.to_seconds(execution["start_timestamp"]) >= lasts:
                stackstorm.finish(execution_id, outcome)


def test_an_hour_of_mixed_traffic_is_reconciled_exactly():
    """Decisions, episodes, attempts, occurrences and states are those that the model foretells."""
    seed = int(os.environ.get("SIMULATION_SEED") or random.randrange(10**6))
    print("SIMULATION_SEED=%d" % seed)
    sent = notifications(random.Random(seed))
    hour = Hour()
    pack, stackstorm = hour.pack, hour.pack.stackstorm
    for second in range(HOUR + 600):
        hour.pass_second(sent.get(second, []))
    for model in hour.models.values():
        model.catch_up(HOUR + 600)
    assert not [key for key in stackstorm.keys if key.startswith((rows.INBOX, rows.OUTBOX))]

    entries = [e for request in stackstorm.rows(rows.REQUEST) for e in request["alerts"]]
    assert collections.Counter(entry["decision"] for entry in entries) == hour.decisions
    told = sum(len(one) for group in sent.values() for one in group)
    assert len(entries) == told - hour.left_out
    assert hour.left_out < told / 20

    foretold = {
        ("web%d" % number, hour.text(starts_at), attempt)
        for number, model in hour.models.items()
        for starts_at, attempt in model.attempts
    }
    dispatched = [
        (item["host"], item["starts_at"], item["attempt"]) for item in stackstorm.dispatched()
    ]
    assert sorted(dispatched) == sorted(foretold)
    assert len(dispatched) == len(stackstorm.list_executions("alert", ""))

    seen = {(row["host"], row["starts_at"], row["occurrences"]) for row in pack.alerts()}
    latest = {"web%d" % number: model.episodes[-1] for number, model in hour.models.items()}
    assert seen == {(h, hour.text(e.starts_at), e.occurrences) for h, e in latest.items()}
    states = {row["host"]: row["state"] for row in pack.alerts()}
    assert states == {"web%d" % number: model.state() for number, model in hour.models.items()}

    episodes = [episode for model in hour.models.values() for episode in model.episodes]
    changes = collections.Counter(item["to"] for item in stackstorm.dispatched(triggers.LIFECYCLE))
    assert changes["received"] == len(episodes)
    assert changes["remediating"] == len(dispatched)
    assert changes["resolved"] == hour.decisions["resolve"]
    assert changes["exhausted"] == sum(episode.is_exhausted for episode in episodes)
    assert any(model.reopened for model in hour.models.values())
    # Every kind of decision was among them.
    assert set(hour.decisions) == {"dispatch", "pend", "duplicate", "suppress", "resolve"}
