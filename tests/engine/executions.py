"""Executions: requested, followed through their statuses, finished."""

import logging

import orjson

from tests.engine import parameters
from tests.engine.store import new_id, timestamp

LOG = logging.getLogger("engine.executions")
COMPLETED = ("succeeded", "failed", "timeout", "canceled", "abandoned")
# Until a person answers, and what is paused because of that.
WAITING = ("pending", "paused")
CANCELABLE = ("requested", "scheduled", "delayed", "running", "pausing", "paused", "resuming")


class Executions:
    """The execution documents. `listeners` are called with each one whose status changed."""

    def __init__(self, store, registry, keys, traces):
        self._store = store
        self._registry = registry
        self._keys = keys
        self._traces = traces
        self.listeners = []

    def request(self, ref, params, context, variables=None, delay=None, fields=None):
        """Create an execution; the scheduler takes it from there. Returns the document.

        `variables` are names for the parameters' templates (a rule's `trigger`), `delay` is in
        milliseconds, `fields` go into the document. Raises ParameterError, after having recorded a
        failed execution when it was a template that failed, and ValueError.
        """
        action = self._registry.action(ref)
        if not action:
            raise ValueError(f'Action "{ref}" cannot be found.')
        runner = self._registry.runner(action["runner_type"])
        context["pack"] = action["pack"]
        user = context.get("user")
        kv = self._keys.lookup(user)
        config = self._registry.config(action["pack"], user)
        if not action["enabled"]:
            raise ValueError(f'Unable to execute. Action "{ref}" is disabled.')
        arguments = (action, runner, context)
        try:
            params = parameters.request_parameters(
                params or {}, *arguments, config, kv, variables=variables
            )
        except parameters.ParameterError as e:
            # The tasks of a workflow leave none behind, and a rule whose templates do not fit the
            # schema as they are does not either.
            if e.kind == "ParamException" and "orquesta" not in context:
                if variables:
                    parameters.validate(params, action, runner)
                execution = self._create(*arguments, params or {}, delay, fields)
                self.finish(execution["id"], "failed", {"error": str(e), "traceback": ""})
            raise
        execution = self._create(*arguments, params, delay, fields)
        self._announce(execution)
        return execution

    def _create(self, action, runner, context, params, delay, fields):
        now = timestamp()
        execution = {
            "id": new_id(),
            "action": action,
            "runner": runner,
            "liveaction": {
                "id": new_id(),
                "action": action["ref"],
                "action_is_workflow": runner["name"] in ("orquesta", "action-chain"),
                "parameters": params,
                "callback": {},
                "runner_info": {},
            },
            "parameters": params,
            "context": context,
            "status": "requested",
            "start_timestamp": now,
            "log": [{"timestamp": now, "status": "requested"}],
            "children": [],
            **(fields or {}),
        }
        execution["web_url"] = f"https://localhost/#/history/{execution['id']}/general"
        if delay:
            execution["delay"] = delay
        parent = context.get("parent", {}).get("execution_id")
        cause = None
        if "rule" in execution:
            ids = f"{execution['rule']['id']}:{execution['trigger_instance']['id']}"
            cause = ("rule", ids)
        with self._store.lock:
            if parent:
                execution["parent"] = parent
                cause = ("action_execution", parent)
                found = self._store.update(
                    "execution", parent, lambda found: found["children"].append(execution["id"])
                )
                trace = found["_trace"]
            else:
                tag = f"execution-{execution['liveaction']['id']}"
                trace = self._traces.open(context.get("trace_context"), tag)["id"]
            execution["_trace"] = trace
            self._traces.add(trace, "action_executions", execution["id"], action["ref"], cause)
            return self._store.put("execution", execution)

    def set_status(self, id_, status, result=None, change=None):
        """Move on, unless it is over or about to be canceled; returns the document.

        `change(execution)` may alter more in the same write. Listeners hear of a new status.
        """
        with self._store.lock:
            execution = self._store.get("execution", id_)
            before = execution["status"]
            changed = before != status
            if before in COMPLETED or before == "canceling" and status not in COMPLETED:
                return execution
            if not changed and result is None and not change:
                return execution
            if changed:
                execution["status"] = status
                execution["log"].append({"timestamp": timestamp(), "status": status})
            if result is not None:
                execution["result"] = result
                execution["result_size"] = len(orjson.dumps(result))
            if status in COMPLETED:
                execution["end_timestamp"] = timestamp()
            if change:
                change(execution)
            self._store.put("execution", execution)
        if changed:
            self._announce(execution)
        return execution

    def finish(self, id_, status, result):
        """The last status, with the result."""
        return self.set_status(id_, status, result)

    def _announce(self, execution):
        for listener in self.listeners:
            try:
                listener(execution)
            except Exception:
                LOG.exception("A listener failed on execution %s", execution["id"])

    def get(self, id_):
        """The document; `last` for the newest. None when absent."""
        if id_ == "last":
            found = self._store.find("execution", sort=("-id",), limit=1)
            return found[0] if found else None
        return self._store.get("execution", id_)

    def children(self, id_, depth=-1):
        """All descendants, each right before its own, down to `depth` levels (-1: all)."""
        found = []
        for child in self._store.find("execution", {"parent": id_}, sort=("id",)):
            found.append(child)
            if depth != 1:
                found += self.children(child["id"], depth - 1)
        return found

    def root(self, execution):
        """The workflow that the execution is part of, at any depth; else itself."""
        while "parent" in execution:
            execution = self._store.get("execution", execution["parent"])
        return execution

    def cancel(self, id_, user):
        """Ask an execution to stop, as StackStorm does: a process that runs is not killed.

        Running ones and those of a workflow go through `canceling`. Raises ValueError when it is
        over.
        """
        execution = self._store.get("execution", id_)
        if execution["status"] == "canceling":
            return execution
        if execution["status"] not in CANCELABLE:
            raise ValueError(
                f'Unable to cancel liveaction "{execution["liveaction"]["id"]}" because it is '
                "already in a completed state."
            )
        slow = "parent" in execution or execution["status"] == "running"
        return self.set_status(
            id_,
            "canceling" if slow else "canceled",
            {"message": "Action canceled by user.", "user": user},
            lambda found: found["context"].update(cancelled_by=user),
        )
