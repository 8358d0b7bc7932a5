"""Reads the pauses and maintenance windows that operators have set."""

from typing import Any, Callable, Dict, List, Optional, Tuple

from poundcake import clock, matchers
from poundcake.core.controls import Controls, Window, pause_name, window_name
from poundcake.errors import UnreadableRow
from poundcake.st2 import rows
from poundcake.st2.client import StackStorm

PAUSE = "pause"
UNKNOWN_PERSON = "somebody"


def read(stackstorm: StackStorm) -> Controls:
    """Return the current Controls, with one call. A bad row never makes it fail."""
    pauses: Dict[str, Dict[str, Any]] = {}
    windows: List[Window] = []
    unreadable: Dict[str, UnreadableRow] = {}
    for key, text in sorted(stackstorm.list_keys(rows.CONTROL).items()):
        try:
            row, window = parse(key, text)
        except UnreadableRow as error:
            unreadable[key] = error
            continue
        if window is None:
            pauses[row["alertname"]] = row
        else:
            windows.append(window)
    windows.sort(key=lambda window: (-window.ends, window.row["id"]))
    return Controls(pauses, tuple(windows), unreadable)


def parse(key: str, text: str) -> Tuple[Dict[str, Any], Optional[Window]]:
    """Return the row of a control, and the window that it is, None for a pause.

    :raises UnreadableRow: when the row makes no sense.
    """
    window = None
    try:
        row: Dict[str, Any] = rows.load(text)
        if row["kind"] == PAUSE:
            _check_texts(row, "alertname", "by", "reason", "at")
            _check_key(key, pause_name(row["alertname"]))
        elif row["kind"] == "maintenance":
            _check_texts(row, "id", "starts_at", "ends_at", "by", "reason")
            _check_key(key, window_name(row["id"]))
            parsed = matchers.parse(",".join(row["matchers"]))
            window = Window(row, parsed, clock.to_seconds(row["ends_at"]))
        else:
            raise ValueError("kind is neither pause nor maintenance")
    except Exception as error:
        raise UnreadableRow(key, f"{type(error).__name__}: {error}", text)
    return row, window


def set_unreadable_aside(
    stackstorm: StackStorm,
    controls: Controls,
    set_aside: Callable[[UnreadableRow], None],
    now: float,
) -> Controls:
    """Set the rows that cannot be read aside; return the Controls that remain.

    What a key says to be a pause stays one, as it may hold a whole fleet back.

    :param set_aside: writes an entry about a row, which it leaves in its place.
    """
    for key, error in controls.unreadable.items():
        set_aside(error)
        name = key[len(rows.CONTROL) :]
        alertname = name[len(pause_name("x")) - 1 :]
        if key == rows.key(rows.CONTROL, pause_name(alertname)):
            reason = "its row could not be read, and is set aside; the pause stays"
            at = clock.to_text(now)
            about = {"alertname": alertname, "by": UNKNOWN_PERSON, "reason": reason, "at": at}
            rows.write(stackstorm, rows.CONTROL, name, {"kind": PAUSE, **about})
        else:
            stackstorm.delete_key(key)
    return read(stackstorm) if controls.unreadable else controls


def _check_texts(row: Dict[str, Any], *names: str) -> None:
    for name in names:
        if not isinstance(row[name], str):
            raise ValueError(f"{name} is not a string")


def _check_key(key: str, name: str) -> None:
    # The actions could not remove a row whose key they would not write.
    if key != rows.key(rows.CONTROL, name):
        raise ValueError("its key does not match its contents")
