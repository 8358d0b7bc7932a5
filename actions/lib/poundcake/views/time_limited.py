"""Calls a function that may hang, without letting its caller hang."""

import threading
import time
from typing import Any, Callable, Optional


class TimeLimited:
    """A callable that returns what a function returns, or a substitute when that takes too long.

    The function runs in a thread of its own, and only once at a time: while it hangs, all callers
    wait for the same run.

    :param function: callable; what it raises is raised to the caller.
    :param seconds: how long to wait for it.
    :param otherwise: callable that returns the substitute, given the seconds since the call began.
    """

    def __init__(
        self, function: Callable[[], Any], seconds: float, otherwise: Callable[[float], Any]
    ):
        self._function = function
        self._seconds = seconds
        self._otherwise = otherwise
        self._lock = threading.Lock()
        self._call: Optional[_Call] = None  # the _Call that is running or ran last

    def __call__(self) -> Any:
        with self._lock:
            if self._call is None or self._call.done.is_set():
                self._call = _Call(self._function)
            call = self._call
        if call.done.wait(self._seconds):
            return call.result()
        return self._otherwise(time.monotonic() - call.since)


class _Call:
    def __init__(self, function: Callable[[], Any]):
        self._value: Any = None
        self._error: Optional[Exception] = None
        self.since = time.monotonic()
        self.done = threading.Event()
        threading.Thread(target=self._run, args=(function,), daemon=True).start()

    def result(self) -> Any:
        if self._error:
            raise self._error
        return self._value

    def _run(self, function: Callable[[], Any]) -> None:
        try:
            self._value = function()
        except Exception as error:
            self._error = error
        self.done.set()
