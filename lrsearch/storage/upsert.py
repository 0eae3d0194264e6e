"""Insert statements that stand being repeated, for SQLite and PostgreSQL."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite


def upsert(
    connection: sa.Connection, table: Any, rows: Sequence[Mapping[str, Any]], key: Iterable[str]
) -> None:
    """Insert rows, or overwrite those that exist under the same key.

    Args:
        connection: a connection in a transaction.
        table: the table, or the class mapped to it.
        rows: one mapping from column names to values for each row, all with the same columns.
        key: names of the columns of the table's primary or unique key.
    """
    if not rows:
        return
    key = tuple(key)
    statement = _insert(connection, table)
    rest = {name: statement.excluded[name] for name in rows[0] if name not in key}
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=rest), list(rows))


def insert_missing(connection: sa.Connection, table: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert those rows whose key does not exist yet.

    Args:
        connection: a connection in a transaction.
        table: the table, or the class mapped to it.
        rows: one mapping from column names to values for each row, all with the same columns.
    """
    if rows:
        connection.execute(_insert(connection, table).on_conflict_do_nothing(), list(rows))


def insert_all(connection: sa.Connection, table: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows whose key is the database's to choose.

    Args:
        connection: a connection in a transaction.
        table: the table, or the class mapped to it.
        rows: one mapping from column names to values for each row, all with the same columns.
    """
    if rows:
        connection.execute(sa.insert(table), list(rows))


def _insert(connection: sa.Connection, table: Any) -> Any:
    insert: Any = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    return insert(table)
