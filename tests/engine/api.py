"""The v1 REST API, as far as the `st2` command and packs use it."""

import base64
import binascii
import datetime
import queue
import time
from pathlib import Path

from tests.engine import criteria, parameters
from tests.engine.access import Unauthorized
from tests.engine.executions import CANCELABLE, COMPLETED, ActionNotFound
from tests.engine.http_server import HttpError, Router
from tests.engine.keys import SYSTEM, USER, full_scope
from tests.engine.parameters import SECRET_MASK, ParameterError
from tests.engine.rules import DispatchError
from tests.engine.store import lookup, timestamp
from tests.engine.workflows import inspect

EXECUTION_FILTERS = {
    "action": "action.ref",
    "status": "status",
    "liveaction": "liveaction.id",
    "parent": "parent",
    "rule": "rule.name",
    "runner": "runner.name",
    "timestamp": "start_timestamp",
    "trigger": "trigger.name",
    "trigger_type": "trigger_type.name",
    "trigger_instance": "trigger_instance.id",
    "user": "context.user",
}
INSTANCE_FILTERS = {"status": "status", "trigger": "trigger", "timestamp": "occurrence_time"}
ENFORCEMENT_FILTERS = {
    "rule_ref": "rule.ref",
    "rule_id": "rule.id",
    "execution": "execution_id",
    "trigger_instance": "trigger_instance_id",
    "enforced_at": "enforced_at",
}
# Lists and single documents that need nothing special: path -> (kind, filters, sort, limit).
COLLECTIONS = {
    "packs": ("pack", {"name": "name", "ref": "ref"}, ("ref",), 100),
    "actions": ("action", {"name": "name", "pack": "pack"}, ("pack", "name"), 100),
    "runnertypes": ("runner", {"name": "name"}, ("name",), 100),
    "rules": (
        "rule",
        {
            "name": "name",
            "pack": "pack",
            "action": "action.ref",
            "trigger": "trigger.ref",
            "enabled": "enabled",
            "user": "context.user",
        },
        ("pack", "name"),
        100,
    ),
    "sensortypes": (
        "sensor",
        {"name": "name", "pack": "pack", "enabled": "enabled"},
        ("pack", "name"),
        100,
    ),
    "triggertypes": ("trigger_type", {"name": "name", "pack": "pack"}, ("ref",), 100),
    "triggers": ("trigger", {}, ("ref",), 100),
    "triggerinstances": (
        "trigger_instance",
        INSTANCE_FILTERS,
        ("-occurrence_time", "trigger"),
        100,
    ),
    "ruleenforcements": ("enforcement", ENFORCEMENT_FILTERS, ("-enforced_at", "rule.ref"), 50),
    "policytypes": ("policy_type", {"resource_type": "resource_type"}, ("name",), 100),
    "policies": (
        "policy",
        {"pack": "pack", "resource_ref": "resource_ref", "policy_type": "policy_type"},
        ("pack", "name"),
        100,
    ),
    "config_schemas": ("config_schema", {}, ("pack",), 50),
}
AUTHENTICATION_HEADERS = ("St2-Api-Key", "X-Auth-Token", "Cookie")
EXCLUDABLE = ("result", "trigger_instance", "status")
STREAM_PAUSE = 1.0


def shown(document):
    """A document without the fields that are the engine's own."""
    return {name: value for name, value in document.items() if not name.startswith("_")}


def select(request, document):
    """What ?include_attributes= or ?exclude_attributes= leave of a document."""
    included = request.names("include_attributes")
    excluded = request.names("exclude_attributes")
    if included and excluded:
        raise HttpError(
            400,
            "exclude_attributes and include_attributes arguments are mutually exclusive. You need "
            "to provide either one or another, but not both.",
        )
    if included:
        result = {name: document[name] for name in ("id", "ref") if name in document}
        for path in included:
            value = lookup(document, path)
            if value is not None:
                *parents, last = path.split(".")
                target = result
                for parent in parents:
                    target = target.setdefault(parent, {})
                target[last] = value
        return result
    return {name: value for name, value in document.items() if name not in excluded}


def sort_ascending(request):
    """Whether a list is to start with the oldest: ?sort_asc=, or only ?timestamp_gt= given."""
    query = request.query
    if query.get("timestamp_lt") or query.get("sort_desc"):
        return False
    return bool(query.get("timestamp_gt") or query.get("sort_asc"))


def build(engine):
    """The routes, bound to an engine."""
    router = Router()
    route = router.route
    store, access, keys = engine.store, engine.access, engine.keys
    registry, executions = engine.registry, engine.executions

    def find(kind, id_or_ref, field="ref"):
        found = store.get(kind, id_or_ref) or store.first(kind, **{field: id_or_ref})
        if not found:
            words = "a ref or id" if kind == "pack" else "a reference or id"
            raise HttpError(404, f'Resource with {words} "{id_or_ref}" not found')
        return found

    def listing(request, kind, filters, sort, default_limit, show=shown):
        limit, offset = request.page(default_limit)
        where = {}
        for name, path in filters.items():
            value = request.query.get(name)
            if value:
                where[path] = {"null": None}.get(value, value)
            bounds = []
            for suffix, operator in (("_gt", ">"), ("_lt", "<")):
                if request.query.get(name + suffix):
                    bounds += [operator, normal_timestamp(request.query[name + suffix])]
            if bounds:
                where[path] = tuple(bounds)
        if "enabled" in where:
            where["enabled"] = request.flag("enabled")
        if request.query.get("id"):
            where["id"] = request.names("id")
        if sort_ascending(request):
            sort = [key.lstrip("-") for key in sort]
        found = store.find(kind, where, sort, limit, offset)
        headers = {"X-Total-Count": str(store.count(kind, where))}
        if limit:
            headers["X-Limit"] = str(limit)
        return 200, [select(request, show(document)) for document in found], headers

    def add_collection(name, kind, filters, sort, limit):
        field = "pack" if kind == "config_schema" else "name" if kind == "runner" else "ref"

        @route("GET", f"/v1/{name}")
        def get_all(request):
            return listing(request, kind, filters, sort, limit)

        @route("GET", f"/v1/{name}/{{id_}}")
        def get_one(request, id_):
            return 200, select(request, shown(find(kind, id_, field)))

    # Who is calling

    def log_in(request):
        header = request.headers.get("Authorization", "")
        try:
            user, _, password = base64.b64decode(header.partition(" ")[2]).decode().partition(":")
            body = request.json()
            token = access.login(user, password, body.get("ttl"))
        except (Unauthorized, binascii.Error, UnicodeDecodeError) as e:
            raise HttpError(401, "Invalid or missing credentials") from e
        return 201, dict(token, service=False), {"X-Api-Url": engine.api_url}

    for path in ("/tokens", "/v1/tokens", "/auth/tokens", "/auth/v1/tokens"):
        route("POST", path, public=True)(log_in)

    @route("GET", "/v1/user")
    def get_user(request):
        authentication = {"method": request.auth_method, "location": request.auth_location}
        if request.token_expiry:
            authentication["token_expire"] = request.token_expiry
        rbac = {"enabled": False, "roles": [], "is_admin": True}
        return 200, {"username": request.user, "authentication": authentication, "rbac": rbac}

    def masked_key(document):
        return dict(document, uid=SECRET_MASK, key_hash=SECRET_MASK)

    @route("GET", "/v1/apikeys")
    def get_api_keys(request):
        show = shown if request.flag("show_secrets") else masked_key
        return listing(request, "api_key", {"user": "user"}, ("user",), 50, show)

    def api_key(id_):
        found = store.get("api_key", id_)
        if not found:
            raise HttpError(404, f"ApiKey matching {id_} for reference and id not found.")
        return found

    @route("GET", "/v1/apikeys/{id_}")
    def get_api_key(request, id_):
        return 200, masked_key(api_key(id_))

    @route("POST", "/v1/apikeys")
    def create_api_key(request):
        body = request.json()
        made = access.new_api_key(
            body.get("user") or request.user,
            body.get("metadata"),
            enabled=body.get("enabled", True),
        )
        return 201, {name: value for name, value in made.items() if name != "key_hash"}

    @route("PUT", "/v1/apikeys/{id_}")
    def update_api_key(request, id_):
        found, body = api_key(id_), request.json()
        found.update({n: body[n] for n in ("user", "metadata", "enabled") if n in body})
        return 200, masked_key(store.put("api_key", found))

    @route("DELETE", "/v1/apikeys/{id_}")
    def delete_api_key(request, id_):
        store.delete("api_key", api_key(id_)["id"])
        return 204, None

    # Packs and configs

    @route("POST", "/v1/packs/register")
    def register_packs(request):
        body = request.json()
        refs = body.get("packs") or [pack["ref"] for pack in store.find("pack")]
        totals = {}
        for ref in refs:
            counts = engine.register(registry.pack_path(ref), body.get("types") or ["all"])
            for name, count in counts.items():
                totals[name] = totals.get(name, 0) + count
        return 200, totals

    @route("POST", "/v1/packs/install")
    def install_packs(request):
        context = {"user": request.user}
        packs = {"packs": request.json()["packs"]}
        made = executions.request("packs.install", packs, context)
        return 202, {"execution_id": made["id"]}

    @route("POST", "/v1/engine/install")
    def install_now(request):
        return 200, {"packs": [engine.install(source) for source in request.json()["packs"]]}

    def masked_config(request, document):
        schema = (store.first("config_schema", pack=document["pack"]) or {}).get("attributes", {})
        if not request.flag("show_secrets"):
            for name, value in document["values"].items():
                if (schema.get(name) or {}).get("secret") and value is not None:
                    document["values"][name] = SECRET_MASK
        return document

    @route("GET", "/v1/configs")
    def get_configs(request):
        show = lambda document: masked_config(request, document)  # noqa: E731
        return listing(request, "config", {}, ("pack",), 50, show)

    @route("GET", "/v1/configs/{pack}")
    def get_config(request, pack):
        found = store.first("config", pack=pack)
        if not found:
            raise HttpError(404, f'Unable to identify resource with pack_ref "{pack}".')
        return 200, masked_config(request, found)

    @route("PUT", "/v1/configs/{pack}")
    def put_config(request, pack):
        return 200, masked_config(request, registry.put_config(pack, request.json()))

    # Actions

    @route("GET", "/v1/actions/views/overview")
    def get_action_overviews(request):
        kind, filters, sort, limit = COLLECTIONS["actions"]
        return listing(request, kind, filters, sort, limit, with_runner_parameters)

    def with_runner_parameters(action):
        runner = registry.runner(action["runner_type"])
        merged = dict(runner["runner_parameters"])
        for name, meta in action["parameters"].items():
            merged[name] = {**merged.get(name, {}), **meta}
        return dict(action, parameters=merged)

    @route("GET", "/v1/actions/views/overview/{id_}")
    def get_action_overview(request, id_):
        return 200, with_runner_parameters(find("action", id_))

    @route("GET", "/v1/actions/views/parameters/{id_}")
    def get_action_parameters(request, id_):
        return 200, {"parameters": with_runner_parameters(find("action", id_))["parameters"]}

    @route("GET", "/v1/actions/views/entry_point/{id_}")
    def get_entry_point(request, id_):
        path = registry.entry_point(find("action", id_))
        if not path or not Path(path).is_file():
            raise HttpError(404, f"Action ref_or_id={id_} has no entry_point to output")
        return 200, Path(path).read_bytes(), {"Content-Type": "text/plain; charset=UTF-8"}

    def save_action(request, status):
        content = request.json()
        content["pack"] = content.get("pack") or "default"
        if content["pack"] in ("core", "packs"):
            raise HttpError(400, "Resources belonging to system level packs can't be manipulated")
        for file in content.get("data_files") or []:
            base = registry.pack_path(content["pack"])
            path = registry.entry_point({"pack": content["pack"], "entry_point": file["file_path"]})
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(file["content"])
            store.update(
                "pack",
                store.first("pack", path=str(base))["id"],
                lambda pack, name=str(Path(path).relative_to(base)): pack.update(
                    files=sorted({*pack["files"], name})
                ),
            )
        content.setdefault("metadata_file", f"actions/{content['name']}.yaml")
        return status, registry.put_action(content)

    @route("POST", "/v1/actions")
    def create_action(request):
        body = request.json()
        ref = f"{body.get('pack') or 'default'}.{body['name']}"
        existing = registry.action(ref)
        if existing:
            conflict(ref, existing)
        return save_action(request, 201)

    def conflict(ref, existing):
        message = f'Tried to save duplicate unique keys (E11000 duplicate key error: "{ref}")'
        raise HttpError(409, message, **{"conflict-id": existing["id"]})

    @route("PUT", "/v1/actions/{id_}")
    def update_action(request, id_):
        find("action", id_)
        return save_action(request, 200)

    @route("DELETE", "/v1/actions/{id_}")
    def delete_action(request, id_):
        action = find("action", id_)
        if action["pack"] in ("core", "packs"):
            raise HttpError(400, "Resources belonging to system level packs can't be manipulated")
        store.delete("action", action["id"])
        if request.json().get("remove_files"):
            base = registry.pack_path(action["pack"])
            paths = [registry.entry_point(action), base / action["metadata_file"]]
            for path in filter(None, paths):
                Path(path).unlink(missing_ok=True)
        return 204, None

    @route("POST", "/v1/workflows/inspect")
    def inspect_workflow(request):
        def find_action(ref):
            action = registry.action(ref)
            return action and (action, registry.runner(action["runner_type"]))

        return 200, inspect(request.body.decode(), {}, find_action)

    # Rules, triggers, sensors, policies

    def save_rule(request, existing=None):
        body = request.json()
        for field in ("name", "trigger", "action"):
            if not body.get(field):
                raise HttpError(400, f"'{field}' is a required property")
        for field, criterion in (body.get("criteria") or {}).items():
            operator = criterion.get("type")
            if operator not in criteria.OPERATORS:
                raise HttpError(
                    400,
                    f"For field: {field}, operator {operator} not in list of allowed operators: "
                    f"{list(criteria.OPERATORS)}",
                )
        body["context"] = (existing or {}).get("context") or {"user": request.user}
        body["metadata_file"] = body.get("metadata_file") or ""
        return registry.put_rule(body)

    @route("POST", "/v1/rules")
    def create_rule(request):
        body = request.json()
        ref = f"{body.get('pack') or 'default'}.{body.get('name')}"
        existing = store.first("rule", ref=ref)
        if existing:
            conflict(ref, existing)
        return 201, save_rule(request)

    @route("PUT", "/v1/rules/{id_}")
    def update_rule(request, id_):
        return 200, save_rule(request, find("rule", id_))

    @route("DELETE", "/v1/rules/{id_}")
    def delete_rule(request, id_):
        store.delete("rule", find("rule", id_)["id"])
        return 204, None

    @route("GET", "/v1/rules/views")
    def get_rule_views(request):
        return listing(request, *COLLECTIONS["rules"], show=rule_view)

    def rule_view(rule):
        trigger_type = store.first("trigger_type", ref=rule["trigger"]["type"]) or {}
        action = registry.action(rule["action"]["ref"]) or {}
        rule["trigger"]["description"] = trigger_type.get("description")
        rule["action"]["description"] = action.get("description")
        return rule

    @route("GET", "/v1/rules/views/{id_}")
    def get_rule_view(request, id_):
        return 200, rule_view(find("rule", id_))

    @route("GET", "/v1/triggertypes/{id_}")
    def get_trigger_type(request, id_):
        return 200, shown(find("trigger_type", id_))

    @route("GET", "/v1/triggerinstances/{id_}")
    def get_trigger_instance(request, id_):
        return 200, shown(by_id("trigger_instance", id_))

    def by_id(kind, id_):
        found = store.get(kind, id_)
        if not found:
            raise HttpError(404, f'Unable to identify resource with id "{id_}".')
        return found

    @route("POST", "/v1/triggerinstances/{id_}/re_emit")
    @route("POST", "/v1/triggerinstances/{id_}/re_send")
    def re_emit(request, id_):
        instance = by_id("trigger_instance", id_)
        payload = dict(instance["payload"], __context={"original_id": id_})
        engine.rules.emit(instance["trigger"], payload)
        message = f"Trigger instance {id_} succesfully re-sent."
        return 200, {"message": message, "payload": payload}

    def enforcement_view(enforcement):
        instance = store.get("trigger_instance", enforcement["trigger_instance_id"])
        execution = executions.get(enforcement.get("execution_id"))
        view = dict(enforcement, trigger_instance=instance and shown(instance))
        view["execution"] = execution_view(execution) if execution else {}
        return view

    @route("GET", "/v1/ruleenforcements/views")
    def get_enforcement_views(request):
        return listing(request, *COLLECTIONS["ruleenforcements"], show=enforcement_view)

    @route("GET", "/v1/ruleenforcements/views/{id_}")
    def get_enforcement_view(request, id_):
        return 200, enforcement_view(by_id("enforcement", id_))

    @route("PUT", "/v1/sensortypes/{id_}")
    def update_sensor(request, id_):
        sensor = find("sensor", id_)
        sensor["enabled"] = request.json().get("enabled", False)
        engine.sensors.apply(store.put("sensor", sensor))
        return 200, sensor

    @route("PUT", "/v1/policies/{id_}")
    def update_policy(request, id_):
        policy, body = find("policy", id_), request.json()
        policy.update({name: body[name] for name in ("enabled", "parameters") if name in body})
        return 200, store.put("policy", policy)

    # Webhooks

    def hooks():
        found = store.find("rule", {"trigger.type": "core.st2.webhook"})
        triggers = {rule["trigger"]["ref"] for rule in found}
        return [
            t for t in store.find("trigger", {"type": "core.st2.webhook"}) if t["ref"] in triggers
        ]

    @route("GET", "/v1/webhooks")
    def get_webhooks(request):
        return 200, hooks()

    def triggers_of(url):
        return [t for t in hooks() if t["parameters"]["url"].strip("/") == url.strip("/")]

    @route("GET", "/v1/webhooks/{url:.*}")
    def get_webhook(request, url):
        found = triggers_of(url)
        if not found:
            raise HttpError(404, "The resource could not be found.")
        return 200, found[0]

    @route("POST", "/v1/webhooks/{url:.*}")
    def post_webhook(request, url):
        url = url.rstrip("/")
        headers = {n: v for n, v in request.headers.items() if n not in AUTHENTICATION_HEADERS}
        tag = headers.pop("St2-Trace-Tag", None)
        body = request.json()
        context = {"trace_tag": tag or f"webhook-{url}-{headers['X-Request-Id'].replace('-', '')}"}
        if url == "st2":
            if not isinstance(body, dict):
                raise HttpError(400, "Webhook body needs to be an object, got: array")
            if not body.get("trigger"):
                raise HttpError(400, "Trigger not specified.")
            dispatch(body["trigger"], body.get("payload"), context)
            return 202, body
        found = triggers_of(url)
        if not found:
            raise HttpError(404, f"Webhook {url} not registered with st2")
        lower = {name.lower(): value for name, value in headers.items()}
        for trigger in found:
            payload = {"headers": headers, "headers_lower": lower, "body": body}
            dispatch(trigger, payload, context)
        return 202, body

    def dispatch(trigger, payload, context):
        try:
            engine.rules.dispatch(trigger, payload, context)
        except DispatchError as e:
            raise HttpError(400, str(e)) from e

    @route("POST", "/v1/engine/dispatch")
    def dispatch_from_sensor(request):
        body = request.json()
        dispatch(body["trigger"], body.get("payload"), body.get("trace_context"))
        return 202, {}

    @route("POST", "/v1/engine/sensor_token")
    def sensor_token(request):
        return 200, {"token": access.new_token("sensor_service")["token"], "lifetime": 23 * 3600}

    # Executions

    def execution_view(execution, show_secrets=False):
        view = {name: value for name, value in shown(execution).items() if value}
        if "end_timestamp" in view:
            view["elapsed_seconds"] = elapsed(view)
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
        sort = ("-start_timestamp", "action.ref")
        return listing(request, "execution", EXECUTION_FILTERS, sort, 100, viewer(request))

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
        except ActionNotFound as e:
            raise HttpError(400, str(e)) from e
        return 201, viewer(request)(made)

    @route("GET", "/v1/executions/views/filters")
    def get_filters(request):
        skipped = ("parent", "timestamp", "liveaction", "trigger_instance")
        found = store.find("execution")
        result = {}
        for name, path in EXECUTION_FILTERS.items():
            if name not in skipped:
                values = {lookup(execution, path) for execution in found} - {None}
                result[name] = sorted(values)
        return 200, result

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
        if execution["status"] == "canceled":
            return 200, viewer(request)(execution)
        if execution["status"] not in (*CANCELABLE, "canceling"):
            message = f"Action cannot be canceled. State = {execution['status']}."
            return 200, {"faultstring": message}
        return 200, viewer(request)(executions.cancel(execution["id"], request.user))

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

    @route("GET", "/v1/executions/{id_}/result")
    def get_result(request, id_):
        return 200, execution_by_id(id_).get("result"), {"Content-Type": "text/json"}

    @route("GET", "/v1/executions/{id_}/attribute/{name}")
    def get_attribute(request, id_, name):
        if name not in EXCLUDABLE:
            raise HttpError(
                400,
                f'Invalid attribute "{name}" specified. Valid attributes are: '
                + ", ".join(EXCLUDABLE),
            )
        return 200, execution_by_id(id_).get(name)

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

    # Traces

    @route("GET", "/v1/traces")
    def get_traces(request):
        for name, kind in (("execution", "execution"), ("trigger_instance", "trigger_instance")):
            if request.query.get(name):
                found = store.get(kind, request.query[name])
                traces = [store.get("trace", found["_trace"])] if found else []
                return 200, traces, {"X-Total-Count": str(len(traces))}
        if request.query.get("rule"):
            wanted = request.query["rule"]
            traces = store.find("trace", sort=("-start_timestamp",))
            traces = [t for t in traces if any(r["object_id"] == wanted for r in t["rules"])]
            return 200, traces, {"X-Total-Count": str(len(traces))}
        sort = ("-start_timestamp", "trace_tag")
        return listing(request, "trace", {"trace_tag": "trace_tag"}, sort, 100)

    @route("GET", "/v1/traces/{id_}")
    def get_trace(request, id_):
        return 200, by_id("trace", id_)

    # Datastore

    def scope_of(request, default=SYSTEM):
        scope = request.query.get("scope") or default
        if request.query.get("user"):
            scope = USER
        return full_scope(default if scope == "all" else scope)

    def owner(request):
        return request.query.get("user") or request.user

    def no_key(name):
        return HttpError(404, f'The key "{name}" does not exist in the StackStorm datastore.')

    @route("GET", "/v1/keys")
    def get_keys(request):
        limit, offset = request.page()
        wanted = request.query.get("scope")
        scopes = [SYSTEM, USER] if wanted == "all" else [scope_of(request)]
        result = []
        for scope in scopes:
            found, _ = keys.find(
                scope,
                request.query.get("prefix"),
                owner(request),
                request.flag("decrypt"),
                limit,
                offset,
            )
            result += found
        return 200, [select(request, document) for document in result]

    @route("GET", "/v1/keys/{name}")
    def get_key(request, name):
        scope = scope_of(request)
        found = keys.get(scope, name, owner(request), request.flag("decrypt"))
        if not found:
            user = owner(request)
            raise no_key(f"{user}:{name}" if scope == USER else name)
        return 200, found

    @route("PUT", "/v1/keys/{name}")
    def put_key(request, name):
        body = request.json()
        if not isinstance(body.get("value"), str):
            raise HttpError(400, f"{body.get('value')!r} is not of type 'string'")
        if body.get("encrypted"):
            raise NotImplementedError(
                "the embedded engine does not take values that are encrypted already; use StackStorm"
            )
        scope = full_scope(body.get("scope") or scope_of(request))
        return 200, keys.set(
            scope,
            name,
            body["value"],
            body.get("user") or owner(request),
            body.get("ttl"),
            body.get("secret"),
        )

    @route("DELETE", "/v1/keys/{name}")
    def delete_key(request, name):
        if not keys.delete(scope_of(request), name, owner(request)):
            raise no_key(name)
        return 204, None

    for name, collection in COLLECTIONS.items():
        add_collection(name, *collection)

    # Last, so that it takes only what nothing above took.
    for method in ("GET", "POST", "PUT", "DELETE"):

        @route(method, "/v1/{path:.*}")
        def unknown(request, path):
            known = ("aliases actionalias aliasexecution inquiries rbac service_registry timers "
                     "triggertypes triggers policies packs sensortypes executions")  # fmt: skip
            if path.split("/")[0] in known.split():
                raise NotImplementedError(
                    f"the embedded engine does not have {request.method} {request.path}; use StackStorm"
                )
            raise HttpError(404, "The resource could not be found.")

    return router


def authenticator(access):
    """Checks a request's credentials: token or API key, in a header or the query."""

    def authenticate(request):
        token = request.headers.get("X-Auth-Token")
        query_token = request.query.get("x-auth-token")
        key, query_key = request.headers.get("St2-Api-Key"), request.query.get("st2-api-key")
        in_header = token or (key and not query_token)
        request.auth_location = "header" if in_header else "query"
        request.user, request.auth_method, request.token_expiry = access.authenticate(
            token or query_token, key or query_key
        )

    return authenticate


def normal_timestamp(text):
    """A time as a client may write it, as documents have it. Raises HttpError 400."""
    text = text.strip().replace(" ", "T")
    for ending in ("Z", "+00:00", "+0000", "+00"):
        if text.endswith(ending):
            text = text[: -len(ending)]
            break
    main, _, fraction = text.partition(".")
    try:
        time.strptime(main, "%Y-%m-%dT%H:%M:%S")
    except ValueError as e:
        raise HttpError(400, f"Invalid timestamp: {text}") from e
    return f"{main}.{fraction:0<6}Z"


def elapsed(execution):
    """Seconds from start to end."""
    start, end = (execution[f"{name}_timestamp"] for name in ("start", "end"))
    return round(_epoch(end) - _epoch(start), 6)


def _epoch(text):
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()
