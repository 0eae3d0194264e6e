"""The reference trainer: each lane in ordinary PyTorch, one after the other."""

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lrsearch.results import EpochResult, LaneFailure, in_one_line
from lrsearch.schedules import Hyperparameters, Schedule, State
from lrsearch.tasks.task import Task
from lrsearch.training.data import INITIAL_WEIGHTS, OTHER_RANDOMNESS, TrainingData, derived_seed
from lrsearch.training.devices import threads_for
from lrsearch.training.groups import parameter_groups, set_lr
from lrsearch.training.optimizers import build_optimizer
from lrsearch.training.update import check_scalar, precision, update


@dataclass
class _Lane:
    """A trial in training."""

    trial: int
    model: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    state: State | None
    epoch: int = 0


class EagerArray:
    """Trains lanes with ``torch.optim`` and autograd: slow, obvious, and right.

    Args:
        task: what is learned.
        data: the task's data on the training device.
        epochs: length of a trial's run.
        optimizer: name of the optimizer, the same in all lanes.
        seed: of initial weights, batch order and all other randomness.
    """

    def __init__(self, task: Task, data: TrainingData, *, epochs: int, optimizer: str, seed: int) -> None:
        self._task, self._data = task, data
        self._epochs, self._optimizer, self._seed = epochs, optimizer, seed
        self._lanes: dict[int, _Lane] = {}
        self._untrained_loss: float | None = None

    @property
    def device(self) -> str:
        """Name of the device that trains."""
        return str(self._data.device)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer updates in an epoch."""
        return self._data.steps_per_epoch

    @property
    def untrained_loss(self) -> float:
        """Validation loss of the model before any update, the same in all lanes."""
        if self._untrained_loss is None:
            model = build_model(self._task, self._seed, self._data.device)
            self._untrained_loss = validate(self._task, model, self._data)[0]
        return self._untrained_loss

    def start(self, trial: int, hyperparameters: Hyperparameters) -> None:
        """Put a trial into a lane, untrained."""
        model = build_model(self._task, self._seed, self._data.device)
        groups = parameter_groups(model, hyperparameters)
        optimizer = build_optimizer(self._optimizer, groups, hyperparameters.lr, hyperparameters.optimizer)
        schedule = Schedule(hyperparameters, self._epochs, self.steps_per_epoch)
        self._lanes[trial] = _Lane(trial, model, optimizer, schedule, schedule.start())

    def run_epoch(self) -> list[EpochResult | LaneFailure]:
        """Train every lane for one epoch; a lane that raises is freed and reported as failed."""
        return [self._run_lane(lane) for lane in list(self._lanes.values())]

    def drop(self, trials: Collection[int]) -> None:
        """Free the lanes of these trials."""
        for trial in trials:
            self._lanes.pop(trial, None)

    def _run_lane(self, lane: _Lane) -> EpochResult | LaneFailure:
        try:
            with threads_for(lane.model, self._data.device):
                return self._train_epoch(lane)
        except Exception as error:  # whatever a user's model raises fails its trial, not the study
            self.drop([lane.trial])
            return LaneFailure(lane.trial, lane.epoch + 1, in_one_line(error))

    def _train_epoch(self, lane: _Lane) -> EpochResult:
        started = time.perf_counter()
        lrs = lane.schedule.epoch_lrs(lane.epoch, lane.state)
        with seeded(self._seed, lane.epoch, self._data.device):
            train_loss = self._update(lane, lrs.tolist())
        valid_loss, metrics = validate(self._task, lane.model, self._data)
        lane.state = lane.schedule.update(lane.state, valid_loss)
        lane.epoch += 1
        seconds = time.perf_counter() - started
        return EpochResult(lane.trial, lane.epoch, train_loss, valid_loss, metrics, float(lrs[-1]), seconds)

    def _update(self, lane: _Lane, lrs: list[float]) -> float:
        lane.model.train()
        total = torch.zeros((), device=self._data.device)
        for lr, batches in zip(lrs, self._data.updates(self._seed, lane.epoch), strict=True):
            set_lr(lane.optimizer, lr)
            total += update(self._task, lane.model, lane.optimizer, batches)
        return float(total) / len(lrs)


def build_model(task: Task, seed: int, device: torch.device) -> nn.Module:
    """Return the task's model on a device, with the initial weights that the seed gives."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, INITIAL_WEIGHTS))
        return task.build_model().to(device)


@contextmanager
def seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Make torch's global generators depend on seed and epoch alone, and leave them as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derived_seed(seed, OTHER_RANDOMNESS, epoch))
        yield


@torch.no_grad()
def validate(task: Task, model: nn.Module, data: TrainingData) -> tuple[float, Mapping[str, float]]:
    """Return loss and metrics on the validation split, means over all its examples."""
    model.eval()
    sums: dict[str, Tensor] = {}
    total = 0
    for batch, examples in data.validation():
        with precision(task, model):
            figures = task.validation_step(model, batch)
        for name, value in figures.items():
            check_scalar(task, name, value)
            sums[name] = (
                sums.get(name, torch.zeros((), dtype=torch.float64)) + value.double().cpu() * examples
            )
        total += examples
    loss, *metrics = ((name, float(value / total)) for name, value in sums.items())
    return loss[1], {f"valid_{name}": value for name, value in metrics}
