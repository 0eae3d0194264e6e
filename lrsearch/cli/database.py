"""``lrsearch db``: creates, upgrades and checks the tables; copies them elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli.parameters import StorageOption, open_storage, storage_url
from lrsearch.errors import DatabaseSetupError

if TYPE_CHECKING:
    from lrsearch.storage.copying import Copied


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="The database: its tables, their revision, and copies of all. "
        "Keep passwords out of the command line: give their URL in [b]LRSEARCH_STORAGE[/].\n\n"
        "[b]Example[/]: lrsearch db check",
        no_args_is_help=True,
    )
    for function in (upgrade, check, clean, backup, restore, copy):
        group.command()(function)
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
    if status.studies is not None:
        typer.echo(f"studies   {status.studies}")
    if status.orphans:
        typer.echo(
            f"orphans   rows of {len(status.orphans)} studies that were deleted elsewhere: lrsearch db clean"
        )
    if status.newer is not None:
        raise DatabaseSetupError(status.newer)
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


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="SQLite file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
    storage: StorageOption = None,
) -> None:
    """Copy everything into a SQLite file, as it is at one moment; workers go on meanwhile.

    The file is a database like any other: --storage sqlite:///FILE looks into it.

    [b]Example[/]: lrsearch db backup studies-backup.db
    """
    from lrsearch.storage.copying import back_up

    _print_copied(back_up(storage_url(storage), file, overwrite=force))


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup, or any SQLite file of studies.")],
    storage: StorageOption = None,
) -> None:
    """Copy everything out of a SQLite file into an empty database.

    [b]Example[/]: lrsearch db restore studies-backup.db --storage sqlite:///new.db
    """
    from lrsearch.storage.copying import restore as restore_file

    _print_copied(restore_file(file, storage_url(storage)))


def copy(
    to: Annotated[str, typer.Option("--to", metavar="URL", help="An empty database.", show_default=False)],
    storage: StorageOption = None,
) -> None:
    """Copy everything into an empty database of either kind; workers go on meanwhile.

    [b]Example[/]: lrsearch db copy --to postgresql://me@host/studies
    """
    from lrsearch.storage.copying import copy_database

    _print_copied(copy_database(storage_url(storage), to))


def _print_copied(copied: "Copied") -> None:
    studies = "1 study" if copied.studies == 1 else f"{copied.studies} studies"
    typer.echo(f"Copied {studies} ({copied.rows} rows) from {copied.source} to {copied.target}.")
    if copied.released:
        typer.echo(f"Running trials: {copied.released}. They are free in the copy, and keep their points.")
