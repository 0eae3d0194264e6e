"""``lrsearch train``: the winner trained once more, its weights and history in files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli.chosen import choose, refuse_without_task, train_behind_a_bar
from lrsearch.cli.parameters import (
    AllowTaskOption,
    BaselineOption,
    DataDirOption,
    StorageOption,
    StudyArgument,
    open_storage,
)
from lrsearch.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lrsearch.results import EpochResult
    from lrsearch.training.logged_run import LoggedRun

WEIGHTS, HISTORY = "weights.safetensors", "history.csv"

_EXAMPLES = """Train the winner once more and keep its weights.

[b]Examples[/]

lrsearch train mnist-tpe --output trained

lrsearch train mnist-tpe --output longer --epochs 30 --seed 1
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_EXAMPLES)(train)


def train(
    study: StudyArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the files; made if need be.")
    ],
    trial: Annotated[
        int | None, typer.Option(help="Number of a trial; else the winner.", show_default=False)
    ] = None,
    baseline: BaselineOption = False,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Of weights and batch order; else the study's.", show_default=False),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Length of the run; else that of the search.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
    allow_task: AllowTaskOption = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = None,
    storage: StorageOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Train the winner once more and keep its weights."""
    from lrsearch.service.logged_runs import figures_on_test, logged_run
    from lrsearch.training.weights import weights_bytes

    _check_kept(output, force=force)
    with open_storage(storage) as database:
        chosen = choose(database, study, trial, device, baseline=baseline)
    refuse_without_task(chosen.spec, "train")
    spec, task, data = chosen.with_data(allow_task or (), data_dir)
    run = logged_run(spec, task, data, chosen.winner.hyperparameters, seed=seed, epochs=epochs)
    weights_bytes(run.model)  # what cannot be stored is refused before it is trained
    _make(output)
    if run.schedule.epochs != spec.epochs:
        typer.echo(
            f"The search trained {spec.epochs} epochs; that its winner is best for {epochs} is not proven.",
            err=True,
        )
    results = train_behind_a_bar(run, f"Training {chosen.winner.name} for {run.schedule.epochs} epochs.")
    _write(output, run, results)
    _print(results[-1], figures_on_test(task, run, data, spec.seed if seed is None else seed))
    typer.echo(f"Written: {output / WEIGHTS} and {output / HISTORY}")


def _check_kept(folder: Path, *, force: bool) -> None:
    """Refuse to overwrite what is in the folder.

    Raises:
        SpecError: if one of the files exists.
    """
    for path in (folder / WEIGHTS, folder / HISTORY):
        if path.exists() and not force:
            raise SpecError(f"{path} exists and is kept; name another folder, or overwrite it: --force")


def _make(folder: Path) -> None:
    """Make the folder, where it does not exist.

    Raises:
        SpecError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"the folder {folder} cannot be made: {error.strerror}; name another") from None


def _write(folder: Path, run: "LoggedRun", results: "list[EpochResult]") -> None:
    from lrsearch.review.listing import HISTORY_FIELDS, as_csv, history_rows
    from lrsearch.training.weights import write_weights

    try:
        (folder / HISTORY).write_text(as_csv(history_rows(results), HISTORY_FIELDS), encoding="utf-8")
        write_weights(run.model, folder / WEIGHTS)
    except OSError as error:
        raise SpecError(f"the files in {folder} cannot be written: {error.strerror}") from None


def _print(last: "EpochResult", test: "Mapping[str, float]") -> None:
    from lrsearch.review.wording import number

    metrics = "".join(f", {name} {number(value)}" for name, value in last.metrics.items())
    typer.echo(f"Validation loss after {last.epoch} epochs: {number(last.valid_loss)}{metrics}")
    if test:
        figures = ", ".join(f"{name} {number(value)}" for name, value in test.items())
        typer.echo(f"Test split: {figures}")
