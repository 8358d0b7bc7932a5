"""What is known of the sensor's health, asked in the background.

Asking may hang as long as StackStorm's API does; whoever wants to know gets the latest answer at
once, with its age.
"""

import threading
import time
from typing import Any, Callable, Dict, Tuple

EVERY_SECONDS = 10.0
SOON_SECONDS = 1.0  # when somebody has looked
STALE_SECONDS = 25.0

Parts = Dict[str, Dict[str, Any]]


class KnownHealth:
    """The latest answer of ``ask``.

    :param ask: callable that returns ``{part: {"ok": bool, "detail": text}}``; it may hang.
    :param now: a clock that only moves forward, in seconds.
    """

    def __init__(self, ask: Callable[[], Parts], now: Callable[[], float] = time.monotonic):
        self._ask = ask
        self._now = now
        self._began = now()
        self._known: Tuple[float, Parts] = (self._began, {})
        self._wanted = threading.Event()

    def start(self) -> None:
        """Begin to ask, in a thread of its own."""
        threading.Thread(target=self._run, name="health", daemon=True).start()

    def refresh(self) -> None:
        """Ask once."""
        try:
            parts = self._ask()
        except Exception as error:
            detail = f"the check failed ({type(error).__name__})"
            parts = {"checks": {"ok": False, "detail": detail}}
        self._known = (self._now(), parts)

    def parts(self) -> Parts:
        """Return the parts as they were last seen; one more when that is too long ago."""
        return self.look()[1]

    def look(self) -> Tuple[float, Parts]:
        """Return ``(age in seconds, parts)``."""
        self._wanted.set()
        at, parts = self._known
        age = self._now() - at
        if not parts or age > STALE_SECONDS:
            what = "have not ended" if parts else "have not been made yet"
            detail = f"the checks {what}, for {age:.0f} s"
            parts = dict(parts, checks={"ok": False, "detail": detail})
        return age, parts

    def _run(self) -> None:
        while True:
            self.refresh()
            self._wanted.clear()
            time.sleep(SOON_SECONDS)
            self._wanted.wait(EVERY_SECONDS - SOON_SECONDS)
