"""Routes for the datastore."""

from tests.engine.api.resources import select
from tests.engine.http_server import HttpError
from tests.engine.keys import SYSTEM, USER, full_scope


def add_routes(router, engine, resources):
    """Add them."""
    route, keys = router.route, engine.keys

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
                "the embedded engine does not take values that are already encrypted; "
                "use StackStorm"
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
