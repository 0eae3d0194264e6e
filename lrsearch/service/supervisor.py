"""The workers of one run on this machine: starts the others, joins what they say, and sees them off."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import psutil

from lrsearch.errors import DatabaseLostError
from lrsearch.service.cores import share_of_cores
from lrsearch.service.joint_progress import JointProgress
from lrsearch.service.local_worker import Errand
from lrsearch.service.other_worker import OtherWorker
from lrsearch.service.progress import Progress
from lrsearch.service.workforce import on_device_of
from lrsearch.spec import StudySpec
from lrsearch.storage.database import Database
from lrsearch.storage.expiry import expire_leases, release_slots
from lrsearch.storage.process import this_machine
from lrsearch.storage.workers import list_workers

if TYPE_CHECKING:
    from lrsearch.service.search import Search
    from lrsearch.service.studies import OpenStudy

POLL_S = 0.1
GRACE_S = 5.0


class Supervisor:
    """The workers of a run: this process, the first one, and those that it starts.

    As a context it starts the others at once, so that they import PyTorch while this one loads its data. On
    leaving, none of them is left, and none of their trials is held.

    Args:
        database: where the study is stored.
        spec: as read, or resolved; the others prepare its task.
        workers: processes in all; with 1 none is started.
        allowed: references of the user's code that may be imported.
        data_dir: folder of the data sets, or None for the default.
    """

    def __init__(
        self,
        database: Database,
        spec: StudySpec,
        workers: int,
        allowed: Sequence[str] = (),
        data_dir: Path | None = None,
    ) -> None:
        self.database, self.workers = database, workers
        self._errand = Errand(database.address.url, spec, tuple(allowed), data_dir, workers)
        self._others: list[OtherWorker] = []
        self._study: OpenStudy | None = None  # once the others know it
        self._stopping = threading.Event()  # the run ends
        self._left = threading.Event()  # nobody listens any more
        self._listener: threading.Thread | None = None
        self._told: set[str] = set()  # reasons why workers have ended

    def __enter__(self) -> Self:
        try:
            for number in range(1, self.workers):
                own = replace(self._errand, spec=on_device_of(self._errand.spec, number))
                self._others.append(OtherWorker(number, own))
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """See that none of the others is left, and none of their trials held."""
        self._stopping.set()
        self._left.set()
        if self._listener is not None:
            self._listener.join()
        for other in self._others:
            if other.farewell is None:
                other.end_at_once()
        deadline = time.monotonic() + GRACE_S
        for other in self._others:
            other.wait(max(0.0, deadline - time.monotonic()) if other.farewell is None else 0.0)
            self._free(other)
            other.pipe.close()

    def run(self, search: "Search", stop_requested: Callable[[], bool] = lambda: False) -> Iterator[Progress]:
        """Train with all workers until the first one ends its run, and yield where the study stands.

        Args:
            search: this process's part.
            stop_requested: asked all the time; true ends the run.
        """
        own = search.run(stop_requested)
        if not self._others:
            yield from own
            return
        with share_of_cores(self.workers):
            last = next(own)
            joint = JointProgress(last)
            if last.stopped is None:
                self._begin(search.study)
                yield joint.take()
            self._listener = threading.Thread(target=self._listen, args=(joint, stop_requested), daemon=True)
            self._listener.start()
            for last in own:
                joint.add(0, last)
                if last.stopped is None:
                    yield joint.take()
        self._stopping.set()
        while self._listener.is_alive():
            self._listener.join(POLL_S)
            if joint.has_news:
                yield joint.take()
        yield joint.take(stopped=last.stopped)

    def _begin(self, study: "OpenStudy") -> None:
        """Let the others train; where their number was left open, only as many as memory has room for."""
        self._study = study
        mine = int(psutil.Process().memory_info().rss)
        free = _free_bytes()
        for other in self._others:
            free -= max(0, mine - other.memory_bytes)  # it will need as much as this process in the end
            if free >= 0 or self._errand.spec.run.workers != "auto":
                other.begin(study)
            else:
                other.dismiss()

    # In a thread of its own, because this process trains meanwhile

    def _listen(self, joint: JointProgress, stop_requested: Callable[[], bool]) -> None:
        """Hear what the others say, tell them when to stop, and see them off, until none is left."""
        others, asked = list(self._others), False
        while others and not self._left.is_set():
            wait([other.pipe for other in others], POLL_S)
            for other in list(others):
                heard, ended = other.hear()
                for progress in heard:
                    joint.add(other.number, progress)
                if ended:
                    others.remove(other)
                    joint.leave(other.number, self._see_off(other))
            if not asked and (self._stopping.is_set() or stop_requested()):
                asked = True
                self._ask_to_stop(others, joint)

    def _ask_to_stop(self, others: Sequence[OtherWorker], joint: JointProgress) -> None:
        self._stopping.set()
        for other in others:
            if joint.is_idle(other.number):
                other.end_at_once()  # nothing is lost, and nobody waits for it to wake up
            else:
                other.ask_to_stop()

    def _see_off(self, other: OtherWorker) -> str | None:
        """Free what a worker held that has ended, and return what the user should know of it, if anything."""
        if other.farewell is None:
            other.wait(GRACE_S)
            self._free(other)
            if self._stopping.is_set():
                return None
        reason = other.reason
        if reason is None or reason in self._told:
            return None
        self._told.add(reason)
        return f"a worker process has ended, and the search goes on without it: {reason}"

    def _free(self, other: OtherWorker) -> None:
        """Give back what a worker has left held; where the run ends, it has not died of its trials."""
        if other.farewell is not None or self._study is None:
            return
        uuid = self._study.record.uuid
        give_back = release_slots if self._stopping.is_set() else expire_leases
        with suppress(DatabaseLostError):  # then its leases run out by themselves
            machine = this_machine()  # a host's name may be that of several containers
            here = [each for each in list_workers(self.database, uuid) if each.machine == machine]
            for worker in [each for each in here if each.pid == other.pid][-1:]:
                give_back(self.database, uuid, worker.id)


def _free_bytes() -> int:
    import torch  # here, because it takes a second

    from lrsearch.training.residence import free_bytes

    return free_bytes(torch.device("cpu"))
