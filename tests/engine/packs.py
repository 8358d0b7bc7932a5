"""Packs on disk -> documents: actions, sensors, triggers, rules, policies, aliases, configs."""

import hashlib
import json
import logging
import os
import uuid
from pathlib import Path

import jsonschema
import yaml

from tests.engine import expressions
from tests.engine.parameters import validate_object

LOG = logging.getLogger("engine.packs")
CONTENT = Path(__file__).with_name("content")
# The one in C, as StackStorm takes it.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DEFAULT_PACK = """
{ref: default, name: default, description: Default pack., version: 3.9.0, author: StackStorm,
 email: info@example.com}
"""


def load_yaml(path):
    """The document in the file; {} for an empty file."""
    return yaml.load(Path(path).read_text(), Loader=LOADER) or {}


FIELDS = load_yaml(CONTENT / "fields.yaml")


def document_of(kind, content, **more):
    """The document of a pack's resource: what its metadata `content` says, and `more`."""
    name, pack = content["name"], content.get("pack") or "default"
    document = {"name": name, "pack": pack, "ref": f"{pack}.{name}"}
    document["uid"] = f"{'sensor_type' if kind == 'sensor' else kind}:{pack}:{name}"
    for field, default in {"description": None, "metadata_file": None, **FIELDS[kind]}.items():
        given = content.get(field)
        document[field] = given if given is not None else default
    return {**document, **more}


class Registry:
    """Registers packs, and answers with what is registered."""

    def __init__(self, store, keys, root):
        self._store = store
        self._keys = keys
        self._root = Path(root)
        (self._root / "configs").mkdir(parents=True, exist_ok=True)

    def register_core(self):
        """The runner types, policy types, core pack and the users' `default` pack."""
        for runner in load_yaml(CONTENT / "runners.yaml"):
            runner.setdefault("runner_package", runner["runner_module"])
            runner.update(enabled=True, uid=f"runner_type:{runner['name']}")
            self._upsert("runner", "name", runner)
        for policy in load_yaml(CONTENT / "policies.yaml"):
            policy.update(enabled=True, resource_type="action", ref=f"action.{policy['name']}")
            policy["uid"] = f"policy_type:action:{policy['name']}"
            self._upsert("policy_type", "ref", policy)
        for trigger_type in load_yaml(CONTENT / "triggers.yaml"):
            self.put_trigger_type(dict(trigger_type, pack="core"))
        default = self._root / "packs/default"
        for folder in ("actions/workflows", "rules", "sensors"):
            (default / folder).mkdir(parents=True, exist_ok=True)
        (default / "pack.yaml").write_text(DEFAULT_PACK)
        for path in (CONTENT / "core", CONTENT / "packs", default):
            self.register(path)

    def register(self, path, types=("all",)):
        """Register what is in the folder; returns counts by kind. Raises ValueError."""
        path = Path(path).resolve()
        if not (path / "pack.yaml").exists():
            raise ValueError(f"{path} has no pack.yaml")
        meta = load_yaml(path / "pack.yaml")
        ref = meta.get("ref") or meta["name"]
        files = [str(f.relative_to(path)) for f in path.glob("*") if f.is_file()]
        pack = dict(meta, ref=ref, path=str(path), files=files, uid=f"pack:{ref}")
        self._upsert("pack", "ref", pack)
        if (path / "config.schema.yaml").exists():
            attributes = load_yaml(path / "config.schema.yaml")
            self._upsert("config_schema", "pack", {"pack": ref, "attributes": attributes})
        steps = {
            "triggers": self.put_trigger_type,
            "sensors": self._put_sensor,
            "actions": self.put_action,
            "rules": self.put_rule,
            "policies": self._put_policy,
            "aliases": self.put_alias,
        }
        counts = {}
        for folder, put in steps.items():
            if not {"all", folder, folder.rstrip("s")} & set(types):
                continue
            counts[folder] = 0
            for file in sorted((path / folder).glob("*.yaml")):
                content = load_yaml(file)
                content["pack"] = content.get("pack") or ref
                content["metadata_file"] = str(file.relative_to(path))
                try:
                    if content["pack"] != ref:
                        raise ValueError(f'pack is "{ref}" but field "pack": {content["pack"]}')
                    put(content)
                except Exception as e:
                    raise ValueError(f"{file}: {type(e).__name__}: {e}") from e
                counts[folder] += 1
        config = self._config_path(ref)
        counts["configs"] = int(config.exists())
        if config.exists():
            self.put_config(ref, load_yaml(config), write=False)
        return counts

    def _config_path(self, pack):
        return self._root / "configs" / f"{pack}.yaml"

    def _config_schema(self, pack):
        return (self._store.first("config_schema", pack=pack) or {}).get("attributes") or {}

    def put_config(self, pack, values, write=True):
        """Validate against the pack's schema and keep; returns the document."""
        schema = self._config_schema(pack)
        if schema:
            try:
                validate_object(values, {"type": "object", "properties": schema})
            except (jsonschema.ValidationError, jsonschema.SchemaError) as e:
                attribute = ".".join(str(part) for part in e.path)
                raise ValueError(
                    f'Failed validating attribute "{attribute}" in config for pack "{pack}": '
                    f"{e.message}"
                ) from e
        if write:
            self._config_path(pack).write_text(yaml.safe_dump(values))
        return self._upsert("config", "pack", {"pack": pack, "values": values})

    def masked_config(self, document, mask):
        """A config document with `mask` for the values that the schema calls secret."""
        schema = self._config_schema(document["pack"])
        values = {
            name: mask if value is not None and (schema.get(name) or {}).get("secret") else value
            for name, value in document["values"].items()
        }
        return dict(document, values=values)

    def config(self, pack, user="stanley"):
        """The config a sensor or action gets: values, templates rendered, schema defaults."""
        values = (self._store.first("config", pack=pack) or {}).get("values") or {}
        schema = self._config_schema(pack)
        values = self._render(values, schema, self._keys.lookup(user))
        _fill_defaults(schema, values)
        return values

    def _render(self, value, schema, kv):
        if isinstance(value, dict):
            properties = schema.get("properties") if "properties" in schema else schema
            return {
                k: self._render(v, (properties or {}).get(k) or {}, kv) for k, v in value.items()
            }
        if isinstance(value, list):
            items = schema.get("items") if isinstance(schema.get("items"), dict) else {}
            return [self._render(v, items or {}, kv) for v in value]
        if not (isinstance(value, str) and "{{" in value):
            return value
        if schema.get("secret"):
            rendered = expressions.render(value, {}, lambda s, k, d=False: kv(s, k, True))
            return rendered or None
        rendered = expressions.render(value, {}, kv)
        try:
            return json.loads(rendered)
        except (TypeError, ValueError):
            return rendered or None

    def action(self, ref):
        """The action document, or None."""
        return self._store.first("action", ref=ref)

    def runner(self, name):
        """The runner type document, or None."""
        return self._store.first("runner", name=name)

    def pack_path(self, ref):
        """Folder of a registered pack. Raises ValueError."""
        pack = self._store.first("pack", ref=ref)
        if not pack:
            raise ValueError(f'Pack "{ref}" is not registered.')
        return Path(pack["path"])

    def entry_point(self, action):
        """Absolute path of an action's file; must lie under actions/. Raises ValueError."""
        if not action.get("entry_point"):
            return None
        base = self.pack_path(action["pack"]) / "actions"
        path = Path(os.path.normpath(base / action["entry_point"]))
        if base not in path.parents:
            raise ValueError(
                f'Invalid file path: "{action["entry_point"]}". File path needs to be relative to '
                f'the pack actions directory ({base}). For example "my_{path.name}".'
            )
        return str(path)

    def put_trigger_type(self, content):
        """Register a trigger type, and its trigger when it takes no parameters."""
        document = self._upsert("trigger_type", "ref", document_of("trigger_type", content))
        if not document["parameters_schema"]:
            self._trigger(document["ref"], {}, document["name"])
        return document

    def put_action(self, content):
        """Create or replace an action. Raises ValueError."""
        document = document_of("action", content)
        if not self.runner(document["runner_type"]):
            raise ValueError(f'RunnerType "{document["runner_type"]}" is not found.')
        self.entry_point(document)
        return self._upsert("action", "ref", document)

    def put_rule(self, content):
        """Create or replace a rule. Raises ValueError."""
        type_ref = content["trigger"]["type"]
        trigger_type = self._store.first("trigger_type", ref=type_ref)
        if not trigger_type:
            raise ValueError(f'Trigger type "{type_ref}" does not exist in the database.')
        if type_ref.startswith("core.") and type_ref != "core.st2.webhook":
            LOG.warning("The embedded engine has no %s; use StackStorm", type_ref)
        parameters = content["trigger"].get("parameters") or {}
        if trigger_type["parameters_schema"]:
            validate_object(parameters, trigger_type["parameters_schema"])
        trigger = self._trigger(type_ref, parameters)["ref"]
        action = content["action"]
        document = document_of(
            "rule",
            content,
            trigger={"type": type_ref, "parameters": parameters, "ref": trigger},
            action={"ref": action["ref"], "parameters": action.get("parameters") or {}},
        )
        return self._upsert("rule", "ref", document)

    def _trigger(self, type_ref, parameters, name=None):
        """The trigger of a type with these parameters, made when absent."""
        pack = type_ref.split(".", 1)[0]
        for trigger in self._store.find("trigger", {"type": type_ref}):
            if trigger["parameters"] == parameters:
                return trigger
        name = name or str(uuid.uuid4())
        digest = hashlib.md5(json.dumps(parameters, sort_keys=True).encode()).hexdigest()
        trigger = {"name": name, "pack": pack, "ref": f"{pack}.{name}", "type": type_ref}
        trigger.update(parameters=parameters, uid=f"trigger:{pack}:{name}:{digest}")
        return self._store.put("trigger", trigger)

    def _put_sensor(self, content):
        refs = []
        for trigger_type in content.get("trigger_types") or []:
            refs.append(self.put_trigger_type(dict(trigger_type, pack=content["pack"]))["ref"])
        document = document_of(
            "sensor",
            dict(content, name=content["class_name"]),
            artifact_uri=f"file://{self.pack_path(content['pack'])}/sensors/{content['entry_point']}",
            trigger_types=refs,
            _poll_interval=content.get("poll_interval"),
        )
        self._upsert("sensor", "ref", document)

    def _put_policy(self, content):
        document = document_of("policy", content)
        policy_type = self._store.first("policy_type", ref=document["policy_type"])
        if not policy_type:
            raise ValueError(f'Referenced policy_type "{document["policy_type"]}" doesnt exist')
        schema = {"type": "object", "properties": policy_type["parameters"]}
        validate_object(document["parameters"], dict(schema, additionalProperties=False))
        place = {name: document[name] for name in ("resource_ref", "policy_type")}
        if any(found["ref"] != document["ref"] for found in self._store.find("policy", place)):
            keys = f"{place['policy_type']}, {place['resource_ref']}"
            raise ValueError(f"Tried to save duplicate unique keys (E11000 ...: {keys})")
        self._upsert("policy", "ref", document)

    def put_alias(self, content):
        """Create or replace an alias."""
        return self._upsert("alias", "ref", document_of("alias", content))

    def _upsert(self, kind, field, document):
        with self._store.lock:
            existing = self._store.first(kind, **{field: document[field]})
            if existing:
                document["id"] = existing["id"]
            return self._store.put(kind, document)


def _fill_defaults(schema, values):
    """Put the schema's defaults where the config has no value, into nested objects too."""
    for name, item in schema.items():
        if "default" in item and name not in values:
            values[name] = item["default"]
        if item.get("type") == "object" and item.get("properties"):
            values[name] = values.get(name) or {}
            _fill_defaults(item["properties"], values[name])
