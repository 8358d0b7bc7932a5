"""Reads the YAML that an action gets: as text, or as a file or folder on the StackStorm node."""

import os
from typing import List, Tuple

from poundcake.errors import ExpectedError

LARGEST_BYTES = 4194304


def read(name: str, path: str, content: str) -> List[Tuple[str, str]]:
    """Return ``[(file name, content)]``.

    :param name: the action's parameter that gives the content.
    :param path: a file, or a folder of \\*.yaml and \\*.yml files, on this machine.
    :param content: the YAML itself; either this or ``path`` is "".
    :raises ExpectedError: when both or neither are given, or a file cannot be read.
    """
    if bool(path) == bool(content):
        choice = "give one of them: a file or folder, or the YAML itself"
        raise ExpectedError(f"path, {name}", choice)
    if content:
        return [(name, content)]
    try:
        return [(file, _content(file)) for file in _files(path)]
    except (OSError, ValueError) as error:
        where = "The path is read on the StackStorm node that runs this action"
        raise ExpectedError("path", str(error), remedy=where)


def _files(path: str) -> List[str]:
    if not os.path.isdir(path):
        return [path]
    names = sorted(name for name in os.listdir(path) if name.endswith((".yaml", ".yml")))
    if not names:
        raise ValueError(f"{path} has no *.yaml files")
    return [os.path.join(path, name) for name in names]


def _content(path: str) -> str:
    with open(path, "rb") as handle:
        content = handle.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"{path} has more than {LARGEST_BYTES} bytes")
    return content.decode("utf-8")
