"""No secret is on a command line or in an execution while actions use it."""

import contextlib
import json
import os
from pathlib import Path

import pytest

from tests.support.alerts import alert
from tests.support.local_server import LocalServer, QuietHandler
from tests.support.world import open_world, unique

pytestmark = pytest.mark.skipif(
    bool(os.environ.get("ST2_API_URL")), reason="a real StackStorm has its own config"
)
MARK = "s3cret"  # in every secret


@pytest.fixture(autouse=True)
def command_lines_of_actions(monkeypatch):
    """Each action has a command line of its own, as in StackStorm."""
    monkeypatch.setenv("ENGINE_NEW_PROCESSES", "1")


SOURCE = json.dumps({"generator_url": "http://prometheus/?g0.expr=1", "labels": {}})


class Upstream(LocalServer):
    """Prometheus, Alertmanager, Kubernetes, a git host, S3 and a chat: it answers 403 to all.

    At each request, while the action that makes it runs, it looks at the command lines of all
    processes. ``seen`` is what they show, ``got`` the requests.
    """

    def __init__(self):
        server = self
        self.got, self.seen = [], []

        class Handler(QuietHandler):
            def answer(self):
                server.got.append((self.path, self.headers.get("Authorization", "")))
                server.seen += command_lines()
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(403)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST = do_HEAD = do_PUT = answer

        super().__init__(Handler)

    def asked(self, path):
        return [login for found, login in self.got if found.startswith(path)]


def command_lines():
    """Return the command lines of this machine's processes that run an action of the pack."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            lines.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
    return [line for line in lines if "--pack=poundcake" in line]


def config(upstream):
    """Return a config in which every secret is a key."""
    names = ("token", "password", "alertmanager_token", "prometheus_password", "git_token")
    names += ("s3_secret_access_key", "kube_token", "git_ssh_key")
    return {
        **{name + "_key": "poundcake_" + name for name in names},
        "username": "alertmanager",
        "alertmanager_url": upstream.url + "/am",
        "prometheus_url": upstream.url + "/prom",
        "prometheus_username": "poundcake",
        "kube_api_url": upstream.url + "/kube",
        "s3_endpoint_url": upstream.url,
        "s3_bucket": "bucket",
        "s3_region": "us-east-1",
        "s3_access_key_id": "id",
        "git_repo_url": upstream.url + "/git/rules",
        "git_provider": "none",
        "notify_action": "poundcake.notify_webhook",
        "notify_parameters": {"url_key": "poundcake_hook"},
    }


def set_keys(world, upstream, names):
    values = {name: f"{MARK}-{name}" for name in names}
    values["poundcake_hook"] = f"{upstream.url}/hook/{MARK}"
    for name, value in values.items():
        body = {"name": name, "value": value, "scope": "system", "secret": True}
        world.api("PUT", "/keys/" + name, json=body)


def test_secrets_reach_servers_and_nothing_else(tmp_path):
    """With each secret under a key of the datastore."""
    with Upstream() as upstream:
        made = config(upstream)
        keys = [value for name, value in made.items() if name.endswith("_key")]
        with open_world(tmp_path, **made) as world:
            set_keys(world, upstream, keys)
            world._listener.headers["Authorization"] = f"Bearer {MARK}-poundcake_token"
            name = unique("Secret")
            with world.rule(name, "core.noop"):
                world.completed(world.accept(alert(alertname=name)))
            world.run("list_silences")
            world.run("check_expression", alert=SOURCE, wait_seconds=0)
            world.run("list_prometheus_rules")
            world.run("get_prometheus_rule", resource="r", group="g", rule="R")
            change = {"operation": "delete", "resource": "r", "group": "g", "rule": "R"}
            world.run("propose_rule_change", **change)
            world.run("find_file_s3", key="a.jfr")
            world.run("notify", message="hi")
            world.run("check_health")
            executions = world.api("GET", "/executions", params={"limit": 100})
            log = (tmp_path / "state" / "engine.log").read_text(errors="replace")
    assert f"Bearer {MARK}-poundcake_alertmanager_token" in upstream.asked("/am")
    assert upstream.asked("/prom") and upstream.asked("/hook/") and upstream.asked("/bucket/")
    assert f"Bearer {MARK}-poundcake_kube_token" in upstream.asked("/kube")
    assert upstream.asked("/git/rules")
    assert any("poundcake_alertmanager_token" in line for line in upstream.seen)  # the key's name
    for line in upstream.seen:
        assert MARK not in line
    assert len(executions) >= 9 and MARK not in json.dumps(executions)
    assert MARK not in log


def test_a_secret_in_the_config_shows_and_check_health_says_so(tmp_path):
    """As it does on StackStorm: this is what the other test would miss otherwise."""
    with Upstream() as upstream:
        plain = {"alertmanager_url": upstream.url, "alertmanager_token": MARK}
        with open_world(tmp_path, **plain) as world:
            world.run("list_silences")
            _, answer = world.run("check_health")
    assert any(MARK in line for line in upstream.seen)
    (finding,) = [item for item in answer["checks"] if item["name"] == "secrets"]
    assert finding["status"] == "info" and "alertmanager_token: " in finding["detail"]
    assert "alertmanager_token_key: " in finding["remedy"] and MARK not in json.dumps(answer)
