"""What is done to the workers of a run."""

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from benchmarks.chaos.crew import Crew, every
from benchmarks.postgresql import Server
from lrsearch.storage.address import parse_address
from lrsearch.storage.postgresql import LONGEST_PAUSE_S

DOWN_S = 20.0
FROZEN_PART = 4  # one worker in so many is stopped at a time
FROZEN_AT_MOST_S = LONGEST_PAUSE_S + 15.0  # so that PostgreSQL takes its locks from one that holds some
FROZEN_LEASES = (1.2, 2.5)  # so that it wakes up while others train its trials, or when they have ended
CUT = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
FREE = "SELECT count(*) FROM lrsearch_slots WHERE state = 'free'"
HOLDERS = "SELECT count(DISTINCT worker) FROM lrsearch_slots"
LEASED = "SELECT worker FROM lrsearch_slots WHERE state = 'leased'"
TAKEN_OVER = "SELECT count(*) FROM lrsearch_slots WHERE attempt > 1"


@dataclass(frozen=True)
class Stage:
    """Where a scenario plays.

    Args:
        crew: the workers.
        workers: how many there are to be.
        url: of the database.
        server: of the database, or None for SQLite.
        every_s: seconds from one blow to the next.
        lease_s: seconds that a claim lasts without being renewed.
        trials: budget of the study.
        down_s: seconds for which a server is stopped.
        late: whether a server is stopped when no slot is free any more, and workers begin to wait for others.
    """

    crew: Crew
    workers: int
    url: str
    server: Server | None
    every_s: float
    lease_s: float
    trials: int
    down_s: float
    late: bool

    @property
    def goes_on(self) -> bool:
        """Whether the budget is not spent yet, as far as the workers say."""
        return self.crew.size > 0 and self.crew.finished == 0


def kill(stage: Stage) -> None:
    """Kill a random worker, and start another one, again and again."""
    for _ in every(stage.every_s):
        if not stage.goes_on:
            return
        stage.crew.kill()
        stage.crew.hire(stage.workers - stage.crew.size)


def freeze(stage: Stage) -> None:
    """Stop some random workers for one to two leases and a half, and let them go on, again and again.

    The first ones stand still for longer, until others, which may be busy, have taken a trial of theirs; but
    not without end, as one that holds SQLite's lock keeps the others from it.
    """
    lengths = random.Random(stage.trials)
    for _ in every(stage.every_s):
        if not stage.goes_on:
            return
        _freeze_holders(stage)
        time.sleep(lengths.uniform(*FROZEN_LEASES) * stage.lease_s)
        _wait_until(stage, TAKEN_OVER, lambda slots: slots > 0, FROZEN_AT_MOST_S)
        stage.crew.thaw()


def _freeze_holders(stage: Stage) -> None:
    """Stop random workers of which one holds a trial, as all do but for the moments between two trials."""
    with _engine(stage).connect() as connection:
        while stage.goes_on:
            stage.crew.freeze(max(1, stage.workers // FROZEN_PART))
            holders = connection.exec_driver_sql(LEASED).scalars().all()
            if any(f":{pid}:" in holder for pid in stage.crew.frozen for holder in holders):
                return
            stage.crew.thaw()
            time.sleep(0.05)


def restart(stage: Stage) -> None:
    """Stop the server once, for long, and start it again."""
    if stage.server is None:
        raise ValueError("restart needs a server, and SQLite has none")
    left = 0 if stage.late else stage.trials // 2
    _wait_until(stage, FREE, lambda free: free <= left)
    stage.server.stop()
    time.sleep(stage.down_s)
    stage.server.start()


def cut(stage: Stage) -> None:
    """End the connections of all workers, again and again."""
    engine = _engine(stage)
    for _ in every(stage.every_s):
        if not stage.goes_on:
            return
        with engine.connect() as connection:
            connection.exec_driver_sql(CUT)


def calm(_stage: Stage) -> None:
    """Do nothing: that the clocks are wrong is enough."""


def wait_for_workers(stage: Stage) -> None:
    """Wait until as many workers have claimed a slot as there are to be, or the budget is spent."""
    _wait_until(stage, HOLDERS, lambda holders: holders >= stage.workers)


def _wait_until(stage: Stage, query: str, holds: Callable[[int], bool], timeout_s: float = math.inf) -> None:
    """Wait until a condition holds for the number that a query asks for, or budget or time is spent."""
    ends = time.monotonic() + timeout_s
    with _engine(stage).connect() as connection:
        while stage.goes_on and time.monotonic() < ends:
            if holds(connection.exec_driver_sql(query).scalar_one()):
                return
            time.sleep(0.05)


def _engine(stage: Stage) -> sa.Engine:
    return sa.create_engine(parse_address(stage.url).url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)


SCENARIOS: Mapping[str, Callable[[Stage], None]] = {
    "kill": kill,
    "restart": restart,
    "cut": cut,
    "freeze": freeze,
    "clock": calm,
}
NEEDS_A_SERVER = frozenset({"restart", "cut"})
