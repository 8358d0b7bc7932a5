"""Routes for rules, triggers, webhooks, sensors, policies and traces."""

from tests.engine import criteria
from tests.engine.api.resources import shown
from tests.engine.http_server import HttpError
from tests.engine.rules import DispatchError

AUTHENTICATION_HEADERS = ("St2-Api-Key", "X-Auth-Token", "Cookie")


def add_routes(router, engine, resources):
    """Add them."""
    route, store, registry = router.route, engine.store, engine.registry

    def save_rule(request, context):
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
        metadata_file = body.get("metadata_file") or ""
        return registry.put_rule(dict(body, context=context, metadata_file=metadata_file))

    @route("POST", "/v1/rules")
    def create_rule(request):
        resources.refuse_existing("rule", request.json())
        return 201, save_rule(request, {"user": request.user})

    @route("PUT", "/v1/rules/{id_}")
    def update_rule(request, id_):
        context = resources.find("rule", id_)["context"]
        return 200, save_rule(request, context or {"user": request.user})

    @route("DELETE", "/v1/rules/{id_}")
    def delete_rule(request, id_):
        store.delete("rule", resources.find("rule", id_)["id"])
        return 204, None

    @route("POST", "/v1/triggerinstances/{id_}/re_emit")
    @route("POST", "/v1/triggerinstances/{id_}/re_send")
    def re_emit(request, id_):
        instance = resources.find("trigger_instance", id_)
        payload = dict(instance["payload"], __context={"original_id": id_})
        engine.rules.emit(instance["trigger"], payload)
        message = f"Trigger instance {id_} succesfully re-sent."
        return 200, {"message": message, "payload": payload}

    @route("PUT", "/v1/sensortypes/{id_}")
    def update_sensor(request, id_):
        sensor = resources.find("sensor", id_)
        sensor["enabled"] = request.json().get("enabled", False)
        engine.sensors.apply(store.put("sensor", sensor))
        return 200, shown(sensor)

    @route("PUT", "/v1/policies/{id_}")
    def update_policy(request, id_):
        policy, body = resources.find("policy", id_), request.json()
        policy.update({name: body[name] for name in ("enabled", "parameters") if name in body})
        return 200, store.put("policy", policy)

    @route("GET", "/v1/traces")
    def get_traces(request):
        kind = next((n for n in ("execution", "trigger_instance", "rule") if n in request.query), 0)
        if not kind:
            return resources.listing(request, "traces")
        wanted = request.query[kind]
        if kind == "rule":
            traces = store.find("trace", sort=("-start_timestamp",))
            traces = [t for t in traces if any(r["object_id"] == wanted for r in t["rules"])]
        else:
            found = store.get(kind, wanted)
            traces = [store.get("trace", found["_trace"])] if found else []
        return 200, traces, {"X-Total-Count": str(len(traces))}

    # Webhooks, and what sensors dispatch

    def hooks():
        """Triggers of webhooks that a rule listens to."""
        rules = store.find("rule", {"trigger.type": "core.st2.webhook"})
        refs = list({rule["trigger"]["ref"] for rule in rules})
        return store.find("trigger", {"ref": refs})

    def hooks_at(url):
        return [hook for hook in hooks() if hook["parameters"]["url"].strip("/") == url.strip("/")]

    @route("GET", "/v1/webhooks")
    def get_webhooks(request):
        return 200, hooks()

    @route("GET", "/v1/webhooks/{url:.*}")
    def get_webhook(request, url):
        for hook in hooks_at(url):
            return 200, hook
        raise HttpError(404, "The resource could not be found.")

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
        found = hooks_at(url)
        if not found:
            raise HttpError(404, f"Webhook {url} not registered with st2")
        lower = {name.lower(): value for name, value in headers.items()}
        for hook in found:
            dispatch(hook, {"headers": headers, "headers_lower": lower, "body": body}, context)
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
        token = engine.access.new_token("sensor_service")["token"]
        return 200, {"token": token, "lifetime": 23 * 3600}
