"""What is set aside: what can never be read, decided or written, kept so that the rest goes on.

An entry has the text of what it replaces, and the key under which that stood, or would stand.
People look at it, take it up again, or drop it (``operators/set_aside.py``).
"""

from typing import Any, Dict, List, Mapping, Optional

from poundcake import clock
from poundcake.errors import StackStormError, UnreadableRow, UnwritableRow
from poundcake.ids import event_id, key_part, new_uuid7
from poundcake.st2 import controls, rows
from poundcake.st2.client import StackStorm

Entry = Dict[str, Any]  # core.shapes.SetAside

KINDS = ("inbox", "outbox", "reports", "request", "alert", "execution", "control")
LONGEST_REASON = 500
LIST_COMMAND = "st2 run poundcake.list_set_aside"


def new_entry(
    key: str, reason: str, content: Optional[str], now: float, **about: Optional[str]
) -> Entry:
    """Return an entry; the same key gives the same id, so a repetition replaces it.

    :param content: the text that stood under the key, None when there is none.
    :param now: Unix time.
    :param about: fingerprint, alertname and request_id, as far as they are known.
    """
    kind = rows.prefix_of(key).split(".")[1]
    return {
        "id": key_part(key.split(".", 1)[1].replace(".", "-")),
        "kind": kind,
        "key": key,
        "reason": reason[:LONGEST_REASON],
        "at": clock.to_text(now),
        "fingerprint": about.get("fingerprint") or "",
        "alertname": about.get("alertname") or "",
        "request_id": about.get("request_id") or "",
        "told": False,
        "content": content,
    }


def of_row(key: str, reason: str, row: Mapping[str, Any], now: float) -> Entry:
    """Return the entry of a row that cannot be written."""
    names = ("fingerprint", "alertname", "request_id")
    about = {name: row.get(name) for name in names if isinstance(row.get(name), str)}
    return new_entry(key, reason, _dump(row), now, **about)


def of_inbox_entry(inbox_entry: Mapping[str, Any], reason: str, now: float) -> Entry:
    """Return the entry of an inbox entry that cannot be decided."""
    request_id = inbox_entry["request_id"]
    name = rows.key(rows.INBOX, request_id)
    return new_entry(name, reason, _dump(inbox_entry), now, request_id=request_id)


def of_alert(
    inbox_entry: Mapping[str, Any], number: int, reason: str, now: float, **about: str
) -> Entry:
    """Return the entry of one alert of a notification: an inbox entry with that alert alone.

    :param number: its place in ``alerts[]``.
    :param about: fingerprint and alertname.
    """
    notification = inbox_entry["notification"]
    alone = dict(notification, alerts=notification["alerts"][number : number + 1])
    request_id = event_id("set aside", about["fingerprint"])
    content = _dump(dict(inbox_entry, request_id=request_id, notification=alone))
    name, request_id = rows.key(rows.INBOX, request_id), inbox_entry["request_id"]
    return new_entry(name, reason, content, now, request_id=request_id, **about)


def write(stackstorm: StackStorm, entry: Entry, ttl: float) -> None:
    """Write an entry; without its content when the datastore does not take that.

    What was told about is not told about again. Raises StackStormError when StackStorm is away, or
    refuses everything.
    """
    known = rows.read(stackstorm, rows.ASIDE, entry["id"], rows.ignore)
    entry = dict(entry, told=bool(known and known["told"]))
    try:
        rows.write(stackstorm, rows.ASIDE, entry["id"], entry, ttl=ttl)
    except UnwritableRow:
        try:
            rows.write(stackstorm, rows.ASIDE, entry["id"], dict(entry, content=None), ttl=ttl)
        except UnwritableRow as error:
            # Not even this: it is not the row that is at fault.
            raise StackStormError(str(error)) from error


def move(stackstorm: StackStorm, error: UnreadableRow, ttl: float, now: float) -> None:
    """Set an unreadable row aside: written there first, and removed from its place after that.

    One that stands inside a batch leaves with the batch.
    """
    write(stackstorm, new_entry(error.key, error.reason, error.text, now), ttl)
    if not error.inside:
        stackstorm.delete_key(error.key)


def entries(stackstorm: StackStorm) -> List[Entry]:
    """Return everything that is set aside, oldest first."""
    return sorted(rows.read_all(stackstorm, rows.ASIDE), key=lambda item: (item["at"], item["id"]))


def restored(entry: Entry) -> Any:
    """Return ``(name, row)`` of what an entry contains, as it is to be written again.

    An entry of the inbox gets a new request_id: the sensor takes none twice. Raises UnreadableRow.
    """
    if entry["kind"] == "control":
        row, _ = controls.parse(entry["key"], entry["content"])
    else:
        row = rows.parse(entry["key"], entry["content"])
    if entry["kind"] == "inbox":
        row = dict(row, request_id=new_uuid7())
        return row["request_id"], row
    return entry["key"][len(rows.prefix_of(entry["key"])) :], row


def _dump(value: Any) -> Optional[str]:
    try:
        return rows.dump(value)
    except (ValueError, TypeError, RecursionError):
        return None
