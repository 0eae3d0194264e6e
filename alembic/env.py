"""Runs the migrations of the tables named ``lrsearch_*``; Optuna's, in the same database, are left alone.

``lrsearch`` passes its connection through ``config.attributes``, because the interpolation of ini files
breaks percent-encoded passwords. Run by hand, as in ``alembic revision --autogenerate -m "..."``, the
database is the one that ``LRSEARCH_STORAGE`` names.
"""

import os
from collections.abc import Mapping
from typing import Any

from alembic import context
from sqlalchemy import Connection, create_engine
from sqlalchemy.schema import SchemaItem

from lrsearch.storage.address import engine_options, parse_address
from lrsearch.storage.tables import PREFIX, VERSION_TABLE, Base


def is_ours(name: str | None) -> bool:
    return name is not None and name.startswith(PREFIX) and name != VERSION_TABLE


def include_name(name: str | None, kind: str, _parents: Mapping[Any, str | None]) -> bool:
    return is_ours(name) if kind == "table" else True


def include_object(
    _object: SchemaItem, name: str | None, kind: str, _reflected: bool, _compared_to: SchemaItem | None
) -> bool:
    return is_ours(name) if kind == "table" else True


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
        include_name=include_name,
        include_object=include_object,
        render_as_batch=True,  # SQLite cannot alter a table in place
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def migrate_by_hand() -> None:
    address = parse_address(os.environ.get("LRSEARCH_STORAGE"))
    engine = create_engine(address.url, **engine_options(address))
    with engine.begin() as connection:
        migrate(connection)
    engine.dispose()


def write_sql() -> None:
    context.configure(
        url=parse_address(os.environ.get("LRSEARCH_STORAGE")).url,
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
        literal_binds=True,
        render_as_batch=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if context.is_offline_mode():
    write_sql()
elif given is None:
    migrate_by_hand()
else:
    migrate(given)
