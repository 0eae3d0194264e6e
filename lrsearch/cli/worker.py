"""``lrsearch worker``: trains the studies of a shared database, or runs a training script for one."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli.optimize import EXIT_INTERRUPTED, leave, print_result, tell_how_to_go_on
from lrsearch.cli.parameters import (
    AllowTaskOption,
    DataDirOption,
    LogFormatOption,
    MetricsFileOption,
    StorageOption,
    open_storage,
)
from lrsearch.errors import SpecError

if TYPE_CHECKING:
    from lrsearch.cli.display import Display
    from lrsearch.service.metrics import MetricsFile
    from lrsearch.service.pool import Pool
    from lrsearch.service.progress import Progress
    from lrsearch.service.studies import OpenStudy
    from lrsearch.storage.database import Database

_HELP = """Train the open studies of a database until there is no work, the highest priority first.

With [b]--command[/], run a training script of yours as the trials of one study. The script finds
what to train with in the JSON file that [b]LRSEARCH_TRIAL_FILE[/] names, or by lrsearch.trial(),
and appends a line such as {"epoch": 1, "valid_loss": 0.5} to the file that
[b]LRSEARCH_REPORT_FILE[/] names.

[b]Examples[/]

lrsearch worker --storage postgresql://lrsearch@db/studies

lrsearch worker --study gan.toml --command "python train.py"
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP)(worker)


def worker(
    study: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME_OR_FILE",
            help="A stored study; once for each. With --command also a study file. Else all open studies.",
            show_default=False,
        ),
    ] = None,
    command: Annotated[
        str | None, typer.Option(help="What trains one trial; no shell runs it.", show_default=False)
    ] = None,
    forever: Annotated[bool, typer.Option("--forever", help="Wait for more work when none is left.")] = False,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the worker; else host, process and chance.", show_default=False),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Trials that this worker runs at most, with --command.", show_default=False),
    ] = None,
    timeout_s: Annotated[
        float | None, typer.Option(help="Stop after so many seconds.", show_default=False)
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N.", show_default=False)
    ] = None,
    lanes: Annotated[
        str | None, typer.Option(help="Trials trained at once, or auto.", show_default=False)
    ] = None,
    checkpoint_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of checkpoints that all workers see.", show_default=False),
    ] = None,
    allow_task: AllowTaskOption = None,
    storage: StorageOption = None,
    data_dir: DataDirOption = None,
    log_format: LogFormatOption = "text",
    metrics_file: MetricsFileOption = None,
) -> None:
    """Train the open studies of a database, or run a training script as the trials of one."""
    studies = tuple(study or ())
    if command is not None:
        _run_command(studies, command, trials, timeout_s, allow_task or (), storage, log_format, metrics_file)
        return
    _check_studies(studies)
    given = {
        "run.timeout_s": timeout_s,
        "run.device": device,
        "run.lanes": int(lanes) if lanes is not None and lanes.isdecimal() else lanes,
        "run.checkpoint_dir": None if checkpoint_dir is None else str(checkpoint_dir),
    }
    from lrsearch.cli.display import JsonDisplay, PlainDisplay
    from lrsearch.service.pool import Pool, PoolOptions

    options = PoolOptions(
        studies=studies,
        name=name,
        forever=forever,
        overrides={key: value for key, value in given.items() if value is not None},
        allowed=tuple(allow_task or ()),
        data_dir=data_dir,
    )

    def new_display(study: str = "") -> "Display":
        return JsonDisplay(study) if log_format == "json" else PlainDisplay()

    with open_storage(storage) as database, _metrics(metrics_file) as metrics:
        pool = Pool(database, options, new_display().note)
        new_display().note(f"worker {pool.name} works on {database.masked_url}")
        try:
            _train(pool, new_display, metrics)
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from None


def _metrics(path: Path | None) -> "AbstractContextManager[MetricsFile | None]":
    from lrsearch.service.metrics import MetricsFile

    return nullcontext() if path is None else MetricsFile(path)


def _train(pool: "Pool", new_display: "Callable[[str], Display]", metrics: "MetricsFile | None") -> None:
    from lrsearch.cli.signals import stop_on_signal

    study, display = None, new_display("")
    with stop_on_signal() as stop_requested:
        for name, progress in pool.run(stop_requested):
            if name != study:
                study, display = name, new_display(name)
                display.note(f"joins study {name}")
            display.show(progress)
            if metrics is not None:
                metrics.show(progress)
            if progress.stopped is not None:
                display.note(f"leaves study {name}: {progress.stopped.value}")
                study = None
        display.note("stopped" if stop_requested() else "there is no work left")


def _check_studies(studies: Sequence[str]) -> None:
    files = [study for study in studies if study.endswith(".toml")]
    if files:
        raise SpecError(
            f"a worker trains stored studies, and {files[0]!r} is a file. "
            f"Store it: lrsearch submit {files[0]}\n"
            'A study that a script of yours trains needs the script: --command "python train.py"'
        )


def _run_command(
    studies: Sequence[str],
    command: str,
    trials: int | None,
    timeout_s: float | None,
    allowed: Sequence[str],
    storage: str | None,
    log_format: str,
    metrics_file: Path | None,
) -> None:
    """Run a training script as the trials of a study."""
    from lrsearch.service.command import split_command
    from lrsearch.service.external import is_study_file, open_external

    if len(studies) != 1:
        raise SpecError("a command trains the trials of one study: --study NAME_OR_FILE")
    [study] = studies
    words = split_command(command)
    with open_storage(storage, create=is_study_file(study)) as database:
        opened = open_external(database, study, allowed, timeout_s)
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

    json = log_format == "json"
    display = JsonDisplay(study.spec.name) if json else PlainDisplay()
    for note in study.notes:
        display.note(note)
    with (
        _metrics(metrics_file) as metrics,
        stop_on_signal("Stopping the script; once more kills it.") as stop_requested,
    ):
        commands = CommandWorker(database, study, command, prints_apart=json)
        for progress in commands.run(stop_requested, trials):
            display.show(progress)
            if metrics is not None:
                metrics.show(progress)
    return progress
