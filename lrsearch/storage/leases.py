"""The statements that move slots from state to state, each safe among any number of workers.

On PostgreSQL they pass over rows that another worker has locked. On SQLite the transaction holds the only
lock under which anyone may write.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from lrsearch.results import Claim, Outcome
from lrsearch.storage import clock
from lrsearch.storage.tables import FREE, LEASED, TOLD, EpochValueRow, SlotRow
from lrsearch.storage.upsert import insert_missing

KNOWN_DEAD = 0.0
"""End of the lease of a worker that is known to be dead, in unix seconds."""


def insert_free_slots(
    connection: sa.Connection,
    study_uuid: str,
    slots: Iterable[int],
    points: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Add slots that do not exist yet; slot i prescribes point i as long as there are points."""
    prescribed = dict(enumerate(json.dumps(dict(point)) for point in points))
    rows = [
        {
            "study_uuid": study_uuid,
            "slot": slot,
            "state": FREE,
            "attempt": 0,
            "deaths": 0,
            "point": prescribed.get(slot),
        }
        for slot in slots
    ]
    insert_missing(connection, SlotRow, rows)


def grow(connection: sa.Connection, study_uuid: str, total: int) -> None:
    """Add free slots until there are ``total``; a budget never shrinks."""
    count = sa.select(sa.func.count()).where(SlotRow.study_uuid == study_uuid)
    insert_free_slots(connection, study_uuid, range(connection.execute(count).scalar_one(), total))


def free() -> sa.ColumnElement[bool]:
    """Return the condition for a slot that nobody holds."""
    return SlotRow.state == FREE


def expired(before: float) -> sa.ColumnElement[bool]:
    """Return the condition for a slot whose lease has run out.

    Args:
        before: leases that end by this time, in unix seconds; ``KNOWN_DEAD`` for those of workers that are
            known to be dead alone.
    """
    return sa.and_(SlotRow.state == LEASED, SlotRow.lease_until <= before)


def held_by(worker: str, held: Collection[int]) -> sa.ColumnElement[bool]:
    """Return the condition for a slot that a worker has, but for those that it knows of."""
    return sa.and_(SlotRow.state == LEASED, SlotRow.worker == worker, SlotRow.slot.not_in(held))


def lease(
    available: sa.ColumnElement[bool],
    worker: str,
    limit: int,
    lease_until: sa.ColumnElement[float],
    *,
    from_dead: bool = True,
) -> sa.Executable:
    """Lease the lowest of the available slots of a study; earlier holders are fenced out.

    Args:
        available: the condition for such a slot, its study included.
        worker: name of the worker, for people.
        limit: how many slots to lease at most.
        lease_until: end of the leases, in unix seconds.
        from_dead: whether the present holders have died, which counts.
    """
    chosen = _lowest(available, limit)
    return (
        sa.update(SlotRow)
        .where(SlotRow.study_uuid == chosen.c.study_uuid, SlotRow.slot == chosen.c.slot)
        .values(
            state=LEASED,
            attempt=SlotRow.attempt + 1,
            deaths=SlotRow.deaths + (sa.case((SlotRow.state == LEASED, 1), else_=0) if from_dead else 0),
            worker=worker,
            lease_until=lease_until,
        )
        .returning(
            SlotRow.slot,
            SlotRow.attempt,
            SlotRow.point,
            SlotRow.trial,
            SlotRow.checkpoint,
            SlotRow.lease_until,
        )
    )


def change_held(study_uuid: str, claims: Sequence[Claim], **values: Any) -> sa.Executable:
    """Change the slots of those claims that are still held."""
    keys = [(claim.slot, claim.attempt) for claim in claims]
    return (
        sa.update(SlotRow)
        .where(
            SlotRow.study_uuid == study_uuid,
            SlotRow.state == LEASED,
            SlotRow.slot.in_([claim.slot for claim in claims]),  # SQLite finds no pairs by an index
            sa.tuple_(SlotRow.slot, SlotRow.attempt).in_(keys),
        )
        .values(**values)
        .returning(SlotRow.slot, SlotRow.attempt, SlotRow.trial, SlotRow.lease_until)
    )


def renew(study_uuid: str, claims: Sequence[Claim], lease_s: float) -> sa.Executable:
    """Prolong the leases of those claims that are still held, by the clock of the moment in which it is done.

    Args:
        study_uuid: our key of the study.
        claims: on its slots.
        lease_s: how long they last from then on, in seconds.
    """
    return change_held(study_uuid, claims, lease_until=clock.Now() + lease_s)


def change_each(connection: sa.Connection, study_uuid: str, changes: Iterable[Mapping[str, Any]]) -> None:
    """Change slots that the transaction holds, each in its own way.

    Args:
        connection: a connection in a transaction.
        study_uuid: our key of the study.
        changes: ``slot`` and the columns to change, the same columns for all slots.
    """
    rows = [{f"new_{name}": value for name, value in change.items()} for change in changes]
    if not rows:
        return
    change = (
        sa.update(SlotRow.__table__)  # type: ignore[arg-type]  # a table, which the mapping hides
        .where(SlotRow.study_uuid == study_uuid, SlotRow.slot == sa.bindparam("new_slot"))
        .values({name[4:]: sa.bindparam(name) for name in rows[0] if name != "new_slot"})
    )
    connection.execute(change, rows)


def end_deadly_slots(dead: sa.ColumnElement[bool], now: float, max_retries: int) -> sa.Executable:
    """End as FAIL the slots on which a worker has died once too often.

    Args:
        dead: the condition for a slot whose worker is dead, its study included.
        now: in unix seconds.
        max_retries: how many workers may die on a slot before.
    """
    epochs = (
        sa.select(sa.func.coalesce(sa.func.max(EpochValueRow.epoch), 0))
        .where(EpochValueRow.study_uuid == SlotRow.study_uuid, EpochValueRow.trial == SlotRow.trial)
        .scalar_subquery()
    )
    return (
        sa.update(SlotRow)
        .where(dead, SlotRow.deaths >= max_retries)
        .values(
            state=TOLD,
            attempt=SlotRow.attempt + 1,
            deaths=SlotRow.deaths + 1,
            lease_until=None,
            checkpoint=None,
            ended_at=now,
            outcome=Outcome.FAIL.value,
            epochs=epochs,
            diverged=False,
            reason=f"its worker died {max_retries + 1} times without a word, as when memory runs out",
        )
    )


def prescribe(among: sa.ColumnElement[bool], point: str) -> sa.Executable:
    """Store a point in the lowest free slot, among those of a condition, that has neither point nor trial."""
    chosen = _lowest(sa.and_(among, free(), SlotRow.point.is_(None), SlotRow.trial.is_(None)), 1)
    return (
        sa.update(SlotRow)
        .where(SlotRow.study_uuid == chosen.c.study_uuid, SlotRow.slot == chosen.c.slot)
        .values(point=point)
        .returning(SlotRow.slot)
    )


def _lowest(available: sa.ColumnElement[bool], limit: int) -> sa.CTE:
    return (
        sa.select(SlotRow.study_uuid, SlotRow.slot)
        .where(available)
        .order_by(SlotRow.slot)
        .limit(limit)
        .with_for_update(skip_locked=True)
        # As a common table expression it is evaluated once; a plain subquery may be evaluated for each row.
        .cte("chosen")
    )
