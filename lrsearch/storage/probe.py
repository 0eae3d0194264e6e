"""How a database answers: how fast, and what its clock shows."""

import statistics
import time
from dataclasses import dataclass

import sqlalchemy as sa

from lrsearch.storage import clock
from lrsearch.storage.database import Database

ROUND_TRIPS = 20


@dataclass(frozen=True)
class Probe:
    """How a database answers.

    Args:
        round_trip_s: median time from a question to its answer, in seconds.
        clock_offset_s: by how much its clock is ahead of this machine's, in seconds.
    """

    round_trip_s: float
    clock_offset_s: float


def probe(database: Database) -> Probe:
    """Ask a database a few small questions.

    Raises:
        DatabaseLostError: it does not answer.
    """
    return database.read(_probe)


def _probe(connection: sa.Connection) -> Probe:
    times = []
    for _trip in range(ROUND_TRIPS):
        start = time.perf_counter()
        connection.execute(sa.select(sa.literal(1))).scalar_one()
        times.append(time.perf_counter() - start)
    before = time.time()
    now = clock.unix_seconds(connection)
    return Probe(statistics.median(times), now - (before + time.time()) / 2)
