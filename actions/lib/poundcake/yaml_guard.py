"""Guards against YAML whose aliases unfold without end, or to more than memory holds."""

from typing import Any, Dict, Iterable, Optional

from poundcake.errors import UnsafeYaml

# A file of aliases to aliases is small, yet may unfold to more values than any memory holds.
MOST_VALUES = 200000


def check(node: Any) -> None:
    """Raise UnsafeYaml if a composed document contains itself or has too many values.

    :param node: a node of PyYAML or ruamel.yaml; None for an empty document.
    """
    if node is None:
        return
    try:
        _count(node, {})
    except RecursionError:
        raise UnsafeYaml("nested too deeply", _line(node))


def _count(node: Any, counts: Dict[int, Optional[int]]) -> int:
    """Return how many values a node unfolds to.

    :param counts: the results by node id, None for the nodes around this one.
    """
    if not isinstance(node.value, list):
        return 1
    if id(node) in counts:
        known = counts[id(node)]
        if known is None:
            raise UnsafeYaml("a value contains itself; remove the alias", _line(node))
        return known
    counts[id(node)] = None
    total = 1
    for child in _children(node.value):
        total += _count(child, counts)
        if total > MOST_VALUES:
            raise UnsafeYaml(f"more than {MOST_VALUES} values", _line(node))
    counts[id(node)] = total
    return total


def _children(items: Iterable[Any]) -> Iterable[Any]:
    for item in items:
        if isinstance(item, tuple):  # key and value of a mapping
            yield from item
        else:
            yield item


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1
