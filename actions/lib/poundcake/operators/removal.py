"""Removes everything that PoundCake has in the datastore, for an uninstall."""

from typing import Any, Dict

from poundcake.errors import ExpectedError
from poundcake.st2 import rows
from poundcake.st2.client import StackStorm


def remove_rows(stackstorm: StackStorm, confirm: bool) -> Dict[str, Any]:
    """Delete every key that PoundCake owns, and return how many there were of each kind.

    What arrives meanwhile is deleted as well; a sensor that still runs writes new ones.

    :raises ExpectedError: without ``confirm``; it says what there is.
    """
    keys = {prefix: stackstorm.list_keys(prefix) for prefix in rows.PREFIXES}
    counts = {rows.kind_of(prefix): len(names) for prefix, names in keys.items() if names}
    if not confirm:
        known = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "nothing"
        remedy = f"The datastore has {known}. If that may go for good, add confirm=true"
        raise ExpectedError("confirm", "is false", "true", remedy)
    for names in keys.values():
        for name in names:
            stackstorm.delete_key(name)
    return {"removed": sum(counts.values()), "kinds": counts}
