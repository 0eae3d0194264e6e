"""``lrsearch worker``: runs a training script of the user's as the trials of a study."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli.optimize import EXIT_INTERRUPTED, leave, print_result, tell_how_to_go_on
from lrsearch.cli.parameters import (
    AllowTaskOption,
    LogFormatOption,
    MetricsFileOption,
    StorageOption,
    open_storage,
)
from lrsearch.errors import SpecError

if TYPE_CHECKING:
    from lrsearch.service.progress import Progress
    from lrsearch.service.studies import OpenStudy
    from lrsearch.storage.database import Database

_HELP = """Run a training script of yours as the trials of a study, one after the other.

The script finds what to train with in the JSON file that [b]LRSEARCH_TRIAL_FILE[/] names,
or by lrsearch.trial(), and appends a line such as {"epoch": 1, "valid_loss": 0.5}
to the file that [b]LRSEARCH_REPORT_FILE[/] names.

[b]Example[/]: lrsearch worker --study gan.toml --command "python train.py"
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP)(worker)


def worker(
    study: Annotated[str, typer.Option(metavar="NAME_OR_FILE", help="A stored study, or a study file.")],
    command: Annotated[
        str | None, typer.Option(help="What trains one trial; no shell runs it.", show_default=False)
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials that this worker runs at most.", show_default=False)
    ] = None,
    timeout_s: Annotated[
        float | None, typer.Option(help="Stop after so many seconds.", show_default=False)
    ] = None,
    allow_task: AllowTaskOption = None,
    storage: StorageOption = None,
    log_format: LogFormatOption = "text",
    metrics_file: MetricsFileOption = None,
) -> None:
    """Run a training script as the trials of a study."""
    from lrsearch.service.command import split_command
    from lrsearch.service.external import is_study_file, open_external

    if command is None:
        raise SpecError(
            'a worker needs the command that trains a trial: --command "python train.py". '
            f"A study whose task lrsearch itself trains is run by: lrsearch optimize {study}"
        )
    words = split_command(command)
    with open_storage(storage, create=is_study_file(study)) as database:
        opened = open_external(database, study, allow_task or (), timeout_s)
        try:
            last = _run(database, opened, words, trials, log_format, metrics_file)
        except KeyboardInterrupt:
            tell_how_to_go_on("interrupted", opened.spec, storage, command)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        if log_format == "text":
            print_result(database, opened.spec, last)
    leave(last, opened.spec, storage, command)


def _run(
    database: "Database",
    study: "OpenStudy",
    command: Sequence[str],
    trials: int | None,
    log_format: str,
    metrics_file: Path | None,
) -> "Progress":
    from lrsearch.cli.display import JsonDisplay, PlainDisplay
    from lrsearch.cli.signals import stop_on_signal
    from lrsearch.service.command import CommandWorker
    from lrsearch.service.metrics import MetricsFile

    json = log_format == "json"
    display = JsonDisplay(study.spec.name) if json else PlainDisplay()
    for note in study.notes:
        display.note(note)
    with (
        nullcontext() if metrics_file is None else MetricsFile(metrics_file) as metrics,
        stop_on_signal("Stopping the script; once more kills it.") as stop_requested,
    ):
        commands = CommandWorker(database, study, command, prints_apart=json)
        for progress in commands.run(stop_requested, trials):
            display.show(progress)
            if metrics is not None:
                metrics.show(progress)
    return progress
