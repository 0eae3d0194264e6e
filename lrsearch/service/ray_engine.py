"""Trains a study on Ray, which places, starts and restarts the workers; the database is the only state."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import optuna

import lrsearch
from lrsearch.errors import EngineError, LrsearchError, SpecError
from lrsearch.service.onlooker import Onlooker
from lrsearch.service.progress import Progress, StopReason
from lrsearch.service.ray_cluster import Resources, cluster, machines
from lrsearch.service.ray_worker import Parting, RayErrand, RayWorker
from lrsearch.service.studies import OpenStudy
from lrsearch.service.workforce import trials_left
from lrsearch.spec import StudySpec
from lrsearch.storage.address import parse_address
from lrsearch.storage.database import Database
from lrsearch.storage.expiry import release_slots
from lrsearch.storage.slots import LEASE_S
from lrsearch.storage.workers import list_workers

POLL_S = 0.5
GRACE_S = 5.0
DEATHS_IN_PREPARATION = 3


@dataclass(frozen=True)
class RayOptions:
    """How to use Ray.

    Args:
        address: ``auto``, or ``HOST:PORT`` of a cluster's head; None starts one on this machine alone.
        gpus_per_worker: GPUs for each worker, at least 0, a part of one counts; None is one where the cluster
            has any and the study may use it.
        cpus_per_worker: CPUs for each worker, above 0.
        storage_variable: the environment variable that holds the storage URL on each machine.
        storage_url: the URL itself, if it needs no password; None where the variable tells.
        lease_s: how long a worker's claims last without being renewed, in seconds.

    Raises:
        SpecError: if a number is out of its range.
    """

    address: str | None = None
    gpus_per_worker: float | None = None
    cpus_per_worker: float = 1.0
    storage_variable: str = "LRSEARCH_STORAGE"
    storage_url: str | None = None
    lease_s: float = LEASE_S

    def __post_init__(self) -> None:
        gpus = self.gpus_per_worker
        if gpus is not None and (gpus < 0 or (gpus > 1 and gpus != int(gpus))):
            raise SpecError(f"--gpus-per-worker must be a part of 1, or a whole number, but got {gpus:g}")
        if self.cpus_per_worker <= 0:
            raise SpecError(f"--cpus-per-worker must be above 0, but got {self.cpus_per_worker:g}")


def url_for_workers(storage: str | None, options: RayOptions) -> str | None:
    """Return the storage URL that may be told to workers; None where they find it in the variable.

    Args:
        storage: the URL that the user wrote into the command, or None.
        options: how to use Ray.

    Raises:
        EngineError: if workers on other machines could not use it, or it would show its password to them all.
    """
    if options.address is None:
        return None
    variable = options.storage_variable
    address = parse_address(storage or os.environ.get(variable))
    if address.backend == "sqlite":
        raise EngineError(
            f"workers on several machines need PostgreSQL, but got {address}. Set {variable} to its URL, "
            "here and where Ray is started on each machine"
        )
    if storage is not None and address.secrets:
        raise EngineError(
            f"a password does not go through Ray, where others could read it, but got --storage {address}. "
            f"Set {variable} to the URL, here and where Ray is started on each machine; leave --storage out"
        )
    return storage


@dataclass(frozen=True)
class Crew:
    """The workers that Ray is asked for.

    Args:
        workers: how many, at least 1.
        need: what each needs.
        notes: what the user should know of it.
    """

    workers: int
    need: Resources
    notes: tuple[str, ...]


def plan_crew(machines: Sequence[Resources], spec: StudySpec, options: RayOptions, trials: int) -> Crew:
    """Return the workers that a study gets: as many as there is room for, unless it says how many.

    Args:
        machines: what each machine of the cluster has.
        spec: of the study.
        options: how to use Ray.
        trials: that are left; there are never more workers.

    Raises:
        EngineError: if there is no room for one, and the number was left open.
    """
    need, wanted = _need(machines, spec, options), spec.run.workers
    room = sum(machine.holds(need) for machine in machines)
    if wanted == "auto" and room == 0:
        raise EngineError(
            f"a worker needs {need}, and no machine of the cluster has that: "
            f"{'; '.join(map(str, machines)) or 'there is none'}. Let it need less (--gpus-per-worker, "
            "--cpus-per-worker), or say --workers N to wait for machines"
        )
    workers = max(1, min(room if wanted == "auto" else wanted, trials))
    where = f"on {len(machines)} machines" if len(machines) > 1 else "on one machine"
    notes = [f"{workers} worker{'s' if workers > 1 else ''} of Ray {where}, each with {need}"]
    if workers > room:
        notes.append(f"there is room for {room} of them now; the others begin when there is more")
    return Crew(workers, need, tuple(notes))


def _need(machines: Sequence[Resources], spec: StudySpec, options: RayOptions) -> Resources:
    gpus = options.gpus_per_worker
    if gpus is None:
        gpus = 1.0 if spec.run.device != "cpu" and any(each.gpus >= 1 for each in machines) else 0.0
    return Resources(options.cpus_per_worker, gpus)


class RayEngine:
    """The workers of a run, as actors of Ray.

    As a context it connects to Ray and asks for its workers at once. On leaving, none of them is left.

    Args:
        database: where the study is stored.
        spec: resolved.
        options: how to use Ray.
        allowed: references of the user's code that may be imported.
        data_dir: folder of the data sets, or None for the default.

    Raises:
        SpecError: if the device that the study asks for is not Ray's to give.
    """

    def __init__(
        self,
        database: Database,
        spec: StudySpec,
        options: RayOptions,
        allowed: Sequence[str] = (),
        data_dir: Path | None = None,
    ) -> None:
        _check_device(spec.run.device, options)
        self._database, self._spec, self._options = database, spec, options
        self._allowed, self._data_dir = tuple(allowed), data_dir
        self._context = ExitStack()
        self._actors: list[Any] = []
        self._study: OpenStudy | None = None
        self._notes: list[str] = []
        self._errors: list[Parting] = []

    def __enter__(self) -> Self:
        optuna.logging.set_verbosity(logging.WARNING)
        variables = {self._options.storage_variable: _absolute_url(self._database)}
        self._context.enter_context(cluster(self._options.address, variables))
        try:
            self._start()
        except BaseException:
            self._context.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._end_at_once(self._actors)
        finally:
            self._context.close()

    def take_notes(self) -> list[str]:
        """Return what the user should know since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def wait_for_workers(self) -> None:
        """Wait until one worker can train: until there is room for it, and its data are there.

        Raises:
            EngineError: if none can.
        """
        preparing = {self._preparation(actor): actor for actor in self._actors}
        while preparing:
            for preparation in _done(preparing):
                parting = _heard(preparation)
                if parting.error is None:
                    return
                self._errors.append(parting)
                del preparing[preparation]
        raise self._nobody_left()

    def run(self, study: OpenStudy, stop_requested: Callable[[], bool] = lambda: False) -> Iterator[Progress]:
        """Train until the budget is used up, and yield where the study stands.

        Args:
            study: the study, opened.
            stop_requested: asked all the time; true ends the run.

        Raises:
            EngineError: if no worker is left.
        """
        self._study = study
        onlooker = Onlooker(self._database, study)
        running = {actor.run.remote(study.record.uuid): actor for actor in self._actors}
        self._errors, reasons, stopped, deadline = [], [], None, None
        while running and (deadline is None or time.monotonic() < deadline):
            for run in _done(running):
                del running[run]
                reasons += self._take_leave(_heard(run))
            yield onlooker.progress(self.take_notes())
            if stopped is None and (stopped := self._reason_to_stop(onlooker, stop_requested)) is not None:
                if stopped is StopReason.BUDGET:  # which they see themselves
                    deadline = time.monotonic() + GRACE_S
                else:
                    self._stop(running)
        if stopped is None and onlooker.is_spent():
            stopped = StopReason.BUDGET
        if stopped is None and not reasons:
            raise self._nobody_left()
        yield onlooker.progress(self.take_notes(), stopped=stopped or reasons[0])

    # The actors

    def _start(self) -> None:
        import ray

        crew = plan_crew(machines(), self._spec, self._options, trials_left(self._database, self._spec))
        need, self._notes = crew.need, list(crew.notes)
        actor = ray.remote(RayWorker).options(
            num_cpus=need.cpus,
            num_gpus=need.gpus,
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=3,  # it trains, and answers meanwhile
        )
        self._actors = [actor.remote(self._errand(crew)) for _worker in range(crew.workers)]

    def _errand(self, crew: Crew) -> RayErrand:
        device = "cpu" if crew.need.gpus == 0 and self._spec.run.device == "auto" else self._spec.run.device
        # The time of a run is watched here: a worker that is restarted would begin to count anew.
        run = self._spec.run.model_copy(update={"device": device, "timeout_s": None})
        return RayErrand(
            version=lrsearch.__version__,
            study=self._spec.model_copy(update={"run": run}).as_file_content(),
            allowed=self._allowed,
            data_dir=str(self._data_dir) if self._data_dir else None,
            storage_variable=self._options.storage_variable,
            storage_url=self._options.storage_url,
            workers=crew.workers,
            lease_s=self._options.lease_s,
        )

    def _preparation(self, actor: Any) -> Any:
        return actor.prepare.options(max_task_retries=DEATHS_IN_PREPARATION).remote()

    def _stop(self, running: dict[Any, Any]) -> None:
        """Let workers stop after their epoch; those that do not answer run nowhere, and are ended."""
        import ray

        asked = {actor.stop.options(max_task_retries=0).remote(): actor for actor in running.values()}
        _answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=GRACE_S)
        lost = [asked[each] for each in silent]
        self._end_at_once(lost)
        for run in [run for run, actor in running.items() if actor in lost]:
            del running[run]

    def _end_at_once(self, actors: Sequence[Any]) -> None:
        """End actors, whatever they do, and give back what they hold, where they can say who they are."""
        import ray

        asked = [actor.place.options(max_task_retries=0).remote() for actor in actors]
        answered, _silent = ray.wait(asked, num_returns=len(asked), timeout=1.0) if asked else ([], [])
        places = set()
        for answer in answered:
            with suppress(ray.exceptions.RayError):  # it has died
                places.add(ray.get(answer))
        for actor in actors:
            ray.kill(actor)
        if self._study is not None:
            self._release(places, self._study.record.uuid)

    def _release(self, places: set[tuple[str, int]], study_uuid: str) -> None:
        with suppress(LrsearchError):  # then their leases run out by themselves
            latest = {(each.host, each.pid): each.id for each in list_workers(self._database, study_uuid)}
            for place in places & latest.keys():
                release_slots(self._database, study_uuid, latest[place])

    # What they say

    def _take_leave(self, parting: Parting) -> list[StopReason]:
        """Return why a worker stopped, if it did so in good order; else note why it could not go on."""
        if parting.error is None:
            return [StopReason[parting.stopped]] if parting.stopped else []
        if parting.error not in {each.error for each in self._errors}:
            self._notes.append(f"a worker has ended, and the search goes on without it: {parting.error}")
        self._errors.append(parting)
        return []

    def _reason_to_stop(self, onlooker: Onlooker, stop_requested: Callable[[], bool]) -> StopReason | None:
        timeout_s = self._spec.run.timeout_s
        if stop_requested():
            return StopReason.INTERRUPTED
        if timeout_s is not None and onlooker.elapsed_s >= timeout_s:
            return StopReason.TIMEOUT
        return StopReason.BUDGET if onlooker.is_spent() else None

    def _nobody_left(self) -> LrsearchError:
        reasons = "\n".join(dict.fromkeys(each.error for each in self._errors if each.error))
        bad_input = all(each.bad_input for each in self._errors)
        return (EngineError if bad_input else LrsearchError)(f"no worker of Ray's can train:\n{reasons}")


def _check_device(device: str, options: RayOptions) -> None:
    if ":" in device:
        raise SpecError(f"Ray chooses the GPU of each worker, but got --device {device}; write --device cuda")
    if device == "cuda" and options.gpus_per_worker == 0:
        raise SpecError(
            "a worker without a GPU cannot train on cuda; write --gpus-per-worker 1, or a part of 1"
        )


def _absolute_url(database: Database) -> str:
    path = database.address.path
    return database.address.url if path is None else f"sqlite:///{path.absolute()}"


def _done(calls: dict[Any, Any]) -> list[Any]:
    """Wait a moment, and return the calls that are done."""
    import ray

    done: list[Any] = ray.wait(list(calls), num_returns=len(calls), timeout=POLL_S)[0]
    return done


def _heard(call: Any) -> Parting:
    import ray

    try:
        parting: Parting = ray.get(call)
    except ray.exceptions.RayError as error:
        return Parting(error=f"Ray says: {str(error).strip().splitlines()[-1]}")
    return parting
