"""``lrsearch optimize --engine ray``: a study's workers on all machines of a Ray cluster."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lrsearch.errors import SpecError

if TYPE_CHECKING:
    from lrsearch.cli.display import Display
    from lrsearch.service.progress import Progress
    from lrsearch.service.ray_engine import RayOptions
    from lrsearch.service.studies import OpenStudy
    from lrsearch.spec import StudySpec
    from lrsearch.storage.database import Database

STORAGE_VARIABLE = "LRSEARCH_STORAGE"

EngineOption = Annotated[
    Literal["local", "ray"],
    typer.Option(help="ray: workers on the machines of a Ray cluster; needs lrsearch\\[ray]."),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        help="Of the Ray cluster: auto, or HOST:PORT; else one is started on this machine alone.",
        show_default=False,
    ),
]
GpusOption = Annotated[
    float | None,
    typer.Option(help="GPUs of each of Ray's workers, such as 0.5; else 1 if there are any."),
]
CpusOption = Annotated[
    float | None, typer.Option(help="CPUs of each of Ray's workers; else 1.", show_default=False)
]
StorageVariableOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Variable that holds the storage URL on Ray's machines; else [b]LRSEARCH_STORAGE[/].",
        show_default=False,
    ),
]


def ray_options(
    engine: str,
    storage: str | None,
    address: str | None,
    gpus_per_worker: float | None,
    cpus_per_worker: float | None,
    storage_variable: str | None,
) -> "RayOptions | None":
    """Return how to use Ray, from the options of the command line; None where the engine is another.

    Args:
        engine: its name.
        storage: the option ``--storage`` as it was given, or None.
        address: of the cluster, or None.
        gpus_per_worker: or None.
        cpus_per_worker: or None.
        storage_variable: or None.

    Raises:
        SpecError: if an option has no meaning, or a value out of its range.
        EngineError: if Ray is missing, or its workers could not use the database.
    """
    options = {
        "address": address,
        "gpus_per_worker": gpus_per_worker,
        "cpus_per_worker": cpus_per_worker,
        "storage_variable": storage_variable,
    }
    given = [name for name, value in options.items() if value is not None]
    if engine != "ray":
        if given:
            raise SpecError(f"--{given[0].replace('_', '-')} is an option of Ray's workers; add --engine ray")
        return None
    from lrsearch.service.ray_cluster import check_installed
    from lrsearch.service.ray_engine import RayOptions, url_for_workers

    check_installed()
    cpus = 1.0 if cpus_per_worker is None else cpus_per_worker
    chosen = RayOptions(address, gpus_per_worker, cpus, storage_variable or STORAGE_VARIABLE)
    if storage_variable is not None and storage is None and storage_variable not in os.environ:
        raise SpecError(f"--storage-variable names the variable {storage_variable}, which is not set")
    return replace(chosen, storage_url=url_for_workers(storage, chosen))


def engine_words(options: "RayOptions | None") -> list[str]:
    """Return the options of the command line that mean the same again; none where the engine is another."""
    if options is None:
        return []
    named = {
        "--address": options.address,
        "--gpus-per-worker": options.gpus_per_worker,
        "--cpus-per-worker": options.cpus_per_worker if options.cpus_per_worker != 1 else None,
        "--storage-variable": options.storage_variable
        if options.storage_variable != STORAGE_VARIABLE
        else None,
    }
    given = [word for name, value in named.items() if value is not None for word in (name, f"{value}")]
    return ["--engine", "ray", *given]


def train_on_ray(
    database: "Database",
    spec: "StudySpec",
    options: "RayOptions",
    display: "Display",
    allowed: Sequence[str] = (),
    data_dir: Path | None = None,
    *,
    trials_given: bool = False,
) -> "tuple[Progress, OpenStudy]":
    """Create or open a study as soon as a worker can train it, and train it.

    Args:
        database: where the study is stored.
        spec: resolved.
        options: how to use Ray.
        display: shows how it goes.
        allowed: references of the user's code that may be imported.
        data_dir: folder of the data sets, or None for the default.
        trials_given: whether the user named the budget.

    Raises:
        EngineError: if no cluster answers, or no worker can train.
    """
    from lrsearch.cli.signals import stop_on_signal
    from lrsearch.service.ray_engine import RayEngine
    from lrsearch.service.studies import open_study

    with RayEngine(database, spec, options, allowed, data_dir) as engine:
        for note in engine.take_notes():
            display.note(note)
        engine.wait_for_workers()
        study = open_study(database, spec, trials_given=trials_given)
        with stop_on_signal() as stop_requested, display:
            for note in study.notes:
                display.note(note)
            for progress in engine.run(study, stop_requested):
                display.show(progress)
                last = progress
    return last, study
