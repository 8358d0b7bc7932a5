"""What chat shows for an answer of an action. Pure: each function takes the answer, or the failure.

Text of alerts becomes one line, is cut, and mentions nobody.
"""

from typing import Any, Callable, Dict, List, Sequence

Answer = Dict[str, Any]

MOST = 10  # of a list
MOST_EXECUTIONS = 5
MOST_HISTORY = 8
LONG, MIDDLE, NAME = 300, 120, 60


def alerts(answer: Answer) -> str:
    """Return the text of list_alerts."""
    if "error" in answer:
        return failure(answer)
    total = answer["total"]
    if not total:
        return "There are no such alerts."
    lines = [f"{_many(total, 'alert')}, latest change first:"]
    for alert in answer["alerts"][:MOST]:
        severity = f" ({_say(alert['severity'], 20)})" if alert["severity"] else ""
        where = _say(alert["host"] or "no host", NAME)
        lines.append(
            f"• {alert['state']} since {_minute(alert['since'])} UTC: "
            f"{_say(alert['alertname'], NAME)} on {where}{severity}"
            f"{_because(alert['reason'])} [{_say(alert['fingerprint'], 64)}]"
        )
    if total > MOST:
        fewer = "name a state, alertname=, severity= or label= to see fewer."
        lines.append(f"… and {total - MOST} more; {fewer}")
    return "\n".join(lines)


def alert(answer: Answer) -> str:
    """Return the text of get_alert."""
    if "error" in answer:
        return failure(answer)
    severity = f" ({_say(answer['severity'], 20)})" if answer["severity"] else ""
    where = _say(answer["host"] or "no host", NAME)
    since = f"{answer['state']} since {_minute(answer['state_since'])} UTC"
    lines = [
        f"{_say(answer['alertname'], NAME)} on {where}{severity} is {since}"
        + _because(answer["reason"], LONG)
    ]
    history = answer["history"]
    for entry in history[-MOST_HISTORY:]:
        lines.append(f"• {entry['at'][11:19]} {entry['state']}{_because(entry['reason'])}")
    for attempt in answer["attempts"][-1:]:
        lines += _executions(attempt["executions"], f"Attempt {attempt['attempt']}: ")
    if len(history) > MOST_HISTORY:
        command = "st2 run poundcake.get_alert fingerprint=" + _say(answer["fingerprint"], 64)
        lines.append(f"The {len(history) - MOST_HISTORY} changes before that: {command}")
    return "\n".join(lines)


def request(answer: Answer) -> str:
    """Return the text of get_request."""
    if "error" in answer:
        return failure(answer)
    received = answer["received_at"][:19].replace("T", " ")
    lines = [f"Request {answer['request_id']} of {received} UTC is {answer['status']}."]
    for item in answer["alerts"][:MOST]:
        reason = f" ({_say(item['reason'])})" if item["reason"] else ""
        state = f", now {item['state']}" if item["state"] else ""
        named = f" [{_say(item['fingerprint'], 64)}]" if item["fingerprint"] else ""
        name = _say(item["alertname"] or "no alertname", NAME)
        lines.append(f"• {name}: {item['decision']}{reason}{state}{named}")
    lines += _rest(answer["alerts"], MOST, "alerts")
    return "\n".join(lines + _executions(answer["executions"]))


def stats(answer: Answer) -> str:
    """Return the text of get_stats."""
    if "error" in answer:
        return failure(answer)
    states = ", ".join(f"{count} {state}" for state, count in answer["by_state"].items() if count)
    lines = [_many(answer["alerts"], "alert") + (": " + states if states else "") + "."]
    if answer["held"]:
        held = ", ".join(f"{count} by {cause}" for cause, count in answer["held"].items())
        lines.append(f"Held back: {held}.")
    workflows = sorted(answer["workflows"], key=lambda item: -item["executions"])
    for item in workflows[:MOST]:
        mean = item["mean_seconds"]
        took = "" if mean is None else f", {mean} s on average"
        counts = (
            f"{item['succeeded']} succeeded, {item['failed']} failed, {item['running']} running"
        )
        lines.append(f"• {_say(item['action_ref'], 80)}: {counts}{took}")
    return "\n".join(lines + _rest(workflows, MOST, "workflows"))


def health(answer: Answer) -> str:
    """Return the text of check_health: every fault, or what is worth knowing."""
    checks = answer.get("checks", [])
    if "error" not in answer:
        notes = [item for item in checks if item["status"] == "info"]
        lines = [f"• {item['name']}: {_say(item['detail'], LONG)}" for item in notes]
        return "\n".join(["PoundCake is OK."] + lines)
    faults = [item for item in checks if item["status"] == "fault"]
    lines = [
        f"• {item['name']}: {_say(item['detail'], LONG)} → {_say(item['remedy'], 200)}"
        for item in faults[:MOST]
    ]
    return "\n".join([failure(answer)] + lines + _rest(faults, MOST, "faults"))


def maintenance(answer: Answer) -> str:
    """Return the text of list_maintenance."""
    if "error" in answer:
        return failure(answer)
    paused = answer["paused"]
    active = [item for item in answer["maintenance"] if item["active"]]
    if not paused and not active:
        return "Nothing is paused, and nothing is in maintenance."
    lines = []
    for item in paused[:MOST]:
        by = f" by {_say(item['by'], NAME)}" if item.get("by") else ""
        name = _say(item["alertname"] or "everything", NAME)
        lines.append(f"• paused: {name}{by}: {_say(item['reason'], LONG)}")
    lines += _rest(paused, MOST, "pauses")
    for item in active[:MOST]:
        lines.append(
            f"• in maintenance until {_minute(item['ends_at'])} UTC: "
            f"{_say(', '.join(item['matchers']))} by {_say(item['by'], NAME)}: "
            f"{_say(item['reason'])} [{item['id']}]"
        )
    return "\n".join(lines + _rest(active, MOST, "windows"))


def paused(answer: Answer) -> str:
    """Return the text of pause."""
    if "error" in answer:
        return failure(answer)
    name = answer["alertname"]
    by, reason = _say(answer["by"], NAME), _say(answer["reason"], LONG)
    end = "poundcake resume " + _say(name or "everything", NAME)
    return f"{_say(name or 'Everything', NAME)} is paused by {by}: {reason}\n{_held(answer, end)}"


def resumed(answer: Answer) -> str:
    """Return the text of resume."""
    if "error" in answer:
        return failure(answer)
    was, rest = answer["was"], answer["still_paused"]
    by, reason = _say(was["by"], NAME), _say(was["reason"], LONG)
    name = _say(answer["alertname"] or "Everything", NAME)
    line = f"{name} is resumed. It was paused by {by}: {reason}"
    if not rest:
        return line
    more = f" and {len(rest) - MOST} more" if len(rest) > MOST else ""
    return f"{line}\nStill paused: {', '.join(_say(item, NAME) for item in rest[:MOST])}{more}."


def maintenance_started(answer: Answer) -> str:
    """Return the text of start_maintenance."""
    if "error" in answer:
        return failure(answer)
    matchers = _say(", ".join(answer["matchers"]), LONG)
    by, reason = _say(answer["by"], NAME), _say(answer["reason"], LONG)
    line = f"In maintenance until {_minute(answer['ends_at'])} UTC: {matchers} (by {by}: {reason})"
    return f"{line}\n{_held(answer, 'poundcake end maintenance ' + answer['id'])}"


def maintenance_ended(answer: Answer) -> str:
    """Return the text of end_maintenance."""
    if "error" in answer:
        return failure(answer)
    window = answer["maintenance"]
    matchers, by = _say(", ".join(window["matchers"]), LONG), _say(window["by"], NAME)
    return f"The maintenance of {matchers} is over. It was {by}'s: {_say(window['reason'], LONG)}"


def command(effect: str) -> Callable[[Answer], str]:
    """Return the function that gives the text of a command about one alert."""

    def text(answer: Answer) -> str:
        if "error" in answer:
            return failure(answer)
        name = f"{_say(answer['alertname'], NAME)} ({answer['state']})"
        return f"{name} {effect}. Follow it with: poundcake request {answer['request_id']}"

    return text


retried = command("gets one more attempt as soon as there is room")
acknowledged = command("is acknowledged: this episode gets no more attempts")
dismissed = command("is dismissed: this episode gets no more attempts")


def answered(answer: Answer) -> str:
    """Return the text of approve_alert and decline_alert."""
    if "error" in answer:
        return failure(answer)
    by, reason = _say(answer["by"], NAME), _say(answer["reason"], LONG)
    changed = ", ".join(f"{name}={value}" for name, value in answer["parameters"].items())
    with_ = f" with {_say(changed, LONG)}" if changed else ""
    return f"{_say(answer['alertname'], NAME)} is {answer['status']}{with_} by {by}: {reason}"


def failure(answer: Answer) -> str:
    """Return the text of a failure."""
    return "Failed: " + _say(answer["error"], 600)


def _executions(executions: Sequence[Answer], head: str = "") -> List[str]:
    lines = [
        f"{head}{_say(item['action_ref'], 80)} {item['status']}{_because(item['error'], LONG)} "
        f"(st2 execution get {item['execution_id']})"
        for item in executions[:MOST_EXECUTIONS]
    ]
    return lines + _rest(executions, MOST_EXECUTIONS, "executions")


def _held(answer: Answer, end: str) -> str:
    return f"{_many(answer['unresolved_alerts'], 'unresolved alert')} held. End it with: {end}"


def _rest(items: Sequence[Any], most: int, name: str) -> List[str]:
    rest = len(items) - most
    return [f"… and {rest} more {name}."] if rest > 0 else []


def _because(reason: str, most: int = MIDDLE) -> str:
    return ": " + _say(reason, most) if reason else ""


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")


def _many(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _say(value: Any, most: int = MIDDLE) -> str:
    """Return text on one line, cut, and with no mention of anybody."""
    line = " ".join(str(value).split()).replace("@", "@\u200b")
    return line if len(line) <= most else line[: most - 1] + "…"
