"""Prints a study's best trial, and its best ten."""

from collections import Counter
from typing import TYPE_CHECKING

import typer

from lrsearch.cli.parameters import run_command
from lrsearch.cli.table import print_table
from lrsearch.errors import SpecError, UnknownNameError

if TYPE_CHECKING:
    from lrsearch.results import TrialRecord
    from lrsearch.review.winner import Winner
    from lrsearch.schedules import Hyperparameters
    from lrsearch.spec import StudySpec
    from lrsearch.storage.database import Database

SHOWN_TRIALS = 10


def best_trial(database: "Database", spec: "StudySpec") -> "TrialRecord":
    """Return the complete trial with the smallest value.

    Raises:
        SpecError: if no trial of the study is complete yet.
    """
    from lrsearch.review.advice import without_complete_trial

    ranked = ranked_trials(database, spec)
    if not ranked:
        counts = Counter(state(record).lower() for record in _records(database, spec))
        raise SpecError(without_complete_trial(spec, counts, run_command(spec, None)))
    return ranked[0]


def ranked_trials(database: "Database", spec: "StudySpec") -> list["TrialRecord"]:
    """Return the complete trials, the best first."""
    complete = [
        each for each in _records(database, spec) if each.state == "COMPLETE" and each.value is not None
    ]
    return sorted(complete, key=lambda record: (record.value, record.number))


def state(record: "TrialRecord") -> str:
    """Return how a trial stands, in one word: Optuna's, or DIVERGED."""
    return "DIVERGED" if record.diverged else record.state


def _records(database: "Database", spec: "StudySpec") -> list["TrialRecord"]:
    from lrsearch.storage.studies import find_study
    from lrsearch.storage.trials import trial_records

    return trial_records(database, find_study(database, spec.name))


def print_best(database: "Database", spec: "StudySpec") -> None:
    """Print the best trial: its value and metrics, its hyperparameters, and their lines of PyTorch."""
    from lrsearch.review.wording import described, number
    from lrsearch.spec import hyperparameters_by_part
    from lrsearch.storage.epochs import curves
    from lrsearch.storage.studies import find_study

    best = best_trial(database, spec)
    record = find_study(database, spec.name)
    curve = [result for result in curves(database, record.uuid) if result.trial == best.number]
    metrics = (
        "".join(f", {name} {number(value)}" for name, value in curve[-1].metrics.items()) if curve else ""
    )
    typer.echo(f"Best trial {best.number}: validation loss {number(best.value)}{metrics}")
    points = hyperparameters_by_part(spec, best.params)
    for part, point in points.items():
        typer.echo(f"  {part + ': ' if part else ''}{described(point, spec.optimizer.name)}")
    for part, point in points.items():
        _print_pytorch(database, spec, part, point)


def print_winner(
    database: "Database", spec: "StudySpec", storage: str | None, *, baseline: bool = False
) -> None:
    """Print the winner of a confirmed study, else the best trial and how to confirm it.

    Args:
        database: where the study is stored.
        spec: its resolved specification.
        storage: the option ``--storage`` as it was given, or None.
        baseline: the best baseline of the confirmation in the place of the winner.

    Raises:
        SpecError: if no trial of the study is complete yet, or no baseline was compared.
    """
    from lrsearch.cli.parameters import command
    from lrsearch.review.advice import NO_TASK, how_to_confirm
    from lrsearch.review.confirmation_wording import baseline_line, confirmed_lines
    from lrsearch.review.winner import baseline_winner, found_since, winner
    from lrsearch.review.wording import capital
    from lrsearch.storage.masking import masked
    from lrsearch.storage.retrainings import latest_confirmation
    from lrsearch.storage.studies import find_study

    confirmation = latest_confirmation(database, find_study(database, spec.name).uuid, spec.epochs)
    records = _records(database, spec)
    if baseline:
        found: Winner | None = baseline_winner(spec, confirmation)
    else:
        found = winner(spec, records, confirmation) if confirmation is not None else None
    if confirmation is None or found is None or found.standing is None:
        print_best(database, spec)
        how = how_to_confirm(spec, None if storage is None else masked(storage))
        advice = capital(NO_TASK) if how is None else f"On fresh seeds: {how}"
        typer.echo(f"Not confirmed: the best of many is also the luckiest. {advice}")
        return
    for line in confirmed_lines(found, confirmation, spec.optimizer.name):
        typer.echo(line)
    newer = found_since(spec, records, confirmation.candidates)
    if newer is not None:
        typer.echo(f"Found since, with a smaller loss in the search: trial {newer.number}. Confirm again.")
    _print_pytorch(database, spec, None, found.hyperparameters)
    other = None if baseline else baseline_line(confirmation, command("best", spec.name, storage))
    if other is not None:
        typer.echo(other)


def _print_pytorch(
    database: "Database", spec: "StudySpec", part: str | None, point: "Hyperparameters"
) -> None:
    from lrsearch.review.wording import pytorch_lines

    steps = steps_per_epoch(database, spec, part)
    if steps is None:
        return
    batches = "" if spec.batch_size is None else f" (batches of {spec.batch_size}; drop_last=True)"
    typer.echo(
        f"In PyTorch, {part + ', ' if part else ''}for {spec.epochs} epochs of {steps} updates{batches}:"
    )
    for line in pytorch_lines(spec.optimizer.name, point, spec.epochs or 1, steps):
        typer.echo(f"  {line}")


def steps_per_epoch(database: "Database", spec: "StudySpec", part: str | None = None) -> int | None:
    """Return the updates of an epoch, known once a study, or the part of one, has been run."""
    import optuna

    from lrsearch.storage.studies import STEPS_ATTRIBUTE

    study = optuna.load_study(study_name=spec.name, storage=database.optuna_storage)
    name = STEPS_ATTRIBUTE if part is None else f"{STEPS_ATTRIBUTE}/{part}"
    steps: int | None = study.user_attrs.get(name)
    return steps


def print_trial(database: "Database", spec: "StudySpec", trial: int) -> None:
    """Print all that is known of one trial.

    Raises:
        UnknownNameError: if the study has none of this number.
    """
    from lrsearch.review.wording import described, number
    from lrsearch.spec import hyperparameters_by_part

    by_number = {record.number: record for record in _records(database, spec)}
    if trial not in by_number:
        raise UnknownNameError("trial", str(trial), map(str, by_number))
    record = by_number[trial]
    typer.echo(f"Trial {trial}: {state(record)}, value {number(record.value)}, {record.epochs} epochs")
    for part, point in hyperparameters_by_part(spec, record.params).items():
        typer.echo(f"  {part + ': ' if part else ''}{described(point, spec.optimizer.name)}")
    typer.echo(f"  began {record.started_at or 'not yet'}, ended {record.finished_at or 'not yet'}")
    if record.reason:
        typer.echo(f"  {record.reason}")
    if record.traceback:
        typer.echo(f"\n{record.traceback.rstrip()}")


def print_trials(records: list["TrialRecord"], spec: "StudySpec") -> None:
    """Print trials as a table."""
    from lrsearch.review.wording import described_parts, number
    from lrsearch.spec import hyperparameters_by_part

    rows = []
    for record in records:
        note = f" ({record.reason})" if record.reason else ""
        words = described_parts(hyperparameters_by_part(spec, record.params), spec.optimizer.name)
        rows.append((record.number, state(record), number(record.value), record.epochs, words + note))
    print_table(("trial", "state", "value", "epochs", "hyperparameters"), rows)
