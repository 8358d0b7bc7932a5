"""The import rule of the library: what each package may import, with no exceptions."""

import ast
from pathlib import Path

import pytest

from tests.support.fakes import PACK
from tests.support.sources import nodes_of

LIBRARY = Path(PACK, "actions", "lib", "poundcake")
LEAVES = "leaves"
BELOW = {
    LEAVES: set(),
    "core": {LEAVES},
    "st2": {LEAVES, "core"},
    "upstream": {LEAVES},
    "sensor": {LEAVES, "core", "st2", "upstream"},
    "views": {LEAVES, "core", "st2", "upstream"},
    "operators": {LEAVES, "core", "st2", "upstream", "views"},
    "mappings": {LEAVES, "core", "st2", "upstream", "views"},
    "alert_rules": {LEAVES, "core", "st2", "upstream", "views"},
    "workloads": {LEAVES, "upstream"},
    "flight_recorder": {LEAVES},
}
MODULES = sorted(str(path.relative_to(LIBRARY)) for path in LIBRARY.rglob("*.py"))


def package_of(module):
    """Return the package of a dotted module name of the library, LEAVES for one of the top."""
    parts = module.split(".")[1:]
    return parts[0] if parts and (LIBRARY / parts[0]).is_dir() else LEAVES


def imports_of(path):
    """Return the library's modules that a file imports, anywhere in it."""
    found = set()
    for node in nodes_of(str(path), ast.Import, ast.ImportFrom):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "poundcake":
            for alias in node.names:
                inside = node.module + "." + alias.name
                found.add(inside if is_module(inside) else node.module)
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] == "poundcake"}
    return found


def is_module(name):
    path = LIBRARY.joinpath(*name.split(".")[1:])
    return path.is_dir() or path.with_suffix(".py").is_file()


def test_every_package_has_its_line_in_the_rule():
    """A new package cannot come without one."""
    folders = {path.name for path in LIBRARY.iterdir() if (path / "__init__.py").is_file()}
    assert folders | {LEAVES} == set(BELOW)
    assert len(MODULES) > 60


@pytest.mark.parametrize("path", MODULES)
def test_a_module_imports_only_what_lies_below_it(path):
    """Its own package, and the packages that the rule names."""
    own = path.split("/")[0] if "/" in path else LEAVES
    used = {package_of(name) for name in imports_of(LIBRARY / path)} - {own}
    assert used <= BELOW[own], "%s imports %s" % (path, sorted(used - BELOW[own]))


def test_there_is_no_import_circle():
    """Not between modules of one package either."""
    graph = {}
    for path in MODULES:
        name = "poundcake." + path[: -len(".py")].replace("/", ".").replace(".__init__", "")
        graph[name] = imports_of(LIBRARY / path)
    done = []

    def visit(name, above):
        assert name not in above, " -> ".join(above[above.index(name) :] + [name])
        if name not in done:
            for below in sorted(graph.get(name, ())):
                visit(below, above + [name])
            done.append(name)

    for name in graph:
        visit(name, [])


@pytest.mark.parametrize("folder", ["actions", "sensors"])
def test_only_the_sensor_imports_the_deciding_process(folder):
    """An action must never hold state of the sensor."""
    for path in Path(PACK, folder).glob("*.py"):
        used = {package_of(name) for name in imports_of(path)}
        assert folder == "sensors" or "sensor" not in used, path
