"""Where studies stand at one moment: their slots by state, what ended lately, and their workers."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import sqlalchemy as sa

from lrsearch.results import Outcome
from lrsearch.storage import clock
from lrsearch.storage.database import Database
from lrsearch.storage.slots import LEASE_S
from lrsearch.storage.tables import FREE, LEASED, SlotRow, WorkerRow

# Of the first one in which a trial has ended; an hour is not enough for every trial.
WINDOWS_S = (600.0, 3600.0, 24 * 3600.0)

DIVERGED, RUNNING, EXPIRED = "diverged", "running", "expired"


@dataclass(frozen=True)
class WorkerStanding:
    """A worker as it was last seen.

    Args:
        name: its name, as in the slots that it holds.
        study_uuid: our key of the study.
        host: name of its machine.
        pid: its process id there.
        device: what it trains on, such as ``cuda:0``.
        started_s: how long ago it began with the study, in seconds.
        seen_s: how long ago it was last seen, in seconds.
        left: whether it has said that it leaves.
        held: trials of the study that it holds.
    """

    name: str
    study_uuid: str
    host: str
    pid: int
    device: str
    started_s: float
    seen_s: float
    left: bool
    held: int = 0

    @property
    def alive(self) -> bool:
        """Whether it has been seen within a lease, and has not left."""
        return not self.left and self.seen_s <= LEASE_S


@dataclass(frozen=True)
class Standing:
    """Where a study stands.

    Args:
        slots: number of slots: ``complete``, ``pruned``, ``diverged`` (not among the pruned), ``fail``,
            ``running``, ``expired`` (their worker is silent) and ``free``.
        best_value: the least value of its complete trials, or None.
        ended_lately: trials that ended within ``window_s``.
        window_s: the last seconds that are looked at for the rate; at most the time since its workers began.
        workers: all that it has had, oldest first.
    """

    slots: Mapping[str, int] = field(default_factory=dict)
    best_value: float | None = None
    ended_lately: int = 0
    window_s: float = WINDOWS_S[0]
    workers: tuple[WorkerStanding, ...] = ()


def standings(database: Database, study_uuids: Iterable[str]) -> dict[str, Standing]:
    """Return where studies stand, by their UUID, as of one moment by the database's clock.

    Args:
        database: the database.
        study_uuids: our keys of the studies.

    Raises:
        DatabaseLostError: the database does not answer.
    """
    uuids = list(study_uuids)
    return database.read(lambda connection: _standings(connection, uuids))


def workers_named(database: Database, name: str) -> list[WorkerStanding]:
    """Return a worker as it stands in each study that it has worked on; none if no worker has that name."""

    def query(connection: sa.Connection) -> list[WorkerStanding]:
        now = clock.unix_seconds(connection)
        return _workers(connection, WorkerRow.id == name, now)

    return database.read(query)


def worker_names(database: Database) -> list[str]:
    """Return the names of the workers that are alive."""
    workers = database.read(lambda each: _workers(each, sa.true(), clock.unix_seconds(each)))
    return sorted({worker.name for worker in workers if worker.alive})


def _standings(connection: sa.Connection, uuids: list[str]) -> dict[str, Standing]:
    now = clock.unix_seconds(connection)
    slots = _slots(connection, uuids, now)
    best = _best_values(connection, uuids)
    workers = defaultdict(list)
    for worker in _workers(connection, WorkerRow.study_uuid.in_(uuids), now):
        workers[worker.study_uuid].append(worker)
    lately = {window_s: _ended_since(connection, uuids, now - window_s) for window_s in WINDOWS_S}
    found = {}
    for uuid in uuids:
        ended, window_s = _rate({each: counts[uuid] for each, counts in lately.items()}, workers[uuid])
        found[uuid] = Standing(slots[uuid], best.get(uuid), ended, window_s, tuple(workers[uuid]))
    return found


def _slots(connection: sa.Connection, uuids: list[str], now: float) -> dict[str, Counter[str]]:
    expired = sa.func.coalesce(SlotRow.lease_until < now, sa.false())
    columns = (SlotRow.study_uuid, SlotRow.state, SlotRow.outcome, SlotRow.diverged, expired)
    query = sa.select(*columns, sa.func.count()).where(SlotRow.study_uuid.in_(uuids)).group_by(*columns)
    slots: dict[str, Counter[str]] = {uuid: Counter() for uuid in uuids}
    for uuid, state, outcome, diverged, late, count in connection.execute(query):
        slots[uuid][_kind(state, outcome, diverged=bool(diverged), late=bool(late))] += count
    return slots


def _kind(state: str, outcome: str | None, *, diverged: bool, late: bool) -> str:
    if state == LEASED:
        return EXPIRED if late else RUNNING
    if state == FREE or outcome is None:
        return FREE
    return DIVERGED if diverged else outcome.lower()


def _best_values(connection: sa.Connection, uuids: list[str]) -> dict[str, float]:
    query = (
        sa.select(SlotRow.study_uuid, sa.func.min(SlotRow.value))
        .where(SlotRow.study_uuid.in_(uuids), SlotRow.outcome == Outcome.COMPLETE.value)
        .group_by(SlotRow.study_uuid)
    )
    return {uuid: value for uuid, value in connection.execute(query) if value is not None}


def _ended_since(connection: sa.Connection, uuids: list[str], since: float) -> Counter[str]:
    query = (
        sa.select(SlotRow.study_uuid, sa.func.count())
        .where(SlotRow.study_uuid.in_(uuids), SlotRow.ended_at > since)
        .group_by(SlotRow.study_uuid)
    )
    return Counter({uuid: count for uuid, count in connection.execute(query)})  # noqa: C416 # rows are no pairs to mypy


def _rate(lately: Mapping[float, int], workers: Iterable[WorkerStanding]) -> tuple[int, float]:
    """Return how many trials ended in the shortest window in which one did, and that window's length."""
    window_s = next((each for each in WINDOWS_S if lately[each]), WINDOWS_S[0])
    # A study that began a minute ago has not had ten minutes in which its trials could end.
    since = [worker.started_s for worker in workers if worker.seen_s <= window_s]
    return lately[window_s], min(window_s, max(since, default=window_s))


def _workers(connection: sa.Connection, which: sa.ColumnElement[bool], now: float) -> list[WorkerStanding]:
    held = (
        sa.select(sa.func.count())
        .where(
            SlotRow.study_uuid == WorkerRow.study_uuid,
            SlotRow.worker == WorkerRow.id,
            SlotRow.state == LEASED,
        )
        .scalar_subquery()
    )
    query = sa.select(WorkerRow.__table__, held.label("held")).where(which)
    return [
        WorkerStanding(
            name=row.id,
            study_uuid=row.study_uuid,
            host=row.host,
            pid=row.pid,
            device=row.device,
            started_s=_since(row.started_at, now),
            seen_s=_since(row.seen_at, now),
            left=row.left_at is not None,
            held=row.held,
        )
        for row in connection.execute(query.order_by(WorkerRow.started_at, WorkerRow.id))
    ]


def _since(stored: datetime, now: float) -> float:
    return max(0.0, now - stored.replace(tzinfo=UTC).timestamp())
