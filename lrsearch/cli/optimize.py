"""``lrsearch optimize``: runs a study to its budget."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lrsearch.cli.parameters import DataDirOption, StorageOption, open_storage
from lrsearch.errors import SpecError, StudyStoppedError, UnknownNameError

if TYPE_CHECKING:
    from lrsearch.cli.display import Display
    from lrsearch.service.progress import Progress
    from lrsearch.service.studies import OpenStudy
    from lrsearch.spec import StudySpec
    from lrsearch.storage.database import Database

_EXAMPLES = """Search the learning rate and its schedule, or go on with a search.

[b]Examples[/]

lrsearch optimize [dim]# MNIST, as studies/mnist-tpe.toml says[/]

lrsearch optimize studies/digits-tpe.toml --trials 20

lrsearch optimize mnist-tpe --timeout-s 600 [dim]# goes on with a stored study[/]
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_EXAMPLES)(optimize)


def optimize(
    file_or_study: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE_OR_STUDY]",
            help="A study file, a stored study's name, or the name of a study that comes with lrsearch.",
            show_default="mnist-tpe",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Store the study under this name.")] = None,
    trials: Annotated[int | None, typer.Option(help="Budget: trials of the study in all.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of a trial that is not stopped early.")] = None,
    timeout_s: Annotated[
        float | None, typer.Option(help="Stop at the end of an epoch after so many seconds.")
    ] = None,
    sampler: Annotated[str | None, typer.Option(help="Who proposes points, such as tpe or random.")] = None,
    pruner: Annotated[str | None, typer.Option(help="Who stops trials early, such as asha or none.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, batch order and sampler.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = None,
    lanes: Annotated[str | None, typer.Option(help="Trials trained at once, or auto.")] = None,
    storage: StorageOption = None,
    data_dir: DataDirOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress, only the result.")] = False,
    log_format: Annotated[
        Literal["text", "json"], typer.Option(help="json: an object a line for programs.")
    ] = "text",
) -> None:
    """Search the learning rate and its schedule, or go on with a search."""
    from lrsearch.cli.display import choose_display

    given = {
        "name": name,
        "trials": trials,
        "epochs": epochs,
        "run.timeout_s": timeout_s,
        "sampler": sampler,
        "pruner": pruner,
        "seed": seed,
        "run.device": device,
        "run.lanes": _lanes(lanes),
    }
    overrides = {key: value for key, value in given.items() if value is not None}
    with open_storage(storage) as database:
        spec = _find_spec(database, file_or_study, overrides)
        last = _run(
            database, spec, data_dir, choose_display(quiet=quiet, log_format=log_format), trials is not None
        )
        if log_format == "text":
            _print_result(database, spec, last)
    _leave(last, spec, storage)


def _lanes(option: str | None) -> int | str | None:
    if option is None or option == "auto":
        return option
    if not option.isdecimal():
        raise SpecError(f"--lanes must be a whole number of at least 1, or auto, but got {option!r}")
    return int(option)


def _find_spec(database: "Database", file_or_study: str | None, overrides: dict[str, Any]) -> "StudySpec":
    from lrsearch.service.studies import resolved, stored_spec
    from lrsearch.spec import read_spec
    from lrsearch.spec.shipped import DEFAULT_STUDY, shipped_studies
    from lrsearch.storage.studies import list_studies

    wanted = file_or_study or DEFAULT_STUDY
    if wanted.endswith(".toml") or Path(wanted).is_file():
        return resolved(read_spec(Path(wanted), overrides))
    stored = {record.name: record for record in list_studies(database)}
    if wanted in stored:
        return stored_spec(stored[wanted], overrides)
    shipped = shipped_studies()
    if wanted in shipped:
        return resolved(read_spec(shipped[wanted], overrides))
    raise UnknownNameError("study", wanted, {*stored, *shipped})


def _run(
    database: "Database", spec: "StudySpec", data_dir: Path | None, display: "Display", trials_given: bool
) -> "Progress":
    from lrsearch.cli.signals import stop_on_signal
    from lrsearch.service.optimize import prepare
    from lrsearch.service.studies import open_study

    search = prepare(database, spec, data_dir, lambda: open_study(database, spec, trials_given=trials_given))
    _tell_notes(search.study, display)
    with stop_on_signal() as stop_requested, display:
        last = None
        for progress in search.run(stop_requested):
            display.show(progress)
            last = progress
    if last is None:
        raise RuntimeError("a search yields at least its last progress")
    return last


def _tell_notes(study: "OpenStudy", display: "Display") -> None:
    from lrsearch.cli.display import LiveDisplay, PlainDisplay

    if isinstance(display, LiveDisplay | PlainDisplay):
        for note in study.notes:
            typer.echo(note, err=True)


def _print_result(database: "Database", spec: "StudySpec", last: "Progress") -> None:
    from lrsearch.cli.display import duration
    from lrsearch.cli.showing import print_best

    counts = ", ".join(f"{count} {name.lower()}" for name, count in last.ended.items() if count)
    typer.echo(
        f"Study {spec.name}: {last.ended_trials} of {last.trials} trials have ended ({counts or 'none yet'}); "
        f"this run took {duration(last.elapsed_s)}."
    )
    if last.best is not None:
        print_best(database, spec)


def _leave(last: "Progress", spec: "StudySpec", storage: str | None) -> None:
    from lrsearch.service.progress import StopReason

    if last.stopped is StopReason.FAILURES:
        reason = last.last_failure or "no reason was given"
        raise StudyStoppedError(
            f"the last trials of study {spec.name!r} have all failed, so it was stopped. The last reason: {reason}\n"
            f"See them all: lrsearch trials {_quoted(spec, storage)}"
        )
    if last.stopped in {StopReason.INTERRUPTED, StopReason.TIMEOUT}:
        typer.echo(
            f"Stopped: {last.stopped.value}. Trials that were running are released and keep their points.\n"
            f"Go on with: lrsearch optimize {_quoted(spec, storage)}",
            err=True,
        )
    if last.stopped is StopReason.INTERRUPTED:
        raise typer.Exit(130)


def _quoted(spec: "StudySpec", storage: str | None) -> str:
    from lrsearch.storage.address import masked

    option = (
        f" --storage {shlex.quote(masked(storage))}"
        if storage and "LRSEARCH_STORAGE" not in os.environ
        else ""
    )
    return shlex.quote(spec.name) + option
