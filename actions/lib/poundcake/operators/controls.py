"""What operators have set: pauses and maintenance windows, one key each in the datastore.

The actions write them and the sensor reads them, so they hold from one look of the sensor to the
next, and outlive it. A row has:

===========  =====================================================================================
kind         further fields
===========  =====================================================================================
pause        alertname ("" for everything), by, reason, at (RFC 3339)
maintenance  id, matchers (canonical texts), starts_at and ends_at (RFC 3339), by, reason
===========  =====================================================================================
"""

import shlex
import time
from dataclasses import dataclass

from poundcake import clock, lifecycle, matchers, rows
from poundcake.by_hand import person, why
from poundcake.ids import new_uuid7
from poundcake.queries import QueryError, span

PAUSED = "paused"
MAINTENANCE = "maintenance"
LONGEST_SECONDS = 366 * 86400
LONGEST_MATCHERS = 4000
KEPT_SECONDS = 86400  # a window that is over stays listed for a day


@dataclass(frozen=True)
class Window:
    """A maintenance row with its matchers and its end (Unix time in seconds) understood."""

    row: dict
    matchers: tuple
    ends: float

    def holds(self, labels, now):
        """True when an alert with these labels is in maintenance.

        The start is not asked: a window starts when it is written, and the clocks of whoever wrote
        it and of the sensor may differ.
        """
        return now < self.ends and all(matcher.matches(labels) for matcher in self.matchers)


@dataclass(frozen=True)
class Controls:
    """What is set at a moment.

    :param pauses: pause rows by their alertname, "" for everything.
    :param windows: Window values, the one that ends last first.
    :param unreadable: by key, why a row could not be understood. As it may have been a pause,
        everything counts as paused until somebody has looked at it.
    """

    pauses: dict
    windows: tuple
    unreadable: dict

    def hindrance(self, alertname, labels, now):
        """Return what forbids to remediate an alert: ``(PAUSED or MAINTENANCE, reason)`` or None.

        :param now: Unix time in seconds.
        """
        if "" in self.pauses:
            return PAUSED, _pause_text(self.pauses[""])
        for key, error in self.unreadable.items():
            return PAUSED, unreadable_text(key, error)
        if alertname in self.pauses:
            return PAUSED, _pause_text(self.pauses[alertname])
        for window in self.windows:
            if window.holds(labels, now):
                return MAINTENANCE, _window_text(window.row)
        return None

    def counts(self, now):
        """Return how many levers are set: ``{"pause": number, "maintenance": number}``."""
        windows = sum(1 for window in self.windows if now < window.ends)
        return {"pause": len(self.pauses) + len(self.unreadable), "maintenance": windows}


def read(stackstorm):
    """Return the Controls that are set, with one call; never fails for what a row holds."""
    pauses, windows, unreadable = {}, [], {}
    for key, text in sorted(stackstorm.list_keys(rows.CONTROL).items()):
        try:
            row = rows.load(text)
            if row["kind"] == "pause":
                pauses[row["alertname"]] = _checked_pause(key, row)
            else:
                windows.append(_checked_window(key, row))
        except Exception as error:  # whatever somebody's edit left behind, the sensor goes on
            unreadable[key] = "%s: %s" % (type(error).__name__, error)
    windows.sort(key=lambda window: (-window.ends, window.row["id"]))
    return Controls(pauses, tuple(windows), unreadable)


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
    rows.write(stackstorm, rows.CONTROL, _pause_name(alertname), row)
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
    :raises QueryError: when that is not paused; it says what is.
    """
    alertname, by = alertname.strip(), person(by)
    controls = read(stackstorm)
    ended = controls.pauses.pop(alertname, None)
    remain = [name or "everything" for name in controls.pauses] + list(controls.unreadable)
    if ended is None:
        what = '"%s"' % alertname if alertname else "everything"
        rest = "paused: " + ", ".join(remain) if remain else "nothing is paused"
        raise QueryError("alertname: there is no pause of %s; %s" % (what, rest))
    rows.delete(stackstorm, rows.CONTROL, _pause_name(alertname))
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
        raise QueryError(text % (len(matcher_text), LONGEST_MATCHERS))
    try:
        wanted = matchers.parse(matcher_text)
    except ValueError as error:
        raise QueryError("matchers: %s. To stop everything, run poundcake.pause" % error)
    seconds = span("duration", duration)
    if seconds > LONGEST_SECONDS:
        raise QueryError("duration: %s is longer than a year; write less" % duration)
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
    rows.write(stackstorm, rows.CONTROL, _window_name(row["id"]), row, ttl=ttl)
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

    :raises QueryError: when there is no such window, or it is over; it says which there are.
    """
    by, now = person(by), _now(now)
    active = {w.row["id"]: w.row for w in read(stackstorm).windows if now < w.ends}
    if id not in active:
        known = ", ".join("%s (%s)" % (key, row["reason"]) for key, row in active.items())
        text = 'id: "%s" is no active maintenance; %s'
        raise QueryError(text % (id, "active: " + known if known else "there is none"))
    rows.delete(stackstorm, rows.CONTROL, _window_name(id))
    return {"status": "ended", "ended_by": by, "maintenance": active[id]}


def list_maintenance(stackstorm, now=None):
    """Return everything that is set: ``paused`` rows, and ``maintenance`` rows.

    A maintenance row has ``active`` and ``seconds_left`` besides; one that is over stays listed for
    a day. A row that cannot be understood is under ``paused``, with its ``key``.
    """
    now = _now(now)
    controls = read(stackstorm)
    unreadable = [
        {"kind": "unreadable", "key": key, "alertname": "", "reason": unreadable_text(key, error)}
        for key, error in controls.unreadable.items()
    ]
    windows = [
        dict(w.row, active=now < w.ends, seconds_left=round(max(0.0, w.ends - now), 3))
        for w in controls.windows
    ]
    return {"paused": list(controls.pauses.values()) + unreadable, "maintenance": windows}


def _checked_pause(key, row):
    _check_texts(row, "alertname", "by", "reason", "at")
    _check_key(key, _pause_name(row["alertname"]))
    return row


def _checked_window(key, row):
    if row["kind"] != "maintenance":
        raise ValueError("kind is neither pause nor maintenance")
    _check_texts(row, "id", "starts_at", "ends_at", "by", "reason")
    _check_key(key, _window_name(row["id"]))
    parsed = matchers.parse(",".join(row["matchers"]))
    return Window(row, parsed, clock.to_seconds(row["ends_at"]))


def _check_texts(row, *names):
    for name in names:
        if not isinstance(row[name], str):
            raise ValueError("%s is not a text" % name)


def _check_key(key, name):
    # What is listed under another key than the actions write could not be ended by them.
    if key != rows.key(rows.CONTROL, name):
        raise ValueError("its key is not the one that belongs to what it says")


def _pause_name(alertname):
    return "pause-" + alertname if alertname else "pause"


def _window_name(id):
    return "maintenance-" + id


def _count(stackstorm, is_held):
    return sum(
        1
        for alert in rows.read_all(stackstorm, rows.ALERT)
        if alert["state"] != lifecycle.RESOLVED and is_held(alert)
    )


def _now(now):
    return time.time() if now is None else now


def _pause_text(row):
    text = "%s is paused by %s since %s: %s (end it with: %s)"
    name = row["alertname"] or "everything"
    return text % (name, row["by"], row["at"], row["reason"], resume_command(row["alertname"]))


def _window_text(row):
    text = "in maintenance (%s) by %s until %s: %s (end it with: %s)"
    names = ", ".join(row["matchers"])
    return text % (names, row["by"], row["ends_at"], row["reason"], end_command(row["id"]))


def unreadable_text(key, error):
    """Return what a row that cannot be understood means, and what to do about it."""
    text = "everything counts as paused: the key %s cannot be understood (%s); correct it, or "
    return (text + "remove it with: st2 key delete %s") % (key, error, shlex.quote(key))


def resume_command(alertname):
    """Return the command that ends a pause; ``alertname`` is "" for that of everything."""
    command = "st2 run poundcake.resume"
    return command + " alertname=" + shlex.quote(alertname) if alertname else command


def end_command(id):
    """Return the command that ends a maintenance window."""
    return "st2 run poundcake.end_maintenance id=" + id
