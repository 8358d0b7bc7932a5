"""What people do with what is set aside: take it up again, or drop it."""

from typing import Any, Dict, List

from poundcake.arguments import unknown
from poundcake.errors import ExpectedError, UnreadableRow
from poundcake.settings import Settings
from poundcake.st2 import aside, outbox, rows
from poundcake.st2.client import StackStorm

Entry = Dict[str, Any]

ALL = "all"


def take_up(stackstorm: StackStorm, id: str, settings: Settings) -> Dict[str, Any]:
    """Put something that was set aside back in its place; the sensor goes on with it.

    :param id: as list_set_aside shows it, or ALL.
    :returns: ``taken_up``: id and key of each (with the new request_id of a notification), and
        ``left``: id and reason of what still cannot be used.
    :raises ExpectedError: when the id is unknown, and when nothing could be taken up.
    """
    taken_up, left = [], []
    for entry in _chosen(stackstorm, id):
        try:
            taken_up.append(_put_back(stackstorm, entry, settings))
            rows.delete(stackstorm, rows.ASIDE, entry["id"])
        except ExpectedError as error:
            left.append({"id": entry["id"], "reason": str(error)})
    if left and not taken_up:
        remedy = f"To drop it, run: st2 run poundcake.drop_set_aside id={id}"
        raise ExpectedError("id", f"{id}: {left[0]['reason']}", remedy=remedy)
    return {"taken_up": taken_up, "left": left}


def drop(stackstorm: StackStorm, id: str) -> Dict[str, Any]:
    """Remove something that was set aside, for good, and return its id, key and reason.

    :param id: as list_set_aside shows it, or ALL.
    :raises ExpectedError: when the id is unknown.
    """
    entries = _chosen(stackstorm, id)
    for entry in entries:
        rows.delete(stackstorm, rows.ASIDE, entry["id"])
    names = ("id", "key", "reason")
    return {"dropped": [{name: entry[name] for name in names} for entry in entries]}


def _chosen(stackstorm: StackStorm, id: str) -> List[Entry]:
    entries = aside.entries(stackstorm)
    chosen = [entry for entry in entries if id in (ALL, entry["id"])]
    if not chosen and id != ALL:
        known = [entry["id"] for entry in entries]
        raise unknown("id", id, "things that are set aside", known)
    return chosen


def _put_back(stackstorm: StackStorm, entry: Entry, settings: Settings) -> Dict[str, str]:
    if entry["content"] is None:
        raise ExpectedError(entry["key"], "its content could not be kept")
    try:
        name, row = aside.restored(entry)
    except UnreadableRow as error:
        raise ExpectedError(entry["key"], f"still cannot be read ({error.reason})")
    prefix = rows.prefix_of(entry["key"])
    if rows.read(stackstorm, prefix, name, rows.ignore) is not None:
        raise ExpectedError(entry["key"], "there is a newer one")
    kind = {value: kind for kind, value in rows.KINDS.items()}.get(prefix)
    ttl = outbox.time_to_live(kind, row, settings) if kind else None
    rows.write(stackstorm, prefix, name, row, ttl=ttl)
    request = {"request_id": name} if prefix == rows.INBOX else {}
    return dict(id=entry["id"], key=rows.key(prefix, name), **request)
