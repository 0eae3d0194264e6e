"""The process of one worker."""

import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from benchmarks.chaos.array import SleepingArray
from lrsearch.service.progress import StopReason
from lrsearch.service.search import Search
from lrsearch.service.studies import OpenStudy, stored_spec
from lrsearch.storage.database import open_database
from lrsearch.storage.studies import find_study

BUDGET_NOT_SPENT = 3
"""Exit status of a worker that ended for another reason than the end of the budget."""


@dataclass(frozen=True)
class Task:
    """What a worker is to do.

    Args:
        url: of the database.
        study: name of the study.
        lanes: trials that it trains at once.
        epoch_s: seconds that an epoch takes.
        lease_s: seconds that a claim lasts without being renewed.
        folder: where it writes its checkpoints, and what it has to say.
        checkpoint_every_s: seconds between two checkpoints, at least.
        clock_error_s: by how much its wall clock is wrong, in seconds.
    """

    url: str
    study: str
    lanes: int
    epoch_s: float
    lease_s: float
    folder: Path
    checkpoint_every_s: float
    clock_error_s: float = 0.0


def work(task: Task) -> None:
    """Train trials of the study until its budget is spent; end the process otherwise with a status."""
    said = os.open(task.folder / f"{os.getpid()}.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(said, 1)
    os.dup2(said, 2)
    if task.clock_error_s:
        import time_machine  # only here, as it is not there without the packages for tests

        time_machine.travel(timedelta(seconds=task.clock_error_s)).start()
    reason = search(task)
    if reason is not StopReason.BUDGET:
        print(f"ended although the budget is not spent: {reason}", file=sys.stderr)
        sys.exit(BUDGET_NOT_SPENT)


def search(task: Task) -> StopReason | None:
    """Train trials of the study, and return why that ended."""
    with open_database(task.url) as database:
        record = find_study(database, task.study)
        run = {"checkpoint_every_s": task.checkpoint_every_s, "checkpoint_dir": str(task.folder / "saved")}
        study, array = OpenStudy(record, stored_spec(record, {"run": run})), SleepingArray(task.epoch_s)
        # Every second worker asks for its next trials while it trains, as on a GPU.
        ahead = os.getpid() % 2 == 0
        *_, last = Search(database, study, array, task.lanes, task.lease_s, asks_ahead=ahead).run()
        return last.stopped
