"""The processes that train runs outside of a search, on this machine."""

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from lrsearch.retrainings import Run
from lrsearch.service.cores import share_of_cores
from lrsearch.service.other_worker import GUARD, NEEDS_GUARD, ctrl_c_held_back
from lrsearch.service.workforce import on_device_of
from lrsearch.spec import StudySpec
from lrsearch.storage.database import Database, open_database
from lrsearch.storage.retrainings import key_of, record_retrainings

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from lrsearch.tasks.task import Task
    from lrsearch.training.data import TrainingData

    Pipe = Connection[Any, Any]

GRACE_S = 5.0
POLL_S = 0.5


@dataclass(frozen=True)
class Errand:
    """What a process needs to train runs of a study.

    Args:
        url: of the database; may hold a password, and so travels through the pipe alone.
        study_uuid: our key of the study.
        spec: its resolved specification.
        allowed: references of the user's code that may be imported.
        data_dir: folder of the data sets, or None for the default.
        processes: that train at once on this machine.
    """

    url: str
    study_uuid: str
    spec: StudySpec
    allowed: tuple[str, ...]
    data_dir: Path | None
    processes: int


class Crew:
    """Processes that each train a share of the runs. On leaving, none of them is left.

    A process that dies leaves its share undone; whoever started the crew looks what is missing.

    Args:
        errand: what they need.
        shares: the runs of each.
    """

    def __init__(self, errand: Errand, shares: Sequence[Sequence[Run]]) -> None:
        self._errand, self._shares = errand, shares
        self._processes: list[Any] = []
        self._pipes: list[Pipe] = []
        self._epochs = 0

    def __enter__(self) -> Self:
        spawn = multiprocessing.get_context("spawn")
        try:
            for number, share in enumerate(self._shares, start=1):  # this process is the first
                mine, theirs = spawn.Pipe()
                errand = replace(self._errand, spec=on_device_of(self._errand.spec, number))
                process = spawn.Process(target=work, args=(theirs, errand, list(share)))
                with theirs, ctrl_c_held_back():
                    try:
                        process.start()
                    except RuntimeError:
                        # By multiprocessing: the user's script, begun anew in another process, confirms too.
                        raise SystemExit(NEEDS_GUARD) from None
                self._processes.append(process)
                self._pipes.append(mine)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def epochs(self) -> int:
        """Epochs that the crew has trained so far."""
        self._hear()
        return self._epochs

    @property
    def is_working(self) -> bool:
        """Whether one of them trains still; waits a moment for news."""
        if self._pipes:
            wait(self._pipes, POLL_S)
        self._hear()
        return bool(self._pipes)

    def _hear(self) -> None:
        for pipe in list(self._pipes):
            try:
                while pipe.poll():
                    self._epochs += pipe.recv()
            except (EOFError, OSError):  # it has ended
                self._pipes.remove(pipe)
                pipe.close()

    def _end(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(GRACE_S)
            if process.is_alive():
                process.kill()
                process.join()
        for pipe in self._pipes:
            pipe.close()
        if any(process.exitcode == NEEDS_GUARD for process in self._processes):
            warnings.warn(f"a process trained nothing: {GUARD}", stacklevel=2)


def work(pipe: "Pipe", errand: Errand, runs: Sequence[Run]) -> None:
    """Train and store runs, and say after every epoch how many lanes it had.

    Args:
        pipe: to the process that wants them.
        errand: what is needed.
        runs: of one length.
    """
    # Ctrl-C reaches every process of a terminal: the first one alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # the first process, which does the same, has shown them
    if sys.stderr is not None:
        os.dup2(2, 1)  # whatever is printed here: on the standard output only the first process writes
    from lrsearch.service.optimize import training_data  # here, because they import torch
    from lrsearch.service.tasks import find_task, load_kinds

    spec = errand.spec
    load_kinds(spec, errand.allowed)
    task = find_task(spec, errand.data_dir, errand.allowed)
    data = training_data(spec, task)
    with open_database(errand.url) as database, share_of_cores(errand.processes), suppress(BrokenPipeError):
        for trained in train_share(database, errand.study_uuid, spec, (task, data), runs):
            pipe.send(trained)


def train_share(
    database: Database,
    study_uuid: str,
    spec: StudySpec,
    prepared: "tuple[Task, TrainingData]",
    runs: Sequence[Run],
) -> Iterator[int]:
    """Train runs in this process, store each when it ends, and yield the epochs trained, step by step.

    Args:
        database: where they are stored.
        study_uuid: our key of the study.
        spec: its resolved specification.
        prepared: its task, and the task's data on the device.
        runs: of one length.
    """
    from lrsearch.service.optimize import middle  # here, because they import torch
    from lrsearch.training.retrainer import Retrainer
    from lrsearch.training.trainer import TrialSettings

    if not runs:
        return
    settings = TrialSettings(runs[0].epochs, spec.optimizer.name, spec.seed, middle(spec))
    retrainer = Retrainer(
        *prepared,
        settings,
        frozen=spec.frozen,
        lanes=None if spec.run.lanes == "auto" else spec.run.lanes,
        at_most=len(runs),
    )
    for epoch in retrainer.train(runs):
        ended = {key_of(run): retraining for run, retraining in epoch.ended}
        record_retrainings(database, study_uuid, ended)
        yield epoch.trained
