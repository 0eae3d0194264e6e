"""Trains runs outside of a search with all cores, and stores each when it ends: what is stored stays."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from lrsearch.retrainings import Retraining, Run
from lrsearch.service.cores import share_of_cores
from lrsearch.service.retraining_crew import Crew, Errand, train_share
from lrsearch.service.workforce import workers_for
from lrsearch.spec import StudySpec
from lrsearch.storage.database import Database
from lrsearch.storage.retrainings import key_of, stored_retrainings

if TYPE_CHECKING:
    from lrsearch.tasks.task import Task
    from lrsearch.training.data import TrainingData


@dataclass(frozen=True)
class RetrainingProgress:
    """How far the training of some runs is.

    Args:
        stage: what they are for, in words.
        epochs: trained since it began.
        of: epochs that were missing then.
    """

    stage: str
    epochs: int
    of: int


@dataclass(frozen=True)
class Workshop:
    """Where the runs of a study are trained and stored.

    Args:
        database: where they are stored.
        study_uuid: our key of the study.
        spec: its resolved specification, with the ``[run]`` part of now.
        task: what is learned.
        data: its data on the device.
        allowed: references of the user's code that may be imported.
        data_dir: folder of the data sets, or None for the default.
    """

    database: Database
    study_uuid: str
    spec: StudySpec
    task: "Task"
    data: "TrainingData"
    allowed: tuple[str, ...] = ()
    data_dir: Path | None = None

    def stored(self, runs: Sequence[Run]) -> list[Retraining | None]:
        """Return what has been trained for each of some runs; None where that is nothing yet."""
        keys = [key_of(run) for run in runs]
        found = stored_retrainings(self.database, self.study_uuid, keys)
        return [found.get(key) for key in keys]

    def missing(self, runs: Sequence[Run], *, failed: bool = False) -> list[Run]:
        """Return the runs that have not been trained, each once, those of one seed together.

        Args:
            runs: in any order.
            failed: whether those count as missing that have failed, as what made them fail may have passed.
        """
        by_key: Mapping[str, Run] = {key_of(run): run for run in runs}
        found = stored_retrainings(self.database, self.study_uuid, by_key)
        trained = {key for key, each in found.items() if not failed or each.reason is None}
        return sorted((run for key, run in by_key.items() if key not in trained), key=lambda run: run.seed)

    def train(
        self, runs: Sequence[Run], stage: str, stop_requested: Callable[[], bool] = lambda: False
    ) -> Iterator[RetrainingProgress]:
        """Train and store the runs that have not been trained, or have failed, and yield how far that is.

        Args:
            runs: of one length, in any order.
            stage: what they are for, in words.
            stop_requested: asked after every epoch; true ends it: runs that have ended are stored.
        """
        missing = self.missing(runs, failed=True)
        of = sum(run.epochs for run in missing)
        for epochs in self._trained(missing):
            yield RetrainingProgress(stage, epochs, of)
            if stop_requested():
                return

    def _trained(self, runs: Sequence[Run]) -> Iterator[int]:
        """Train runs with all processes, and yield the epochs trained so far."""
        processes = workers_for(self.spec, len(runs))
        shares = _shares(runs, processes)
        errand = Errand(
            self.database.address.url, self.study_uuid, self.spec, self.allowed, self.data_dir, processes
        )
        mine = 0
        with Crew(errand, shares[1:]) as crew, share_of_cores(processes):
            for trained in self._train_here(shares[0]):
                mine += trained
                yield mine + crew.epochs
            while crew.is_working:
                yield mine + crew.epochs
        # What a process that has died left undone.
        for trained in self._train_here(self.missing(runs)):
            mine += trained
            yield mine + crew.epochs

    def _train_here(self, runs: Sequence[Run]) -> Iterator[int]:
        return train_share(self.database, self.study_uuid, self.spec, (self.task, self.data), runs)


def _shares(runs: Sequence[Run], processes: int) -> list[Sequence[Run]]:
    """Return runs in a part for each process, neighbours together."""
    bounds = [len(runs) * place // processes for place in range(processes + 1)]
    return [runs[first:last] for first, last in pairwise(bounds)]
