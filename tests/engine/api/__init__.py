"""The v1 REST API, as far as the `st2` command and packs use it."""

from tests.engine.access import Unauthorized
from tests.engine.api import content, datastore, executions, inquiries, people, reactor
from tests.engine.api.resources import COLLECTIONS, Resources
from tests.engine.http_server import HttpError, Router

# StackStorm has these, beside single routes of what the engine does have.
ABSENT = "actionalias aliasexecution executions rbac service_registry timers workflows"


def build(engine):
    """The routes, bound to an engine."""
    router = Router()
    resources = Resources(engine.store)
    for module in (people, content, reactor, executions, inquiries, datastore):
        module.add_routes(router, engine, resources)
    resources.add_routes(router)
    # Last, so that it takes only what nothing above took.
    for method in ("GET", "POST", "PUT", "DELETE"):
        router.route(method, "/v1/{path:.*}")(absent)
    return router


def absent(request, path):
    """501 for what StackStorm has and the engine has not, else 404."""
    if path.split("/")[0] in (*ABSENT.split(), *COLLECTIONS):
        raise NotImplementedError(
            f"the embedded engine does not have {request.method} /v1/{path}; use StackStorm"
        )
    raise HttpError(404, "The resource could not be found.")


def authenticator(access):
    """Checks a request's credentials: token or API key, in a header or the query."""

    def authenticate(request):
        headers, query = request.headers, request.query
        token, key = headers.get("X-Auth-Token"), headers.get("St2-Api-Key")
        query_token, query_key = query.get("x-auth-token"), query.get("st2-api-key")
        try:
            request.user, request.authentication = access.authenticate(
                token or query_token, key or query_key
            )
        except Unauthorized as e:
            raise HttpError(401, f"Unauthorized - {e}" if str(e) else "Unauthorized") from e
        in_header = token or (key and not query_token)
        request.authentication["location"] = "header" if in_header else "query"

    return authenticate
