"""The project's files as several tests read them: syntax trees and YAML."""

import ast
import functools
from pathlib import Path

import yaml

# The one in C where there is one: ten times as fast.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_yaml(text):
    """Return what a YAML text says."""
    return yaml.load(text, LOADER)


@functools.cache
def tree_of(path):
    """Return the syntax tree of a Python file, parsed once in a process."""
    return ast.parse(Path(path).read_text(encoding="utf-8"), str(path))


@functools.cache
def nodes_of(path, *kinds):
    """Return the nodes of these kinds, anywhere in a Python file."""
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, kinds)]
