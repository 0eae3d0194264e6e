"""Prepares a search: loads the task, puts its data on the device, chooses the trainer."""

import logging
from collections.abc import Callable
from pathlib import Path

import optuna

from lrsearch.service.search import Search
from lrsearch.service.studies import OpenStudy
from lrsearch.spec import StudySpec
from lrsearch.storage.database import Database
from lrsearch.tasks.catalogue import load_task
from lrsearch.tasks.files import data_dir as find_data_dir
from lrsearch.training.data import ResidentData
from lrsearch.training.devices import resolve_device
from lrsearch.training.eager import EagerArray

EAGER_LANES = 1  # lanes that train one after the other gain nothing, and the sampler learns from each trial


def prepare(
    database: Database, spec: StudySpec, data_dir: Path | None, open_study: Callable[[], OpenStudy]
) -> Search:
    """Return a search that is ready to run; the study is opened last, so that a bad device creates none.

    Args:
        database: where the study is stored.
        spec: resolved.
        data_dir: folder of the data sets, or None for the default.
        open_study: creates or opens the study.

    Raises:
        DeviceError: if the device does not exist.
        DataError: if the data are missing and cannot be fetched.
        StudyConflictError: if the study exists with another specification.
    """
    optuna.logging.set_verbosity(logging.WARNING)
    device = resolve_device(spec.run.device)
    task = load_task(spec.task, find_data_dir(data_dir))
    data = ResidentData(task, spec.batch_size or task.batch_size, device)
    array = EagerArray(
        task, data, epochs=spec.epochs or task.epochs, optimizer=spec.optimizer.name, seed=spec.seed
    )
    lanes = EAGER_LANES if spec.run.lanes == "auto" else spec.run.lanes
    return Search(database, open_study(), array, lanes)
