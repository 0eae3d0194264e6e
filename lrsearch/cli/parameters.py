"""Options that several commands share."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lrsearch.storage.database import Database

StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        help="Database, SQLite or PostgreSQL; else [b]LRSEARCH_STORAGE[/], else sqlite:///lrsearch.db. "
        "Keep passwords out of the command line: use the variable.",
        show_default=False,
    ),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Folder of the data sets; else [b]LRSEARCH_DATA_DIR[/], else the user's cache folder.",
        show_default=False,
    ),
]
StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a stored study.")]


def storage_url(option: str | None) -> str | None:
    """Return the database that is asked for, or None for the default."""
    return option or os.environ.get("LRSEARCH_STORAGE") or None


def open_storage(option: str | None) -> "Database":
    """Open the database that is asked for."""
    from lrsearch.storage.database import open_database

    return open_database(storage_url(option))
