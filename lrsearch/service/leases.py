"""Keeps a worker's leases alive while it trains."""

import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from lrsearch.results import Claim
from lrsearch.storage.slots import Slots
from lrsearch.storage.workers import see_worker

RENEWALS_PER_LEASE = 3


class LeaseKeeper:
    """A thread that renews the leases of the claims that a worker holds.

    Args:
        slots: the study's budget.
        worker: its name; the database keeps when it was last seen.
    """

    def __init__(self, slots: Slots, worker: str) -> None:
        self._slots, self._worker = slots, worker
        self._claims: tuple[Claim, ...] = ()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lrsearch-leases", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def hold(self, claims: Iterable[Claim]) -> None:
        """Say which claims are to be renewed from now on."""
        with self._lock:
            self._claims = tuple(claims)

    def _renew(self) -> None:
        while not self._ended.wait(self._slots.lease_s / RENEWALS_PER_LEASE):
            with self._lock:
                claims = self._claims
            try:
                self._slots.renew(claims)
                see_worker(self._slots.database, self._worker)
            except Exception:  # renewal goes on; the loop's own next write meets the error and reports it
                continue
