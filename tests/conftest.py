"""Paths for the tests, and the StackStorm that the end-to-end tests speak to.

Where StackStorm is installed (``st2-run-pack-tests``), the unit tests run against its own
``st2tests``; the embedded engine and its stand-ins are left out there, and the end-to-end tests
run only when ``ST2_API_URL`` says against which StackStorm.
"""

import importlib.util
import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STACKSTORM_INSTALLED = importlib.util.find_spec("st2common") is not None
REAL_API = os.environ.get("ST2_API_URL")

for folder in ("", "actions", "actions/lib", "sensors"):
    sys.path.insert(0, str(ROOT / folder))
if not STACKSTORM_INSTALLED:
    sys.path.append(str(ROOT / "tests/engine/standins"))

collect_ignore = []
if STACKSTORM_INSTALLED:
    collect_ignore += ["engine", "demo", "bench"]
    collect_ignore += [p.name for p in ROOT.glob("tests/test_engine*.py")]
    collect_ignore += ["test_conformance.py", "test_demo_tools.py"]
    if not REAL_API:
        collect_ignore += [p.name for p in ROOT.glob("tests/test_e2e*.py")]


def free_port():
    """A TCP port of 127.0.0.1 on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def copy_pack(target):
    """Copy the pack as ``st2 pack install`` does, so that tests may save workflows into it."""
    names = ("actions", "aliases", "policies", "rules", "sensors", "workflows")
    target.mkdir(parents=True)
    for name in names:
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, target / name, symlinks=True)
    for path in list(ROOT.glob("*.yaml")) + list(ROOT.glob("*.txt")):
        shutil.copy(path, target / path.name)
    return target


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """The StackStorm at hand: a real one through ``ST2_API_URL``, else the embedded engine."""
    from tests.world import World

    if REAL_API:
        listener = os.environ.get("LISTENER_URL", "http://127.0.0.1:8090")
        yield World(REAL_API, os.environ["ST2_API_KEY"], listener, dict(os.environ))
        return
    from tests.engine import testing

    folder = tmp_path_factory.mktemp("engine")
    pack = copy_pack(folder / "packs" / "poundcake")
    port = free_port()
    engine = testing.start(folder / "state", [pack], {"poundcake": {"port": port}})
    try:
        found = World(
            engine.api_url, engine.api_key, "http://127.0.0.1:%d" % port, engine.env, pack
        )
        found.wait(lambda: _answers(found.listener_url), "the listener")
        yield found
    finally:
        engine.stop()


def _answers(url):
    import requests

    try:
        return requests.get(url + "/ready", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False
