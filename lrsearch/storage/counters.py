"""What this process has done since it began, counted for metrics."""

import threading


class Counter:
    """A number that only grows, also when several threads add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value = 0

    def add(self, count: int = 1) -> None:
        """Add a number of at least 0."""
        with self._lock:
            self._value += count

    @property
    def value(self) -> int:
        """The sum of all that was added."""
        return self._value


EPOCHS = Counter()
"""Epochs of trials that were trained here."""
RENEWALS = Counter()
"""Leases that were renewed by the clock, beside those that each stored epoch renews."""
RETRIES = Counter()
"""Calls of the database that were repeated, because it was locked or did not answer."""
