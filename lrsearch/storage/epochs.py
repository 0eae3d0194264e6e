"""The curves of a study: what each trial learned in each epoch, written for all lanes at once."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from lrsearch.errors import UnknownNameError
from lrsearch.results import Claim, EpochResult
from lrsearch.storage import public_trials
from lrsearch.storage.database import Database
from lrsearch.storage.optuna_tables import report_values, trial_intermediate_values
from lrsearch.storage.slots import Slots
from lrsearch.storage.tables import EpochValueRow
from lrsearch.storage.upsert import upsert

LONGEST_LIST = 10_000  # numbers in a statement; PostgreSQL takes 65,535

# The values that every epoch has; all others are the task's metrics.
COMMON_VALUES = ("train_loss", "valid_loss", "lr", "seconds")


def record_epochs(slots: Slots, epochs: Sequence[tuple[Claim, EpochResult, float]]) -> list[Claim]:
    """Store one epoch of many trials in one transaction, and renew their leases.

    Optuna's intermediate values are written too. An epoch that is stored again is overwritten.

    Args:
        slots: the study's slots.
        epochs: for each trial its claim, its epoch, and the value that Optuna gets to see: the validation
            loss, or ``inf`` if it diverged.

    Returns:
        The claims that are lost; nothing was stored for them.

    Raises:
        ValueError: a claim is bound to another trial, or a metric has the name of a common value.
        UnknownNameError: the study was deleted in Optuna.
    """
    for _, epoch, _ in epochs:
        _check_metrics(epoch)

    known = slots.database.knows_optunas_tables

    def write(connection: sa.Connection) -> list[Claim]:
        # Each claim once: an outage may have left many epochs, and a statement takes so many parameters.
        claims = {(claim.slot, claim.attempt): claim for claim, _, _ in epochs}
        held = slots.renew_within(connection, list(claims.values()))
        kept = [entry for entry in epochs if (entry[0].slot, entry[0].attempt) in held]
        for claim, epoch, _ in kept:
            _check_trial(claim, epoch, held[claim.slot, claim.attempt])
        if known:
            _report(connection, slots, [(epoch, reported) for _, epoch, reported in kept])
        rows = [row for _, epoch, _ in kept for row in _rows(slots.study_uuid, epoch)]
        upsert(connection, EpochValueRow, rows, key=("study_uuid", "trial", "epoch", "name"))
        return [claim for key, claim in claims.items() if key not in held]

    lost = slots.database.transaction(write) if epochs else []
    if not known:
        _report_publicly(slots, [(epoch, value) for claim, epoch, value in epochs if claim not in lost])
    return lost


def forget_epochs(slots: Slots, restarts: Sequence[tuple[Claim, int]]) -> list[Claim]:
    """Delete the epochs that trials train once more: those of their last attempt, ours and Optuna's.

    Args:
        slots: the study's slots.
        restarts: claims, each with the epoch that its trial goes on from; 0 where it begins anew.

    Returns:
        The claims that are lost; nothing was deleted for them.
    """
    known = slots.database.knows_optunas_tables  # by its own interface, Optuna forgets nothing

    def write(connection: sa.Connection) -> list[Claim]:
        held = slots.renew_within(connection, claims)
        by_epoch: dict[int, list[int]] = defaultdict(list)
        for claim, epoch in restarts:
            trial = held.get((claim.slot, claim.attempt))
            if trial is not None:
                by_epoch[epoch].append(trial)
        for epoch, trials in by_epoch.items():
            _forget(connection, slots, trials, epoch, reported=known)
        return [claim for claim in claims if (claim.slot, claim.attempt) not in held]

    claims = [claim for claim, _epoch in restarts]
    return slots.database.transaction(write) if claims else []


def valid_losses(
    database: Database, study_uuid: str, trials: Collection[int] | None = None
) -> dict[int, dict[int, float]]:
    """Return the validation losses of a study, or of some of its trials, by trial and epoch."""
    query = (
        sa.select(EpochValueRow.trial, EpochValueRow.epoch, EpochValueRow.value)
        .where(EpochValueRow.study_uuid == study_uuid, EpochValueRow.name == "valid_loss")
        .order_by(EpochValueRow.trial, EpochValueRow.epoch)
    )
    numbers = sorted(trials or ())
    parts = [numbers[first : first + LONGEST_LIST] for first in range(0, len(numbers), LONGEST_LIST)]
    queries = [query] if trials is None else [query.where(EpochValueRow.trial.in_(part)) for part in parts]

    def read(connection: sa.Connection) -> list[tuple[int, int, float | None]]:
        return [(*row,) for each in queries for row in connection.execute(each)]

    losses: dict[int, dict[int, float]] = defaultdict(dict)
    for trial, epoch, value in database.read(read):
        losses[trial][epoch] = _from_stored(value)
    return dict(losses)


def curves(database: Database, study_uuid: str, trial: int | None = None) -> list[EpochResult]:
    """Return all epochs of a study, or of one of its trials, by trial and epoch."""
    query = (
        sa.select(EpochValueRow.trial, EpochValueRow.epoch, EpochValueRow.name, EpochValueRow.value)
        .where(EpochValueRow.study_uuid == study_uuid)
        .order_by(EpochValueRow.trial, EpochValueRow.epoch, EpochValueRow.name)
    )
    if trial is not None:
        query = query.where(EpochValueRow.trial == trial)
    values: dict[tuple[int, int], dict[str, float]] = defaultdict(dict)
    for number, epoch, name, value in database.read(lambda connection: connection.execute(query).all()):
        values[number, epoch][name] = _from_stored(value)
    return [_epoch_result(number, epoch, by_name) for (number, epoch), by_name in values.items()]


def _forget(
    connection: sa.Connection, slots: Slots, trials: Sequence[int], epoch: int, *, reported: bool
) -> None:
    """Delete the later epochs of trials; with what was reported to Optuna, where that is possible."""
    later = sa.and_(
        EpochValueRow.study_uuid == slots.study_uuid,
        EpochValueRow.trial.in_(trials),
        EpochValueRow.epoch > epoch,
    )
    connection.execute(sa.delete(EpochValueRow).where(later))
    if reported:
        ids = list(slots.trial_ids.of(connection, trials).values())
        columns = trial_intermediate_values.c
        later = sa.and_(columns.trial_id.in_(ids), columns.step > epoch)
        connection.execute(sa.delete(trial_intermediate_values).where(later))


def _check_metrics(epoch: EpochResult) -> None:
    taken = [name for name in epoch.metrics if name in COMMON_VALUES]
    if taken:
        raise ValueError(f"the names {', '.join(COMMON_VALUES)} are taken, got the metric {taken[0]!r}.")


def _check_trial(claim: Claim, epoch: EpochResult, bound: int | None) -> None:
    if bound != epoch.trial:
        raise ValueError(f"slot {claim.slot} is bound to trial {bound}, got an epoch of trial {epoch.trial}.")


def _report(connection: sa.Connection, slots: Slots, epochs: Sequence[tuple[EpochResult, float]]) -> None:
    ids = slots.trial_ids.of(connection, list({epoch.trial for epoch, _ in epochs}))
    missing = [epoch.trial for epoch, _ in epochs if epoch.trial not in ids]
    if missing:
        raise UnknownNameError("trial", str(missing[0]), map(str, ids))
    report_values(connection, [(ids[epoch.trial], epoch.epoch, reported) for epoch, reported in epochs])


def _report_publicly(slots: Slots, epochs: Sequence[tuple[EpochResult, float]]) -> None:
    for epoch, reported in epochs:
        study_id = slots.database.read(slots.trial_ids.study_id)
        storage = slots.database.optuna_storage
        public_trials.report_value(storage, study_id, epoch.trial, epoch.epoch, reported)


def _rows(study_uuid: str, epoch: EpochResult) -> Iterator[dict[str, Any]]:
    values = {name: getattr(epoch, name) for name in COMMON_VALUES} | dict(epoch.metrics)
    for name, value in values.items():
        stored = None if math.isnan(value) else float(value)
        yield {
            "study_uuid": study_uuid,
            "trial": epoch.trial,
            "epoch": epoch.epoch,
            "name": name,
            "value": stored,
        }


def _epoch_result(trial: int, epoch: int, values: dict[str, float]) -> EpochResult:
    metrics = {name: value for name, value in values.items() if name not in COMMON_VALUES}
    common = {name: values.get(name, math.nan) for name in COMMON_VALUES}
    return EpochResult(trial=trial, epoch=epoch, metrics=metrics, **common)


def _from_stored(value: float | None) -> float:
    return math.nan if value is None else value
