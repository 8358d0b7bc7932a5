"""The scripts that workflows send to hosts can be read, checked, and sent through StackStorm."""

import shutil
import subprocess

import pytest
from poundcake import host_commands

SCRIPTS = sorted(path.stem for path in host_commands.FOLDER.iterdir())


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_first_what_it_does_and_what_its_exit_codes_mean(name):
    """The comment does not travel to the host."""
    text = (host_commands.FOLDER / (name + ".sh")).read_text(encoding="utf-8")
    first, second = text.splitlines()[:2]
    assert first == "#!/bin/sh" and second.startswith("# ") and second != "# "
    assert "Exits 0" in text or name == "drop_caches"
    sent = host_commands.text_of(name)
    assert text.endswith(sent) and not sent.startswith("#")


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_expression_of_stackstorm_stands_in_a_script(name):
    """StackStorm evaluates the parameters of actions, and a script is one of them."""
    sent = host_commands.text_of(name)
    assert not [opener for opener in ("{{", "{%", "{#", "<%") if opener in sent]


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck")
def test_shellcheck_has_nothing_to_say():
    """All of them are POSIX shell."""
    paths = [str(host_commands.FOLDER / (name + ".sh")) for name in SCRIPTS]
    done = subprocess.run(["shellcheck", *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
