"""Prints what happens, once each, in the order in which it happened."""

import time


class Timeline:
    """Lines of "seconds since zero, who, what".

    News of one moment arrives by several ways, some later than others. So a line is held back for
    `patience` seconds, and those that turn out to be older go first.

    :param zero: Unix time from which seconds are counted.
    :param show: takes a line of text.
    :param now: the clock, Unix time in seconds.
    """

    def __init__(self, zero, show=print, patience=1.0, now=time.time):
        self.zero = zero
        self.seen = {}  # key -> Unix time
        self._show = show
        self._patience = patience
        self._now = now
        self._held = []

    def add(self, key, who, what, at=None):
        """Add a line unless one with this key was added; `at` is Unix time, now unless given."""
        if key in self.seen:
            return
        self.seen[key] = self._now() if at is None else at
        self._held.append((self.seen[key], len(self.seen), who, what))

    def print_due(self, everything=False):
        """Print the lines that were held back long enough, or all."""
        self._held.sort()
        while self._held and (everything or self._held[0][0] <= self._now() - self._patience):
            at, _, who, what = self._held.pop(0)
            self._show(f"{max(0.0, at - self.zero):6.1f} s  {who:<12}  {what}")
