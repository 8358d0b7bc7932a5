"""Runs the actions about mappings, and an alert through its mapping."""

import yaml
from poundcake.mappings.model import CHECK_TASK

from tests.support.alerts import alert

PACK = "default"


def ask(world, action, mappings=None, **parameters):
    """Run one of the mapping actions with the YAML itself; it must succeed."""
    status, result = run(world, action, mappings, **parameters)
    assert status == "succeeded", result
    return result


def run(world, action, mappings=None, **parameters):
    """Run one of the mapping actions and return its status and result."""
    if mappings is not None:
        text = mappings if isinstance(mappings, str) else yaml.safe_dump({"alerts": mappings})
        parameters["mappings"] = "{% raw %}" + text + "{% endraw %}"
    return world.run(action + "_mappings", **dict({"pack": PACK}, **parameters))


def fire(world, name, **more):
    """Post an alert; once all have ended, return the executions of its workflow and steps."""
    labels = {"instance": "web-01:9100", "severity": "warning", **more.pop("labels", {})}
    entry = alert(alertname=name, **labels)
    entry["annotations"]["summary"] = f"{name} on {labels['instance']}"
    for label in more.pop("without", ()):
        del entry["labels"][label]
    entry.update(more)
    row = world.completed(world.accept(entry))
    tracked = world.ask("list_executions", request_id=row["request_id"])["executions"]
    assert len(tracked) == 1, [(item["rule_ref"], item["action_ref"]) for item in tracked]
    workflow = world.execution(tracked[0]["execution_id"])
    path = "/executions/%s/children?depth=-1" % workflow["id"]
    steps = [world.execution(child["id"]) for child in world.api("GET", path)]
    steps = [step for step in steps if task_of(step) != CHECK_TASK]
    return workflow, sorted(steps, key=lambda step: step["start_timestamp"])


def task_of(step):
    """Return the name of the task that an execution belongs to."""
    return step["context"]["orquesta"]["task_name"]
