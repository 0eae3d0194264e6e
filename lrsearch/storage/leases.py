"""The statements that move slots from state to state, each safe among any number of workers.

On PostgreSQL they pass over rows that another worker has locked. On SQLite the transaction holds the only
lock under which anyone may write.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from lrsearch.results import Claim, Outcome
from lrsearch.storage.tables import FREE, LEASED, TOLD, EpochValueRow, SlotRow
from lrsearch.storage.upsert import insert_missing


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


def lease(study_uuid: str, worker: str, limit: int, now: float, lease_s: float) -> sa.Executable:
    """Lease the lowest free slots, then those whose lease has run out, whose holders are fenced out."""
    expired = sa.and_(SlotRow.state == LEASED, SlotRow.lease_until < now)
    chosen = _choose(study_uuid, sa.or_(SlotRow.state == FREE, expired), limit)
    return (
        sa.update(SlotRow)
        .where(SlotRow.study_uuid == study_uuid, SlotRow.slot.in_(chosen))
        .values(
            state=LEASED,
            attempt=SlotRow.attempt + 1,
            deaths=SlotRow.deaths + sa.case((SlotRow.state == LEASED, 1), else_=0),
            worker=worker,
            lease_until=now + lease_s,
        )
        .returning(SlotRow.slot, SlotRow.attempt, SlotRow.point, SlotRow.trial)
    )


def change_held(study_uuid: str, claims: Sequence[Claim], **values: Any) -> sa.Executable:
    """Change the slots of those claims that are still held."""
    keys = [(claim.slot, claim.attempt) for claim in claims]
    return (
        sa.update(SlotRow)
        .where(
            SlotRow.study_uuid == study_uuid,
            SlotRow.state == LEASED,
            sa.tuple_(SlotRow.slot, SlotRow.attempt).in_(keys),
        )
        .values(**values)
        .returning(SlotRow.slot, SlotRow.attempt, SlotRow.trial)
    )


def end_deadly_slots(study_uuid: str, now: float, max_retries: int) -> sa.Executable:
    """End as FAIL the slots whose lease has run out once more than is allowed."""
    epochs = (
        sa.select(sa.func.coalesce(sa.func.max(EpochValueRow.epoch), 0))
        .where(EpochValueRow.study_uuid == SlotRow.study_uuid, EpochValueRow.trial == SlotRow.trial)
        .scalar_subquery()
    )
    return (
        sa.update(SlotRow)
        .where(
            SlotRow.study_uuid == study_uuid,
            SlotRow.state == LEASED,
            SlotRow.lease_until < now,
            SlotRow.deaths >= max_retries,
        )
        .values(
            state=TOLD,
            attempt=SlotRow.attempt + 1,
            deaths=SlotRow.deaths + 1,
            lease_until=None,
            ended_at=now,
            outcome=Outcome.FAIL.value,
            epochs=epochs,
            diverged=False,
            reason=f"its worker died {max_retries + 1} times without a word, as when memory runs out",
        )
    )


def prescribe(study_uuid: str, point: str) -> sa.Executable:
    """Store a point in the lowest free slot that has neither a point nor a trial."""
    blank = sa.and_(SlotRow.state == FREE, SlotRow.point.is_(None), SlotRow.trial.is_(None))
    return (
        sa.update(SlotRow)
        .where(SlotRow.study_uuid == study_uuid, SlotRow.slot.in_(_choose(study_uuid, blank, 1)))
        .values(point=point)
        .returning(SlotRow.slot)
    )


def _choose(study_uuid: str, available: sa.ColumnElement[bool], limit: int) -> sa.Select[Any]:
    chosen = (
        sa.select(SlotRow.slot)
        .where(SlotRow.study_uuid == study_uuid, available)
        .order_by(SlotRow.state == LEASED, SlotRow.slot)
        .limit(limit)
        .with_for_update(skip_locked=True)
        # As a common table expression it is evaluated once; a plain subquery may be evaluated for each row.
        .cte("chosen")
    )
    return sa.select(chosen.c.slot)
