"""The lock under which tables and studies are created."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from filelock import FileLock, Timeout

from lrsearch.errors import DatabaseSetupError
from lrsearch.storage.address import StorageAddress, engine_options

# Any number that no other program takes will do: this one spells "lrsearch".
ADVISORY_LOCK = int.from_bytes(b"lrsearch", "big")

# Longer than any migration; a process that stands still must not stop all others for ever.
TIMEOUT_S = 300


@contextmanager
def initialisation_lock(address: StorageAddress) -> Iterator[None]:
    """Keep every other process from creating or upgrading tables or studies.

    Without it, 19 of 24 workers that start at once on an empty database fail.

    Args:
        address: the database; SQLite is locked by a file beside it, PostgreSQL by an advisory lock.

    Raises:
        DatabaseSetupError: another process has held the lock for five minutes, or there can be no lock.
    """
    locked = _file_lock(address) if address.backend == "sqlite" else _advisory_lock(address)
    with locked:
        yield


@contextmanager
def _file_lock(address: StorageAddress) -> Iterator[None]:
    path = Path(f"{address.path}.init.lock")
    try:
        path.touch()  # the lock itself would wait in vain
    except OSError as error:
        raise DatabaseSetupError(
            f"a SQLite database needs a writable folder, but {path.parent} is none: {error.strerror}"
        ) from None
    lock = FileLock(path)
    try:
        lock.acquire(timeout=TIMEOUT_S)
    except Timeout:
        raise _stuck(address) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _advisory_lock(address: StorageAddress) -> Iterator[None]:
    engine = sa.create_engine(address.url, poolclass=sa.NullPool, **engine_options(address))
    # The lock is the connection's: it ends with it, and so with a process that dies.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"SET lock_timeout = '{TIMEOUT_S}s'")
        try:
            connection.execute(sa.select(sa.func.pg_advisory_lock(ADVISORY_LOCK)))
        except sa.exc.OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != "55P03":  # lock_not_available
                raise
            raise _stuck(address) from None
        yield


def _stuck(address: StorageAddress) -> DatabaseSetupError:
    return DatabaseSetupError(
        f"tables and studies are created by one process at a time, and another one has been at it for "
        f"{TIMEOUT_S} s in {address}. End it, then run the same command again."
    )
