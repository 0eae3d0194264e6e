"""The workers of a study: which processes claim its slots, and when each was last seen."""

from dataclasses import dataclass

import sqlalchemy as sa

from lrsearch.storage import clock
from lrsearch.storage.database import Database
from lrsearch.storage.tables import WorkerRow
from lrsearch.storage.upsert import upsert


@dataclass(frozen=True)
class WorkerRecord:
    """A process that claims slots.

    Args:
        id: its name, as in the slots that it holds.
        study_uuid: our key of the study.
        host: name of its machine.
        pid: its process id there.
        device: what it trains on, such as ``cuda:0``.
        started_at: UTC in ISO 8601.
        seen_at: when it was last seen, UTC in ISO 8601.
    """

    id: str
    study_uuid: str
    host: str
    pid: int
    device: str
    started_at: str
    seen_at: str


def register_worker(
    database: Database, study_uuid: str, worker: str, host: str, pid: int, device: str
) -> None:
    """Store that a worker begins; one of the same name is overwritten.

    Args:
        database: the database.
        study_uuid: our key of the study.
        worker: its name, as given to ``Slots.claim``.
        host: name of its machine.
        pid: its process id there.
        device: what it trains on.
    """

    def write(connection: sa.Connection) -> None:
        now = clock.naive_utc(connection)
        row = {"id": worker, "study_uuid": study_uuid, "host": host, "pid": pid, "device": device}
        upsert(connection, WorkerRow, [row | {"started_at": now, "seen_at": now}], key=("id", "study_uuid"))

    database.transaction(write)


def see_worker(database: Database, worker: str) -> None:
    """Store that a worker is alive now."""

    def write(connection: sa.Connection) -> None:
        seen = sa.update(WorkerRow).where(WorkerRow.id == worker)
        connection.execute(seen.values(seen_at=clock.naive_utc(connection)))

    database.transaction(write)


def list_workers(database: Database, study_uuid: str) -> list[WorkerRecord]:
    """Return the workers that a study has had, oldest first."""
    query = (
        sa.select(WorkerRow)
        .where(WorkerRow.study_uuid == study_uuid)
        .order_by(WorkerRow.started_at, WorkerRow.id)
    )
    rows = database.read(lambda connection: connection.execute(query).all())
    return [
        WorkerRecord(
            id=row.id,
            study_uuid=row.study_uuid,
            host=row.host,
            pid=row.pid,
            device=row.device,
            started_at=clock.isoformat(row.started_at),
            seen_at=clock.isoformat(row.seen_at),
        )
        for row in rows
    ]
