"""A database that does not answer for a while: noticed, tried again, and waited for only so long."""

import time
from collections.abc import Callable
from typing import TypeVar

from lrsearch.errors import DatabaseLostError
from lrsearch.storage.address import StorageAddress
from lrsearch.storage.retry import FIRST_DELAY_S, without_waiting

Result = TypeVar("Result")

LONGEST_DELAY_S = 10.0


class Outage:
    """Makes calls that a worker can do without for a while, so that it trains on meanwhile.

    Args:
        address: the database, for the message.
        patience_s: how long it may stay away, in seconds; None lets every call wait by itself, as others do.
    """

    def __init__(self, address: StorageAddress, patience_s: float | None) -> None:
        self._address, self._patience_s = address, patience_s
        self._since: float | None = None
        self._next_try = 0.0
        self._delay_s = FIRST_DELAY_S
        self._notes: list[str] = []

    @property
    def lasts(self) -> bool:
        """Whether the last call was not answered."""
        return self._since is not None

    def attempt(self, call: Callable[[], Result], otherwise: Result) -> Result:
        """Return what a call returns, or something else while the database does not answer.

        After a call that was not answered, the next ones are not made for a while.

        Args:
            call: reads or writes the database; it must stand being repeated.
            otherwise: what is returned if it is not answered.

        Raises:
            DatabaseLostError: the database has not answered for longer than the patience.
        """
        if self._patience_s is None:
            return call()
        if self._since is not None and time.monotonic() < self._next_try:
            return otherwise
        try:
            with without_waiting():
                answer = call()
        except DatabaseLostError as error:
            self._note(error)
            return otherwise
        if self._since is not None:
            self._notes.append(f"the database is back after {time.monotonic() - self._since:.0f} s")
        self._since, self._delay_s = None, FIRST_DELAY_S
        return answer

    def try_now(self) -> None:
        """Let the next call be made, however short ago the last one was."""
        self._next_try = 0.0

    def take_notes(self) -> tuple[str, ...]:
        """Return what a user should know of it, and has not been told yet."""
        notes, self._notes = tuple(self._notes), []
        return notes

    def _note(self, error: DatabaseLostError) -> None:
        now = time.monotonic()
        if self._since is None:
            self._since = now
            self._notes.append(
                f"{self._address} does not answer; training goes on, and what it learns is stored once the "
                f"database is back, within {self._patience_s:g} s"
            )
        if self._patience_s is not None and now - self._since > self._patience_s:
            raise DatabaseLostError(
                f"{self._address} has not answered for {now - self._since:.0f} s, longer than "
                f"run.storage_patience_s = {self._patience_s:g}. What was stored is kept: run the same "
                "command again once it is back, and its trials go on."
            ) from error
        self._next_try = now + self._delay_s
        self._delay_s = min(2 * self._delay_s, LONGEST_DELAY_S)
