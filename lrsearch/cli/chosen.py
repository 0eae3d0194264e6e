"""The point of a stored study that a command uses again, and its training behind a bar."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lrsearch.cli.drafts import Draft, complete
from lrsearch.cli.parameters import command, run_command
from lrsearch.errors import SpecError

if TYPE_CHECKING:
    from lrsearch.results import EpochResult
    from lrsearch.review.winner import Winner
    from lrsearch.spec import StudySpec
    from lrsearch.storage.database import Database
    from lrsearch.storage.studies import StudyRecord
    from lrsearch.tasks.task import Task
    from lrsearch.training.data import TrainingData
    from lrsearch.training.logged_run import LoggedRun


@dataclass(frozen=True)
class Chosen:
    """A point of a stored study.

    Args:
        record: the study.
        spec: its resolved specification, with the options of the command line.
        winner: the point: the winner, or the trial that the user named.
        overrides: options of the command line, by key.
        attributes: of Optuna's study.
    """

    record: "StudyRecord"
    spec: "StudySpec"
    winner: "Winner"
    overrides: dict[str, Any]
    attributes: Mapping[str, Any]

    def with_task(self, allowed: Sequence[str], data_dir: Path | None) -> "tuple[StudySpec, Task]":
        """Return the specification and the loaded task.

        Raises:
            CodeNotAllowedError: if the study names code that the user did not.
            TaskError: if the task was an object in Python.
        """
        draft = Draft(self.spec, f"study {self.record.name!r}", self.overrides, self.record)
        return complete(draft, allowed, data_dir)

    def with_data(
        self, allowed: Sequence[str], data_dir: Path | None
    ) -> "tuple[StudySpec, Task, TrainingData]":
        """Return the specification, the loaded task, and its data on the device.

        Raises:
            StudyConflictError: if the task has changed since the study began.
        """
        from lrsearch.service.optimize import load_onto_device
        from lrsearch.service.sameness import check_unchanged

        spec, task = self.with_task(allowed, data_dir)
        data = load_onto_device(spec, task)
        check_unchanged(self.attributes, spec, task, data)
        return spec, task, data


def choose(
    database: "Database", study: str, trial: int | None, device: str | None, *, baseline: bool = False
) -> Chosen:
    """Return the point that a command line means: a trial, else the study's winner.

    Args:
        database: where the study is stored.
        study: its name.
        trial: number of a trial, or None for the winner.
        device: the option ``--device``, or None.
        baseline: the best baseline of the confirmation in the place of the winner.

    Raises:
        UnknownNameError: if there is no such study or trial.
        SpecError: if the study has parts, or nothing to choose from.
    """
    from lrsearch.review.winner import baseline_winner, trial_winner, winner
    from lrsearch.service.studies import stored_spec
    from lrsearch.storage.retrainings import latest_confirmation
    from lrsearch.storage.studies import find_study, study_attributes
    from lrsearch.storage.trials import trial_records

    overrides = {} if device is None else {"run.device": device}
    record = find_study(database, study)
    spec, attributes = stored_spec(record, overrides), study_attributes(database, record.uuid)
    if spec.parts is not None:
        raise SpecError(
            f"one point is used again, but each of the parts {', '.join(spec.parts)} of study {study!r} has "
            f"one of its own; see their lines of PyTorch: {command('best', study, None)}"
        )
    trials, confirmation = (
        trial_records(database, record),
        latest_confirmation(database, record.uuid, spec.epochs),
    )
    if baseline:
        if trial is not None:
            raise SpecError("--trial and --baseline both say what to take: leave one out")
        return Chosen(record, spec, baseline_winner(spec, confirmation), overrides, attributes)
    if trial is not None:
        return Chosen(record, spec, trial_winner(spec, trials, confirmation, trial), overrides, attributes)
    found = winner(spec, trials, confirmation)
    if found is None:
        from lrsearch.review.advice import without_complete_trial

        counts = Counter("diverged" if each.diverged else each.state.lower() for each in trials)
        raise SpecError(without_complete_trial(spec, counts, run_command(spec, None)))
    return Chosen(record, spec, found, overrides, attributes)


def refuse_without_task(spec: "StudySpec", wish: str) -> None:
    """Refuse a study whose task cannot be trained from a command line.

    Args:
        spec: of the study.
        wish: what was asked for, such as ``"export --format python"``.

    Raises:
        SpecError: with what works.
    """
    from lrsearch.spec import EXTERNAL, OBJECT

    why = None
    if spec.task == EXTERNAL:
        why = "code of yours trains it"
    if spec.task.endswith(OBJECT):
        why = (
            "its task was given as an object in Python. There, result.confirm() confirms it and "
            'result.build(model) builds it; of lrsearch.optimize("FILE.py:task") commands can train it too'
        )
    if why is not None:
        raise SpecError(
            f"{wish} trains points once more, and cannot do so in study {spec.name!r}: {why}; for the best "
            f"one's lines of PyTorch: {command('best', spec.name, None)}"
        )


def train_behind_a_bar(run: "LoggedRun", description: str) -> "list[EpochResult]":
    """Train to the end behind a bar, where there is a terminal to draw it on, and return the epochs.

    Raises:
        DivergenceError: if the loss leaves all bounds.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    results = []
    typer.echo(description, err=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("epoch 1", total=run.schedule.epochs)
        for result in run.epochs():
            results.append(result)
            words = f"epoch {result.epoch}: validation loss {result.valid_loss:.4g}"
            progress.update(bar, completed=result.epoch, description=words)
    return results
