"""Paths for the tests: the pack's modules, and stand-ins where StackStorm is not installed."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

for folder in ("actions", "actions/lib", "sensors"):
    sys.path.insert(0, str(ROOT / folder))
if importlib.util.find_spec("st2common") is None:
    sys.path.append(str(ROOT / "tests/engine/standins"))
