"""Routes for executions, and their stream of events."""

import datetime
import queue

from tests.engine import parameters
from tests.engine.api.resources import select, shown
from tests.engine.executions import CANCELABLE, COMPLETED
from tests.engine.http_server import HttpError
from tests.engine.parameters import ParameterError
from tests.engine.store import timestamp

EXCLUDABLE = ("result", "trigger_instance", "status")
# Seconds after which a silent stream sends an empty line, to find out who has gone.
STREAM_PAUSE = 1.0


def add_routes(router, engine, resources):
    """Add them."""
    route = router.route
    executions = engine.executions
    moment = datetime.datetime.fromisoformat

    def execution_view(execution, show_secrets=False):
        view = {name: value for name, value in shown(execution).items() if value}
        if "end_timestamp" in view:
            start, end = (moment(view[f"{name}_timestamp"]) for name in ("start", "end"))
            view["elapsed_seconds"] = (end - start).total_seconds()
        if view.get("parameters") and not show_secrets:
            masked = parameters.mask_secrets(
                view["parameters"], execution["action"], execution["runner"]
            )
            view["parameters"] = masked
            view["liveaction"] = dict(view["liveaction"], parameters=masked)
        return view

    def viewer(request):
        show_secrets = request.flag("show_secrets")
        return lambda execution: execution_view(execution, show_secrets)

    def execution_by_id(id_):
        found = executions.get(id_)
        if not found:
            raise HttpError(404, f'Unable to identify resource with id "{id_}".')
        return found

    @route("GET", "/v1/executions")
    def get_executions(request):
        for name in request.names("exclude_attributes"):
            if name not in EXCLUDABLE:
                raise HttpError(400, f"Invalid or unsupported exclude attribute specified: {name}")
        return resources.listing(request, "executions", viewer(request))

    @route("POST", "/v1/executions")
    def create_execution(request):
        body = request.json()
        return schedule(request, body.get("action"), body.get("parameters"), {}, body)

    def schedule(request, ref, params, context, body):
        context = {**context, "user": body.get("user") or request.user, **body.get("context", {})}
        try:
            made = executions.request(ref, params, context, delay=body.get("delay"))
        except ParameterError as e:
            # jsonschema's whole report is for logs; the API gives its first line.
            text = str(e).split("\n\n")[0] if e.kind == "ValidationError" else str(e)
            raise HttpError(400, text) from e
        return 201, viewer(request)(made)

    @route("GET", "/v1/executions/{id_}")
    def get_execution(request, id_):
        return 200, select(request, viewer(request)(execution_by_id(id_)))

    @route("PUT", "/v1/executions/{id_}")
    def update_execution(request, id_):
        execution, status = execution_by_id(id_), request.json().get("status")
        if execution["status"] in COMPLETED:
            raise HttpError(400, "Execution is already in completed state.")
        if status not in ("canceling", "canceled"):
            raise NotImplementedError(
                f'the embedded engine cannot set the status "{status}" (no pause, no resume); use '
                "StackStorm"
            )
        return 200, viewer(request)(executions.cancel(id_, request.user))

    @route("DELETE", "/v1/executions/{id_}")
    def cancel_execution(request, id_):
        execution = execution_by_id(id_)
        if execution["status"] in (*CANCELABLE, "canceling"):
            execution = executions.cancel(execution["id"], request.user)
        elif execution["status"] != "canceled":
            message = f"Action cannot be canceled. State = {execution['status']}."
            return 200, {"faultstring": message}
        return 200, viewer(request)(execution)

    @route("POST", "/v1/executions/{id_}/re_run")
    def re_run(request, id_):
        execution, body = execution_by_id(id_), request.json()
        if body.get("tasks") or body.get("reset"):
            raise NotImplementedError(
                "the embedded engine does not re-run single tasks; use StackStorm"
            )
        params = {} if request.flag("no_merge") else dict(execution["parameters"])
        params.update(body.get("parameters") or {})
        context = {"re-run": {"ref": id_}, "trace_context": {"id_": execution["_trace"]}}
        return schedule(request, execution["action"]["ref"], params, context, body)

    @route("GET", "/v1/executions/{id_}/children")
    def get_children(request, id_):
        depth = request.integer("depth", -1)
        found = executions.children(execution_by_id(id_)["id"], depth)
        if request.query.get("result_fmt") == "sorted":
            found.sort(key=lambda execution: execution["start_timestamp"])
        return 200, [viewer(request)(execution) for execution in found]

    def output_of(execution, kind="all"):
        result = execution.get("result") or {}
        names = ("stdout", "stderr") if kind in (None, "all") else (kind,)
        return "".join(str(result.get(name) or "") for name in names)

    @route("GET", "/v1/executions/{id_}/output")
    def get_output(request, id_):
        text = output_of(execution_by_id(id_), request.query.get("output_type"))
        return 200, text.encode(), {"Content-Type": "text/plain; charset=UTF-8"}

    @route("GET", "/v1/stream")
    @route("GET", "/stream/v1/stream")
    def stream(request):
        """Server-sent events of executions; ends with ?end_execution_id=."""
        events = queue.SimpleQueue()
        executions.listeners.append(events.put)
        return 200, follow(events, request.names("events"), request.query.get("end_execution_id"))

    def follow(events, names, last_id):
        try:
            # It may have ended between the client's look at it and this subscription.
            last = last_id and executions.get(last_id)
            if last and last["status"] in COMPLETED:
                events.put(last)
            while True:
                try:
                    execution = events.get(timeout=STREAM_PAUSE)
                except queue.Empty:
                    yield None, None
                    continue
                view, done = execution_view(execution), execution["status"] in COMPLETED
                output = output_of(execution) if done else ""
                if output and "st2.execution.output__create" in names:
                    data = {"execution_id": execution["id"], "output_type": "stdout"}
                    data.update(timestamp=timestamp(), data=output)
                    yield "st2.execution.output__create", data
                new = execution["status"] == "requested"
                name = "st2.execution__create" if new else "st2.execution__update"
                if name in names or not names:
                    yield name, view
                if done and execution["id"] == last_id:
                    return
        finally:
            executions.listeners.remove(events.put)
