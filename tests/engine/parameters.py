"""Parameters of executions: rendering, casting and validation.

StackStorm does this at two moments, and so does the engine:

1. When an execution is requested (by a rule, the API or a workflow's task), every string given is
   rendered as a Jinja template: `request_parameters`. The result is what the execution document
   holds.
2. When the runner starts, the missing parameters get their defaults, which may be templates too;
   values that were given are not rendered again: `finalize_parameters`.

A value therefore is evaluated once for each request it passes through. What a workflow hands to
the action of a task is requested a second time: that, and Orquesta's own evaluation, is the way by
which text from outside becomes a template. Nothing here protects against it, because StackStorm
does not.

`action` and `runner` are documents as `GET /v1/actions` and `/v1/runnertypes` give them;
`context` is the execution's context, `config` the pack's config, `kv` see expressions.py.
"""

import ast
import copy
import functools
import re

import jinja2
import jinja2.meta
import jsonschema
import orjson
from jsonschema import Draft4Validator, _legacy_validators

from . import expressions

SECRET_MASK = "********"


class ParameterError(Exception):
    """Parameters that StackStorm refuses.

    `kind` is the name of the exception that StackStorm has for it; a workflow's error message
    starts with it. With "ParamException" (a template failed) StackStorm leaves a failed execution
    behind, with the parameters as they were given; with the others nothing is created.
    """

    def __init__(self, message, kind="ParamException"):
        super().__init__(message)
        self.kind = kind


def request_parameters(params, action, runner, context, config, kv, variables=None):
    """The parameters an execution is requested with: rendered, cast and validated.

    `variables` are further names for the templates: of a rule, {"trigger": payload}. Raises
    ParameterError; for a rule its text is the `failure_reason` of the enforcement.
    """
    schemas = _schemas(action, runner)
    nodes = _nodes(context, config, kv)
    for name, value in (variables or {}).items():
        nodes.add(name, value=value)
    for name, value in params.items():
        nodes.add_parameter(name, value)
    nodes.add_defaults(schemas)
    rendered = nodes.resolve()
    result = _cast_all(params, rendered, schemas)
    validate(result, action, runner)
    return result


def finalize_parameters(params, action, runner, context, config, kv):
    """(runner parameters, action parameters) for the runner, from those of the execution.

    Raises ParameterError.
    """
    schemas = _schemas(action, runner)
    nodes = _nodes(context, config, kv)
    for name, value in params.items():
        nodes.add(name, value=value)
    nodes.add_defaults(schemas)
    rendered = nodes.resolve()
    final = _cast_all(rendered, rendered, schemas)
    of_action, of_runner = schemas
    of_runner = {name: final[name] for name in final if name in of_runner}
    return of_runner, {n: final[n] for n in final if n in of_action and n not in of_runner}


def mask_secrets(params, action, runner):
    """A copy in which every parameter that is declared `secret` is masked."""
    schemas = _schemas(action, runner)
    secret = {name for schema in schemas for name, meta in schema.items() if meta.get("secret")}
    return {name: SECRET_MASK if name in secret else value for name, value in params.items()}


def _schemas(action, runner):
    """Parameter schemas of (action, runner), in the order in which StackStorm looks at them."""
    return [action.get("parameters") or {}, runner.get("runner_parameters") or {}]


def _nodes(context, config, kv):
    return _Nodes(
        st2kv={"value": expressions.datastore_context(kv)},
        action_context={"value": context},
        config_context={"value": config},
    )


class _Nodes(dict):
    """Name to {"value": ...} and/or {"template": ...}, with what each template depends on.

    Parameters may refer to each other, so they are rendered in the order of their dependencies.
    A node may end up with both a value and a template; the template wins.
    """

    def __init__(self, **nodes):
        super().__init__(nodes)
        self.dependencies = {}

    def add(self, name, **content):
        self.setdefault(name, {}).update(content)

    def add_parameter(self, name, value):
        text = str(value) if isinstance(value, (dict, list)) else value
        if not expressions.is_template(text):
            return self.add(name, value=value)
        try:
            tree = expressions.environment().parse(value)
            self.add(name, template=value)
            dependencies = jinja2.meta.find_undeclared_variables(tree)
        except jinja2.TemplateSyntaxError:
            return self.add(name, value=value)  # no template after all; an unknown filter is one
        for dependency in dependencies:
            self.setdefault(dependency, {})
            self.dependencies.setdefault(name, set()).add(dependency)

    def add_defaults(self, schemas):
        for schema in schemas:
            for name, meta in schema.items():
                # A node that is a template has no value, so that a default which is a template
                # too replaces it: StackStorm does so as well.
                if self.get(name, {}).get("value") is None or meta.get("immutable", False):
                    self.add_parameter(name, meta.get("default"))

    def resolve(self):
        """Name to rendered value. Raises ParameterError."""
        for name, node in self.items():
            if not node:
                raise ParameterError(f'Dependency unsatisfied in variable "{name}"')
        context = {}
        pending = list(self)
        while pending:
            ready = [n for n in pending if not self.dependencies.get(n, set()) - context.keys()]
            if not ready:
                names = ", ".join(sorted(n for n in pending if self._reaches(n, n)))
                raise ParameterError(
                    f"Cyclic dependency found in the following variables: {names}. Likely the "
                    "variable is referencing itself"
                )
            for name in ready:
                try:
                    context[name] = _render(self[name], context)
                except Exception as error:
                    raise ParameterError(f'Failed to render parameter "{name}": {error}')
            pending = [name for name in pending if name not in context]
        return context

    def _reaches(self, start, goal):
        seen, queue = set(), [start]
        while queue:
            for name in self.dependencies.get(queue.pop(), set()) - seen:
                if name == goal:
                    return True
                seen.add(name)
                queue.append(name)
        return False


def _render(node, context):
    if "template" not in node:
        return node["value"]
    template = node["template"]
    if not isinstance(template, (dict, list)):
        return expressions.render(template, context)
    # An object or array is rendered as one text, keys included. A string in it that is nothing
    # but `{{name}}` keeps the type of that variable.
    text = expressions.json_encode(template)
    text = re.sub(r'"{{([A-z0-9_-]+)}}"', r"{{\1 | to_complex}}", text)
    return expressions.from_json_string(expressions.render(text, context))


def _cast_all(params, rendered, schemas):
    try:
        result = {}
        for name in params:
            meta = {}
            for schema in schemas:
                meta = schema.get(name, meta)
            result[name] = _cast(rendered[name], meta)
        for schema in schemas:
            for name, meta in schema.items():
                # A default that is a template is part of the request, as it may fail validation.
                if meta.get("immutable") or name in params:
                    continue
                default = meta.get("default")
                if expressions.is_template(default) and default != rendered[name]:
                    result[name] = _cast(rendered[name], meta)
        return result
    except Exception as error:
        raise ParameterError(str(error), kind=type(error).__name__)


def _cast(value, meta):
    if value is None or not meta:
        return value
    # A list of types fails here as it does in StackStorm: it cannot be looked up.
    cast = _CASTS.get(meta.get("type"))
    return cast(value) if cast else value


def _unmarked(value):
    return None if value == expressions.NONE_MARKER else value


def _cast_object(value):
    value = _unmarked(value)
    if not isinstance(value, str):
        return value
    try:
        return expressions.from_json_string(value)
    except ValueError:
        return ast.literal_eval(value)


def _cast_boolean(value):
    value = _unmarked(value)
    return ast.literal_eval(value.capitalize()) if isinstance(value, str) else value


def _cast_string(value):
    if not isinstance(value, str):
        raise ValueError(
            f'Value "{value}" must either be a string or None. Got "{type(value).__name__}".'
        )
    return _unmarked(value)


_CASTS = {
    "array": _cast_object,
    "object": _cast_object,
    "boolean": _cast_boolean,
    "integer": lambda value: int(_unmarked(value)),
    "number": lambda value: float(_unmarked(value)),
    "string": _cast_string,
}


# Validation. StackStorm's schemas are JSON Schema draft 4, except that `required` is a boolean
# inside each property as in draft 3. A list of names, as draft 4 has it, is refused.
_META_SCHEMA = copy.deepcopy(Draft4Validator.META_SCHEMA)
_META_SCHEMA["properties"]["required"] = {"type": "boolean"}
for _name, _type in {"secret": "boolean", "immutable": "boolean", "position": "number"}.items():
    _META_SCHEMA["properties"][_name] = {"type": _type}
_Validator = jsonschema.validators.create(
    meta_schema=_META_SCHEMA,
    validators={
        **{k: v for k, v in Draft4Validator.VALIDATORS.items() if k != "required"},
        "properties": _legacy_validators.properties_draft3,
    },
    type_checker=Draft4Validator.TYPE_CHECKER,
)

_TYPES = ["array", "boolean", "integer", "number", "object", "string"]
_OVERRIDABLE = ("default", "description", "enum", "immutable", "required")


def validate(params, action, runner):
    """Check requested parameters against the schemas of the action and its runner.

    Raises ParameterError: for a wrong type, a missing or an unknown parameter, or one that may
    not be given.
    """
    schema = _parameters_schema(action, runner)
    try:
        validate_object(params, schema)
    except (jsonschema.ValidationError, jsonschema.SchemaError) as error:
        raise ParameterError(str(error), kind=type(error).__name__)
    immutable = [n for s in _schemas(action, runner) for n, m in s.items() if m.get("immutable")]
    given = [name for name in params if name in immutable]
    if given:
        raise ParameterError(
            f"Override of immutable parameter(s) {given} is unsupported.", kind="ValueError"
        )


def validate_object(instance, schema):
    """Validate as StackStorm does: defaults count as given, and None is fine where optional.

    Also for trigger payloads and pack configs. Raises jsonschema.ValidationError, and SchemaError
    when the schema itself is none.
    """
    schema = _prepared(orjson.dumps(schema, option=orjson.OPT_NON_STR_KEYS))
    if schema.get("type") == "object" and isinstance(instance, dict):
        instance = _with_defaults(copy.deepcopy(instance), schema)
    error = jsonschema.exceptions.best_match(_Validator(schema).iter_errors(instance))
    if error:
        raise error


@functools.lru_cache(maxsize=500)
def _prepared(text):
    # Checking a schema takes milliseconds, and each execution needs the one of its action.
    schema = _allow_none(orjson.loads(text))
    _Validator.check_schema(schema)
    return schema


def _parameters_schema(action, runner):
    of_action, of_runner = _schemas(action, runner)
    merged = copy.deepcopy(of_runner)
    for name, meta in of_action.items():
        for attribute, value in meta.items():
            if name not in of_runner or attribute in _OVERRIDABLE:
                continue
            if value != of_runner[name].get(attribute):
                raise ParameterError(
                    f'The attribute "{attribute}" for the runner parameter "{name}" in action '
                    f'"{action.get("ref")}" cannot be overridden.',
                    kind="InvalidActionParameterException",
                )
        merged[name] = {**merged.get(name, {}), **copy.deepcopy(meta)}
    if not merged:
        return {}
    anything = {"anyOf": [{"type": name} for name in _TYPES]}
    schema = {
        "type": "object",
        "properties": {name: meta or anything for name, meta in merged.items()},
        "additionalProperties": False,
        "title": action.get("name"),
    }
    if action.get("description"):
        schema["description"] = action["description"]
    return schema


def _children(meta):
    """The schemas inside a property's schema that have properties of their own."""
    types = meta.get("type")
    types = types if isinstance(types, list) else [types]
    items = meta.get("items")
    if "array" in types and isinstance(items, dict) and items.get("properties"):
        yield items
    if "object" in types and meta.get("properties"):
        yield meta


def _allow_none(schema):
    for meta in (schema.get("properties") or {}).values():
        children = list(_children(meta))
        may_be_none = "default" in meta or not meta.get("required", False)
        if may_be_none and meta.get("default") is None:
            _make_nullable(meta)
        for child in children:
            _allow_none(child)
    return schema


def _make_nullable(meta):
    for choice in ("anyOf", "oneOf"):
        if choice in meta:
            if not any(t == "null" or t.get("type") == "null" for t in meta[choice]):
                meta[choice].append({"type": "null"})
            return
    types = meta.get("type", "string")
    types = types if isinstance(types, list) else [types]
    if "null" not in types:
        meta["type"] = types + ["null"]


def _with_defaults(instance, schema):
    """Fill in the defaults of properties that are absent or None, deep. Changes `instance`."""
    for name, meta in (schema.get("properties") or {}).items():
        if instance.get(name) is None and "default" in meta:
            instance[name] = copy.deepcopy(meta["default"])
        value = instance.get(name)
        if isinstance(value, dict):
            _with_defaults(value, meta)
        elif isinstance(value, list) and isinstance(meta.get("items"), dict):
            for item in value:
                if isinstance(item, dict):
                    _with_defaults(item, meta["items"])
    return instance
