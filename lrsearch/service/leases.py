"""Keeps a worker's leases alive while it trains, and gives its trials up if it hangs."""

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from lrsearch.errors import DatabaseLostError
from lrsearch.results import Claim
from lrsearch.storage.counters import RENEWALS
from lrsearch.storage.expiry import expire_leases
from lrsearch.storage.retry import without_waiting
from lrsearch.storage.slots import Slots
from lrsearch.storage.workers import free_the_dead, see_worker
from lrsearch.training.pulse import beats

RENEWALS_PER_LEASE = 3
RETRY_S = 5.0
LOOKS_PER_STALL = 4
EXIT_STALLED = 70  # "internal software error", as in sysexits.h
SHOW_CURSOR = "\x1b[?25h"  # a progress display that is cut off has hidden it


class LeaseKeeper:
    """A thread that renews the leases of the claims that a worker holds, as long as its training goes on.

    Args:
        slots: the study's budget.
        worker: its name; the database keeps when it was last seen.
        stall_timeout_s: seconds without a step after which a training hangs: its trials are given up, to be
            begun again by others.
        exits: whether the process ends then, with ``EXIT_STALLED``; one that others use for more must not.
    """

    def __init__(
        self, slots: Slots, worker: str, stall_timeout_s: float = float("inf"), *, exits: bool = True
    ) -> None:
        self._slots, self._worker = slots, worker
        self._stall_timeout_s, self._exits = stall_timeout_s, exits
        self._claims: tuple[Claim, ...] = ()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lrsearch-leases", daemon=True)
        self._trains = False
        self._last_step = (beats(), time.monotonic())
        self._given_up_after: int | None = None  # steps that had finished when it last gave its trials up

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

    @contextmanager
    def training(self) -> Iterator[None]:
        """Say that steps are to follow one another while the context lasts."""
        self._last_step = (beats(), time.monotonic())
        self._given_up_after = None
        self._trains = True
        try:
            yield
        finally:
            self._trains = False

    def _keep(self) -> None:
        renewal_s = self._slots.lease_s / RENEWALS_PER_LEASE
        look_s = min(renewal_s, self._stall_timeout_s / LOOKS_PER_STALL)
        next_renewal = time.monotonic() + renewal_s
        while not self._ended.wait(min(look_s, max(0.0, next_renewal - time.monotonic()))):
            if self._stalls():
                self._give_up()
            if time.monotonic() < next_renewal:
                continue
            answered = self._hangs or self._renewed()
            next_renewal = time.monotonic() + (renewal_s if answered else min(renewal_s, RETRY_S))

    def _renewed(self) -> bool:
        """Renew the leases; return whether the database has answered."""
        try:
            with without_waiting():  # to leave must not take as long as a database is waited for
                self._renew()
        except Exception:  # the loop's own next write meets the error and reports it
            return False
        return True

    def _renew(self) -> None:
        with self._lock:
            claims = self._claims
        RENEWALS.add(len(self._slots.renew(claims)))
        see_worker(self._slots.database, self._worker)
        free_the_dead(self._slots.database, self._slots.study_uuid)

    @property
    def _hangs(self) -> bool:
        """Whether its trials were given up and no step has finished since: to renew would take them back."""
        return self._trains and self._given_up_after == beats()

    def _stalls(self) -> bool:
        steps, since = self._last_step
        if not self._trains or beats() != steps:
            self._last_step = (beats(), time.monotonic())
            return False
        return time.monotonic() - since > self._stall_timeout_s

    def _give_up(self) -> None:
        self._last_step = (beats(), time.monotonic())
        self._given_up_after = beats()
        with suppress(DatabaseLostError), without_waiting():  # else its leases run out by themselves
            expire_leases(self._slots.database, self._slots.study_uuid, self._worker)
        if not self._exits:
            return
        cursor = SHOW_CURSOR if sys.stderr.isatty() else ""
        sys.stderr.write(
            f"{cursor}\nError: no step of the training has finished for {self._stall_timeout_s:g} s "
            f"(run.stall_timeout_s). Worker {self._worker} gives up its trials, which others begin again, "
            "and exits. A step that takes longer needs a larger run.stall_timeout_s.\n"
        )
        sys.stderr.flush()
        os._exit(EXIT_STALLED)
