"""Lets the other threads of a process go on during a long computation.

A sensor's threads share one processor, and under eventlet's monkey patch one goes on until it waits
for something: without this, nothing is answered while thousands of alerts are decided.
"""

import time

EVERY_SECONDS = 0.01


class Turns:
    """A callable for the inside of a loop: now and then it lets the others have their turn."""

    def __init__(self) -> None:
        self._due = time.perf_counter() + EVERY_SECONDS

    def __call__(self) -> None:
        if time.perf_counter() >= self._due:
            time.sleep(0)
            self._due = time.perf_counter() + EVERY_SECONDS
