"""Workflow executions: starts what a workflow asks for, tells it how that ended.

One thread at a time conducts a workflow. Everything that listeners hear is done later, on a thread
of the workflow pool, so that no thread waits for a second workflow while it holds one. (Only the
one that resumes workflows does; it cannot meet another of its kind.)
"""

import logging
import threading
from collections import defaultdict

from tests.engine.executions import CANCELABLE, COMPLETED, WAITING
from tests.engine.parameters import ParameterError
from tests.engine.workflows import Workflow, WorkflowError

LOG = logging.getLogger("engine.workflows")


class Orchestrator:
    """Runs executions of the orquesta runner."""

    def __init__(self, store, registry, keys, executions, scheduler, api_url):
        self._store = store
        self._registry = registry
        self._keys = keys
        self._executions = executions
        self._scheduler = scheduler
        self._api_url = api_url
        self._locks = defaultdict(threading.RLock)
        self._live = {}
        executions.listeners.append(self._on_status)

    def begin(self, execution, inputs, entry_point):
        """Start the workflow of an execution that is `running`; `inputs` are all parameters."""
        id_ = execution["id"]
        context = execution["context"]
        st2 = {
            "action_execution_id": id_,
            "api_url": self._api_url,
            "user": context.get("user"),
            "pack": context.get("pack"),
            "action": execution["action"]["ref"],
            "runner": execution["action"]["runner_type"],
        }
        with self._locks[id_]:
            try:
                with open(entry_point) as f:
                    definition = f.read()
                workflow = Workflow.start(
                    definition,
                    inputs,
                    {"st2": st2, "parent": context},
                    self._keys.lookup(context.get("user")),
                    self._find_action,
                )
            except (WorkflowError, OSError) as e:
                errors = getattr(e, "errors", [{"message": str(e)}])
                self._executions.finish(id_, "failed", {"errors": errors, "output": None})
                return
            self._live[id_] = workflow
            self._store.update(
                "execution",
                id_,
                lambda found: found.update(
                    context={**found["context"], "workflow_execution": workflow.id},
                    result={"output": None},
                ),
            )
            self._store.put("workflow", {"id": id_, "done": [], "state": workflow.serialize()})
            self._advance(id_, workflow)

    def recover(self, execution):
        """Continue a workflow of an engine that was killed."""
        id_ = execution["id"]
        with self._locks[id_]:
            workflow = self._workflow(id_)
            if not workflow:
                self._executions.finish(id_, "abandoned", {})
                return
            for child in self._executions.children(id_, depth=1):
                if child["status"] in COMPLETED:
                    self._child_done(child)
                self.child_waits(child["id"])
            self._advance(id_, workflow)
            if not workflow.completed and not self._active_children(id_):
                # It was killed between deciding on a task and requesting it.
                self._executions.finish(id_, "abandoned", {})

    def _find_action(self, ref):
        action = self._registry.action(ref)
        return action and (action, self._registry.runner(action["runner_type"]))

    def _workflow(self, id_):
        if id_ not in self._live:
            saved = self._store.get("workflow", id_)
            if not saved:
                return None
            user = self._store.get("execution", id_)["context"].get("user")
            self._live[id_] = Workflow.deserialize(saved["state"], self._keys.lookup(user))
        return self._live[id_]

    def _save(self, id_, workflow):
        state = workflow.serialize()
        self._store.update("workflow", id_, lambda saved: saved.update(state=state))

    def _advance(self, id_, workflow):
        """Start what is next, and end the execution when the workflow has ended."""
        for request in workflow.next_actions():
            # Saved first: an engine killed here must not start the task a second time.
            self._save(id_, workflow)
            try:
                self._request(id_, request)
            except Exception as e:
                LOG.warning("Workflow %s cannot start %s: %s", id_, request.action, e)
                # A workflow's error message starts with the name of StackStorm's exception.
                kind = getattr(e, "kind", "ValueError" if isinstance(e, ValueError) else None)
                workflow.request_failed(request, e, kind)
        # What changed after the last of them follows from what is saved.
        if workflow.completed:
            self._executions.finish(id_, workflow.status, workflow.result)
            self._live.pop(id_, None)
        else:
            self._executions.set_status(id_, workflow.status)

    def _request(self, id_, request):
        if not self._find_action(request.action):
            message = f'Unable to find action "{request.action}".'
            raise ParameterError(message, kind="InvalidActionReferencedException")
        parent = self._store.get("execution", id_)["context"]
        context = {
            "user": parent.get("user"),
            "parent": {"execution_id": id_, "user": parent.get("user"), "pack": parent["pack"]},
            "orquesta": request.context,
        }
        fields = {
            "workflow_execution": request.context["workflow_execution_id"],
            "task_execution": request.context["task_execution_id"],
        }
        self._executions.request(
            request.action, request.input, context, delay=request.delay * 1000, fields=fields
        )

    def _on_status(self, execution):
        if "orquesta" in execution["context"]:
            if execution["status"] in COMPLETED:
                self._scheduler.conduct(self.child_ended, execution)
            if execution["status"] in WAITING:
                self._scheduler.conduct(self.child_waits, execution["id"])
        if execution["status"] == "canceling" and execution["runner"]["name"] == "orquesta":
            self._scheduler.conduct(self._cancel, execution["id"])

    def child_ended(self, child):
        """Tell the parent's workflow, and go on with it."""
        with self._locks[child["parent"]]:
            if self._child_done(child):
                self._advance(child["parent"], self._workflow(child["parent"]))

    def _child_done(self, child):
        """Tell the parent's workflow, once; False when it was told or is over."""
        id_ = child["parent"]
        workflow = self._workflow(id_)
        saved = self._store.get("workflow", id_)
        if not workflow or child["id"] in saved["done"]:
            return False
        workflow.update(child["context"]["orquesta"], child["status"], child.get("result"))
        saved.update(done=[*saved["done"], child["id"]], state=workflow.serialize())
        self._store.put("workflow", saved)
        return True

    def child_waits(self, id_):
        """Tell the parent's workflow when the child waits; it pauses when nothing else runs."""
        parent = self._store.get("execution", id_)["parent"]
        with self._locks[parent]:
            child = self._store.get("execution", id_)
            workflow = self._workflow(parent)
            if not workflow or child["status"] not in WAITING:
                return
            workflow.update(child["context"]["orquesta"], child["status"])
            self._save(parent, workflow)
            # StackStorm does not show `pausing` before another child has ended.
            if workflow.status == "paused":
                self._executions.set_status(parent, "paused")

    def end_waiting(self, child, end, user):
        """Let the workflow of a child that waits go on, and `end()` the child, in one turn.

        Only one thread at a time may call this or `resume`: they take turns of several workflows.
        """
        id_ = child["parent"]
        with self._locks[id_]:
            # The end may be here before the parent has heard that the child waits.
            self.child_waits(child["id"])
            self.resume(id_, user)
            self.child_ended(end())

    def resume(self, id_, user):
        """Let a workflow go on if it is paused, with those in it, and those that it is in."""
        with self._locks[id_]:
            execution, workflow = self._store.get("execution", id_), self._workflow(id_)
            if execution["status"] != "paused" or workflow.completed:
                return
            # Those above first: should the engine die before the rest, a new one pauses them again.
            self._parent_resumes(execution)
            workflow.resume()
            self._save(id_, workflow)
            self._executions.set_status(
                id_, "resuming", change=lambda found: found["context"].update(resumed_by=user)
            )
            self._advance(id_, workflow)
            for child in self._executions.children(id_, depth=1):
                if child["runner"]["name"] == "orquesta":
                    self.resume(child["id"], execution["context"].get("user"))

    def _parent_resumes(self, execution):
        if "orquesta" not in execution["context"]:
            return
        id_ = execution["parent"]
        with self._locks[id_]:
            workflow = self._workflow(id_)
            if not workflow.completed:
                workflow.child_resumed(execution["context"]["orquesta"])
                self._save(id_, workflow)
                self._executions.set_status(id_, workflow.status)
                self._parent_resumes(self._store.get("execution", id_))

    def _active_children(self, id_):
        children = self._executions.children(id_, depth=1)
        return [child for child in children if child["status"] not in COMPLETED]

    def _cancel(self, id_):
        """Stop starting tasks; of those that run, only workflows and delayed ones are canceled."""
        with self._locks[id_]:
            workflow = self._workflow(id_)
            if workflow and not workflow.completed:
                workflow.cancel()
                self._save(id_, workflow)
            execution = self._store.get("execution", id_)
            user = execution["context"].get("user")  # not who canceled: StackStorm says so, too
            for child in self._active_children(id_):
                is_workflow = child["runner"]["name"] == "orquesta"
                if child["status"] == "delayed" or is_workflow and child["status"] in CANCELABLE:
                    self._executions.cancel(child["id"], user)
            # A person who is asked does not keep it up, and may answer still.
            if all(child["status"] in WAITING for child in self._active_children(id_)):
                self._executions.finish(id_, "canceled", None)
                self._live.pop(id_, None)
        root = self._executions.root(execution)
        if root is not execution and root["status"] in CANCELABLE:
            self._executions.cancel(root["id"], None)
