"""A real Alertmanager in front of PoundCake: every entrance, wrong credentials, and outages."""

import contextlib
import json
import os
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.demo import servers
from tests.support.alerts import alert, notification
from tests.support.guarded import PASSWORD, TOKEN, USERNAME, reach, remediations, states, world_of
from tests.support.tracking import states_of
from tests.support.world import World, unique

REAL = bool(os.environ.get("ST2_API_URL"))
SENSOR = "poundcake.AlertmanagerSensor"
TRACK = "poundcake.track"
MAX_BACKLOG = 20

pytestmark = pytest.mark.skipif(
    servers.PROGRAMS["alertmanager"][0] in servers.missing(),
    reason="bash tests/demo/install_servers installs Alertmanager",
)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """An embedded engine whose listener wants credentials, and takes few notifications."""
    if REAL:
        pytest.skip("needs a config of its own: only the embedded engine can be given one")
    config = {
        "token": TOKEN,
        "username": USERNAME,
        "password": PASSWORD,
        "max_backlog": MAX_BACKLOG,
    }
    with servers.Engine(tmp_path_factory.mktemp("guarded"), **config) as engine:
        yield engine


@contextlib.contextmanager
def alertmanager(folder, **receiver):
    """Alertmanager with one receiver, every alert in a group of its own."""
    with servers.Alertmanager(folder / "am", [servers.webhook(**receiver)], group_by=["..."]) as am:
        yield am


def webhook_of_stackstorm(world):
    """The address of StackStorm's own webhook, as a receiver of Alertmanager's."""
    # nginx serves the API under /api; a real one may be spoken to without it.
    api = world.api_url if REAL else world.api_url.replace("/v1", "/api/v1")
    return {"url": api + "/webhooks/poundcake", "params": {"st2-api-key": world.api_key}}


@pytest.fixture(params=["open", "bearer", "basic", "st2_webhook"])
def entrance(request):
    """One way into PoundCake: ``(world, receiver of Alertmanager's, source in the row)``."""
    if request.param in ("bearer", "basic"):
        engine = request.getfixturevalue("guarded")
        login = {"username": USERNAME, "password": PASSWORD}
        login = login if request.param == "basic" else {"token": TOKEN}
        return world_of(engine), dict(login, url=engine.webhook_url), "listener"
    world = request.getfixturevalue("world")
    if request.param == "st2_webhook":
        return world, webhook_of_stackstorm(world), "st2_webhook"
    # A real listener may want a token.
    receiver = {"url": world.listener_url + "/webhook", "token": os.environ.get("LISTENER_TOKEN")}
    return world, receiver, "listener"


def test_alertmanagers_alert_is_remediated_and_resolved(entrance, tmp_path):
    """Fired, remediated, resolved: one execution, known by Alertmanager's own fingerprint."""
    world, receiver, source = entrance
    annotations = {"summary": "web-01 is down, käse ☂ {{ 1 }} <% 2 %>"}
    labels = {"alertname": unique("AmMain"), "instance": "web-01:9100", "severity": "critical"}
    with world.rule(labels["alertname"], "core.noop"), alertmanager(tmp_path, **receiver) as am:
        fingerprint = am.fire(labels, annotations)
        reach(world, fingerprint, "remediated")
        assert am.fingerprint(labels) == fingerprint
        am.resolve(labels, annotations)
        reach(world, fingerprint, "resolved")
        sent, failed = am.notifications()
    assert (sent, failed) == (2, 0)
    shown = world.ask("get_alert", fingerprint=fingerprint)
    assert states_of(shown) == ["received", "remediating", "remediated", "resolved"]
    assert shown["labels"] == labels
    row = world.api("GET", "/keys/poundcake.alert." + fingerprint)["value"]
    assert json.loads(row)["annotations"] == annotations
    assert len(remediations(world, fingerprint)) == 1
    request = world.ask("get_request", request_id=shown["request_ids"][0])
    assert (request["source"], request["receiver"]) == (source, "poundcake")
    row += world.api("GET", "/keys/poundcake.request." + request["request_id"])["value"]
    for secret in (receiver.get("token"), receiver.get("password"), world.api_key):
        assert not secret or secret not in row


def test_a_group_is_one_request(world, tmp_path):
    """Alerts that Alertmanager groups come in one notification, and each is remediated."""
    name = unique("AmGroup")
    alerts = [{"alertname": name, "instance": "web-%02d:9100" % number} for number in range(7)]
    starts_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    token = os.environ.get("LISTENER_TOKEN")
    receiver = servers.webhook(world.listener_url + "/webhook", token=token)
    with world.rule(name, "core.noop"), servers.Alertmanager(tmp_path, [receiver]) as am:
        am.post([{"labels": labels, "startsAt": starts_at} for labels in alerts])
        fingerprints = [am.fingerprint(labels) for labels in alerts]
        for fingerprint in fingerprints:
            reach(world, fingerprint, "remediated")
    shown = [world.ask("get_alert", fingerprint=one) for one in fingerprints[:2]]
    assert shown[0]["request_ids"] == shown[1]["request_ids"]
    request = world.ask("get_request", request_id=shown[0]["request_ids"][0])
    assert sorted(entry["fingerprint"] for entry in request["alerts"]) == sorted(fingerprints)


@pytest.mark.parametrize(
    "labels",
    [
        {"instance": "web-01:9100"},
        {"städte": "köln ☂ 𝄞", "b": "", "B": "upper first"},
        {"a": "1", "ab": "c", "aa": "\n\t\"\\'", "_": "{{ 1 }} <% 2 %>"},
    ],
    ids=["plain", "unicode", "order"],
)
def test_an_absent_fingerprint_is_computed_as_alertmanager_does(world, tmp_path, labels):
    """The same labels with and without Alertmanager's fingerprint are one alert."""
    # Alertmanager 0.25 takes ASCII label names only; it drops labels that are empty.
    labels = {name.replace("ä", "ae"): value for name, value in labels.items()}
    labels["alertname"] = unique("AmFingerprint")
    with alertmanager(tmp_path, url="http://127.0.0.1:1/") as am:
        fingerprint = am.fire(labels)
    bare = dict(
        alert(alertname="x"), labels={name: value for name, value in labels.items() if value}
    )
    assert "fingerprint" not in bare
    row = world.completed(world.accept(bare))
    assert [entry["fingerprint"] for entry in row["alerts"]] == [fingerprint]


# --- credentials ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "login",
    [
        {},
        {"headers": {"Authorization": "Bearer wrong"}},
        {"headers": {"Authorization": "Bearer " + TOKEN[:-1]}},
        {"headers": {"Authorization": "Bearer"}},
        {"headers": {"Authorization": TOKEN}},
        {"headers": {"Authorization": "Basic %%%"}},
        {"auth": ("nobody", PASSWORD)},
        {"auth": (USERNAME, "wrong")},
        {"auth": (USERNAME, "")},
        {"auth": (USERNAME, TOKEN)},
        {"params": {"token": TOKEN}},
    ],
    ids=[
        "missing",
        "token",
        "shorter_token",
        "no_token",
        "no_scheme",
        "not_base64",
        "user",
        "password",
        "no_password",
        "token_as_password",
        "token_in_url",
    ],
)
def test_wrong_credentials_are_refused_and_nothing_is_read(guarded, login):
    """401 with a challenge; no word of the body gets into an answer, a log or the datastore."""
    marker = unique("marker")
    body = json.dumps(notification(alert(alertname=marker)))
    for path in ("/webhook", "/api/v1/webhook"):
        answer = requests.post(guarded.listener_url + path, data=body, timeout=60, **login)
        assert answer.status_code == 401
        assert "WWW-Authenticate" in answer.headers
        assert answer.json()["status"] == "rejected"
        assert marker not in answer.text
    status = guarded.listener_url + "/api/v1/status/" + str(uuid.uuid4())
    assert requests.get(status, timeout=60, **login).status_code == 401
    assert marker not in guarded.log()
    assert marker not in json.dumps(guarded.get("/keys", prefix="poundcake.", limit=1000))


def test_alertmanager_with_a_wrong_token_is_told_and_gives_up(guarded, tmp_path):
    """It shows 401 in its own log and does not send again; PoundCake knows nothing of the alert."""
    name = unique("AmWrong")
    with alertmanager(tmp_path, url=guarded.webhook_url, token="wrong-" + TOKEN) as am:
        am.fire({"alertname": name})
        guarded.wait_for(lambda: am.notifications()[1], "Alertmanager to give up")
        assert "unrecoverable error after 1 attempts: unexpected status code 401" in am.log()
    assert name not in guarded.log()
    assert name not in json.dumps(guarded.get("/keys", prefix="poundcake.", limit=1000))


def test_credentials_are_in_no_log_and_no_row(guarded, tmp_path):
    """The right ones neither."""
    world = world_of(guarded)
    login = {"username": USERNAME, "password": PASSWORD}
    with alertmanager(tmp_path, url=guarded.webhook_url, **login) as am:
        fingerprint = am.fire({"alertname": unique("AmSecret")})
        reach(world, fingerprint, "unmatched")
    world.completed(world.accept(alert(alertname=unique("AmSecret"))))
    rows = json.dumps(guarded.get("/keys", prefix="poundcake.", limit=1000))
    instances = json.dumps(guarded.get("/triggerinstances", limit=100))
    for text in (guarded.log(), rows, instances, world.st2("run", "-j", "poundcake.list_alerts")):
        assert TOKEN not in text
        assert PASSWORD not in text


def test_many_senders_at_once_are_all_answered(tmp_path):
    """Eventlet, under which sensors run, refuses two threads that write to one file at a time."""
    with servers.Engine(tmp_path) as engine:
        world = world_of(engine)
        body = notification(alert(alertname=unique("E2eMany"), status="resolved"))
        with ThreadPoolExecutor(24) as pool:
            answers_ = list(pool.map(lambda _: world.post(body)[0], range(480)))
        assert answers_ == [202] * 480
        assert "Traceback" not in engine.log()


def test_the_listener_stays_closed_to_a_network_without_credentials(tmp_path):
    """It does not start and says what to set; with allow_unauthenticated it does."""
    if REAL:
        pytest.skip("needs a config of its own: only the embedded engine can be given one")
    from tests.engine import testing

    port = servers.free_port()
    config = {"host": "0.0.0.0", "port": port}
    url = "http://127.0.0.1:%d" % port
    engine = testing.start(tmp_path, [servers.ROOT], {"poundcake": config})
    try:
        said = "0.0.0.0 is not a loopback address, and no credentials are set"
        engine.wait_for(lambda: said in engine.log(), "the sensor to refuse")
        line = next(line for line in engine.log().splitlines() if said in line)
        for remedy in ("Set token (or username and password)", "127.0.0.1", "allow_unauthent"):
            assert remedy in line
        with pytest.raises(requests.ConnectionError):
            requests.get(url + "/health", timeout=5)

        config["allow_unauthenticated"] = True
        answer = engine.request("PUT", "/configs/poundcake", json=config)
        assert answer.status_code == 200, answer.text
        engine.st2("sensor", "disable", SENSOR)
        engine.st2("sensor", "enable", SENSOR)
        world = World(engine.api_url, engine.api_key, url, engine.env)
        engine.wait_for(lambda: listens(url), "the listener")
        world.completed(world.accept(alert(alertname=unique("AmOpen"))))
    finally:
        engine.stop()


def listens(url):
    """Whether the listener is ready."""
    try:
        return requests.get(url + "/ready", timeout=5).ok
    except requests.ConnectionError:
        return False


# --- outages ----------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_alertmanager_outlasts_an_outage(guarded, tmp_path, signum):
    """Alerts that fire while PoundCake is gone are remediated once when it is back."""
    world = world_of(guarded)
    name = unique("AmOutage")
    labels = [{"alertname": name, "instance": "web-%d:9100" % number} for number in range(3)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(world.rule(name, "core.noop"))
        am = stack.enter_context(alertmanager(tmp_path, url=guarded.webhook_url, token=TOKEN))
        fingerprints = [am.fire(labels[0])]
        reach(world, fingerprints[0], "remediated")
        guarded.stop(signum)
        try:
            fingerprints += [am.fire(one) for one in labels[1:]]
            servers.wait_until(lambda: "connection refused" in am.log(), "Alertmanager to try")
        finally:
            guarded.start()
        for fingerprint in fingerprints:
            reach(world, fingerprint, "remediated")
        for one in labels:
            am.resolve(one)
        for fingerprint in fingerprints:
            reach(world, fingerprint, "resolved")
    for fingerprint in fingerprints:
        wanted = ["received", "remediating", "remediated", "resolved"]
        assert states(world, fingerprint) == wanted
        assert len(remediations(world, fingerprint)) == 1


def test_alertmanager_sends_again_after_503(guarded, tmp_path):
    """Above max_backlog the answer is 503; Alertmanager repeats it until there is room."""
    world = world_of(guarded)
    name = unique("AmBacklog")
    with contextlib.ExitStack() as stack:
        stack.enter_context(world.rule(name, "core.noop"))
        am = stack.enter_context(alertmanager(tmp_path, url=guarded.webhook_url, token=TOKEN))
        guarded.st2("sensor", "disable", SENSOR)
        try:
            servers.wait_until(lambda: not answers(guarded.listener_url), "the sensor to end")
            guarded.st2("rule", "disable", TRACK)
            fill_outbox(guarded, 2 * MAX_BACKLOG)
            guarded.st2("sensor", "enable", SENSOR)
            fingerprint = am.fire({"alertname": name})
            servers.wait_until(lambda: "unexpected status code 503" in am.log(), "the answer 503")
        finally:
            guarded.st2("rule", "enable", TRACK)
            guarded.st2("sensor", "enable", SENSOR)
        reach(world, fingerprint, "remediated")
    assert len(remediations(world, fingerprint)) == 1
    assert states(world, fingerprint) == ["received", "remediating", "remediated"]


def answers(url):
    """Whether anything listens."""
    try:
        return bool(requests.get(url + "/health", timeout=5))
    except requests.ConnectionError:
        return False


def fill_outbox(engine, count):
    """Leave batches in the outbox, as they gather when no run of ``track`` takes them."""
    for number in range(count):
        batch_id = "00000000-0000-7000-8000-%012x" % number
        batch = {"batch_id": batch_id, "rows": {}, "reports": [], "last": True}
        key = "poundcake.outbox." + batch_id
        value = {"name": key, "value": json.dumps(batch), "scope": "system"}
        answer = engine.request("PUT", "/keys/" + key, json=value)
        assert answer.status_code == 200, answer.text
