"""Workflows: one run of an Orquesta definition, conducted by the real Orquesta.

Orquesta decides; the engine runs the actions. A `Workflow` gives the actions to start next
(`next_actions`), is told how they ended (`update`), and has a `status` and a `result` in
StackStorm's shape. It plays the part of st2common's workflow service.

Orquesta evaluates expressions (`<% %>`, `{{ }}`, `{% %}`) in inputs as they were given, vars, task
inputs, delays, conditions, published values and outputs; and when the value of an expression is a
string, it evaluates that string again. So a context variable that holds an expression is
evaluated wherever it is used. Nothing here prevents it, because nothing in StackStorm does.
"""

import contextlib
import dataclasses
import datetime
import functools
import threading
import uuid

from . import expressions
from .orquesta_compat import (
    conducting,
    events,
    exceptions,
    load_definition,
    register_functions,
    statuses,
)
from .orquesta_compat import expressions as orquesta_expressions

_CATEGORIES = {
    "contents": "content",
    "context": "context",
    "expressions": "expression",
    "semantics": "semantic",
    "syntax": "syntax",
}
_TASKS_SCHEMA = r"properties.tasks.patternProperties.^\w+$.properties"


class WorkflowError(Exception):
    """A workflow that cannot start. `errors` is the list for the execution's result."""

    def __init__(self, errors):
        super().__init__("; ".join(str(error.get("message")) for error in errors))
        self.errors = errors


@dataclasses.dataclass(frozen=True)
class ActionRequest:
    """An action that the workflow wants to run now, or after `delay` seconds.

    `context` is the part `orquesta` of the execution's context. It holds `item_id` for an item of
    a task with items.
    """

    action: str
    input: dict
    delay: int
    context: dict


_inspected = {}  # what Orquesta finds, which depends on the text and on the names of the context


def _defects(spec, definition, names):
    if (definition, names) not in _inspected:
        _inspected[definition, names] = spec.inspect(app_ctx=dict.fromkeys(names))
    return _inspected[definition, names]


@functools.lru_cache(maxsize=256)
def _graph_of(definition):
    """The graph of a definition, which a run only reads."""
    return conducting.WorkflowConductor(load_definition(definition)).graph


def _inspect(spec, definition, st2_context, find_action):
    """Errors that keep a workflow from starting, as [{"type", "message", "spec_path", ...}]."""
    errors = []
    for category, entries in _defects(spec, definition, tuple(st2_context)).items():
        for entry in entries:
            entry = dict(entry)
            if category in ("context", "expressions") and "language" not in entry:
                entry["language"] = entry.pop("type")
            errors.append({**entry, "type": _CATEGORIES[category]})
    for name, task in spec.tasks.items():
        errors.extend(_inspect_action(name, task, find_action))
    return sorted(errors, key=lambda error: (error["type"], error["schema_path"]))


def _inspect_action(name, task, find_action):
    def error(message, spec_path, schema_path):
        return {
            "type": "content",
            "message": message,
            "spec_path": f"tasks.{name}.{spec_path}",
            "schema_path": f"{_TASKS_SCHEMA}.{schema_path}",
        }

    ref = getattr(task, "action", None)
    if not ref or orquesta_expressions.has_expressions(ref):
        return
    if "." not in ref or not all(ref.split(".", 1)):
        message = f'The action reference "{ref}" is not formatted correctly.'
        yield error(message, "action", "action")
        return
    found = find_action(ref)
    if not found:
        message = f'The action "{ref}" is not registered in the database.'
        yield error(message, "action", "action")
        return
    given = getattr(task, "input", None) or {}
    if not isinstance(given, dict):
        return
    action, runner = found
    known = {**(runner.get("runner_parameters") or {}), **(action.get("parameters") or {})}
    for param, meta in sorted(known.items()):
        if meta.get("required", False) and "default" not in meta and param not in given:
            message = f'Action "{ref}" is missing required input "{param}".'
            yield error(message, "input", "input")
    for param in sorted(set(given) - set(known)):
        message = f'Action "{ref}" has unexpected input "{param}".'
        yield error(message, f"input.{param}", r"input.patternProperties.^\w+$")


class Workflow:
    """One run. Not safe for use from several threads at once: the caller takes turns."""

    def __init__(self, conductor, tasks, workflow_id, kv):
        self.id = workflow_id
        self.kv = kv
        self._conductor = conductor
        # Task executions: what `task()` shows in expressions, plus a few fields with an
        # underscore. They are in the order in which they started.
        self._tasks = tasks
        self._halted = False

    @classmethod
    def start(cls, definition, inputs, st2_context, kv, find_action):
        """A run that is about to start; it may have failed already: look at `status`.

        `definition` is the YAML, `inputs` the action's final parameters, all of them (an input
        that is absent gets its default from the workflow, one that is None stays None).
        `st2_context` is {"st2": {action_execution_id, api_url, user, pack, action, runner},
        "parent": context of the execution}. `find_action(ref)` gives (action, runner) documents,
        or None for an unknown action. Raises WorkflowError.
        """
        try:
            spec = load_definition(definition)
            errors = _inspect(spec, definition, st2_context, find_action)
            if not errors:
                conductor = conducting.WorkflowConductor(spec, context=st2_context, inputs=inputs)
                conductor._graph = _graph_of(definition)
                workflow = cls(conductor, [], uuid.uuid4().hex[:24], kv)
                workflow._begin()
        except Exception as error:
            raise WorkflowError([{"message": str(error)}]) from error
        if errors:
            raise WorkflowError(errors)
        return workflow

    def _begin(self):
        with self._evaluating():
            if self._conductor.get_workflow_status() not in statuses.COMPLETED_STATUSES:
                self._conductor.request_workflow_status(statuses.REQUESTED)
                root = self._conductor.workflow_state.contexts[0]
                root.setdefault("st2", {})["workflow_execution_id"] = self.id

    @property
    def status(self):
        """The status of the workflow's execution, in StackStorm's words."""
        return self._conductor.get_workflow_status()

    @property
    def completed(self):
        return self.status in statuses.COMPLETED_STATUSES

    @property
    def result(self):
        """The result of the workflow's execution."""
        result = {"output": self._conductor.get_workflow_output() or None}
        if self.status in statuses.ABENDED_STATUSES:
            result["errors"] = self._conductor.errors
        return result

    def next_actions(self):
        """Yield the actions to start now. Call it after start and after every update.

        Start each one before taking the next. If that fails, call `request_failed`: the workflow
        then fails, and no more actions follow.
        """
        with self._evaluating():
            if self.status in (statuses.REQUESTED, statuses.SCHEDULED):
                self._conductor.request_workflow_status(statuses.RUNNING)
            tasks = self._conductor.get_next_tasks()
            self._render_output()
        while tasks:
            try:
                with self._evaluating():
                    for task in tasks:
                        self._mark_running(task)
                    self._render_output()
            except Exception as error:  # in the expressions of a retry
                self._fail(f"{type(error).__name__}: {error}")
                return
            for task in tasks:
                for request in self._requests(task):
                    yield request
                    if self._halted:
                        return
            with self._evaluating():
                tasks = self._conductor.get_next_tasks()

    def update(self, request_context, status, result=None):
        """Tell how an action ended, or that it waits (`pending`, or a workflow's `paused`).

        `request_context` is the `context` of its ActionRequest. Another status changes nothing; nor
        does an update for a task that has completed already, or that waits already. An exception in
        an expression fails the workflow.
        """
        if status not in (*statuses.COMPLETED_STATUSES, statuses.PENDING, statuses.PAUSED):
            return
        task = self._task(request_context)
        if task["status"] in (*statuses.COMPLETED_STATUSES, status):
            return
        event = events.ActionExecutionEvent(status, result=result)
        if "item_id" in request_context:
            item = request_context["item_id"]
            task["result"]["items"][item] = {"status": status, "result": result}
            event = events.TaskItemActionExecutionEvent(
                item,
                status,
                result=result,
                accumulated_result=[i and i["result"] for i in task["result"]["items"]],
            )
            ended = [i["status"] if i else statuses.UNSET for i in task["result"]["items"]]
            if all(s in statuses.COMPLETED_STATUSES for s in ended):
                good = all(s == statuses.SUCCEEDED for s in ended)
                self._end_task(task, statuses.SUCCEEDED if good else statuses.FAILED)
        else:
            task["result"] = result or task["result"]
            self._end_task(task, status)
        self._update_conductor(task, event)

    def resume(self):
        """Go on from `paused`."""
        with self._evaluating():
            self._conductor.request_workflow_status(statuses.RESUMING)

    def child_resumed(self, request_context):
        """Tell that a workflow which an action runs goes on, and go on with it."""
        task = self._task(request_context)
        task["status"] = statuses.RUNNING
        with self._evaluating():
            self._conductor.request_workflow_status(statuses.RUNNING)
        self._update_conductor(task, events.ActionExecutionEvent(statuses.RUNNING))

    def request_failed(self, request, error, kind=None):
        """Tell that an action could not be started. `kind` names StackStorm's exception."""
        task = self._task(request.context)
        message = f"{kind or type(error).__name__}: {error}"
        place = {"task_id": task["task_id"], "route": task["route"]}
        if not task["_itemized"]:
            task["result"] = {"errors": [{"type": "error", "message": message, **place}]}
            self._end_task(task, statuses.FAILED)
        self._halted = True
        self._fail(message, **place)

    def cancel(self):
        """Start no more actions. The status is `canceling` until those that run have ended."""
        with self._evaluating():
            if not self.completed:
                self._conductor.request_workflow_status(statuses.CANCELED)

    def serialize(self):
        """The run as JSON-able data."""
        return {"id": self.id, "tasks": self._tasks, "conductor": self._conductor.serialize()}

    @classmethod
    def deserialize(cls, data, kv):
        conductor = conducting.WorkflowConductor.deserialize(data["conductor"])
        return cls(conductor, data["tasks"], data["id"], kv)

    def find_tasks(self, task_id, route):
        return [t for t in self._tasks if t["task_id"] == task_id and t["route"] == route]

    def _task(self, context):
        id_ = context["task_execution_id"]
        return next(task for task in self._tasks if task["task_execution_id"] == id_)

    @staticmethod
    def _end_task(task, status):
        ended = _now() if status in statuses.COMPLETED_STATUSES else None
        task.update(status=status, end_timestamp=ended)

    @contextlib.contextmanager
    def _evaluating(self):
        """Let `st2kv()` and `task()` know which workflow they are in."""
        outer = getattr(_current, "workflow", None)
        _current.workflow = self
        try:
            yield
        finally:
            _current.workflow = outer

    def _render_output(self):
        # Without a context the inputs or vars had errors: such a workflow has no output.
        if self.completed and self._conductor.workflow_state.contexts:
            self._conductor.render_workflow_output()

    def _fail(self, message, **place):
        with self._evaluating():
            with contextlib.suppress(exceptions.InvalidWorkflowStatusTransition):  # canceled
                self._conductor.request_workflow_status(statuses.FAILED)
            self._conductor.log_entry("error", message, **place)
            self._render_output()

    def _update_conductor(self, task, event):
        place = {"task_id": task["task_id"], "route": task["route"]}
        try:
            with self._evaluating():
                self._conductor.update_task_state(task["task_id"], task["route"], event)
                self._render_output()
        except Exception as error:  # an expression can raise anything
            self._fail(f"{type(error).__name__}: {error}", **place)

    def _mark_running(self, task):
        def update(event):
            self._conductor.update_task_state(task["id"], task["route"], event)

        if task["spec"].has_items() and task["items_count"] == 0:
            update(events.ActionExecutionEvent(statuses.RUNNING))
        for action in task["actions"]:
            if action.get("item_id") is None:
                update(events.ActionExecutionEvent(statuses.RUNNING))
            else:
                update(events.TaskItemActionExecutionEvent(action["item_id"], statuses.RUNNING))

    def _requests(self, task):
        record = self._record(task)
        if task["spec"].action is None or record["_itemized"] and task["items_count"] == 0:
            # A task without action, or without items, has succeeded by being reached.
            self._end_task(record, statuses.SUCCEEDED)
            self._update_conductor(record, events.ActionExecutionEvent(statuses.SUCCEEDED))
            return
        for action in task["actions"]:
            context = {
                "workflow_execution_id": self.id,
                "task_execution_id": record["task_execution_id"],
                "task_name": record["task_name"],
                "task_id": record["task_id"],
                "task_route": record["route"],
            }
            delay = task.get("delay") or 0
            if record["_itemized"]:
                context["item_id"] = action["item_id"]
                # A delay holds up the first ones only: the others wait for those anyway.
                if task["concurrency"] and action["item_id"] >= task["concurrency"]:
                    delay = 0
            record["status"] = statuses.RUNNING
            yield ActionRequest(action["action"], action["input"] or {}, delay, context)

    def _record(self, task):
        """The task execution that a task to start belongs to: a new one, unless items go on."""
        existing = self.find_tasks(task["id"], task["route"])
        if existing and existing[-1]["_itemized"] and existing[-1]["status"] == statuses.RUNNING:
            return existing[-1]
        itemized = task["spec"].has_items()
        record = {
            "task_execution_id": uuid.uuid4().hex[:24],
            "workflow_execution_id": self.id,
            "task_name": task["spec"].name or task["id"],
            "task_id": task["id"],
            "route": task["route"],
            "result": {"items": [None] * task["items_count"]} if itemized else None,
            "status": statuses.REQUESTED,
            "start_timestamp": _now(),
            "end_timestamp": None,
            "_itemized": itemized,
        }
        self._tasks.append(record)
        return record


def _now():
    return str(datetime.datetime.now(datetime.UTC))


_current = threading.local()


def _st2kv(context, key, **kwargs):
    """`st2kv('system.key')`, or of the user without `system.`; `decrypt`, `default` are options."""
    decrypt = kwargs.get("decrypt", False)
    if not isinstance(key, str):
        raise TypeError("Given key is not typeof string.")
    if not isinstance(decrypt, bool):
        raise TypeError("Decrypt parameter is not typeof bool.")
    try:
        user = context["__vars"]["st2"]["user"]
    except KeyError:
        raise KeyError("Could not get user from context.") from None
    kv = _current.workflow.kv
    scope, name, full_name = "user", key, f"{user}:{key}"
    if key.startswith("system."):
        scope, name = key.split(".", 1)
        full_name = name
    value = kv(scope, name, False)
    if value is None:
        if "default" in kwargs:
            return kwargs["default"]
        message = f'The key "{full_name}" does not exist in the StackStorm datastore.'
        raise exceptions.ExpressionEvaluationException(message)
    try:
        return expressions.read_secret(kv, scope, name) if decrypt else value
    except ValueError as error:
        raise exceptions.ExpressionEvaluationException(str(error)) from error


def _variable(context, name):
    try:
        return context[name] or {}
    except KeyError:
        return {}


def _task(context, task_id=None, route=None):
    """`task(name)`: the latest execution of a task, on this route or one it branched off."""
    current, state = _variable(context, "__current_task"), _variable(context, "__state")
    task_id = current["id"] if task_id is None else task_id
    route = current.get("route", 0) if route is None else route
    pointer = (state.get("tasks") or {}).get(f"{task_id}__r{route}")
    if pointer is None and route > 0:
        here = state["routes"][route]
        for earlier in reversed(range(route)):
            if not set(state["routes"][earlier]) - set(here):
                return _task(context, task_id, earlier)
    found = pointer is not None and _current.workflow.find_tasks(
        task_id, state["sequence"][pointer]["route"]
    )
    if not found:
        message = f'Unable to find task execution for "{task_id}".'
        raise exceptions.ExpressionEvaluationException(message)
    return {name: value for name, value in found[-1].items() if not name.startswith("_")}


register_functions(
    {
        **expressions.FUNCTIONS,
        "json_dump": expressions.to_json_string,
        "json_parse": expressions.from_json_string,
        "yaml_dump": expressions.to_yaml_string,
        "yaml_parse": expressions.FUNCTIONS["from_yaml_string"],
        "st2kv": _st2kv,
        "task": _task,
    }
)
