"""What a database holds before it is opened, and why it may have to be refused."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from lrsearch.errors import DatabaseLostError, DatabaseSetupError
from lrsearch.storage import migrations
from lrsearch.storage.address import StorageAddress, engine_options
from lrsearch.storage.optuna_storage import ReliableStorage
from lrsearch.storage.optuna_tables import OPTUNA_TABLES, version_info
from lrsearch.storage.retry import driver_error, in_few_words
from lrsearch.storage.tables import PREFIX

# The first Optuna that stores the times of trials in UTC.
FIRST_OF_UTC = 5

# What SQLite's error codes mean for whoever wrote the URL.
_SQLITE_HELP = {
    sqlite3.SQLITE_NOTADB: "The file is not a SQLite database; name another one.",
    sqlite3.SQLITE_CORRUPT: "The file is damaged; restore a copy of it or name another one.",
    sqlite3.SQLITE_READONLY: "Studies are written while they run: make the file and its folder writable.",
    sqlite3.SQLITE_CANTOPEN: "Make the file readable, and its folder writable: SQLite keeps a log beside it.",
    sqlite3.SQLITE_BUSY: "Another program holds the file's lock; end it, or let it finish.",
    sqlite3.SQLITE_FULL: "The disk is full.",
}


@dataclass(frozen=True)
class Schema:
    """The revisions of the tables that a database holds.

    Args:
        tables: names of all its tables.
        revision: revision of our tables, or None.
        optuna_revision: revision of Optuna's tables, or None.
        optuna_version: the Optuna that made its tables, or has upgraded them; or None.
    """

    tables: frozenset[str]
    revision: str | None
    optuna_revision: str | None
    optuna_version: str | None = None

    @property
    def complete(self) -> bool:
        """Whether both sets of tables exist, of whatever revision."""
        return self.revision is not None and self.optuna_revision is not None

    @property
    def of_local_times(self) -> bool:
        """Whether an Optuna before 5 made Optuna's tables: its programs store local times, not UTC.

        The tables themselves are the same, so that nothing else tells.
        """
        return self.optuna_version is not None and _major(self.optuna_version) < FIRST_OF_UTC


def read_schema(address: StorageAddress) -> Schema:
    """Look at a database without changing it; a SQLite file that does not exist is empty.

    Raises:
        DatabaseSetupError: the database holds the tables of another program.
    """
    if address.path is not None and not (address.path.exists() and address.path.stat().st_size):
        return Schema(frozenset(), None, None)
    options = engine_options(address)
    if not address.read_only:
        # A look must not change the journal mode of a file that may be another program's.
        options["connect_args"].pop("factory", None)
    engine = sa.create_engine(address.url, poolclass=sa.NullPool, **options)
    with engine.connect() as connection:
        tables = frozenset(sa.inspect(connection).get_table_names())
        schema = Schema(
            tables=tables,
            revision=migrations.current_revision(connection),
            optuna_revision=migrations.current_optuna_revision(connection),
            optuna_version=_optuna_version(connection) if version_info.name in tables else None,
        )
    _refuse_foreign(schema, address)
    return schema


def check_current(schema: Schema, storage: ReliableStorage) -> None:
    """Refuse a database whose tables are older or newer than this version of lrsearch can use.

    Raises:
        DatabaseSetupError: with the command that helps.
    """
    head, optuna_head = migrations.head_revision(), storage.get_head_version()
    found = {"lrsearch": (schema.revision, head), "optuna": (schema.optuna_revision, optuna_head)}
    outdated = {product: pair for product, pair in found.items() if pair[0] not in (None, pair[1])}
    if outdated:
        check_not_newer(schema, storage)
    for product, (revision, needed) in outdated.items():
        raise DatabaseSetupError(
            f"{storage.address} has {product}'s tables of revision {revision}, and this version needs "
            f"{needed}. Stop all workers, then run: lrsearch db upgrade --storage {storage.address}"
        )
    if schema.of_local_times:
        raise DatabaseSetupError(
            f"lrsearch shares a database with programs of Optuna {FIRST_OF_UTC} or newer alone, and "
            f"{storage.address} was made by Optuna {schema.optuna_version}, whose programs store local times "
            f"where Optuna {FIRST_OF_UTC} stores UTC. Stop all those programs, "
            f"then run: lrsearch db upgrade --storage {storage.address}"
        )


def check_not_newer(schema: Schema, storage: ReliableStorage) -> None:
    """Refuse a database whose tables are newer than this version of lrsearch knows.

    Raises:
        DatabaseSetupError: with the command that helps.
    """
    known = {"lrsearch": migrations.known_revisions(), "optuna": frozenset(storage.get_all_versions())}
    found = {"lrsearch": schema.revision, "optuna": schema.optuna_revision}
    for product, revision in found.items():
        if revision is not None and revision not in known[product]:
            raise DatabaseSetupError(
                f"{storage.address} has {product}'s tables of revision {revision}, which this version does "
                f"not know: a newer one made them. Update it: pip install --upgrade {product}"
            )


@contextmanager
def explained(address: StorageAddress) -> Iterator[None]:
    """Turn whatever the database or the file system raises into a ``DatabaseSetupError`` of few words."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, DatabaseLostError) as error:
        raise DatabaseSetupError(
            f"a storage must be a database that lrsearch can read and write, and {address} is not: "
            f"{in_few_words(error, address)}. {_help(driver_error(error))}"
        ) from None
    except OSError as error:
        raise DatabaseSetupError(
            f"the folder of a SQLite file must be writable, and that of {address} is not: {error.strerror}. "
            "Choose another folder, or change its permissions."
        ) from None


def _optuna_version(connection: sa.Connection) -> str | None:
    return connection.scalar(sa.select(version_info.c.library_version))


def _major(version: str | None) -> int:
    """Return the first number of a version; one that is not numbered is taken for a newer one."""
    first = (version or "").partition(".")[0]
    return int(first) if first.isdecimal() else FIRST_OF_UTC


def _refuse_foreign(schema: Schema, address: StorageAddress) -> None:
    ours = {table for table in schema.tables if table.startswith(PREFIX)}
    if schema.tables and not ours and not schema.tables & OPTUNA_TABLES:
        raise DatabaseSetupError(
            f"lrsearch keeps to a database of its own or one of Optuna's, and {address} holds other tables: "
            f"{', '.join(sorted(schema.tables)[:5])}. Name another database, or create an empty one."
        )


def _help(error: BaseException) -> str:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return _SQLITE_HELP.get(code, "Name another file.")
    return "Check host, port, user, password and database, and that the user may create and change tables."
