"""What operators do to hold remediations back: pause and resume, start and end maintenance."""

import time
from typing import Any, Callable, Dict, Optional

from poundcake import clock, matchers
from poundcake.arguments import span
from poundcake.core.alert import RESOLVED, Row
from poundcake.core.controls import (
    PAUSED,
    end_command,
    pause_name,
    resume_command,
    window_name,
)
from poundcake.errors import ExpectedError
from poundcake.ids import new_uuid7
from poundcake.people import person, why
from poundcake.st2 import rows
from poundcake.st2.client import StackStorm
from poundcake.st2.controls import read

LONGEST_SECONDS = 366 * 86400
LONGEST_MATCHERS = 4000
KEPT_SECONDS = 86400  # a window stays listed for a day after its end


def pause(
    stackstorm: StackStorm, alertname: str, reason: str, by: str, now: Optional[float] = None
) -> Dict[str, Any]:
    """Pause everything (``alertname`` "") or one alertname, and return the pause.

    It replaces an existing pause, which the answer shows as ``replaced``.
    """
    alertname = alertname.strip()
    row = {
        "kind": "pause",
        "alertname": alertname,
        "by": person(by),
        "reason": why(reason),
        "at": clock.to_text(_now(now)),
    }
    replaced = read(stackstorm).pauses.get(alertname)
    rows.write(stackstorm, rows.CONTROL, pause_name(alertname), row)
    return dict(
        row,
        status=PAUSED,
        replaced=replaced,
        unresolved_alerts=_count(
            stackstorm, lambda alert: not alertname or alert["alertname"] == alertname
        ),
        end_with=resume_command(alertname),
    )


def resume(stackstorm: StackStorm, alertname: str, by: str) -> Dict[str, Any]:
    """End the pause of everything (``alertname`` "") or of one alertname.

    :returns: what was paused, and under ``still_paused`` what remains: "everything", alertnames,
        and keys that cannot be read.
    :raises ExpectedError: when it is not paused; the error says what is.
    """
    alertname, by = alertname.strip(), person(by)
    controls = read(stackstorm)
    ended = controls.pauses.pop(alertname, None)
    remain = [name or "everything" for name in controls.pauses] + list(controls.unreadable)
    if ended is None:
        name = f'"{alertname}"' if alertname else "everything"
        others = "paused: " + ", ".join(remain) if remain else "nothing is paused"
        raise ExpectedError("alertname", f"there is no pause of {name}; {others}")
    rows.delete(stackstorm, rows.CONTROL, pause_name(alertname))
    return {
        "status": "resumed",
        "alertname": alertname,
        "by": by,
        "was": ended,
        "still_paused": remain,
    }


def start_maintenance(
    stackstorm: StackStorm,
    matcher_text: str,
    duration: str,
    reason: str,
    by: str,
    now: Optional[float] = None,
) -> Dict[str, Any]:
    """Start a maintenance window for the alerts that match, and return it.

    :param matcher_text: as ``matchers.parse`` takes it.
    :param duration: a length of time as in 30m, 2h or 1d; at most a year.
    """
    if len(matcher_text) > LONGEST_MATCHERS:
        problem = f"have {len(matcher_text)} characters"
        raise ExpectedError("matchers", problem, f"at most {LONGEST_MATCHERS}")
    try:
        wanted = matchers.parse(matcher_text)
    except ValueError as error:
        remedy = "To hold back everything, run: st2 run poundcake.pause"
        raise ExpectedError("matchers", str(error), remedy=remedy)
    seconds = span("duration", duration)
    if seconds > LONGEST_SECONDS:
        raise ExpectedError("duration", f"{duration} is longer than a year", "at most a year")
    begin = _now(now)
    row: Dict[str, Any] = {
        "kind": "maintenance",
        "id": new_uuid7(begin),
        "matchers": [str(matcher) for matcher in wanted],
        "starts_at": clock.to_text(begin),
        "ends_at": clock.to_text(begin + seconds),
        "by": person(by),
        "reason": why(reason),
    }
    ttl = seconds + KEPT_SECONDS
    rows.write(stackstorm, rows.CONTROL, window_name(row["id"]), row, ttl=ttl)
    return dict(
        row,
        status="started",
        unresolved_alerts=_count(
            stackstorm, lambda alert: all(one.matches(matchers.labels_of(alert)) for one in wanted)
        ),
        end_with=end_command(row["id"]),
    )


def end_maintenance(
    stackstorm: StackStorm, id: str, by: str, now: Optional[float] = None
) -> Dict[str, Any]:
    """End a maintenance window early and return it.

    :raises ExpectedError: when the window does not exist or is over; the error lists active ones.
    """
    by, at = person(by), _now(now)
    active = {w.row["id"]: w.row for w in read(stackstorm).windows if at < w.ends}
    if id not in active:
        problem = f'unknown active maintenance window "{id}"'
        if not active:
            raise ExpectedError("id", f"{problem}; no window is active")
        known = ", ".join(f"{key} ({row['reason']})" for key, row in active.items())
        raise ExpectedError("id", problem, "one of " + known)
    rows.delete(stackstorm, rows.CONTROL, window_name(id))
    return {"status": "ended", "ended_by": by, "maintenance": active[id]}


def _count(stackstorm: StackStorm, is_held: Callable[[Row], bool]) -> int:
    return sum(
        1
        for alert in rows.read_all(stackstorm, rows.ALERT)
        if alert["state"] != RESOLVED and is_held(alert)
    )


def _now(now: Optional[float]) -> float:
    return time.time() if now is None else now
