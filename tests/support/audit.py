"""Looks for known faults in the oldest versions that requirements.txt allows, with pip-audit.

``python -m tests.support.audit`` is part of ``make lint``. Where the database of faults cannot be
reached, it says so and succeeds.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[2]
DATABASE = "https://pypi.org/pypi/pip/json"
_LINE = re.compile(r"([\w.-]+)(?:==|>=)([\w.]+)[^;]*(;.*)?\Z")
# Versions with known faults that cannot be avoided; SECURITY.md says what guards against them.
ACCEPTED = {("waitress", "3.0.0")}


def floors(requirements):
    """Return the oldest version that each line of a requirements file allows, as ``name==version``.

    :raises ValueError: for a line that allows any version.
    """
    lines = [line.partition("#")[0].strip() for line in requirements.splitlines()]
    found = []
    for line in filter(None, lines):
        match = _LINE.match(line)
        if not match:
            raise ValueError(f"{line}: expected the oldest version, as in name>=1.2")
        found.append((match.group(1), match.group(2)))
    return [f"{name}=={version}" for name, version in found if (name, version) not in ACCEPTED]


def main():
    """Return the exit status: 0 when nothing is known, or nothing can be asked."""
    pinned = floors((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    try:
        requests.head(DATABASE, timeout=3).raise_for_status()
    except requests.RequestException:
        print("pip-audit: skipped, because pypi.org cannot be reached")
        return 0
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(pinned))
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "-r", file.name]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
