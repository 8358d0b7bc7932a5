"""10,000 mutated notifications over real HTTP: nothing crashes, and no valid sibling is lost."""

import copy
import http.client
import json
import os
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.crash.checks import listing
from tests.demo import servers
from tests.support.alerts import alert
from tests.support.world import ROOT, World

NOTIFICATIONS = 10000
CONNECTIONS = 8
MAX_BODY_BYTES = 65536
FIXTURES = sorted((ROOT / "tests" / "fixtures").glob("*.json"))
assert FIXTURES, "there is nothing to mutate"
NOTHING = object()
# <field>: <what is wrong>; a field may be a path such as alerts[3].labels.job
NAMES_A_FIELD = re.compile(r"[A-Za-z]\S*: \S")

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(
        bool(os.environ.get("ST2_API_URL")),
        reason="needs a config of its own: only the embedded engine can be given one",
    ),
]

ODD_VALUES = [
    *(None, True, False, 0, -1, 1.5, 10**30, -1e308, float("nan"), float("inf")),
    *("", " ", "x" * 5000, "\0", "\ud800", "\u2028", "🔥", "ﷺ" * 200, "resolved", "firing"),
    *("{{ 1 }}", "<% 1 %>", "{% for %}", "../../etc/passwd", "a/b?c#d", "-", "__proto__"),
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-02-30T00:00:00Z", "2026-01-31"),
    *("10000-01-01T00:00:00Z", "2026-01-31T12:00:00+99:99", "2026-01-31T12:00:00-14:00"),
    *([], {}, [[]], [None], {"": ""}, {"a": {"b": [1]}}, ["firing"], [{}]),
]
JSON_TYPES = ("application/json", "application/json; charset=utf-8", "Application/JSON")
OTHER_TYPES = (
    *("text/plain", "", "\xff", "application/x-www-form-urlencoded", "image/png"),
    "multipart/form-data; boundary=x",
)


def nested(levels):
    """A value of so many levels."""
    value = "deep"
    for _ in range(levels):
        value = [value] if levels % 2 else {"a": value}
    return value


def places(value):
    """Return ``(container, key)`` of everything inside a JSON value, which may be deep."""
    found, containers = [], [value]
    for container in containers:
        for key in list(container) if isinstance(container, dict) else range(len(container)):
            found.append((container, key))
            if isinstance(container[key], (dict, list)):
                containers.append(container[key])
    return found


def mutate(document, dice):
    """Change a decoded notification in one place: drop, replace, retype, rename, repeat, nest."""
    container, key = dice.choice(places(document))
    value = container[key]
    change = dice.randrange(7)
    if change == 0:
        del container[key]
    elif change in (1, 2):
        container[key] = copy.deepcopy(dice.choice(ODD_VALUES))
    elif change == 3:
        container[key] = dice.choice([[value], {"value": value}, str(value), [value, value]])
    elif change == 4 and isinstance(container, dict):
        container[dice.choice(["", "\ud83d", key + "\0", key.upper(), "labels"])] = value
    elif change == 5 and isinstance(container, list):
        container.insert(key, copy.deepcopy(value))
    else:
        container[key] = nested(dice.choice([10, 49, 51, 120, 200]))


def spoil(body, dice):
    """Change the bytes of a body in one place."""
    at = dice.randrange(len(body))
    levels = dice.choice([300, 499, 600, 5000])
    return dice.choice(
        [
            body[:at],
            body[:at] + bytes([dice.randrange(256)]) + body[at:],
            body[:at] + b"\xff\xfe" + body[at:],
            body[:at] + body[at + dice.randrange(1, 9) :],
            body[:-1] + b', "alerts": []}',
            body[:-1] + b', "version": "4", "status": 1e999}',
            body[:-1] + b', "deep": ' + b"[" * levels + b"]" * levels + b"}",
            body[:-1] + b', "truncatedAlerts": ' + b"9" * 5000 + b"}",
            body + b"}",
            body + b" " * MAX_BODY_BYTES,
            b"\xef\xbb\xbf" + body,
            body.decode("utf-8", "replace").encode("utf-16"),
            b"[" * 50000,
            b"",
        ]
    )


# Good alerts, one of which goes with every mutated notification. They resolve: no remediation.
SIBLINGS = [
    dict(
        alert(alertname="Sibling", status="resolved", instance="good-%d:9100" % n),
        fingerprint="600d%012x" % n,
    )
    for n in range(100)
]


def compose(dice):
    """Return a mutated notification with a good sibling in it, where it still has a list."""
    document = json.loads(dice.choice(FIXTURES).read_bytes())
    for _ in range(dice.choice([1, 1, 2, 4])):
        if document:
            mutate(document, dice)
    if isinstance(document.get("alerts"), list):
        place = dice.randint(0, len(document["alerts"]))
        document["alerts"].insert(place, dice.choice(SIBLINGS))
    text = json.dumps(document, ensure_ascii=dice.random() < 0.7)
    body = text.encode("utf-8", "surrogatepass")
    return spoil(body, dice) if dice.random() < 0.25 else body


def decoded(body):
    """The JSON value of a body as strict readers take it, NOTHING when there is none."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return NOTHING
    return NOTHING if "Infinity" in json.dumps(value) else value


def _refuse(name):
    raise ValueError(name)


def right_statuses(body):
    """What may be answered to a body besides 503."""
    if len(body) > MAX_BODY_BYTES:
        return {413}
    document = decoded(body)
    if not isinstance(document, dict) or not isinstance(document.get("alerts"), list):
        return {400}
    # Of nesting, one level more or less is not what this is about.
    return {202, 400} if body.count(b"[") + body.count(b"{") > 400 else {202}


class Sender:
    """One kept-alive connection to the listener."""

    def __init__(self, url):
        # An answer that takes longer is none.
        self._connection = http.client.HTTPConnection(url.split("://")[1], timeout=60)

    def post(self, body, content_type):
        """Post a body until the answer is not 503; return ``(status, decoded answer)``."""
        while True:
            headers = {"Content-Type": content_type}
            self._connection.request("POST", "/webhook", body, headers)
            answer = self._connection.getresponse()
            content = json.loads(answer.read())
            if answer.status != 503:
                return answer.status, content
            assert content["status"] == "unavailable"
            assert content["error"].startswith("backlog: "), content
            time.sleep(0.2)


def check_answer(body, status, answer):
    """Fail unless an answer fits what was sent."""
    assert status in right_statuses(body), (status, answer)
    if status == 202:
        assert answer["status"] == "accepted"
        assert answer["alerts_received"] == len(decoded(body)["alerts"])
        assert 0 <= answer["alerts_rejected"] <= answer["alerts_received"]
    else:
        assert answer["status"] == "rejected"
        assert NAMES_A_FIELD.match(answer["error"]), answer


def check_row(body, row):
    """Fail unless every alert of an accepted body has a decision, and good ones a good one."""
    alerts = decoded(body)["alerts"]
    assert len(row["alerts"]) == len(alerts)
    for entry, sent in zip(row["alerts"], alerts):
        assert "internal error" not in entry["reason"], (entry, body)
        if sent in SIBLINGS:
            assert entry["fingerprint"] == sent["fingerprint"]
            assert entry["decision"] in ("resolve", "duplicate"), (entry, body)


def send(url, seed, count):
    """Send mutated notifications over one connection; return ``{request_id: body}``."""
    dice = random.Random(seed)
    sender = Sender(url)
    accepted = {}
    for _ in range(count):
        body = compose(dice)
        if dice.random() < 0.1:
            status, answer = sender.post(body, dice.choice(OTHER_TYPES))
            assert status in (413, 415, 503), (status, answer)
            continue
        status, answer = sender.post(body, dice.choice(JSON_TYPES))
        check_answer(body, status, answer)
        if status == 202:
            accepted[answer["request_id"]] = body
    return accepted


def test_mutated_notifications_crash_nothing_and_lose_no_sibling(tmp_path):
    """400 or 413 with the field, or 202: then every good alert beside the bad ones is decided."""
    seed = int(os.environ.get("FUZZ_SEED") or random.randrange(10**6))
    print("FUZZ_SEED=%d" % seed)
    config = {"dry_run": True, "max_body_bytes": MAX_BODY_BYTES}
    with servers.Engine(tmp_path, **config) as engine, ThreadPoolExecutor(CONNECTIONS) as pool:
        share = NOTIFICATIONS // CONNECTIONS
        sent = [
            pool.submit(send, engine.listener_url, seed + number, share)
            for number in range(CONNECTIONS)
        ]
        accepted = {}
        for future in sent:
            accepted.update(future.result())
        world = World(engine.api_url, engine.api_key, engine.listener_url, engine.env)

        def is_done():
            keys = ("poundcake.inbox.", "poundcake.outbox.")
            return not any(world.api("GET", "/keys?limit=1&prefix=" + key) for key in keys)

        world.wait(is_done, "every notification to be decided", 300)
        stored = listing(world, "/keys", prefix="poundcake.request.")
        rows = {row["request_id"]: row for row in (json.loads(item["value"]) for item in stored)}
        assert set(rows) == set(accepted)
        for request_id, body in accepted.items():
            check_row(body, rows[request_id])
        assert len(accepted) > NOTIFICATIONS / 3, "too few were worth anything"
        assert requests.get(engine.listener_url + "/health", timeout=60).ok
        started = "Sensor poundcake.AlertmanagerSensor started"
        assert engine.log().count(started) == 1, "the sensor has died"
