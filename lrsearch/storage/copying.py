"""Copies all studies from one database to an empty one, of either kind, while workers go on."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from lrsearch.errors import DatabaseLostError, DatabaseSetupError
from lrsearch.storage.address import StorageAddress, parse_address
from lrsearch.storage.database import Database, open_database, open_existing
from lrsearch.storage.optuna_tables import OPTUNA_TABLES
from lrsearch.storage.orphans import count_studies
from lrsearch.storage.retry import in_few_words
from lrsearch.storage.schema import explained, read_schema
from lrsearch.storage.tables import FREE, LEASED, VERSION_TABLE, Base, SlotRow, WorkerRow

BATCH_ROWS = 1000

# What both sides have from their creation, as both are of the newest revision.
VERSION_TABLES = frozenset({"alembic_version", "version_info", VERSION_TABLE})
COPIED_TABLES = (OPTUNA_TABLES | frozenset(Base.metadata.tables)) - VERSION_TABLES


@dataclass(frozen=True)
class Copied:
    """What a copy holds.

    Args:
        source: the storage URL that was read, without its password.
        target: the storage URL that was written, without its password.
        studies: number of studies.
        rows: number of rows of all tables.
        released: trials that were running, and are free to go on in the copy.
    """

    source: str
    target: str
    studies: int
    rows: int
    released: int


def copy_database(source_url: str | None, target_url: str | None) -> Copied:
    """Copy everything as it is at one moment; workers of the source need not stop.

    Trials that are running are free in the copy: a worker there goes on with them, from their checkpoints if
    it can read these.

    Args:
        source_url: of a database with current tables; see ``parse_address``.
        target_url: of a database without studies, whose tables are made if there are none.

    Raises:
        DatabaseSetupError: one of them cannot be used, they are the same, or the target holds something.
        DatabaseLostError: one of them went away meanwhile; the target is as empty as before.
    """
    source, target = parse_address(source_url), parse_address(target_url)
    _refuse_same(source, target)
    with explained(target):
        _refuse_tables(target)
    return _copy_to(source, target, target.masked_url)


def back_up(url: str | None, file: Path, *, overwrite: bool) -> Copied:
    """Copy everything into a SQLite file, which appears whole or not at all.

    Args:
        url: of a database with current tables; see ``parse_address``.
        file: to write; it can be used as a database itself.
        overwrite: whether a file that exists is replaced.

    Raises:
        DatabaseSetupError: the database or the file cannot be used, or the file exists.
        DatabaseLostError: the database went away meanwhile.
    """
    source, target = parse_address(url), parse_address(_url_of(file))
    _refuse_same(source, target)
    _refuse_existing(file, overwrite=overwrite)
    with explained(target):
        # Beside it, for a rename keeps to one file system; a folder, for SQLite puts files beside its own.
        beside = tempfile.TemporaryDirectory(prefix=".lrsearch-", dir=file.parent)
    with beside as folder:
        part = Path(folder) / file.name
        copied = _copy_to(source, parse_address(_url_of(part)), target.masked_url)
        _leave_log(part)  # so that who reads the file leaves nothing beside it
        _refuse_existing(file, overwrite=overwrite)  # it may have come meanwhile
        part.replace(file)
    return copied


def restore(file: Path, url: str | None) -> Copied:
    """Copy everything out of a SQLite file, which stays as it is.

    Args:
        file: a backup, or the SQLite database of any run.
        url: of a database without studies; see ``parse_address``.

    Raises:
        DatabaseSetupError: there is no such file, or one of them cannot be used.
        DatabaseLostError: the database went away meanwhile; it is as empty as before.
    """
    if not file.is_file():
        raise DatabaseSetupError(
            f"a restore reads a file that a backup wrote, and there is no file {str(file)!r}. "
            "To write one: lrsearch db backup FILE"
        )
    return copy_database(_url_of(file), url)


def _url_of(file: Path) -> str:
    return sa.URL.create("sqlite", database=str(file)).render_as_string()


def _copy_to(source: StorageAddress, target: StorageAddress, shown: str) -> Copied:
    """Copy to a target that is shown to the user as another one, whose name it gets at last."""
    with (
        open_existing(source.url, read_only=True) as read,
        open_database(target.url) as written,
        _told(source, shown),
    ):
        return _copy(read, written, shown)


def _refuse_same(source: StorageAddress, target: StorageAddress) -> None:
    paths = [None if each.path is None else each.path.resolve() for each in (source, target)]
    if paths[0] == paths[1] and (paths[0] is not None or source.url == target.url):
        raise DatabaseSetupError(
            f"a copy goes from one database to another, but {source} was named for both. "
            "Name the one to copy from by --storage, or by LRSEARCH_STORAGE."
        )


def _refuse_existing(file: Path, *, overwrite: bool) -> None:
    if not file.exists():
        return
    if not overwrite:
        raise DatabaseSetupError(
            f"a backup overwrites no file unasked, and {str(file)!r} exists. "
            "Name another one, or overwrite it: --force"
        )
    try:
        _leave_log(file)  # which takes away what lies beside it, and nobody can who is not alone
    except sqlite3.OperationalError as error:
        raise DatabaseSetupError(
            f"a backup overwrites no database that a program has open, and {str(file)!r} is one: {error}. "
            "End that program, or name another file."
        ) from None
    except sqlite3.DatabaseError:  # no database
        return


def _leave_log(file: Path) -> None:
    """Let a SQLite file be one file, as long as nobody opens it for writing.

    Raises:
        sqlite3.OperationalError: another connection has it open.
    """
    with closing(sqlite3.connect(file, timeout=0)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")


def _refuse_tables(target: StorageAddress) -> None:
    """Refuse tables of Optuna's alone, before ours are put beside them."""
    schema = read_schema(target)
    if schema.tables and not schema.complete:
        raise _not_empty(target)


def _not_empty(target: StorageAddress) -> DatabaseSetupError:
    return DatabaseSetupError(
        f"everything is copied into an empty database, and {target} holds studies or tables already. "
        "Name a new SQLite file, or a PostgreSQL database made for it: createdb NAME"
    )


@contextmanager
def _told(source: StorageAddress, target: str) -> Iterator[None]:
    """Tell in few words why a copy broke off."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise DatabaseLostError(
            f"the copy from {source} to {target} broke off, and nothing of it was stored: "
            f"{in_few_words(error, source)}. Run the same command again once both can be reached."
        ) from None


def _copy(source: Database, target: Database, shown: str) -> Copied:
    with _snapshot(source) as reading, target.optuna_storage.engine.begin() as writing:
        tables = _tables(writing)
        if any(
            writing.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).all() for table in tables
        ):
            raise _not_empty(target.address)
        rows = sum(_copy_table(reading, writing, table) for table in tables)
        if target.address.backend == "postgresql":
            for table in tables:
                _set_sequence(writing, table)
        released = _release(writing)
        studies = count_studies(writing)
    return Copied(source.masked_url, shown, studies, rows, released)


@contextmanager
def _snapshot(source: Database) -> Iterator[sa.Connection]:
    """Read the source as it is now, whatever its workers write meanwhile, and keep none of them waiting."""
    with source.optuna_storage.engine.connect() as connection:
        if source.address.backend == "sqlite":
            connection.exec_driver_sql("BEGIN")  # the driver begins none for a SELECT
        else:
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


def _tables(connection: sa.Connection) -> list[sa.Table]:
    """Return the tables to copy, those that others refer to first, as this database has them."""
    metadata = sa.MetaData()
    metadata.reflect(connection, only=lambda name, _metadata: name in COPIED_TABLES)
    return metadata.sorted_tables


def _copy_table(reading: sa.Connection, writing: sa.Connection, table: sa.Table) -> int:
    # Reflected on both sides: an enumeration of PostgreSQL is text in SQLite.
    stored = sa.Table(table.name, sa.MetaData(), autoload_with=reading, resolve_fks=False)
    columns = [stored.c[column.name] for column in table.columns]
    query = sa.select(*columns).execution_options(yield_per=BATCH_ROWS)
    found = reading.execute(query).mappings()
    count = 0
    for batch in found.partitions():
        writing.execute(sa.insert(table), [dict(row) for row in batch])
        count += len(batch)
    return count


def _set_sequence(connection: sa.Connection, table: sa.Table) -> None:
    """Let PostgreSQL number the next row after those that have come with their numbers."""
    [key, *rest] = table.primary_key.columns
    if rest or not isinstance(key.type, sa.Integer):
        return
    sequence = connection.scalar(sa.select(sa.func.pg_get_serial_sequence(table.name, key.name)))
    highest = connection.scalar(sa.select(sa.func.max(key)))
    if sequence is not None and highest is not None:
        connection.execute(sa.select(sa.func.setval(sequence, highest)))


def _release(connection: sa.Connection) -> int:
    """Free what workers of the source hold: none of them will renew a lease here."""
    free = sa.update(SlotRow).where(SlotRow.state == LEASED)
    freed = connection.execute(
        free.values(state=FREE, attempt=SlotRow.attempt + 1, worker=None, lease_until=None)
    )
    left = sa.update(WorkerRow).where(WorkerRow.left_at.is_(None))
    connection.execute(left.values(left_at=WorkerRow.seen_at))
    return freed.rowcount
