"""Tables for terminals: what people read under an answer. Pure.

They fit 100 columns unless ``wide``. Times are UTC, without fractions of a second.
"""

from typing import Any, Mapping, Optional, Sequence

from poundcake import clock, tables

Row = Mapping[str, Any]

WIDTH = 100
LEAST_LAST = 20  # columns of the last cell, which takes what the others leave
LEAST_CELL = 8  # columns of any other cell


def alerts(items: Sequence[Row], total: int, wide: bool, now: float) -> str:
    """Return the table of list_alerts, with the command that shows one of them."""
    if not items:
        return "no alerts"
    lines = [("state", "since", "severity", "alert", "host", "why")]
    for item in items:
        since = clock.elapsed(item["since"], clock.to_text(now))
        host = item["host"] or item["instance"] or "-"
        name = item["alertname"]
        lines.append(
            (item["state"], ago(since), item["severity"] or "-", name, host, item["reason"])
        )
    first = f"{len(items)} of {total} alerts, latest change first"
    command = "st2 run poundcake.get_alert alertname=ALERT host=HOST"
    if len(items) == 1:
        command = "st2 run poundcake.get_alert fingerprint=" + items[0]["fingerprint"]
    return "\n".join([first, _text(lines, wide), "", command])


def history(entries: Sequence[Row]) -> str:
    """Return the table of an alert's history: a line for each state, with how long it lasted."""
    lines = [("at", "state", "lasted", "attempt", "reason")]
    for entry in entries:
        lasted, attempt = ago(entry["seconds"]), str(entry["attempt"] or "")
        lines.append((second(entry["at"]), entry["state"], lasted, attempt, entry["reason"]))
    return _text(lines, wide=True)


def requests(items: Sequence[Row], total: int, wide: bool) -> str:
    """Return the table of list_requests."""
    if not items:
        return "no requests"
    lines = [("request", "received", "done", "from", "decisions")]
    for item in items:
        done = second(item["completed_at"])[11:] if item["completed_at"] else "-"
        counts = {name: count for name, count in item["counts"].items() if name != "alerts"}
        decisions = ", ".join(f"{counts[name]} {name}" for name in sorted(counts))
        origin = item["receiver"] or item["source"]
        lines.append((item["request_id"], second(item["received_at"]), done, origin, decisions))
    first = f"{len(items)} of {total} requests, newest first"
    command = "st2 run poundcake.get_request request_id=" + items[0]["request_id"]
    return "\n".join([first, _text(lines, wide, whole=(0, 1)), "", command])


def request(item: Row) -> str:
    """Return the table of get_request: a line for each alert."""
    if not item["alerts"]:
        return "not decided yet"
    lines = [("alert", "decision", "outcome", "state now", "reason")]
    for entry in item["alerts"]:
        name = entry["alertname"] or entry["fingerprint"] or "-"
        outcome, state = entry.get("outcome") or "-", entry["state"] or "-"
        lines.append((name, entry["decision"], outcome, state, entry["reason"]))
    return _text(lines, wide=False)


def executions(items: Sequence[Row], total: int, wide: bool) -> str:
    """Return the table of list_executions."""
    if not items:
        return "no executions"
    lines = [("execution", "started", "took", "alert", "action", "result")]
    for item in items:
        started = second(item["started_at"]) if item["started_at"] else "-"
        took, name = ago(item["elapsed"]), item["alertname"]
        result = str(item["result"])
        if not result.startswith(item["status"]):
            result = f"{item['status']}: {result}"
        lines.append((item["execution_id"], started, took, name, item["action_ref"], result))
    first = f"{len(items)} of {total} executions, newest first"
    command = "st2 execution get " + items[0]["execution_id"]
    return "\n".join([first, _text(lines, wide, whole=(0, 1)), "", command])


def stats(answer: Row) -> str:
    """Return the table of get_stats."""
    states = [f"{count} {state}" for state, count in answer["by_state"].items() if count]
    lines = [f"{answer['alerts']} alerts" + (": " + ", ".join(states) if states else "")]
    if answer["held"]:
        held = ", ".join(f"{count} by {cause}" for cause, count in answer["held"].items())
        lines.append("held back: " + held)
    if not answer["workflows"]:
        return "\n".join(lines)
    cells = [("workflow", "runs", "succeeded", "median", "95 %")]
    for item in answer["workflows"]:
        rate = item["success_rate"]
        succeeded = "-" if rate is None else f"{int(rate * 100)} %"
        median, late = ago(item["median_seconds"]), ago(item["p95_seconds"])
        cells.append((item["action_ref"], str(item["executions"]), succeeded, median, late))
    return "\n".join([*lines, "", _text(cells, wide=True)])


def maintenance(answer: Row) -> str:
    """Return the table of list_maintenance."""
    lines = [("what", "until", "by", "why")]
    for item in answer["paused"]:
        until = item["key"] if item["kind"] == "unreadable" else "resume"
        name = "paused: " + (item["alertname"] or "everything")
        lines.append((name, until, item.get("by", "-"), item["reason"]))
    for item in answer["maintenance"]:
        if item["active"]:
            name = ", ".join(item["matchers"])
            lines.append((name, second(item["ends_at"]), item["by"], item["reason"]))
    if len(lines) == 1:
        return "nothing is paused or in maintenance"
    return _text(lines, wide=False)


def silences(items: Sequence[Row]) -> str:
    """Return the table of list_silences."""
    if not items:
        return "no silences"
    lines = [("silence", "state", "until", "by", "why")]
    for item in items:
        until = second(item["ends_at"])
        lines.append((item["id"], item["state"], until, item["by"], item["reason"]))
    first = f"{len(items)} silences, the next to end first"
    command = "st2 run poundcake.expire_silence id=SILENCE"
    return "\n".join([first, _text(lines, wide=False, whole=(0, 2)), "", command])


def alert_rules(answer: Row, wide: bool) -> str:
    """Return the table of list_prometheus_rules."""
    if not answer["rules"]:
        return "no rules"
    lines = [("rule", "state", "severity", "for", "active", "group", "expression")]
    for rule in answer["rules"]:
        severity, active = rule["labels"].get("severity", ""), str(rule["active"] or "")
        lasts = ago(rule["for"]) if rule["for"] else ""
        state = rule["state"] or rule["kind"]
        if rule["health"] not in ("ok", "unknown"):
            state = f"{state}, {rule['health']}"
        more = (severity, lasts, active, rule["group"], rule["expression"])
        lines.append((rule["name"], state, *more))
    first = f"{answer['shown']} of {answer['total']} rules"
    return "\n".join([first, _text(lines, wide)])


def ago(seconds: Optional[float]) -> str:
    """Return a length of time for people, such as 12 s, 5 min, 3 h or 2 d; "" for None."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    for size, unit, most in ((1, "s", 120), (60, "min", 120), (3600, "h", 48)):
        if seconds < size * most:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds // 86400)} d"


def second(time: str) -> str:
    """Return an RFC 3339 time to the second, for people."""
    return time[:19].replace("T", " ")


def _text(lines: Sequence[Sequence[str]], wide: bool, whole: Sequence[int] = ()) -> str:
    """Return lines of cells as a table.

    :param whole: the columns that are never cut: ids, which people copy, and times.
    """
    cells = [[" ".join(str(cell).split()) for cell in line] for line in lines]
    if wide:
        return tables.text(cells)
    widths = [max(map(len, column)) for column in zip(*(line[:-1] for line in cells))]
    while sum(widths) + 2 * len(widths) + LEAST_LAST > WIDTH:
        at = max((n for n in range(len(widths)) if n not in whole), key=lambda n: widths[n])
        if widths[at] <= LEAST_CELL:
            break
        widths[at] -= 1
    widths.append(max(LEAST_LAST, WIDTH - sum(widths) - 2 * len(widths)))
    return tables.text([[clip(*cell) for cell in zip(line, widths)] for line in cells])


def clip(text: str, most: int) -> str:
    """Return text with at most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
