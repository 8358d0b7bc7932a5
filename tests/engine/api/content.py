"""Routes for packs, their configs, and actions."""

import functools
from collections import Counter
from pathlib import Path

from tests.engine.http_server import HttpError
from tests.engine.parameters import SECRET_MASK


def add_routes(router, engine, resources):
    """Add them."""
    route, store, registry = router.route, engine.store, engine.registry

    def refuse_system_pack(pack):
        if pack in ("core", "packs"):
            raise HttpError(400, "Resources belonging to system level packs can't be manipulated")

    @route("POST", "/v1/packs/register")
    def register_packs(request):
        body = request.json()
        refs = body.get("packs") or [pack["ref"] for pack in store.find("pack")]
        totals = Counter()
        for ref in refs:
            # Not +=, which drops the kinds that there are none of.
            totals.update(engine.register(registry.pack_path(ref), body.get("types") or ["all"]))
        return 200, totals

    @route("POST", "/v1/packs/install")
    def install_packs(request):
        packs = {"packs": request.json()["packs"]}
        made = engine.executions.request("packs.install", packs, {"user": request.user})
        return 202, {"execution_id": made["id"]}

    @route("POST", "/v1/engine/install")
    def install_now(request):
        return 200, {"packs": [engine.install(source) for source in request.json()["packs"]]}

    def masked_config(request, document):
        if request.flag("show_secrets"):
            return document
        return registry.masked_config(document, SECRET_MASK)

    @route("GET", "/v1/configs")
    def get_configs(request):
        return resources.listing(request, "configs", functools.partial(masked_config, request))

    @route("GET", "/v1/configs/{pack}")
    def get_config(request, pack):
        found = store.first("config", pack=pack)
        if not found:
            raise HttpError(404, f'Unable to identify resource with pack_ref "{pack}".')
        return 200, masked_config(request, found)

    @route("PUT", "/v1/configs/{pack}")
    def put_config(request, pack):
        return 200, masked_config(request, registry.put_config(pack, request.json()))

    # Actions

    def write_files(ref, files):
        """As the web UI saves a workflow: below actions/, where a symlink may lead elsewhere."""
        pack = store.first("pack", ref=ref)
        names = set(pack["files"])
        for file in files:
            path = registry.entry_point({"pack": ref, "entry_point": file["file_path"]})
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(file["content"])
            names.add(str(Path(path).relative_to(pack["path"])))
        store.put("pack", dict(pack, files=sorted(names)))

    def save_action(request, status):
        content = request.json()
        content["pack"] = content.get("pack") or "default"
        refuse_system_pack(content["pack"])
        if content.get("data_files"):
            write_files(content["pack"], content["data_files"])
        content.setdefault("metadata_file", f"actions/{content['name']}.yaml")
        return status, registry.put_action(content)

    @route("POST", "/v1/actions")
    def create_action(request):
        resources.refuse_existing("action", request.json())
        return save_action(request, 201)

    @route("PUT", "/v1/actions/{id_}")
    def update_action(request, id_):
        resources.find("action", id_)
        return save_action(request, 200)

    @route("DELETE", "/v1/actions/{id_}")
    def delete_action(request, id_):
        action = resources.find("action", id_)
        refuse_system_pack(action["pack"])
        store.delete("action", action["id"])
        if request.json().get("remove_files"):
            metadata_file = registry.pack_path(action["pack"]) / action["metadata_file"]
            for path in filter(None, [registry.entry_point(action), metadata_file]):
                Path(path).unlink(missing_ok=True)
        return 204, None

    @route("GET", "/v1/actions/views/entry_point/{id_}")
    def get_entry_point(request, id_):
        path = registry.entry_point(resources.find("action", id_))
        if not path:
            raise HttpError(404, f"Action ref_or_id={id_} has no entry_point to output")
        kind = {".yaml": "application/x-yaml", ".py": "text/x-python"}
        content_type = kind.get(Path(path).suffix, "text/plain")
        return 200, Path(path).read_bytes(), {"Content-Type": content_type}
