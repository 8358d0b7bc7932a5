"""The YAML that an action is given: as text, or as a file or folder on the StackStorm node."""

import os

from poundcake.errors import ExpectedError

LARGEST_BYTES = 4194304


def read(name, path, text):
    """Return ``[(file, text)]``.

    :param name: of the action's parameter that gives the text.
    :param path: a file, or a folder of \\*.yaml and \\*.yml files, on this machine.
    :param text: the YAML itself; one of the two is "".
    :raises ExpectedError: when both or none are given, or a file cannot be read.
    """
    if bool(path) == bool(text):
        remedy = "give one of them: a file or folder, or the YAML itself"
        raise ExpectedError("path, %s: %s" % (name, remedy))
    if text:
        return [(name, text)]
    try:
        return [(file, _file(file)) for file in _files(path)]
    except (OSError, ValueError) as error:
        raise ExpectedError("path: %s; it is read on the StackStorm node that runs this" % error)


def _files(path):
    if not os.path.isdir(path):
        return [path]
    names = sorted(name for name in os.listdir(path) if name.endswith((".yaml", ".yml")))
    if not names:
        raise ValueError("%s has no *.yaml files" % path)
    return [os.path.join(path, name) for name in names]


def _file(path):
    with open(path, encoding="utf-8") as handle:
        text = handle.read(LARGEST_BYTES + 1)
    if len(text) > LARGEST_BYTES:
        raise ValueError("%s has more than %d characters" % (path, LARGEST_BYTES))
    return text
