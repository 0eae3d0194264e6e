"""Which studies have work for a worker that chooses among them."""

from dataclasses import dataclass

import sqlalchemy as sa

from lrsearch.storage.database import Database
from lrsearch.storage.tables import FREE, LEASED, OPEN, SlotRow, StudyRow
from lrsearch.storage.workers import workers_alive


@dataclass(frozen=True)
class Work:
    """An open study whose trials have not all ended.

    Args:
        study_uuid: our key of the study.
        priority: the highest goes first.
        free: trials that may be begun.
        leased: trials that others hold.
        workers: names of the workers that are alive there.
        max_workers: how many there may be, or None.
    """

    study_uuid: str
    priority: int
    free: int
    leased: int
    workers: frozenset[str]
    max_workers: int | None

    def admits(self, worker: str) -> bool:
        """Return whether one more worker may join."""
        return self.max_workers is None or len(self.workers - {worker}) < self.max_workers


def open_work(database: Database) -> list[Work]:
    """Return the work that there is: first where trials may be begun, by priority, then by fewest workers."""
    free, leased = (sa.func.sum(sa.case((SlotRow.state == state, 1), else_=0)) for state in (FREE, LEASED))
    query = (
        sa.select(
            StudyRow.uuid,
            StudyRow.priority,
            StudyRow.max_workers,
            free.label("free"),
            leased.label("leased"),
        )
        .join(SlotRow, SlotRow.study_uuid == StudyRow.uuid)
        .where(StudyRow.state == OPEN, SlotRow.state.in_((FREE, LEASED)))
        .group_by(StudyRow.uuid, StudyRow.priority, StudyRow.max_workers)
    )
    rows = database.read(lambda connection: connection.execute(query).all())
    alive = workers_alive(database) if rows else {}
    found = [
        Work(
            row.uuid,
            row.priority,
            row.free,
            row.leased,
            frozenset(alive.get(row.uuid, ())),
            row.max_workers,
        )
        for row in rows
    ]
    return sorted(found, key=lambda work: (not work.free, -work.priority, len(work.workers), work.study_uuid))
