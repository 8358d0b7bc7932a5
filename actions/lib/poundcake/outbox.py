"""The outbox: batches of rows on their way from the sensor to the action ``track``.

The sensor decides and writes a batch here; ``track`` alone writes rows. A batch carries each row
whole, with its revision, so that writing it twice, or after a newer one, changes nothing.
"""

from poundcake import rows
from poundcake.ids import new_uuid7

# The datastore takes 30 ms for a megabyte; smaller batches keep a tick of the sensor short.
ROWS_IN_BATCH = 200


def put(stackstorm, changed):
    """Write the changed rows, ``{kind: {name: row}}``, as batches; return the newest batch's id."""
    batch_id = None
    for part in _parts(changed):
        batch_id = new_uuid7()
        rows.write(stackstorm, rows.OUTBOX, batch_id, {"batch_id": batch_id, "rows": part})
    return batch_id


def waiting(stackstorm):
    """Return every batch that is not tracked yet, oldest first."""
    return rows.read_all(stackstorm, rows.OUTBOX)


def is_tracked(stackstorm, batch_id):
    """True when ``track`` has written the rows of a batch."""
    return stackstorm.get_key(rows.key(rows.OUTBOX, batch_id)) is None


def merge(batches):
    """Return ``{kind: {name: row}}`` with the newest revision of every row in some batches."""
    merged = {kind: {} for kind in rows.KINDS}
    for batch in batches:
        for kind, found in batch["rows"].items():
            for name, row in found.items():
                known = merged[kind].get(name)
                if known is None or row["rev"] >= known["rev"]:
                    merged[kind][name] = row
    return merged


def track(stackstorm, batch_id, settings):
    """Write the rows of a batch and of every older one, then remove these batches.

    :returns: counts: batches, written, unchanged (rows that were there in this revision or a
        newer one).
    """
    batches = [batch for batch in waiting(stackstorm) if batch["batch_id"] <= batch_id]
    written = unchanged = 0
    for kind, found in merge(batches).items():
        for name, row in found.items():
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


def time_to_live(kind, row, settings):
    """Return how many seconds a row is kept, counted from this write of it."""
    if kind == "requests":
        return settings.request_retention_seconds
    if kind == "executions":
        return settings.execution_retention_seconds
    if row["state"] == "resolved":
        return settings.alert_retention_seconds
    # An alert that is not resolved is written again with every notification; this one is for
    # an alert of which Alertmanager never speaks again.
    return max(settings.request_retention_seconds, settings.alert_retention_seconds)


def _parts(changed):
    items = [(kind, name, row) for kind in rows.KINDS for name, row in changed[kind].items()]
    for start in range(0, len(items), ROWS_IN_BATCH):
        part = {kind: {} for kind in rows.KINDS}
        for kind, name, row in items[start : start + ROWS_IN_BATCH]:
            part[kind][name] = row
        yield part
