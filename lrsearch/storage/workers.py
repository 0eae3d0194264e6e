"""The workers of studies: which processes claim slots, when each was last seen, and which are dead."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from lrsearch.errors import WorkerNameTakenError, WorkersFullError
from lrsearch.storage import clock
from lrsearch.storage.database import Database
from lrsearch.storage.expiry import expire_leases_within
from lrsearch.storage.process import ProcessIdentity, is_dead_here, this_process
from lrsearch.storage.slots import LEASE_S
from lrsearch.storage.tables import StudyRow, WorkerRow
from lrsearch.storage.upsert import upsert


@dataclass(frozen=True)
class WorkerRecord:
    """A process that claims slots of a study.

    Args:
        id: its name, as in the slots that it holds.
        study_uuid: our key of the study.
        host: name of its machine.
        pid: its process id there.
        device: what it trains on, such as ``cuda:0``.
        started_at: UTC in ISO 8601.
        seen_at: when it was last seen, UTC in ISO 8601.
        machine: what its process shares with those that can see it, as ``ProcessIdentity.machine``.
    """

    id: str
    study_uuid: str
    host: str
    pid: int
    device: str
    started_at: str
    seen_at: str
    machine: str = ""


def new_name() -> str:
    """Return a name for a worker of this process that no other has."""
    process = this_process()
    return f"{process.host}:{process.pid}:{uuid4().hex[:8]}"


def join_study(
    database: Database, study_uuid: str, worker: str, process: ProcessIdentity, device: str
) -> None:
    """Store that a worker begins with a study.

    Args:
        database: where the study is stored.
        study_uuid: our key of the study.
        worker: its name, as given to ``Slots.claim``.
        process: which process it is.
        device: what it trains on, for people.

    Raises:
        WorkerNameTakenError: a worker of this name is alive.
        WorkersFullError: the study has as many workers as it allows.
    """

    def write(connection: sa.Connection) -> None:
        _lock_name(connection, worker)
        # The lock on the study lets one worker at a time count the others; SQLite has one for all anyway.
        limit = connection.scalar(
            sa.select(StudyRow.max_workers).where(StudyRow.uuid == study_uuid).with_for_update()
        )
        alive = _alive(connection, sa.or_(WorkerRow.study_uuid == study_uuid, WorkerRow.id == worker))
        _check_name(worker, process, alive)
        others = {row.id for row in alive if row.study_uuid == study_uuid} - {worker}
        if limit is not None and len(others) >= limit:
            raise WorkersFullError(f"the study has {len(others)} workers, and max_workers = {limit}")
        # Who begins holds nothing: what the name holds is of an earlier process that was killed.
        expire_leases_within(connection, study_uuid, worker)
        now = clock.naive_utc(connection)
        row = {
            "id": worker,
            "study_uuid": study_uuid,
            "host": process.host,
            "pid": process.pid,
            "device": device,
            "machine": process.machine,
            "process_started": process.started,
            "started_at": now,
            "seen_at": now,
            "left_at": None,
        }
        upsert(connection, WorkerRow, [row], key=("id", "study_uuid"))

    database.transaction(write)


def leave_study(database: Database, study_uuid: str, worker: str) -> None:
    """Store that a worker works on a study no more."""

    def write(connection: sa.Connection) -> None:
        connection.execute(_left(study_uuid, worker, clock.naive_utc(connection)))

    database.transaction(write)


def see_worker(database: Database, worker: str) -> None:
    """Store that a worker is alive now."""

    def write(connection: sa.Connection) -> None:
        seen = sa.update(WorkerRow).where(WorkerRow.id == worker, WorkerRow.left_at.is_(None))
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
            machine=row.machine,
        )
        for row in rows
    ]


def workers_alive(database: Database) -> dict[str, set[str]]:
    """Return the names of the workers that are alive, by the study that they work on."""
    rows = database.read(lambda connection: _alive(connection, sa.true()))
    by_study: dict[str, set[str]] = {}
    for row in rows:
        by_study.setdefault(row.study_uuid, set()).add(row.id)
    return by_study


def free_the_dead(database: Database, study_uuid: str) -> int:
    """Take the slots of workers of this machine whose processes have ended, without waiting for their leases.

    Returns:
        The number of slots that they held.
    """
    silent = sa.select(WorkerRow.__table__).where(
        WorkerRow.study_uuid == study_uuid, WorkerRow.left_at.is_(None)
    )

    def free(connection: sa.Connection) -> int:
        freed = 0
        # Locked, as a worker may begin again under the name of the dead one: its leases are to last.
        for row in _dead(connection, silent.with_for_update()):
            freed += expire_leases_within(connection, study_uuid, row.id)
            connection.execute(_left(study_uuid, row.id, clock.naive_utc(connection)))
        return freed

    dead = database.read(lambda connection: _dead(connection, silent))
    return database.transaction(free) if dead else 0


def _dead(connection: sa.Connection, query: sa.Select[Any]) -> list[sa.Row[Any]]:
    rows = connection.execute(query).all()
    return [row for row in rows if is_dead_here(row.machine, row.pid, row.process_started)]


def _left(study_uuid: str, worker: str, now: datetime) -> sa.Executable:
    mine = sa.update(WorkerRow).where(WorkerRow.id == worker, WorkerRow.study_uuid == study_uuid)
    return mine.values(left_at=now)


def _lock_name(connection: sa.Connection, name: str) -> None:
    """Let one process at a time look whether a name is taken, whatever study it joins."""
    if connection.dialect.name == "postgresql":  # on SQLite a transaction holds the only lock that there is
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(name, 0))))


def _alive(connection: sa.Connection, among: sa.ColumnElement[bool]) -> list[sa.Row[Any]]:
    """Return the rows of workers that have been seen within a lease, and have neither left nor died here."""
    oldest = clock.from_unix_seconds(clock.unix_seconds(connection) - LEASE_S)
    query = sa.select(WorkerRow.__table__).where(
        among, WorkerRow.left_at.is_(None), WorkerRow.seen_at >= oldest
    )
    rows = connection.execute(query).all()
    return [row for row in rows if not is_dead_here(row.machine, row.pid, row.process_started)]


def _check_name(worker: str, process: ProcessIdentity, alive: Sequence[sa.Row[Any]]) -> None:
    for row in alive:
        same = (row.machine, row.pid) == (process.machine, process.pid)
        if row.id == worker and not same:
            raise WorkerNameTakenError(
                f"every worker has a name of its own, and {worker!r} is that of process {row.pid} on "
                f"{row.host}, which was alive within the last {LEASE_S:g} s. Leave --name out, or choose "
                "another one"
            )
