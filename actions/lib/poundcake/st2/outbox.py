"""The outbox: batches of rows on their way from the sensor to the action ``track``.

The sensor decides and writes a batch here; only ``track`` writes rows. A batch contains each row
whole, with its revision, so writing it twice, or after a newer one, changes nothing.
"""

from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

from poundcake.ids import new_uuid7
from poundcake.settings import Settings
from poundcake.st2 import rows
from poundcake.st2.client import StackStorm

Batch = Dict[str, Any]
# {kind: {name: row}}, the kinds being those of rows.KINDS
RowsByKind = Mapping[str, Mapping[str, Any]]
# (trigger, payload, trace tag)
Report = Tuple[str, Dict[str, Any], Optional[str]]

# The datastore takes 30 ms for a megabyte; smaller batches keep the sensor's rounds short.
ROWS_IN_BATCH = 200


def put(
    stackstorm: StackStorm, changed: RowsByKind, reports: Iterable[Report] = ()
) -> Optional[str]:
    """Write the changed rows as batches; return the newest batch's id, None without any rows.

    :param reports: the triggers that report the changes. They go into the first batch, so that no
        change is stored without its report.
    """
    batch_id = None
    parts = list(_parts(changed))
    for number, part in enumerate(parts, 1):
        batch_id = new_uuid7()
        batch = {
            "batch_id": batch_id,
            "rows": part,
            "reports": list(reports),
            "last": number == len(parts),
        }
        rows.write(stackstorm, rows.OUTBOX, batch_id, batch)
        reports = ()
    return batch_id


def drop_unfinished(stackstorm: StackStorm) -> None:
    """Remove the batches of a set of changes that a crash left incomplete.

    The sensor finds these changes again. Half of them would record that an attempt has ended and
    leave its request open forever.
    """
    for batch in reversed(waiting(stackstorm)):
        if batch.get("last", True):  # earlier versions of the pack did not write it
            return
        rows.delete(stackstorm, rows.OUTBOX, batch["batch_id"])


def save_reports(stackstorm: StackStorm, batch_id: str, unsent: Iterable[Report]) -> None:
    """Store the unsent reports of every batch up to this one.

    ``track`` removes batches, possibly before all their reports are sent.
    """
    row = {"batch_id": batch_id, "unsent": list(unsent)}
    rows.write(stackstorm, rows.REPORTS, "unsent", row)


def unsent_reports(stackstorm: StackStorm, batches: Iterable[Batch]) -> List[Report]:
    """Return the reports that may not have been sent, oldest first.

    Reports sent just before a crash are included: each is delivered at least once, and a repetition
    has the same ``event_id``.

    :param batches: the result of ``waiting``.
    """
    saved = rows.read(stackstorm, rows.REPORTS, "unsent") or {"batch_id": "", "unsent": []}
    reports = list(saved["unsent"])
    for batch in batches:
        if batch["batch_id"] > saved["batch_id"]:
            reports += batch["reports"]
    return [(trigger, payload, trace_tag) for trigger, payload, trace_tag in reports]


def waiting(stackstorm: StackStorm) -> List[Batch]:
    """Return every batch that is not tracked yet, oldest first."""
    return rows.read_all(stackstorm, rows.OUTBOX)


def is_tracked(stackstorm: StackStorm, batch_id: str) -> bool:
    """Return whether ``track`` has written the rows of a batch."""
    return stackstorm.get_key(rows.key(rows.OUTBOX, batch_id)) is None


def merge(batches: Iterable[Batch]) -> Dict[str, Dict[str, Any]]:
    """Return ``{kind: {name: row}}`` with the newest revision of every row in the batches."""
    merged: Dict[str, Dict[str, Any]] = {kind: {} for kind in rows.KINDS}
    for batch in batches:
        for kind, rows_by_name in batch["rows"].items():
            for name, row in rows_by_name.items():
                row = rows.current(rows.KINDS[kind], row)
                known = merged[kind].get(name)
                if known is None or row["rev"] >= known["rev"]:
                    merged[kind][name] = row
    return merged


def track(stackstorm: StackStorm, batch_id: str, settings: Settings) -> Dict[str, int]:
    """Write the rows of a batch and of every older one, then remove these batches.

    :returns: counts: batches, written, unchanged (rows already stored in this or a newer
        revision).
    """
    batches = [batch for batch in waiting(stackstorm) if batch["batch_id"] <= batch_id]
    written = unchanged = 0
    for kind, rows_by_name in merge(batches).items():
        for name, row in rows_by_name.items():
            known = rows.read(stackstorm, rows.KINDS[kind], name)
            if known and known["rev"] >= row["rev"]:
                unchanged += 1
                continue
            ttl = time_to_live(kind, row, settings)
            rows.write(stackstorm, rows.KINDS[kind], name, row, ttl=ttl)
            written += 1
    for batch in batches:
        rows.delete(stackstorm, rows.OUTBOX, batch["batch_id"])
    return {"batches": len(batches), "written": written, "unchanged": unchanged}


def time_to_live(kind: str, row: Mapping[str, Any], settings: Settings) -> float:
    """Return how many seconds a row is kept after this write."""
    if kind == "requests":
        return settings.retention.request_seconds
    if kind == "executions":
        return settings.retention.execution_seconds
    if row["state"] == "resolved":
        # Rate limits count its attempts for as long as the longest rate looks back.
        return max(settings.retention.alert_seconds, settings.admission.longest_rate)
    # An unresolved alert is written again with every notification. This limit is for an alert
    # that Alertmanager never mentions again.
    return max(settings.retention.request_seconds, settings.retention.alert_seconds)


def _parts(changed: RowsByKind) -> Iterator[Dict[str, Dict[str, Any]]]:
    items = [(kind, name, row) for kind in rows.KINDS for name, row in changed[kind].items()]
    for start in range(0, len(items), ROWS_IN_BATCH):
        part: Dict[str, Dict[str, Any]] = {kind: {} for kind in rows.KINDS}
        for kind, name, row in items[start : start + ROWS_IN_BATCH]:
            part[kind][name] = row
        yield part
