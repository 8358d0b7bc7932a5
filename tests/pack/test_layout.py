"""The tests' own house: shared code stands in tests/support, and folders decide what runs where."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.fakes import PACK
from tests.support.sources import nodes_of

TESTS = Path(PACK, "tests")
FILES = sorted(str(path.relative_to(TESTS)) for path in TESTS.rglob("*.py"))


def modules_of(path):
    """Yield the dotted names that a file imports."""
    for node in nodes_of(str(TESTS / path), ast.Import, ast.ImportFrom):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield "%s.%s" % (node.module, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name


@pytest.mark.parametrize("path", FILES)
def test_nothing_imports_from_a_test_module(path):
    """A helper that two tests need stands in tests/support."""
    parts = [name.split(".") for name in modules_of(path) if name.startswith("tests.")]
    assert not [name for name in parts if any(part.startswith("test_") for part in name)]


UNIT = [path for path in FILES if path.startswith(("unit/", "model/"))]
SERVERS = ("tests.demo", "tests.engine.testing", "tests.support.world", "subprocess", "socket")


@pytest.mark.parametrize("path", UNIT)
def test_a_unit_test_starts_no_process_and_opens_no_socket(path):
    """`make test-unit` needs nothing but Python packages."""
    used = {name for name in modules_of(path) for server in SERVERS if name.startswith(server)}
    assert not used


LIBRARY = Path(PACK, "actions", "lib", "poundcake")


@pytest.mark.parametrize(
    "path", sorted(LIBRARY.rglob("*.py")), ids=lambda path: str(path.relative_to(LIBRARY))
)
def test_modules_and_functions_stay_short(path):
    """Under 500 lines a module and 50 a function."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 500
    for node in nodes_of(str(path), ast.FunctionDef):
        assert node.end_lineno - node.lineno + 1 < 50, node.name


def test_make_help_lists_every_target():
    """And what tests says at its start how long it usually takes."""
    makefile = Path(PACK, "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE)
    told = re.findall(r'^\t@echo "make ([a-z-]+) ', makefile, re.MULTILINE)
    assert sorted(set(told)) == sorted(set(targets) - {"help"})
    for target in ("test-unit", "test", "soak", "lint"):
        assert f'@echo "make {target} usually takes' in makefile
