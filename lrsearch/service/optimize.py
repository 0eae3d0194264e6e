"""Prepares a search: puts the task's data on the device, tries an update, chooses the trainer."""

import logging
from collections.abc import Callable

import optuna

from lrsearch.schedules import Hyperparameters
from lrsearch.search.space import domain_of
from lrsearch.service.search import Search
from lrsearch.service.studies import OpenStudy
from lrsearch.spec import StudySpec, hyperparameters, search_space
from lrsearch.storage.database import Database
from lrsearch.tasks.task import Task
from lrsearch.training.data import TrainingData, load_data
from lrsearch.training.devices import resolve_device
from lrsearch.training.eager import EagerArray
from lrsearch.training.rehearsal import rehearse

EAGER_LANES = 1  # lanes that train one after the other gain nothing, and the sampler learns from each trial


def prepare(
    database: Database,
    spec: StudySpec,
    task: Task,
    data: TrainingData,
    open_study: Callable[[], OpenStudy],
) -> Search:
    """Return a search that is ready to run.

    Args:
        database: where the study is stored.
        spec: resolved.
        task: what is learned.
        data: the task's, from :func:`load_onto_device`, which refuses a bad task before there is a study.
        open_study: creates or opens the study.

    Raises:
        StudyConflictError: if the study exists with another specification.
    """
    optuna.logging.set_verbosity(logging.WARNING)
    array = EagerArray(
        task, data, epochs=spec.epochs or task.epochs, optimizer=spec.optimizer.name, seed=spec.seed
    )
    lanes = EAGER_LANES if spec.run.lanes == "auto" else spec.run.lanes
    return Search(database, open_study(), array, lanes)


def load_onto_device(spec: StudySpec, task: Task) -> TrainingData:
    """Return a task's data on the device of a resolved specification, after an update that shows mistakes.

    Raises:
        DeviceError: if the device does not exist.
        DataError: if the data are missing and cannot be fetched.
        TaskError: if the task cannot be trained with.
    """
    data = load_data(task, spec.batch_size or task.batch_size, resolve_device(spec.run.device))
    rehearse(task, data, spec.optimizer.name, middle(spec))
    return data


def middle(spec: StudySpec) -> Hyperparameters:
    """Return the hyperparameters in the middle of a resolved specification's space."""
    space = search_space(spec)
    whole = space.walk(lambda parameter: domain_of(parameter).at(0.5))
    return hyperparameters(spec, space.searched_part(whole))
