"""Time as the database tells it: the one clock that the workers of a study share."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

_NOW = {
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    # Not now(), which is the time at which the transaction began.
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)",
}


class Now(FunctionElement[float]):
    """The database's time in unix seconds, as part of a statement."""

    type = sa.Double()
    inherit_cache = True


@compiles(Now)
def _compiled(_now: Now, compiler: Any, **_options: Any) -> str:
    return _NOW[compiler.dialect.name]


def unix_seconds(connection: sa.Connection) -> float:
    """Return the database's time in unix seconds."""
    return connection.execute(sa.select(Now())).scalar_one()


def naive_utc(connection: sa.Connection) -> datetime:
    """Return the database's time as it is stored: UTC without a time zone."""
    return from_unix_seconds(unix_seconds(connection))


def from_unix_seconds(seconds: float) -> datetime:
    """Return a time in unix seconds as others are stored: naive UTC."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def isoformat(stored: datetime) -> str:
    """Return a stored time in ISO 8601, with its time zone."""
    return stored.replace(tzinfo=UTC).isoformat(timespec="seconds")
