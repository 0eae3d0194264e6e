"""The database of studies: opened, created, upgraded and checked."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self, TypeVar

import sqlalchemy as sa

from lrsearch.errors import DatabaseSetupError
from lrsearch.storage import migrations
from lrsearch.storage.address import StorageAddress, parse_address
from lrsearch.storage.lock import initialisation_lock
from lrsearch.storage.optuna_storage import ReliableStorage
from lrsearch.storage.optuna_tables import are_known
from lrsearch.storage.orphans import count_studies, orphans
from lrsearch.storage.retry import is_busy, with_retries
from lrsearch.storage.schema import Schema, check_current, check_not_newer, explained, read_schema
from lrsearch.storage.tables import StudyRow

Result = TypeVar("Result")

RETRY_S = 60.0


class Database:
    """An open database whose tables, Optuna's and ours, are of the newest revision.

    Made by ``open_database``. Each process opens its own: connections do not survive a fork.

    Args:
        optuna_storage: Optuna's storage, for ``optuna.load_study``; its engine serves our tables too.
    """

    def __init__(self, optuna_storage: ReliableStorage) -> None:
        self.optuna_storage = optuna_storage
        self.address = optuna_storage.address

    def __repr__(self) -> str:
        return f"Database({self.masked_url})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def masked_url(self) -> str:
        """The storage URL without its password."""
        return self.address.masked_url

    @property
    def knows_optunas_tables(self) -> bool:
        """Whether Optuna's tables may be written without Optuna, many rows at once."""
        return are_known(self.optuna_storage)

    def transaction(self, write: Callable[[sa.Connection], Result]) -> Result:
        """Return ``write(connection)``, run in one transaction that may read and write.

        Args:
            write: is run again from its start if the connection is lost, even when only the answer to its
                commit was; so it must stand being repeated.

        Raises:
            DatabaseLostError: the database has not answered for as long as is waited.
        """
        return self.optuna_storage.transaction(write)

    def read(self, query: Callable[[sa.Connection], Result]) -> Result:
        """Return ``query(connection)``, which only reads and so keeps no writer waiting.

        Raises:
            DatabaseLostError: the database has not answered for as long as is waited.
        """
        return self.optuna_storage.read(query)

    def wait_for(self, seconds: float) -> None:
        """Let every later call be repeated for at least so long while the database does not answer."""
        self.optuna_storage.retry_s = max(self.optuna_storage.retry_s, seconds)

    def initialisation_lock(self) -> AbstractContextManager[None]:
        """Keep every other process from creating or upgrading tables or studies, while the context lasts."""
        return initialisation_lock(self.address)

    def close(self) -> None:
        """Close all connections."""
        self.optuna_storage.remove_session()
        self.optuna_storage.engine.dispose()


@dataclass(frozen=True)
class DatabaseStatus:
    """What ``check_database`` found.

    Args:
        masked_url: the storage URL without its password.
        backend: ``sqlite`` or ``postgresql``.
        revision: revision of our tables, or None if there are none.
        head: the revision that this version of lrsearch needs.
        optuna_revision: revision of Optuna's tables, or None if there are none.
        current: both sets of tables are what this version needs.
        studies: number of studies; None where the tables are not current, so that nobody has counted.
        orphans: UUIDs that our rows name and no study of Optuna's carries: it was deleted elsewhere.
        optuna_version: the Optuna that made its tables or has upgraded them, or None.
        of_local_times: whether that one stores local times, so that its programs must be stopped.
        newer: why this version cannot use tables of a newer one, with what helps; else None.
    """

    masked_url: str
    backend: str
    revision: str | None
    head: str
    optuna_revision: str | None
    current: bool
    studies: int | None = None
    orphans: tuple[str, ...] = ()
    optuna_version: str | None = None
    of_local_times: bool = False
    newer: str | None = None


def open_database(url: str | None = None, *, retry_s: float = RETRY_S) -> Database:
    """Open a database; create the tables first if it is empty or Optuna's alone.

    Args:
        url: see ``parse_address``.
        retry_s: how long each later call is repeated while the database is locked or unreachable, in seconds.

    Raises:
        DatabaseSetupError: the database cannot be used as it is; the message says what helps.
    """
    address = parse_address(url)
    with explained(address):
        # A lock is waited for. A server that does not answer at the start is more likely misspelled.
        return with_retries(lambda: _open(address, retry_s), address, retry_s, passes=is_busy)


def open_existing(url: str | None = None, *, read_only: bool, retry_s: float = RETRY_S) -> Database:
    """Open a database that has all tables, and create none.

    Args:
        url: see ``parse_address``.
        read_only: whether its connections refuse to change anything.
        retry_s: how long each later call is repeated while the database is locked or unreachable, in seconds.

    Raises:
        DatabaseSetupError: the database cannot be used as it is; the message says what helps.
    """
    address = replace(parse_address(url), read_only=read_only)
    with explained(address):
        return with_retries(lambda: _open_existing(address, retry_s), address, retry_s, passes=is_busy)


def upgrade_database(url: str | None = None) -> DatabaseStatus:
    """Bring Optuna's tables and ours to the newest revision; create them if there are none.

    Args:
        url: see ``parse_address``.

    Raises:
        DatabaseSetupError: the database cannot be used, or a newer version made its tables.
    """
    address = parse_address(url)
    with explained(address), initialisation_lock(address):
        with_retries(lambda: _upgrade(address), address, RETRY_S, passes=is_busy)
    return check_database(url)


def check_database(url: str | None = None) -> DatabaseStatus:
    """Say what a database holds, without changing it.

    Args:
        url: see ``parse_address``.

    Raises:
        DatabaseSetupError: the database cannot be read, or is another program's.
    """
    address = parse_address(url)
    with explained(address):
        return with_retries(lambda: _check(address), address, RETRY_S, passes=is_busy)


def _open(address: StorageAddress, retry_s: float) -> Database:
    if not read_schema(address).complete:
        with initialisation_lock(address):
            # Another process may have been faster, which the second look sees.
            schema = read_schema(address)
            if not schema.complete:
                _create(address, schema)
    return _open_complete(address, read_schema(address), retry_s)


def _open_existing(address: StorageAddress, retry_s: float) -> Database:
    schema = read_schema(address)
    if not schema.complete:
        raise DatabaseSetupError(
            f"{address} has no tables of lrsearch yet. Create them: lrsearch db upgrade --storage {address}"
        )
    return _open_complete(address, schema, retry_s)


def _open_complete(address: StorageAddress, schema: Schema, retry_s: float) -> Database:
    database = _connect(address, retry_s)
    try:
        check_current(schema, database.optuna_storage)
        if not address.read_only:
            database.transaction(_check_writable)
    except BaseException:
        database.close()
        raise
    return database


def _why_newer(schema: Schema, storage: ReliableStorage) -> str | None:
    try:
        check_not_newer(schema, storage)
    except DatabaseSetupError as error:
        return str(error)
    return None


def _connect(address: StorageAddress, retry_s: float = RETRY_S) -> Database:
    return Database(
        ReliableStorage(address, retry_s=retry_s, skip_table_creation=True, skip_compatibility_check=True)
    )


def _create(address: StorageAddress, schema: Schema) -> None:
    with Database(ReliableStorage(address, skip_compatibility_check=True)) as database:
        check_current(schema, database.optuna_storage)
        database.transaction(migrations.upgrade)


def _upgrade(address: StorageAddress) -> None:
    schema = read_schema(address)
    with Database(ReliableStorage(address, skip_compatibility_check=True)) as database:
        storage = database.optuna_storage
        check_not_newer(schema, storage)
        if schema.of_local_times or storage.get_current_version() != storage.get_head_version():
            _upgrade_optuna(storage)
        database.transaction(migrations.upgrade)


def _upgrade_optuna(storage: ReliableStorage) -> None:
    # Without a handler on the root logger, Optuna's migrations configure logging for the whole process.
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        storage.upgrade()
    finally:
        logging.getLogger().removeHandler(handler)


def _check_writable(connection: sa.Connection) -> None:
    # Matches no row. A file, a role or a server that may only be read refuses it all the same.
    connection.execute(sa.update(StudyRow).where(sa.false()).values(uuid=StudyRow.uuid))


def _check(address: StorageAddress) -> DatabaseStatus:
    schema, head = read_schema(address), migrations.head_revision()
    status = DatabaseStatus(
        masked_url=address.masked_url,
        backend=address.backend,
        revision=schema.revision,
        head=head,
        optuna_revision=schema.optuna_revision,
        current=False,
        optuna_version=schema.optuna_version,
        of_local_times=schema.of_local_times,
    )
    if not schema.complete:
        return status
    with _connect(address) as database:
        current = (
            schema.revision == head and schema.optuna_revision == database.optuna_storage.get_head_version()
        )
        if not current or schema.of_local_times:
            return replace(status, newer=_why_newer(schema, database.optuna_storage))
        return replace(
            status, current=True, studies=database.read(count_studies), orphans=database.read(orphans)
        )
