"""A store in which every kind of row stands, as a sensor that was killed at work leaves it."""

import copy

from poundcake.st2 import inbox, outbox, rows
from poundcake.views import queries

from tests.support.alerts import alert, notification
from tests.support.pack import Pack

KINDS = (
    rows.INBOX,
    rows.OUTBOX,
    rows.REPORTS,
    rows.REQUEST,
    rows.ALERT,
    rows.EXECUTION,
    rows.CONTROL,
)
NEW = 9  # the host of an alert that comes after


def new_pack(**config):
    made = Pack(**config)
    made.stackstorm.rule("mine.fix", matches=lambda payload: payload["alertname"] != "Nobody")
    return made


def aside(pack):
    """Return what is set aside, by key."""
    return {entry["key"]: entry for entry in pack.stackstorm.rows(rows.ASIDE)}


def goes_on(pack, number=NEW):
    """Fail when a new alert does not get from the webhook to remediated."""
    pack.post(alert(number))
    for _ in range(60):
        pack.finish()
        pack.step()
        states = {row["host"]: row["state"] for row in pack.alerts() if row.get("host")}
        if states.get("web%d" % number) == "remediated" and not waits(pack):
            return
    raise AssertionError("it does not go on: %s" % states)


def waits(pack):
    return [key for key in pack.stackstorm.keys if key.startswith((rows.INBOX, rows.OUTBOX))]


def a_busy_store():
    """Return a pack that was killed at work: every kind of row is there, and a queue of each."""
    pack = new_pack()
    pack.post(alert(1), alert(2, alertname="Nobody"))
    pack.settle()
    pack.pause("Later")
    pack.post(alert(3), alert(4, alertname="Later"))
    pack.step()
    pack.stackstorm.process()
    pack.tick()
    pack.stackstorm.bus_away = True
    pack.post(alert(5), alert(1, status="resolved"))
    pack.tick()
    outbox.save_reports(pack.stackstorm, "", [("poundcake.lifecycle", {"to": "failed"}, None)])
    inbox.accept(pack.stackstorm, notification(alert(6)), inbox.LISTENER)
    pack.stackstorm.bus_away = False
    assert {rows.prefix_of(key) for key in pack.stackstorm.keys} >= set(KINDS)
    return pack


BUSY = a_busy_store()


def started_with(change):
    """Start a new process on a copy of the busy store, changed by ``change(keys)``."""
    pack = new_pack()
    pack.clock.now = BUSY.clock.now
    for name in ("keys", "_expires", "instances", "enforcements", "executions"):
        setattr(pack.stackstorm, name, copy.deepcopy(getattr(BUSY.stackstorm, name)))
    change(pack.stackstorm.keys)
    pack.start()
    return pack


def answers(pack):
    """Return what the actions that list rows answer."""
    stackstorm = pack.stackstorm
    return [
        queries.list_alerts(stackstorm, "", "", "", "", 100),
        queries.list_requests(stackstorm, 100),
        queries.list_executions(stackstorm, "", "", "", "", "", "", 100),
        queries.get_stats(stackstorm),
    ]
