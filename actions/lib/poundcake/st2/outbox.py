"""The outbox: batches of rows on their way from the sensor to the action ``track``.

The sensor decides and writes a batch here; ``track`` alone writes rows. A batch carries each row
whole, with its revision, so that writing it twice, or after a newer one, changes nothing.
"""

from poundcake.ids import new_uuid7
from poundcake.st2 import rows

# The datastore takes 30 ms for a megabyte; smaller batches keep a tick of the sensor short.
ROWS_IN_BATCH = 200


def put(stackstorm, changed, reports=()):
    """Write the changed rows, ``{kind: {name: row}}``, as batches; return the newest batch's id.

    :param reports: what is to be told of the changes, as ``(trigger, payload, trace_tag)``. They
        go into the first batch, so that no change is safe of which nobody will be told.
    """
    batch_id = None
    parts = list(_parts(changed))
    for number, part in enumerate(parts, 1):
        batch_id = new_uuid7()
        batch = {"batch_id": batch_id, "rows": part, "reports": list(reports)}
        rows.write(stackstorm, rows.OUTBOX, batch_id, dict(batch, last=number == len(parts)))
        reports = ()
    return batch_id


def drop_unfinished(stackstorm):
    """Remove what was written of some changes when a crash cut that off.

    It counts as never begun, and is found out anew: half of it would say that an attempt has ended,
    and leave the request that waits for it open for good.
    """
    for batch in reversed(waiting(stackstorm)):
        if batch.get("last", True):  # an earlier version of the pack did not say
            return
        rows.delete(stackstorm, rows.OUTBOX, batch["batch_id"])


def save_reports(stackstorm, batch_id, unsent):
    """Write down which reports are not sent yet, of every batch up to this one.

    ``track`` removes batches, and a report may still wait for its turn then.
    """
    row = {"batch_id": batch_id, "unsent": list(unsent)}
    rows.write(stackstorm, rows.REPORTS, "unsent", row)


def unsent_reports(stackstorm, batches):
    """Return the reports that may not have been sent, oldest first.

    What was sent just before a crash is among them: a report comes at least once, and its
    ``event_id`` tells a second from a first.

    :param batches: what ``waiting`` returned.
    """
    saved = rows.read(stackstorm, rows.REPORTS, "unsent") or {"batch_id": "", "unsent": []}
    found = list(saved["unsent"])
    for batch in batches:
        if batch["batch_id"] > saved["batch_id"]:
            found += batch["reports"]
    return [tuple(report) for report in found]


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
        return settings.retention.request_seconds
    if kind == "executions":
        return settings.retention.execution_seconds
    if row["state"] == "resolved":
        # Its attempts count for the rates as long as a rate looks back.
        longest = max((seconds for _, seconds in settings.admission.rates), default=0)
        return max(settings.retention.alert_seconds, longest)
    # An alert that is not resolved is written again with every notification; this one is for
    # an alert of which Alertmanager never speaks again.
    return max(settings.retention.request_seconds, settings.retention.alert_seconds)


def _parts(changed):
    items = [(kind, name, row) for kind in rows.KINDS for name, row in changed[kind].items()]
    for start in range(0, len(items), ROWS_IN_BATCH):
        part = {kind: {} for kind in rows.KINDS}
        for kind, name, row in items[start : start + ROWS_IN_BATCH]:
            part[kind][name] = row
        yield part
