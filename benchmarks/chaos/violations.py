"""What is wrong with a study that has ended: each guarantee, compared with what the database holds."""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import optuna
import sqlalchemy as sa

from benchmarks.chaos.array import loss_after
from benchmarks.chaos.crew import Hit
from benchmarks.chaos.journal import Journal, SlotChange, read_journal
from lrsearch.results import Outcome
from lrsearch.spec import StudySpec
from lrsearch.storage.address import parse_address
from lrsearch.storage.database import Database
from lrsearch.storage.leases import KNOWN_DEAD
from lrsearch.storage.studies import find_study
from lrsearch.storage.tables import DONE, FREE, LEASED, TOLD, EpochValueRow, SlotRow

MOST_DEATHS = 3
CLOCK_TOLERANCE_S = 1.0


@dataclass(frozen=True)
class Remains:
    """What a run has left in the database, and what was done to its workers.

    Args:
        spec: of the study.
        slots: rows of its slots.
        epochs: rows of the values of its epochs.
        optuna_trials: its trials as Optuna has them.
        journal: what happened.
        hits: what was done to workers.
        lease_s: seconds that a claim lasts without being renewed.
    """

    spec: StudySpec
    slots: Sequence[sa.Row[Any]]
    epochs: Sequence[sa.Row[Any]]
    optuna_trials: Mapping[int, optuna.trial.FrozenTrial]
    journal: Journal
    hits: Sequence[Hit]
    lease_s: float

    @cached_property
    def curves(self) -> Mapping[int, Mapping[str, Mapping[int, float | None]]]:
        """Values by trial, name and epoch."""
        curves: dict[int, dict[str, dict[int, float | None]]] = defaultdict(lambda: defaultdict(dict))
        for row in self.epochs:
            curves[row.trial][row.name][row.epoch] = row.value
        return curves

    @property
    def outcomes(self) -> Counter[str]:
        """Number of slots by outcome."""
        return Counter(row.outcome for row in self.slots if row.outcome is not None)

    @property
    def attempts(self) -> int:
        """How often slots were claimed."""
        return sum(row.attempt for row in self.slots)

    @property
    def resumed(self) -> int:
        """How often a worker's first epoch of a trial was not the trial's first."""
        writers: dict[int, int] = {}
        resumed = 0
        for write in self.journal.epochs:
            resumed += writers.get(write.trial, write.pid) != write.pid and write.epoch > 1
            writers[write.trial] = write.pid
        return resumed

    def recovery_s(self) -> list[float]:
        """Return the seconds from a blow to the claim by another worker, for each slot that was held."""
        return [
            change.at_s - last_s
            for change in self.journal.slots
            if is_taken_over(change) and (last_s := self.last_hit_s(change)) is not None
        ]

    def last_hit_s(self, change: SlotChange) -> float | None:
        """Return when the worker that had a slot before a change was last hit; None if it was not."""
        earlier = [h.at_s for h in self.hits if h.pid == change.pid_before and h.at_s <= change.at_s]
        return max(earlier, default=None)


def is_taken_over(change: SlotChange) -> bool:
    """Return whether a worker took a slot that another one held."""
    return change.state_before == change.state == LEASED and change.attempt > change.attempt_before


def read_remains(
    url: str, database: Database, spec: StudySpec, hits: Sequence[Hit], lease_s: float
) -> Remains:
    """Return what the run of a study has left."""
    uuid = find_study(database, spec.name).uuid

    def rows(table: Any) -> Sequence[sa.Row[Any]]:
        query = sa.select(table.__table__).where(table.study_uuid == uuid)
        return database.read(lambda connection: connection.execute(query).all())

    # By Optuna's own storage, as another program would read them.
    storage = optuna.storages.RDBStorage(parse_address(url).url)
    trials = optuna.load_study(study_name=spec.name, storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    journal = read_journal(database, uuid)
    by_number = {trial.number: trial for trial in trials}
    return Remains(spec, rows(SlotRow), rows(EpochValueRow), by_number, journal, hits, lease_s)


def violations(remains: Remains) -> list[str]:
    """Return all that is wrong, each in a line."""
    return [
        *_budget(remains),
        *_each_once(remains),
        *_optuna(remains),
        *_epochs(remains),
        *_writers(remains),
        *_taken_from_the_living(remains),
        *_failures(remains),
        *_points(remains),
        *_leases(remains),
    ]


def _budget(remains: Remains) -> Iterator[str]:
    if len(remains.slots) != remains.spec.trials:
        yield f"{len(remains.slots)} slots instead of {remains.spec.trials}"
    for row in remains.slots:
        if row.state != DONE or row.outcome is None:
            yield f"slot {row.slot} is {row.state} with the outcome {row.outcome}"


def _each_once(remains: Remains) -> Iterator[str]:
    results: Counter[int] = Counter()
    for change in remains.journal.slots:
        results[change.slot] += change.state in (TOLD, DONE) and change.state_before not in (TOLD, DONE)
        if change.state_before in (TOLD, DONE) and change.state in (FREE, LEASED):
            yield f"slot {change.slot} went from {change.state_before} back to {change.state}"
        if change.attempt < change.attempt_before:
            yield f"slot {change.slot} went from attempt {change.attempt_before} back to {change.attempt}"
    for row in remains.slots:
        if results[row.slot] != 1:
            yield f"slot {row.slot} was given {results[row.slot]} results"


def _optuna(remains: Remains) -> Iterator[str]:
    begun = {row.trial: row for row in remains.slots if row.trial is not None}
    for number, trial in remains.optuna_trials.items():
        if not trial.state.is_finished():
            yield f"Optuna's trial {number} is {trial.state.name}"
        if number not in begun:
            yield f"Optuna's trial {number} is {trial.state.name} and belongs to no slot"
    for number, row in begun.items():
        known = remains.optuna_trials.get(number)
        if known is None:
            yield f"Optuna lacks trial {number} of slot {row.slot}"
        elif row.outcome is not None and (known.state.name, known.value) != (row.outcome, row.value):
            yield (
                f"trial {number} is {row.outcome} with {row.value} in slot {row.slot}, and for Optuna "
                f"{known.state.name} with {known.value}"
            )
        elif known.intermediate_values != dict(remains.curves[number]["valid_loss"]):
            yield f"Optuna has another curve of trial {number}: {known.intermediate_values}"


def _epochs(remains: Remains) -> Iterator[str]:
    for row in remains.slots:
        if row.trial is None or row.outcome is None:
            continue
        expected = list(range(1, row.epochs + 1))
        for name, values in remains.curves[row.trial].items():
            if sorted(values) != expected:
                yield f"trial {row.trial} ended after epoch {row.epochs} and has {name} of {sorted(values)}"
        lr = remains.optuna_trials[row.trial].params["lr"] if row.trial in remains.optuna_trials else math.nan
        losses = remains.curves[row.trial]["valid_loss"]
        for epoch, loss in losses.items():
            if loss is None or not math.isclose(loss, loss_after(lr, epoch)):
                yield f"trial {row.trial} has the loss {loss} in epoch {epoch}, not {loss_after(lr, epoch)}"
        if row.outcome != Outcome.FAIL.value and (not losses or row.value != losses[max(losses)]):
            yield f"trial {row.trial} has the value {row.value} after the losses {losses}"
        if row.outcome == Outcome.COMPLETE.value and row.epochs != remains.spec.epochs:
            yield f"trial {row.trial} is complete after {row.epochs} epochs"


def _writers(remains: Remains) -> Iterator[str]:
    for write in remains.journal.epochs:
        if write.state != LEASED or write.holder != write.pid:
            yield (
                f"epoch {write.epoch} of trial {write.trial} was written by {write.pid} while its slot was "
                f"{write.state} by {write.holder}"
            )


def _taken_from_the_living(remains: Remains) -> Iterator[str]:
    for change in remains.journal.slots:
        if is_taken_over(change) and remains.last_hit_s(change) is None:
            yield f"slot {change.slot} was taken from {change.pid_before}, which was alive"


def _failures(remains: Remains) -> Iterator[str]:
    for row in remains.slots:
        if row.outcome == Outcome.FAIL.value and row.deaths <= MOST_DEATHS:
            yield f"slot {row.slot} failed after {row.deaths} deaths: {row.reason}"


def _points(remains: Remains) -> Iterator[str]:
    points = Counter(row.point for row in remains.slots if row.point is not None)
    for point, times in points.items():
        if times > 1:
            yield f"the point {point} was tried {times} times"


def _leases(remains: Remains) -> Iterator[str]:
    for change in remains.journal.slots:
        if change.state != LEASED or change.lease_until in (None, KNOWN_DEAD):
            continue
        left_s = change.lease_until - change.at_s
        if not 0 < left_s <= remains.lease_s + CLOCK_TOLERANCE_S:
            yield f"slot {change.slot} was leased for {left_s:.1f} s instead of {remains.lease_s:g}"


def unhurt(remains: Remains, blows: Collection[Hit]) -> list[str]:
    """Return that no blow took a trial from a worker, if that is so."""
    if blows and remains.attempts <= remains.spec.trials:
        return [f"{len(blows)} blows and {remains.attempts} attempts: they hit no trial"]
    return []
