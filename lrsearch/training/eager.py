"""The reference trainer: each lane in ordinary PyTorch, one after the other."""

import copy
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lrsearch.errors import TaskError
from lrsearch.results import EpochResult, LaneFailure, in_one_line, trimmed_traceback
from lrsearch.schedules import Hyperparameters, Schedule, State
from lrsearch.tasks.randomness import fixed_randomness
from lrsearch.tasks.task import Batch, Task
from lrsearch.training.averaging import put_average, put_training_weights
from lrsearch.training.data import INITIAL_WEIGHTS, OTHER_RANDOMNESS, VALIDATION, TrainingData, derived_seed
from lrsearch.training.devices import threads_for
from lrsearch.training.groups import parameter_groups, set_lr
from lrsearch.training.model_state import model_state, restore_model, tensors_by_name
from lrsearch.training.optimizers import build_optimizer
from lrsearch.training.pulse import beat
from lrsearch.training.saved_lane import MisfitError, SavedLane, copied
from lrsearch.training.update import check_scalar, precision, update

_TRAINER = "eager"


@dataclass
class _Lane:
    """A trial in training."""

    trial: int
    model: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    state: State | None
    seed: int
    epoch: int = 0


class EagerArray:
    """Trains lanes with ``torch.optim`` and autograd: slow, obvious, and right.

    Args:
        task: what is learned.
        data: the task's data on the training device.
        epochs: length of a trial's run.
        optimizer: name of the optimizer, the same in all lanes.
        seed: of initial weights, batch order and all other randomness, unless a trial has its own.
    """

    def __init__(self, task: Task, data: TrainingData, *, epochs: int, optimizer: str, seed: int) -> None:
        self._task, self._data = task, data
        self._epochs, self._optimizer, self._seed = epochs, optimizer, seed
        self._models = Models(task, data.device)
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
            self._untrained_loss = validate(
                self._task, self._models.build(self._seed), self._data, self._seed
            )[0]
        return self._untrained_loss

    def start(self, trial: int, hyperparameters: Hyperparameters, seed: int | None = None) -> None:
        """Put a trial into a lane, untrained.

        Args:
            trial: its number.
            hyperparameters: what it trains with.
            seed: of its weights, batch order and all other randomness; None for the array's.
        """
        seed = self._seed if seed is None else seed
        model = self._models.build(seed)
        groups = parameter_groups(model, hyperparameters)
        optimizer = build_optimizer(self._optimizer, groups, hyperparameters.lr, hyperparameters.optimizer)
        schedule = Schedule(hyperparameters, self._epochs, self.steps_per_epoch)
        self._lanes[trial] = _Lane(trial, model, optimizer, schedule, schedule.start(), seed)

    def save(self, trial: int) -> SavedLane:
        """Return a copy of all that a trial's training goes on from."""
        lane = self._lanes[trial]
        values = {"model": model_state(lane.model), "optimizer": copied(lane.optimizer.state_dict())}
        return SavedLane(_TRAINER, lane.epoch, lane.state, values)

    def resume(
        self, trial: int, hyperparameters: Hyperparameters, saved: SavedLane, seed: int | None = None
    ) -> None:
        """Put a trial into a lane, as it was when it was saved.

        Args:
            trial: its number.
            hyperparameters: what it trains with.
            saved: of the same trial.
            seed: of its weights, batch order and all other randomness; None for the array's.

        Raises:
            MisfitError: if it was saved by another kind of array, or its tensors have other shapes.
        """
        saved.check(_TRAINER, self._epochs)
        self.start(trial, hyperparameters, seed)
        lane = self._lanes[trial]
        try:
            restore_model(lane.model, saved.values["model"])
            lane.optimizer.load_state_dict(saved.values["optimizer"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.drop([trial])
            raise MisfitError(in_one_line(error)) from error
        lane.epoch, lane.state = saved.epoch, saved.schedule

    def run_epoch(self) -> list[EpochResult | LaneFailure]:
        """Train every lane for one epoch; a lane that raises is freed and reported as failed."""
        return [self._run_lane(lane) for lane in list(self._lanes.values())]

    def drop(self, trials: Collection[int]) -> None:
        """Free the lanes of these trials."""
        for trial in trials:
            self._lanes.pop(trial, None)

    def model(self, trial: int) -> nn.Module:
        """Return a trial's model as it is now, on its device."""
        return self._lanes[trial].model

    def state_dict(self, trial: int) -> dict[str, Tensor]:
        """Return copies of the parameters and buffers of a trial's model by name."""
        return {
            name: tensor.detach().clone()
            for name, tensor in tensors_by_name(self._lanes[trial].model).items()
        }

    def _run_lane(self, lane: _Lane) -> EpochResult | LaneFailure:
        try:
            with threads_for(lane.model, self._data.device):
                return self._train_epoch(lane)
        except Exception as error:  # whatever a user's model raises fails its trial, not the study
            self.drop([lane.trial])
            return LaneFailure(lane.trial, lane.epoch + 1, in_one_line(error), trimmed_traceback(error))

    def _train_epoch(self, lane: _Lane) -> EpochResult:
        started = time.perf_counter()
        lrs = lane.schedule.epoch_lrs(lane.epoch, lane.state)

        def step(number: int, batches: list[Batch]) -> Tensor:
            set_lr(lane.optimizer, float(lrs[number]))
            return update(self._task, lane.model, lane.optimizer, batches)

        put_training_weights(lane.optimizer)
        train_loss = train_epoch(lane.model, self._data, lane.seed, lane.epoch, step)
        put_average(self._task, lane.model, lane.optimizer, self._data, lane.seed, lane.epoch)
        valid_loss, metrics = validate(self._task, lane.model, self._data, self._seed)
        lane.state = lane.schedule.update(lane.state, valid_loss)
        lane.epoch += 1
        seconds = time.perf_counter() - started
        return EpochResult(lane.trial, lane.epoch, train_loss, valid_loss, metrics, float(lrs[-1]), seconds)


def train_epoch(
    model: nn.Module,
    data: TrainingData,
    seed: int,
    epoch: int,
    step: Callable[[int, list[Batch]], Tensor],
) -> float:
    """Train a model for an epoch, and return the mean loss over its updates.

    Args:
        model: on the data's device.
        data: the task's.
        seed: the study's: with the epoch it decides the order of the batches, and what else is random.
        epoch: epochs that the model was trained before, from 0.
        step: makes one update, given its number in the epoch, from 0, and its batches; returns the loss.
    """
    total = torch.zeros((), device=data.device)
    with fixed_randomness(derived_seed(seed, OTHER_RANDOMNESS, epoch), data.device):
        model.train()
        for number, batches in zip(range(data.steps_per_epoch), data.updates(seed, epoch), strict=True):
            total += step(number, batches)
    return float(total) / data.steps_per_epoch


class Models:
    """Makes models of a task, each with tensors of its own, also where ``build_model`` shares some.

    Only a model that shares some is copied: hooks that refer to the model they were made for would go on to
    do so in a copy.

    Args:
        task: which builds them.
        device: where they go.
    """

    def __init__(self, task: Task, device: torch.device) -> None:
        self._task, self._device = task, device
        self._shared: bool | None = None  # until a second model is there to compare the first with

    def build(self, seed: int) -> nn.Module:
        """Return a model with the initial weights that a seed gives.

        Raises:
            TaskError: if it shares tensors with another, and cannot be copied.
        """
        with fixed_randomness(derived_seed(seed, INITIAL_WEIGHTS), self._device):
            model = self._task.build_model()
            if self._shared is None:
                self._shared = share_tensors(model, self._task.build_model())
        return (own_copy(self._task, model) if self._shared else model).to(self._device)


def build_model(task: Task, seed: int, device: torch.device) -> nn.Module:
    """Return a single model, as ``Models`` makes them."""
    return Models(task, device).build(seed)


def begin_alike(task: Task, seeds: tuple[int, int]) -> bool:
    """Return whether a task's models begin alike under two seeds; False where they cannot be compared."""
    one, other = (build_model(task, seed, torch.device("cpu")).state_dict() for seed in seeds)
    try:
        return all(torch.equal(value, other[name]) for name, value in one.items())
    except Exception:  # of tensors without a comparison, such as sparse or lazy ones
        return False


def share_tensors(model: nn.Module, other: nn.Module) -> bool:
    """Return whether two models have a parameter or buffer in common, or the memory of one."""
    return not _memory(model).isdisjoint(_memory(other))


def own_copy(task: Task, model: nn.Module) -> nn.Module:
    """Return a copy of a model, which can be trained without a trace in the original.

    Raises:
        TaskError: if it cannot be copied.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:  # such as torch's for a tensor that was computed, as weight_norm's are
        raise TaskError(
            f"{task.name}: build_model() returns models that share parameters or buffers, of which every "
            f"trial needs its own, but copying the model failed: {in_one_line(error)}; make all of it inside "
            "of build_model()"
        ) from error


def validate(
    task: Task, model: nn.Module, data: TrainingData, seed: int
) -> tuple[float, Mapping[str, float]]:
    """Return loss and metrics on the validation split, means over all its examples.

    Args:
        task: whose ``validation_step`` gives the figures.
        model: on its device.
        data: the task's.
        seed: the study's.

    Raises:
        TaskError: if the figures have no loss, or one is no scalar.
    """
    means = evaluate(task, model, data.validation(), data.device, seed)
    return means.pop("loss"), {f"valid_{name}": value for name, value in means.items()}


@torch.no_grad()
def evaluate(
    task: Task, model: nn.Module, batches: Iterable[tuple[Batch, int]], device: torch.device, seed: int
) -> dict[str, float]:
    """Return ``loss`` and metrics by name, means over all examples of a split.

    What is random in it is the same in every evaluation under a seed, so that losses can be compared.

    Args:
        task: whose ``validation_step`` gives the figures.
        model: on its device; it is left in evaluation mode.
        batches: of the split, prepared, each with its number of examples; at least one.
        device: where model and batches lie.
        seed: the study's.

    Raises:
        TaskError: if the figures have no loss, or one is no scalar.
    """
    model.eval()
    sums: dict[str, Tensor] = {}
    total = 0
    with fixed_randomness(derived_seed(seed, VALIDATION), device):
        for batch, examples in batches:
            for name, value in validation_figures(task, model, batch).items():
                sums[name] = sums.get(name, 0) + value.cpu().double() * examples
            total += examples
            beat()
    return {name: float(value / total) for name, value in sums.items()}


def validation_figures(task: Task, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Return what a task's ``validation_step`` gives for a batch.

    Raises:
        TaskError: if there is no loss among the figures, or one is no scalar.
    """
    with precision(task, model):
        figures = task.validation_step(model, batch)
    if not isinstance(figures, dict) or "loss" not in figures:
        raise TaskError(f"{task.name}: validation_step() must return a dict with 'loss', but got {figures!r}")
    for name, value in figures.items():
        check_scalar(task, f"{figure_name(name)} must be a scalar tensor in validation", value)
    return figures


def figure_name(name: str) -> str:
    """Return what messages call a figure of the validation."""
    return "the loss" if name == "loss" else f"the metric {name!r}"


def _memory(model: nn.Module) -> set[tuple[torch.device, int]]:
    """Return what identifies the memory of a model's parameters and buffers."""
    return {_address(tensor) for tensor in (*model.parameters(), *model.buffers())}


def _address(tensor: Tensor) -> tuple[torch.device, int]:
    try:
        address = tensor.untyped_storage().data_ptr()
    except (RuntimeError, ValueError):  # sparse tensors and those without shape have no storage
        address = 0
    return tensor.device, address or id(tensor)  # empty tensors have the address 0
