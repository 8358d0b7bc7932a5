"""Lists and single documents, as every kind of resource gives them."""

import datetime
import time

from tests.engine.http_server import HttpError
from tests.engine.store import lookup

EXECUTION_FILTERS = {
    "action": "action.ref",
    "status": "status",
    "liveaction": "liveaction.id",
    "parent": "parent",
    "rule": "rule.name",
    "runner": "runner.name",
    "timestamp": "start_timestamp",
    "trigger": "trigger.name",
    "trigger_type": "trigger_type.name",
    "trigger_instance": "trigger_instance.id",
    "user": "context.user",
}
INSTANCE_FILTERS = {"status": "status", "trigger": "trigger", "timestamp": "occurrence_time"}
ENFORCEMENT_FILTERS = {
    "rule_ref": "rule.ref",
    "rule_id": "rule.id",
    "execution": "execution_id",
    "trigger_instance": "trigger_instance_id",
    "enforced_at": "enforced_at",
}
# Lists and single documents that need nothing special: path -> (kind, filters, sort, limit).
COLLECTIONS = {
    "packs": ("pack", {"name": "name", "ref": "ref"}, ("ref",), 100),
    "actions": ("action", {"name": "name", "pack": "pack"}, ("pack", "name"), 100),
    "runnertypes": ("runner", {"name": "name"}, ("name",), 100),
    "rules": (
        "rule",
        {
            "name": "name",
            "pack": "pack",
            "action": "action.ref",
            "trigger": "trigger.ref",
            "enabled": "enabled",
            "user": "context.user",
        },
        ("pack", "name"),
        100,
    ),
    "sensortypes": (
        "sensor",
        {"name": "name", "pack": "pack", "enabled": "enabled"},
        ("pack", "name"),
        100,
    ),
    "triggertypes": ("trigger_type", {"name": "name", "pack": "pack"}, ("ref",), 100),
    "triggers": ("trigger", {}, ("ref",), 100),
    "triggerinstances": (
        "trigger_instance",
        INSTANCE_FILTERS,
        ("-occurrence_time", "trigger"),
        100,
    ),
    "ruleenforcements": ("enforcement", ENFORCEMENT_FILTERS, ("-enforced_at", "rule.ref"), 50),
    "policytypes": ("policy_type", {"resource_type": "resource_type"}, ("name",), 100),
    "policies": (
        "policy",
        {"pack": "pack", "resource_ref": "resource_ref", "policy_type": "policy_type"},
        ("pack", "name"),
        100,
    ),
    "config_schemas": ("config_schema", {}, ("pack",), 50),
}


def shown(document):
    """A document without the fields that are the engine's own."""
    return {name: value for name, value in document.items() if not name.startswith("_")}


def select(request, document):
    """What ?include_attributes= or ?exclude_attributes= leave of a document."""
    included = request.names("include_attributes")
    excluded = request.names("exclude_attributes")
    if included and excluded:
        raise HttpError(
            400,
            "exclude_attributes and include_attributes arguments are mutually exclusive. You need "
            "to provide either one or another, but not both.",
        )
    if included:
        result = {name: document[name] for name in ("id", "ref") if name in document}
        for path in included:
            value = lookup(document, path)
            if value is not None:
                *parents, last = path.split(".")
                target = result
                for parent in parents:
                    target = target.setdefault(parent, {})
                target[last] = value
        return result
    return {name: value for name, value in document.items() if name not in excluded}


def sort_ascending(request):
    """Whether a list is to start with the oldest: ?sort_asc=, or only ?timestamp_gt= given."""
    query = request.query
    if query.get("timestamp_lt") or query.get("sort_desc"):
        return False
    return bool(query.get("timestamp_gt") or query.get("sort_asc"))


def conflict(ref, existing):
    """Raise the 409 for a ref that is taken."""
    message = f'Tried to save duplicate unique keys (E11000 duplicate key error: "{ref}")'
    raise HttpError(409, message, **{"conflict-id": existing["id"]})


def normal_timestamp(text):
    """A time as a client may write it, as documents have it. Raises HttpError 400."""
    text = text.strip().replace(" ", "T")
    for ending in ("Z", "+00:00", "+0000", "+00"):
        if text.endswith(ending):
            text = text[: -len(ending)]
            break
    main, _, fraction = text.partition(".")
    try:
        time.strptime(main, "%Y-%m-%dT%H:%M:%S")
    except ValueError as e:
        raise HttpError(400, f"Invalid timestamp: {text}") from e
    return f"{main}.{fraction:0<6}Z"


def elapsed(execution):
    """Seconds from start to end."""
    start, end = (execution[f"{name}_timestamp"] for name in ("start", "end"))
    return round(_epoch(end) - _epoch(start), 6)


def _epoch(text):
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()


class Resources:
    """Reads documents for requests."""

    def __init__(self, store):
        self._store = store

    def find(self, kind, id_or_ref, field="ref"):
        found = self._store.get(kind, id_or_ref) or self._store.first(kind, **{field: id_or_ref})
        if not found:
            words = "a ref or id" if kind == "pack" else "a reference or id"
            raise HttpError(404, f'Resource with {words} "{id_or_ref}" not found')
        return found

    def by_id(self, kind, id_):
        """The document. Raises HttpError 404."""
        found = self._store.get(kind, id_)
        if not found:
            raise HttpError(404, f'Unable to identify resource with id "{id_}".')
        return found

    def listing(self, request, kind, filters, sort, default_limit, show=shown):
        limit, offset = request.page(default_limit)
        where = {}
        for name, path in filters.items():
            value = request.query.get(name)
            if value:
                where[path] = {"null": None}.get(value, value)
            bounds = []
            for suffix, operator in (("_gt", ">"), ("_lt", "<")):
                if request.query.get(name + suffix):
                    bounds += [operator, normal_timestamp(request.query[name + suffix])]
            if bounds:
                where[path] = tuple(bounds)
        if "enabled" in where:
            where["enabled"] = request.flag("enabled")
        if request.query.get("id"):
            where["id"] = request.names("id")
        if sort_ascending(request):
            sort = [key.lstrip("-") for key in sort]
        found = self._store.find(kind, where, sort, limit, offset)
        headers = {"X-Total-Count": str(self._store.count(kind, where))}
        if limit:
            headers["X-Limit"] = str(limit)
        return 200, [select(request, show(document)) for document in found], headers

    def add_routes(self, router):
        """The lists and single documents that need nothing special."""
        for name, collection in COLLECTIONS.items():
            self._add_collection(router, name, *collection)

    def _add_collection(self, router, name, kind, filters, sort, limit):
        field = {"config_schema": "pack", "runner": "name"}.get(kind, "ref")
        by_id_only = kind in ("trigger_instance", "enforcement")

        @router.route("GET", f"/v1/{name}")
        def get_all(request):
            return self.listing(request, kind, filters, sort, limit)

        @router.route("GET", f"/v1/{name}/{{id_}}")
        def get_one(request, id_):
            found = self.by_id(kind, id_) if by_id_only else self.find(kind, id_, field)
            return 200, select(request, shown(found))
