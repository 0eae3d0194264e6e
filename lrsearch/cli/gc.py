"""``lrsearch gc``: deletes checkpoints that no trial needs any more."""

from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli.parameters import StorageOption, open_storage
from lrsearch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lrsearch.service.checkpoint_sweep import SweptFolder

BYTES_PER_MB = 1e6


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(gc)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing; say what would be.")] = False,
    unknown: Annotated[
        bool,
        typer.Option(
            "--unknown",
            help="Also delete checkpoints of studies that this database does not know. In a folder that "
            "several databases share they may be needed by another one.",
        ),
    ] = False,
    storage: StorageOption = None,
) -> None:
    """Delete checkpoints that no trial needs: what killed workers and deleted studies have left.

    [b]Example[/]: lrsearch gc --dry-run
    """
    from lrsearch.cli.table import print_table
    from lrsearch.service.checkpoint_sweep import sweep_checkpoints

    with open_storage(storage) as database:
        try:
            sweep = sweep_checkpoints(database, dry_run=dry_run, unknown=unknown)
        except OSError as error:
            raise InputError(
                f"checkpoints cannot be deleted: {error.strerror}: {error.filename}. Run lrsearch gc as the "
                "user whose workers wrote them"
            ) from None
    if sweep.deleted:
        rows = [(each.study or "(gone)", each.files, _mb([each]), each.path) for each in sweep.deleted]
        print_table(("study", "files", "MB", "folder"), rows)
    count = sum(each.files for each in sweep.deleted)
    verb = "Would delete" if dry_run else "Deleted"
    typer.echo(f"{verb} {_files(count)}, {_mb(sweep.deleted)} MB." if count else "Nothing to delete.")
    if sweep.left:
        typer.echo(
            f"Left {_files(sum(each.files for each in sweep.left))}, {_mb(sweep.left)} MB, of "
            f"{len(sweep.left)} studies that this database does not know: another one's, or deleted. "
            "Delete them too: lrsearch gc --unknown"
        )


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"


def _mb(folders: "Sequence[SweptFolder]") -> str:
    return f"{sum(each.size_bytes for each in folders) / BYTES_PER_MB:.1f}"
