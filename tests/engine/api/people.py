"""Routes for who is calling: tokens, the user, API keys."""

import base64
import binascii

from tests.engine.access import Unauthorized
from tests.engine.api.resources import shown
from tests.engine.http_server import HttpError
from tests.engine.parameters import SECRET_MASK


def add_routes(router, engine, resources):
    """Add them."""
    route, store, access = router.route, engine.store, engine.access

    def log_in(request):
        header = request.headers.get("Authorization", "")
        try:
            user, _, password = base64.b64decode(header.partition(" ")[2]).decode().partition(":")
            token = access.login(user, password, request.json().get("ttl"))
        except (Unauthorized, binascii.Error, UnicodeDecodeError) as e:
            raise HttpError(401, "Invalid or missing credentials") from e
        return 201, dict(token, service=False), {"X-Api-Url": engine.api_url}

    for path in ("/tokens", "/v1/tokens", "/auth/tokens", "/auth/v1/tokens"):
        route("POST", path, public=True)(log_in)

    @route("GET", "/v1/user")
    def get_user(request):
        rbac = {"enabled": False, "roles": [], "is_admin": True}
        return 200, {
            "username": request.user,
            "authentication": request.authentication,
            "rbac": rbac,
        }

    def masked_key(document):
        return dict(document, uid=SECRET_MASK, key_hash=SECRET_MASK)

    @route("GET", "/v1/apikeys")
    def get_api_keys(request):
        show = shown if request.flag("show_secrets") else masked_key
        return resources.listing(request, "apikeys", show)

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
            body.get("user") or request.user, body.get("metadata"), body.get("enabled", True)
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
