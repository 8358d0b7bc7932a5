"""Lists and single documents, as every kind of resource gives them."""

import datetime

from tests.engine.http_server import HttpError
from tests.engine.store import lookup

# Path -> (kind, sorted by, default limit, filters). A filter is the name of a query parameter,
# with the field that it is compared with where that has another name.
COLLECTIONS = {
    "packs": ("pack", "ref", 100, "name ref"),
    "actions": ("action", "pack name", 100, "name pack"),
    "runnertypes": ("runner", "name", 100, "name"),
    "rules": (
        "rule",
        "pack name",
        100,
        "name pack enabled action=action.ref trigger=trigger.ref user=context.user",
    ),
    "sensortypes": ("sensor", "pack name", 100, "name pack enabled"),
    "triggertypes": ("trigger_type", "ref", 100, "name pack"),
    "triggers": ("trigger", "ref", 100, ""),
    "triggerinstances": (
        "trigger_instance",
        "-occurrence_time trigger",
        100,
        "status trigger timestamp=occurrence_time",
    ),
    "ruleenforcements": (
        "enforcement",
        "-enforced_at rule.ref",
        50,
        "rule_ref=rule.ref rule_id=rule.id execution=execution_id enforced_at "
        "trigger_instance=trigger_instance_id",
    ),
    "actionalias": ("alias", "pack name", 100, "name pack"),
    "policytypes": ("policy_type", "name", 100, "resource_type"),
    "policies": ("policy", "pack name", 100, "pack resource_ref policy_type"),
    "config_schemas": ("config_schema", "pack", 50, ""),
    "executions": (
        "execution",
        "-start_timestamp action.ref",
        100,
        "action=action.ref status liveaction=liveaction.id parent rule=rule.name "
        "runner=runner.name timestamp=start_timestamp trigger=trigger.name "
        "trigger_type=trigger_type.name trigger_instance=trigger_instance.id user=context.user",
    ),
    "inquiries": (
        "execution",
        "-start_timestamp action.ref",
        20,
        "status runner=runner.name",
    ),
    "configs": ("config", "pack", 50, ""),
    "apikeys": ("api_key", "user", 50, "user"),
    "traces": ("trace", "-start_timestamp trace_tag", 100, "trace_tag"),
}
ID_FIELDS = {"config_schema": "pack", "runner": "name"}
BY_ID_ONLY = ("trigger_instance", "enforcement", "trace", "execution")

# StackStorm ignores the offset of these, and answers the same first page again.
WITHOUT_OFFSET = ("rules", "rules/views", "sensortypes", "inquiries")


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
    if not included:
        return {name: value for name, value in document.items() if name not in excluded}
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


def _ascending(query):
    """Whether a list is to start with the oldest: ?sort_asc=, or only ?timestamp_gt= given."""
    if query.get("timestamp_lt") or query.get("sort_desc"):
        return False
    return bool(query.get("timestamp_gt") or query.get("sort_asc"))


def _normal_timestamp(text):
    """A time as a client may write it, as documents have it. Raises HttpError 400."""
    try:
        moment = datetime.datetime.fromisoformat(text.strip())
    except ValueError as e:
        raise HttpError(400, f"Invalid timestamp: {text}") from e
    if moment.tzinfo:
        moment = moment.astimezone(datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Resources:
    """Reads documents for requests."""

    def __init__(self, store):
        self._store = store

    def find(self, kind, id_or_ref):
        """The document with this id or ref. Raises HttpError 404."""
        found = self._store.get(kind, id_or_ref)
        if kind in BY_ID_ONLY:
            message = f'Unable to identify resource with id "{id_or_ref}".'
        else:
            found = found or self._store.first(kind, **{ID_FIELDS.get(kind, "ref"): id_or_ref})
            words = "a ref or id" if kind == "pack" else "a reference or id"
            message = f'Resource with {words} "{id_or_ref}" not found'
        if not found:
            raise HttpError(404, message)
        return found

    def refuse_existing(self, kind, content):
        """Raise the 409 when there is one of this pack and name."""
        ref = f"{content.get('pack') or 'default'}.{content.get('name')}"
        existing = self._store.first(kind, ref=ref)
        if existing:
            message = f'Tried to save duplicate unique keys (E11000 duplicate key error: "{ref}")'
            raise HttpError(409, message, **{"conflict-id": existing["id"]})

    def listing(self, request, name, show=shown):
        """The answer to GET /v1/<name>, each document as `show(document)` gives it."""
        kind, sort, default_limit, filters = COLLECTIONS[name]
        query, sort = request.query, sort.split()
        limit, offset = request.page(default_limit)
        if name in WITHOUT_OFFSET:
            offset = 0
        where = {}
        for parameter, _, path in (word.partition("=") for word in filters.split()):
            path, value = path or parameter, query.get(parameter)
            if value:
                where[path] = {"null": None}.get(value, value)
            bounds = []
            for suffix, operator in (("_gt", ">"), ("_lt", "<")):
                if query.get(parameter + suffix):
                    bounds += [operator, _normal_timestamp(query[parameter + suffix])]
            if bounds:
                where[path] = tuple(bounds)
        if "enabled" in where:
            where["enabled"] = request.flag("enabled")
        if query.get("id"):
            where["id"] = request.names("id")
        if _ascending(query):
            sort = [key.lstrip("-") for key in sort]
        found = self._store.find(kind, where, sort, limit, offset)
        headers = {"X-Total-Count": str(self._store.count(kind, where))}
        if limit:
            headers["X-Limit"] = str(limit)
        return 200, [select(request, show(document)) for document in found], headers

    def add_routes(self, router):
        """The lists and single documents that no module has a route of its own for."""
        for name, (kind, *_) in COLLECTIONS.items():
            self._add_collection(router, name, kind)

    def _add_collection(self, router, name, kind):
        @router.route("GET", f"/v1/{name}")
        def get_all(request):
            return self.listing(request, name)

        @router.route("GET", f"/v1/{name}/{{id_}}")
        def get_one(request, id_):
            return 200, select(request, shown(self.find(kind, id_)))
