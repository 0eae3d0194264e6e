"""Trainings of one point of a study that log their learning rates, and where their trajectories lie."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lrsearch.retrainings import Run
from lrsearch.schedules import Hyperparameters, Schedule
from lrsearch.spec import StudySpec
from lrsearch.storage.database import Database
from lrsearch.storage.logged_runs import record_trajectory, stored_trajectory
from lrsearch.storage.retrainings import key_of
from lrsearch.tasks.randomness import CPU
from lrsearch.tasks.task import Task
from lrsearch.training.data import TrainingData
from lrsearch.training.eager import build_model, evaluate
from lrsearch.training.logged_run import LoggedRun, loop_of, one_parameter, scheduled
from lrsearch.trajectory import Trajectory


def logged_run(
    spec: StudySpec,
    task: Task,
    data: TrainingData,
    point: Hyperparameters,
    *,
    seed: int | None = None,
    epochs: int | None = None,
) -> LoggedRun:
    """Return a training of a point that is ready to run.

    Args:
        spec: resolved specification of the study.
        task: the study's.
        data: the task's, from :func:`lrsearch.service.optimize.load_onto_device`.
        point: what is trained.
        seed: None is the study's, which trains as the search did.
        epochs: length of the run; None is the study's.
    """
    schedule = Schedule(_loaded(point), epochs or spec.epochs or task.epochs, data.steps_per_epoch)
    return LoggedRun(task, data, spec.optimizer.name, schedule, spec.seed if seed is None else seed)


def figures_on_test(task: Task, run: LoggedRun, data: TrainingData, seed: int) -> dict[str, float]:
    """Return ``loss`` and metrics of a trained model on the test split; none where the task has none.

    Args:
        task: what is learned.
        run: at its end.
        data: the task's.
        seed: of the run.
    """
    batches = data.test()
    return {} if batches is None else evaluate(task, run.model, batches, data.device, seed)


def find_trajectory(
    database: Database, study_uuid: str, spec: StudySpec, point: Hyperparameters
) -> Trajectory | None:
    """Return the stored trajectory of a point, trained as in the search; None if it was not logged yet."""
    return stored_trajectory(database, study_uuid, _key(spec, point))


def store_trajectory(
    database: Database, study_uuid: str, spec: StudySpec, point: Hyperparameters, trajectory: Trajectory
) -> None:
    """Store the trajectory of a point that was trained as in the search."""
    record_trajectory(database, study_uuid, _key(spec, point), trajectory)


def stretched_trajectory(
    spec: StudySpec, task: Task, schedule: Schedule, valid_losses: Sequence[float]
) -> Trajectory:
    """Return the trajectory of a run of another length, of which only optimizer and scheduler are driven.

    Args:
        spec: resolved specification of the study.
        task: the study's: its model is built where parameters differ in their learning rates.
        schedule: of the long run.
        valid_losses: of the short run, by epoch: a schedule with feedback is told them, stretched.
    """
    schedule = replace(schedule, hyperparameters=_loaded(schedule.hyperparameters))
    point, epochs = schedule.hyperparameters, schedule.epochs
    grouped = point.lr_scales or point.layer_decay != 1 or point.frozen
    model = build_model(task, spec.seed, CPU) if grouped else one_parameter()
    told: list[float] = []
    if schedule.kind.needs_feedback:
        known = np.linspace(0, 1, len(valid_losses))
        told = np.interp(np.linspace(0, 1, epochs), known, valid_losses).tolist()
    return scheduled(model, spec.optimizer.name, schedule, told, loop_of(task))


def _loaded(point: Hyperparameters) -> Hyperparameters:
    """Return a point made anew: a schedule of the user's own may have been loaded since."""
    return replace(point)


def _key(spec: StudySpec, point: Hyperparameters) -> str:
    return key_of(Run(point.to_point(), spec.seed, spec.epochs or 0))
