"""One of the other worker processes of a run on this machine: what it is told, does and says."""

import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from lrsearch.service.cores import share_of_cores

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from lrsearch.service.progress import Progress
    from lrsearch.service.studies import OpenStudy
    from lrsearch.spec import StudySpec
    from lrsearch.tasks.task import Task
    from lrsearch.training.data import TrainingData

    Pipe = Connection[Any, Any]

SECONDS_BETWEEN_REPORTS = 0.25
STOP = "stop"


@dataclass(frozen=True)
class Errand:
    """What a worker process needs to know before there is a study.

    Args:
        url: of the database; may hold a password, and so travels through the pipe alone.
        spec: as read, or resolved; of the study to come it has the task, the kinds and the device.
        allowed: references of the user's code that may be imported.
        data_dir: folder of the data sets, or None for the default.
        workers: processes that train the study on this machine together.
    """

    url: str
    spec: "StudySpec"
    allowed: tuple[str, ...]
    data_dir: Path | None
    workers: int


@dataclass(frozen=True)
class Farewell:
    """The last thing that a worker process says.

    Args:
        reason: why it ends before the run does, in words; None at the run's end.
    """

    reason: str | None = None


def work(pipe: "Pipe", errand: Errand) -> None:
    """Prepare the task, wait for the study, and train its trials until the supervisor says to stop.

    Args:
        pipe: to the supervisor. From there come the study and at last ``STOP``; there go ``Progress`` and at
            last a ``Farewell``.
        errand: what to prepare.
    """
    # Ctrl-C reaches every process of a terminal: the supervisor alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # the supervisor's process, which does the same, has shown them
    if sys.stderr is not None:
        os.dup2(2, 1)  # whatever is printed here: on the standard output only the supervisor writes
    farewell = Farewell()
    try:
        _train(pipe, errand)
    except (EOFError, KeyboardInterrupt):  # the supervisor has gone, or wants this process to end at once
        os._exit(0)
    except Exception as error:  # whatever the user's code raises here
        farewell = Farewell(_reason(error))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends anyhow
    _say(pipe, farewell)


def _train(pipe: "Pipe", errand: Errand) -> None:
    from lrsearch.service.optimize import prepare  # here, because they import torch
    from lrsearch.spec import references
    from lrsearch.storage.database import open_database

    with open_database(errand.url) as database:
        # The user's code may fetch data: others run it when the first process has done so.
        prepared = None if references(errand.spec) else _prepared(errand)
        study = _received(pipe)
        task, data = prepared or _prepared(errand)
        search = prepare(database, study.spec, task, data, lambda: study, workers=errand.workers)
        stop_requested = _stop_wish(pipe)  # until now it holds nothing, and SIGTERM ends it as it is
        outbox = _Outbox(pipe)
        with share_of_cores(errand.workers):
            for progress in search.run(stop_requested):
                outbox.post(progress)


def _prepared(errand: Errand) -> "tuple[Task, TrainingData]":
    """Return the task and its data on the device; the first process has tried an update with them."""
    from lrsearch.service.optimize import training_data
    from lrsearch.service.tasks import find_task, load_kinds

    spec = errand.spec
    load_kinds(spec, errand.allowed)
    task = find_task(spec, errand.data_dir, errand.allowed)
    return task, training_data(spec, task)


def _received(pipe: "Pipe") -> "OpenStudy":
    """Wait for the study.

    Raises:
        EOFError: if there will be none.
    """
    message = pipe.recv()
    if message == STOP:
        raise EOFError
    study: OpenStudy = message
    return study


def _stop_wish(pipe: "Pipe") -> Callable[[], bool]:
    """Return a function that says whether to stop: told so, sent a SIGTERM, or left alone.

    A SIGTERM when that is so already ends the process at once: its trials are released even then.
    """
    received: list[int] = []

    def stop_requested() -> bool:
        return bool(received) or pipe.poll()  # nothing but STOP, or the pipe's end, comes after the study

    def remember(number: int, _frame: FrameType | None) -> None:
        if stop_requested():
            raise KeyboardInterrupt
        received.append(number)

    signal.signal(signal.SIGTERM, remember)
    return stop_requested


class _Outbox:
    """Sends progress a few times a second, and at once where a trial has begun or ended."""

    def __init__(self, pipe: "Pipe") -> None:
        self._pipe, self._sent_s = pipe, -math.inf
        self._lanes: set[int] = set()  # trials of the last progress sent

    def post(self, progress: "Progress") -> None:
        """Send progress, unless it says little that is new."""
        lanes = {lane.number for lane in progress.running}
        due = time.monotonic() - self._sent_s >= SECONDS_BETWEEN_REPORTS
        ends = progress.waiting or progress.stopped is not None
        if due or ends or progress.news or progress.notes or lanes != self._lanes:
            _say(self._pipe, progress)
            self._sent_s, self._lanes = time.monotonic(), lanes


def _say(pipe: "Pipe", message: object) -> None:
    try:
        pipe.send(message)
    except OSError:  # the supervisor has gone, which the next question whether to stop will show
        return


def _reason(error: Exception) -> str:
    from lrsearch.errors import LrsearchError
    from lrsearch.results import in_one_line

    return str(error) if isinstance(error, LrsearchError) else in_one_line(error)
