"""``lrsearch confirm`` and ``lrsearch audit``: train some trials once more, and say what that shows."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli.chosen import refuse_without_task
from lrsearch.cli.drafts import Draft, complete
from lrsearch.cli.parameters import (
    AllowTaskOption,
    DataDirOption,
    StorageOption,
    StudyArgument,
    command,
    open_storage,
)

if TYPE_CHECKING:
    from lrsearch.service.retraining import RetrainingProgress, Workshop
    from lrsearch.spec import StudySpec
    from lrsearch.storage.database import Database
    from lrsearch.storage.studies import StudyRecord

DeviceOption = Annotated[str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(help="Processes that train at once; else on a CPU one for each core.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(confirm)
    app.command()(audit)


def confirm(
    study: StudyArgument,
    top: Annotated[int, typer.Option(help="The best trials that take part.")] = 5,
    seeds: Annotated[int, typer.Option(help="Fresh seeds; half select the winner, half report.")] = 10,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of every run; else the study's.", show_default=False)
    ] = None,
    rivals: Annotated[
        bool, typer.Option("--rivals", help="Compare with optimizers that need no schedule, tuned as long.")
    ] = False,
    allow_task: AllowTaskOption = None,
    device: DeviceOption = None,
    workers: WorkersOption = None,
    storage: StorageOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Train the best trials and baselines on fresh seeds, and say what can be recommended.

    What is trained is stored: a confirmation that was interrupted goes on, a finished one is shown again.

    [b]Example[/]: lrsearch confirm mnist-tpe --seeds 10
    """
    from lrsearch.review.notes import annotate
    from lrsearch.service.confirmation import ConfirmationPlan
    from lrsearch.service.confirmation import confirm as confirm_study

    plan = ConfirmationPlan(top, seeds, epochs, rivals)
    with open_storage(storage) as database:
        workshop = _workshop(database, study, tuple(allow_task or ()), data_dir, device, workers)
        _run(lambda stop: confirm_study(workshop, plan, stop))
        record, stored = _stored(database, study)
        annotate(database, record, stored)
        print_confirmation(database, record, stored, storage)


def audit(
    study: StudyArgument,
    sample: Annotated[int, typer.Option(help="Stopped trials that are trained to their end.")] = 10,
    allow_task: AllowTaskOption = None,
    device: DeviceOption = None,
    workers: WorkersOption = None,
    storage: StorageOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Train a sample of the stopped trials to their end, and count those that were among the best.

    [b]Example[/]: lrsearch audit mnist-tpe --sample 10
    """
    from lrsearch.review.notes import annotate
    from lrsearch.service.audit import audit as audit_study

    with open_storage(storage) as database:
        workshop = _workshop(database, study, tuple(allow_task or ()), data_dir, device, workers)
        _run(lambda stop: audit_study(workshop, sample, stop))
        record, stored = _stored(database, study)
        annotate(database, record, stored)
        _print_audit(database, record, stored)


def print_confirmation(
    database: "Database", record: "StudyRecord", spec: "StudySpec", storage: str | None
) -> None:
    """Print the newest confirmation of a study: verdict, table, and what makes it doubtful.

    Args:
        database: where it is stored.
        record: the study.
        spec: its resolved specification.
        storage: the option ``--storage`` as it was given, or None.
    """
    from lrsearch.cli.table import print_table
    from lrsearch.review.checks import checks
    from lrsearch.review.confirmation_wording import (
        baseline_line,
        candidate_lines,
        confirmation_lines,
        leading_lines,
        standing_table,
    )
    from lrsearch.review.verdict import verdict
    from lrsearch.storage.masking import masked
    from lrsearch.storage.retrainings import latest_confirmation
    from lrsearch.storage.trials import trial_records

    confirmation = latest_confirmation(database, record.uuid)
    if confirmation is None:  # it was stopped, which has been said
        return
    leading = latest_confirmation(database, record.uuid, spec.epochs)
    found = verdict(confirmation)
    typer.echo(f"{found.sentence}\n")
    print_table(*standing_table(found, confirmation))
    typer.echo()
    for line in candidate_lines(found, spec):
        typer.echo(line)
    typer.echo()
    shown = None if storage is None else masked(storage)
    doubts = checks(spec, trial_records(database, record), confirmation, shown)
    for line in confirmation_lines(confirmation, found, doubts):
        typer.echo(line)
    notes = leading_lines(confirmation, leading, spec)
    for line in notes:
        typer.echo(line)
    if not notes and found.winner is not None:
        best = command("best", spec.name, storage)
        typer.echo(f"next      the winner in lines of PyTorch: {best}")
        if baseline := baseline_line(confirmation, best):
            typer.echo(f"          {baseline[:1].lower()}{baseline[1:]}")


def _print_audit(database: "Database", record: "StudyRecord", spec: "StudySpec") -> None:
    from lrsearch.cli.table import print_table
    from lrsearch.review.facts import study_facts
    from lrsearch.review.report.pruning import audit_findings
    from lrsearch.review.report.trials import ShownStudy

    study = ShownStudy(study_facts(database, record, spec))
    found = audit_findings(study)
    if found is None:
        typer.echo(f"Study {spec.name} has no complete trial to compare the stopped ones with.")
        return
    typer.echo(f"{found.sentence}\n")
    rows = [
        (kind, found.stopped[kind], audited, entering)
        for kind in study.kinds
        for entering, audited in [found.of_kind(kind)]
        if found.stopped[kind]
    ]
    every = ("all", found.stopped.total(), len(found.audited), found.entering)
    print_table(("kind", "stopped", "trained to the end", "among the best tenth"), [*rows, every])


def _workshop(
    database: "Database",
    name: str,
    allowed: tuple[str, ...],
    data_dir: Path | None,
    device: str | None,
    workers: int | None,
) -> "Workshop":
    """Return where the runs of a stored study are trained.

    Raises:
        SpecError: if the study's task cannot be trained from a command line.
        CodeNotAllowedError: if the study names code that the user did not.
    """
    from lrsearch.service.optimize import load_onto_device
    from lrsearch.service.retraining import Workshop
    from lrsearch.service.sameness import check_unchanged
    from lrsearch.service.studies import stored_spec
    from lrsearch.storage.studies import find_study, study_attributes

    record = find_study(database, name)
    given = {"run.device": device, "run.workers": workers}
    overrides = {key: value for key, value in given.items() if value is not None}
    draft = Draft(stored_spec(record, overrides), f"study {name!r}", overrides, record)
    refuse_without_task(draft.spec, "a confirmation or an audit")
    spec, task = complete(draft, allowed, data_dir)
    data = load_onto_device(spec, task)
    check_unchanged(study_attributes(database, record.uuid), spec, task, data)
    return Workshop(database, record.uuid, spec, task, data, allowed, data_dir)


def _run(train: "Callable[[Callable[[], bool]], Iterator[RetrainingProgress]]") -> None:
    """Train behind a bar, where there is a terminal to draw it on, until it is done or stopped."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from lrsearch.cli.optimize import EXIT_INTERRUPTED
    from lrsearch.cli.signals import stop_on_signal

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with (
        stop_on_signal() as stop_requested,
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        bar = progress.add_task("")
        for standing in train(stop_requested):
            progress.update(bar, total=standing.of, completed=standing.epochs, description=standing.stage)
    if stop_requested():
        typer.echo("Stopped. What was trained is stored: the same command goes on.", err=True)
        raise typer.Exit(EXIT_INTERRUPTED)


def _stored(database: "Database", name: str) -> "tuple[StudyRecord, StudySpec]":
    from lrsearch.service.studies import stored_spec
    from lrsearch.storage.studies import find_study

    record = find_study(database, name)
    return record, stored_spec(record)
