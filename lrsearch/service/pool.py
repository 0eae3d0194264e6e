"""A worker of a service: joins the open studies of a database one after the other, by their priority."""

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrsearch.errors import DatabaseLostError, InputError, WorkersFullError
from lrsearch.service.optimize import load_onto_device, prepare
from lrsearch.service.progress import Progress, StopReason
from lrsearch.service.search import Search
from lrsearch.service.studies import OpenStudy, check_open, readable_spec
from lrsearch.service.tasks import find_task, load_kinds
from lrsearch.spec import EXTERNAL, spec_from
from lrsearch.storage.database import Database
from lrsearch.storage.process import this_process
from lrsearch.storage.retry import without_waiting
from lrsearch.storage.studies import StudyRecord, find_study, list_studies
from lrsearch.storage.tables import BETWEEN_STUDIES
from lrsearch.storage.work import Work, open_work
from lrsearch.storage.workers import join_study, leave_study, new_name, see_worker
from lrsearch.training.devices import resolve_device

POLL_S = 2.0
SHORTEST_S = 1e-3
OF_ONE_RUN = {"workers", "timeout_s"}
PATIENCE_S = 300.0  # while no study is trained; then it is the study's
LOOK_S = 5.0  # between two looks for other studies while one is trained
WORK_ENDED = {StopReason.INTERRUPTED, StopReason.TIMEOUT}


@dataclass(frozen=True)
class PoolOptions:
    """What a worker is told.

    Args:
        studies: names of the studies that it joins; empty for all that are open.
        name: of the worker; None for one made of host and process.
        forever: whether it waits for more work when none is left.
        timeout_s: seconds after which it stops, whatever it trains, or None.
        overrides: ``run.*`` options that go before the studies' own, by key.
        allowed: references of the users' code that may be imported.
        data_dir: folder of the data sets, or None for the default.
    """

    studies: tuple[str, ...] = ()
    name: str | None = None
    forever: bool = False
    timeout_s: float | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    allowed: tuple[str, ...] = ()
    data_dir: Path | None = None


class Pool:
    """One worker, and the studies that it may join.

    Args:
        database: where they are stored.
        options: what it is told.
        notify: is told what the user should know, once for each study.

    Raises:
        UnknownNameError: if a study is named that does not exist.
        StudyPausedError: if a study is named that is not open, and the worker does not wait.
        SpecError: if an option breaks a rule.
        DeviceError: if a device is named that does not exist.
    """

    def __init__(self, database: Database, options: PoolOptions, notify: Callable[[str], None]) -> None:
        self._database, self._options, self._notify = database, options, notify
        database.wait_for(PATIENCE_S)
        self.name = options.name or new_name()
        self._refused: dict[str, str] = {}  # why a study cannot be trained here, by its UUID
        self._looked_s = 0.0
        self._better = False
        self._ends_s = math.inf if options.timeout_s is None else time.monotonic() + options.timeout_s
        _check_options(options)
        for study in options.studies:
            record = find_study(database, study)
            if not options.forever:
                check_open(record)

    def run(self, stop_requested: Callable[[], bool] = lambda: False) -> Iterator[tuple[str, Progress]]:
        """Train until there is no work, or for ever, and yield names of studies and where they stand.

        Args:
            stop_requested: asked after every epoch; true ends the run.

        Raises:
            InputError: if a study that was named cannot be trained here.
            DatabaseLostError: if the database does not answer for too long.
        """
        with self._present():
            while not stop_requested() and time.monotonic() < self._ends_s:
                see_worker(self._database, self.name)
                work = self._next()
                if work is not None:
                    name, search = work
                    for progress in search.run(stop_requested, self._drain_wish(search)):
                        yield name, progress
                    if progress.stopped in WORK_ENDED:
                        return
                    if progress.stopped is StopReason.NO_GAIN:  # for good: joined again, it would begin anew
                        self._refused[search.study.record.uuid] = StopReason.NO_GAIN.value
                    del search, work
                    gc.collect()  # the next study's data and models need the memory
                elif self._options.forever or self._waits():
                    time.sleep(POLL_S)
                else:
                    return

    @contextmanager
    def _present(self) -> Iterator[None]:
        """Be known as alive, also between studies."""
        join_study(self._database, BETWEEN_STUDIES, self.name, this_process(), "idle")
        try:
            yield
        finally:
            with suppress(DatabaseLostError):
                leave_study(self._database, BETWEEN_STUDIES, self.name)

    def _next(self) -> tuple[str, Search] | None:
        """Join the first study that has work for this worker; None if none has."""
        names = {record.uuid: record for record in self._studies()}
        for work in open_work(self._database):
            record = names.get(work.study_uuid)
            if record is None or work.study_uuid in self._refused or not work.admits(self.name):
                continue
            try:
                return record.name, self._join(record)
            except WorkersFullError:  # another one was faster
                continue
            except InputError as error:
                if self._options.studies:
                    raise
                self._refused[work.study_uuid] = str(error)
                self._notify(f"study {record.name!r} is left to others: {error}")
        return None

    def _join(self, record: StudyRecord) -> Search:
        """Return this worker's part in a study; the study stays untouched if that cannot be.

        Raises:
            InputError: if it cannot be trained here.
        """
        spec = readable_spec(self._database, record, self._overrides(record))
        load_kinds(spec, self._options.allowed)
        task = find_task(spec, self._options.data_dir, self._options.allowed)
        data = load_onto_device(spec, task)
        study = OpenStudy(record, spec)
        try:
            return prepare(self._database, spec, task, data, lambda: study, name=self.name)
        except InputError:  # it may have joined by then, and would be counted as long as it lives
            leave_study(self._database, record.uuid, self.name)
            raise

    def _overrides(self, record: StudyRecord) -> dict[str, Any]:
        """Return the options for a study: its own, but for those of one run on one machine, and then ours."""
        own = {f"run.{key}": value for key, value in record.run.items() if key not in OF_ONE_RUN}
        left_s = self._ends_s - time.monotonic()
        timeout = {"run.timeout_s": max(left_s, SHORTEST_S)} if math.isfinite(left_s) else {}
        return {**own, **self._options.overrides, **timeout}

    def _studies(self) -> list[StudyRecord]:
        records = list_studies(self._database)
        named = self._options.studies
        return [record for record in records if record.name in named] if named else records

    def _waits(self) -> bool:
        """Return whether a study has work that this worker may get: it is full, and its workers may die."""
        mine = {record.uuid for record in self._studies()} - self._refused.keys()
        return any(work.study_uuid in mine for work in open_work(self._database))

    def _drain_wish(self, search: Search) -> Callable[[], bool]:
        """Return a function that says whether another study should be joined instead of this one."""
        uuid = search.study.record.uuid
        self._looked_s, self._better = time.monotonic(), False

        def drain_requested() -> bool:
            due = time.monotonic() - self._looked_s >= LOOK_S
            if not self._better and due and search.is_in_touch:
                self._looked_s = time.monotonic()
                with suppress(DatabaseLostError), without_waiting():  # training goes on during an outage
                    self._better = self._has_better(uuid)
            return self._better

        return drain_requested

    def _has_better(self, uuid: str) -> bool:
        """Return whether another study has trials to begin, and a higher priority, or this one has none."""
        mine = {record.uuid for record in self._studies()} - self._refused.keys()
        found = {work.study_uuid: work for work in open_work(self._database) if work.study_uuid in mine}
        here = found.pop(uuid, None)
        others = [work for work in found.values() if work.free and work.admits(self.name)]
        return any(_is_better(work, here) for work in others)


def _check_options(options: PoolOptions) -> None:
    """Refuse what no study could be trained with, whichever comes."""
    timeout = {} if options.timeout_s is None else {"run.timeout_s": options.timeout_s}
    given = {**options.overrides, **timeout}
    spec = spec_from({"name": "options", "task": EXTERNAL, "trials": 1}, "the options", given)
    if "run.device" in given:
        resolve_device(spec.run.device)


def _is_better(other: Work, here: Work | None) -> bool:
    return here is None or other.priority > here.priority or not here.free
