"""Routes by which triggers come in: webhooks, and the sensors' dispatches."""

from tests.engine.http_server import HttpError
from tests.engine.rules import DispatchError

AUTHENTICATION_HEADERS = ("St2-Api-Key", "X-Auth-Token", "Cookie")


def add_routes(router, engine, resources):
    """Add them."""
    route, store, access = router.route, engine.store, engine.access

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
