"""Reads YAML as plain JSON values with the line of each value, so that a mistake names its line."""

import math
from typing import Any, Dict, List, Optional, Set, Tuple, cast

import yaml

from poundcake import yaml_guard

Path = Tuple[Any, ...]
Problem = Tuple[int, str]


def load(content: str) -> Tuple[Any, Dict[Path, int], List[Problem]]:
    """Return ``(value, lines, problems)`` of a YAML document.

    :returns: value: dicts with string keys, lists, strings, numbers, booleans and None.
        lines: ``{path: line}``, where a path is a tuple of keys and indexes. The line is that of
        the key, counted from 1.
        problems: ``(line, message)`` for everything that is not such a value.
    """
    try:
        loader = yaml.SafeLoader(content)
        node = loader.get_single_node()
        yaml_guard.check(node)
    except yaml_guard.UnsafeYaml as error:
        return None, {}, [(error.line, f"this YAML cannot be used: {error}")]
    except RecursionError:
        return None, {}, [(1, "this YAML cannot be used: nested too deeply")]
    except yaml.YAMLError as error:
        return None, {}, [_syntax_problem(error)]
    reader = _Reader(loader)
    try:
        value = None if node is None else reader.value(node, ())
    except yaml.YAMLError as error:
        return None, reader.lines, [*reader.problems, _syntax_problem(error)]
    return value, reader.lines, reader.problems


def _syntax_problem(error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or str(error).splitlines()[0]
    return mark.line + 1 if mark else 1, f"this is not valid YAML: {reason}"


class _Reader:
    """Turns composed nodes into values, and notes lines and problems."""

    def __init__(self, loader: yaml.SafeLoader):
        self.lines: Dict[Path, int] = {}
        self.problems: List[Problem] = []
        self._loader = loader
        self._merged: Set[int] = set()

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, path + (index,)) for index, item in enumerate(node.value)]
        return self._mapping(cast(yaml.MappingNode, node), path)

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        try:
            value = self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError):
            self._problem(node, "this value cannot be read; write it in quotes")
            return None
        infinite = isinstance(value, float) and not math.isfinite(value)
        if infinite or not isinstance(value, (str, int, float, type(None))):
            self._problem(node, f"YAML does not read {node.value} as a string; write it in quotes")
            return None
        return value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> Dict[str, Any]:
        if id(node) not in self._merged:
            self._merged.add(id(node))
            self._find_duplicates(node)
            self._loader.flatten_mapping(node)
        mapping = {}
        for key_node, item in node.value:
            key = self._key(key_node)
            if key is not None:
                mapping[key] = self.value(item, path + (key,))
                self.lines[path + (key,)] = key_node.start_mark.line + 1
        return mapping

    def _key(self, node: yaml.Node) -> Optional[str]:
        key = self._scalar(node) if isinstance(node, yaml.ScalarNode) else None
        if not isinstance(key, str):
            self._problem(node, "a key must be a string; write it in quotes")
            return None
        return key

    def _find_duplicates(self, node: yaml.MappingNode) -> None:
        first_lines: Dict[str, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            name = key_node.value
            if name in first_lines:
                first = first_lines[name]
                self._problem(
                    key_node, f'duplicate key "{name}", first used in line {first}; keep one'
                )
            else:
                first_lines[name] = key_node.start_mark.line + 1

    def _problem(self, node: yaml.Node, message: str) -> None:
        self.problems.append((node.start_mark.line + 1, message))
