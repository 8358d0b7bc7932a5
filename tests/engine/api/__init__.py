"""The v1 REST API, as far as the `st2` command and packs use it."""

from tests.engine.api import content, datastore, executions, people, reactor, webhooks
from tests.engine.api.resources import Resources
from tests.engine.http_server import HttpError, Router

# StackStorm has these, beside single routes of what the engine does have.
ABSENT = (
    "actionalias aliasexecution inquiries rbac service_registry timers "
    "triggertypes triggers policies packs sensortypes executions actions rules ruleenforcements"
).split()


def build(engine):
    """The routes, bound to an engine."""
    router = Router()
    resources = Resources(engine.store)
    for module in (people, content, reactor, webhooks, executions, datastore):
        module.add_routes(router, engine, resources)
    resources.add_routes(router)
    # Last, so that it takes only what nothing above took.
    for method in ("GET", "POST", "PUT", "DELETE"):
        router.route(method, "/v1/{path:.*}")(absent)
    return router


def absent(request, path):
    """501 for what StackStorm has and the engine has not, else 404."""
    if path.split("/")[0] in ABSENT:
        raise NotImplementedError(
            f"the embedded engine does not have {request.method} /v1/{path}; use StackStorm"
        )
    raise HttpError(404, "The resource could not be found.")


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
