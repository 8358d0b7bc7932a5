"""What the documentation says works: its commands, its chat commands and its files are tried.

Every command of a fenced block runs as it stands against the embedded engine. Only addresses, paths
and placeholders (``<fingerprint>``) are replaced. A command that cannot run here is listed with the
reason; one that is neither run nor listed fails.
"""

import contextlib
import functools
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import yaml

if os.environ.get("ST2_API_URL"):
    pytest.skip("pauses and maintenance hold everything", allow_module_level=True)

from poundcake.core.alert import STATES
from poundcake.core.decisions import DECISIONS
from poundcake.sensor.log import EVENTS

from tests.demo import servers
from tests.engine import aliases
from tests.support.alerts import alert, notification
from tests.support.world import ROOT, open_world, unique

PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGES.md"]
PAGES += sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))
EXAMPLE = ROOT / "examples" / "my_pack"
PROGRAMS = (
    "st2 ",
    "curl ",
    "sudo ",
    "make",
    "cp ",
    "git ",
    ". ",
    "export ",
    "cd ",
    "promtool ",
    "amtool ",
    "kubectl ",
)
MAPPINGS = """
alerts:
  DocsMapped:
    handler: yaml_config
    actions:
      - name: look
        action: core.local
        parameters: {cmd: uptime}
"""
# What is not run here, and why.
UNINSTALL = r"st2 (key delete|sensor disable|run poundcake\.remove_rows)"
NOT_RUN = {
    UNINSTALL: "test_uninstalling_leaves_no_key runs it in a StackStorm of its own",
    r"st2 policy delete poundcake\.": "the policies of an older version are not installed here",
    r"st2 pack remove ": "the embedded engine does not remove packs",
    r"make demo": "tests/e2e/test_demo.py runs it",
    r"make test-unit": "it runs all tests of pure Python, which .ci/run does before this",
    r"sudo ": "there is no StackStorm installation to reload, restart or read the log of",
    r"st2 pack install https://": "installs from a place of the reader's own",
    r"kubectl ": "there is no Kubernetes here",
    r"st2 run poundcake\.(\w+_prometheus_rules?|\w+_rule_\w+|check_remediation_coverage)": (
        "needs Prometheus, Kubernetes or git: test_alert_rules.py and test_rules.py run them"
    ),
    r"\. \.engine/env": "its effect is the environment in which all commands run here",
}
# Of st2 alone, with words in which a shell finds nothing but quotes: they need no shell.
PLAIN = re.compile(r"""st2( +([^\s'"\\$`&|;<>()*?~#{}\[\]!]|'[^']*'|"[^"$`\\!]*")+)+""")
SILENCES = r"poundcake\.(create|list|expire)_silence"


class Block:
    """A fenced block: the page, the line on which it begins, its language and its lines."""

    def __init__(self, page, line, language, lines):
        self.page, self.line, self.language, self.lines = page, line, language, lines

    @property
    def text(self):
        return "\n".join(self.lines) + "\n"

    def __repr__(self):
        return f"{self.page}:{self.line}"


def blocks(page):
    """Return the fenced blocks of a page."""
    complete, block = [], None
    for number, line in enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1):
        fence = re.match(r"\s*```(\w*)", line)
        if fence and block is None:
            block = Block(page, number, fence.group(1), [])
        elif fence:
            complete.append(block)
            block = None
        elif block:
            block.lines.append(line)
    assert block is None, f"{page}: a block does not end"
    return complete


def commands(block):
    """Return the commands of a block, one a line; an untagged block may show something else."""
    if block.language not in ("", "sh", "bash"):
        return []
    lines = [line for line in block.lines if line.strip() and not line.startswith("#")]
    known = [line for line in lines if line.startswith(PROGRAMS)]
    if block.language:
        assert known == lines, f"{block}: add the program of {lines} to PROGRAMS"
    return known


BLOCKS = [block for page in PAGES for block in blocks(page)]
# Each command once, with the first page that has it.
COMMANDS = {
    line.split("  #")[0].rstrip(): block.page
    for block in reversed(BLOCKS)
    for line in reversed(commands(block))
}
COMMANDS = [(COMMANDS[line], line) for line in reversed(COMMANDS)]


def documents(language):
    return [block for block in BLOCKS if block.language == language]


# --- the world in which they run ------------------------------------------------------------------


def made_repository(folder):
    """Copy the example pack to a folder and commit it, as the guide does; returns the folder."""
    if not folder.exists():
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-c", "user.name=docs", "-c", "user.email=docs@example.com", "-C", str(folder)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "--allow-empty", "-m", "docs"]):
        subprocess.run(git + words, check=True)
    return folder


@pytest.fixture(scope="module")
def my_pack(tmp_path_factory):
    """The pack that the documentation writes, as a git repository."""
    return made_repository(tmp_path_factory.mktemp("docs") / "my_pack")


@pytest.fixture(scope="module")
def world(tmp_path_factory, my_pack):
    """The embedded engine with both packs, and a real Alertmanager where there is one."""
    folder = tmp_path_factory.mktemp("docs_world")
    if servers.missing():
        config, stack = {}, None
    else:
        stack = servers.Alertmanager(folder / "alertmanager", [])
        stack.__enter__()
        config = {"alertmanager_url": stack.url}
    try:
        with open_world(folder, **config) as engine_world:
            engine_world.st2("pack", "install", f"file://{my_pack}")
            engine_world.folder = folder
            engine_world.has_alertmanager = stack is not None
            engine_world.wait(
                lambda: engine_world.run("check_health")[0] == "succeeded", "it to be healthy"
            )
            yield engine_world
    finally:
        if stack:
            stack.__exit__(None, None, None)


def execution(world, action, status, **parameters):
    """Start an execution and return its id when it has reached a status."""
    body = {"action": action, "parameters": parameters}
    identity = world.api("POST", "/executions", json=body)["id"]
    world.wait(lambda: world.execution(identity)["status"] == status, f"{action} to be {status}")
    return identity


@functools.lru_cache
def alert_without_rule(world, number=0):
    """Return ``(request_id, fingerprint)`` of a firing alert that no rule takes."""
    request_id = world.accept(alert(alertname=unique("Docs")))
    return request_id, world.completed(request_id)["alerts"][0]["fingerprint"]


@functools.lru_cache
def alert_that_failed(world):
    """Return the fingerprint of an alert whose remediation failed."""
    name = unique("Docs")
    with world.rule(name, "core.local", {"cmd": "exit 1"}):
        return world.completed(world.accept(alert(alertname=name)))["alerts"][0]["fingerprint"]


def alert_that_asks(world):
    """Return the fingerprint of an alert whose remediation waits for an answer."""
    name = unique("Docs")
    parameters = {"service": "docs", "check_command": "false", "approval": True}
    with world.rule(name, "poundcake.service_down", parameters):
        request_id = world.accept(alert(alertname=name))
        world.wait(
            lambda: (
                [a["state"] for a in world.status(request_id)["alerts"]] == ["awaiting_approval"]
            ),
            "the question",
        )
    fingerprint = world.status(request_id)["alerts"][0]["fingerprint"]
    world.tracked(fingerprint, "awaiting_approval")
    return fingerprint


@functools.lru_cache
def lock_alert(world):
    """Return the row of the alert that the docs fire, once it is remediated."""
    labels = {"alertname": "ImportLockStale", "severity": "warning", "import_name": "nightly"}
    entry = dict(alert(alertname="x"), labels=labels, startsAt="2026-01-31T12:00:00Z")
    status, answer = world.post(notification(entry))
    assert status == 202, answer
    world.completed(answer["request_id"])
    alerts = world.ask("list_alerts", alertname="ImportLockStale")["alerts"]
    return world.ask("get_alert", fingerprint=alerts[0]["fingerprint"])


def lock_execution(world):
    """Return the id of the execution that cleared the lock."""
    (item,) = lock_alert(world)["attempts"][0]["executions"]
    return item["execution_id"]


def something_set_aside(world):
    """Set a notification aside, as the sensor does, and return its id."""
    moment = "2026-11-21T08:20:00Z"
    entry = {"request_id": "docs", "received_at": moment, "source": "listener"}
    entry["notification"] = notification(alert(alertname=unique("Docs")))
    row = {"id": unique("inbox-"), "kind": "inbox", "key": "poundcake.inbox.docs", "at": moment}
    row.update(reason="docs", fingerprint="", alertname="", request_id="docs", told=True)
    row["content"] = json.dumps(entry)
    name = "poundcake.aside." + row["id"]
    body = {"name": name, "value": json.dumps(row), "scope": "system"}
    world.api("PUT", "/keys/" + name, json=body)
    return row["id"]


PLACEHOLDERS = {
    "<fingerprint>": lambda world: alert_without_rule(world)[1],
    "<fingerprint_with_executions>": alert_that_failed,
    "<request_id>": lambda world: alert_without_rule(world)[0],
    "<maintenance_id>": lambda world: world.ask(
        "start_maintenance", matchers="cluster=docs", duration="5m", reason="docs"
    )["id"],
    "<silence_id>": lambda world: world.ask(
        "create_silence", matchers="cluster=docs", duration="5m", reason="docs"
    )["id"],
    "<asking_fingerprint>": lambda world: alert_that_asks(world),
    "<execution_id>": lambda world: execution(world, "core.local", "running", cmd="sleep 20"),
    "<lock_fingerprint>": lambda world: lock_alert(world)["fingerprint"],
    "<lock_execution_id>": lock_execution,
}
# What <id> stands for, by the command that takes it.
IDENTITIES = {
    r"end_maintenance id=<id>": PLACEHOLDERS["<maintenance_id>"],
    r"expire_silence id=<id>": PLACEHOLDERS["<silence_id>"],
    r"_set_aside id=<id>": something_set_aside,
    r"request_id=<id>": PLACEHOLDERS["<request_id>"],
    r"result\.yaml <id>": lambda world: execution(world, "poundcake.export_mappings", "succeeded"),
}


# What must be done before a command.
BEFORE = {
    r"resume$|resume +#": lambda world: world.ask("pause", reason="docs"),
    r"resume alertname=HighCpu": lambda world: world.ask(
        "pause", alertname="HighCpu", reason="docs"
    ),
    r"list_executions status=failed": alert_that_failed,
    r"alertname=ImportLockStale": lock_alert,
    r"git (init|-C).* my_pack|file://\$PWD/my_pack": lambda world: made_repository(
        world.folder / "my_pack"
    ),
}


def places(world, my_pack):
    """Return what replaces the addresses and paths of a reader."""
    mappings, locks = world.folder / "mappings", world.folder / "locks"
    for folder in (mappings, locks):
        folder.mkdir(exist_ok=True)
    (mappings / "docs.yaml").write_text(MAPPINGS, encoding="utf-8")
    (locks / "nightly.lock").write_text("999999999")
    return {
        "http://127.0.0.1:8090": world.listener_url,
        "/etc/poundcake/mappings": str(mappings),
        "/tmp/poundcake-docs": str(locks),
        "file:///path/to/my_pack": f"file://{my_pack}",
        "make help": f"make -C {ROOT} help",
        "cp -r examples/my_pack": f"cp -rT {EXAMPLE}",
        " commit -qm": " commit --allow-empty -qm",
    }


def matching(patterns, line):
    """Return the values of the patterns that a command matches."""
    return [value for pattern, value in patterns.items() if re.search(pattern, line)]


def filled(world, my_pack, line):
    """Return a command with the values that a reader would put in."""
    for own, here in places(world, my_pack).items():
        line = line.replace(own, here)
    for identity in matching(IDENTITIES, line):
        line = line.replace("<id>", identity(world))
    if re.search("(retry|acknowledge|dismiss)_alert", line):
        line = line.replace("<fingerprint>", alert_without_rule(world, line)[1])
    for placeholder, made in PLACEHOLDERS.items():
        if placeholder in line:
            line = line.replace(placeholder, made(world))
    return re.sub(r"\bcurl\b", "curl --silent --show-error --fail-with-body", line)


def as_typed(world, command):
    """Run a command line as a shell does; return the CompletedProcess."""
    if PLAIN.fullmatch(command):
        with contextlib.chdir(world.folder):
            return world.st2_process(*shlex.split(command)[1:])
    path = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
    return subprocess.run(
        ["bash", "-c", command],
        env=dict(world._environment, PATH=path),
        cwd=world.folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def controls(world):
    """Nothing is paused or in maintenance afterwards."""
    yield
    for key in world.api("GET", "/keys", params={"prefix": "poundcake.control."}):
        world.api("DELETE", "/keys/" + key["name"])


# --- the tests ------------------------------------------------------------------------------------


@pytest.mark.parametrize("page, line", COMMANDS, ids=lambda text: text[:90])
def test_a_command_does_what_it_says(world, my_pack, controls, page, line):
    """It exits with 0, and what it runs in StackStorm succeeds."""
    reasons = [reason for pattern, reason in NOT_RUN.items() if re.match(pattern, line)]
    if reasons:
        pytest.skip(reasons[0])
    if re.search(SILENCES, line) and not world.has_alertmanager:
        pytest.skip("bash tests/demo/install_servers installs Alertmanager")
    for prepare in matching(BEFORE, line):
        prepare(world)
    command = filled(world, my_pack, line)
    assert not re.search(r"<\w+>", command), f"add this to PLACEHOLDERS: {command}"
    done = as_typed(world, command)
    stdout = re.sub("\x1b\\[[0-9;]*m", "", done.stdout)  # st2 colors its output
    output = f"{command}\n{stdout}{done.stderr}"
    assert done.returncode == 0, output
    assert stdout.count("status: succeeded") >= command.count("st2 run "), output


@pytest.mark.parametrize("pattern", sorted(NOT_RUN))
def test_what_is_not_run_is_there(pattern):
    """A reason that applies to no command is removed from the list."""
    assert any(re.match(pattern, line) for _, line in COMMANDS)


def test_uninstalling_leaves_no_key(tmp_path):
    """The commands of the README, in their order, empty the datastore."""
    lines = [line for page, line in COMMANDS if page == "README.md" and re.match(UNINSTALL, line)]
    assert [line.split()[1] for line in lines] == ["sensor", "run", "key"]
    with open_world(tmp_path) as world:
        world.st2("key", "set", "poundcake_token", "x")
        world.completed(world.accept(alert(alertname=unique("Docs"))))
        assert world.api("GET", "/keys", params={"prefix": "poundcake."})
        for line in lines:
            world.st2(*line.split()[1:])
            if "sensor" in line:
                world.wait(lambda: not listens(world.listener_url), "the sensor to end")
        assert world.api("GET", "/keys", params={"prefix": "poundcake"}) == []


def listens(url):
    """Return whether the listener answers."""
    try:
        return requests.get(url + "/health", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


@pytest.mark.parametrize("block", documents("chat"), ids=repr)
def test_a_chat_command_is_one(block):
    """It belongs to exactly one alias of the pack."""
    definitions = [
        yaml.safe_load(path.read_text(encoding="utf-8")) for path in ROOT.glob("aliases/*.yaml")
    ]
    for line in block.lines:
        aliases.find(definitions, line)


@pytest.mark.parametrize("block", documents("yaml"), ids=repr)
def test_yaml_can_be_read(block):
    """It is valid YAML, because someone will paste it."""
    assert yaml.safe_load(block.text)


def test_the_test_of_the_documentation_passes(my_pack):
    """It passes as it stands, in a clone with its virtual environment."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(my_pack / "tests")],
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_guide_shows_the_files_of_the_example():
    """Every file of examples/my_pack stands in the guide, word for word, and no other does."""
    shown = {}
    for block in BLOCKS:
        name = re.match(r"# my_pack/(\S+)$", block.lines[0] if block.lines else "")
        if name:
            shown[name.group(1)] = block.text
    files = {
        str(path.relative_to(EXAMPLE)): path.read_text(encoding="utf-8")
        for path in EXAMPLE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shown == files


def test_the_path_of_a_notification_is_as_the_architecture_lists_it():
    """At most 30 functions that exist, and no file is returned to."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    hops = re.findall(r"^\| (\d+) \| `(\S+)` \| `(\w+)` \|", text, re.MULTILINE)
    assert [int(number) for number, _, _ in hops] == list(range(1, len(hops) + 1))
    assert 20 <= len(hops) <= 30
    files = [file for file, _ in itertools.groupby(file for _, file, _ in hops)]
    assert len(files) == len(set(files)), "a file is returned to"
    for _, file, function in hops:
        path = ROOT / ("" if file.startswith("actions/") else "actions/lib/poundcake") / file
        source = path.read_text(encoding="utf-8")
        assert re.search(rf"^\s*def {function}\(", source, re.MULTILINE), (file, function)


def test_the_log_is_as_the_guide_shows_it(world):
    """The fields of a dispatch, on one line of the sensor's log."""
    text = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r'{"event": "dispatched".*}', text)
    _, fingerprint = alert_without_rule(world)
    log = (world.folder / "state" / "engine.log").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in re.findall(r'{"event": .*}$', log, re.MULTILINE)]
    (dispatched,) = [
        line
        for line in lines
        if line["event"] == "dispatched" and line["fingerprint"] == fingerprint
    ]
    assert list(dispatched) == list(json.loads(shown))
    assert {"listening", "loaded", "accepted", "decided"} <= {line["event"] for line in lines}


def test_links_lead_somewhere():
    """Links within the repository name a file and a heading that exist."""
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for target, heading in re.findall(r"\]\((?!\w+://)([^)#\s]*)(?:#([\w-]*))?\)", text):
            path = (ROOT / page).parent / target if target else ROOT / page
            assert path.exists(), f"{page}: {target}"
            if heading:
                titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
                known = [re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles]
                assert heading in known, f"{page}: {target}#{heading}"


@pytest.mark.parametrize(
    "words",
    [
        list(yaml.safe_load((ROOT / "config.schema.yaml").read_text(encoding="utf-8"))),
        list(STATES),
        list(DECISIONS),
        list(EVENTS),
    ],
    ids=["settings", "states", "decisions", "events"],
)
def test_the_operating_guide_knows_every_word(words):
    """A setting, state, decision or event that an operator meets is explained there."""
    text = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    # Of a secret it explains the key, which is the way to give it.
    explained = {word for word in words if f"`{word}`" in text or f"`{word}_key`" in text}
    assert [word for word in words if word not in explained] == []
