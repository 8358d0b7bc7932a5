"""The trigger bus and the rules engine: a dispatch becomes a trigger instance, rules take it."""

import logging
import queue
import threading

import jsonschema

from tests.engine import criteria
from tests.engine.parameters import validate_object
from tests.engine.store import new_id, timestamp

LOG = logging.getLogger("engine.rules")
USER = "stanley"
REFUSED = (
    "Trigger payload validation failed and validation is enabled, not dispatching a "
    'trigger "%s" (%s): %s'
)


class DispatchError(ValueError):
    """The payload does not fit the trigger's schema, or there is no such trigger type."""


class RulesEngine:
    """Takes dispatches, and processes their trigger instances one after the other."""

    def __init__(self, store, registry, keys, traces, executions):
        self._store = store
        self._registry = registry
        self._kv = keys.lookup(USER)
        self._traces = traces
        self._executions = executions
        self._queue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="rules", daemon=True)

    def start(self):
        """Take up the instances that an earlier engine had not begun with, then go on."""
        # StackStorm finds those in its message queue; what was `processing` stays so there too.
        for instance in self._store.find("trigger_instance", {"status": "pending"}):
            self._queue.put(instance["id"])
        self._thread.start()

    def stop(self):
        """End after the instance at hand."""
        self._queue.put(None)

    def dispatch(self, trigger, payload, trace_context=None):
        """Record an instance of the trigger (a ref or a trigger document) with the payload.

        Returns its id; None when no trigger has this ref (StackStorm drops it later, with a log
        line). Raises DispatchError.
        """
        document = trigger
        if isinstance(trigger, str):
            document = self._store.first("trigger", ref=trigger)
        type_ref = document["type"] if document else trigger
        type_document = self._store.first("trigger_type", ref=type_ref)
        if not type_document:
            message = f'Trigger type with reference "{type_ref}" doesn\'t exist in the database'
            raise DispatchError(REFUSED % (type_ref, payload, message))
        if type_document["payload_schema"]:
            try:
                validate_object(payload, type_document["payload_schema"])
            except (jsonschema.ValidationError, jsonschema.SchemaError) as e:
                raise DispatchError(REFUSED % (type_ref, payload, e)) from e
        if not document:
            LOG.error("Trigger not found for %s", trigger)
            return None
        return self.emit(document["ref"], payload, trace_context)

    def emit(self, ref, payload, trace_context=None):
        """Record an instance of the trigger, whatever its schema says; returns its id."""
        instance = {
            "id": new_id(),
            "trigger": ref,
            "payload": payload or {},
            "occurrence_time": timestamp(),
            "status": "pending",
            "_trace_context": trace_context,
        }
        self._store.put("trigger_instance", instance)
        self._queue.put(instance["id"])
        return instance["id"]

    def _loop(self):
        while True:
            id_ = self._queue.get()
            if id_ is None:
                return
            try:
                self._process(id_)
                status = "processed"
            except Exception:
                LOG.exception("Failed to handle trigger instance %s", id_)
                status = "processing_failed"
            try:
                self._set_status(id_, status)
            except Exception:
                LOG.exception("Cannot record trigger instance %s as %s", id_, status)

    def _set_status(self, id_, status, **more):
        change = dict(more, status=status)
        return self._store.update("trigger_instance", id_, lambda found: found.update(change))

    def _process(self, id_):
        instance = self._store.get("trigger_instance", id_)
        trace = self._traces.open(instance.get("_trace_context"), f"trigger_instance-{id_}")
        self._traces.add(trace["id"], "trigger_instances", id_, instance["trigger"])
        instance = self._set_status(id_, "processing", _trace=trace["id"])
        rules = self._store.find(
            "rule", {"trigger.ref": instance["trigger"], "enabled": True}, sort=("ref",)
        )
        for backstop in (False, True):  # those of the type "backstop" only when no other matches
            kind = [rule for rule in rules if (rule["type"]["ref"] == "backstop") == backstop]
            matching = [rule for rule in kind if self._matches(rule, instance)]
            for rule in matching:
                self._enforce(rule, instance, trace)
            if matching:
                return

    def _matches(self, rule, instance):
        matched, failures = criteria.check(rule["criteria"], instance["payload"], self._kv)
        for failure in failures:
            reason = (
                f'Failed to match rule "{rule["ref"]}" against trigger instance '
                f'"{instance["id"]}": {failure}'
            )
            self._record(rule, instance, status="failed", failure_reason=reason)
        return matched

    def _enforce(self, rule, instance, trace):
        try:
            execution = self._invoke(rule, instance, trace)
            self._record(rule, instance, status="succeeded", execution_id=execution["id"])
        except Exception as e:
            LOG.warning("Failed kicking off execution for rule %s: %s", rule["ref"], e)
            self._record(rule, instance, status="failed", failure_reason=str(e))

    def _invoke(self, rule, instance, trace):
        ref = rule["action"]["ref"]
        if not self._registry.action(ref):
            raise ValueError(f'Action "{ref}" doesn\'t exist')
        cause = ("trigger_instance", instance["id"])
        self._traces.add(trace["id"], "rules", rule["id"], rule["ref"], cause)
        context = {
            "trigger_instance": {"id": instance["id"], "name": None},
            "rule": {"id": rule["id"], "name": rule["name"]},
            "user": USER,
            "trace_context": {"id_": trace["id"], "trace_tag": trace["trace_tag"]},
        }
        trigger = self._store.first("trigger", ref=instance["trigger"])
        shown = {name: value for name, value in instance.items() if not name.startswith("_")}
        fields = {
            "rule": rule,
            "trigger_instance": shown,
            "trigger": trigger,
            "trigger_type": self._store.first("trigger_type", ref=trigger["type"]),
        }
        return self._executions.request(
            ref,
            rule["action"]["parameters"],
            context,
            variables={"trigger": instance["payload"]},
            fields=fields,
        )

    def _record(self, rule, instance, **outcome):
        enforcement = {
            "trigger_instance_id": instance["id"],
            "rule": {"ref": rule["ref"], "id": rule["id"], "uid": rule["uid"]},
            "enforced_at": timestamp(),
        }
        self._store.put("enforcement", {**enforcement, **outcome})
