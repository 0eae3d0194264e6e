"""``lrsearch db``: creates, upgrades and checks the tables."""

import typer

from lrsearch.cli.parameters import StorageOption, open_storage, storage_url
from lrsearch.errors import DatabaseSetupError


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="The database: its tables and their revision. Keep passwords out of the command line: "
        "give their URL in [b]LRSEARCH_STORAGE[/].\n\n[b]Example[/]: lrsearch db check",
        no_args_is_help=True,
    )
    group.command()(upgrade)
    group.command()(check)
    group.command()(clean)
    app.add_typer(group, name="db")


def upgrade(storage: StorageOption = None) -> None:
    """Create the tables or bring them to the newest revision.

    [b]Example[/]: lrsearch db upgrade
    """
    from lrsearch.storage.database import check_database, upgrade_database

    before = check_database(storage_url(storage))
    status = upgrade_database(storage_url(storage))
    typer.echo(
        f"{status.masked_url}: tables are at revision {status.revision}, Optuna's at {status.optuna_revision}"
    )
    if before.of_local_times:
        typer.echo(
            f"It was one of Optuna {before.optuna_version} and is one of Optuna {status.optuna_version} now. "
            "Times of trials are UTC from here on; those of earlier trials stay as they are, in local time."
        )


def check(storage: StorageOption = None) -> None:
    """Say whether the tables are current.

    [b]Example[/]: lrsearch db check
    """
    from lrsearch.storage.database import check_database

    status = check_database(storage_url(storage))
    typer.echo(f"database  {status.masked_url}")
    typer.echo(f"revision  {status.revision or 'no tables yet'} (this version needs {status.head})")
    made_by = f", by Optuna {status.optuna_version}" if status.of_local_times else ""
    typer.echo(f"Optuna    {status.optuna_revision or 'no tables yet'}{made_by}")
    typer.echo(f"studies   {status.studies}")
    if status.orphans:
        typer.echo(
            f"orphans   rows of {len(status.orphans)} studies that were deleted elsewhere: lrsearch db clean"
        )
    if status.of_local_times:
        raise DatabaseSetupError(
            f"programs of Optuna {status.optuna_version} store other times than this version; stop them, "
            f"then run: lrsearch db upgrade --storage {status.masked_url}"
        )
    if not status.current:
        raise DatabaseSetupError(
            f"the tables are not current; run: lrsearch db upgrade --storage {status.masked_url}"
        )


def clean(storage: StorageOption = None) -> None:
    """Delete the rows that are left of studies which were deleted elsewhere, as in a dashboard.

    [b]Example[/]: lrsearch db clean
    """
    from lrsearch.storage.orphans import delete_orphans

    with open_storage(storage) as database:
        deleted = database.transaction(delete_orphans)
    typer.echo(f"Deleted what was left of {len(deleted)} studies.")
