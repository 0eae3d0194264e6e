"""How long a process has been in touch with the database: it judges others only after a whole lease."""

import threading

# Half of a lease without a word, and one cannot know any more that other workers could renew theirs.
LONGEST_GAP_LEASES = 0.5
LATE_S = 1.0


class Contact:
    """The time, by the database's clock, since when a process has heard from it without a gap.

    After an outage, or a sleep of the machine, all leases may have run out although nobody has died. Who has
    been in touch for a whole lease without a gap knows that the others had the time to renew theirs.

    Args:
        lease_s: how long a claim lasts without being renewed, in seconds.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._lock = threading.Lock()
        self._since: float | None = None
        self._last = 0.0

    def heard(self, now: float) -> None:
        """Note an answer of the database.

        Args:
            now: its time, in unix seconds.
        """
        with self._lock:
            gap = now - self._last
            if -LATE_S <= gap < 0:  # an answer to another thread has come first
                return
            if self._since is None or not 0 <= gap <= LONGEST_GAP_LEASES * self._lease_s:
                self._since = now
            self._last = now

    @property
    def lasts_a_lease(self) -> bool:
        """Whether other workers had the time to renew their leases: whose has run out is dead."""
        with self._lock:
            return self._since is not None and self._last - self._since >= self._lease_s
