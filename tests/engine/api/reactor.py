"""Routes for rules, trigger instances, sensors, policies and traces."""

from tests.engine import criteria
from tests.engine.api.resources import conflict, shown
from tests.engine.http_server import HttpError


def add_routes(router, engine, resources):
    """Add them."""
    route, store = router.route, engine.store
    registry = engine.registry

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
        return 200, save_rule(request, resources.find("rule", id_))

    @route("DELETE", "/v1/rules/{id_}")
    def delete_rule(request, id_):
        store.delete("rule", resources.find("rule", id_)["id"])
        return 204, None

    @route("POST", "/v1/triggerinstances/{id_}/re_emit")
    @route("POST", "/v1/triggerinstances/{id_}/re_send")
    def re_emit(request, id_):
        instance = resources.by_id("trigger_instance", id_)
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
        return resources.listing(request, "trace", {"trace_tag": "trace_tag"}, sort, 100)

    @route("GET", "/v1/traces/{id_}")
    def get_trace(request, id_):
        return 200, resources.by_id("trace", id_)
