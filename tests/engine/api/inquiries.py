"""Routes for inquiries."""

import jsonschema

from tests.engine.api.resources import select
from tests.engine.http_server import HttpError
from tests.engine.inquiries import Refused
from tests.engine.parameters import validate_object

FIELDS = ("route", "ttl", "users", "roles", "schema")
ANSWER = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "required": True},
        "response": {"type": "object", "required": True},
    },
}


def add_routes(router, engine, resources):
    """Add them."""
    route = router.route

    def view(execution):
        return {"id": execution["id"], **{name: execution["result"][name] for name in FIELDS}}

    def refusing(call, *args):
        try:
            call(*args)
        except Refused as e:
            raise HttpError(e.status, str(e)) from e

    def execution_by_id(id_):
        found = engine.executions.get(id_)
        if not found:
            raise HttpError(404, "The resource could not be found.")
        return found

    @route("GET", "/v1/inquiries")
    def get_inquiries(request):
        request.query.update(status="pending", runner="inquirer")
        return resources.listing(request, "inquiries", view)

    @route("GET", "/v1/inquiries/{id_}")
    def get_inquiry(request, id_):
        inquiry = execution_by_id(id_)
        refusing(engine.inquiries.check, inquiry)
        return 200, select(request, view(inquiry))

    @route("PUT", "/v1/inquiries/{id_}")
    def respond(request, id_):
        body = request.json()
        try:
            validate_object(body, ANSWER)
        except jsonschema.ValidationError as e:
            raise HttpError(400, e.message) from e
        inquiry = execution_by_id(id_)
        refusing(engine.inquiries.respond, inquiry["id"], body["response"], request.user)
        return 200, {"id": id_, "response": body["response"]}
