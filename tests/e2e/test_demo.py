"""make demo, as a newcomer runs it."""

import subprocess
import sys

import pytest

from tests.demo import servers
from tests.support.world import ROOT


@pytest.mark.skipif(
    bool(servers.missing()), reason="bash tests/demo/install_servers demo installs its servers"
)
def test_the_demo_passes():
    """The service is killed, and the alert goes its whole way to resolved."""
    command = [sys.executable, "-m", "tests.demo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    for phase in ("evidence", "remediation", "verification"):
        assert "task %s: " % phase in done.stdout
    assert "The demo passed." in done.stdout
