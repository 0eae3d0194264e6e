"""Whether a worker is alive, as a probe asks."""

from dataclasses import dataclass

from lrsearch.errors import suggestion
from lrsearch.storage.database import Database
from lrsearch.storage.slots import LEASE_S
from lrsearch.storage.standings import WorkerStanding, worker_names, workers_named
from lrsearch.storage.tables import BETWEEN_STUDIES


@dataclass(frozen=True)
class WorkerHealth:
    """What is known of a worker.

    Args:
        alive: whether it has been seen within a lease, and has not left.
        words: the same in a sentence.
    """

    alive: bool
    words: str


def worker_health(database: Database, name: str) -> WorkerHealth:
    """Return whether a worker is alive.

    Args:
        database: where its studies are stored.
        name: of the worker; one that nobody knows is not alive.

    Raises:
        DatabaseLostError: the database does not answer.
    """
    standings = workers_named(database, name)
    if not standings:
        alive = worker_names(database)
        nearest = suggestion(name, alive) if alive else " None is alive now."
        return WorkerHealth(False, f"No worker {name!r} is known.{nearest}")
    last = min(standings, key=lambda worker: (not worker.alive, worker.seen_s))
    return WorkerHealth(last.alive, f"Worker {name} {_described(last)}.")


def _described(worker: WorkerStanding) -> str:
    device = "" if worker.study_uuid == BETWEEN_STUDIES else f"{worker.device} of "
    seen = f"{worker.seen_s:.0f} s ago, on {device}{worker.host}"
    if worker.alive:
        return f"is alive: it was seen {seen}"
    if worker.left:
        return f"has left; it was last seen {seen}"
    return f"is silent for longer than its lease of {LEASE_S:g} s: it was last seen {seen}"
