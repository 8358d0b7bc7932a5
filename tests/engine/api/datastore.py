"""Routes for the datastore."""

from tests.engine.api.resources import select
from tests.engine.http_server import HttpError
from tests.engine.keys import SYSTEM, USER, full_scope


def add_routes(router, engine, resources):
    """Add them."""
    route, keys = router.route, engine.keys

    def place(request, scope=None):
        """(full scope, owner) that the query means."""
        scope = scope or request.query.get("scope") or SYSTEM
        owner = request.query.get("user")
        return USER if owner else full_scope(scope), owner or request.user

    def no_key(name):
        return HttpError(404, f'The key "{name}" does not exist in the StackStorm datastore.')

    @route("GET", "/v1/keys")
    def get_keys(request):
        decrypt, page = request.flag("decrypt"), request.page()
        both = request.query.get("scope") == "all"
        places = [place(request, scope) for scope in ([SYSTEM, USER] if both else [None])]
        prefix = request.query.get("prefix")
        found = [
            k for scope, owner in places for k in keys.find(scope, prefix, owner, decrypt, *page)
        ]
        return 200, [select(request, document) for document in found]

    @route("GET", "/v1/keys/{name}")
    def get_key(request, name):
        scope, owner = place(request)
        found = keys.get(scope, name, owner, request.flag("decrypt"))
        if not found:
            raise no_key(f"{owner}:{name}" if scope == USER else name)
        return 200, found

    @route("PUT", "/v1/keys/{name}")
    def put_key(request, name):
        body = request.json()
        if not isinstance(body.get("value"), str):
            raise HttpError(400, f"{body.get('value')!r} is not of type 'string'")
        if body.get("encrypted"):
            raise NotImplementedError(
                "the embedded engine does not take values that are already encrypted; "
                "use StackStorm"
            )
        scope, owner = place(request, body.get("scope"))
        owner = body.get("user") or owner
        return 200, keys.set(scope, name, body["value"], owner, body.get("ttl"), body.get("secret"))

    @route("DELETE", "/v1/keys/{name}")
    def delete_key(request, name):
        scope, owner = place(request)
        if not keys.delete(scope, name, owner):
            raise no_key(name)
        return 204, None
