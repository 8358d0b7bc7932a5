"""Routes for ChatOps: aliases, and the commands that are matched with them."""

from tests.engine import aliases
from tests.engine.expressions import render
from tests.engine.http_server import HttpError
from tests.engine.parameters import ParameterError


def add_routes(router, engine, resources):
    """Add them."""
    route, store, registry = router.route, engine.store, engine.registry

    @route("POST", "/v1/actionalias")
    def create_alias(request):
        resources.refuse_existing("alias", request.json())
        return 201, registry.put_alias(request.json())

    @route("DELETE", "/v1/actionalias/{id_}")
    def delete_alias(request, id_):
        store.delete("alias", resources.find("alias", id_)["id"])
        return 204, None

    def matching(command):
        try:
            return aliases.find(store.find("alias", {"enabled": True}), command)
        except aliases.NoMatch as e:
            raise HttpError(400, str(e)) from e

    @route("POST", "/v1/actionalias/match")
    def match(request):
        alias, display, representation = matching(request.json()["command"])
        found = {"actionalias": alias, "display": display, "representation": representation}
        return 200, found

    @route("POST", "/v1/aliasexecution/match_and_execute")
    def match_and_execute(request):
        body = request.json()
        alias, _, format_ = matching(body["command"])
        context = {
            "action_alias_ref": {name: alias[name] for name in ("id", "name")},
            "api_user": body.get("user"),
            "user": request.user,
            "source_channel": body.get("source_channel"),
        }
        given = aliases.extract(format_, body["command"])
        fixed = alias["immutable_parameters"]
        overridden = ",".join(name for name in fixed if name in given)
        if overridden:
            raise HttpError(400, f"Immutable arguments cannot be overriden: {overridden}")
        given.update({name: render(str(text), context) for name, text in fixed.items()})
        try:
            made = engine.executions.request(alias["action_ref"], given, context)
        except ParameterError as e:
            raise HttpError(400, str(e).split("\n\n")[0]) from e
        result = {"execution": made, "actionalias": alias}
        if alias["ack"].get("format"):
            result["message"] = render(alias["ack"]["format"], result)
        return 201, {"results": [result]}
