"""The schema of our tables over time: alembic's migrations, beside Optuna's own in the same database."""

import functools
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import lrsearch
from lrsearch.errors import DatabaseSetupError
from lrsearch.storage.tables import VERSION_TABLE


def script_location() -> Path:
    """Return the folder with ``env.py`` and ``versions/``: the installed package's, else the checkout's.

    Raises:
        DatabaseSetupError: neither exists.
    """
    package = Path(lrsearch.__file__).parent
    candidates = (package / "_alembic", package.parent / "alembic")
    for folder in candidates:
        if (folder / "env.py").is_file():
            return folder
    raise DatabaseSetupError(
        f"lrsearch needs its migrations, and found none in {' or '.join(map(str, candidates))}. "
        "Install it again: pip install --force-reinstall lrsearch"
    )


def alembic_config(connection: sa.Connection | None = None) -> Config:
    """Return alembic's configuration; ``env.py`` migrates on ``connection`` if there is one."""
    config = Config()
    # The interpolation of ini files, through which this option goes, doubles a percent sign.
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: sa.Connection) -> None:
    """Create our tables, or bring them to the newest revision, in the connection's transaction."""
    command.upgrade(alembic_config(connection), "head")


def current_revision(connection: sa.Connection) -> str | None:
    """Return the revision of our tables in this database, or None if it has none."""
    return _current(connection, VERSION_TABLE)


def current_optuna_revision(connection: sa.Connection) -> str | None:
    """Return the revision of Optuna's tables in this database, or None if it has none."""
    return _current(connection, "alembic_version")


def head_revision() -> str:
    """Return the newest revision of our tables that this version of lrsearch knows."""
    head = _scripts().get_current_head()
    if head is None:
        raise DatabaseSetupError(f"lrsearch needs its migrations, and {script_location()} has none.")
    return str(head)


def known_revisions() -> frozenset[str]:
    """Return all revisions of our tables that this version of lrsearch knows."""
    return frozenset(script.revision for script in _scripts().walk_revisions())


def _scripts() -> ScriptDirectory:
    return _read_scripts(script_location())


@functools.cache
def _read_scripts(folder: Path) -> ScriptDirectory:
    return ScriptDirectory(str(folder))


def _current(connection: sa.Connection, version_table: str) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": version_table})
    revision = context.get_current_revision()
    return None if revision is None else str(revision)
