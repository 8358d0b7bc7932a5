"""Traces: what followed from one dispatch, or from one execution started by hand."""

from tests.engine.store import timestamp


class Traces:
    """A trace document lists the trigger instances, rules and executions that belong to it."""

    def __init__(self, store):
        self._store = store

    def open(self, context, fallback_tag):
        """The trace that a trace context {"id_", "trace_tag"} means: a new one when it has no id.

        Several traces may carry one tag, as in StackStorm. Raises ValueError for an unknown id.
        """
        context = context or {}
        if context.get("id_"):
            trace = self._store.get("trace", context["id_"])
            if not trace:
                raise ValueError(f'Unable to find Trace with id="{context["id_"]}"')
            return trace
        tag = context.get("trace_tag") or fallback_tag
        trace = {"trace_tag": tag, "uid": f"trace:{tag}", "start_timestamp": timestamp()}
        trace.update(trigger_instances=[], rules=[], action_executions=[])
        return self._store.put("trace", trace)

    def add(self, trace_id, kind, object_id, ref, cause=None):
        """Append to `kind` (trigger_instances, rules, action_executions).

        `cause` is (type, id) of what led to it.
        """
        component = {"object_id": object_id, "ref": ref, "updated_at": timestamp()}
        component["caused_by"] = {"type": cause[0], "id": cause[1]} if cause else {}
        self._store.update("trace", trace_id, lambda trace: trace[kind].append(component))
