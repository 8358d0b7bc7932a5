"""A question that may hang, asked so that whoever looks is answered all the same."""

import threading
import time


class TimeLimited:
    """A callable that gives what ``question`` answers, or says that it takes too long.

    The question is asked in a thread of its own, and by one at a time: while it hangs, whoever asks
    waits for that answer, and not for a further one.

    :param question: callable; what it raises is raised to whoever asked.
    :param seconds: how long to wait for an answer.
    :param otherwise: callable that gives the answer instead, from the seconds that it has taken.
    """

    def __init__(self, question, seconds, otherwise):
        self._question = question
        self._seconds = seconds
        self._otherwise = otherwise
        self._lock = threading.Lock()
        self._asked = None  # the _Answer that is waited for

    def __call__(self):
        with self._lock:
            if self._asked is None or self._asked.done.is_set():
                self._asked = _Answer(self._question)
            asked = self._asked
        if asked.done.wait(self._seconds):
            return asked.get()
        return self._otherwise(time.monotonic() - asked.since)


class _Answer:
    def __init__(self, question):
        self.since = time.monotonic()
        self.done = threading.Event()
        threading.Thread(target=self._ask, args=(question,), daemon=True).start()

    def get(self):
        if self._error:
            raise self._error
        return self._value

    def _ask(self, question):
        self._value = self._error = None
        try:
            self._value = question()
        except Exception as error:
            self._error = error
        self.done.set()
