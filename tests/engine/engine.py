"""The engine: its parts put together, and the run of one execution."""

import logging
import os
import socket
import subprocess
import traceback
from pathlib import Path

from tests.engine import parameters, runners
from tests.engine.access import ADMIN, Access
from tests.engine.executions import Executions
from tests.engine.inquiries import Inquiries
from tests.engine.keys import Keys
from tests.engine.orchestration import Orchestrator
from tests.engine.packs import Registry
from tests.engine.rules import RulesEngine
from tests.engine.scheduler import Scheduler
from tests.engine.sensors import SensorContainer
from tests.engine.store import Store
from tests.engine.traces import Traces

LOG = logging.getLogger("engine")
# Seconds; MongoDB, too, removes what has expired once a minute.
PURGE_INTERVAL = 60


class Engine:
    """StackStorm in one process, with its state under `root`.

    `api_url` (with /v1) is what actions and sensors reach the API by. `purge_inquiries` is the
    switch of that name in StackStorm's st2.conf; there, too, inquiries time out only when it is on.
    """

    def __init__(self, root, api_url, password="changeme", purge_inquiries=False):
        self.root = Path(root)
        self.root.mkdir(parents=True, exist_ok=True)
        self.api_url = api_url
        self._purge_inquiries = purge_inquiries
        self.store = Store(self.root / "state.sqlite3")
        self.keys = Keys(self.store, self.root / "datastore_key")
        self.access = Access(self.store, password)
        self.registry = Registry(self.store, self.keys, self.root)
        self.traces = Traces(self.store)
        self.executions = Executions(self.store, self.registry, self.keys, self.traces)
        self.scheduler = Scheduler(self.store, self.executions, self.run)
        self.workflows = Orchestrator(
            self.store, self.registry, self.keys, self.executions, self.scheduler, api_url
        )
        self.rules = RulesEngine(self.store, self.registry, self.keys, self.traces, self.executions)
        self.inquiries = Inquiries(self.store, self.executions, self.workflows, self.rules)
        self.sensors = SensorContainer(self.store, self.registry, self.access, api_url)
        self.registry.register_core()

    def start(self, sensors=True):
        """Continue what an earlier engine left, then serve. Executions it ran are abandoned."""
        # StackStorm has its own ways to get there; what was running when it died is unknown.
        for execution in self._abandon("running", "canceling", "pausing", "resuming"):
            self.scheduler.conduct(self.workflows.recover, execution)
        self.scheduler.start()
        self.rules.start()
        self._purge()
        if sensors:
            self.sensors.start()

    def stop(self):
        """Stop sensors and workers; running executions are abandoned, as on StackStorm's stop."""
        self.sensors.stop()
        self.rules.stop()
        self.scheduler.stop()
        self._abandon("running")

    def _abandon(self, *statuses):
        """End the executions with these statuses, except for workflows, which it returns."""
        workflows = []
        for execution in self.store.find("execution", {"status": list(statuses)}):
            if execution["runner"]["name"] == "orquesta":
                workflows.append(execution)
            else:
                self.executions.finish(execution["id"], "abandoned", {})
        return workflows

    def _purge(self):
        self.store.purge()
        if self._purge_inquiries:
            self.scheduler.conduct(self.inquiries.time_out)
        self.scheduler.later(PURGE_INTERVAL, self._purge)

    def register(self, path, types=("all",)):
        """Register a pack and restart its sensors; returns the counts. Raises ValueError."""
        counts = self.registry.register(path, types)
        for sensor in self.store.find("sensor"):
            if sensor["artifact_uri"].startswith(f"file://{Path(path).resolve()}/"):
                self.sensors.apply(sensor)
        return counts

    def refresh(self, path):
        """Register a pack at the engine's start: what was enabled or disabled stays so."""
        kinds = ("rule", "sensor", "policy", "action")
        before = {d["ref"]: d["enabled"] for kind in kinds for d in self.store.find(kind)}
        self.registry.register(path)
        for kind in kinds:
            for document in self.store.find(kind):
                enabled = before.get(document["ref"], document["enabled"])
                if enabled != document["enabled"]:
                    self.store.put(kind, dict(document, enabled=enabled))

    def install(self, source):
        """Clone a git repository of this disk, register it; the pack's ref. Raises ValueError."""
        target = self.root / "packs" / Path(source.rstrip("/")).name
        if "://" in source and not source.startswith("file://"):
            raise ValueError("the embedded engine installs packs from local paths only")
        if not target.exists():
            command = ["git", "clone", "-q", source, str(target)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise ValueError(done.stderr.strip())
        self.register(target)
        return self.store.find("pack", {"path": str(target.resolve())})[0]["ref"]

    def run(self, id_):
        """Run a scheduled execution to its end, or a workflow to its first wait."""
        if self.store.get("execution", id_)["status"] != "scheduled":
            return
        info = {"hostname": socket.gethostname(), "pid": os.getpid()}
        execution = self.executions.set_status(
            id_, "running", change=lambda found: found["liveaction"].update(runner_info=info)
        )
        if execution["status"] != "running":
            return
        action, runner = execution["action"], execution["runner"]
        user = execution["context"].get("user")
        token = None
        try:
            if runner["name"] not in (*runners.RUNNERS, "orquesta"):
                raise NotImplementedError(
                    f'the embedded engine does not have the runner "{runner["name"]}"; '
                    "use StackStorm"
                )
            config = self.registry.config(action["pack"], user)
            runner_params, action_params = parameters.finalize_parameters(
                execution["parameters"],
                action,
                runner,
                execution["context"],
                config,
                self.keys.lookup(user),
            )
            entry_point = self.registry.entry_point(action)
            if runner["name"] == "orquesta":
                self.workflows.begin(execution, action_params, entry_point)
                return
            token = self.access.passing_token(user or ADMIN)
            job = runners.Job(
                execution=execution,
                runner_parameters=runner_params,
                action_parameters=action_params,
                entry_point=entry_point,
                config=config,
                environment=self._environment(execution, token),
            )
            status, result = runners.RUNNERS[runner["name"]](job)
        except Exception as e:
            LOG.info("Execution %s failed: %s", id_, e)
            lines = traceback.format_tb(e.__traceback__, 20)
            status, result = "failed", {"error": str(e), "traceback": "".join(lines)}
        if token:
            self.access.drop_token(token)
        self.executions.finish(id_, status, result)

    def _environment(self, execution, token):
        pack = execution["action"]["pack"]
        environment = dict(os.environ)
        if execution["runner"]["name"] == "python-script":
            environment.update(runners.pack_environment(self.registry.pack_path(pack)))
        environment["ST2_ACTION_PACK_NAME"] = pack
        environment["ST2_ACTION_EXECUTION_ID"] = execution["id"]
        environment["ST2_ACTION_API_URL"] = self.api_url
        environment["ST2_ACTION_AUTH_TOKEN"] = token
        return environment
