"""The budget of a study: slots that workers claim, hold by leases, and give results."""

import json
import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import sqlalchemy as sa

from lrsearch.results import Claim, Outcome, TrialResult
from lrsearch.storage import clock, leases, public_trials
from lrsearch.storage.beginnings import Begun, begin_trials
from lrsearch.storage.contact import Contact
from lrsearch.storage.database import Database
from lrsearch.storage.optuna_tables import NewTrial, TrialIds, running_before
from lrsearch.storage.settling import tell
from lrsearch.storage.slot_rows import (
    BegunSlot,
    SlotCounts,
    SlotResult,
    begun_of,
    claim_of,
    columns_of,
    point_of,
    result_of,
)
from lrsearch.storage.tables import DONE, FREE, LEASED, TOLD, SlotRow

# Longer than an outage that is waited for: else the first worker back would take every other one's slots.
LEASE_S = 120.0

LOOK_S = 1.0  # between two looks for dead workers while there are free slots

_UNHELD = TrialResult(Outcome.FAIL, value=None, epochs=0, reason="its worker died before it began")


class Slots:
    """The slots of one study.

    A slot is free, leased to a worker, told (it has a result that Optuna may not know yet) or done. A worker
    that stops renewing its lease loses the slot to the next one, which continues the same trial. Every write
    names the claim's attempt, so a worker that comes back late changes nothing.

    Leases that have run out are taken only after this process has been in touch with the database for a whole
    lease: after an outage, all others had the time to renew theirs. Those of workers that are known to be
    dead are taken at once.

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
        self.trial_ids = TrialIds(study_uuid)
        self.contact = Contact(lease_s)
        self._first_open = 0  # the slots below it are done for good, and are not looked at again
        self._looked_for_unheld_s = self._looked_for_dead_s = -math.inf
        self._settled_s = -math.inf
        self._owes_results = self._claims_unanswered = False

    def grow(self, total: int) -> None:
        """Add free slots until there are ``total``; a budget never shrinks."""
        self.database.transaction(lambda connection: leases.grow(connection, self.study_uuid, total))

    def claim(self, worker: str, limit: int, held: Collection[int] = ()) -> list[Claim]:
        """Lease up to ``limit`` slots: those of workers that have died, then the lowest free ones.

        The dead are looked for once a second, or where too few slots are free.

        Args:
            worker: name of the worker, for people.
            limit: how many slots to lease at most.
            held: slots that it has already; they are not taken over, even if their leases have run out. What
                it has besides is given to it once more where the answer to an earlier claim was lost.

        Returns:
            The claims, by slot; each with the trial that an earlier holder began, if one did.
        """

        def write(connection: sa.Connection) -> list[Claim]:
            # The answer to an earlier claim may have been lost, and what it has leased would lie idle.
            unanswered, self._claims_unanswered = self._claims_unanswered, True
            mine = leases.held_by(worker, held)
            own = self._lease(connection, mine, worker, limit, from_dead=False) if unanswered else []
            looked = time.monotonic() - self._looked_for_dead_s >= LOOK_S
            rows = own
            rows += self._take_over(connection, worker, limit - len(rows), held) if looked else []
            rows += self._lease(connection, leases.free(), worker, limit - len(rows))
            if len(rows) < limit and not looked:
                rows += self._take_over(connection, worker, limit - len(rows), held)
            return [claim_of(row) for row in sorted(rows, key=lambda row: row.slot)]

        claims = self.database.transaction(write)
        self._claims_unanswered = False
        return claims

    def begin(self, beginnings: Sequence[tuple[Claim, NewTrial]]) -> dict[int, int]:
        """Begin new trials in claimed slots, in Optuna's study too.

        Returns:
            The number of each trial, by slot; slots whose claim is lost are absent.

        Raises:
            UnknownNameError: the study was deleted.
        """
        if not beginnings:
            return {}
        if self.database.knows_optunas_tables:
            study_id, begun = self.database.transaction(partial(self._begin, beginnings=beginnings))
            if begun.now is not None:
                self.contact.heard(begun.now)
            self.trial_ids.learn(study_id, begun.ids)
            return begun.numbers
        numbers = {}
        for claim, trial in beginnings:
            storage, study_id = self.database.optuna_storage, self.database.read(self.trial_ids.study_id)
            number = public_trials.begin_trial(storage, study_id, trial)
            if self.bind(claim, number, trial.params):
                numbers[claim.slot] = number
        return numbers

    def bind(self, claim: Claim, trial: int, point: Mapping[str, Any]) -> bool:
        """Say which trial runs in a claimed slot, and with which parameters.

        Returns:
            False if the claim is lost; then the trial is nobody's, and a later ``settle`` ends it.
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
        _now, held = self._renewed(connection, claims)
        return held

    def release(self, claims: Iterable[Claim]) -> None:
        """Give slots back: their trials stay as they are for the next holder. Lost claims are passed over."""
        if released := list(claims):
            self._change(released, state=FREE, worker=None, lease_until=None)

    def finish(self, endings: Sequence[tuple[Claim, TrialResult]]) -> list[Claim]:
        """Store how the trials in claimed slots ended, and tell Optuna.

        Returns:
            The claims that are lost; their results are not stored.

        Raises:
            ValueError: a value is NaN, or missing from a COMPLETE trial.
        """
        columns = [columns_of(result) for _claim, result in endings]
        known = self.database.knows_optunas_tables
        common = {"state": DONE} if known else {}

        def write(connection: sa.Connection) -> list[Claim]:
            now, held = self._renewed(connection, [claim for claim, _result in endings])
            changes, results = [], {}
            for (claim, result), row in zip(endings, columns, strict=True):
                key = (claim.slot, claim.attempt)
                if key in held:
                    changes.append({"slot": claim.slot, **row, **common, "ended_at": now})
                    if (trial := held[key]) is not None:
                        results[trial] = result
            leases.change_each(connection, self.study_uuid, changes)
            if known:
                tell(connection, self.trial_ids, results, clock.from_unix_seconds(now))
            return [claim for claim, _result in endings if (claim.slot, claim.attempt) not in held]

        lost = self.database.transaction(write) if endings else []
        self._owes_results |= not known
        # A transaction that was repeated may have found its own commit.
        return [claim for claim in lost if not self._has_ended(claim)]

    def settle(self) -> None:
        """Tell Optuna all results that it does not know, and end trials that no worker will end.

        Any worker may do so at any time, and several at once.
        """
        if self.database.knows_optunas_tables:
            self.database.transaction(self._settle)
        else:
            _now, told = self.database.transaction(self._told)
            self._end_publicly({row.trial: result_of(row) for row in told if row.trial is not None})
            self.database.transaction(lambda connection: self._mark_done(connection, told))
        # They are looked for once in the time of a lease, as none is ended before it is that old.
        if time.monotonic() - self._looked_for_unheld_s >= self.lease_s:
            self._end_unheld_trials()
            self._looked_for_unheld_s = time.monotonic()
        self._settled_s, self._owes_results = time.monotonic(), False

    @property
    def settling_is_due(self) -> bool:
        """Whether this worker knows of a result that Optuna lacks, or has not settled for a lease's time."""
        return self._owes_results or time.monotonic() - self._settled_s >= self.lease_s

    def look_at_all(self) -> None:
        """Let ``begun`` return all trials once more, those that were done for good too."""
        self._first_open = 0

    def enqueue(self, point: Mapping[str, Any]) -> int | None:
        """Prescribe parameters to the lowest free slot that has none and no trial.

        Args:
            point: parameters by canonical name, complete or in part.

        Returns:
            The slot, or None if there is no such slot.
        """
        change = leases.prescribe(sa.and_(*self._open), json.dumps(dict(point)))
        return self.database.transaction(lambda connection: connection.execute(change).scalar())

    def counts(self) -> SlotCounts:
        """Return how many slots are in each state."""
        count = sa.select(SlotRow.state, sa.func.count()).where(SlotRow.study_uuid == self.study_uuid)
        rows = self.database.read(lambda connection: connection.execute(count.group_by(SlotRow.state)).all())
        by_state = {row[0]: row[1] for row in rows}
        return SlotCounts(*(by_state.get(state, 0) for state in (FREE, LEASED, TOLD, DONE)))

    def all_ended(self) -> bool:
        """Return whether every slot has a result."""
        mine = SlotRow.study_uuid == self.study_uuid
        left = sa.select(SlotRow.slot).where(mine, SlotRow.state.in_((FREE, LEASED))).limit(1)
        return self.database.read(lambda connection: connection.scalar(left)) is None

    def trials(self) -> set[int]:
        """Return the numbers of the trials that slots name."""
        mine = SlotRow.study_uuid == self.study_uuid
        query = sa.select(SlotRow.trial).where(mine, SlotRow.trial.is_not(None))
        numbers = self.database.read(lambda connection: connection.scalars(query).all())
        return {number for number in numbers if number is not None}

    def workers_by_trial(self) -> dict[int, str]:
        """Return the worker that trained a trial last, by the trial's number."""
        mine = SlotRow.study_uuid == self.study_uuid
        query = sa.select(SlotRow.trial, SlotRow.worker).where(
            mine, SlotRow.trial.is_not(None), SlotRow.worker.is_not(None)
        )
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return {row.trial: row.worker for row in rows}

    def results(self) -> list[SlotResult]:
        """Return the results so far, in the order of their end."""
        query = (
            sa.select(SlotRow)
            .where(SlotRow.study_uuid == self.study_uuid, SlotRow.state.in_((TOLD, DONE)))
            .order_by(SlotRow.ended_at, SlotRow.slot)
        )
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return [SlotResult(row.slot, row.trial, point_of(row), result_of(row)) for row in rows]

    def begun(self) -> list[BegunSlot]:
        """Return the trials that have begun: first those that have ended, in the order of their end.

        The lowest slots are left out as far as the last call found all of them done.
        """
        # Two queries, as each finds its rows by an index.
        begun = sa.select(SlotRow.__table__).where(*self._open, SlotRow.trial.is_not(None))
        failed = sa.select(SlotRow.__table__).where(
            *self._open, SlotRow.state == DONE, SlotRow.trial.is_(None)
        )
        query = sa.union_all(begun, failed).order_by("slot")
        rows = self.database.read(lambda connection: connection.execute(query).all())
        for row in rows:
            self._first_open += row.slot == self._first_open and row.state == DONE
        rows = sorted(rows, key=lambda row: (row.ended_at or math.inf, row.slot))
        return [begun_of(row) for row in rows if row.trial is not None and row.point is not None]

    @property
    def _open(self) -> tuple[sa.ColumnElement[bool], ...]:
        return SlotRow.study_uuid == self.study_uuid, SlotRow.slot >= self._first_open

    def _renewed(
        self, connection: sa.Connection, claims: Sequence[Claim]
    ) -> tuple[float, dict[tuple[int, int], int | None]]:
        """Prolong leases, and return the time in unix seconds too."""
        rows = connection.execute(leases.renew(self.study_uuid, claims, self.lease_s)).all()
        if not rows:
            return self._now(connection), {}
        now = max(row.lease_until for row in rows) - self.lease_s
        self.contact.heard(now)
        return now, {(row.slot, row.attempt): row.trial for row in rows}

    def _now(self, connection: sa.Connection) -> float:
        now = clock.unix_seconds(connection)
        self.contact.heard(now)
        return now

    def _dead(self, now: float) -> sa.ColumnElement[bool]:
        return leases.expired(now if self.contact.lasts_a_lease else leases.KNOWN_DEAD)

    def _end_deadly_slots(self, now: float) -> sa.Executable:
        return leases.end_deadly_slots(sa.and_(*self._open, self._dead(now)), now, self.max_retries)

    def _take_over(
        self, connection: sa.Connection, worker: str, limit: int, held: Collection[int]
    ) -> list[sa.Row[Any]]:
        now = self._now(connection)
        self._looked_for_dead_s = time.monotonic()
        self._owes_results |= connection.execute(self._end_deadly_slots(now)).rowcount > 0
        others = sa.and_(self._dead(now), SlotRow.slot.not_in(held))
        return self._lease(connection, others, worker, limit)

    def _lease(
        self,
        connection: sa.Connection,
        available: sa.ColumnElement[bool],
        worker: str,
        limit: int,
        *,
        from_dead: bool = True,
    ) -> list[sa.Row[Any]]:
        if limit < 1:
            return []
        slots, lease_until = sa.and_(*self._open, available), clock.Now() + self.lease_s
        lease = leases.lease(slots, worker, limit, lease_until, from_dead=from_dead)
        rows = connection.execute(lease).all()
        if rows:
            self.contact.heard(max(row.lease_until for row in rows) - self.lease_s)
        return list(rows)

    def _begin(
        self, connection: sa.Connection, beginnings: Sequence[tuple[Claim, NewTrial]]
    ) -> tuple[int, Begun]:
        study_id = self.trial_ids.lock_study(connection)
        return study_id, begin_trials(connection, self.study_uuid, study_id, beginnings, self.lease_s)

    def _settle(self, connection: sa.Connection) -> None:
        now, told = self._told(connection)
        results = {row.trial: result_of(row) for row in told if row.trial is not None}
        tell(connection, self.trial_ids, results, clock.from_unix_seconds(now))
        self._mark_done(connection, told)

    def _told(self, connection: sa.Connection) -> tuple[float, Sequence[sa.Row[Any]]]:
        """Return the time, and the slots whose results Optuna may not know, dead workers' included."""
        now = self._now(connection)
        connection.execute(self._end_deadly_slots(now))
        query = sa.select(SlotRow.__table__).where(*self._open, SlotRow.state == TOLD)
        return now, connection.execute(query).all()

    def _mark_done(self, connection: sa.Connection, told: Sequence[sa.Row[Any]]) -> None:
        if told:
            mine = SlotRow.slot.in_([row.slot for row in told])
            change = sa.update(SlotRow).where(*self._open, SlotRow.state == TOLD, mine)
            connection.execute(change.values(state=DONE))

    def _end_publicly(self, results: Mapping[int, TrialResult]) -> None:
        for number, result in results.items():
            study_id = self.database.read(self.trial_ids.study_id)
            public_trials.end_trial(self.database.optuna_storage, study_id, number, result)

    def _end_unheld_trials(self) -> None:
        """End running trials that no slot names: their workers died between asking for them and binding them.

        Left alone, they would keep other programs' samplers away from their parameters for ever.
        """

        def unheld(connection: sa.Connection) -> dict[int, TrialResult]:
            oldest_lease = datetime.fromtimestamp(clock.unix_seconds(connection) - self.lease_s, UTC)
            study_id = self.trial_ids.study_id(connection)
            running = running_before(connection, study_id, oldest_lease.replace(tzinfo=None))
            named = SlotRow.trial.in_(running)
            held = connection.scalars(
                sa.select(SlotRow.trial).where(SlotRow.study_uuid == self.study_uuid, named)
            )
            return dict.fromkeys(set(running) - set(held), _UNHELD)

        self._end_publicly(self.database.read(unheld))

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
