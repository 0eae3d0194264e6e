"""``lrsearch submit``, ``pause``, ``resume`` and ``stop``: studies that workers train elsewhere."""

from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli.parameters import AllowTaskOption, StorageOption, StudyArgument, command, open_storage

if TYPE_CHECKING:
    from lrsearch.spec import StudySpec
    from lrsearch.storage.database import Database
    from lrsearch.storage.studies import StudyRecord


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for each in (submit, pause, resume, stop):
        app.command()(each)


def submit(
    file_or_study: Annotated[
        str,
        typer.Argument(
            metavar="FILE_OR_STUDY",
            help="A study file, the name of a study that comes with lrsearch, or a stored study's.",
        ),
    ],
    priority: Annotated[
        int | None, typer.Option(help="Workers take the highest first; else 0.", show_default=False)
    ] = None,
    max_workers: Annotated[
        int | None,
        typer.Option(min=0, help="Workers that train it at once; 0 for any number.", show_default=False),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Budget: trials of the study in all.", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Store the study under this name.", show_default=False)
    ] = None,
    allow_task: AllowTaskOption = None,
    storage: StorageOption = None,
) -> None:
    """Store a study for workers to train; trains nothing here.

    A study that exists stays as it is, but for its priority, its number of workers and a larger budget.

    [b]Example[/]: lrsearch submit mnist-tpe --priority 5
    """
    import optuna

    from lrsearch.cli.drafts import find_draft
    from lrsearch.service.studies import store_study
    from lrsearch.storage.study_states import set_share
    from lrsearch.storage.tables import OPEN

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    given = {"name": name, "trials": trials}
    overrides = {key: value for key, value in given.items() if value is not None}
    with open_storage(storage, create=True) as database:
        draft = find_draft(database, file_or_study, overrides)
        spec = _resolved(draft.spec, allow_task or ())
        study = store_study(database, spec, trials_given=trials is not None)
        set_share(database, study.record.uuid, priority=priority, max_workers=max_workers)
        for note in study.notes:
            typer.echo(note, err=True)
        left = _trials_left(database, study.record)
    state = study.record.state
    held = "" if state == OPEN else f", as soon as it is open: it is {state}"
    typer.echo(f"Study {spec.name} is stored: {left} of {study.spec.trials} trials wait for workers{held}.")
    typer.echo(f"Train them, on any machine: {_worker_command(spec, storage, allow_task or ())}")


def pause(study: StudyArgument, storage: StorageOption = None) -> None:
    """Let workers give a study's trials back at the end of their epoch, and take no more.

    [b]Example[/]: lrsearch pause mnist-tpe
    """
    from lrsearch.storage.tables import PAUSED

    _set_state(study, storage, PAUSED)
    typer.echo(f"Study {study} is paused: its workers give its trials back at the end of their epoch.")
    typer.echo(f"Let it go on: {command('resume', study, storage)}")


def resume(study: StudyArgument, storage: StorageOption = None) -> None:
    """Let workers train a study again that was paused or stopped.

    [b]Example[/]: lrsearch resume mnist-tpe
    """
    from lrsearch.storage.tables import OPEN

    _set_state(study, storage, OPEN)
    typer.echo(f"Study {study} is open: workers train it.")


def stop(study: StudyArgument, storage: StorageOption = None) -> None:
    """Let workers begin no more trials of a study; those that are running end as they would.

    [b]Example[/]: lrsearch stop mnist-tpe
    """
    from lrsearch.storage.tables import STOPPED

    _set_state(study, storage, STOPPED)
    typer.echo(f"Study {study} is stopped: no more trials begin, and those that are running end.")
    typer.echo(f"Let it go on: {command('resume', study, storage)}")


def _set_state(study: str, storage: str | None, state: str) -> None:
    from lrsearch.storage.studies import find_study
    from lrsearch.storage.study_states import set_state

    with open_storage(storage) as database:
        set_state(database, find_study(database, study).uuid, state)


def _resolved(spec: "StudySpec", allowed: list[str] | tuple[str, ...]) -> "StudySpec":
    """Return a specification with no default left open; a user's task is imported for its defaults alone."""
    from lrsearch.code import is_reference
    from lrsearch.service.studies import resolved
    from lrsearch.service.tasks import find_task, load_kinds

    load_kinds(spec, allowed)
    open_defaults = spec.epochs is None or spec.batch_size is None
    task = find_task(spec, None, allowed) if is_reference(spec.task) and open_defaults else None
    return resolved(spec, task)


def _trials_left(database: "Database", record: "StudyRecord") -> int:
    from lrsearch.storage.slots import Slots

    counts = Slots(database, record.uuid).counts()
    return counts.free + counts.leased


def _worker_command(spec: "StudySpec", storage: str | None, allowed: list[str] | tuple[str, ...]) -> str:
    import shlex

    from lrsearch.spec import EXTERNAL, references
    from lrsearch.storage.masking import masked

    words = ["lrsearch", "worker", *(["--storage", masked(storage)] if storage else [])]
    if spec.task == EXTERNAL:
        words += ["--study", spec.name, "--command", "python train.py"]
    for reference in allowed or references(spec):
        words += ["--allow-task", reference]
    return shlex.join(words)
