"""The budget of a study: slots that workers claim, hold by leases, and give results."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
import sqlalchemy as sa

from lrsearch.results import Claim, Outcome, TrialResult
from lrsearch.storage import clock, leases
from lrsearch.storage.database import Database
from lrsearch.storage.settling import end_trial, fail_unheld_trials
from lrsearch.storage.tables import DONE, FREE, LEASED, TOLD, SlotRow

# Longer than an outage that is waited for: else the first worker back would take every other one's slots.
LEASE_S = 120.0


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


class Slots:
    """The slots of one study.

    A slot is free, leased to a worker, told (it has a result that Optuna may not know yet) or done. A worker
    that stops renewing its lease loses the slot to the next one, which continues the same trial. Every write
    names the claim's attempt, so a worker that comes back late changes nothing.

    Args:
        database: the database.
        study_uuid: our key of the study.
        lease_s: how long a claim lasts without being renewed, in seconds; well above the longest outage that
            is waited for.
        max_retries: how many workers may die on a slot before the next death ends it as FAIL.
    """

    def __init__(
        self, database: Database, study_uuid: str, lease_s: float = LEASE_S, max_retries: int = 3
    ) -> None:
        self.database = database
        self.study_uuid = study_uuid
        self.lease_s = lease_s
        self.max_retries = max_retries

    def grow(self, total: int) -> None:
        """Add free slots until there are ``total``; a budget never shrinks."""
        self.database.transaction(lambda connection: leases.grow(connection, self.study_uuid, total))

    def claim(self, worker: str, limit: int) -> list[Claim]:
        """Lease up to ``limit`` slots: the lowest free ones, then those whose lease has run out.

        Args:
            worker: name of the worker, for people.
            limit: how many slots to lease at most.

        Returns:
            The claims, by slot; each with the trial that an earlier holder began, if one did.
        """

        def write(connection: sa.Connection) -> list[Claim]:
            now = clock.unix_seconds(connection)
            connection.execute(leases.end_deadly_slots(self.study_uuid, now, self.max_retries))
            lease = leases.lease(self.study_uuid, worker, limit, now, self.lease_s)
            rows = connection.execute(lease).all()
            return [_claim(row) for row in sorted(rows, key=lambda row: row.slot)]

        return self.database.transaction(write)

    def bind(self, claim: Claim, trial: int, point: Mapping[str, Any]) -> bool:
        """Say which trial runs in a claimed slot, and with which parameters.

        Returns:
            False if the claim is lost; then the trial is nobody's, and the next ``settle`` ends it.
        """
        return self._change([claim], trial=trial, point=json.dumps(dict(point)))

    def renew(self, claims: Iterable[Claim]) -> list[Claim]:
        """Prolong leases; return the claims that are still held."""
        claims = list(claims)
        held = self.database.transaction(lambda connection: self.renew_within(connection, claims))
        return [claim for claim in claims if (claim.slot, claim.attempt) in held]

    def renew_within(
        self, connection: sa.Connection, claims: Sequence[Claim]
    ) -> dict[tuple[int, int], int | None]:
        """Prolong leases in a running transaction.

        Returns:
            The trial number in each slot that is still held, by slot and attempt.
        """
        lease_until = clock.unix_seconds(connection) + self.lease_s
        renewal = leases.change_held(self.study_uuid, claims, lease_until=lease_until)
        rows = connection.execute(renewal).all()
        return {(row.slot, row.attempt): row.trial for row in rows}

    def release(self, claims: Iterable[Claim]) -> None:
        """Give slots back: their trials stay as they are for the next holder. Lost claims are passed over."""
        self._change(list(claims), state=FREE, worker=None, lease_until=None)

    def finish(self, claim: Claim, result: TrialResult) -> bool:
        """Store how the trial in a claimed slot ended.

        Returns:
            False if the claim is lost; then the result is not stored.

        Raises:
            ValueError: the value is NaN, or missing from a COMPLETE trial.
        """
        _check_value(result)

        def write(connection: sa.Connection) -> bool:
            ended_at = clock.unix_seconds(connection)
            change = leases.change_held(self.study_uuid, [claim], ended_at=ended_at, **_columns(result))
            return bool(connection.execute(change).all())

        # A transaction that was repeated may find its own commit.
        return self.database.transaction(write) or self._has_ended(claim)

    def settle(self, study: optuna.Study) -> None:
        """Tell Optuna all results that it does not know, and end trials that no worker will end.

        Any worker may do so at any time, and several at once.

        Args:
            study: Optuna's study; its sampler learns the results.
        """

        def read(connection: sa.Connection) -> tuple[float, Sequence[sa.Row[Any]], set[int]]:
            now = clock.unix_seconds(connection)
            connection.execute(leases.end_deadly_slots(self.study_uuid, now, self.max_retries))
            mine = SlotRow.study_uuid == self.study_uuid
            told = connection.execute(sa.select(SlotRow).where(mine, SlotRow.state == TOLD)).all()
            held = sa.select(SlotRow.trial).where(mine, SlotRow.trial.is_not(None))
            return now, told, set(connection.scalars(held))

        now, told, held = self.database.transaction(read)
        for row in told:
            if row.trial is not None:
                end_trial(self.database, study, row.trial, _result(row))
        self._mark_done([row.slot for row in told])
        fail_unheld_trials(self.database, study, held, begun_before=now - self.lease_s)

    def enqueue(self, point: Mapping[str, Any]) -> int | None:
        """Prescribe parameters to the lowest free slot that has none and no trial.

        Args:
            point: parameters by canonical name, complete or in part.

        Returns:
            The slot, or None if there is no such slot.
        """
        change = leases.prescribe(self.study_uuid, json.dumps(dict(point)))
        return self.database.transaction(lambda connection: connection.execute(change).scalar())

    def counts(self) -> SlotCounts:
        """Return how many slots are in each state."""
        query = sa.select(SlotRow.state).where(SlotRow.study_uuid == self.study_uuid)
        states = Counter(self.database.read(lambda connection: connection.scalars(query).all()))
        return SlotCounts(states[FREE], states[LEASED], states[TOLD], states[DONE])

    def trials(self) -> set[int]:
        """Return the numbers of the trials that slots name."""
        mine = SlotRow.study_uuid == self.study_uuid
        query = sa.select(SlotRow.trial).where(mine, SlotRow.trial.is_not(None))
        numbers = self.database.read(lambda connection: connection.scalars(query).all())
        return {number for number in numbers if number is not None}

    def results(self) -> list[SlotResult]:
        """Return the results so far, in the order of their end."""
        query = (
            sa.select(SlotRow)
            .where(SlotRow.study_uuid == self.study_uuid, SlotRow.state.in_((TOLD, DONE)))
            .order_by(SlotRow.ended_at, SlotRow.slot)
        )
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return [SlotResult(row.slot, row.trial, _point(row), _result(row)) for row in rows]

    def _change(self, claims: Sequence[Claim], **values: Any) -> bool:
        change = leases.change_held(self.study_uuid, claims, **values)
        changed = self.database.transaction(lambda connection: connection.execute(change).all())
        return len(changed) == len(claims)

    def _has_ended(self, claim: Claim) -> bool:
        query = sa.select(SlotRow.slot).where(
            SlotRow.study_uuid == self.study_uuid,
            SlotRow.slot == claim.slot,
            SlotRow.attempt == claim.attempt,
            SlotRow.state.in_((TOLD, DONE)),
        )
        return self.database.read(lambda connection: connection.scalar(query)) is not None

    def _mark_done(self, slots: Sequence[int]) -> None:
        if not slots:
            return
        change = sa.update(SlotRow).where(
            SlotRow.study_uuid == self.study_uuid, SlotRow.state == TOLD, SlotRow.slot.in_(slots)
        )
        self.database.transaction(lambda connection: connection.execute(change.values(state=DONE)))


def _claim(row: sa.Row[Any]) -> Claim:
    return Claim(slot=row.slot, attempt=row.attempt, point=_point(row), trial=row.trial)


def _point(row: sa.Row[Any]) -> Mapping[str, Any] | None:
    return None if row.point is None else json.loads(row.point)


def _columns(result: TrialResult) -> dict[str, Any]:
    return {
        "state": TOLD,
        "lease_until": None,
        "outcome": result.outcome.value,
        "value": result.value,
        "epochs": result.epochs,
        "diverged": result.diverged,
        "reason": result.reason,
    }


def _result(row: sa.Row[Any]) -> TrialResult:
    return TrialResult(
        outcome=Outcome(row.outcome),
        value=row.value,
        epochs=row.epochs or 0,
        diverged=bool(row.diverged),
        reason=row.reason,
    )


def _check_value(result: TrialResult) -> None:
    missing = result.value is None and result.outcome is Outcome.COMPLETE
    if missing or (result.value is not None and math.isnan(result.value)):
        raise ValueError(
            f"a COMPLETE trial has a value, and no value is NaN (a diverged trial's is inf), got {result}."
        )
