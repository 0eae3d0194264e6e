"""What the rows of slots say, as frozen values."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lrsearch.results import Claim, Outcome, TrialResult, storable
from lrsearch.storage.tables import TOLD


@dataclass(frozen=True)
class SlotCounts:
    """How many slots of a study are in each state.

    Args:
        free: may be claimed.
        leased: held by a worker.
        told: ended, and not yet known to Optuna.
        done: ended.
    """

    free: int
    leased: int
    told: int
    done: int

    @property
    def ended(self) -> int:
        """The slots that have a result."""
        return self.told + self.done


@dataclass(frozen=True)
class SlotResult:
    """How the trial in a slot ended.

    Args:
        slot: index of the slot, from 0.
        trial: number of the trial in its study; None if its workers died before it had one.
        point: searched parameters by canonical name; None if its workers died before it had any.
        result: outcome, value and epochs.
    """

    slot: int
    trial: int | None
    point: Mapping[str, Any] | None
    result: TrialResult


@dataclass(frozen=True)
class BegunSlot:
    """A slot whose trial has begun.

    Args:
        slot: index of the slot, from 0.
        trial: number of the trial in its study.
        point: searched parameters by canonical name.
        result: how it ended; None if it runs, or waits for its next holder.
    """

    slot: int
    trial: int
    point: Mapping[str, Any]
    result: TrialResult | None


def claim_of(row: sa.Row[Any]) -> Claim:
    """Return the claim that a leased slot's row stands for."""
    return Claim(row.slot, row.attempt, point_of(row), row.trial, row.checkpoint)


def point_of(row: sa.Row[Any]) -> Mapping[str, Any] | None:
    """Return the parameters in a row, or None."""
    return None if row.point is None else json.loads(row.point)


def result_of(row: sa.Row[Any]) -> TrialResult:
    """Return the result in the row of a slot that has ended."""
    return TrialResult(
        outcome=Outcome(row.outcome),
        value=row.value,
        epochs=row.epochs or 0,
        diverged=bool(row.diverged),
        reason=row.reason,
        traceback=row.traceback,
    )


def begun_of(row: sa.Row[Any]) -> BegunSlot:
    """Return the begun trial in a row that has a trial and a point."""
    return BegunSlot(row.slot, row.trial, json.loads(row.point), result_of(row) if row.outcome else None)


def columns_of(result: TrialResult) -> dict[str, Any]:
    """Return the columns that a result changes.

    Raises:
        ValueError: the value is NaN, or missing from a COMPLETE trial.
    """
    missing = result.value is None and result.outcome is Outcome.COMPLETE
    if missing or (result.value is not None and math.isnan(result.value)):
        raise ValueError(
            f"a COMPLETE trial has a value, and no value is NaN (a diverged trial's is inf), got {result}."
        )
    return {
        "state": TOLD,
        "lease_until": None,
        "checkpoint": None,
        "outcome": result.outcome.value,
        "value": result.value,
        "epochs": result.epochs,
        "diverged": result.diverged,
        "reason": result.reason and storable(result.reason),
        "traceback": result.traceback and storable(result.traceback),
    }
