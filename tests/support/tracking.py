"""What the end-to-end tests read of rows and executions."""


def states_of(row):
    return [entry["state"] for entry in row["history"]]


def max_overlap(executions):
    """How many of some executions were under way at the same moment."""
    moments = [(e["start_timestamp"], 1) for e in executions]
    moments += [(e["end_timestamp"], -1) for e in executions]
    most = now = 0
    for _, change in sorted(moments):
        now += change
        most = max(most, now)
    return most


def executions_of(world, action, limit=1000):
    path = "/executions?trigger_type=alert&action=%s&limit=100&offset=%d"
    found = []
    while len(found) < limit:
        page = world.api("GET", path % (action, len(found)))
        found += page
        if len(page) < 100:
            break
    return found
