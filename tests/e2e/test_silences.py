"""create_silence, list_silences and expire_silence against a real Alertmanager."""

import contextlib
import os

import pytest
import requests
from poundcake import matchers
from poundcake.errors import ExpectedError
from poundcake.inert import inert_text
from poundcake.operators import silences

from tests.support.fakes import make_settings

if os.environ.get("ST2_API_URL"):
    pytest.skip("needs a config of its own", allow_module_level=True)

from tests.demo import servers
from tests.support.local_server import LocalServer, QuietHandler
from tests.support.remediations import children_of, output_of, run
from tests.support.world import World, unique

pytestmark = pytest.mark.skipif(
    bool(servers.missing()), reason="bash tests/demo/install_servers installs Alertmanager"
)

# The password "test", as Prometheus' documentation of basic auth has it.
HASH = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay"

# A silence while the fix runs; it ends whether the fix succeeds or fails.
QUIET_FIX = """
version: 1.0
input: [labels, fix]
tasks:
  silence:
    action: poundcake.create_silence
    input:
      labels: <% ctx().labels %>
      duration: 1h
      reason: it is being remediated
    next:
      - when: <% succeeded() %>
        publish: silence=<% result().result.id %>
        do: fix
  fix:
    action: core.local
    input:
      cmd: <% ctx().fix %>
    next:
      - when: <% succeeded() %>
        publish: failed=false
        do: end_silence
      - when: <% failed() %>
        publish: failed=true
        do: end_silence
  end_silence:
    action: poundcake.expire_silence id=<% ctx().silence %>
    next:
      - when: <% ctx().failed %>
        do: fail
output:
  - silence: <% ctx().silence %>
"""


class GuardedAlertmanager(servers.Alertmanager):
    """An Alertmanager with basic auth: admin, test."""

    def _command(self):
        path = self.folder / "web.yml"
        path.write_text("basic_auth_users:\n  admin: %s\n" % HASH)
        return super()._command() + ["--web.config.file=%s" % path]

    def _ready(self):
        return requests.get(self.url + "/-/ready", auth=("admin", "test"), timeout=5).ok


@pytest.fixture(scope="module")
def am(tmp_path_factory):
    """An Alertmanager that receives alerts and notifies nobody."""
    with servers.Alertmanager(tmp_path_factory.mktemp("am"), []) as found:
        yield found


def settings(am, **more):
    return make_settings(**dict({"alertmanager_url": am.url}, **more))


def create(am, matcher_text="", labels=None, duration="1h", reason="upgrade", by="ann", **more):
    found = settings(am, **more)
    return silences.create_silence(found, matcher_text, labels or {}, duration, reason, by)


def state_of(am, labels):
    """The state of an alert in Alertmanager: active or suppressed."""
    (found,) = [one for one in am.alerts() if one["labels"] == labels]
    return found["status"]["state"]


@contextlib.contextmanager
def answering(status, body=b"", behind=None, token=""):
    """The URL of a server with one fixed answer, or of a proxy that requires a token."""

    class Handler(QuietHandler):
        def handle_any(self):
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            code, text = status, body
            if behind and self.headers.get("Authorization") == "Bearer " + token:
                headers = {"Content-Type": "application/json"}
                url = behind + self.path
                answer = requests.request(self.command, url, data=data, headers=headers, timeout=30)
                code, text = answer.status_code, answer.content
            self.send_response(code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = handle_any

    with LocalServer(Handler) as server:
        yield server.url


def test_a_silence_silences_until_it_is_expired(am):
    """It silences what matches and nothing else."""
    name = unique("Silenced")
    ours, other = {"alertname": name, "host": "db1"}, {"alertname": name, "host": "web1"}
    am.fire(ours)
    am.fire(other)
    made = create(am, 'alertname="%s", host=~"db.*", host!="db2"' % name)
    servers.wait_until(lambda: state_of(am, ours) == "suppressed", "the silence to hold")
    assert state_of(am, other) == "active"
    assert made["state"] == "active" and made["by"] == "ann" and made["reason"] == "upgrade"
    assert sorted(made["matchers"]) == sorted(
        ['alertname="%s"' % name, 'host=~"db.*"', 'host!="db2"']
    )
    ended = silences.expire_silence(settings(am), made["id"])
    assert (ended["id"], ended["state"]) == (made["id"], "expired")
    servers.wait_until(lambda: state_of(am, ours) == "active", "the silence to end")


def test_a_silence_that_has_ended_can_be_ended_again(am):
    """Running a workflow twice does no harm."""
    made = create(am, labels={"alertname": unique("Twice")})
    once = silences.expire_silence(settings(am), made["id"])
    assert silences.expire_silence(settings(am), made["id"]) == once


@pytest.mark.parametrize("op", ["=", "!=", "=~", "!~"])
def test_every_matcher_comes_back_unchanged(am, op):
    """Alertmanager's own form of it loses nothing."""
    name = unique("Matcher")
    text = 'alertname="%s", a%s"x\\"y\\\\.z|ä"' % (name, op)
    made = create(am, text)
    assert matchers.parse(",".join(made["matchers"])) == matchers.parse(text)


@pytest.mark.parametrize(
    "value",
    ['x",alertname=~".+', "x.*", "{{ 1 }} <% 2 %>", "% 3", "a\nb", "\\", "käse ☂ 𝄞", "a b-c.d"],
)
def test_the_labels_of_an_alert_match_it_alone(am, value):
    """In their original form and in the form that a workflow sees, with any characters."""
    for seen in (value, inert_text(value)):
        labels = {"alertname": unique("Labels"), "evil": value}
        near = dict(labels, evil=value.replace("x.*", "xyz") + "z")
        am.fire(labels)
        am.fire(near)
        made = create(am, labels=dict(labels, evil=seen, empty=""))
        servers.wait_until(lambda labels=labels: state_of(am, labels) == "suppressed", "silence")
        assert state_of(am, near) == "active"
        silences.expire_silence(settings(am), made["id"])


def test_silences_are_listed_by_state(am):
    """The next to end comes first."""
    ids = [create(am, labels={"a": "b"}, duration=length)["id"] for length in ("3h", "2h", "1h")]
    silences.expire_silence(settings(am), ids[0])

    def listed(state):
        found = silences.list_silences(settings(am), state)["silences"]
        return [item["id"] for item in found if item["id"] in ids]

    assert listed("active") == [ids[2], ids[1]]
    assert listed("expired") == [ids[0]] and listed("pending") == []
    assert sorted(listed("all")) == sorted(ids)


@pytest.mark.parametrize(
    "more, start",
    [
        ({}, "matchers, labels: both are empty; expected matchers such as "),
        ({"labels": {"a": ""}}, "matchers, labels: both are empty"),
        ({"labels": {"a": 1}}, "labels: the value of a is not a string"),
        ({"matcher_text": "a"}, "matchers: a: no operator after the name"),
        ({"matcher_text": 'a=~".*"'}, "matchers: "),
        ({"matcher_text": "a=b", "duration": "soon"}, 'duration: "soon" is not a duration'),
        ({"matcher_text": "a=b", "reason": " "}, "reason: is empty"),
        # A lookahead: Python's regular expressions have it, Alertmanager's do not.
        ({"matcher_text": 'a=~"(?!x)y"'}, "matchers: a=~"),
    ],
)
def test_a_silence_with_a_mistake_is_refused(am, more, start):
    """The error names the parameter, the problem and what is expected."""
    before = silences.list_silences(settings(am), "all")
    with pytest.raises(ExpectedError) as caught:
        create(am, **more)
    assert str(caught.value).startswith(start)
    assert silences.list_silences(settings(am), "all") == before


@pytest.mark.parametrize("id", ["", "x", "../status", "0b4f7a5e-6f0a-4d7e-9a55-3f6d4c8f1b2e"])
def test_a_silence_that_does_not_exist_cannot_be_ended(am, id):
    """The error says how to list silences."""
    with pytest.raises(ExpectedError) as caught:
        silences.expire_silence(settings(am), id)
    assert str(caught.value).startswith("id: ") and "list_silences" in str(caught.value)


def test_an_unknown_state_is_refused(am):
    """The error lists the known ones."""
    with pytest.raises(ExpectedError) as caught:
        silences.list_silences(settings(am), "gone")
    said = 'state: unknown state "gone"; expected one of active, pending, expired, all'
    assert str(caught.value) == said


def test_basic_auth_is_sent(tmp_path):
    """Without it, the error names the missing settings."""
    with GuardedAlertmanager(tmp_path, []) as guarded:
        login = {"alertmanager_username": "admin", "alertmanager_password": "test"}
        made = create(guarded, "a=b", **login)
        assert silences.expire_silence(settings(guarded, **login), made["id"])
        for wrong in ({}, dict(login, alertmanager_password="s3cret"), {"alertmanager_token": "t"}):
            with pytest.raises(ExpectedError) as caught:
                create(guarded, "a=b", **wrong)
            error = str(caught.value)
            assert error.startswith("alertmanager_token: ")
            assert "answers 401; expected valid credentials. Set it" in error
            assert "s3cret" not in error


def test_a_token_is_sent(am, tmp_path, monkeypatch):
    """A proxy gets it, whatever ~/.netrc says."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with answering(401, behind=am.url, token="t0ken") as url:
        made = create(am, "a=b", alertmanager_url=url + "/", alertmanager_token="t0ken")
        found = settings(am, alertmanager_url=url, alertmanager_token="t0ken")
        assert silences.expire_silence(found, made["id"])["state"] == "expired"
        with pytest.raises(ExpectedError):
            create(am, "a=b", alertmanager_url=url, alertmanager_token="wrong")


def test_an_alertmanager_that_cannot_be_used_is_an_error():
    """It may be unset, unreachable, or another kind of server."""
    with pytest.raises(ExpectedError) as caught:
        silences.list_silences(make_settings(), "all")
    assert str(caught.value).startswith("alertmanager_url: is not set")
    for url in ("http://127.0.0.1:1", "no url"):
        with pytest.raises(ExpectedError) as caught:
            silences.list_silences(make_settings(alertmanager_url=url), "all")
        assert "cannot be reached" in str(caught.value)
    wrong = ((200, b"<html>", "does not answer with JSON"), (500, b"oops", "500: oops"))
    for status, body, problem in wrong:
        with answering(status, body) as url, pytest.raises(ExpectedError) as caught:
            silences.list_silences(make_settings(alertmanager_url=url), "all")
        assert str(caught.value).startswith("alertmanager_url: ") and problem in str(caught.value)


# --- as tasks ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(am, tmp_path_factory):
    """An embedded engine whose pack is configured with the Alertmanager."""
    folder = tmp_path_factory.mktemp("silences")
    with servers.Engine(folder, alertmanager_url=am.url) as engine:
        yield World(engine.api_url, engine.api_key, engine.listener_url, engine.env)


@pytest.mark.parametrize("fix, status", [("true", "succeeded"), ("false", "failed")])
def test_a_silence_lasts_as_long_as_a_remediation(world, am, fix, status):
    """It is active while the fix runs, and ends whether the fix succeeds or fails."""
    labels = {"alertname": unique("QuietFix"), "note": "it's {{ 1 }}"}
    am.fire(labels)
    alerts = am.url + "/api/v2/alerts?active=false"
    suppressed = "curl -s '%s' | grep -q %s" % (alerts, labels["alertname"])
    # Alertmanager marks an alert as silenced only at its next evaluation.
    fix = "for n in $(seq 300); do %s && exec %s; sleep 0.1; done; exit 9" % (suppressed, fix)
    with world.workflow(QUIET_FIX, ("fix",)) as action:
        body = {"labels": {name: inert_text(value) for name, value in labels.items()}}
        ref = world.api("GET", "/actions/" + action)
        ref["parameters"]["labels"] = {"type": "object"}
        world.api("PUT", "/actions/" + ref["id"], json=ref)
        execution = run(world, action, fix=fix, **body)
        (fixed,) = children_of(world, execution, "core.local")
    assert (execution["status"], fixed["status"]) == (status, status), execution["result"]
    assert world.execution(fixed["id"])["result"]["return_code"] in (0, 1)
    silence = output_of(execution)["silence"]
    found = silences.list_silences(settings(am), "expired")["silences"]
    assert silence in [item["id"] for item in found]


def test_the_commands_of_a_person(world):
    """Through the st2 command: create, list, expire."""
    made = world.ask("create_silence", matchers='alertname="X"', duration="1h", reason="upgrade")
    assert made["state"] == "active" and made["by"]
    listed = world.ask("list_silences")["silences"]
    assert made["id"] in [item["id"] for item in listed]
    assert world.ask("expire_silence", id=made["id"])["state"] == "expired"
    status, result = world.run("expire_silence", id="x")
    assert status == "failed" and result["error"].startswith('id: "x" is not the id of a silence')
