"""A steady stream of notifications, and what its alerts must have come to in the end."""

import threading

from tests.crash import checks
from tests.support.alerts import alert, notification

MOST_EPISODES = 4  # rows keep five
PAUSE_SECONDS = 0.15  # at the most, between two notifications


class Stream:
    """Fires, repeats and resolves alerts of one name, one notification after the other.

    :param world: where it posts; each notification again and again until it is acknowledged.
    :param name: the alertname.
    :param random: a random.Random.
    :param hosts: how many alerts there are.

    An alert is resolved only after its remediation, so ``expected`` is known whatever the pace.
    """

    def __init__(self, world, name, random, hosts):
        self._world = world
        self._name = name
        self._random = random
        self._alerts = {"host-%d:9100" % number: [] for number in range(hosts)}
        self._stopped = threading.Event()
        self.acknowledged = []

    def run(self):
        """Post until ``stop``."""
        while not self._stopped.wait(self._random.uniform(0, PAUSE_SECONDS)):
            remediated = {
                (row["instance"], row["starts_at"])
                for row in checks.rows(self._world, "alert")
                if row["state"] == "remediated"
            }
            hosts = self._random.sample(sorted(self._alerts), self._random.randint(1, 3))
            alerts = [self._next(host, remediated) for host in hosts]
            self.acknowledged.append(checks.post(self._world, notification(*alerts)))

    def stop(self):
        """Let ``run`` return after the notification that it is posting."""
        self._stopped.set()

    def expected(self):
        """``{instance: (state, [(starts_at, outcome of the one attempt)])}``."""
        return {
            host: (
                "resolved" if episodes[-1]["resolved"] else "remediated",
                [(episode["starts_at"], "remediated") for episode in episodes],
            )
            for host, episodes in self._alerts.items()
            if episodes
        }

    def _next(self, host, remediated):
        """The next alert of a host: a repeat, a resolve, or the first one of an episode."""
        episodes = self._alerts[host]
        last = episodes[-1] if episodes else None
        if last is None or (last["resolved"] and len(episodes) < MOST_EPISODES):
            last = {"starts_at": "2026-01-31T%02d:00:00.000000000Z" % len(episodes)}
            last["resolved"] = False
            episodes.append(last)
        elif (host, last["starts_at"]) in remediated and self._random.random() < 0.5:
            last["resolved"] = True
        status, start = "resolved" if last["resolved"] else "firing", last["starts_at"]
        entry = alert(alertname=self._name, status=status, instance=host, starts_at=start)
        if last["resolved"]:  # before the next episode begins, so that this is no peer that lags
            entry["endsAt"] = start.replace(":00:00.", ":30:00.")
        return entry
