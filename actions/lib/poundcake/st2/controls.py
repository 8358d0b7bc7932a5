"""Reads the pauses and maintenance windows that operators have set."""

from typing import Any, Dict, List

from poundcake import clock, matchers
from poundcake.core.controls import Controls, Window, pause_name, window_name
from poundcake.st2 import rows
from poundcake.st2.client import StackStorm


def read(stackstorm: StackStorm) -> Controls:
    """Return the current Controls, with one call. A bad row never makes it fail."""
    pauses: Dict[str, Dict[str, Any]] = {}
    windows: List[Window] = []
    unreadable: Dict[str, str] = {}
    for key, text in sorted(stackstorm.list_keys(rows.CONTROL).items()):
        try:
            row = rows.load(text)
            if row["kind"] == "pause":
                pauses[row["alertname"]] = _checked_pause(key, row)
            else:
                windows.append(_checked_window(key, row))
        except Exception as error:  # somebody may have edited it; the sensor goes on
            unreadable[key] = f"{type(error).__name__}: {error}"
    windows.sort(key=lambda window: (-window.ends, window.row["id"]))
    return Controls(pauses, tuple(windows), unreadable)


def _checked_pause(key: str, row: Dict[str, Any]) -> Dict[str, Any]:
    _check_texts(row, "alertname", "by", "reason", "at")
    _check_key(key, pause_name(row["alertname"]))
    return row


def _checked_window(key: str, row: Dict[str, Any]) -> Window:
    if row["kind"] != "maintenance":
        raise ValueError("kind is neither pause nor maintenance")
    _check_texts(row, "id", "starts_at", "ends_at", "by", "reason")
    _check_key(key, window_name(row["id"]))
    parsed = matchers.parse(",".join(row["matchers"]))
    return Window(row, parsed, clock.to_seconds(row["ends_at"]))


def _check_texts(row: Dict[str, Any], *names: str) -> None:
    for name in names:
        if not isinstance(row[name], str):
            raise ValueError(f"{name} is not a string")


def _check_key(key: str, name: str) -> None:
    # The actions could not remove a row whose key they would not write.
    if key != rows.key(rows.CONTROL, name):
        raise ValueError("its key does not match its contents")
