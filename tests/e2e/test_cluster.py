"""Two real Alertmanagers in front of one listener: one remediation an episode, whatever they send.

Prometheus posts every alert to both. In a cluster they tell each other what has been sent, and as a
rule one of them sends; cut off from each other, both send everything.
"""

import json
import os
from datetime import datetime, timedelta, timezone

import pytest
import requests

from tests.demo import servers
from tests.support.guarded import reach, remediations
from tests.support.tracking import states_of
from tests.support.world import open_world, unique

pytestmark = pytest.mark.skipif(
    servers.PROGRAMS["alertmanager"][0] in servers.missing(),
    reason="bash tests/demo/install_servers installs Alertmanager",
)
ALERTS = 3
ONE_LIFE = ["received", "remediating", "remediated", "resolved"]


class Peer(servers.Alertmanager):
    """An Alertmanager with high availability on; every alert is a group of its own.

    :param peers: addresses at which it finds others, as their ``gossip`` says.
    """

    def __init__(self, folder, webhook, peers=()):
        super().__init__(folder, [webhook], group_by=["..."])
        self.gossip = "127.0.0.1:%d" % servers.free_port()
        self._peers = peers

    def members(self):
        """How many Alertmanagers it is together with, itself included."""
        cluster = requests.get(self.url + "/api/v2/status", timeout=10).json()["cluster"]
        return len(cluster["peers"]) if cluster["status"] == "ready" else 0

    def _command(self):
        command = [part for part in super()._command() if "--cluster" not in part]
        command += ["--cluster.listen-address=" + self.gossip]
        command += ["--cluster.advertise-address=" + self.gossip]
        # The second waits 15 s for the first, as by default: on a busy machine 2 s are too few.
        command += ["--cluster.gossip-interval=50ms"]
        return command + ["--cluster.peer=" + peer for peer in self._peers]


def rfc3339(**later):
    """The time now, or so much later, as Prometheus writes it."""
    now = datetime.now(timezone.utc)  # noqa: UP017 - a real StackStorm's Python may be 3.8
    return (now + timedelta(**later)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.fixture(params=["cluster", "split"])
def pair(request, world, tmp_path):
    """Two Alertmanagers that know each other, or two that do not."""
    receiver = servers.webhook(
        world.listener_url + "/webhook", token=os.environ.get("LISTENER_TOKEN")
    )
    together = request.param == "cluster"
    with Peer(tmp_path / "a", receiver) as first:
        with Peer(tmp_path / "b", receiver, [first.gossip] if together else []) as second:
            both = (first, second)
            members = 2 if together else 1
            servers.wait_until(lambda: {am.members() for am in both} == {members}, "the cluster")
            yield both, together


def stored(world, fingerprint):
    """The row of an alert."""
    return json.loads(world.api("GET", "/keys/poundcake.alert." + fingerprint)["value"])


def lives(row):
    """The states of each episode, without those that are only a peer that lagged.

    A peer that is slow tells of the firing after the other has told of the resolve. That is held
    (reopen_seconds) and resolved, with nothing done.
    """
    found = []
    for state in states_of(row):
        if state == "received":
            found.append([])
        found[-1].append(state)
    return [life for life in found if life != ["received", "pending", "resolved"]]


def wait_sent(pair, count):
    """Wait until so many notifications have been sent: by each when split, else by both."""
    both, together = pair

    def is_sent():
        sent = [am.notifications()[0] for am in both]
        return sum(sent) >= count if together else min(sent) >= count

    servers.wait_until(is_sent, "%d notifications" % count)


def test_a_pair_of_alertmanagers_causes_one_remediation_an_episode(world, pair):
    """Two episodes of three alerts, fired and resolved at both: two executions an alert."""
    both, together = pair
    name = unique("AmPair")
    alerts = [
        {"alertname": name, "instance": "web-%02d:9100" % number, "severity": "critical"}
        for number in range(ALERTS)
    ]

    def post(starts_at, ends_at):
        for am in both:
            am.post([{"labels": each, "startsAt": starts_at, "endsAt": ends_at} for each in alerts])

    with world.rule(name, "core.noop"):
        for sent in (0, 2 * ALERTS):
            starts_at = rfc3339()
            post(starts_at, rfc3339(hours=1))
            wait_sent(pair, sent + ALERTS)
            fingerprints = [both[0].fingerprint(labels) for labels in alerts]
            for fingerprint in fingerprints:
                reach(world, fingerprint, "remediated")
            post(starts_at, rfc3339())
            wait_sent(pair, sent + 2 * ALERTS)
            for fingerprint in fingerprints:
                reach(world, fingerprint, "resolved")
    for fingerprint in fingerprints:
        if not together:
            # Fired and resolved, each told by both: what was sent twice has arrived.
            four = "the duplicates of %s" % fingerprint
            world.wait(lambda f=fingerprint: stored(world, f)["occurrences"] == 4, four)
        assert lives(stored(world, fingerprint)) == [ONE_LIFE] * 2
        assert len(remediations(world, fingerprint)) == 2


# --- what a pair says of startsAt -----------------------------------------------------------------

REOPEN_SECONDS = 5


@pytest.fixture(scope="module")
def quick(request, tmp_path_factory):
    """A world in which a firing after a resolve waits for seconds only, and its webhook."""
    if "ST2_API_URL" in os.environ:
        yield request.getfixturevalue("world")
        return
    with open_world(tmp_path_factory.mktemp("quick"), reopen_seconds=REOPEN_SECONDS) as found:
        yield found


@pytest.fixture
def alertmanager(quick, tmp_path):
    """One of a pair that hears from two Prometheus servers."""
    token = os.environ.get("LISTENER_TOKEN")
    with Peer(tmp_path / "am", servers.webhook(quick.listener_url + "/webhook", token=token)) as am:
        yield am


def seen(labels, starts_at, ends_at):
    return [{"labels": labels, "startsAt": starts_at, "endsAt": ends_at}]


def test_an_alert_whose_start_moves_back_resolves(quick, alertmanager):
    """A second Prometheus saw it earlier, and Alertmanager keeps the earliest start."""
    name = unique("AmMoves")
    labels = {"alertname": name, "instance": "web-01:9100"}
    later, earlier = rfc3339(seconds=-30), rfc3339(seconds=-60)
    with quick.rule(name, "core.noop"):
        alertmanager.post(seen(labels, later, rfc3339(minutes=5)))
        fingerprint = alertmanager.fingerprint(labels)
        reach(quick, fingerprint, "remediated")
        alertmanager.post(seen(labels, earlier, rfc3339(minutes=5)))
        alertmanager.post(seen(labels, earlier, rfc3339()))
        reach(quick, fingerprint, "resolved")
        assert len(remediations(quick, fingerprint)) == 1
    row = stored(quick, fingerprint)
    assert row["starts_at"][:23] == earlier[:23] and len(row["episodes"]) == 1


def test_an_alert_that_comes_back_with_the_same_start_is_remediated_again(quick, alertmanager):
    """Prometheus was away for so long that Alertmanager resolved the alert by itself."""
    name = unique("AmBack")
    labels = {"alertname": name, "instance": "web-01:9100"}
    starts_at = rfc3339(seconds=-60)
    with quick.rule(name, "core.noop"):
        alertmanager.post(seen(labels, starts_at, rfc3339(seconds=4)))
        fingerprint = alertmanager.fingerprint(labels)
        reach(quick, fingerprint, "resolved")
        alertmanager.post(seen(labels, starts_at, rfc3339(minutes=5)))
        reach(quick, fingerprint, "remediated")
        assert len(remediations(quick, fingerprint)) == 2
    states = states_of(stored(quick, fingerprint))
    assert states[-4:] == ["received", "pending", "remediating", "remediated"]


def test_an_alertmanager_that_restarts_without_its_state_starts_nothing_twice(
    quick, alertmanager, tmp_path
):
    """It says again what it has said already."""
    name = unique("AmLost")
    labels = {"alertname": name, "instance": "web-01:9100"}
    firing = seen(labels, rfc3339(seconds=-60), rfc3339(minutes=5))
    webhook = servers.webhook(
        quick.listener_url + "/webhook", token=os.environ.get("LISTENER_TOKEN")
    )
    with quick.rule(name, "core.noop"):
        alertmanager.post(firing)
        fingerprint = alertmanager.fingerprint(labels)
        reach(quick, fingerprint, "remediated")
        with Peer(tmp_path / "again", webhook) as again:
            again.post(firing)
            quick.wait(lambda: stored(quick, fingerprint)["occurrences"] == 2, "the repetition")
        assert len(remediations(quick, fingerprint)) == 1
