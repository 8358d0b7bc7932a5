"""Compare the engine with cases recorded from StackStorm.

    python -m tests.engine.conformance FILE...

A file is JSON with `cases` of one of three forms, told apart by what a case holds:

- `criteria`: rule criteria against the file's `payload`; the rule fires (`matches`), StackStorm
  records a failed enforcement (`error`).
- `template`: a rule's action parameter of the given `type`, rendered against the `payload`; an
  execution is requested (`enforced`) with `value`. The datastore holds conf_key = kv-value.
- `workflow`: an Orquesta definition, registered as action `conf.<name>` whose parameters are its
  inputs, and run with `input`: its `status`, `output`, messages of `errors`, and its `tasks` in
  the order in which they started, each with its final status, those of subworkflows too.

Prints one line for every case that disagrees, then `N passed, N failed`; exit status 1 when any
failed.
"""

import json
import logging
import re
import sys
import tempfile
import time
from pathlib import Path

import yaml

from tests.engine import criteria, parameters
from tests.engine.engine import Engine

TIMEOUT = 120  # seconds that one workflow may take
ROOT = Path(__file__).resolve().parents[2]
# Workflows that a case may call as `conf.<name>` although its file does not hold them.
LIBRARIES = [
    ROOT / "tests/fixtures/conformance/workflows.json",
    ROOT.parent / "shared/conformance/workflows.json",
]


def main(files):
    """Check the files; returns the exit status."""
    passed, failed = 0, 0
    for file in files:
        for difference in compare(json.loads(Path(file).read_text())):
            if difference is None:
                passed += 1
            else:
                failed += 1
                print(f"{Path(file).name}: {difference}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def compare(document):
    """For each case of a file's document: None, or a line that says how the engine differs."""
    for case, expected, got in _run(document):
        if _canonical(expected) == _canonical(got):
            yield None
        else:
            label = case.get("name") or _canonical({k: case[k] for k in case if k not in expected})
            yield f"{label}: expected {_canonical(expected)}, got {_canonical(got)}"


def _canonical(value):
    # As JSON text, 1, 1.0 and true differ.
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _run(document):
    """(case, what it expects, what the engine gives) of each case, as comparable dicts."""
    cases = document["cases"]
    workflows = [case for case in cases if "workflow" in case]
    for case in cases:
        if "criteria" in case:
            yield case, _only(case, "matches", "error"), run_criteria(case, document["payload"])
        elif "template" in case:
            expected = _only(case, "enforced", "value")
            yield case, expected, run_parameter(case, document["payload"])
        elif "workflow" not in case:
            raise ValueError(f"No known form of a case: {case}")
    if workflows:
        with tempfile.TemporaryDirectory() as folder, _Runner(folder, workflows) as runner:
            for case in workflows:
                try:
                    got = runner.run(case)
                except Exception as error:
                    got = {"error": f"{type(error).__name__}: {error}"}
                yield case, _only(case, "status", "output", "errors", "tasks"), got


def _only(case, *names):
    return {name: case[name] for name in names if name in case}


class _Datastore:
    """The keys of the recording, none of them encrypted."""

    def __call__(self, scope, key, decrypt):
        return {("system", "conf_key"): "kv-value"}.get((scope, key))

    def decrypt(self, ciphertext):
        raise ValueError("Non-hexadecimal digit found")


def run_criteria(case, payload):
    """{"matches", "error"} of a case."""
    try:
        matched, failures = criteria.check(case["criteria"], payload, _Datastore())
    except ValueError as error:  # no such operator: StackStorm marks the trigger instance as failed
        matched, failures = False, [str(error)]
    return {"matches": bool(matched), "error": bool(failures)}


def run_parameter(case, payload):
    """{"enforced", "value"} of a case; no value when nothing was requested."""
    # The payload of each recorded case had a number of its own under `case`. The file does not
    # give it, but where a template renders the whole payload, the value shows it.
    number = re.search(r"[\"']case[\"']: (\d+)", str(case.get("value")))
    payload = {**payload, "case": int(number.group(1)) if number else 0}
    action = {"ref": "conf.p", "name": "p", "parameters": {"p": {"type": case["type"]}}}
    context = {"user": "stanley", "pack": "conf"}
    try:
        given = parameters.request_parameters(
            {"p": case["template"]}, action, {}, context, {}, _Datastore(), {"trigger": payload}
        )
    except parameters.ParameterError:
        return {"enforced": False}
    return {"enforced": True, "value": given["p"]}


class _Runner:
    """An engine that has the workflows as actions of a pack `conf`."""

    def __init__(self, folder, cases):
        logging.getLogger("engine").setLevel(logging.CRITICAL)
        self._pack = Path(folder) / "conf"
        (self._pack / "actions/workflows").mkdir(parents=True)
        meta = {"ref": "conf", "name": "conf", "description": "Conformance", "version": "1.0.0"}
        self._write("pack.yaml", {**meta, "author": "PoundCake", "email": "conf@example.com"})
        libraries = [json.loads(p.read_text())["cases"] for p in LIBRARIES if p.exists()]
        for case in [*sum(libraries, []), *cases]:
            self._add(case)
        # No API: none of the actions that the cases run calls it.
        self._engine = Engine(Path(folder) / "state", "http://127.0.0.1:1/v1")

    def _write(self, name, content):
        (self._pack / name).write_text(
            content if isinstance(content, str) else yaml.safe_dump(content)
        )

    def _add(self, case):
        entry_point = f"workflows/{case['name']}.yaml"
        self._write(f"actions/{entry_point}", case["workflow"])
        action = {"name": case["name"], "runner_type": "orquesta", "entry_point": entry_point}
        inputs = dict.fromkeys([*_inputs(case["workflow"]), *case["input"]])
        # Without a type: the recorded actions take any value, and have no default.
        action["parameters"] = {name: {} for name in inputs}
        self._write(f"actions/{case['name']}.yaml", {**action, "enabled": True})

    def __enter__(self):
        self._engine.register(self._pack)
        self._engine.start(sensors=False)
        return self

    def __exit__(self, *_):
        self._engine.stop()

    def run(self, case):
        """{"status", "output", "errors", "tasks"} of a workflow. Raises TimeoutError."""
        executions = self._engine.executions
        execution = executions.request(f"conf.{case['name']}", case["input"], {"user": "stanley"})
        deadline = time.monotonic() + TIMEOUT
        # What is left running when the workflow has failed is waited for, too.
        while not self._ended(execution["id"]):
            if time.monotonic() > deadline:
                raise TimeoutError(f"Workflow {case['name']} did not end")
            time.sleep(0.02)
        execution = executions.get(execution["id"])
        result = execution.get("result") or {}
        return {
            "status": execution["status"],
            "output": result.get("output"),
            "errors": [error["message"] for error in result.get("errors", [])],
            "tasks": _tasks(case, execution["id"], executions.children(execution["id"])),
        }

    def _ended(self, id_):
        executions = self._engine.executions
        all_of_it = [executions.get(id_), *executions.children(id_)]
        return all("end_timestamp" in execution for execution in all_of_it)


def _tasks(case, root, executions):
    """[[task, status], ...] of a case, in the order of the recording when only timing differs."""
    tasks = _order(root, executions, case["tasks"])
    same = sorted(tasks) == sorted(case["tasks"])
    return case["tasks"] if same and _has_branches(case["workflow"]) else tasks


def _has_branches(definition):
    """True when tasks of the workflow itself can run side by side."""
    tasks = yaml.safe_load(definition)["tasks"]
    following = {
        name: [_names(transition.get("do")) for transition in task.get("next") or []]
        for name, task in tasks.items()
    }
    reached = {name for parts in following.values() for names in parts for name in names}
    forks = any(len(names) > 1 for parts in following.values() for names in parts)
    return forks or len(set(tasks) - reached) > 1


def _names(do):
    """The task names of a transition's `do`, which is a list or a text with commas."""
    return [name.strip() for name in do.split(",")] if isinstance(do, str) else list(do or [])


def _order(root, executions, expected):
    """[[task, status], ...] by start time, or `expected` when that is the same but for timing.

    The tasks of one branch have an order. How the tasks of branches, and of workflows, that run
    side by side mingle depends on how fast the machine is.
    """
    executions = sorted(executions, key=lambda e: (e["start_timestamp"], e["id"]))
    tasks = {e["id"]: [e["context"]["orquesta"]["task_name"], e["status"]] for e in executions}
    following = {}  # of each workflow, the executions that are still to come
    for execution in executions:
        following.setdefault(execution["parent"], []).append(execution["id"])

    def mingles(position, started):
        if position == len(expected):
            return True
        for parent in started:
            if following.get(parent) and tasks[following[parent][0]] == expected[position]:
                taken = following[parent].pop(0)
                if mingles(position + 1, [*started, taken]):
                    return True
                following[parent].insert(0, taken)
        return False

    if len(expected) == len(executions) and mingles(0, [root]):
        return expected
    return list(tasks.values())


def _inputs(definition):
    """Names of a definition's inputs; none where it does not parse."""
    try:
        declared = yaml.safe_load(definition).get("input") or []
        return [next(iter(item)) if isinstance(item, dict) else item for item in declared]
    except (yaml.YAMLError, AttributeError, TypeError):
        return []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
