"""What operators do: pause and resume, start and end maintenance, list both."""

import time

from poundcake import clock, matchers
from poundcake.arguments import span
from poundcake.core.alert import RESOLVED
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
from poundcake.st2.controls import read

LONGEST_SECONDS = 366 * 86400
LONGEST_MATCHERS = 4000
KEPT_SECONDS = 86400  # a window that is over stays listed for a day


def pause(stackstorm, alertname, reason, by, now=None):
    """Pause everything (``alertname`` "") or one alertname, and return the pause.

    A pause that is there already is replaced; the answer shows it as ``replaced``.
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


def resume(stackstorm, alertname, by):
    """End the pause of everything (``alertname`` "") or of one alertname.

    :returns: what was paused, and under ``still_paused`` what remains: "everything", alertnames,
        and keys that cannot be understood.
    :raises ExpectedError: when that is not paused; it says what is.
    """
    alertname, by = alertname.strip(), person(by)
    controls = read(stackstorm)
    ended = controls.pauses.pop(alertname, None)
    remain = [name or "everything" for name in controls.pauses] + list(controls.unreadable)
    if ended is None:
        what = '"%s"' % alertname if alertname else "everything"
        rest = "paused: " + ", ".join(remain) if remain else "nothing is paused"
        raise ExpectedError("alertname: there is no pause of %s; %s" % (what, rest))
    rows.delete(stackstorm, rows.CONTROL, pause_name(alertname))
    return {
        "status": "resumed",
        "alertname": alertname,
        "by": by,
        "was": ended,
        "still_paused": remain,
    }


def start_maintenance(stackstorm, matcher_text, duration, reason, by, now=None):
    """Start a maintenance window for the alerts that match, and return it.

    :param matcher_text: as ``matchers.parse`` takes it.
    :param duration: a length of time as in 30m, 2h or 1d; a year at the most.
    """
    if len(matcher_text) > LONGEST_MATCHERS:
        text = "matchers: have %d characters; %d is the most"
        raise ExpectedError(text % (len(matcher_text), LONGEST_MATCHERS))
    try:
        wanted = matchers.parse(matcher_text)
    except ValueError as error:
        raise ExpectedError("matchers: %s. To stop everything, run poundcake.pause" % error)
    seconds = span("duration", duration)
    if seconds > LONGEST_SECONDS:
        raise ExpectedError("duration: %s is longer than a year; write less" % duration)
    begin = _now(now)
    row = {
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


def end_maintenance(stackstorm, id, by, now=None):
    """End a maintenance window before its time and return it.

    :raises ExpectedError: when there is no such window, or it is over; it says which there are.
    """
    by, now = person(by), _now(now)
    active = {w.row["id"]: w.row for w in read(stackstorm).windows if now < w.ends}
    if id not in active:
        known = ", ".join("%s (%s)" % (key, row["reason"]) for key, row in active.items())
        text = 'id: "%s" is no active maintenance; %s'
        raise ExpectedError(text % (id, "active: " + known if known else "there is none"))
    rows.delete(stackstorm, rows.CONTROL, window_name(id))
    return {"status": "ended", "ended_by": by, "maintenance": active[id]}


def _count(stackstorm, is_held):
    return sum(
        1
        for alert in rows.read_all(stackstorm, rows.ALERT)
        if alert["state"] != RESOLVED and is_held(alert)
    )


def _now(now):
    return time.time() if now is None else now
