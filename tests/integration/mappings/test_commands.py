"""Generated commands and hostile values in a jail: nothing happens but what the types allow.

The jail is an empty folder and a PATH of programs that only write down their arguments.
"""

import os
import shlex
import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from poundcake.errors import ExpectedError, MappingError
from poundcake.mappings import places, shell, values
from poundcake.mappings.model import Step
from poundcake.mappings.templates import Template
from poundcake.settings import from_config

from tests.support.fakes import PROPERTY
from tests.support.mapping_cases import ACTIONS
from tests.support.mapping_commands import GOOD, WAYS_OUT

SHELLS = [one for one in ("bash", "dash") if shutil.which(one)]
# It writes down its name, its arguments and its input, and passes the input on.
STUB = """\
#!/bin/sh
input=$(/bin/cat; printf x)  # $( ) drops the line breaks at the end
input=${input%x}
printf '%s\\0' "${0##*/}" "$@" "<$input" '' >> "$JAIL/log"
printf '%s' "$input"
"""
PROGRAMS = sorted(
    set("awk cat chmod cp curl cut df docker du env find getent git grep head kill kubectl".split())
    | set(
        "journalctl logger ls mv nc nice node perl pg_isready ping podman ps python3 rm sed".split()
    )
    | set("service sh bash sort ssh stat sudo su sync systemctl systemd-run tail tar tee".split())
    | set("timeout touch tr uniq uptime wc xargs x reboot nginx ionice nohup fix".split())
)
# Nothing else may see a value, neither as an argument nor as its input.
TAKES_DATA = set(
    "cat curl cut df docker du getent grep head journalctl kubectl logger ls nc nice pg_isready "
    "ping podman rm service sort stat sudo systemctl tail timeout tr uniq wc".split()
)
HOSTILE = st.one_of(
    st.sampled_from(
        [
            "$(touch m)",
            "`touch m`",
            '";touch m;"',
            "';touch m;'",
            "x; touch m",
            "x\ntouch m",
            "a|sh",
        ]
        + [
            "-n",
            "--help",
            "-rf",
            "*",
            "~",
            "",
            "\\",
            "${HOME}",
            "a[$(touch m)]",
            "%n",
            "@/etc/passwd",
        ]
        + [
            "../precious",
            "..",
            ".",
            "/",
            "a/../../precious",
            "nginx",
            "nginx.service",
            "ssh",
            "sshd",
        ]
        + ["reboot.target", "st2api", "a b", "web-01", "web-01:9100", "::1", "5", "0.5", "a,b"]
        + [
            "/var/cache/app",
            "/var/cache/../../etc",
            "/var/cache",
            "/var/cache/a/*",
            "/var/cachex/a",
        ]
    ),
    st.text("ab.-/ $`'\";|&<>\n\\*", max_size=6),
)
COMMANDS = [command for commands in GOOD.values() for command in commands]
SNIPPETS = st.one_of(
    st.sampled_from(COMMANDS),
    st.sampled_from([command for command, _ in WAYS_OUT]),
    st.sampled_from(["true", "df -h", "touch ok", "sh -c 'exit 0'", "echo {{labels.y}}"]),
    st.lists(
        st.sampled_from(
            ["echo", "sh", "-c", "{{labels.x}}", "'", '"', "$x", "$(", ")", "rm", "--"]
        ),
        min_size=1,
        max_size=6,
    ).map(" ".join),
)
LINES = st.lists(
    st.tuples(SNIPPETS, st.sampled_from([";", " && ", " || ", " | ", "\n", " "])),
    min_size=1,
    max_size=3,
).map(lambda parts: "".join(one + sign for one, sign in parts[:-1]) + parts[-1][0])


@pytest.fixture(scope="module")
def jail(tmp_path_factory):
    """Return a function that runs a command, and returns its output and what ran with what."""
    folder = tmp_path_factory.mktemp("jail")
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    for name in PROGRAMS:
        (bin_folder / name).write_text(STUB)
        (bin_folder / name).chmod(0o755)

    def run(program, command, env):
        home = folder / "home"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        (folder / "log").write_bytes(b"")
        env = dict(env, PATH=str(bin_folder), HOME=str(home), JAIL=str(folder))
        done = subprocess.run(
            [shutil.which(program), "-c", command.replace("/usr/bin/", f"{bin_folder}/")],
            env=env,
            cwd=home,
            capture_output=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        entries = (folder / "log").read_bytes().decode("utf-8", "surrogateescape").split("\0\0")
        calls = sorted(entry.split("\0") for entry in entries if entry)
        return done.stdout, calls, sorted(os.listdir(home))

    return run


def typed(command):
    step = Step("s", "core.local", parameters={"cmd": command})
    return places.typed(step, ACTIONS["core.local"])["cmd"]


def checked(variables, labels):
    """Return the environment of a command, or None when a value is not of its type."""
    given = {str(item.declaration): labels[item.name] for item in variables.values()}
    answer = values.check({"s": given}, from_config({}))
    if answer["problems"]["s"]:
        return None
    return {name: answer["values"]["s"][item.declaration] for name, item in variables.items()}


def harmless(variables):
    """Return an environment with values that no shell could take for anything else."""
    return {name: f"VALUE{number}VALUE" for number, name in enumerate(sorted(variables))}


def replaced(value, env, safe):
    for name, mark in safe.items():
        value = value.replace(mark, env[name])
    return value


@pytest.mark.parametrize("program", SHELLS)
def test_no_value_does_more_than_its_type_allows(program, jail):
    """What runs, with which arguments, is the same for every value but for the value itself."""
    ran = set()

    @settings(PROPERTY, max_examples=150)
    @given(LINES, HOSTILE, HOSTILE)
    def property_(command, x, y):
        try:
            written, variables = shell.translate(typed(command))
        except MappingError:
            return
        env = checked(variables, {"labels.x": x, "labels.y": y, "alertname": "A", "instance": "i"})
        if env is None:
            return
        ran.add(written)
        check_run(jail, program, written, variables, env)

    property_()
    assert len(ran) > 15, "too few of the generated commands ran"


@pytest.mark.parametrize("program", SHELLS)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_good_command_gets_the_value_and_nothing_else(program, command, jail):
    """For each value that its type allows."""
    written, variables = shell.translate(typed(command))

    @settings(PROPERTY, max_examples=6)
    @given(HOSTILE)
    @example("\n")
    def property_(value):
        env = checked(variables, {"labels.x": value})
        if env is not None:
            check_run(jail, program, written, variables, env)

    property_()


def check_run(jail, program, written, variables, env):
    safe = harmless(variables)
    wanted_output, wanted_calls, wanted_files = jail(program, written, safe)
    for call in wanted_calls:
        assert call[0] in TAKES_DATA or "VALUE" not in "".join(call), (written, call)
    output, calls, files = jail(program, written, env)
    assert files == wanted_files, (written, env)
    expected = sorted([replaced(part, env, safe) for part in call] for call in wanted_calls)
    # echo takes -n for an option, and that of dash reads backslashes.
    is_changed = any(value.startswith("-") or "\\" in value for value in env.values())
    if is_changed:
        calls = [[part for part in call if part[:1] != "<"] for call in calls]
        expected = [[part for part in call if part[:1] != "<"] for call in expected]
    assert sorted(calls) == sorted(expected), (written, env)
    if not is_changed:
        wanted = replaced(wanted_output.decode("utf-8", "surrogateescape"), env, safe)
        assert output.decode("utf-8", "surrogateescape") == wanted
    for call in calls:
        if call[0] == "rm":
            paths = [os.path.normpath(part) for part in call[1:] if part.startswith("/")]
            assert all(path.startswith("/var/cache/") for path in paths), (written, env)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_comes_back(command):
    """From its variables to templates with their types, except for quotes around a template."""
    written, variables = shell.translate(typed(command))
    env = {name: str(template) for name, template in variables.items()}
    restored, left = shell.restore(written, dict(env, OTHER="x"))
    assert left == {"OTHER": "x"}
    assert restored.replace('"', "").replace("'", "") == typed(command).replace('"', "").replace(
        "'", ""
    )
    assert shell.translate(restored) == (written, variables)


def test_two_templates_never_share_a_variable():
    """Names that differ only in punctuation, or in their types."""
    written, variables = shell.translate(
        "echo {{labels.a-b}} {{labels.a.b}} {{labels.a-b}} {{labels.a-b | name}}"
    )
    assert sorted(map(str, variables.values())) == sorted(
        map(str, [Template("labels.a-b"), Template("labels.a-b", "name"), Template("labels.a.b")])
    )
    assert written.count("${") == 4


@pytest.mark.parametrize("program", SHELLS)
@pytest.mark.parametrize(
    "command, shown",
    [
        ("printf '[%s]' {{parameters.x}}", "[{}]"),
        ("printf '[%s]' 'a {{parameters.x}} b'", "[a {} b]"),
        ("printf '[%s]' \"a {{parameters.x}} b\"", "[a {} b]"),
        ("for i in 1 2; do printf '[%s]' {{parameters.x}}; done", "[{0}][{0}]"),
        ("if [ {{parameters.x}} = {{parameters.x}} ]; then printf yes; fi", "yes"),
    ],
)
@pytest.mark.parametrize("value", ["90", "a b", "it's", '"', "$HOME", "*"])
def test_the_authors_values_keep_their_text_everywhere(program, command, shown, value):
    """In single quotes, in double quotes, in loops."""
    written, variables = shell.translate(command)
    env = dict.fromkeys(variables, value)
    done = subprocess.run([program, "-c", written], env=env, capture_output=True, timeout=60)
    assert done.stdout.decode() == shown.format(value), (written, shlex.quote(value))


def test_a_value_of_another_type_is_named():
    """With what was expected, before anything runs."""
    answer = values.check({"s": {"labels.x | unit": "reboot.target"}}, from_config({}))
    assert answer["problems"]["s"].startswith('labels.x: "reboot.target"')
    assert values.check({"s": {"labels.x | text": ""}}, from_config({}))["problems"]["s"]
    with pytest.raises(ExpectedError):
        values.check({"s": {"no.thing | unit": "a"}}, from_config({}))
