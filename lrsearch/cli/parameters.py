"""Options that several commands share, and how a message repeats them."""

import os
import shlex
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
        help="Database; else [b]LRSEARCH_STORAGE[/], else sqlite:///lrsearch.db.",
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


def command(verb: str, study: str, storage: str | None) -> str:
    """Return a command about a study that can be pasted into a shell, but for a password in the URL.

    Args:
        verb: the command's name, such as ``"optimize"``.
        study: name of the study.
        storage: the option ``--storage`` as it was given, or None.
    """
    from lrsearch.storage.address import masked

    words = ["lrsearch", verb, study, *(["--storage", masked(storage)] if storage else [])]
    return shlex.join(words)


def open_storage(option: str | None) -> "Database":
    """Open the database that is asked for."""
    from lrsearch.storage.database import open_database

    return open_database(storage_url(option))
