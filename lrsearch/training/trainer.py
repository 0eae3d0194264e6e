"""Chooses the trainer of a search: lanes fused into one model where that can be done and pays."""

from dataclasses import dataclass

from lrsearch.schedules import Hyperparameters
from lrsearch.tasks.task import Task
from lrsearch.training.array import TrialArray
from lrsearch.training.data import TrainingData
from lrsearch.training.devices import threads_for
from lrsearch.training.eager import EagerArray, Models
from lrsearch.training.fused.array import FusedArray
from lrsearch.training.fused.fitting import Fit, Misfit, fit
from lrsearch.training.fused.linear_chain import LinearChain
from lrsearch.training.fused.sizing import cpu_lanes, fusing_gain, gpu_lanes

EAGER_LANES = 1  # lanes that train one after the other gain nothing, and the sampler learns from each trial


@dataclass(frozen=True)
class Trainer:
    """An array, and how many trials it is given.

    Args:
        array: trains them.
        lanes: trials at once.
        reason: why they are not fused, in words; None where they are.
    """

    array: TrialArray
    lanes: int
    reason: str | None = None


@dataclass(frozen=True)
class TrialSettings:
    """What all trials of a study have in common.

    Args:
        epochs: length of a run.
        optimizer: name of a class of ``torch.optim``.
        seed: of initial weights, batch order and all other randomness.
        example: any hyperparameters of the study: a model is tried with them.
    """

    epochs: int
    optimizer: str
    seed: int
    example: Hyperparameters


def create_trainer(
    task: Task, data: TrainingData, settings: TrialSettings, *, lanes: int | None, at_most: int
) -> Trainer:
    """Return the fastest trainer that gives the results of the reference trainer.

    Args:
        task: what is learned.
        data: its data on the training device.
        settings: of all trials.
        lanes: trials at once; None for as many as pay.
        at_most: limit of lanes that are chosen here.
    """
    model = Models(task, data.device).build(settings.seed)
    with threads_for(model, data.device):
        found = fit(task, data, model, settings.optimizer, settings.example)
        if isinstance(found, Fit):
            found, lanes = _sized(task, data, settings, found, lanes, at_most)
    if isinstance(found, Misfit):
        array = EagerArray(
            task, data, epochs=settings.epochs, optimizer=settings.optimizer, seed=settings.seed
        )
        return Trainer(array, lanes or EAGER_LANES, found.reason)
    fused = FusedArray(
        task,
        data,
        found,
        epochs=settings.epochs,
        optimizer=settings.optimizer,
        seed=settings.seed,
        lanes=lanes or 1,
    )
    return Trainer(fused, lanes or 1)


def _sized(
    task: Task,
    data: TrainingData,
    settings: TrialSettings,
    found: Fit,
    lanes: int | None,
    at_most: int,
) -> tuple[Fit | Misfit, int | None]:
    """Return how to train, and in how many lanes; None with a reason where fusing does not pay."""
    if lanes is not None:
        return found, lanes
    model = Models(task, data.device).build(settings.seed)
    if data.device.type == "cuda":
        return found, min(gpu_lanes(data, found, model), at_most)
    lanes = min(cpu_lanes(model), at_most)
    if isinstance(found.network, LinearChain):
        return found, lanes
    if lanes == 1:
        by_itself = "a model of this size fills the device by itself"
        return Misfit("the budget allows each worker one at a time" if at_most == 1 else by_itself), None
    gain = fusing_gain(task, data, found, model, lanes)
    if gain < 1:
        slower = (
            f"{lanes} models in one step, timed just now, took {1 / gain:.1f} times as long as one by one"
        )
        return Misfit(f"{slower} (--lanes {lanes} fuses them anyhow)"), None
    return found, lanes
