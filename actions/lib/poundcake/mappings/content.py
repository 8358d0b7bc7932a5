"""StackStorm's content for a mapping: a rule, an action and its workflow. Pure."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional

from poundcake.inert import inert_text
from poundcake.mappings import model, workflow
from poundcake.mappings.actions import ActionInfo
from poundcake.mappings.places import templates_of

Document = Dict[str, Any]

TAG = "poundcake_mapping"  # marks the actions and rules of apply_mappings; its value is the alert
TRIGGER = "poundcake.alert"
_ALERT = {
    "type": "object",
    "description": "The alert: the payload of the trigger poundcake.alert.",
    "required": True,
    "position": 0,
}


@dataclass(frozen=True)
class Content:
    """StackStorm's content for one mapping: API documents, and the workflow as an object."""

    action: Document
    rule: Document
    workflow: Document

    @property
    def ref(self) -> str:
        """The reference of the action and of the rule."""
        return f"{self.action['pack']}.{self.action['name']}"

    @property
    def workflow_text(self) -> str:
        """The YAML of the workflow, in the form that the web UI can edit."""
        return workflow.dump(self.workflow, owner_of(self.action) or "")


def name_of(alertname: str) -> str:
    """Return the name of the action and the rule for an alert."""
    name = re.sub(r"\W+", "_", alertname, flags=re.ASCII)[:50]
    if name != alertname:  # two alerts must not share a name
        name += "_" + hashlib.sha256(alertname.encode("utf-8")).hexdigest()[:8]
    return "mapping_" + name


def owner_of(document: Mapping[str, Any]) -> Optional[str]:
    """Return the alert for which apply_mappings made an action or a rule, otherwise None."""
    for tag in document.get("tags") or ():
        if tag.get("name") == TAG:
            alertname: Optional[str] = tag.get("value")
            return alertname
    return None


def build(
    mapping: model.Mapping, pack: str, actions: Mapping[str, ActionInfo], timeout: int = 0
) -> Content:
    """Return the Content of a mapping without mistakes.

    :param actions: ``{action reference: ActionInfo}``.
    :param timeout: the seconds of a step that does not set its own, 0 for the action's own limit.
    """
    inputs = _inputs(mapping)
    document = workflow.build(mapping, list(inputs), actions, timeout)
    return Content(_action(mapping, pack, inputs), _rule(mapping, pack), document)


def _tags(mapping: model.Mapping) -> List[Dict[str, str]]:
    return [{"name": TAG, "value": mapping.alertname}]


def _inputs(mapping: model.Mapping) -> Document:
    """Return the parameters of the action, which are the inputs of the workflow."""
    inputs: Document = {"alert": _ALERT}
    names = {template.name for step in mapping.steps for template in templates_of(step.parameters)}
    keys = sorted(name.partition(".")[2] for name in names if name.startswith("config."))
    if keys:
        pairs = ", ".join(f"{key!r}: config_context.get({key!r}, '')" for key in keys)
        inputs["config"] = {
            "type": "object",
            "description": "Values for the templates config.KEY, from the config of the pack.",
            "default": "{{ {" + pairs + "} | to_json_string }}",
            "position": 1,
        }
    return inputs


def _action(mapping: model.Mapping, pack: str, inputs: Document) -> Document:
    name = name_of(mapping.alertname)
    return {
        "name": name,
        "pack": pack,
        "runner_type": "orquesta",
        "description": mapping.description,
        "enabled": True,
        "entry_point": f"workflows/{name}.yaml",
        "parameters": inputs,
        "tags": _tags(mapping),
    }


def _rule(mapping: model.Mapping, pack: str) -> Document:
    name = name_of(mapping.alertname)
    return {
        "name": name,
        "pack": pack,
        "description": "Starts the mapping of an alert. Written by poundcake.apply_mappings.",
        "enabled": mapping.enabled is not False,
        "trigger": {"type": TRIGGER, "parameters": {}},
        "criteria": {"trigger.alertname": {"type": "eq", "pattern": inert_text(mapping.alertname)}},
        # The whole alert as JSON, so that no template here names a label that an alert lacks.
        "action": {
            "ref": f"{pack}.{name}",
            "parameters": {"alert": "{{ trigger | to_json_string }}"},
        },
        "tags": _tags(mapping),
    }
