"""The metadata, code, rules, workflows and settings of the pack agree with each other."""

import ast
import importlib
import inspect
import os
import re
import sys
from dataclasses import fields
from glob import glob

import pytest
import yaml
from poundcake import host_commands, settings
from poundcake.core import limits, payload
from poundcake.core.history import transitions
from poundcake.st2 import triggers
from st2common.runners.base_action import Action

from tests.support.alerts import alert, notification
from tests.support.environment import STACKSTORM_INSTALLED
from tests.support.fakes import NOW, PACK, assert_inert, load_fixture
from tests.support.rows import STARTS_AT, a_row
from tests.support.sources import nodes_of, parse_yaml

METADATA_ORDER = ["name", "runner_type", "description", "enabled", "entry_point", "parameters"]
PARAMETER_ORDER = ["type", "description", "required", "default", "position"]
INTERNAL_RULES = {"receive_webhook", "track"}
PYTHON_TYPES = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list}
# StackStorm's own requirements, which every sensor and action can import.
STACKSTORMS_OWN = {"st2common", "st2reactor", "requests", "urllib3", "jsonschema", "yaml", "jinja2"}
STACKSTORMS_OWN |= {"eventlet"}
# The parameters of the core pack's actions, as far as the workflows use them.
CORE_ACTIONS = {
    "core.noop": set(),
    "core.local": {"cmd", "env", "timeout", "cwd"},
    "core.remote": {"hosts", "cmd", "env", "timeout", "cwd"},
    "core.ask": {"schema", "roles", "users", "route", "ttl"},
}


def load_yaml(path):
    with open(os.path.join(PACK, path), encoding="utf-8") as handle:
        return parse_yaml(handle)


def paths(pattern):
    """Return the pack's files that match a pattern, relative to the pack."""
    return sorted(
        os.path.relpath(path, PACK) for path in glob(os.path.join(PACK, pattern), recursive=True)
    )


def stem(path):
    return os.path.splitext(os.path.basename(path))[0]


ACTIONS = {stem(path): load_yaml(path) for path in paths("actions/*.yaml")}
RULES = {stem(path): load_yaml(path) for path in paths("rules/*.yaml")}
SENSOR = load_yaml("sensors/alertmanager_sensor.yaml")
SCHEMA = load_yaml("config.schema.yaml")
PYTHON_ACTIONS = sorted(n for n, a in ACTIONS.items() if a["runner_type"] == "python-script")
WORKFLOWS = sorted(n for n, a in ACTIONS.items() if a["runner_type"] == "orquesta")
# Workflows that change a machine: they check first, may ask a person, and check again.
REMEDIATIONS = [name for name in WORKFLOWS if "dry_run" in ACTIONS[name]["parameters"]]
EVERY_YAML = [
    path
    for pattern in ("*.yaml", "*.yaml.example", "*/*.yaml")
    for path in paths(pattern)
    if not path.startswith("tests")
]


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EVERY_YAML)
def test_every_yaml_parses_to_an_object(path):
    """StackStorm only logs a line about a file that does not parse."""
    assert isinstance(load_yaml(path), dict)


def test_actions_has_a_link_to_the_workflows():
    """StackStorm rejects an entry point outside actions/."""
    link = os.path.join(PACK, "actions", "workflows")
    assert os.path.islink(link) and os.readlink(link) == "../workflows"


def test_every_workflow_belongs_to_an_action_and_every_script_to_metadata():
    """There is no file that StackStorm does not register."""
    assert {stem(path) for path in paths("workflows/*.yaml")} == set(WORKFLOWS)
    assert {stem(path) for path in paths("actions/*.py")} == set(PYTHON_ACTIONS)
    assert {stem(path) for path in paths("sensors/*.py")} == {"alertmanager_sensor"}


def test_pack_yaml_has_the_fields_that_stackstorm_needs():
    """The ref is the one that rules, rows and documentation use."""
    pack = load_yaml("pack.yaml")
    assert pack["ref"] == pack["name"] == "poundcake"
    assert pack["stackstorm_version"] == ">=3.8.0"
    assert pack["python_versions"] == ["3"]
    assert re.match(r"\d+\.\d+\.\d+\Z", pack["version"])
    assert pack["description"] and pack["author"] and "@" in pack["email"]


def test_the_newest_version_in_the_changes_is_the_pack_version():
    """CHANGES.md and pack.yaml change together; what is not released has no date yet."""
    with open(os.path.join(PACK, "CHANGES.md"), encoding="utf-8") as handle:
        versions = re.findall(r"^## (\d+\.\d+\.\d+) - ", handle.read(), re.MULTILINE)
    assert versions[0] == load_yaml("pack.yaml")["version"]


def test_the_pack_has_an_icon_and_a_license():
    """StackStorm's web UI shows the icon."""
    with open(os.path.join(PACK, "icon.png"), "rb") as handle:
        assert handle.read(8) == b"\x89PNG\r\n\x1a\n"
    with open(os.path.join(PACK, "LICENSE"), encoding="utf-8") as handle:
        assert "MIT License" in handle.read()


# --- actions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_an_action_has_the_name_of_its_file_and_a_description(name):
    """Its keys are in the usual order."""
    action = ACTIONS[name]
    assert action["name"] == name and action["enabled"] is True
    assert action["description"].endswith(".")
    assert [key for key in action if key in METADATA_ORDER] == METADATA_ORDER


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_an_entry_point_exists(name):
    """It is below actions/, where StackStorm looks."""
    entry_point = ACTIONS[name]["entry_point"]
    assert not os.path.normpath(entry_point).startswith("..")
    assert os.path.isfile(os.path.join(PACK, "actions", entry_point))
    assert stem(entry_point) == name


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_every_parameter_has_a_type_and_a_description(name):
    """Its default has its type. Only a workflow takes null, which stands for empty."""
    for parameter, schema in ACTIONS[name]["parameters"].items():
        assert schema["type"] in PYTHON_TYPES, parameter
        assert schema["description"].endswith("."), parameter
        assert [key for key in PARAMETER_ORDER if key in schema] == [
            key for key in schema if key in PARAMETER_ORDER
        ], parameter
        if schema.get("required"):
            assert "default" not in schema, parameter
        elif name in WORKFLOWS and "default" not in schema:
            continue
        elif (name, parameter) == ("prepare_command", "script"):
            assert "default" not in schema  # "" is a script without a name, None is no script
        else:
            default = schema["default"]
            template = isinstance(default, str) and "{{" in default
            assert template or isinstance(default, PYTHON_TYPES[schema["type"]]), parameter


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_positions_count_up_from_zero(name):
    """``st2 run`` takes the parameters in this order."""
    positions = [s["position"] for s in ACTIONS[name]["parameters"].values() if "position" in s]
    assert positions == list(range(len(positions)))


@pytest.mark.parametrize("name", PYTHON_ACTIONS)
def test_run_takes_exactly_the_parameters_of_the_metadata(name):
    """StackStorm passes all of them by name."""
    module = importlib.import_module(name)
    classes = [
        item
        for _, item in inspect.getmembers(module, inspect.isclass)
        if issubclass(item, Action) and item.__module__ == name
    ]
    assert len(classes) == 1, "StackStorm takes the first action class of a file"
    arguments = list(inspect.signature(classes[0].run).parameters)[1:]
    assert arguments == list(ACTIONS[name]["parameters"])


# --- workflows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_takes_exactly_the_parameters_of_its_action(name):
    """They are in the same order."""
    workflow = load_yaml(f"workflows/{name}.yaml")
    inputs = [item if isinstance(item, str) else list(item)[0] for item in workflow["input"]]
    assert inputs == list(ACTIONS[name]["parameters"])
    assert workflow["version"] == 1.0


def parameters_of(action):
    """Return the parameters of an action of this pack or of StackStorm's core pack."""
    pack, name = action.split(".")
    return set(ACTIONS[name]["parameters"]) if pack == "poundcake" else CORE_ACTIONS[action]


def parameters_given(task):
    """Return the parameters that a task passes; none if its input is an expression."""
    given = task.get("input", {})
    return set(given) if isinstance(given, dict) else set()


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_names_tasks_actions_and_inputs_that_exist(name):
    """A transition to an unknown task ends a workflow silently."""
    tasks = load_yaml(f"workflows/{name}.yaml")["tasks"]
    for task_name, task in tasks.items():
        for step in task.get("next", []):
            following = step.get("do", [])
            following = following.split(",") if isinstance(following, str) else following
            for one in following:
                assert one.strip() in set(tasks) | {"fail", "noop", "continue"}, task_name
        if not task["action"].startswith("<%"):
            assert parameters_given(task) <= parameters_of(task["action"]), task_name


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_has_a_reason_and_a_way_to_fail(name):
    """People who read the execution see what happened and why."""
    workflow = load_yaml(f"workflows/{name}.yaml")
    assert "reason" in {key for item in workflow["output"] for key in item}
    steps = [step for task in workflow["tasks"].values() for step in task.get("next", [])]
    assert any("fail" in str(step.get("do", "")) for step in steps)
    assert any("reason" in str(step.get("publish", "")) for step in steps)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_passes_the_inspection_of_orquesta(name):
    """The web UI inspects a workflow too, when a person opens and saves it."""
    if not STACKSTORM_INSTALLED:
        importlib.import_module("tests.engine.orquesta_compat")
    spec = importlib.import_module("orquesta.specs.loader").get_spec_module("native")
    assert spec.instantiate(load_yaml(f"workflows/{name}.yaml")).inspect() == {}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_command_comes_from_an_operator_and_never_from_an_alert(name):
    """It is a parameter that rules do not set; values from an alert come in env."""
    rules = [r for r in RULES.values() if r["action"]["ref"] == "poundcake." + name]
    from_alerts = {p for rule in rules for p in rule["action"]["parameters"]}
    for task_name, task in load_yaml(f"workflows/{name}.yaml")["tasks"].items():
        inputs = task.get("input", {})
        commands = re.findall(r"\bcmd => (\S+)[,)]", inputs) if isinstance(inputs, str) else []
        if isinstance(inputs, dict):
            commands = [inputs[key] for key in ("cmd", "command") if key in inputs]
        for command in commands:
            if (name, command) == ("run_command", "<% ctx().shell %>"):
                continue  # its own parameter command, or a script of the pack
            match = re.fullmatch(r"(?:<% )?ctx\(\)\.(\w*command)(?: %>)?", command)
            assert match, (task_name, command)
            assert match.group(1) not in from_alerts, task_name
        runs_commands = task["action"] in ("poundcake.run_command", "core.local", "core.remote")
        scripts = [inputs["script"]] if isinstance(inputs, dict) and "script" in inputs else []
        assert bool(commands + scripts) >= runs_commands, task_name
        for script in scripts:
            assert script.startswith("<%") or host_commands.text_of(script), task_name


@pytest.mark.parametrize("name", REMEDIATIONS)
def test_a_remediation_has_three_phases_and_shows_them(name):
    """They show in the names of its tasks and in its output."""
    workflow = load_yaml(f"workflows/{name}.yaml")
    outputs = [key for item in workflow["output"] for key in item]
    assert outputs == ["outcome", "evidence", "remediation", "verification", "reason"]
    assert {"evidence", "approval", "remediation", "verification"} <= set(workflow["tasks"])


@pytest.mark.parametrize("name", REMEDIATIONS)
def test_a_question_that_timed_out_does_not_go_straight_to_fail(name):
    """StackStorm 3.9 ended such a workflow as succeeded in 5 of 6 trials."""
    tasks = load_yaml(f"workflows/{name}.yaml")["tasks"]
    assert tasks["approval"]["action"] == "core.ask"
    following = [step["do"] for step in tasks["approval"]["next"]]
    assert ["decide"] in following and ["fail"] not in following
    assert ["fail"] in [step.get("do") for step in tasks["decide"]["next"]]


@pytest.mark.parametrize("name", REMEDIATIONS)
def test_a_remediation_says_how_it_ended(name):
    """It begins as failed; escalated comes from the task that has told a person, or from a no."""
    workflow = load_yaml(f"workflows/{name}.yaml")
    assert {"outcome": "failed"} in workflow["vars"]
    said = {}
    for task_name, task in workflow["tasks"].items():
        for step in task.get("next", []):
            for item in step.get("publish", []):
                if "outcome" in item:
                    said.setdefault(item["outcome"], set()).add(task_name)
    assert said["escalated"] == {"escalation"} and said["not_needed"] >= {"decide"}
    assert workflow["tasks"]["escalation"]["action"] == "poundcake.notify"
    texts = {text for text in said if not text.startswith("<%")}
    assert texts <= {"remediated", "not_needed", "escalated", "failed"}
    assert "verification" in said.get("remediated", {"verification"})


@pytest.mark.parametrize("name", REMEDIATIONS)
def test_remediations_share_their_common_parameters(name):
    """They have the same meaning and the same default everywhere."""
    own, known = ACTIONS[name]["parameters"], ACTIONS["service_down"]["parameters"]
    shared = ["dry_run", "approval", "approval_minutes", "alert"]
    if any(parameter.endswith("_command") for parameter in own):
        shared.append("timeout_seconds")
    for parameter in shared:
        assert own[parameter]["description"] == known[parameter]["description"]
        assert own[parameter]["type"] == known[parameter]["type"]
    for parameter in ("dry_run", "approval"):
        assert own[parameter]["default"] is False


# --- rules ----------------------------------------------------------------------------------------


def test_only_the_internal_rules_are_enabled():
    """Nothing changes a machine or notifies people until a person enables it."""
    assert {name for name, rule in RULES.items() if rule["enabled"]} == INTERNAL_RULES
    internal = {RULES[name]["trigger"]["type"] for name in INTERNAL_RULES}
    assert not internal & {triggers.ALERT, triggers.LIFECYCLE}


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_belongs_to_the_pack_and_has_a_description(name):
    """It has the name of its file and says how to enable it."""
    rule = RULES[name]
    assert (rule["name"], rule["pack"]) == (name, "poundcake")
    assert rule["description"].endswith(".")
    assert rule["enabled"] or f"poundcake.enable_remediation name={name}" in rule["description"]


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_passes_parameters_that_its_action_has(name):
    """Every parameter exists, and every required one is passed."""
    action = RULES[name]["action"]
    assert action["ref"].startswith("poundcake.")
    known = ACTIONS[action["ref"].split(".")[1]]["parameters"]
    given = set(action["parameters"])
    assert given <= set(known)
    assert {parameter for parameter, schema in known.items() if schema.get("required")} <= given


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_uses_fields_that_its_trigger_has(name):
    """A rule with a criterion or template that names an unknown field does not fire."""
    rule = RULES[name]
    trigger = rule["trigger"]["type"]
    if trigger == "core.st2.webhook":
        known = {"body", "headers"}
    else:
        (trigger_type,) = [
            t for t in SENSOR["trigger_types"] if "poundcake." + t["name"] == trigger
        ]
        known = set(trigger_type["payload_schema"]["properties"])
    text = yaml.safe_dump([list(rule["criteria"]), rule["action"]["parameters"]])
    used = set(re.findall(r"trigger\.(\w+)", text))
    assert used and used <= known


def test_stackstorms_webhook_has_the_url_of_the_readme():
    """Alertmanager posts to /api/v1/webhooks/poundcake."""
    assert RULES["receive_webhook"]["trigger"]["parameters"] == {"url": "poundcake"}


# --- sensor and triggers --------------------------------------------------------------------------


def test_the_sensor_class_exists():
    """Its module has a name that StackStorm does not use itself."""
    module = stem(SENSOR["entry_point"])
    assert module not in ("utils", "manager", "partitioners")
    assert inspect.isclass(getattr(importlib.import_module(module), SENSOR["class_name"]))
    assert SENSOR["enabled"] is True and SENSOR["description"]


def test_every_trigger_that_the_code_sends_has_a_schema():
    """No other trigger has one. Each schema requires its fields and rejects unknown ones.

    Reports that an earlier version left to be sent lack what came later.
    """
    sent = [triggers.ALERT, triggers.ALERT_RESOLVED, triggers.TRACKING]
    sent += [triggers.LIFECYCLE, triggers.PROBE]
    assert sorted("poundcake." + t["name"] for t in SENSOR["trigger_types"]) == sorted(sent)
    for trigger in SENSOR["trigger_types"]:
        schema = trigger["payload_schema"]
        assert schema["additionalProperties"] is False and trigger["description"]
        optional = {name for name, field in schema["properties"].items() if "required" not in field}
        assert optional <= {"workload", "target"}
        assert all(field["description"] for field in schema["properties"].values())


def rows_to_send():
    """Yield rows of every kind of alert, as they are when the sensor sends a trigger."""
    for name in ("firing_group", "unicode_labels", "no_alertname", "new_fields", "sparse") + (
        "truncated",
        "expressions",
    ):
        parsed = payload.parse(load_fixture(name))
        for one in parsed.alerts:
            yield a_row(one, parsed)
    for entry in (alert(x="\ud800"), dict(alert(), annotations=None, generatorURL=None)):
        parsed = payload.parse(notification(entry))
        yield a_row(parsed.alerts[0], parsed)


def test_every_payload_fits_its_schema():
    """StackStorm drops a payload that does not, and only logs it."""
    schemas = triggers.Schemas(os.path.join(PACK, "sensors", "alertmanager_sensor.yaml"))
    checked = 0
    for row in rows_to_send():
        schemas.check(triggers.ALERT, triggers.alert_payload(row, row["attempts"][0]))
        schemas.check(triggers.ALERT_RESOLVED, triggers.alert_resolved_payload(row))
        for change in transitions(None, row):
            schemas.check(triggers.LIFECYCLE, triggers.lifecycle_payload(row, *change))
            checked += 1
    assert checked > 30


def test_the_payload_of_a_breaker_fits_its_schema():
    """It is about an alertname, but has every field of a change of state."""
    schemas = triggers.Schemas(os.path.join(PACK, "sensors", "alertmanager_sensor.yaml"))
    closed, opened = limits.Breaker(), limits.Breaker(5, NOW, False)
    for row in rows_to_send():
        for before, after in ((closed, opened), (opened, closed), (opened, opened)):
            sent = triggers.breaker_payload(row, before, after, STARTS_AT)
            schemas.check(triggers.LIFECYCLE, sent)
            assert_inert(sent)


@pytest.mark.parametrize(
    "trigger, change, named",
    [
        (triggers.ALERT, {"attempt": "1"}, "attempt"),
        (triggers.ALERT, {"severity": None}, "severity"),
        (triggers.ALERT, {"labels": {"a": 1}}, "labels.a"),
        (triggers.ALERT, {"unknown": "x"}, "payload"),
        (triggers.TRACKING, {"batch_id": 1}, "batch_id"),
        (triggers.TRACKING, {}, "batch_id"),
    ],
)
def test_a_payload_that_does_not_fit_is_an_error_with_the_field(trigger, change, named):
    """The error names the trigger and the field."""
    schemas = triggers.Schemas(os.path.join(PACK, "sensors", "alertmanager_sensor.yaml"))
    row = next(rows_to_send())
    good = triggers.alert_payload(row, row["attempts"][0]) if trigger == triggers.ALERT else {}
    with pytest.raises(ValueError) as caught:
        schemas.check(trigger, dict(good, **change))
    assert str(caught.value).startswith(trigger + ": ") and named in str(caught.value)


def test_the_schema_describes_every_label_that_the_payload_has():
    """Authors of rules look at the schema."""
    properties = set(SENSOR["trigger_types"][0]["payload_schema"]["properties"])
    assert set(triggers.LABELS_AT_HAND) | set(triggers.ANNOTATIONS_AT_HAND) <= properties


# --- settings -------------------------------------------------------------------------------------


def test_the_schema_and_the_code_have_the_same_settings():
    """Each setting of the schema is one field of one section, or names the key of a secret."""
    named = [
        settings.name_of(section, field.name)
        for section, (_, kind) in settings._SECTIONS.items()
        for field in fields(kind)
    ]
    keys = [name + "_key" for name in SCHEMA if SCHEMA[name].get("secret")]
    assert sorted(named + keys + ["promtool_path"]) == sorted(SCHEMA)


@pytest.mark.parametrize("name", sorted(SCHEMA))
def test_a_setting_has_a_description_a_type_and_a_default_that_works(name):
    """So an empty config works."""
    setting = SCHEMA[name]
    assert setting["description"].endswith((".", ")", ").")) and setting["type"] in PYTHON_TYPES
    assert isinstance(setting["default"], PYTHON_TYPES[setting["type"]])
    assert settings.from_config({name: setting["default"]}) == settings.from_config({})


def test_secret_settings_are_marked_as_secret():
    """StackStorm then masks them in its API and web UI."""
    secret = {name for name, setting in SCHEMA.items() if setting.get("secret")}
    words = re.compile("(^|_)(token|password|secret|ssh_key)(_|$)")
    named = {name for name in SCHEMA if words.search(name)}
    keys = {name + "_key" for name in secret}
    assert secret | keys == named >= {"token", "password"}


def test_the_example_config_has_known_settings_with_their_types():
    """It names secrets in the datastore."""
    example = load_yaml("poundcake.yaml.example")
    for name, value in example.items():
        assert isinstance(value, PYTHON_TYPES[SCHEMA[name]["type"]]), name
        assert not SCHEMA[name].get("secret"), "its key is better"
    with open(os.path.join(PACK, "poundcake.yaml.example"), encoding="utf-8") as handle:
        commented = re.findall(r"^# (\w+): ", handle.read(), re.MULTILINE)
    assert set(commented) <= set(SCHEMA)


# --- code -----------------------------------------------------------------------------------------


def imported(path):
    """Yield the top-level names of the modules that a Python file imports."""
    for node in nodes_of(os.path.join(PACK, path), ast.Import, ast.ImportFrom):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "actions and sensors are no packages"
            yield node.module.split(".")[0]


def standard_library():
    """Return the names of the standard library's modules."""
    known = getattr(sys, "stdlib_module_names", None)  # Python 3.10 and later
    return known or {name for name in sys.builtin_module_names} | {stem(p) for p in _library()}


def _library():
    folder = os.path.dirname(os.__file__)
    return os.listdir(folder)


PACK_CODE = paths("sensors/*.py") + paths("actions/*.py") + paths("actions/lib/poundcake/**/*.py")


@pytest.mark.parametrize("path", PACK_CODE)
def test_the_code_imports_only_what_an_installation_has(path):
    """That is the standard library, StackStorm's own requirements, and requirements.txt."""
    with open(os.path.join(PACK, "requirements.txt"), encoding="utf-8") as handle:
        required = set(re.findall(r"^([A-Za-z0-9_]+)", handle.read(), re.MULTILINE))
    required |= {"botocore"} if "boto3" in required else set()  # boto3 itself is built on it
    required |= {"re2"} if "google" in required else set()  # the package google-re2
    allowed = set(standard_library()) | STACKSTORMS_OWN | required | {"poundcake"}
    assert set(imported(path)) <= allowed


@pytest.mark.parametrize("path", PACK_CODE)
def test_the_code_has_the_syntax_of_python_3_8(path):
    """StackStorm runs on Python 3.8 to 3.11."""
    with open(os.path.join(PACK, path), encoding="utf-8") as handle:
        ast.parse(handle.read(), path, feature_version=(3, 8))


@pytest.mark.parametrize("path", PACK_CODE)
def test_the_code_does_not_import_the_tests(path):
    """The embedded engine is only for the tests."""
    assert "tests" not in set(imported(path))
