"""YAML as plain JSON values, with the line of each value, so that a mistake can say where it is."""

import math

import yaml

# A file of aliases of aliases is small and unfolds to more than any memory holds.
MOST_VALUES = 200000


def load(text):
    """Return ``(value, lines, problems)`` of a YAML document.

    :returns: value: of dicts with text keys, lists, strings, numbers, booleans and None.
        lines: ``{path: line}``, a path being a tuple of keys and indexes, lines counted from 1.
        problems: ``(line, what is wrong and what to write)`` for all that is no such value.
    """
    walk = _Walk()
    try:
        walk.loader = yaml.SafeLoader(text)
        node = walk.loader.get_single_node()
        value = None if node is None else walk.value(node, ())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        walk.problems.append((mark.line + 1 if mark else 1, "this is no YAML: %s" % what))
        value = None
    return value, walk.lines, walk.problems


class _Walk:
    def __init__(self):
        self.lines = {}
        self.problems = []
        self._above = set()  # the collections that the walk is inside of
        self._merged = set()
        self._count = 0

    def value(self, node, path):
        self.lines[path] = node.start_mark.line + 1
        self._count += 1
        if self._count > MOST_VALUES:
            raise yaml.YAMLError("more than %d values" % MOST_VALUES)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if id(node) in self._above:
            return self._problem(node, "this is inside of itself; remove the alias")
        self._above.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            found = [self.value(item, path + (index,)) for index, item in enumerate(node.value)]
        else:
            found = self._mapping(node, path)
        self._above.discard(id(node))
        return found

    def _scalar(self, node):
        try:
            value = self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError):
            return self._problem(node, "this cannot be read; write it in quotes")
        infinite = isinstance(value, float) and not math.isfinite(value)
        if infinite or not isinstance(value, (str, int, float, type(None))):
            return self._problem(node, "%s is no text to YAML; write it in quotes" % node.value)
        return value

    def _mapping(self, node, path):
        if id(node) not in self._merged:
            self._merged.add(id(node))
            self._find_duplicates(node)
            self.loader.flatten_mapping(node)
        found = {}
        for key_node, item in node.value:
            key = self._key(key_node)
            if key is not None:
                found[key] = self.value(item, path + (key,))
        return found

    def _key(self, node):
        key = self._scalar(node) if isinstance(node, yaml.ScalarNode) else None
        if isinstance(key, str):
            return key
        return self._problem(node, "a key must be text; write it in quotes")

    def _find_duplicates(self, node):
        seen = {}
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if isinstance(key_node, yaml.ScalarNode) and key_node.value in seen:
                text = '"%s" is here twice, first in line %d; keep one'
                self._problem(key_node, text % (key_node.value, seen[key_node.value]))
            elif isinstance(key_node, yaml.ScalarNode):
                seen[key_node.value] = line

    def _problem(self, node, text):
        self.problems.append((node.start_mark.line + 1, text))
