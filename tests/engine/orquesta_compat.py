"""Makes Orquesta 1.2.0, the last release on PyPI, import and behave as the one in StackStorm 3.9.0.

Two things stand between: Python 3.11, for which 1.2.0 and its networkx 1.11 were not written, and
the changes up to the Orquesta that StackStorm 3.9.0 ships (1.6.0 and some commits). Import Orquesta
through this module only: the order of what happens here matters.
"""

import collections
import collections.abc
import fractions
import functools
import math
import threading
import types
import warnings

import jinja2
import jinja2.sandbox
import yaml
from yaml.constructor import ConstructorError

# Names that moved or left the standard library; networkx 1.11 and Orquesta 1.2.0 use the old ones.
for _name in collections.abc.__all__:
    if not hasattr(collections, _name):
        setattr(collections, _name, getattr(collections.abc, _name))
if not hasattr(fractions, "gcd"):
    fractions.gcd = math.gcd

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from orquesta import conducting, events, exceptions, machines, requests, statuses
    from orquesta.expressions import base as expressions
    from orquesta.expressions.functions import base as functions
    from orquesta.specs.base import Spec
    from orquesta.specs.native.v1 import models
    from orquesta.utils import parameters as inline_parameters
    from orquesta.utils import schema as schemas

__all__ = [
    "conducting",
    "events",
    "exceptions",
    "expressions",
    "load_definition",
    "register_functions",
    "requests",
    "statuses",
]

_Conductor = conducting.WorkflowConductor
_StateMachine = machines.WorkflowStateMachine
_Jinja = expressions.get_evaluators()["jinja"]
_Yaql = expressions.get_evaluators()["yaql"]
_Tasks = models.TaskMappingSpec

# Python 3.11 refuses inline flags that are not at the start of a regular expression.
inline_parameters.REGEX_INLINE_PARAMS = inline_parameters.REGEX_INLINE_PARAMS.replace(
    "(?i)true", "(?i:true)"
).replace("(?i)false", "(?i:false)")


# YAQL's parser is one object with state; StackStorm's processes have one thread, the engine many.
_parse_yaql = _Yaql._engine
_parsing = threading.Lock()


@functools.lru_cache(maxsize=1024)
def _yaql_statement(text):
    with _parsing:
        return _parse_yaql(text)


_Yaql._engine = staticmethod(_yaql_statement)

# Later versions evaluate Jinja in a sandbox.
_Jinja._jinja_env = jinja2.sandbox.SandboxedEnvironment(
    undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_Jinja._jinja_env.filters.update(functions.load())


def register_functions(catalog):
    """Give Orquesta's YAQL and Jinja more functions: name to callable.

    A callable with a parameter `context` gets the expression's context. StackStorm registers
    them as entry points, which needs an installed package. Call it once.
    """
    functions.load().update(catalog)
    for name, function in catalog.items():
        _Yaql._root_ctx.register_function(function, name=name)
        _Jinja._jinja_env.filters[name] = function


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Refuses duplicate keys, as later versions do. (They know no merge keys, `<<`, either.)"""


def _unique_mapping(loader, node):
    mapping = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node)
        if key in mapping:
            raise ConstructorError(f'found duplicate key "{key_node.value}"')
        mapping[key] = loader.construct_object(value_node)
    return mapping


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def load_definition(text):
    """The specification of a workflow from its YAML.

    Raises ValueError for YAML that does not parse; other defects show in the inspection.
    """
    try:
        definition = yaml.load(text, _Loader)
    except Exception as error:
        raise ValueError(f"Failed to load workflow definition because {error}.") from error
    return models.instantiate(definition)


@functools.cache
def _schema(cls, includes, resolve_specs, _original=Spec.get_schema.__func__):
    """A class's schema, which Orquesta makes anew for each part of each workflow that it loads."""
    return _original(cls, includes, resolve_specs)


def _get_schema(cls, includes=("meta",), resolve_specs=True):
    return _schema(cls, includes and tuple(includes), resolve_specs)


_merged = {}  # ids of two schemas -> both, so that the ids stay theirs, and the merged one


def _merge_schema(one, other, overwrite=True, _original=schemas.merge_schema):
    """Merge two schemas, once for the same two; what is made of them is only read."""
    key = id(one), id(other), overwrite
    if key not in _merged:
        _merged[key] = one, other, _original(one, other, overwrite)
    return _merged[key][2]


schemas.merge_schema = _merge_schema
Spec.get_schema = classmethod(_get_schema)
Spec.get_meta_schema = classmethod(functools.cache(Spec.get_meta_schema.__func__))


# What follows brings the changes after 1.2.0 that show in how a workflow ends or is refused.


def _add_context_to_task_event(
    workflow_state, event, _original=_StateMachine.add_context_to_task_event
):
    """A failed task that leads to a join counts as handled, even if the join is never ready."""
    if event.status in statuses.ABENDED_STATUSES and _has_next(workflow_state.conductor, event):
        event = types.SimpleNamespace(
            name=events.TASK_REMEDIATED, status=None, task_id=event.task_id, route=event.route
        )
    return _original(workflow_state, event)


def _has_next(conductor, event):
    entry = conductor.get_task_state_entry(event.task_id, event.route)
    return entry is not None and any(
        name != "continue" and entry["next"].get(f"{name}__t{key}")
        for _, name, key, _ in conductor.graph.get_next_transitions(event.task_id)
    )


def _evaluate_task_actions(conductor, task, _original=_Conductor._evaluate_task_actions):
    """A concurrency below 1 counts as 1, instead of waiting forever."""
    if task.get("concurrency") is not None and task["concurrency"] <= 0:
        task["concurrency"] = 1
    return _original(conductor, task)


def _detect_undefined_tasks(tasks, parent=None, _original=_Tasks.detect_undefined_tasks):
    """Each undefined task once, however many ways lead to it."""
    found = _original(tasks, parent=parent)
    return [entry for index, entry in enumerate(found) if entry not in found[:index]]


def _detect_unreachable_tasks(tasks, parent=None):
    """Joins whose branches come through different forks.

    1.2.0 compares the forks as lists in an arbitrary order, and walks every path.
    """
    forks, before = {}, {}
    queue = [(None, name, frozenset()) for name, _, _ in tasks.get_start_tasks()]
    walked = set()
    while queue:
        previous, name, seen = queue.pop(0)
        if name not in tasks:
            continue
        if tasks.is_split_task(name) and not tasks.in_cycle(name):
            seen |= {name}
        forks[name] = forks.get(name, frozenset()) | seen
        before.setdefault(name, set()).update({previous} - {None})
        for following, _, _ in tasks.get_next_tasks(name):
            step = (name, following, seen)
            if step not in walked and (following not in forks or not tasks.in_cycle(following)):
                walked.add(step)
                queue.append(step)
    return [
        {
            "message": f'The join task "{name}" is unreachable. A join task is determined to be '
            "unreachable if there are nested forks from multi-referenced tasks that join on the "
            "said task. This is ambiguous to the workflow engine because it does not know at "
            "which level should the join occurs.",
            "spec_path": f"{parent['spec_path']}.{name}",
            "schema_path": parent["schema_path"] + r".patternProperties.^\w+$",
        }
        for name in forks
        if tasks.is_join_task(name) and any(forks[p] != forks[name] for p in before[name])
    ]


_StateMachine.add_context_to_task_event = staticmethod(_add_context_to_task_event)
_Conductor._evaluate_task_actions = _evaluate_task_actions
_Tasks.detect_undefined_tasks = _detect_undefined_tasks
_Tasks.detect_unreachable_tasks = _detect_unreachable_tasks
