"""``lrsearch export``: the winner as a module of PyTorch, a study file, or JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lrsearch.cli.chosen import Chosen, choose, refuse_without_task, train_behind_a_bar
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
    from lrsearch.storage.database import Database
    from lrsearch.trajectory import Trajectory

_EXAMPLES = """Write the winner as a module of PyTorch that tests itself, a study file, or JSON.

[b]Examples[/]

lrsearch export mnist-tpe -o winner.py [dim]# then: python winner.py --check[/]

lrsearch export mnist-tpe --epochs 90 --steps-per-epoch 391 -o long.py

lrsearch export mnist-tpe --trial 12 --format toml
"""
Run = tuple[int, int | None]
"""Epochs, and updates in an epoch; None where these are not known."""

_PACKAGES = ("lrsearch", "torch")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_EXAMPLES)(export)


def export(
    study: StudyArgument,
    trial: Annotated[
        int | None, typer.Option(help="Number of a trial; else the winner.", show_default=False)
    ] = None,
    baseline: BaselineOption = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write to this file instead.", show_default=False
        ),
    ] = None,
    format: Annotated[  # noqa: A002 # the option's name
        Literal["python", "toml", "json"], typer.Option(help="What to write.")
    ] = "python",
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Stretch the schedule to a run of so many epochs.", show_default=False),
    ] = None,
    steps_per_epoch: Annotated[
        int | None, typer.Option(min=1, help="Updates in an epoch of that run.", show_default=False)
    ] = None,
    allow_task: AllowTaskOption = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = None,
    storage: StorageOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Write the winner as a module of PyTorch that tests itself, a study file, or JSON."""
    from lrsearch.review.output import check_text_output, write_text

    if output is not None:
        check_text_output(output)
    with open_storage(storage) as database:
        chosen = choose(database, study, trial, device, baseline=baseline)
        searched = _searched(chosen)
        run = (epochs or searched[0], steps_per_epoch or searched[1])
        if format == "python":
            text = _python(database, chosen, searched, run, allow_task or (), data_dir)
        elif format == "toml":
            text = _toml(chosen, epochs, steps_per_epoch)
        else:
            text = _json(chosen, run)
    if output is None:
        typer.echo(text, nl=False)
        return
    write_text(output, text)
    typer.echo(f"Written: {output}", err=True)


def _searched(chosen: Chosen) -> Run:
    """Return epochs and updates per epoch of the search."""
    from lrsearch.storage.studies import STEPS_ATTRIBUTE

    return chosen.spec.epochs or 1, chosen.attributes.get(STEPS_ATTRIBUTE)


def _python(
    database: "Database",
    chosen: Chosen,
    searched: Run,
    run: Run,
    allowed: Sequence[str],
    data_dir: Path | None,
) -> str:
    from datetime import UTC, datetime
    from importlib.metadata import version

    from lrsearch.review.exported_module import Export, exported_module
    from lrsearch.storage.studies import ORIGIN_ATTRIBUTE

    refuse_without_task(chosen.spec, "export --format python")
    if run == searched:
        trajectory = _logged(database, chosen, allowed, data_dir)
    else:
        trajectory = _stretched(database, chosen, run, allowed, data_dir)
    made = Export(
        spec=chosen.spec,
        winner=chosen.winner,
        trajectory=trajectory,
        searched=None if run == searched else searched,
        versions={name: version(name) for name in _PACKAGES},
        origin=chosen.attributes.get(ORIGIN_ATTRIBUTE, {}),
        date=datetime.now(UTC).date().isoformat(),
    )
    return exported_module(made)


def _logged(
    database: "Database", chosen: Chosen, allowed: Sequence[str], data_dir: Path | None
) -> "Trajectory":
    """Return the trajectory of a point as the search trained it, trained once more where it is not stored."""
    from lrsearch.service.logged_runs import find_trajectory, logged_run, store_trajectory

    uuid, spec, point = chosen.record.uuid, chosen.spec, chosen.winner.hyperparameters
    known = find_trajectory(database, uuid, spec, point)
    if known is not None:
        return known
    spec, task, data = chosen.with_data(allowed, data_dir)
    run = logged_run(spec, task, data, point)
    train_behind_a_bar(run, f"Training {chosen.winner.name} once more to log its learning rates.")
    store_trajectory(database, uuid, spec, point, run.trajectory())
    return run.trajectory()


def _stretched(
    database: "Database",
    chosen: Chosen,
    run: Run,
    allowed: Sequence[str],
    data_dir: Path | None,
) -> "Trajectory":
    from lrsearch.schedules import Schedule
    from lrsearch.service.logged_runs import stretched_trajectory

    spec, task = chosen.with_task(allowed, data_dir)
    losses = _valid_losses(database, chosen)
    epochs, steps_per_epoch = run
    if steps_per_epoch is None:
        raise SpecError("how many updates an epoch of the study has is not known: give --steps-per-epoch")
    schedule = Schedule(chosen.winner.hyperparameters, epochs, steps_per_epoch)
    return stretched_trajectory(spec, task, schedule, losses)


def _valid_losses(database: "Database", chosen: Chosen) -> list[float]:
    """Return the validation losses of the short run, by epoch."""
    from lrsearch.storage.epochs import valid_losses
    from lrsearch.storage.retrainings import latest_confirmation

    if chosen.winner.trial is not None:
        known = valid_losses(database, chosen.record.uuid, [chosen.winner.trial])
        return list(known[chosen.winner.trial].values())
    confirmation = latest_confirmation(database, chosen.record.uuid)
    runs = confirmation.runs[chosen.winner.name] if confirmation is not None else ()
    return list(runs[0].valid_losses)


def _toml(chosen: Chosen, epochs: int | None, steps_per_epoch: int | None) -> str:
    import tomlkit

    from lrsearch.review.exported_module import headline
    from lrsearch.review.fixing import study_of

    if steps_per_epoch is not None:
        raise SpecError(
            "--steps-per-epoch belongs to --format python and json: in a study file the data and batch_size "
            "decide it"
        )
    suffix = "best" if chosen.winner.trial is not None else "baseline"
    content = tomlkit.dumps(study_of(chosen.spec, chosen.winner.hyperparameters, epochs, suffix))
    return "\n".join([*headline(chosen.spec, chosen.winner), content])


def _json(chosen: Chosen, run: Run) -> str:
    import json

    from lrsearch.review.listing import finite
    from lrsearch.review.winner import as_values

    return json.dumps(finite(as_values(chosen.spec, chosen.winner, run)), indent=2, allow_nan=False) + "\n"
