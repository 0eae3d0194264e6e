"""Commands that look at stored studies, widen them, or delete them."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lrsearch.cli.parameters import (
    BaselineOption,
    StorageOption,
    StudyArgument,
    open_storage,
    open_storage_to_read,
    run_command,
    storage_exists,
)
from lrsearch.errors import SpecError

if TYPE_CHECKING:
    from lrsearch.parameters import Scalar
    from lrsearch.results import TrialRecord
    from lrsearch.review.winner import Winner
    from lrsearch.spec import StudySpec
    from lrsearch.storage.database import Database
    from lrsearch.storage.studies import StudyRecord


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for function in (studies, show, best, trials, curves, extend, enqueue, delete):
        app.command()(function)


def studies(
    format: Annotated[Literal["table", "json"], typer.Option(help="How to print.")] = "table",  # noqa: A002 # the option's name
    storage: StorageOption = None,
) -> None:
    """List the stored studies.

    [b]Example[/]: lrsearch studies
    """
    from lrsearch.cli.table import print_table
    from lrsearch.review.listing import as_json
    from lrsearch.review.wording import number
    from lrsearch.storage.studies import list_studies

    rows = []
    if storage_exists(storage):
        with open_storage_to_read(storage) as database:
            rows = [_summary(database, record) for record in list_studies(database)]
    if format == "json":
        typer.echo(as_json(rows))
        return
    if not rows:
        typer.echo("No study yet. Start one: lrsearch optimize digits-tpe")
        return
    fields = ("name", "task", "sampler", "ended", "trials")
    print_table(
        ("study", "task", "sampler", "ended", "trials", "best value"),
        [(*(row[field] for field in fields), number(row["best_value"])) for row in rows],
    )


def show(
    study: StudyArgument,
    trial: Annotated[
        int | None, typer.Option(min=0, help="Show this trial alone, and why it failed.", show_default=False)
    ] = None,
    storage: StorageOption = None,
) -> None:
    """Show a study: best trial, counts, the best ten; or one of its trials.

    [b]Example[/]: lrsearch show mnist-tpe
    """
    from lrsearch.cli.showing import SHOWN_TRIALS, print_trial, print_trials, print_winner, ranked_trials

    with open_storage_to_read(storage) as database:
        record, spec = _stored(database, study)
        if trial is not None:
            print_trial(database, spec, trial)
            return
        summary = _summary(database, record)
        counts = ", ".join(f"{count} {state.lower()}" for state, count in summary["states"].items())
        typer.echo(
            f"Study {spec.name}: {spec.task}, {spec.epochs} epochs, "
            f"sampler {spec.sampler}, pruner {spec.pruner}"
        )
        typer.echo(f"Trials: {summary['ended']} of {spec.trials} have ended ({counts or 'none yet'})")
        ranked = ranked_trials(database, spec)
        if ranked:
            print_winner(database, spec, storage)
            typer.echo(f"\nThe best {min(SHOWN_TRIALS, len(ranked))} of {len(ranked)} complete trials:")
            print_trials(ranked[:SHOWN_TRIALS], spec)


def best(
    study: StudyArgument,
    format: Annotated[Literal["text", "toml", "json"], typer.Option(help="How to print.")] = "text",  # noqa: A002 # the option's name
    baseline: BaselineOption = False,
    storage: StorageOption = None,
) -> None:
    """Print the winner: of a confirmed study the confirmed one, else the best trial.

    [b]Example[/]: lrsearch best mnist-tpe --format toml
    """
    import tomlkit

    from lrsearch.cli.showing import best_trial, print_winner
    from lrsearch.review.fixing import fixed_study, study_of
    from lrsearch.review.listing import as_json
    from lrsearch.review.winner import baseline_winner, winner, winner_row
    from lrsearch.storage.retrainings import latest_confirmation
    from lrsearch.storage.trials import trial_records

    with open_storage_to_read(storage) as database:
        record, spec = _stored(database, study)
        if format == "text":
            print_winner(database, spec, storage, baseline=baseline)
            return
        trial = best_trial(database, spec)  # also where none is complete: it says so
        records, confirmation = (
            trial_records(database, record),
            latest_confirmation(database, record.uuid, spec.epochs),
        )
    if baseline:
        found: Winner | None = baseline_winner(spec, confirmation)
    else:
        found = None if spec.parts is not None else winner(spec, records, confirmation)
    if format == "json":
        typer.echo(as_json([winner_row(trial, found, records)]))
        return
    suffix = "baseline" if baseline else "best"
    if found is None:
        content = fixed_study(spec, trial.params)
    else:
        content = study_of(spec, found.hyperparameters, suffix=suffix)
    name = f"trial {trial.number}" if found is None else found.name
    which = "best baseline" if baseline else "winner"
    typer.echo(f"# The {which} of study {spec.name}: {name}, validation loss {_loss_of(trial, found)}.")
    typer.echo(tomlkit.dumps(content), nl=False)


def trials(
    study: StudyArgument,
    format: Annotated[Literal["table", "csv", "json"], typer.Option(help="How to print.")] = "table",  # noqa: A002 # the option's name
    storage: StorageOption = None,
) -> None:
    """Print all trials.

    [b]Example[/]: lrsearch trials mnist-tpe --format csv
    """
    from lrsearch.cli.showing import print_trials
    from lrsearch.review.listing import TRIAL_FIELDS, as_csv, as_json, trial_rows
    from lrsearch.storage.trials import trial_records

    with open_storage_to_read(storage) as database:
        record, spec = _stored(database, study)
        records = trial_records(database, record)
    if format == "table":
        print_trials(records, spec)
    else:
        rows = trial_rows(records)
        typer.echo(as_json(rows) if format == "json" else as_csv(rows, TRIAL_FIELDS), nl=format == "json")


def curves(
    study: StudyArgument,
    format: Annotated[Literal["csv", "json"], typer.Option(help="How to print.")] = "csv",  # noqa: A002 # the option's name
    storage: StorageOption = None,
) -> None:
    """Print all losses, epoch by epoch.

    [b]Example[/]: lrsearch curves mnist-tpe --format json
    """
    from lrsearch.review.listing import CURVE_FIELDS, as_csv, as_json, curve_rows
    from lrsearch.storage.epochs import curves as stored_curves

    with open_storage_to_read(storage) as database:
        record, _spec = _stored(database, study)
        rows = curve_rows(stored_curves(database, record.uuid))
    typer.echo(as_json(rows) if format == "json" else as_csv(rows, CURVE_FIELDS), nl=format == "json")


def extend(
    study: StudyArgument,
    trials: Annotated[str, typer.Option(metavar="+N", help="Trials to add.")] = "+0",
    lr_low: Annotated[float | None, typer.Option(help="New lower bound of lr.")] = None,
    lr_high: Annotated[float | None, typer.Option(help="New upper bound of lr.")] = None,
    storage: StorageOption = None,
) -> None:
    """Widen a study's budget or lr bounds; all trials are kept.

    [b]Example[/]: lrsearch extend mnist-tpe --trials +50 --lr-high 10
    """
    from lrsearch.service.studies import extend as extend_study

    added = _added(trials)
    if not added and lr_low is None and lr_high is None:
        raise SpecError("nothing to extend: give --trials +N, --lr-low or --lr-high")
    with open_storage(storage) as database:
        spec = extend_study(database, study, trials=added, lr_low=lr_low, lr_high=lr_high)
    typer.echo(f"Study {spec.name} now has {spec.trials} trials and lr in {spec.space.lr}.")
    typer.echo(f"Go on with: {run_command(spec, storage)}")


def enqueue(
    study: StudyArgument,
    values: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE...", help="Parameters by canonical name.")
    ],
    storage: StorageOption = None,
) -> None:
    """Put a point into the next free slot; what it leaves open is sampled.

    [b]Example[/]: lrsearch enqueue mnist-tpe lr=0.1 kind=StepLR
    """
    from lrsearch.service.studies import enqueue as enqueue_point

    point = _point(values)
    with open_storage(storage) as database:
        slot = enqueue_point(database, study, point)
        _record, spec = _stored(database, study)
    typer.echo(f"The point is in slot {slot} of study {study}. Train it with: {run_command(spec, storage)}")


def delete(
    study: StudyArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    storage: StorageOption = None,
) -> None:
    """Delete a study with all its trials.

    [b]Example[/]: lrsearch delete mnist-tpe --yes
    """
    from lrsearch.service.checkpoint_sweep import delete_checkpoints
    from lrsearch.storage.studies import delete_study

    with open_storage(storage) as database:
        record, _spec = _stored(database, study)
        ended = _summary(database, record)["ended"]
        if not yes and not _agreed(f"Delete study {study!r} with its {ended} ended trials?"):
            typer.echo("Nothing was deleted.")
            return
        delete_study(database, study)
        delete_checkpoints(database, record)
    typer.echo(f"Study {study} is deleted.")


def _agreed(question: str) -> bool:
    """Ask, and return whether the answer was yes.

    Raises:
        SpecError: if nobody can answer.
    """
    try:
        return typer.confirm(question)
    except typer.Abort:
        raise SpecError("nothing was deleted, because nobody answered; to delete unasked: --yes") from None


def _loss_of(trial: "TrialRecord", found: "Winner | None") -> str:
    if found is None or found.standing is None or found.standing.valid_loss is None:
        return str(trial.value)
    reported = found.standing.valid_loss
    return f"{reported.mean} on {reported.runs} fresh seeds"


def _stored(database: "Database", name: str) -> tuple["StudyRecord", "StudySpec"]:
    from lrsearch.service.studies import stored_spec
    from lrsearch.storage.studies import find_study

    record = find_study(database, name)
    return record, stored_spec(record)


def _summary(database: "Database", record: "StudyRecord") -> dict[str, Any]:
    from collections import Counter

    from lrsearch.storage.trials import trial_records

    records = trial_records(database, record)
    states = Counter("diverged" if trial.diverged else trial.state for trial in records)
    values = [trial.value for trial in records if trial.state == "COMPLETE" and trial.value is not None]
    return {
        "name": record.name,
        "task": record.spec["task"],
        "sampler": record.spec["sampler"],
        "ended": sum(trial.state in {"COMPLETE", "PRUNED", "FAIL"} for trial in records),
        "trials": record.spec["trials"],
        "states": dict(states),
        "best_value": min(values, default=None),
        "created_at": str(record.created_at),
    }


def _added(text: str) -> int:
    if not text.removeprefix("+").isdecimal():
        raise SpecError(f"--trials of extend is the number of trials to add, such as +50, but got {text!r}")
    return int(text)


def _point(texts: list[str]) -> dict[str, "Scalar"]:
    pairs = [_key_and_value(text) for text in texts]
    keys = [key for key, _value in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise SpecError(f"a key may stand only once, but got {key!r} {keys.count(key)} times")
    return dict(pairs)


def _key_and_value(text: str) -> tuple[str, "Scalar"]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise SpecError(f"a value is given as KEY=VALUE, such as lr=0.1, but got {text!r}")
    for read in (int, float):
        try:
            return key, read(value)
        except ValueError:
            continue
    return key, {"true": True, "false": False}.get(value.lower(), value)
