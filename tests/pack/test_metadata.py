"""What holds the pack together: metadata, code, rules, workflows and settings agree."""

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
from poundcake import clock, settings
from poundcake.core import lifecycle, limits, payload
from poundcake.core.history import transitions
from poundcake.st2 import triggers
from st2common.runners.base_action import Action

from tests.conftest import STACKSTORM_INSTALLED
from tests.support.facts import fact
from tests.support.fakes import NOW, PACK, alert, assert_inert, load_fixture, notification

STARTS_AT = "2026-11-21T08:00:00.000000000Z"
METADATA_ORDER = ["name", "runner_type", "description", "enabled", "entry_point", "parameters"]
PARAMETER_ORDER = ["type", "description", "required", "default"]
PLUMBING = {"receive_webhook", "track"}
PYTHON_TYPES = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list}
# StackStorm's own requirements, on the path of every sensor and action.
STACKSTORMS_OWN = {"st2common", "st2reactor", "requests", "urllib3", "jsonschema", "yaml", "jinja2"}
# What StackStorm's runners and its core pack take, as far as the workflows use it.
CORE_ACTIONS = {
    "core.noop": set(),
    "core.local": {"cmd", "env", "timeout", "cwd"},
    "core.remote": {"hosts", "cmd", "env", "timeout", "cwd"},
    "core.ask": {"schema", "roles", "users", "route", "ttl"},
}


def load_yaml(path):
    with open(os.path.join(PACK, path), encoding="utf-8") as handle:
        return yaml.safe_load(handle)


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
# What touches a machine, and so looks first, can be made to ask, and looks again.
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
    """A file that does not is registered as nothing, with a line in a log."""
    assert isinstance(load_yaml(path), dict)


def test_the_workflows_are_reached_through_a_link_under_actions():
    """StackStorm refuses an entry point that leaves actions/."""
    link = os.path.join(PACK, "actions", "workflows")
    assert os.path.islink(link) and os.readlink(link) == "../workflows"


def test_every_workflow_belongs_to_an_action_and_every_script_to_metadata():
    """Nothing lies about that StackStorm does not know."""
    assert {stem(path) for path in paths("workflows/*.yaml")} == set(WORKFLOWS)
    assert {stem(path) for path in paths("actions/*.py")} == set(PYTHON_ACTIONS)
    assert {stem(path) for path in paths("sensors/*.py")} == {"alertmanager_sensor"}


def test_the_pack_says_who_it_is():
    """Under the ref that rules, rows and documentation use."""
    pack = load_yaml("pack.yaml")
    assert pack["ref"] == pack["name"] == "poundcake"
    assert pack["stackstorm_version"] == ">=3.8.0"
    assert pack["python_versions"] == ["3"]
    assert re.match(r"\d+\.\d+\.\d+\Z", pack["version"])
    assert pack["description"] and pack["author"] and "@" in pack["email"]


def test_the_newest_version_in_the_changes_is_the_packs():
    """They move together."""
    with open(os.path.join(PACK, "CHANGES.md"), encoding="utf-8") as handle:
        versions = re.findall(r"^##.*?(\d+\.\d+\.\d+)", handle.read(), re.MULTILINE)
    assert versions[0] == load_yaml("pack.yaml")["version"]


def test_the_icon_and_the_license_are_there():
    """As StackStorm's web UI and whoever installs the pack expect."""
    with open(os.path.join(PACK, "icon.png"), "rb") as handle:
        assert handle.read(8) == b"\x89PNG\r\n\x1a\n"
    with open(os.path.join(PACK, "LICENSE"), encoding="utf-8") as handle:
        assert "MIT License" in handle.read()


# --- actions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_an_action_is_named_as_its_file_and_says_what_it_does(name):
    """In the order in which people read metadata."""
    action = ACTIONS[name]
    assert action["name"] == name and action["enabled"] is True
    assert action["description"].endswith(".")
    assert [key for key in action if key in METADATA_ORDER] == METADATA_ORDER


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_an_entry_point_exists(name):
    """Below actions/, where StackStorm looks."""
    entry_point = ACTIONS[name]["entry_point"]
    assert not os.path.normpath(entry_point).startswith("..")
    assert os.path.isfile(os.path.join(PACK, "actions", entry_point))
    assert stem(entry_point) == name


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_every_parameter_has_a_type_and_a_description(name):
    """And is required or has a default of its type, so that run() always gets a value."""
    for parameter, schema in ACTIONS[name]["parameters"].items():
        assert schema["type"] in PYTHON_TYPES, parameter
        assert schema["description"].endswith("."), parameter
        assert [key for key in PARAMETER_ORDER if key in schema] == [
            key for key in schema if key in PARAMETER_ORDER
        ], parameter
        if schema.get("required"):
            assert "default" not in schema, parameter
        else:
            default = schema["default"]
            template = isinstance(default, str) and "{{" in default
            assert template or isinstance(default, PYTHON_TYPES[schema["type"]]), parameter


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_positions_count_up_from_zero(name):
    """So ``st2 run`` takes the parameters in that order."""
    positions = [s["position"] for s in ACTIONS[name]["parameters"].values() if "position" in s]
    assert positions == list(range(len(positions)))


@pytest.mark.parametrize("name", PYTHON_ACTIONS)
def test_run_takes_exactly_the_parameters(name):
    """StackStorm calls it with all of them by name."""
    module = importlib.import_module(name)
    found = [
        item
        for _, item in inspect.getmembers(module, inspect.isclass)
        if issubclass(item, Action) and item.__module__ == name
    ]
    assert len(found) == 1, "StackStorm takes the first action class of a file"
    arguments = list(inspect.signature(found[0].run).parameters)[1:]
    assert arguments == list(ACTIONS[name]["parameters"])


# --- workflows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_takes_exactly_the_parameters_of_its_action(name):
    """In the same order."""
    workflow = load_yaml("workflows/%s.yaml" % name)
    inputs = [item if isinstance(item, str) else list(item)[0] for item in workflow["input"]]
    assert inputs == list(ACTIONS[name]["parameters"])
    assert workflow["version"] == 1.0


def parameters_of(action):
    """Return what an action of the pack or of StackStorm's core pack takes."""
    pack, name = action.split(".")
    return set(ACTIONS[name]["parameters"]) if pack == "poundcake" else CORE_ACTIONS[action]


def parameters_given(task):
    """Return what a task gives to its action, as far as the file says: an expression does not."""
    given = task.get("input", {})
    return set(given) if isinstance(given, dict) else set()


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_names_tasks_actions_and_inputs_that_exist(name):
    """A transition into nowhere ends a workflow without a word."""
    tasks = load_yaml("workflows/%s.yaml" % name)["tasks"]
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
    """Whoever reads the execution sees what happened and why."""
    workflow = load_yaml("workflows/%s.yaml" % name)
    assert "reason" in {key for item in workflow["output"] for key in item}
    steps = [step for task in workflow["tasks"].values() for step in task.get("next", [])]
    assert any("fail" in str(step.get("do", "")) for step in steps)
    assert any("reason" in str(step.get("publish", "")) for step in steps)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_orquestas_inspection_finds_nothing(name):
    """Nor does the web UI, when a person opens and saves it."""
    if not STACKSTORM_INSTALLED:
        importlib.import_module("tests.engine.orquesta_compat")
    spec = importlib.import_module("orquesta.specs.loader").get_spec_module("native")
    assert spec.instantiate(load_yaml("workflows/%s.yaml" % name)).inspect() == {}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_command_is_written_by_an_operator_and_never_by_an_alert(name):
    """It is a parameter of its own, none of those that rules fill; data comes in env."""
    rules = [r for r in RULES.values() if r["action"]["ref"] == "poundcake." + name]
    from_alerts = {p for rule in rules for p in rule["action"]["parameters"]}
    for task_name, task in load_yaml("workflows/%s.yaml" % name)["tasks"].items():
        inputs = task.get("input", {})
        commands = re.findall(r"\bcmd => (\S+)[,)]", inputs) if isinstance(inputs, str) else []
        if isinstance(inputs, dict):
            commands = [inputs[key] for key in ("cmd", "command") if key in inputs]
        for command in commands:
            match = re.fullmatch(r"(?:<% )?ctx\(\)\.(\w*command)(?: %>)?", command)
            assert match, (task_name, command)
            assert match.group(1) not in from_alerts, task_name
        runs_commands = task["action"] in ("poundcake.run_command", "core.local", "core.remote")
        assert bool(commands) >= runs_commands, task_name


@pytest.mark.parametrize("name", REMEDIATIONS)
def test_a_remediation_has_three_phases_and_shows_them(name):
    """By the names of its tasks and in its output."""
    workflow = load_yaml("workflows/%s.yaml" % name)
    outputs = [key for item in workflow["output"] for key in item]
    assert outputs == ["evidence", "remediation", "verification", "reason"]
    assert {"evidence", "approval", "remediation", "verification"} <= set(workflow["tasks"])


@pytest.mark.parametrize("name", REMEDIATIONS)
def test_a_question_that_timed_out_does_not_go_straight_to_fail(name):
    """StackStorm 3.9 ends such a workflow as succeeded (5 of 6 times, when it was tried)."""
    tasks = load_yaml("workflows/%s.yaml" % name)["tasks"]
    assert tasks["approval"]["action"] == "core.ask"
    ways = [step["do"] for step in tasks["approval"]["next"]]
    assert "decide" in ways and "fail" not in ways
    assert "fail" in [step.get("do") for step in tasks["decide"]["next"]]


@pytest.mark.parametrize("name", REMEDIATIONS)
def test_a_remediation_takes_what_all_of_them_take(name):
    """With the same meaning and the same default, so that one knows them all."""
    own, known = ACTIONS[name]["parameters"], ACTIONS["service_down"]["parameters"]
    shared = ["dry_run", "approval", "approval_minutes", "alert"]
    if any(parameter.endswith("_command") for parameter in own):
        shared.append("timeout_seconds")
    for parameter in shared:
        assert own[parameter]["description"] == known[parameter]["description"]
        assert own[parameter]["type"] == known[parameter]["type"]
    for parameter in ("dry_run", "approval"):
        assert own[parameter]["default"] is False


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_fits_a_screen_or_nearly_so(name):
    """Whoever has to change it at night sees all of it."""
    with open(os.path.join(PACK, "workflows", name + ".yaml"), encoding="utf-8") as handle:
        assert len(handle.readlines()) <= 110


# --- rules ----------------------------------------------------------------------------------------


def test_plumbing_is_enabled_and_nothing_else_is():
    """Nothing touches a machine, and nobody is called, before a person says so."""
    assert {name for name, rule in RULES.items() if rule["enabled"]} == PLUMBING
    plumbing = {RULES[name]["trigger"]["type"] for name in PLUMBING}
    assert not plumbing & {triggers.ALERT, triggers.LIFECYCLE}


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_belongs_to_the_pack_and_says_what_it_does(name):
    """Named as its file."""
    rule = RULES[name]
    assert (rule["name"], rule["pack"]) == (name, "poundcake")
    assert rule["description"].endswith(".")
    assert rule["enabled"] or "st2 rule enable poundcake.%s" % name in rule["description"]


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_gives_its_action_what_it_takes(name):
    """Every parameter exists, and every required one is given."""
    action = RULES[name]["action"]
    assert action["ref"].startswith("poundcake.")
    known = ACTIONS[action["ref"].split(".")[1]]["parameters"]
    given = set(action["parameters"])
    assert given <= set(known)
    assert {parameter for parameter, schema in known.items() if schema.get("required")} <= given


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_names_what_its_trigger_has(name):
    """A criterion or template that names what is absent keeps the rule from firing."""
    rule = RULES[name]
    trigger = rule["trigger"]["type"]
    if trigger == "core.st2.webhook":
        known = {"body", "headers"}
    else:
        (found,) = [t for t in SENSOR["trigger_types"] if "poundcake." + t["name"] == trigger]
        known = set(found["payload_schema"]["properties"])
    text = yaml.safe_dump([list(rule["criteria"]), rule["action"]["parameters"]])
    used = set(re.findall(r"trigger\.(\w+)", text))
    assert used and used <= known


def test_the_webhook_of_stackstorm_has_the_url_of_the_readme():
    """/api/v1/webhooks/poundcake."""
    assert RULES["receive_webhook"]["trigger"]["parameters"] == {"url": "poundcake"}


# --- sensor and triggers --------------------------------------------------------------------------


def test_the_sensor_class_is_where_the_metadata_says():
    """In a module whose name StackStorm does not use itself."""
    module = stem(SENSOR["entry_point"])
    assert module not in ("utils", "manager", "partitioners")
    assert inspect.isclass(getattr(importlib.import_module(module), SENSOR["class_name"]))
    assert SENSOR["enabled"] is True and SENSOR["description"]


def test_every_trigger_that_the_code_sends_has_a_schema():
    """And no other has one; each says which fields it needs and takes no unknown ones."""
    sent = [triggers.ALERT, triggers.ALERT_RESOLVED, triggers.TRACKING]
    sent += [triggers.LIFECYCLE, triggers.PROBE]
    assert sorted("poundcake." + t["name"] for t in SENSOR["trigger_types"]) == sorted(sent)
    for trigger in SENSOR["trigger_types"]:
        schema = trigger["payload_schema"]
        assert schema["additionalProperties"] is False and trigger["description"]
        assert all(field["required"] is True for field in schema["properties"].values())


def rows_to_send():
    """Rows of every kind of alert, as the sensor has them when it sends a trigger."""
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


def a_row(one, parsed):
    """Return the row of an alert that was notified, dispatched, settled and resolved."""
    about = {"fingerprint": one.fingerprint, "episode": STARTS_AT, "request_id": "r1"}
    described = lifecycle.describe(one, parsed)
    row = None
    for second, (kind, more) in enumerate(
        [
            ("notified", {"status": "firing", "alert": described}),
            ("dispatched", {"dispatch_id": "d1", "attempt": 1}),
            ("settled", {"dispatch_id": "d1", "reason": "{{ no rule }}"}),
            ("notified", {"status": "resolved", "alert": described, "request_id": "r2"}),
        ]
    ):
        moment = clock.to_text(NOW + second)
        row = lifecycle.apply(row, fact(kind, **dict(about, at=moment, **more)))
    return row


def test_every_payload_fits_its_schema():
    """StackStorm drops one that does not, and says so in a log only."""
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
    """It tells of an alertname, and has every field of a change of state all the same."""
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
    """The check is worth something."""
    schemas = triggers.Schemas(os.path.join(PACK, "sensors", "alertmanager_sensor.yaml"))
    row = next(rows_to_send())
    good = triggers.alert_payload(row, row["attempts"][0]) if trigger == triggers.ALERT else {}
    with pytest.raises(ValueError) as caught:
        schemas.check(trigger, dict(good, **change))
    assert str(caught.value).startswith(trigger + ": ") and named in str(caught.value)


def test_the_labels_at_hand_are_those_that_the_schema_describes():
    """One place for a rule author to look."""
    properties = set(SENSOR["trigger_types"][0]["payload_schema"]["properties"])
    assert set(triggers.LABELS_AT_HAND) | set(triggers.ANNOTATIONS_AT_HAND) <= properties


# --- settings -------------------------------------------------------------------------------------


def test_the_schema_and_the_code_have_the_same_settings():
    """Each setting of the schema is one field of one section."""
    named = [
        settings.name_of(section, field.name)
        for section, (_, kind) in settings._SECTIONS.items()
        for field in fields(kind)
    ]
    assert sorted(named + ["promtool_path"]) == sorted(SCHEMA)


@pytest.mark.parametrize("name", sorted(SCHEMA))
def test_a_setting_has_a_description_a_type_and_a_default_that_works(name):
    """An empty config works, on StackStorm as in a test."""
    setting = SCHEMA[name]
    assert setting["description"].endswith((".", ")", ").")) and setting["type"] in PYTHON_TYPES
    assert isinstance(setting["default"], PYTHON_TYPES[setting["type"]])
    assert settings.from_config({name: setting["default"]}) == settings.from_config({})


def test_what_is_secret_is_marked_secret():
    """StackStorm masks it in its API and web UI then."""
    secret = {name for name, setting in SCHEMA.items() if setting.get("secret")}
    words = re.compile("(^|_)(token|password|secret|ssh_key)(_|$)")
    named = {name for name in SCHEMA if words.search(name)}
    assert secret == named >= {"token", "password"}


def test_the_example_config_names_known_settings_with_their_types():
    """And refers to its secrets in the datastore."""
    example = load_yaml("poundcake.yaml.example")
    for name, value in example.items():
        assert isinstance(value, PYTHON_TYPES[SCHEMA[name]["type"]]), name
        if SCHEMA[name].get("secret"):
            assert "st2kv.system." in value
            assert "decrypt_kv" not in value, "StackStorm decrypts by itself, and refuses this"
    with open(os.path.join(PACK, "poundcake.yaml.example"), encoding="utf-8") as handle:
        commented = re.findall(r"^# (\w+): ", handle.read(), re.MULTILINE)
    assert set(commented) <= set(SCHEMA)


# --- code -----------------------------------------------------------------------------------------


def imported(path):
    """Return the top names of the modules that a Python file imports, wherever it does."""
    with open(os.path.join(PACK, path), encoding="utf-8") as handle:
        tree = ast.parse(handle.read(), path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "actions and sensors are no packages"
            yield node.module.split(".")[0]


def standard_library():
    known = getattr(sys, "stdlib_module_names", None)  # Python 3.10 and later
    return known or {name for name in sys.builtin_module_names} | {stem(p) for p in _library()}


def _library():
    folder = os.path.dirname(os.__file__)
    return os.listdir(folder)


PACK_CODE = paths("sensors/*.py") + paths("actions/*.py") + paths("actions/lib/poundcake/**/*.py")


@pytest.mark.parametrize("path", PACK_CODE)
def test_the_code_imports_only_what_is_there_after_an_install(path):
    """The standard library, StackStorm's own requirements, and requirements.txt."""
    with open(os.path.join(PACK, "requirements.txt"), encoding="utf-8") as handle:
        required = set(re.findall(r"^([A-Za-z0-9_]+)", handle.read(), re.MULTILINE))
    required |= {"botocore"} if "boto3" in required else set()  # boto3 itself is built on it
    allowed = set(standard_library()) | STACKSTORMS_OWN | required | {"poundcake"}
    assert set(imported(path)) <= allowed


@pytest.mark.parametrize("path", PACK_CODE)
def test_the_code_is_python_3_8(path):
    """StackStorm runs on 3.8 to 3.11."""
    with open(os.path.join(PACK, path), encoding="utf-8") as handle:
        ast.parse(handle.read(), path, feature_version=(3, 8))


@pytest.mark.parametrize("path", PACK_CODE)
def test_the_pack_does_not_know_the_embedded_engine(path):
    """It is a guest in this repository."""
    assert "tests" not in set(imported(path))
