"""An engine with credentials beside real servers."""

import json
import uuid

from tests.support.tracking import states_of
from tests.support.world import World

TOKEN = "token-" + uuid.uuid4().hex
USERNAME = "alertmanager"
PASSWORD = "password-" + uuid.uuid4().hex


def world_of(engine):
    """The World around an engine of servers.Engine; its ``post`` sends the token."""
    environment = dict(engine.env, LISTENER_TOKEN=TOKEN)
    return World(engine.api_url, engine.api_key, engine.listener_url, environment)


def states(world, fingerprint):
    """The states of an alert so far, [] when PoundCake does not know it."""
    row = world.api("GET", "/keys/poundcake.alert." + fingerprint, ok=False)
    return states_of(json.loads(row["value"])) if "value" in row else []


def reach(world, fingerprint, state):
    """Wait until an alert is in a state."""
    what = "%s to be %s" % (fingerprint, state)
    world.wait(lambda: states(world, fingerprint)[-1:] == [state], what)


def remediations(world, fingerprint):
    """The executions of core.noop that StackStorm made for an alert."""
    path = "/executions?trigger_type=alert&action=core.noop&limit=100"
    found = world.api("GET", path)
    return [e for e in found if e["trigger_instance"]["payload"]["fingerprint"] == fingerprint]
