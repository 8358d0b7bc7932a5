"""Prepares a command for a host: checks every value that goes with it, and reads a script.

A script is a file of the folder ``actions/scripts``. It travels as the text of a command, so a host
needs nothing of this pack.
"""

import re
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from poundcake import typed_values
from poundcake.errors import ExpectedError
from poundcake.settings import Settings

FOLDER = Path(__file__).resolve().parents[2] / "scripts"
_NAME = re.compile(r"[a-z0-9_]+")


def prepare(
    settings: Settings,
    host: Optional[str],
    script: Optional[str],
    values: Optional[Mapping[str, Any]],
    types: Optional[Mapping[str, str]],
) -> Dict[str, str]:
    """Check what a command gets, and return the text of its script.

    :param host: "" or None for the StackStorm node.
    :param script: the name of a script, None when the caller has a command of its own.
    :param values: the environment of the command; none may be empty.
    :param types: the types of its values, by name, as in ``typed_values.KINDS``.
    :raises ExpectedError: when anything is not what it should be. The next try would end here too.
    """
    texts = {name: str(value) for name, value in (values or {}).items()}
    unknown = sorted(set(types or {}) - set(texts))
    if unknown:
        raise ExpectedError("types", ", ".join(unknown) + " is not in env", ", ".join(texts))
    if host:
        typed_values.check("host", host, "host", settings)
    typed_values.check_all(types or {}, texts, settings)
    return {"command": "" if script is None else text_of(script)}


def text_of(script: str) -> str:
    """Return a script without the comment at its beginning.

    :raises ExpectedError: when there is no such script.
    """
    path = FOLDER / (script + ".sh")
    if not _NAME.fullmatch(script) or not path.is_file():
        known = ", ".join(sorted(item.stem for item in FOLDER.glob("*.sh")))
        raise ExpectedError("script", f'no script is called "{script}"', known)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "".join(lines[first:])
