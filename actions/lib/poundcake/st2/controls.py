"""Reads the controls that are set."""

from poundcake import clock, matchers
from poundcake.core.controls import Controls, Window, pause_name, window_name
from poundcake.st2 import rows


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


def _checked_pause(key, row):
    _check_texts(row, "alertname", "by", "reason", "at")
    _check_key(key, pause_name(row["alertname"]))
    return row


def _checked_window(key, row):
    if row["kind"] != "maintenance":
        raise ValueError("kind is neither pause nor maintenance")
    _check_texts(row, "id", "starts_at", "ends_at", "by", "reason")
    _check_key(key, window_name(row["id"]))
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
