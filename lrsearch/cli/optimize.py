"""``lrsearch optimize``: runs a study to its budget."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli.drafts import Draft, complete, find_draft
from lrsearch.cli.many_machines import (
    AddressOption,
    CpusOption,
    EngineOption,
    GpusOption,
    StorageVariableOption,
    engine_words,
    ray_options,
    train_on_ray,
)
from lrsearch.cli.parameters import (
    AllowTaskOption,
    DataDirOption,
    LogFormatOption,
    StorageOption,
    TaskOption,
    command,
    open_storage,
    run_command,
)
from lrsearch.errors import SpecError, StudyStoppedError

EXIT_INTERRUPTED = 130

if TYPE_CHECKING:
    from lrsearch.cli.display import Display
    from lrsearch.service.progress import Progress
    from lrsearch.service.ray_engine import RayOptions
    from lrsearch.service.search import Search
    from lrsearch.service.studies import OpenStudy
    from lrsearch.service.supervisor import Supervisor
    from lrsearch.spec import StudySpec
    from lrsearch.storage.database import Database
    from lrsearch.tasks.task import Task
    from lrsearch.training.data import TrainingData

_EXAMPLES = """Search the learning rate and its schedule, or go on with a search.

[b]Examples[/]

lrsearch optimize [dim]# MNIST, as studies/mnist-tpe.toml says[/]

lrsearch optimize studies/digits-tpe.toml --trials 20

lrsearch optimize mnist-tpe --timeout-s 600 [dim]# goes on with a stored study[/]

lrsearch optimize --task my_model.py:task --trials 30 [dim]# your own model[/]

lrsearch optimize mnist-tpe --engine ray [dim]# with the workers of a Ray cluster[/]
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_EXAMPLES)(optimize)


def optimize(
    file_or_study: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE_OR_STUDY",
            help="A study file, a stored study's name, or the name of a study that comes with lrsearch; "
            "else mnist-tpe.",
            show_default=False,
        ),
    ] = None,
    task: TaskOption = None,
    allow_task: AllowTaskOption = None,
    range_test: Annotated[
        bool, typer.Option("--range-test", help="Find the bounds of lr and the first trials by a range test.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Store the study under this name.")] = None,
    trials: Annotated[int | None, typer.Option(help="Budget: trials of the study in all.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of a trial that is not stopped early.")] = None,
    timeout_s: Annotated[
        float | None, typer.Option(help="Stop at the end of an epoch after so many seconds.")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="Optimizer of torch.optim, such as AdamW.")] = None,
    sampler: Annotated[str | None, typer.Option(help="Who proposes points, such as tpe or random.")] = None,
    pruner: Annotated[str | None, typer.Option(help="Who stops trials early, such as asha or none.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, batch order and sampler.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = None,
    lanes: Annotated[str | None, typer.Option(help="Trials trained at once by a worker, or auto.")] = None,
    workers: Annotated[
        str | None, typer.Option(help="Processes that train at once, or auto: on a CPU one for each core.")
    ] = None,
    engine: EngineOption = "local",
    address: AddressOption = None,
    gpus_per_worker: GpusOption = None,
    cpus_per_worker: CpusOption = None,
    storage_variable: StorageVariableOption = None,
    storage: StorageOption = None,
    data_dir: DataDirOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress, only the result.")] = False,
    log_format: LogFormatOption = "text",
) -> None:
    """Search the learning rate and its schedule, or go on with a search."""
    from lrsearch.cli.display import choose_display

    given = {
        "name": name,
        "task": task,
        "trials": trials,
        "epochs": epochs,
        "run.timeout_s": timeout_s,
        "optimizer.name": optimizer,
        "sampler": sampler,
        "pruner": pruner,
        "seed": seed,
        "run.device": device,
        "run.lanes": _count("lanes", lanes),
        "run.workers": _count("workers", workers),
    }
    overrides = {key: value for key, value in given.items() if value is not None}
    allowed = (*(allow_task or ()), *([task] if task else ()))
    ray = ray_options(engine, storage, address, gpus_per_worker, cpus_per_worker, storage_variable)
    url = storage or (os.environ.get(ray.storage_variable) if ray else None)
    with open_storage(url, create=True) as database:
        draft = find_draft(database, file_or_study, overrides)
        display = choose_display(quiet=quiet, log_format=log_format, study=draft.spec.name)
        train = _train_here if ray is None else partial(_train_on_ray, options=ray)
        try:
            last, study = train(
                database,
                draft,
                display,
                allowed,
                data_dir,
                range_test=range_test,
                trials_given=trials is not None,
            )
        except KeyboardInterrupt:
            _tell_interrupted(database, draft.spec, storage, engine_words(ray))
            raise typer.Exit(EXIT_INTERRUPTED) from None
        if log_format == "text":
            print_result(database, study.spec, last, storage)
        _annotate(database, study)
    leave(last, study.spec, storage, engine=engine_words(ray))


def _count(name: str, option: str | None) -> int | str | None:
    if option is None or option == "auto":
        return option
    if not option.isdecimal():
        raise SpecError(f"--{name} must be a whole number of at least 1, or auto, but got {option!r}")
    return int(option)


def _train_here(
    database: "Database",
    draft: Draft,
    display: "Display",
    allowed: Sequence[str],
    data_dir: Path | None,
    *,
    range_test: bool,
    trials_given: bool,
) -> "tuple[Progress, OpenStudy]":
    with _supervisor(database, draft.spec, allowed, data_dir) as supervisor:
        spec, loaded = complete(draft, allowed, data_dir)
        data = _load(spec, loaded)
        if range_test:
            spec = _with_range_test(database, draft, spec, loaded, data, display)
        search = _search(supervisor, spec, loaded, data, trials_given=trials_given)
        return _run(supervisor, search, display), search.study


def _train_on_ray(
    database: "Database",
    draft: Draft,
    display: "Display",
    allowed: Sequence[str],
    data_dir: Path | None,
    *,
    range_test: bool,
    trials_given: bool,
    options: "RayOptions",
) -> "tuple[Progress, OpenStudy]":
    spec, loaded = complete(draft, allowed, data_dir)
    if range_test:  # on this machine
        spec = _with_range_test(database, draft, spec, loaded, _load(spec, loaded), display)
    return train_on_ray(database, spec, options, display, allowed, data_dir, trials_given=trials_given)


def _supervisor(
    database: "Database", spec: "StudySpec", allowed: Sequence[str], data_dir: Path | None
) -> "Supervisor":
    from lrsearch.service.supervisor import Supervisor
    from lrsearch.service.workforce import number_of_workers

    return Supervisor(database, spec, number_of_workers(database, spec), allowed, data_dir)


def _load(spec: "StudySpec", task: "Task") -> "TrainingData":
    from lrsearch.service.optimize import load_onto_device  # here, because it imports torch

    return load_onto_device(spec, task)


def _search(
    supervisor: "Supervisor", spec: "StudySpec", task: "Task", data: "TrainingData", *, trials_given: bool
) -> "Search":
    from lrsearch.service.optimize import prepare
    from lrsearch.service.studies import open_study

    database = supervisor.database
    return prepare(
        database,
        spec,
        task,
        data,
        lambda: open_study(database, spec, trials_given=trials_given),
        workers=supervisor.workers,
    )


def _run(supervisor: "Supervisor", search: "Search", display: "Display") -> "Progress":
    from lrsearch.cli.signals import stop_on_signal

    with stop_on_signal() as stop_requested, display:
        for note in search.study.notes:
            display.note(note)
        last = None
        for progress in supervisor.run(search, stop_requested):
            display.show(progress)
            last = progress
    if last is None:
        raise RuntimeError("a search yields at least its last progress")
    return last


def _annotate(database: "Database", study: "OpenStudy") -> None:
    from lrsearch.review.notes import annotate

    annotate(database, study.record, study.spec)


def _with_range_test(
    database: "Database",
    draft: Draft,
    spec: "StudySpec",
    task: "Task",
    data: "TrainingData",
    display: "Display",
) -> "StudySpec":
    """Return the study with the bounds and first trials that a range test suggests; a stored one as it is."""
    from lrsearch.cli.range_test import run_with_progress
    from lrsearch.lr_range import WIDENING
    from lrsearch.review.range_test_wording import range_test_lines
    from lrsearch.service.range_test import RangeTestPlan, with_range_test, with_stored_bounds

    if draft.stored:
        display.note(f"study {spec.name!r} exists and keeps its bounds; the range test is left out")
        return with_stored_bounds(database, spec)
    test = run_with_progress(database, spec, task, data, RangeTestPlan())
    for line in range_test_lines(test):
        display.note(line)
    spec = with_range_test(spec, test)
    display.note(
        f"lr is searched in {spec.space.lr}: the interval, a factor of {WIDENING:g} wider on both sides"
    )
    return spec


def print_result(
    database: "Database", spec: "StudySpec", last: "Progress", storage: str | None = None
) -> None:
    """Print how many trials have ended, the best one, and what comes next.

    Args:
        database: where the study is stored.
        spec: its resolved specification.
        last: how its run ended.
        storage: the option ``--storage`` as it was given, or None.
    """
    from lrsearch.cli.display import duration
    from lrsearch.cli.showing import print_best
    from lrsearch.review.advice import how_to_confirm, without_complete_trial
    from lrsearch.review.wording import capital
    from lrsearch.storage.masking import masked

    counts = ", ".join(f"{count} {name}" for name, count in last.counts.items())
    typer.echo(
        f"Study {spec.name}: {last.ended_trials} of {last.trials} trials have ended "
        f"({counts or 'none yet'}); training took {duration(last.elapsed_s)}."
    )
    if last.best is not None:
        print_best(database, spec)
        how = how_to_confirm(spec, None if storage is None else masked(storage))
        if last.ended_trials >= last.trials and how is not None:
            typer.echo(f"Next, on fresh seeds: {how}")
    elif last.ended_trials >= last.trials:
        advice = without_complete_trial(spec, last.counts, run_command(spec, None))
        typer.echo(f"{capital(advice)}.")


def leave(
    last: "Progress",
    spec: "StudySpec",
    storage: str | None,
    script: str = "python train.py",
    engine: Sequence[str] = (),
) -> None:
    """Say how to go on with a study that is not at its end, and leave with the exit code that says so.

    Args:
        last: how its run ended.
        spec: of the study.
        storage: the option ``--storage`` as it was given, or None.
        script: what trains a trial, where that is a script of the user's.
        engine: options that choose the engine.
    """
    from lrsearch.service.progress import StopReason

    all_failed = last.ended_trials > 0 and last.ended.get("FAIL", 0) == last.ended_trials
    if last.stopped is StopReason.FAILURES or all_failed:
        raise StudyStoppedError(
            f"the last trials of study {spec.name!r} have all failed. "
            f"The last reason: {last.last_failure or 'none was given'}\n"
            f"See them all: {command('trials', spec.name, storage)}\n"
            f"One, with its traceback: {command('show', spec.name, storage)} --trial NUMBER"
        )
    if last.stopped in {StopReason.PAUSED, StopReason.STOPPED}:
        raise StudyStoppedError(
            f"{last.stopped.value}, so that {last.trials - last.ended_trials} of its trials have not been "
            f"trained. Let it go on: {command('resume', spec.name, storage)}"
        )
    if last.stopped is StopReason.NO_GAIN:
        typer.echo(f"Ended early: {last.stopped.value}.", err=True)
    if last.stopped in {StopReason.INTERRUPTED, StopReason.TERMINATED, StopReason.TIMEOUT}:
        tell_how_to_go_on(last.stopped.value, spec, storage, script, engine)
    if last.stopped in {StopReason.INTERRUPTED, StopReason.TERMINATED}:
        raise typer.Exit(EXIT_INTERRUPTED)


def _tell_interrupted(
    database: "Database", spec: "StudySpec", storage: str | None, engine: Sequence[str]
) -> None:
    from lrsearch.storage.studies import list_studies

    if spec.name in {record.name for record in list_studies(database)}:
        tell_how_to_go_on("interrupted", spec, storage, engine=engine)
    else:
        typer.echo("Stopped before anything was stored; run the same command again.", err=True)


def tell_how_to_go_on(
    reason: str,
    spec: "StudySpec",
    storage: str | None,
    script: str = "python train.py",
    engine: Sequence[str] = (),
) -> None:
    """Say why a run stopped, and the command that goes on."""
    from lrsearch.spec import EXTERNAL

    released = "keep their points" if spec.task == EXTERNAL else "go on from their last checkpoint"
    typer.echo(
        f"Stopped: {reason}. Trials that were running are released and {released}.\n"
        f"Go on with: {run_command(spec, storage, script, engine)}",
        err=True,
    )
