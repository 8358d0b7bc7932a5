"""The tools of demo and end-to-end tests do what they say, with the real programs."""

import os
import signal
import subprocess
import sys

import pytest
import requests

from tests.demo import __main__ as demo
from tests.demo import servers, up
from tests.demo.timeline import Timeline

pytestmark = pytest.mark.skipif(
    bool(servers.missing()), reason="bash tests/demo/install_servers installs what is missing"
)


@pytest.fixture
def service(tmp_path):
    """The demo's service, not started yet; nothing of it is left afterwards."""
    made = demo.Service(tmp_path / "service")
    yield made
    made.control("stop")


def run_shell(command, **environment):
    """As core.local runs a command; its exit status."""
    env = dict(os.environ, **environment)
    done = subprocess.run(command, shell=True, env=env, capture_output=True, check=False)
    return done.returncode


def test_prometheus_config_passes_promtool(tmp_path):
    """The configuration that the demo runs with is valid."""
    targets = [servers.target("127.0.0.1:1", service="shop")]
    made = servers.Prometheus(tmp_path, targets, [demo.alert_rule()], "127.0.0.1:2")
    made.check()


def test_prometheus_check_finds_a_wrong_rule(tmp_path):
    """check() is no formality: a rule that does not parse raises."""
    rule = {"alert": "Wrong", "expr": "up =="}
    with pytest.raises(servers.ServerError, match="promtool"):
        servers.Prometheus(tmp_path, [], [rule]).check()


@pytest.mark.parametrize(
    "receiver",
    [
        servers.webhook("http://127.0.0.1:1/webhook"),
        servers.webhook("http://127.0.0.1:1/webhook", token="secret"),
        servers.webhook("http://127.0.0.1:1/webhook", username="u", password="p"),
        servers.webhook("https://127.0.0.1:1/x", params={"st2-api-key": "a b"}, verify=False),
    ],
    ids=["open", "bearer", "basic", "params"],
)
def test_alertmanager_config_passes_amtool(tmp_path, receiver):
    """Every way of authentication gives a valid configuration that others cannot read."""
    made = servers.Alertmanager(tmp_path, [receiver])
    made.check()
    assert made.config_path.stat().st_mode & 0o077 == 0


def test_webhook_params_are_added_to_the_url():
    """Parameters are quoted, and go behind those that the URL has."""
    made = servers.webhook("https://h/x?a=1", params={"st2-api-key": "k&y"})
    assert made["url"] == "https://h/x?a=1&st2-api-key=k%26y"


def test_alertmanager_takes_and_resolves_an_alert(tmp_path):
    """fire gives the fingerprint that Alertmanager uses; after resolve the alert is not active."""
    labels = {"alertname": "Try", "instance": "h:1"}
    with servers.Alertmanager(tmp_path, [servers.webhook("http://127.0.0.1:1/")]) as made:
        fingerprint = made.fire(labels)
        assert len(fingerprint) == 16
        assert made.fingerprint(labels) == fingerprint
        made.resolve(labels)
        servers.wait_until(lambda: not made.alerts(), "the alert to go")


def test_a_server_that_does_not_start_shows_its_log(tmp_path):
    """The error says why, and no process is left."""
    made = servers.Alertmanager(tmp_path, [servers.webhook("http://127.0.0.1:1/")])
    made.config_path.write_text("nonsense: true\n")
    with pytest.raises(servers.ServerError, match="nonsense"):
        made.start()
    assert not made.running


def test_stop_ends_the_process(tmp_path):
    """After stop the process is gone and its port is free; stop again is harmless."""
    made = servers.Alertmanager(tmp_path, [servers.webhook("http://127.0.0.1:1/")]).start()
    pid = made.pid
    made.stop()
    made.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(requests.ConnectionError):
        requests.get(made.url, timeout=1)


def test_sshd_accepts_its_key(tmp_path):
    """The key logs in and commands run; the configuration is valid."""
    with servers.Sshd(tmp_path) as sshd:
        sshd.check()
        done = sshd.run("echo $((6 * 7))")
        assert (done.returncode, done.stdout.strip()) == (0, "42"), done.stderr


def test_sshd_refuses_another_key(tmp_path):
    """Whoever has not the key stays out."""
    with servers.Sshd(tmp_path / "one") as sshd:
        other = servers.Sshd(tmp_path / "other")
        sshd.private_key = other.private_key
        sshd.env.clear()
        done = sshd.run("true")
        assert done.returncode == 255
        assert "Permission denied" in done.stderr


def test_sshd_agent_brings_the_key(tmp_path):
    """With env alone, ssh needs no path of a key."""
    with servers.Sshd(tmp_path) as sshd:
        options = sshd.options
        at = options.index("-i")
        done = subprocess.run(
            [*options[:at], *options[at + 2 :], sshd.host, "true"],
            env={**os.environ, **sshd.env},
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_service_is_restarted_by_the_commands_of_the_rule(service):
    """check fails when the service was killed, restart brings it back, and check succeeds."""
    rule = demo.demo_rule(service)["action"]["parameters"]
    check, restart = rule["check_command"], rule["restart_command"]
    with service:
        assert run_shell(check, SERVICE="shop") == 0
        servers.wait_until(service.answers, "the service")
        service.control("kill")
        assert run_shell(check, SERVICE="shop") == 3
        assert not service.answers()
        assert run_shell(restart, SERVICE="shop") == 0
        servers.wait_until(service.answers, "the service to come back")
        assert run_shell(check, SERVICE="shop") == 0


@pytest.mark.parametrize("name", ["", "nothing", "../shop", "shop; touch x", "-rf", "$(touch x)"])
def test_service_names_are_no_commands(service, name):
    """The name comes from an alert: one that is no unit is refused, and nothing runs."""
    rule = demo.demo_rule(service)["action"]["parameters"]
    assert run_shell(rule["restart_command"], SERVICE=name) == 4
    assert sorted(path.name for path in service.folder.iterdir()) == ["shop.unit"]


def test_timeline_prints_in_order_and_once():
    """A line that comes late goes before those that happened after it."""
    shown, clock = [], [100.0]
    timeline = Timeline(100.0, shown.append, patience=1.0, now=lambda: clock[0])
    timeline.add("b", "B", "second", 100.5)
    timeline.add("a", "A", "first", 100.2)
    timeline.add("a", "A", "first again", 100.9)
    timeline.print_due()
    assert shown == []
    clock[0] = 101.3
    timeline.print_due()
    assert shown == ["   0.2 s  A             first"]
    timeline.print_due(everything=True)
    assert shown[1:] == ["   0.5 s  B             second"]


def test_up_says_which_port_is_taken(tmp_path, capsys):
    """A port in use gives a sentence with the remedy, not a traceback."""
    with servers.Alertmanager(tmp_path / "am", [servers.webhook("http://127.0.0.1:1/")]) as taken:
        port = taken.address.rpartition(":")[2]
        assert up.main(["--api-port", port, "--dir", str(tmp_path / "up")]) == 1
    assert f"Port {port} is in use" in capsys.readouterr().out


def test_up_runs_until_sigterm_and_keeps_its_state(tmp_path):
    """It prints how to use it, ends with status 0 at SIGTERM, and a second run has the same key."""
    env_texts = []
    for _ in range(2):
        ports = ["--api-port", str(servers.free_port()), "--listener-port"]
        command = [sys.executable, "-m", "tests.demo.up", *ports, str(servers.free_port())]
        process = subprocess.Popen(
            [*command, "--dir", str(tmp_path)], cwd=servers.ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline().startswith("PoundCake is up")
        process.send_signal(signal.SIGTERM)
        with process.stdout:
            rest = process.stdout.read()
        assert process.wait(30) == 0
        assert "st2 action list --pack poundcake" in rest
        env_texts.append((tmp_path / "env").read_text())
    keys = [line for text in env_texts for line in text.splitlines() if "ST2_API_KEY" in line]
    assert len(keys) == 2 and keys[0] == keys[1]
