"""The StackStorm that the end-to-end tests speak to, over HTTP and the ``st2`` command only.

With ``ST2_API_URL`` and ``ST2_API_KEY`` set it is a real one that has the pack installed
(``LISTENER_URL``, ``LISTENER_TOKEN``: where the listener is and what it wants, when that is not
http://127.0.0.1:8090 and nothing); else the embedded engine.
"""

import contextlib
import json
import os
import re
import shutil
import time
import uuid
from pathlib import Path

import requests

from tests.engine import testing
from tests.support.alerts import NO_CAPS, notification
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 120


@contextlib.contextmanager
def open_world(folder, **config):
    """The World at hand for as long as the block lasts.

    :param folder: where the embedded engine keeps its state and its copy of the pack.
    :param config: settings of the pack; a real StackStorm keeps its own.
    """
    real = os.environ.get("ST2_API_URL")
    if real:
        listener = os.environ.get("LISTENER_URL", "http://127.0.0.1:8090")
        yield World(real, os.environ["ST2_API_KEY"], listener, dict(os.environ))
        return
    pack = copy_pack(folder / "packs" / "poundcake")
    port = free_port()
    config = {**NO_CAPS, **config, "port": port}
    engine = testing.start(folder / "state", [pack], {"poundcake": config})
    try:
        url = "http://127.0.0.1:%d" % port
        found = World(engine.api_url, engine.api_key, url, engine.env, pack)
        found.wait(lambda: _answers(url), "the listener")
        yield found
    finally:
        engine.stop()


class World:
    """One StackStorm with the pack in it."""

    def __init__(self, api_url, api_key, listener_url, environment, pack_dir=None):
        self.api_url = api_url.rstrip("/")
        self.api_key = api_key
        self.listener_url = listener_url
        self.pack_dir = pack_dir  # where the pack lies, None when that is not known
        self._environment = dict(environment, ST2_API_URL=api_url, ST2_API_KEY=api_key)
        self._environment.pop("ST2_AUTH_TOKEN", None)
        self._session = requests.Session()
        self._session.headers["St2-Api-Key"] = api_key
        self._listener = requests.Session()
        self._listener.headers["Content-Type"] = "application/json"
        if environment.get("LISTENER_TOKEN"):
            self._listener.headers["Authorization"] = "Bearer " + environment["LISTENER_TOKEN"]

    # --- StackStorm -------------------------------------------------------------------------------

    def api(self, method, path, ok=True, **kwargs):
        """Call the API and return the decoded answer, its text when it is not JSON."""
        answer = self._session.request(method, self.api_url + path, timeout=60, **kwargs)
        if ok and answer.status_code >= 400:
            raise AssertionError("%s %s: %d %s" % (method, path, answer.status_code, answer.text))
        try:
            return answer.json() if answer.content else None
        except ValueError:
            return answer.text

    def count(self, path, params):
        """Return how many items a listing of the API has."""
        answer = self._session.get(self.api_url + path, params=params, timeout=60)
        return int(answer.headers["X-Total-Count"])

    def st2(self, *arguments):
        """Run the ``st2`` command and return what it printed; fails when it fails."""
        done = self.st2_process(*arguments)
        assert done.returncode == 0, "st2 %s: %s%s" % (arguments, done.stdout, done.stderr)
        return done.stdout

    def st2_process(self, *arguments):
        return testing.st2(arguments, self._environment)

    def run(self, action, **parameters):
        """``st2 run`` an action of the pack; return ``(status, result)`` of the execution."""
        words = ["%s=%s" % item for item in parameters.items()]
        # In the background, because the command looks for the end only every two seconds.
        done = self.st2_process("run", "-a", "poundcake." + action, *words)
        told = re.search(r"st2 execution get (\w+)", done.stdout)
        assert told, done.stdout + done.stderr
        execution = self.finished(told[1])
        return execution["status"], execution["result"].get("result")

    def ask(self, action, **parameters):
        """``st2 run`` an action of the pack that must succeed; return its result."""
        status, result = self.run(action, **parameters)
        assert status == "succeeded", result
        return result

    def rule(self, alertname, action, parameters=None, trigger="poundcake.alert"):
        """A rule for one alertname, for as long as the block lasts."""
        criteria = {"trigger.alertname": {"type": "eq", "pattern": alertname}}
        return self._rule(trigger, criteria, {"ref": action, "parameters": parameters or {}})

    @contextlib.contextmanager
    def hears(self, *triggers):
        """Have these triggers sent, which are sent when a rule listens, while the block lasts.

        The rules never start anything: no letter of a name has a part. The sensor cannot know that.
        """
        part = {"item.part": {"type": "equals", "pattern": "x"}}
        nothing = {"type": "search", "condition": "any", "pattern": part}
        with contextlib.ExitStack() as stack:
            for trigger in triggers or ("poundcake.lifecycle", "poundcake.alert_resolved"):
                criteria = {"trigger.alertname": nothing}
                stack.enter_context(self._rule(trigger, criteria, {"ref": "core.noop"}))
            yield self

    @contextlib.contextmanager
    def _rule(self, trigger, criteria, action):
        rule = {
            "name": "e2e_" + uuid.uuid4().hex[:10],
            "pack": "default",
            "enabled": True,
            "trigger": {"type": trigger, "parameters": {}},
            "criteria": criteria,
            "action": action,
        }
        created = self.api("POST", "/rules", json=rule)
        try:
            yield created
        finally:
            self.api("DELETE", "/rules/" + created["id"])

    @contextlib.contextmanager
    def workflow(self, definition, inputs=()):
        """An Orquesta workflow in the pack ``default``, saved as the web UI saves one."""
        name = "e2e_" + uuid.uuid4().hex[:10]
        path = "workflows/%s.yaml" % name
        action = {
            "name": name,
            "pack": "default",
            "runner_type": "orquesta",
            "enabled": True,
            "entry_point": path,
            "parameters": {item: {"type": "string"} for item in inputs},
            "data_files": [{"file_path": path, "content": definition}],
        }
        created = self.api("POST", "/actions", json=action)
        try:
            yield "default." + name
        finally:
            self.api("DELETE", "/actions/" + created["id"])

    def execution(self, execution_id):
        return self.api("GET", "/executions/" + execution_id)

    def finished(self, execution_id):
        """Wait for an execution to end and return it."""
        final = ("succeeded", "failed", "timeout", "canceled", "abandoned")
        return self.wait(
            lambda: (lambda e: e if e["status"] in final else None)(self.execution(execution_id)),
            "execution %s to end" % execution_id,
        )

    # --- PoundCake --------------------------------------------------------------------------------

    def post(self, body, path="/webhook", **kwargs):
        """Post a notification to the listener; return ``(status code, decoded answer)``."""
        data = body if isinstance(body, (bytes, str)) else json.dumps(body)
        url = self.listener_url + path
        answer = self._listener.post(url, data=data, timeout=60, **kwargs)
        return answer.status_code, answer.json()

    def accept(self, *alerts, **fields):
        """Post alerts that must be accepted; return the request id."""
        status, answer = self.post(notification(*alerts, **fields))
        assert status == 202, answer
        return answer["request_id"]

    def look(self, path, method="GET"):
        """Ask the listener, with the token that it wants; return its answer."""
        return self._listener.request(method, self.listener_url + path, timeout=60)

    def read(self, path):
        """Return what the listener answers, decoded; fails when it is an error."""
        answer = self.look(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def status(self, request_id):
        """Return what the listener says of a request."""
        return self.read("/api/v1/status/" + request_id)

    def ready(self):
        """Return the status code and the parts that the listener answers at /ready."""
        answer = self.look("/ready")
        return answer.status_code, answer.json()["parts"]

    def metrics(self):
        """Return what the listener says at /metrics."""
        answer = self.look("/metrics")
        assert answer.status_code == 200, answer.text
        return answer.text

    def completed(self, request_id, timeout=WAIT_SECONDS):
        """Wait until every alert of a request is dealt with and tracked; return its row."""

        def check():
            done = self.status(request_id)["status"] == "complete"
            row = done and self.api("GET", "/keys/poundcake.request." + request_id, ok=False)
            row = json.loads(row["value"]) if row and "value" in row else None
            return row if row and row["completed_at"] else None

        return self.wait(check, "request %s to be complete" % request_id, timeout)

    def tracked(self, fingerprint, state):
        """Wait until the row of an alert, which follows the listener, shows a state; return it."""

        def check():
            found = self.api("GET", "/keys/poundcake.alert." + fingerprint, ok=False)
            row = json.loads(found["value"]) if "value" in found else None
            return row if row and row["state"] == state else None

        return self.wait(check, "the row of %s to be %s" % (fingerprint, state))

    def wait(self, check, what, timeout=WAIT_SECONDS):
        """Return the first true answer of ``check``; fails with ``what`` was awaited."""
        deadline = time.monotonic() + timeout
        pause = 0.02
        while True:
            answer = check()
            if answer:
                return answer
            assert time.monotonic() < deadline, "waited in vain for " + what
            time.sleep(pause)
            pause = min(pause * 1.5, 0.25)


def copy_pack(target):
    """Copy the pack as ``st2 pack install`` does, so that tests may save workflows into it."""
    names = ("actions", "aliases", "policies", "rules", "sensors", "workflows")
    target.mkdir(parents=True)
    for name in names:
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, target / name, symlinks=True)
    for path in list(ROOT.glob("*.yaml")) + list(ROOT.glob("*.txt")):
        shutil.copy(path, target / path.name)
    return target


def _answers(url):
    try:
        return requests.get(url + "/ready", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def unique(stem):
    """A name that no other run of the tests has used."""
    return "%s%s" % (stem, uuid.uuid4().hex[:10])
