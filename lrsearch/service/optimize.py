"""Prepares a search: puts the task's data on the device, tries an update, chooses the trainer."""

import logging
from collections.abc import Callable
from dataclasses import replace

import optuna

from lrsearch.schedules import Hyperparameters
from lrsearch.search.space import domain_of
from lrsearch.service.sameness import check_same_beginning, check_same_task, origin_of
from lrsearch.service.search import Search
from lrsearch.service.studies import OpenStudy, known_study
from lrsearch.spec import StudySpec, hyperparameters, search_space
from lrsearch.storage.database import Database
from lrsearch.storage.slots import LEASE_S
from lrsearch.storage.studies import ORIGIN_ATTRIBUTE, optuna_study_id, study_attributes
from lrsearch.tasks.task import Task
from lrsearch.training.array import TrialArray
from lrsearch.training.data import TrainingData, load_data
from lrsearch.training.devices import allow_tf32, resolve_device
from lrsearch.training.rehearsal import rehearse
from lrsearch.training.trainer import Trainer, TrialSettings, create_trainer

GENERATIONS = (
    4  # a sampler that learns from trials must see a part of the budget end before it spends the rest
)
BLIND_SAMPLERS = ("random", "grid", "quasi-random")  # these propose the same whatever has ended


def prepare(
    database: Database,
    spec: StudySpec,
    task: Task,
    data: TrainingData,
    open_study: Callable[[], OpenStudy],
    workers: int = 1,
    lease_s: float = LEASE_S,
    *,
    exits_if_stalled: bool = True,
    name: str | None = None,
) -> Search:
    """Return a search that is ready to run.

    Args:
        database: where the study is stored.
        spec: resolved.
        task: what is learned.
        data: the task's, from :func:`load_onto_device`, which refuses a bad task before there is a study.
        open_study: creates or opens the study.
        workers: processes that train the study together.
        lease_s: how long this worker's claims last without being renewed, in seconds.
        exits_if_stalled: whether this process ends if its training hangs.
        name: of this worker; None for one made of host and process.

    Raises:
        StudyConflictError: if the study exists with another specification, or its task has changed.
    """
    optuna.logging.set_verbosity(logging.WARNING)
    settings = TrialSettings(spec.epochs or task.epochs, spec.optimizer.name, spec.seed, middle(spec))
    lanes = None if spec.run.lanes == "auto" else spec.run.lanes
    trainer = create_trainer(task, data, settings, lanes=lanes, at_most=_lanes_at_most(spec, workers))
    _check_task(database, spec, task, data, trainer.array)
    study = open_study()
    _record_origin(database, study, task, data)
    study = replace(study, notes=(*study.notes, *_trainer_notes(trainer, workers)))
    return Search(
        database,
        study,
        trainer.array,
        trainer.lanes,
        lease_s,
        exits_if_stalled=exits_if_stalled,
        name=name,
    )


def _check_task(
    database: Database, spec: StudySpec, task: Task, data: TrainingData, array: TrialArray
) -> None:
    """Refuse to go on with a study whose task has changed; it stays untouched.

    Raises:
        StudyConflictError: if it has, or the study has another specification.
    """
    record = known_study(database, spec)
    if record is not None:
        attributes = study_attributes(database, record.uuid)
        check_same_task(attributes, spec, task, data)
        check_same_beginning(attributes, spec, array.steps_per_epoch, array.untrained_loss)


def _record_origin(database: Database, study: OpenStudy, task: Task, data: TrainingData) -> None:
    """Store with what a study begins, unless an earlier run has."""
    if ORIGIN_ATTRIBUTE not in study_attributes(database, study.record.uuid):
        study_id = optuna_study_id(database, study.record.uuid)
        database.optuna_storage.set_study_user_attr(study_id, ORIGIN_ATTRIBUTE, origin_of(task, data))


def _trainer_notes(trainer: Trainer, workers: int) -> list[str]:
    """Return what a user should know of how trials are trained."""
    notes = [] if trainer.reason is None else [f"trials train one by one: {trainer.reason}"]
    processes = f" in each of {workers} workers" if workers > 1 else ""
    if trainer.lanes > 1 or processes:
        trials = f"{trainer.lanes} trials train" if trainer.lanes > 1 else "1 trial trains"
        notes.append(f"{trials} at once{processes}")
    return notes


def _lanes_at_most(spec: StudySpec, workers: int) -> int:
    """Return how many trials a worker may train at once without leaving the sampler blind."""
    rounds = 1 if spec.sampler in BLIND_SAMPLERS else GENERATIONS
    return max(1, spec.trials // (rounds * workers))


def load_onto_device(spec: StudySpec, task: Task) -> TrainingData:
    """Return a task's data on the device of a resolved specification, after an update that shows mistakes.

    Raises:
        DeviceError: if the device does not exist.
        DataError: if the data are missing and cannot be fetched.
        TaskError: if the task cannot be trained with.
    """
    data = training_data(spec, task)
    rehearse(task, data, spec.optimizer.name, middle(spec))
    return data


def training_data(spec: StudySpec, task: Task) -> TrainingData:
    """Return a task's data on the device of a resolved specification, which may use TF32 if that says so.

    Raises:
        DeviceError: if the device does not exist.
        DataError: if the data are missing and cannot be fetched.
        TaskError: if they cannot be read.
    """
    device = resolve_device(spec.run.device)
    if spec.run.tf32:
        allow_tf32(device)
    return load_data(task, spec.batch_size or task.batch_size, device)


def middle(spec: StudySpec) -> Hyperparameters:
    """Return the hyperparameters in the middle of a resolved specification's space."""
    space = search_space(spec)
    whole = space.walk(lambda parameter: domain_of(parameter).at(0.5))
    return hyperparameters(spec, space.searched_part(whole))
