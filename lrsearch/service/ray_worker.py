"""A worker as Ray runs it: on whatever machine, restarted when it dies."""

import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lrsearch
from lrsearch.errors import DatabaseSetupError, EngineError, InputError, LrsearchError
from lrsearch.results import in_one_line

if TYPE_CHECKING:
    from lrsearch.spec import StudySpec
    from lrsearch.storage.database import Database
    from lrsearch.storage.studies import StudyRecord
    from lrsearch.tasks.task import Task
    from lrsearch.training.data import TrainingData


@dataclass(frozen=True)
class RayErrand:
    """What a worker needs to know; it may stand in Ray's logs, and so holds no secret.

    Args:
        version: of lrsearch, which must be the worker's.
        study: the specification, as the nested tables of a study file.
        allowed: references of the user's code that may be imported.
        data_dir: folder of the data sets, or None for the default.
        storage_variable: name of the environment variable that holds the storage URL on the worker's machine.
        storage_url: the URL itself, if it needs no password; None where the variable tells.
        workers: that train the study together.
        lease_s: how long a worker's claims last without being renewed, in seconds.
    """

    version: str
    study: Mapping[str, Any]
    allowed: tuple[str, ...]
    data_dir: str | None
    storage_variable: str
    storage_url: str | None
    workers: int
    lease_s: float


@dataclass(frozen=True)
class Parting:
    """What a worker says when it has done what it was asked to.

    Args:
        stopped: name of the ``StopReason`` for which it trains no more, if it has trained.
        error: why it cannot, in words, its machine named; None if it could.
        bad_input: whether that is a mistake of the user's.
    """

    stopped: str | None = None
    error: str | None = None
    bad_input: bool = False


class RayWorker:
    """The body of an actor: what it knows of a study lies in the database, so it may die at any time.

    Args:
        errand: what to prepare.
    """

    def __init__(self, errand: RayErrand) -> None:
        self._errand = errand
        self._stop = threading.Event()
        self._preparing = threading.Lock()
        self._prepared: tuple[StudySpec, Task, TrainingData] | None = None

    def place(self) -> tuple[str, int]:
        """Return the name of its machine, and its process id there."""
        return socket.gethostname(), os.getpid()

    def prepare(self) -> Parting:
        """Load the task and its data, try an update, and open the database; say what stands in the way."""
        try:
            with self._open_database():  # first, as it is quick
                self._prepare()
                return Parting()
        except Exception as error:  # whatever the user's code raises here
            return _failed(error)

    def run(self, study_uuid: str) -> Parting:
        """Train the study's trials until there is none left, or it is asked to stop.

        Args:
            study_uuid: our key of the study.
        """
        try:
            return self._run(study_uuid)
        except Exception as error:  # whatever the user's code raises here
            return _failed(error)

    def stop(self) -> None:
        """Let it stop at the end of its epoch, and release its trials."""
        self._stop.set()

    def _run(self, study_uuid: str) -> Parting:
        from lrsearch.service.optimize import prepare  # here, because they import torch
        from lrsearch.service.studies import OpenStudy, stored_spec

        spec, task, data = self._prepare()
        with self._open_database() as database:
            record = self._record(database, study_uuid)
            study = OpenStudy(record, stored_spec(record).model_copy(update={"run": spec.run}))
            workers, lease_s = self._errand.workers, self._errand.lease_s
            search = prepare(database, study.spec, task, data, lambda: study, workers, lease_s)
            for progress in search.run(self._stop.is_set):
                last = progress
        return Parting(stopped=last.stopped.name if last.stopped else None)

    def _prepare(self) -> "tuple[StudySpec, Task, TrainingData]":
        with self._preparing:
            if self._prepared is None:
                self._prepared = self._load()
            return self._prepared

    def _load(self) -> "tuple[StudySpec, Task, TrainingData]":
        from lrsearch.service.optimize import load_onto_device
        from lrsearch.service.studies import resolved
        from lrsearch.service.tasks import find_task, load_kinds
        from lrsearch.spec import spec_from

        errand = self._errand
        if errand.version != lrsearch.__version__:
            raise EngineError(
                f"lrsearch is {lrsearch.__version__} here and {errand.version} where the command was given; "
                "install one version on all machines"
            )
        draft = spec_from(errand.study, "the study")
        load_kinds(draft, errand.allowed)
        task = find_task(draft, Path(errand.data_dir) if errand.data_dir else None, errand.allowed)
        spec = resolved(draft, task)
        return spec, task, load_onto_device(spec, task)

    def _open_database(self) -> "Database":
        from lrsearch.storage.database import open_existing

        variable = self._errand.storage_variable
        url = self._errand.storage_url or os.environ.get(variable)
        if url is None:
            raise DatabaseSetupError(
                f"the variable {variable} is not set there. It holds the storage URL, and must be set where "
                "Ray is started on each machine, before: ray start"
            )
        return open_existing(url, read_only=False)

    def _record(self, database: "Database", study_uuid: str) -> "StudyRecord":
        from lrsearch.storage.studies import list_studies

        for record in list_studies(database):
            if record.uuid == study_uuid:
                return record
        raise DatabaseSetupError(
            f"{database.masked_url} has not the study; {self._errand.storage_variable} must name the same "
            "database on all machines"
        )


def _failed(error: Exception) -> Parting:
    reason = str(error) if isinstance(error, LrsearchError) else in_one_line(error)
    return Parting(error=f"on {socket.gethostname()}: {reason}", bad_input=isinstance(error, InputError))
