"""Paths for the tests, and the StackStorm that the end-to-end tests speak to.

Where StackStorm is installed (``st2-run-pack-tests``), the unit tests run against its own
``st2tests``; the embedded engine and its stand-ins are left out there, and the end-to-end tests
run only when ``ST2_API_URL`` says against which StackStorm.
"""

import contextlib
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
for folder in ("", "actions", "actions/lib", "sensors"):
    sys.path.insert(0, str(ROOT / folder))

# Before the stand-ins are on the path: it looks for StackStorm itself.
from tests.support.environment import REAL_API, STACKSTORM_INSTALLED  # noqa: E402

if not STACKSTORM_INSTALLED:
    sys.path.append(str(ROOT / "tests/engine/standins"))

collect_ignore = []
if STACKSTORM_INSTALLED:
    # The folders decide. st2tests patches the threads of its process for eventlet, so a server in
    # the process of a test would never answer: what needs one is in integration/.
    collect_ignore += ["engine", "demo", "bench", "crash", "integration"]
    if not REAL_API:
        collect_ignore.append("e2e")


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """The StackStorm at hand: a real one through ``ST2_API_URL``, else the embedded engine."""
    from tests.support.world import open_world

    with open_world(tmp_path_factory.mktemp("world")) as found, found.hears():
        yield found


@pytest.fixture(scope="session")
def over_ssh(request, tmp_path_factory):
    """A World whose core.remote reaches a real SSH server, and the host to name there.

    With a real StackStorm that is ``SSH_HOST``, which must be the StackStorm node itself.
    """
    if REAL_API:
        if not os.environ.get("SSH_HOST"):
            pytest.skip("SSH_HOST names no SSH server that StackStorm's key opens")
        yield request.getfixturevalue("world"), os.environ["SSH_HOST"]
        return
    from tests.demo import servers
    from tests.support.world import World

    if servers.missing():
        pytest.skip("bash tests/demo/install_servers installs %s" % ", ".join(servers.missing()))
    folder = tmp_path_factory.mktemp("ssh")
    with contextlib.ExitStack() as stack:
        sshd = stack.enter_context(servers.Sshd(folder / "sshd"))
        engine = stack.enter_context(servers.Engine(folder / "engine", env=sshd.env))
        found = World(engine.api_url, engine.api_key, engine.listener_url, engine.env)
        yield found, sshd.address


@pytest.fixture(params=["local", "remote"])
def place(request):
    """Where a workflow works: the StackStorm node, or a host over SSH."""
    from tests.support.remediations import Place

    if request.param == "local":
        made = Place(request.getfixturevalue("world"), "")
    else:
        made = Place(*request.getfixturevalue("over_ssh"))
    yield made
    made.shell("rm -rf {folder}")
