"""Where the database is: reads a storage URL, refuses what cannot work, and never shows its password."""

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from lrsearch.errors import DatabaseSetupError
from lrsearch.storage.masking import masked

DEFAULT_URL = "sqlite:///lrsearch.db"

# The first name of each is what the others mean.
SQLITE_DIALECTS = ("sqlite", "sqlite+pysqlite")
POSTGRESQL_DIALECTS = ("postgresql+psycopg", "postgresql", "postgres")

_EXAMPLES = "Examples: sqlite:///studies.db, postgresql://user:password@host:5432/database."


@dataclass(frozen=True)
class StorageAddress:
    """A storage URL that can be used; only its masked form is ever printed.

    Args:
        url: the URL for SQLAlchemy, password included.
        masked_url: the URL for people, with ``***`` for the password.
        backend: ``sqlite`` or ``postgresql``.
        path: the SQLite file, or None.
        secrets: the texts that no message may contain.
        read_only: whether connections refuse to change anything.
    """

    url: str = field(repr=False)
    masked_url: str
    backend: str
    path: Path | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    read_only: bool = False

    def __str__(self) -> str:
        return self.masked_url

    def mask(self, text: str) -> str:
        """Return ``text`` with every secret of this address replaced by ``***``."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def parse_address(url: str | None = None) -> StorageAddress:
    """Read a storage URL.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``, percent-encoded;
            ``sqlite:///lrsearch.db`` if None.

    Raises:
        DatabaseSetupError: the URL is malformed, of another database, in memory, or below a folder that
            does not exist; or the driver for PostgreSQL is missing.
    """
    text = DEFAULT_URL if url is None else url.strip()
    parsed = _parse(text)
    if parsed.drivername in SQLITE_DIALECTS:
        return _sqlite(parsed)
    if parsed.drivername in POSTGRESQL_DIALECTS:
        return _postgresql(parsed)
    raise DatabaseSetupError(
        f"lrsearch stores studies in SQLite or PostgreSQL (driver psycopg), got the dialect "
        f"{parsed.drivername!r} in {masked(text)}. {_EXAMPLES}"
    )


def engine_options(address: StorageAddress) -> dict[str, Any]:
    """Return the keyword arguments of ``sqlalchemy.create_engine`` for this address."""
    options: dict[str, Any] = {}
    if address.backend == "sqlite":
        from lrsearch.storage.sqlite import ReadOnlyConnection, WriteAheadConnection

        factory = ReadOnlyConnection if address.read_only else WriteAheadConnection
        # Waiting 5 s for a lock, the driver's default, killed 3 of 4 workers beside one long writer.
        options["connect_args"] = {"timeout": 30.0, "factory": factory}
    else:
        # A vanished server must become an error within a minute, not after the system's two hours.
        wanted = {
            "connect_timeout": 10,
            "keepalives_idle": 20,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,  # no keepalives are sent while an answer is waited for
        }
        given = make_url(address.url).query
        options["connect_args"] = {name: value for name, value in wanted.items() if name not in given}
        options["execution_options"] = {"postgresql_readonly": address.read_only}
    return options


def _parse(text: str) -> URL:
    try:
        parsed = make_url(text)
    except (ArgumentError, ValueError, TypeError):
        raise DatabaseSetupError(
            f"a storage URL reads DIALECT://..., got {masked(text)!r}. {_EXAMPLES}"
        ) from None
    if text.partition("?")[0].count("@") > 1:
        raise DatabaseSetupError(
            f"a '@' inside a user name or password must be percent-encoded as %40, got {masked(text)!r}."
        )
    return parsed


def _sqlite(url: URL) -> StorageAddress:
    if url.query or url.host:
        raise DatabaseSetupError(
            f"a SQLite URL names a file and has no options and no host, got {masked(str(url))!r}. Write "
            "sqlite:///relative.db with three slashes, sqlite:////absolute.db with four."
        )
    if url.database in (None, "", ":memory:") or str(url.database).startswith("file:"):
        raise DatabaseSetupError(
            f"studies must outlive the process, so a SQLite URL names a file, got {str(url)!r}. "
            f"Try {DEFAULT_URL}."
        )
    path = Path(str(url.database))
    if not path.parent.is_dir():
        raise DatabaseSetupError(
            f"a SQLite file is created only in a folder that exists, got {str(path)!r}. "
            f"Create it first: mkdir -p {path.absolute().parent}"
        )
    if path.is_dir():
        raise DatabaseSetupError(
            f"a SQLite URL names a file, got the folder {str(path)!r}. Try {path}/lrsearch.db."
        )
    text = url.set(drivername=SQLITE_DIALECTS[0]).render_as_string()
    return StorageAddress(url=text, masked_url=text, backend="sqlite", path=path)


def _postgresql(url: URL) -> StorageAddress:
    try:
        import_module("psycopg")
    except ImportError:
        raise DatabaseSetupError(
            f"PostgreSQL needs the driver psycopg, which is not installed, got {masked(str(url))}. "
            "Install it: pip install 'lrsearch[postgres]'"
        ) from None
    url = url.set(drivername=POSTGRESQL_DIALECTS[0])
    in_query = [value for name, value in url.query.items() if "pass" in name.lower()]
    plain = [secret for secret in (url.password, *in_query) if isinstance(secret, str) and secret]
    # As they stand in a URL too: whatever repeats one repeats it so.
    secrets = dict.fromkeys([*plain, *(quote(secret, safe=safe) for secret in plain for safe in ("", " +"))])
    return StorageAddress(
        url=url.render_as_string(hide_password=False),
        masked_url=masked(url.set(drivername="postgresql").render_as_string(hide_password=True)),
        backend="postgresql",
        secrets=tuple(secrets),
    )
