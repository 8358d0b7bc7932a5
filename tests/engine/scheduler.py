"""From `requested` to a runner: delays, policies, the pools that run executions."""

import functools
import heapq
import itertools
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.engine.executions import COMPLETED

LOG = logging.getLogger("engine.scheduler")
# actionrunner.actions_pool_size and workflows_pool_size of StackStorm.
ACTIONS_POOL, WORKFLOWS_POOL = 60, 40
# Seconds until an execution that a policy held back is looked at again, as in StackStorm.
POLICY_DELAY = 2.5


class Scheduler:
    """Starts executions when they are due and policies allow; `run(execution)` does the work."""

    def __init__(self, store, executions, run):
        self._store = store
        self._executions = executions
        self._run = run
        self._due = []
        self._order = itertools.count()
        self._wake = threading.Condition()
        self._stopped = False
        self._actions = ThreadPoolExecutor(ACTIONS_POOL, "action")
        self._workflows = ThreadPoolExecutor(WORKFLOWS_POOL, "workflow")
        self._thread = threading.Thread(target=self._loop, name="scheduler", daemon=True)
        executions.listeners.append(self._on_status)

    def start(self):
        """Take up what an earlier engine left, then schedule."""
        for execution in self._store.find(
            "execution", {"status": ["requested", "delayed", "scheduled"]}
        ):
            self.later(0, self._schedule, execution["id"])
        self._thread.start()

    def stop(self):
        """Start nothing more; what runs goes on until the process ends."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        self._actions.shutdown(wait=False, cancel_futures=True)
        self._workflows.shutdown(wait=False, cancel_futures=True)

    def later(self, seconds, call, *args):
        """Call on the scheduler's thread in so many seconds; the call must be short."""
        with self._wake:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), call, args))
            self._wake.notify()

    def _loop(self):
        while True:
            with self._wake:
                while not self._stopped and (not self._due or self._due[0][0] > time.monotonic()):
                    self._wake.wait(self._due[0][0] - time.monotonic() if self._due else None)
                if self._stopped:
                    return
                _, _, call, args = heapq.heappop(self._due)
            self._logged(call, *args)

    def _on_status(self, execution):
        if execution["status"] == "requested":
            delay = execution.get("delay") or 0
            if delay > 0:
                self._executions.set_status(execution["id"], "delayed")
            self.later(delay / 1000, self._schedule, execution["id"])
        elif execution["status"] == "canceling" and execution["runner"]["name"] != "orquesta":
            # The process, if there is one, runs on; its result is dropped.
            self._executions.finish(execution["id"], "canceled", None)
        elif execution["status"] in COMPLETED:
            self._retry(execution)

    def _schedule(self, id_):
        execution = self._store.get("execution", id_)
        if execution["status"] not in ("requested", "delayed", "scheduled"):
            return
        if execution["status"] != "scheduled":
            held = self._held_by(execution)
            if held == "delay":
                self._executions.set_status(id_, "delayed")
                return self.later(POLICY_DELAY, self._schedule, id_)
            if held == "cancel":
                return self._executions.set_status(id_, "canceling")
            execution = self._executions.set_status(id_, "scheduled")
        workflow = execution["runner"]["name"] == "orquesta"
        self._submit(self._workflows if workflow else self._actions, self._run, id_)

    def conduct(self, call, *args):
        """Call on one of the threads for workflows; what it raises is logged."""
        self._submit(self._workflows, call, *args)

    def _submit(self, pool, call, *args):
        if not self._stopped:
            pool.submit(self._logged, call, *args)

    @staticmethod
    def _logged(call, *args):
        try:
            call(*args)
        except Exception:
            LOG.exception("Failed: %s%s", call, args)

    def _held_by(self, execution):
        """`delay` or `cancel` when a concurrency policy says so, else None."""
        for policy in self._policies(execution):
            if not policy["policy_type"].startswith("action.concurrency"):
                continue
            same = self._store.find("execution", {"status": ["scheduled", "running"]})
            attributes = policy["parameters"].get("attributes") or []
            own = execution["parameters"]
            # Like StackStorm, only attributes that were given count: defaults are not in yet.
            shared = {name: own[name] for name in attributes if name in own}
            count = sum(
                other["action"]["ref"] == execution["action"]["ref"]
                and all(other["parameters"].get(name) == shared[name] for name in shared)
                for other in same
            )
            if count >= policy["parameters"]["threshold"]:
                return policy["parameters"].get("action", "delay")
        return None

    def _policies(self, execution):
        where = {"resource_ref": execution["action"]["ref"], "enabled": True}
        return self._store.find("policy", where)

    def _retry(self, execution):
        """Run again when an `action.retry` policy says so; never the tasks of a workflow."""
        reason = {"failed": "failure", "timeout": "timeout"}.get(execution["status"])
        if not reason or "parent" in execution:
            return
        done = execution["context"].get("policies", {}).get("retry", {}).get("retry_count", 0)
        for policy in self._policies(execution):
            rule = policy["parameters"]
            if policy["policy_type"] != "action.retry" or rule["retry_on"] != reason:
                continue
            if done >= rule.get("max_retry_count", 2):
                continue
            retry = {
                "applied_policy": policy["ref"],
                "retry_count": done + 1,
                "retried_liveaction_id": execution["liveaction"]["id"],
            }
            cause = ("rule", "trigger", "trigger_type", "trigger_instance")
            again = functools.partial(
                self._executions.request,
                execution["action"]["ref"],
                execution["parameters"],
                {**execution["context"], "policies": {"retry": retry}},
                fields={name: execution[name] for name in cause if name in execution},
            )
            self.later(rule.get("delay") or 0, again)
