"""Which database errors pass by themselves, and how long they are waited for."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import stamina
from optuna.exceptions import StorageInternalError
from sqlalchemy import exc

from lrsearch.errors import DatabaseLostError
from lrsearch.storage.address import StorageAddress
from lrsearch.storage.counters import RETRIES

Result = TypeVar("Result")

_STORAGE_ERRORS = (StorageInternalError, exc.SQLAlchemyError)

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0
JITTER_S = 0.5  # keeps the workers that lost one server from coming back to it all at once

# Whether this thread is already inside a call that retries (only the outermost one does), or must not wait.
_thread = threading.local()

# What is retried is worth a line in a log that somebody keeps, but none on the user's terminal.
logging.getLogger("stamina").addHandler(logging.NullHandler())


def with_retries(
    call: Callable[[], Result],
    address: StorageAddress,
    retry_s: float,
    passes: Callable[[BaseException], bool] | None = None,
) -> Result:
    """Return what ``call`` returns, repeating it while the database is locked or unreachable.

    Args:
        call: reads or writes the database; it is repeated as a whole, so it must stand being repeated.
        address: the database, for the message.
        retry_s: how long to go on repeating, in seconds.
        passes: tells errors that pass by themselves from others; lost connections and locks if None.

    Raises:
        DatabaseLostError: the database has not answered for ``retry_s``.
    """
    if getattr(_thread, "retries", False):
        return call()
    _thread.retries = True
    try:
        return _repeat(call, address, retry_s, passes or is_transient)
    finally:
        _thread.retries = False


def _repeat(
    call: Callable[[], Result],
    address: StorageAddress,
    retry_s: float,
    passes: Callable[[BaseException], bool],
) -> Result:
    try:
        return call()
    except _STORAGE_ERRORS as error:
        if not passes(error):
            raise
    waits = not getattr(_thread, "waits_not", False)
    try:
        # Once more at once, for a pool hands out each of its lost connections once.
        return _with_delays(call, retry_s if waits else 0.0, passes)
    except _STORAGE_ERRORS as error:
        if not passes(error):
            raise
        raise DatabaseLostError(
            f"{address} has not answered for {retry_s:g} s: {in_few_words(error, address)}. "
            "Nothing that was stored is lost: run the same command again once it is back."
        ) from error


def _with_delays(
    call: Callable[[], Result], retry_s: float, passes: Callable[[BaseException], bool]
) -> Result:
    attempts = stamina.retry_context(
        on=lambda error: isinstance(error, _STORAGE_ERRORS) and passes(error),
        attempts=None if retry_s else 1,
        timeout=retry_s or None,
        wait_initial=FIRST_DELAY_S,
        wait_max=LONGEST_DELAY_S,
        wait_jitter=min(JITTER_S, LONGEST_DELAY_S),
    )
    for attempt in attempts:
        RETRIES.add()
        with attempt:
            return call()
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def without_waiting() -> Iterator[None]:
    """Let this thread's calls fail at once where the database is locked or unreachable."""
    before = getattr(_thread, "waits_not", False)
    _thread.waits_not = True
    try:
        yield
    finally:
        _thread.waits_not = before


def is_transient(error: BaseException) -> bool:
    """Return whether an error says that the database is locked or the connection to it is lost."""
    return any(_is_busy(cause) or _is_lost(cause) for cause in causes(error))


def is_busy(error: BaseException) -> bool:
    """Return whether an error says that another process holds SQLite's lock."""
    return any(_is_busy(cause) for cause in causes(error))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, its cause, the cause's cause, and so on down to the driver's."""
    while error is not None:
        yield error
        error = error.__cause__


def driver_error(error: BaseException) -> BaseException:
    """Return the driver's own error at the bottom of SQLAlchemy's and Optuna's."""
    *_, deepest = causes(error)
    return deepest


def in_few_words(error: BaseException, address: StorageAddress) -> str:
    """Return the driver's message on one line, without secrets."""
    message = " ".join(str(driver_error(error)).split())
    return address.mask(message).rstrip(".?")


def _is_busy(error: BaseException) -> bool:
    busy = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
    # The upper bytes of a SQLite error code only detail the lowest one.
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in busy


def _is_lost(error: BaseException) -> bool:
    if isinstance(error, exc.DBAPIError):
        # SQLite says OperationalError for wrong SQL too; there is no connection to lose.
        if isinstance(error.orig, sqlite3.Error):
            return False
        return error.connection_invalidated or isinstance(error, exc.OperationalError | exc.InterfaceError)
    # Optuna answers a lost connection with a second query on the same session, hence PendingRollbackError.
    return isinstance(error, exc.TimeoutError | exc.PendingRollbackError)
