"""Start an engine for tests, as the process it is."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import requests
import yaml

from tests.engine import preloaded

ROOT = Path(__file__).resolve().parents[2]
ST2 = preloaded.Python("ready_st2")


def st2(arguments, environment):
    """Run the real `st2` command; the CompletedProcess, with text output."""
    beside = Path(sys.executable).with_name("st2")
    if not beside.exists():
        command = [shutil.which("st2"), *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    command = [str(beside), *arguments]
    return subprocess.CompletedProcess(command, *ST2.run(command, environment, timeout=120))


class EngineHandle:
    """A running engine: `api_url` (with /v1), `api_key`, `env` (for `st2`), `session`."""

    def __init__(self, folder, packs, configs, api_port):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._packs = packs
        self._configs = configs
        self._port = api_port
        self.options = []  # more of the command line, for the next start
        self._process = None
        self.start()

    def start(self):
        """Start the process and wait until the API answers. Raises RuntimeError."""
        command = [sys.executable, "-m", "tests.engine", "--dir", str(self.folder)]
        command += ["--api-port", str(self._port), *self.options]
        for pack in self._packs:
            command += ["--pack", str(pack)]
        for pack, values in self._configs.items():
            file = self.folder / f"{pack}.config.yaml"
            file.write_text(yaml.safe_dump(values))
            command += ["--config", f"{pack}={file}"]
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True
            )
        try:
            line = self._process.stdout.readline()
            if not line.startswith("engine ready"):
                raise RuntimeError(f"The engine did not start:\n{self.log()[-4000:]}")
            self._read_env()
        except BaseException:  # Ctrl-C, too, must not leave it behind
            self.stop()
            raise

    def _read_env(self):
        # As wide as st2 writes where there is no terminal, whatever runs the tests.
        self.env = dict(os.environ, COLUMNS="150")
        for line in (self.folder / "env").read_text().splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            if name != "PATH":
                self.env[name] = shlex.split(value)[0]
        self.api_url = self.env["ST2_API_URL"]
        self.api_key = self.env["ST2_API_KEY"]
        self._port = int(self.env["ST2_BASE_URL"].rpartition(":")[2])
        self.session = requests.Session()
        self.session.headers["St2-Api-Key"] = self.api_key

    @property
    def log_path(self):
        """Where the engine and its sensors log to."""
        return self.folder / "engine.log"

    @property
    def pid(self):
        """Process id of the engine."""
        return self._process.pid

    def log(self):
        """What it logged so far."""
        return self.log_path.read_text(errors="replace")

    def request(self, method, path, **kwargs):
        """An API call with the API key; `path` below /v1, such as /keys."""
        kwargs.setdefault("timeout", 60)
        return self.session.request(method, self.api_url + path, **kwargs)

    def get(self, path, **params):
        """The JSON of a GET. Raises HTTPError."""
        answer = self.request("GET", path, params=params)
        answer.raise_for_status()
        return answer.json()

    def st2(self, *arguments, check=True):
        """Run the real `st2` command; the CompletedProcess, with text output."""
        done = st2(arguments, self.env)
        if check and done.returncode:
            raise AssertionError(f"{arguments} failed:\n{done.stdout}\n{done.stderr}")
        return done

    def wait_for(self, condition, what, timeout=60):
        """Poll until `condition()` is true; returns its value. Raises AssertionError."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"Timed out waiting for {what}. Log:\n{self.log()[-4000:]}")

    def finished(self, execution_id, timeout=60):
        """The execution once it is over."""

        def over():
            execution = self.get(f"/executions/{execution_id}")
            return execution if "end_timestamp" in execution else None

        return self.wait_for(over, f"execution {execution_id}", timeout)

    def run(self, action, timeout=60, **parameters):
        """Run an action; the execution once it is over."""
        body = {"action": action, "parameters": parameters}
        answer = self.request("POST", "/executions", json=body)
        assert answer.status_code == 201, answer.text
        return self.finished(answer.json()["id"], timeout)

    def stop(self):
        """End it as SIGTERM does."""
        self._end(signal.SIGTERM)

    def kill(self):
        """End it as a crash does: SIGKILL."""
        self._end(signal.SIGKILL)

    def _end(self, signum):
        if not self._process:
            return
        self._process.send_signal(signum)  # nothing happens when it is over already
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def restart(self):
        """Stop, and start on the same state and port."""
        self.stop()
        self.start()


def start(folder, packs=(), configs=None, api_port=0):
    """An engine with these packs; `configs` is {pack: values}. Raises RuntimeError."""
    return EngineHandle(folder, list(packs), configs or {}, api_port)
