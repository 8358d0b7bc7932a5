"""The outbox: batches of rows on their way from the sensor to the action ``track``.

The sensor decides and writes a batch here; only ``track`` writes rows. A batch contains each row
whole, with its revision, so writing it twice, or after a newer one, changes nothing.
"""

import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

from poundcake.errors import UnreadableRow, UnwritableRow
from poundcake.ids import new_uuid7
from poundcake.settings import Settings
from poundcake.st2 import aside, rows
from poundcake.st2.client import StackStorm

Batch = Dict[str, Any]
# {kind: {name: row}}, the kinds being those of rows.KINDS
RowsByKind = Mapping[str, Mapping[str, Any]]
# (trigger, payload, trace tag)
Report = Tuple[str, Dict[str, Any], Optional[str]]
# (kind, name, row): a row of one of rows.KINDS, or a report
Item = Tuple[str, str, Any]
# Called with the key and the content of what the datastore will never take, and the reason.
OnUnwritable = Callable[[str, Any, str], None]

REPORT = "reports"

# The datastore takes 30 ms for a megabyte; smaller batches keep the sensor's rounds short.
ROWS_IN_BATCH = 200
# ``track`` has two minutes. It removes batches as it goes, so that the next run goes on from there.
BATCHES_AT_ONCE = 10


def put(
    stackstorm: StackStorm,
    changed: RowsByKind,
    reports: Iterable[Report] = (),
    unwritable: Optional[OnUnwritable] = None,
) -> List[str]:
    """Write the changed rows as batches; return their ids, none without any rows.

    What the datastore will never take is found by halving the batch, and left out.

    :param reports: the triggers that report the changes. They are spread over the batches, which
        count only together: no change is stored without its report.
    :param unwritable: without it, UnwritableRow is raised. It is called before the batch that ends
        this set is written, so that what it does about a row outlives a crash whenever the set
        does.
    """
    parts = list(_parts(changed, reports))
    batch_ids: List[str] = []
    while parts:
        part = parts.pop(0)
        batch = _batch(part, last=not parts)
        try:
            rows.write(stackstorm, rows.OUTBOX, batch["batch_id"], batch)
        except UnwritableRow as error:
            if unwritable is None:
                raise
            if len(part) > 1:
                half = len(part) // 2
                parts[:0] = [part[:half], part[half:]]
                continue
            for kind, name, content in part:
                unwritable(
                    rows.key(rows.KINDS.get(kind, rows.REPORTS), name), content, error.reason
                )
            if part and batch_ids and not parts:
                parts.append([])  # a batch without rows ends the set
            continue
        batch_ids.append(batch["batch_id"])
    return batch_ids


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
    reports = list(unsent)
    while True:
        try:
            row = {"batch_id": batch_id, "unsent": reports}
            return rows.write(stackstorm, rows.REPORTS, "unsent", row)
        except UnwritableRow:  # too many: after a crash, some of them would not be sent
            if not reports:
                raise
            reports = reports[: len(reports) // 2]


def unsent_reports(
    stackstorm: StackStorm,
    batches: Iterable[Batch],
    unreadable: Optional[rows.OnUnreadable] = None,
) -> List[Report]:
    """Return the reports that may not have been sent, oldest first.

    Reports sent just before a crash are included: each is delivered at least once, and a repetition
    has the same ``event_id``.

    :param batches: the result of ``waiting``.
    :param unreadable: as ``rows.read`` takes it.
    """
    saved = rows.read(stackstorm, rows.REPORTS, "unsent", unreadable)
    saved = saved or {"batch_id": "", "unsent": []}
    reports = list(saved["unsent"])
    for batch in batches:
        if batch["batch_id"] > saved["batch_id"]:
            reports += batch["reports"]
    return [(trigger, payload, trace_tag) for trigger, payload, trace_tag in reports]


def waiting(stackstorm: StackStorm, unreadable: rows.OnUnreadable = rows.ignore) -> List[Batch]:
    """Return every batch that is not tracked yet, oldest first, with the rows that can be used.

    :param unreadable: called with the UnreadableRow of each batch, and of each row in a batch, that
        cannot.
    """
    batches = rows.read_all(stackstorm, rows.OUTBOX, unreadable=unreadable)
    for batch in batches:
        batch["rows"] = _readable(batch, unreadable)
    return batches


def is_tracked(stackstorm: StackStorm, batch_id: str) -> bool:
    """Return whether ``track`` has written the rows of a batch."""
    return stackstorm.get_key(rows.key(rows.OUTBOX, batch_id)) is None


def merge(batches: Iterable[Batch]) -> Dict[str, Dict[str, Any]]:
    """Return ``{kind: {name: row}}`` with the newest revision of every row in the batches."""
    merged: Dict[str, Dict[str, Any]] = {kind: {} for kind in rows.KINDS}
    for batch in batches:
        for kind, rows_by_name in batch["rows"].items():
            for name, row in rows_by_name.items():
                known = merged[kind].get(name)
                if known is None or row["rev"] >= known["rev"]:
                    merged[kind][name] = row
    return merged


def track(
    stackstorm: StackStorm, batch_id: str, settings: Settings, now: Optional[float] = None
) -> Dict[str, int]:
    """Write the rows of a batch and of every older one, then remove these batches.

    A row that cannot be read, or that the datastore will never take, is set aside.

    :returns: counts: batches, written, unchanged (rows already stored in this or a newer
        revision), and set_aside when there are any.
    """
    ttl, moment = settings.retention.request_seconds, time.time() if now is None else now
    counts = {"batches": 0, "written": 0, "unchanged": 0, "set_aside": 0}

    def unreadable(error: UnreadableRow) -> None:
        counts["set_aside"] += 1
        aside.move(stackstorm, error, ttl, moment)

    batches = [batch for batch in waiting(stackstorm, unreadable) if batch["batch_id"] <= batch_id]
    for start in range(0, len(batches), BATCHES_AT_ONCE):
        part = batches[start : start + BATCHES_AT_ONCE]
        for kind, rows_by_name in merge(part).items():
            for name, row in rows_by_name.items():
                known = rows.read(stackstorm, rows.KINDS[kind], name, unreadable)
                if known and known["rev"] >= row["rev"]:
                    counts["unchanged"] += 1
                    continue
                try:
                    kept = time_to_live(kind, row, settings)
                    rows.write(stackstorm, rows.KINDS[kind], name, row, ttl=kept)
                    counts["written"] += 1
                except UnwritableRow as error:
                    counts["set_aside"] += 1
                    entry = aside.of_row(error.subject, error.reason, row, moment)
                    aside.write(stackstorm, entry, ttl)
        for batch in part:
            rows.delete(stackstorm, rows.OUTBOX, batch["batch_id"])
    counts["batches"] = len(batches)
    return {name: count for name, count in counts.items() if count or name != "set_aside"}


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


def _parts(changed: RowsByKind, reports: Iterable[Report]) -> Iterator[List[Item]]:
    items = [(kind, name, row) for kind in rows.KINDS for name, row in changed[kind].items()]
    unassigned: List[Item] = [(REPORT, "unsent", report) for report in reports]
    starts = range(0, len(items), ROWS_IN_BATCH)
    share = -(-len(unassigned) // max(1, len(starts)))
    for number, start in enumerate(starts):
        told = unassigned[number * share : (number + 1) * share]
        yield told + items[start : start + ROWS_IN_BATCH]


def _batch(items: List[Item], last: bool) -> Batch:
    parts: Dict[str, Any] = {kind: {} for kind in rows.KINDS}
    for kind, name, row in items:
        if kind != REPORT:
            parts[kind][name] = row
    reports = [report for kind, _, report in items if kind == REPORT]
    return {"batch_id": new_uuid7(), "rows": parts, "reports": reports, "last": last}


def _readable(batch: Batch, unreadable: rows.OnUnreadable) -> Dict[str, Dict[str, Any]]:
    """Return the rows of a batch that can be used."""
    usable: Dict[str, Dict[str, Any]] = {kind: {} for kind in rows.KINDS}
    inside = rows.key(rows.OUTBOX, batch["batch_id"])
    for kind, rows_by_name in batch["rows"].items():
        for name, row in rows_by_name.items():
            prefix = rows.KINDS.get(kind)
            key, text = rows.key(prefix or rows.OUTBOX, name), rows.dump(row)
            try:
                if prefix is None:
                    raise UnreadableRow(key, f'unknown kind of rows "{kind}"', text, inside)
                usable[kind][name] = rows.checked(key, row, text, inside)
            except UnreadableRow as error:
                unreadable(error)
    return usable
