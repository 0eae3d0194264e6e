"""Studies as somebody who runs a service wants to see them: how far, how fast, by which workers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lrsearch.storage.database import Database
from lrsearch.storage.standings import EXPIRED, RUNNING, Standing, WorkerStanding, standings
from lrsearch.storage.studies import StudyRecord, find_study, list_studies
from lrsearch.storage.tables import FREE

# In the order in which they are shown; together they are the budget.
ENDED = ("complete", "pruned", "diverged", "fail")
TO_COME = (RUNNING, EXPIRED, FREE)

Row = dict[str, Any]


@dataclass(frozen=True)
class StudyOverview:
    """A study, and where it stands.

    Args:
        record: the stored study.
        standing: its slots and workers.
    """

    record: StudyRecord
    standing: Standing

    @property
    def budget(self) -> int:
        """Number of trials that the study may run."""
        return sum(self.standing.slots.values())

    @property
    def trials(self) -> Mapping[str, int]:
        """Number of trials by how they ended, and of those to come."""
        return {kind: self.standing.slots.get(kind, 0) for kind in (*ENDED, *TO_COME)}

    @property
    def ended(self) -> int:
        """Number of trials that have ended, however they did."""
        return sum(self.trials[kind] for kind in ENDED)

    @property
    def alive(self) -> tuple[WorkerStanding, ...]:
        """The workers that are alive, oldest first."""
        return tuple(worker for worker in self.standing.workers if worker.alive)

    @property
    def rate_per_min(self) -> float | None:
        """Trials that end in a minute, of late; None while unknown, or if none is left."""
        if self.ended == self.budget or not self.alive or not self.standing.ended_lately:
            return None
        return 60.0 * self.standing.ended_lately / max(self.standing.window_s, 1.0)

    @property
    def remaining_s(self) -> float | None:
        """Estimated time until the budget is used up, in seconds; None while unknown, or if it is."""
        rate = self.rate_per_min
        return 60.0 * (self.budget - self.ended) / rate if rate else None

    @property
    def shown_state(self) -> str:
        """The study's state, and ``done`` for one that has used up its budget."""
        return "done" if self.budget and self.ended == self.budget else self.record.state


def overview(database: Database) -> list[StudyOverview]:
    """Return all studies, in the order in which they were made.

    Raises:
        DatabaseLostError: the database does not answer.
    """
    return _overviews(database, list_studies(database))


def study_overview(database: Database, name: str) -> StudyOverview:
    """Return one study.

    Raises:
        UnknownNameError: if there is no such study.
        DatabaseLostError: the database does not answer.
    """
    [found] = _overviews(database, [find_study(database, name)])
    return found


def overview_row(study: StudyOverview) -> Row:
    """Return a study as plain values for other programs; its workers are those that are alive."""
    return {
        "name": study.record.name,
        "state": study.shown_state,
        "state_reason": study.record.state_reason,
        "priority": study.record.priority,
        "max_workers": study.record.max_workers,
        "budget": study.budget,
        "ended": study.ended,
        "trials": dict(study.trials),
        "best_value": study.standing.best_value,
        "rate_per_min": study.rate_per_min,
        "remaining_s": study.remaining_s,
        "workers": [worker_row(worker) for worker in study.alive],
    }


def worker_row(worker: WorkerStanding) -> Row:
    """Return a worker as plain values for other programs."""
    return {
        "name": worker.name,
        "host": worker.host,
        "pid": worker.pid,
        "device": worker.device,
        "started_s": worker.started_s,
        "seen_s": worker.seen_s,
        "trials": worker.held,
    }


def _overviews(database: Database, records: list[StudyRecord]) -> list[StudyOverview]:
    found = standings(database, [record.uuid for record in records])
    return [StudyOverview(record, found[record.uuid]) for record in records]
