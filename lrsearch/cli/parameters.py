"""Options that several commands share, and how a message repeats them."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lrsearch.errors import DatabaseSetupError

if TYPE_CHECKING:
    from lrsearch.spec import StudySpec
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
TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help="What is learned: a name (see lrsearch tasks), package.module:name or path/file.py:name.",
        show_default=False,
    ),
]
AllowTaskOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-task",
        metavar="REFERENCE",
        help="Code that a study file or a stored study names and that may be imported; once for each.",
        show_default=False,
    ),
]
BaselineOption = Annotated[
    bool, typer.Option("--baseline", help="The best baseline of the confirmation instead of the winner.")
]
LogFormatOption = Annotated[
    Literal["text", "json"], typer.Option(help="json: an object a line for programs.")
]
MetricsFileOption = Annotated[
    Path | None,
    typer.Option(
        "--metrics-file",
        metavar="PATH",
        help="Write figures for Prometheus there, such as worker.prom, every 15 seconds.",
        show_default=False,
    ),
]
StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a stored study.")]


def storage_url(option: str | None) -> str | None:
    """Return the database that is asked for, or None for the default."""
    return option or os.environ.get("LRSEARCH_STORAGE") or None


def command(verb: str, study: str, storage: str | None, allowed: Sequence[str] = ()) -> str:
    """Return a command about a study that can be pasted into a shell, but for a password in the URL.

    Args:
        verb: the command's name, such as ``"optimize"``.
        study: name of the study.
        storage: the option ``--storage`` as it was given, or None.
        allowed: references of code that the study needs.
    """
    from lrsearch.storage.masking import masked

    words = ["lrsearch", verb, study, *(["--storage", masked(storage)] if storage else [])]
    return shlex.join([*words, *(word for reference in allowed for word in ("--allow-task", reference))])


def run_command(
    spec: "StudySpec", storage: str | None, script: str = "python train.py", engine: Sequence[str] = ()
) -> str:
    """Return the command that goes on with a study, or the call where its task is an object of a program.

    Args:
        spec: of the study.
        storage: the option ``--storage`` as it was given, or None.
        script: what trains a trial, where that is a script of the user's.
        engine: options that choose the engine.
    """
    from lrsearch.review.advice import call
    from lrsearch.spec import EXTERNAL, OBJECT, references
    from lrsearch.storage.masking import masked

    if spec.task.endswith(OBJECT):
        return call(spec, None if storage is None else masked(storage))
    if spec.task != EXTERNAL:
        words = command("optimize", spec.name, storage, references(spec))
        return " ".join([words, shlex.join(engine)]) if engine else words
    verb, name, *rest = shlex.split(command("worker", spec.name, storage))[1:]
    return shlex.join(["lrsearch", verb, "--study", name, *rest, "--command", script])


def storage_exists(option: str | None) -> bool:
    """Return whether the database that is asked for may exist: a SQLite file does, a server may."""
    from lrsearch.storage.address import parse_address

    path = parse_address(storage_url(option)).path
    return path is None or path.exists()


def open_storage(option: str | None, *, create: bool = False) -> "Database":
    """Open the database that is asked for.

    Args:
        option: the option ``--storage`` as it was given, or None.
        create: whether a SQLite file that does not exist is made; else a typing error would make one.

    Raises:
        DatabaseSetupError: if the database cannot be used, or does not exist and shall not be made.
    """
    from lrsearch.storage.database import open_database

    if not create:
        _check_exists(option)
    return open_database(storage_url(option))


def open_storage_to_read(option: str | None) -> "Database":
    """Open the database that is asked for, of which nothing will be changed.

    A role of PostgreSQL or a file that may only be read will do. A SQLite file that may be written is opened
    for it all the same: a reader cannot take away the log that it needs beside it.

    Args:
        option: the option ``--storage`` as it was given, or None.

    Raises:
        DatabaseSetupError: if the database does not exist or cannot be used.
    """
    from lrsearch.storage.address import parse_address
    from lrsearch.storage.database import RETRY_S

    path = parse_address(storage_url(option)).path
    read_only = path is None or not os.access(path, os.W_OK)
    return open_existing_storage(option, read_only=read_only, retry_s=RETRY_S)


def open_existing_storage(option: str | None, *, read_only: bool, retry_s: float) -> "Database":
    """Open the database that is asked for, whose tables exist, and create nothing.

    Args:
        option: the option ``--storage`` as it was given, or None.
        read_only: whether nothing in it can be changed.
        retry_s: how long a call is repeated while the database is locked or unreachable, in seconds.

    Raises:
        DatabaseSetupError: if the database does not exist or cannot be used.
    """
    from lrsearch.storage.database import open_existing

    _check_exists(option)
    return open_existing(storage_url(option), read_only=read_only, retry_s=retry_s)


def _check_exists(option: str | None) -> None:
    from lrsearch.storage.address import DEFAULT_URL
    from lrsearch.storage.masking import masked

    if not storage_exists(option):
        missing = masked(storage_url(option) or DEFAULT_URL)
        raise DatabaseSetupError(
            f"there is no database {missing} yet. A search makes it: lrsearch optimize digits-tpe"
        )
