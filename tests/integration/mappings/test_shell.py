"""Templates in shell commands, against real shells."""

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from poundcake.mappings import shell as mapping_commands
from poundcake.mappings.shell import CommandError

from tests.support.fakes import PROPERTY

SHELLS = [shell for shell in ("bash", "dash") if shutil.which(shell)]
GOOD = [
    "printf '[%s]' looking at node {{labels.x}}, let us watch",
    "printf '[%s]' {{labels.x}}",
    'printf "[%s]" "{{labels.x}}"',
    'printf "[%s]" "a {{labels.x}} b"',
    "printf '[%s]' a{{labels.x}}b",
    "true; printf '[%s]' -- {{labels.x}} | cat",
    "env -u HOME printf '[%s]' {{labels.x}}",
    'V={{labels.x}}; printf "[%s]" "$V"',
    "if true; then printf '[%s]' {{labels.x}}; fi",
    "(printf '[%s]' {{labels.x}})",
    "printf '[%s]' $(printf %s {{labels.x}} | wc -c)",
    "printf '[%s]' \"it's\" {{labels.x}}",
    "sh /dev/null {{labels.x}}",
]
BAD = [
    "{{labels.x}}",
    "sudo {{labels.x}} start",
    "sudo -u root {{labels.x}}",
    "sudo -n -- {{labels.x}}",
    "timeout 5 {{labels.x}}",
    "true; {{labels.x}}",
    "true | /opt/{{labels.x}}.sh",
    "A=b {{labels.x}}",
    "if {{labels.x}}; then true; fi",
    ". {{labels.x}}",
    "eval echo {{labels.x}}",
    'sh -c "echo {{labels.x}}"',
    "sudo bash -ec 'echo' {{labels.x}}",
    "echo {{labels.x}} | sh",
    "echo {{labels.x}} | sudo bash -s",
    'ssh host "systemctl restart {{labels.x}}"',
    'psql -c "select {{labels.x}}"',
    "echo `echo {{labels.x}}`",
    "echo $(( {{labels.x}} + 1 ))",
    "[[ {{labels.x}} -gt 5 ]] && true",
    "[ -v {{labels.x}} ]",
    "cat <<E\n{{labels.x}}\nE",
    "echo '{{labels.x}}'",
    'echo "$(echo {{labels.x}})"',
    "echo \\{{labels.x}}",
    "echo ${{labels.x}}",
    "echo $POUNDCAKE_X {{labels.x}}",
    "sed s/a/{{labels.x}}/ file",
    "echo {{labels.x}} | at now",
    "sudo -u root su -c {{labels.x}}",
    "true; watch {{labels.x}}",
    "if node -e {{labels.x}}; then true; fi",
    "find . -exec node {{labels.x}} ;",
]
VALUES = st.one_of(
    st.sampled_from(
        ["$(touch mark)", "`touch mark`", '";touch mark;"', "';touch mark;'", "-n", "*"]
    ),
    st.sampled_from(
        ["x; touch mark", "x\ntouch mark", "${HOME}", "\\", "a[$(touch mark)]", "~", ""]
    ),
    st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=12),
)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("command", GOOD)
def test_a_value_is_what_a_command_gets_and_nothing_else(command, shell, tmp_path):
    """Any value gives the same result as a harmless one."""

    @settings(PROPERTY, max_examples=30)
    @given(VALUES)
    def check(value):
        written, variables = mapping_commands.translate(command)
        assert list(variables.values()) == ["labels.x"]
        env = {"PATH": "/usr/bin:/bin", "HOME": "/root"}
        env.update(dict.fromkeys(variables, value))
        done = subprocess.run(
            [shell, "-c", written], env=env, cwd=tmp_path, capture_output=True, timeout=60
        )
        harmless = dict(env, **dict.fromkeys(variables, "VALUE"))
        wanted = subprocess.run(
            [shell, "-c", written], env=harmless, cwd=tmp_path, capture_output=True, timeout=60
        )
        if "wc -c" not in command:
            assert done.stdout == wanted.stdout.replace(b"VALUE", value.encode())
        assert (done.returncode, done.stderr) == (wanted.returncode, wanted.stderr)
        assert not list(tmp_path.iterdir()), "something was run"

    check()


@pytest.mark.parametrize("command", BAD)
def test_where_a_shell_takes_more_than_data_a_template_is_refused(command):
    """The error says what to write instead."""
    with pytest.raises(CommandError) as caught:
        mapping_commands.translate(command)
    assert len(str(caught.value)) > 30


@pytest.mark.parametrize("command", [text.replace("{{labels.x}}", "5") for text in BAD])
def test_a_command_without_templates_is_left_alone(command):
    """The author of the mapping may write any command."""
    assert mapping_commands.translate(command) == (command, {})


@pytest.mark.parametrize("command", GOOD)
def test_a_command_comes_back(command):
    """Unchanged, except for quotes around a template."""
    written, variables = mapping_commands.translate(command)
    env = {name: "{{%s}}" % template for name, template in variables.items()}
    restored, left = mapping_commands.restore(written, dict(env, OTHER="x"))
    assert left == {"OTHER": "x"}
    assert restored.replace('"', "") == command.replace('"', "")
    assert mapping_commands.translate(restored) == (written, variables)


def test_two_templates_never_share_a_variable():
    """Names that differ only in punctuation."""
    written, variables = mapping_commands.translate(
        "echo {{labels.a-b}} {{labels.a.b}} {{labels.a-b}}"
    )
    assert sorted(variables.values()) == ["labels.a-b", "labels.a.b"]
    assert written.count("${") == 3
