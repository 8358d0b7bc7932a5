"""The real servers around PoundCake, for `make demo` and the end-to-end tests.

    with Engine(tmp / "engine", token="t") as engine, \\
            Alertmanager(tmp / "alertmanager", [webhook(engine.webhook_url, token="t")]) as am, \\
            Prometheus(tmp / "prometheus", [target("127.0.0.1:9000")], [rule], am.address) as prom:
        ...

They share one form. The constructor takes a folder of the server's own (made when absent), picks
free ports of 127.0.0.1 and writes the configuration; nothing runs yet. `start()` runs it, waits
until it is ready and returns it, or raises ServerError with the end of its log. `stop()` ends it by
its process id and waits; calling it again is harmless. `with` does both. `start()` after `stop()`
goes on with the same state on the same ports. `log_path` is its log, `log()` the text of it.

The programs come from `tests/demo/install_servers`; `missing()` says which of them are not there.
"""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
from datetime import datetime, timedelta, timezone
from pathlib import Path
from unittest import mock

import requests
import yaml

from tests.engine import testing
from tests.support.alerts import NO_CAPS
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 120  # on a busy machine
STOP_SECONDS = 10
# Where Debian puts sshd is not on every user's path.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
# The command, and the same under the name that its makers give it.
PROGRAMS = {
    "prometheus": ("prometheus",),
    "promtool": ("promtool",),
    "alertmanager": ("prometheus-alertmanager", "alertmanager"),
    "amtool": ("amtool",),
    "sshd": ("sshd",),
    "ssh": ("ssh",),
    "ssh-keygen": ("ssh-keygen",),
    "ssh-agent": ("ssh-agent",),
    "ssh-add": ("ssh-add",),
}


class ServerError(RuntimeError):
    """A server did not start, or a wait timed out; the text has the end of the log."""


def program(name):
    """The path of one of PROGRAMS. Raises ServerError when it is not installed."""
    for command in PROGRAMS[name]:
        path = shutil.which(command, path=SEARCH_PATH)
        if path:
            return path
    raise ServerError(f"{PROGRAMS[name][0]} is not installed: run bash tests/demo/install_servers")


def missing():
    """The names of the programs that are not installed; a test can skip on it."""
    return [
        names[0]
        for names in PROGRAMS.values()
        if not any(shutil.which(command, path=SEARCH_PATH) for command in names)
    ]


def wait_until(condition, what, seconds=READY_SECONDS, every=0.05):
    """Poll `condition()` until it is true; returns its value.

    A refused connection counts as not yet. Raises ServerError, naming `what`, after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            value = condition()
        except requests.RequestException:
            value = None
        if value:
            return value
        if time.monotonic() > deadline:
            raise ServerError(f"waited {seconds} s for {what}")
        time.sleep(every)


class Server:
    """One process: subclasses give its command, and say when it is ready."""

    name = "server"

    def __init__(self, folder):
        self.folder = Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log_path = self.folder / f"{self.name}.log"
        self._process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    @property
    def pid(self):
        """Its process id, None while it does not run."""
        return self._process.pid if self.running else None

    @property
    def running(self):
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def log(self):
        """What it logged so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def start(self):
        """Start it and wait until it is ready. Raises ServerError with the end of its log."""
        if self.running:
            return self
        with open(self.log_path, "ab") as log:
            # A session of its own: Ctrl-C in a terminal reaches the caller alone, which stops us.
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until(lambda: not self.running or self._ready(), f"{self.name} to be ready")
            if not self.running:
                raise ServerError(f"{self.name} ended with status {self._process.returncode}")
        except ServerError as error:
            self.stop()
            raise ServerError(f"{error}:\n{self.log()[-2000:]}") from None
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self, signum=signal.SIGTERM):
        """End it and wait until it is gone; SIGKILL as `signum` makes it a crash."""
        if self.running:
            self._process.send_signal(signum)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _command(self):
        raise NotImplementedError

    def _ready(self):
        raise NotImplementedError

    def _check(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServerError(f"{command[0]} rejects it:\n{done.stdout}{done.stderr}")


def target(address, **labels):
    """A scrape target of Prometheus ("host:port"), with labels that its series get."""
    return {"targets": [address], "labels": labels}


class Prometheus(Server):
    """Prometheus with one scrape job, "demo"; ready when it has scraped every target once.

    That takes some five seconds: Prometheus looks for new targets no more often.

    :param targets: list of `target(...)`; `/metrics` of each is scraped.
    :param rules: list of alerting rules as in a rules file (alert, expr, for, labels, annotations).
    :param alertmanager: "host:port" of the Alertmanager, None for none.
    :param interval: how often it scrapes and evaluates rules.
    """

    name = "prometheus"

    def __init__(self, folder, targets, rules=(), alertmanager=None, interval="1s"):
        super().__init__(folder)
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        self.config_path = self.folder / "prometheus.yml"
        self._targets = len(targets)
        self._alertmanagers = 1 if alertmanager else 0
        rules_path = self.folder / "rules.yml"
        group = {"name": "demo", "rules": list(rules)}
        rules_path.write_text(yaml.safe_dump({"groups": [group]}, sort_keys=False))
        job = {"job_name": "demo", "static_configs": list(targets)}
        config = {
            "global": {
                "scrape_interval": interval,
                "scrape_timeout": interval,
                "evaluation_interval": interval,
            },
            "rule_files": [str(rules_path)],
            "scrape_configs": [job],
        }
        if alertmanager:
            static = [{"targets": [alertmanager]}]
            config["alerting"] = {"alertmanagers": [{"static_configs": static}]}
        self.config_path.write_text(yaml.safe_dump(config, sort_keys=False))

    def check(self):
        """Raise ServerError, with promtool's words, when the configuration is wrong."""
        self._check(program("promtool"), "check", "config", str(self.config_path))

    def query(self, expression):
        """The result of an instant query: a list of {metric, value}."""
        params = {"query": expression}
        answer = requests.get(f"{self.url}/api/v1/query", params=params, timeout=5)
        answer.raise_for_status()
        return answer.json()["data"]["result"]

    def value(self, expression):
        """The number that an instant query gives, None when it gives no series."""
        result = self.query(expression)
        return float(result[0]["value"][1]) if result else None

    def alerts(self, state="firing"):
        """Its alerts in a state (pending, firing): a list of {labels, annotations, activeAt}."""
        answer = requests.get(f"{self.url}/api/v1/alerts", timeout=5)
        answer.raise_for_status()
        return [one for one in answer.json()["data"]["alerts"] if one["state"] == state]

    def _command(self):
        return [
            program("prometheus"),
            f"--config.file={self.config_path}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={self.address}",
        ]

    def _ready(self):
        if not requests.get(f"{self.url}/-/ready", timeout=5).ok:
            return False
        targets = requests.get(f"{self.url}/api/v1/targets", timeout=5).json()["data"]
        scraped = [t for t in targets["activeTargets"] if t["health"] != "unknown"]
        found = requests.get(f"{self.url}/api/v1/alertmanagers", timeout=5).json()["data"]
        alertmanagers = found["activeAlertmanagers"]
        return len(scraped) >= self._targets and len(alertmanagers) >= self._alertmanagers


def webhook(url, token=None, username=None, password=None, params=None, **more):
    """A receiver of Alertmanager's.

    :param url: where it posts.
    :param token: sent as `Authorization: Bearer ...`.
    :param username: with `password`: basic auth.
    :param params: dict that is added to the URL, such as {"st2-api-key": key}.
    :param more: further fields of webhook_config, such as max_alerts=10; `verify=False` accepts
        any TLS certificate.
    """
    if params:
        url += ("&" if "?" in url else "?") + urllib.parse.urlencode(params)
    http_config = {}
    if not more.pop("verify", True):
        http_config["tls_config"] = {"insecure_skip_verify": True}
    if token:
        http_config["authorization"] = {"type": "Bearer", "credentials": token}
    if username:
        http_config["basic_auth"] = {"username": username, "password": password}
    config = {"url": url, "send_resolved": True, **more}
    return {**config, "http_config": http_config} if http_config else config


class Alertmanager(Server):
    """Alertmanager with one route; alerts come from a Prometheus, or from `fire` and `resolve`.

    :param webhooks: list of `webhook(...)`; each gets every notification.
    :param group_by: label names; ["..."] makes every alert a group of its own.
    :param group_wait: how long it waits before the first notification of a group.
    :param group_interval: how long before a change of a group is sent; a resolve is one.
    :param repeat_interval: how long before the same is sent again.
    """

    name = "alertmanager"

    def __init__(
        self,
        folder,
        webhooks,
        group_by=("alertname",),
        group_wait="100ms",
        group_interval="1s",
        repeat_interval="1h",
    ):
        super().__init__(folder)
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        self.config_path = self.folder / "alertmanager.yml"
        route = {
            "receiver": "poundcake",
            "group_by": list(group_by),
            "group_wait": group_wait,
            "group_interval": group_interval,
            "repeat_interval": repeat_interval,
        }
        config = {
            "route": route,
            "receivers": [{"name": "poundcake", "webhook_configs": list(webhooks)}],
        }
        # It holds credentials.
        self.config_path.touch(mode=0o600)
        self.config_path.write_text(yaml.safe_dump(config, sort_keys=False))

    def check(self):
        """Raise ServerError, with amtool's words, when the configuration is wrong."""
        self._check(program("amtool"), "check-config", str(self.config_path))

    def fire(self, labels, annotations=None, starts_at=None):
        """Post one firing alert as Prometheus does; returns its fingerprint.

        :param starts_at: RFC 3339; now unless given. Fired again, an alert keeps its first one.
        """
        alert = {"labels": labels, "annotations": annotations or {}}
        # Without startsAt, Alertmanager would take endsAt for it.
        alert["startsAt"] = starts_at or _rfc3339(timedelta(0))
        alert["endsAt"] = _rfc3339(timedelta(hours=1))
        self.post([alert])
        return self.fingerprint(labels)

    def resolve(self, labels, annotations=None):
        """Post that an alert of `fire` is over; its fingerprint stays the same."""
        now = _rfc3339(timedelta(0))
        self.post([{"labels": labels, "annotations": annotations or {}, "endsAt": now}])

    def post(self, alerts):
        """Post alerts as API v2 takes them: [{labels, annotations, startsAt, endsAt}]."""
        answer = requests.post(f"{self.url}/api/v2/alerts", json=alerts, timeout=10)
        if not answer.ok:
            raise ServerError(f"alertmanager: {answer.status_code} {answer.text[:500]}")

    def alerts(self):
        """The alerts that it holds as active: a list of {fingerprint, labels, startsAt, ...}."""
        answer = requests.get(f"{self.url}/api/v2/alerts", timeout=10)
        answer.raise_for_status()
        return answer.json()

    def fingerprint(self, labels):
        """The fingerprint of the active alert with exactly these labels, None when it has none."""
        wanted = {name: value for name, value in labels.items() if value != ""}
        found = (one["fingerprint"] for one in self.alerts() if one["labels"] == wanted)
        return next(found, None)

    def notifications(self):
        """How many notifications it has sent, and how many tries failed: (sent, failed)."""
        return (
            self._metric("alertmanager_notifications_total"),
            self._metric("alertmanager_notifications_failed_total"),
        )

    def _metric(self, name):
        text = requests.get(f"{self.url}/metrics", timeout=5).text
        lines = (line for line in text.splitlines() if line.startswith(name + "{"))
        return sum(
            int(float(line.split()[-1])) for line in lines if 'integration="webhook"' in line
        )

    def _command(self):
        return [
            program("alertmanager"),
            f"--config.file={self.config_path}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address={self.address}",
            # Alone: it would look for an address to gossip on, and may not find one.
            "--cluster.listen-address=",
        ]

    def _ready(self):
        return requests.get(f"{self.url}/-/ready", timeout=5).ok


def _rfc3339(from_now):
    # Tests against a real StackStorm run on its Python, which may be 3.8.
    now = datetime.now(timezone.utc)  # noqa: UP017
    return (now + from_now).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class _Agent(Server):
    """An ssh-agent; `socket_path` is what SSH_AUTH_SOCK names."""

    name = "ssh-agent"

    def __init__(self, folder, key):
        super().__init__(folder)
        self._key = key
        # Not in the folder: the path of a socket may have 107 characters only.
        self._socket_folder = tempfile.TemporaryDirectory(prefix="poundcake-ssh-")
        self.socket_path = str(Path(self._socket_folder.name) / "agent")

    def start(self):
        """Start it and hand it the key."""
        Path(self.socket_path).unlink(missing_ok=True)
        super().start()
        env = dict(os.environ, SSH_AUTH_SOCK=self.socket_path)
        command = [program("ssh-add"), "-q", self._key]
        subprocess.run(command, env=env, check=True, stdin=subprocess.DEVNULL)
        return self

    def _command(self):
        return [program("ssh-agent"), "-D", "-a", self.socket_path]

    def _ready(self):
        return Path(self.socket_path).exists()


class Sshd(Server):
    """An SSH server that lets the present user in with a key of its own; for core.remote.

    Two ways to use it with core.remote: with its parameters `hosts`, `port`, `username` and
    `private_key` (a path), as attributes here; or, where a workflow gives `hosts` alone, with
    `Engine(..., env=sshd.env)`, which brings the key through an ssh-agent, and `address`
    ("127.0.0.1:port") as the host. Start it before the engine.

    `options` is the beginning of an `ssh` command that logs in, and trusts this host key alone.
    """

    name = "sshd"

    def __init__(self, folder):
        super().__init__(folder)
        self.folder.chmod(0o700)
        self.host = "127.0.0.1"
        self.port = free_port()
        self.hosts = self.host
        self.username = pwd.getpwuid(os.getuid()).pw_name
        self.private_key = str(self._key("user_key"))
        host_key = self._key("host_key")
        authorized = self.folder / "authorized_keys"
        authorized.write_text(Path(self.private_key + ".pub").read_text())
        authorized.chmod(0o600)
        self.known_hosts = self.folder / "known_hosts"
        public = Path(f"{host_key}.pub").read_text()
        self.known_hosts.write_text(f"[{self.host}]:{self.port} {public}")
        self.config_path = self.folder / "sshd_config"
        settings = {
            "ListenAddress": f"{self.host}:{self.port}",
            "HostKey": host_key,
            "PidFile": "none",
            "AuthorizedKeysFile": authorized,
            "AllowUsers": self.username,
            "AuthenticationMethods": "publickey",
            "PermitRootLogin": "prohibit-password",
            "UsePAM": "no",
            # The folder may lie below one that others may write to, such as /tmp.
            "StrictModes": "no",
            "LogLevel": "VERBOSE",
            "Subsystem": "sftp internal-sftp",
        }
        lines = [f"{name} {_quoted(name, value)}\n" for name, value in settings.items()]
        self.config_path.write_text("".join(lines))
        self._agent = _Agent(self.folder, self.private_key)
        self.address = f"{self.host}:{self.port}"
        self.env = {"SSH_AUTH_SOCK": self._agent.socket_path}

    def start(self):
        """Start it, and the agent that has its key."""
        super().start()
        try:
            self._agent.start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self, signum=signal.SIGTERM):
        """End it and its agent."""
        self._agent.stop()
        super().stop(signum)

    @property
    def options(self):
        """`ssh` with the options that log in here, without the host."""
        return [
            program("ssh"),
            *("-F", "none", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={self.known_hosts}"),
            *("-p", str(self.port), "-l", self.username, "-i", self.private_key),
        ]

    def run(self, command):
        """Run a command over ssh; the CompletedProcess, with text output."""
        return subprocess.run(
            [*self.options, self.host, command],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def check(self):
        """Raise ServerError, with sshd's words, when the configuration is wrong."""
        self._make_run_folder()
        self._check(program("sshd"), "-t", "-f", str(self.config_path))

    def _key(self, name):
        path = self.folder / name
        if not path.exists():
            command = [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return path

    def _command(self):
        self._make_run_folder()
        # sshd starts itself anew for every connection, so it wants its absolute path.
        return [program("sshd"), "-D", "-e", "-f", str(self.config_path)]

    def _make_run_folder(self):
        # Debian compiles it in, and leaves it to the service's start to make it.
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)

    def _ready(self):
        try:
            with socket.create_connection((self.host, self.port), timeout=2) as connection:
                connection.settimeout(2)
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False


def _quoted(name, value):
    return f'"{value}"' if name in ("HostKey", "AuthorizedKeysFile") else value


class Engine(Server):
    """The embedded engine with this pack, ready when the pack's listener is.

    :param config: settings of the pack; `port` is a free one unless given.
    :param packs: further packs to register (folders), after this one.
    :param env: further environment variables of the engine, its sensors and actions.

    Besides what every Server has: `webhook_url`, `listener_url`, `api_url` (with /v1), `api_key`,
    `env` (the environment for `st2`), and everything that tests.engine.testing.EngineHandle has:
    `st2(...)`, `get`, `request`, `run`, `finished`, `wait_for`, `kill`.
    """

    name = "engine"

    def __init__(self, folder, packs=(), api_port=0, env=None, **config):
        super().__init__(folder)
        self._packs = [ROOT, *packs]
        self._api_port = api_port
        self._environment = env or {}
        self.config = {"port": free_port(), **NO_CAPS, **config}
        self.listener_url = f"http://127.0.0.1:{self.config['port']}"
        self.webhook_url = f"{self.listener_url}/webhook"
        self._handle = None

    def __getattr__(self, name):
        # Asked only for what this class does not have.
        handle = self.__dict__.get("_handle")
        if name.startswith("_") or handle is None:
            raise AttributeError(f"{name} (the engine has not been started)")
        return getattr(handle, name)

    @property
    def pid(self):
        """Its process id, None while it does not run."""
        return self._handle.pid if self.running else None

    @property
    def running(self):
        """Whether the process lives."""
        process = self._handle._process if self._handle else None
        return process is not None and process.poll() is None

    def start(self):
        """Start it and wait until the listener is ready. Raises ServerError."""
        if self.running:
            return self
        try:
            with mock.patch.dict(os.environ, self._environment):
                self._launch()
            wait_until(lambda: not self.running or self._ready(), "the listener of the pack")
            if not self.running:
                raise ServerError("the engine ended at its start")
        except (RuntimeError, OSError) as error:
            self.stop()
            raise ServerError(f"{error}\n{self.log()[-3000:]}") from None
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self, signum=signal.SIGTERM):
        """End it, its sensors too, and wait; SIGKILL as `signum` makes it a crash."""
        if self.running:
            self._handle.kill() if signum == signal.SIGKILL else self._handle.stop()

    def restart(self):
        """Stop, and start on the same state and ports."""
        self.stop()
        return self.start()

    def _launch(self):
        if self._handle:
            self._handle.start()
        else:
            configs = {"poundcake": self.config}
            # As testing.start, but known here before it runs: what interrupts it can stop it.
            self._handle = testing.EngineHandle.__new__(testing.EngineHandle)
            self._handle._process = None
            self._handle.__init__(self.folder, self._packs, configs, self._api_port)

    def ask(self, action, **parameters):
        """The result of one of the pack's query actions: ask("list_alerts", state="failed")."""
        execution = self._handle.run(f"poundcake.{action}", **parameters)
        if execution["status"] != "succeeded":
            raise ServerError(f"poundcake.{action}: {json.dumps(execution['result'])[:1000]}")
        return execution["result"]["result"]

    def _ready(self):
        return requests.get(f"{self.listener_url}/ready", timeout=5).ok
