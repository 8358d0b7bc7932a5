"""Remediations a second: bare, by a rule on StackStorm's own webhook, and through PoundCake.

Both start the same action as often; a rate ends with the last execution.
"""

import time
from concurrent.futures import ThreadPoolExecutor

from tests.support.world import unique

CLIENTS = 8
LONGEST_SECONDS = 600


def bare_rate(world, action, parameters, bodies):
    """Remediations a second when a rule on StackStorm's webhook starts an action.

    :param parameters: of the action; templates find a body as ``trigger.body``.
    :param bodies: what is posted to the webhook, one a remediation.
    """
    url = unique("bench-")
    rule = {
        "name": url,
        "pack": "default",
        "enabled": True,
        "trigger": {"type": "core.st2.webhook", "parameters": {"url": url}},
        "criteria": {},
        "action": {"ref": action, "parameters": parameters},
    }
    created = world.api("POST", "/rules", json=rule)
    try:
        world.wait(lambda: url in str(world.api("GET", "/webhooks")), "the webhook")

        def post():
            with ThreadPoolExecutor(CLIENTS) as pool:
                path = "/webhooks/" + url
                list(pool.map(lambda body: world.api("POST", path, json=body), bodies))

        return _rate(world, action, len(bodies), post)
    finally:
        world.api("DELETE", "/rules/" + created["id"])


def poundcake_rate(world, action, parameters, alertname, notifications):
    """Remediations a second when PoundCake starts an action.

    :param parameters: of the action; templates find an alert as ``trigger``.
    :param notifications: what is posted to the listener; their alerts are of this alertname.
    """
    count = sum(len(body["alerts"]) for body in notifications)
    request_ids = []

    def post():
        with ThreadPoolExecutor(CLIENTS) as pool:
            request_ids.extend(pool.map(lambda body: accepted(world, body), notifications))

    with world.rule(alertname, action, parameters):
        found = _rate(world, action, count, post)
        for request_id in request_ids:
            world.completed(request_id, timeout=LONGEST_SECONDS)
    return found


def accepted(world, body):
    """Post until it is taken: a full backlog answers 503, as it does to Alertmanager."""
    while True:
        status, answer = world.post(body)
        if status == 202:
            return answer["request_id"]
        time.sleep(0.5)


def quiet(world):
    """Wait until nothing is left to do: what is measured next must not meet earlier work.

    The queues are empty, and no more reports of state changes go out.
    """
    seen = [-1]

    def empty():
        keys = ("/keys?limit=1&prefix=poundcake.inbox.", "/keys?limit=1&prefix=poundcake.outbox.")
        if any(world.api("GET", path) for path in keys):
            return False
        seen.append(world.count("/triggerinstances", {"limit": 1}))
        time.sleep(2)
        return seen[-1] == seen[-2]

    world.wait(empty, "the queues to be empty", timeout=3600)


def _rate(world, action, count, post):
    succeeded, failed = (_ended(world, action, status) for status in ("succeeded", "failed"))
    start = time.perf_counter()
    post()
    while True:
        done = _ended(world, action, "succeeded") - succeeded
        if done >= count:
            return count / (time.perf_counter() - start)
        late = time.perf_counter() > start + LONGEST_SECONDS
        if late or _ended(world, action, "failed") > failed:
            raise SystemExit("%d of %d executions of %s succeeded" % (done, count, action))
        time.sleep(0.05)


def _ended(world, action, status):
    """How many executions of an action have ended so; asked so that it costs little."""
    params = {"action": action, "status": status, "include_attributes": "id", "limit": 1}
    return world.count("/executions", params)
