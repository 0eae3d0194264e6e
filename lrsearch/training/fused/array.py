"""The fused trainer: all lanes as one model, whose parameters are stacked."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from lrsearch.optimizers import optimizer_named
from lrsearch.results import EpochResult, LaneFailure, in_one_line, trimmed_traceback
from lrsearch.schedules import Hyperparameters, Schedule
from lrsearch.schedules.formulas import Floats
from lrsearch.tasks.randomness import fixed_randomness
from lrsearch.tasks.task import Task
from lrsearch.training.data import OTHER_RANDOMNESS, VALIDATION, ResidentData, TrainingData, derived_seed
from lrsearch.training.devices import is_out_of_memory, threads_for
from lrsearch.training.eager import Models, validate
from lrsearch.training.fused.device_epoch import DeviceBatches, DeviceSteps
from lrsearch.training.fused.fitting import Fit, tensors_of, trained_scales
from lrsearch.training.fused.gradients import Gradient, clipped, mean
from lrsearch.training.fused.lane import Lane, neighbours, split
from lrsearch.training.fused.network import Batches, Shared
from lrsearch.training.fused.optimizers import LaneSettings, Number, stacked_optimizer
from lrsearch.training.fused.stack import Stack
from lrsearch.training.pulse import beat
from lrsearch.training.saved_lane import MisfitError, SavedLane, copied, fill

_log = logging.getLogger(__name__)

_TRAINER = "fused"


class FusedArray:
    """Trains all lanes at once, with the results of ``EagerArray``.

    Args:
        task: what is learned.
        data: the task's data on the training device.
        fit: how the task's model is trained in lanes.
        epochs: length of a trial's run.
        optimizer: name of the optimizer, the same in all lanes.
        seed: of initial weights, batch order and all other randomness, unless a trial has its own.
        lanes: trials at once, at most.
    """

    def __init__(
        self,
        task: Task,
        data: TrainingData,
        fit: Fit,
        *,
        epochs: int,
        optimizer: str,
        seed: int,
        lanes: int,
    ) -> None:
        self._task, self._data, self._fit = task, data, fit
        self._epochs, self._seed, self._capacity = epochs, seed, lanes
        self._optimizer_kind = optimizer_named(optimizer)
        self._models = Models(task, data.device)
        self._initial: dict[int, tuple[dict[str, Tensor], dict[str, Tensor]]] = {}  # of the latest seed
        self._model = self._models.build(seed)  # never trained: names, shapes, and what is frozen
        self._untrained_loss = validate(task, self._model, data, seed)[0]
        parameters, buffers = tensors_of(self._model, fit.trained)
        self._parameters, self._buffers = Stack(parameters, lanes), Stack(buffers, lanes)
        self._optimizer = stacked_optimizer(optimizer, list(parameters.values()), lanes)
        self._lanes: list[Lane] = []
        self._at_once = lanes  # until memory runs out
        self._device_steps = DeviceSteps() if data.device.type == "cuda" else None

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
        """Validation loss of the model before any update."""
        return self._untrained_loss

    def start(self, trial: int, hyperparameters: Hyperparameters, seed: int | None = None) -> None:
        """Put a trial into a free lane, untrained.

        Args:
            trial: its number.
            hyperparameters: what it trains with.
            seed: of its weights, batch order and all other randomness; None for the array's.
        """
        if len(self._lanes) >= self._capacity:
            raise ValueError(f"all {self._capacity} lanes are taken, so trial {trial} cannot start")
        seed = self._seed if seed is None else seed
        scales = trained_scales(self._model, hyperparameters)
        schedule = Schedule(hyperparameters, self._epochs, self.steps_per_epoch)
        arguments = self._optimizer_kind.arguments(hyperparameters.optimizer)
        parameters, buffers = self._initial_tensors(seed)
        row = len(self._lanes)
        self._parameters.fill(row, parameters)
        self._buffers.fill(row, buffers)
        self._optimizer.stack.fill(row, {})
        self._lanes.append(Lane(trial, schedule, schedule.start(), seed, arguments, tuple(scales.values())))

    def save(self, trial: int) -> SavedLane:
        """Return a copy of all that a trial's training goes on from."""
        row, lane = self._place(trial)
        names = ("parameters", "buffers", "optimizer")
        values = {name: copied(stack.row(row)) for name, stack in zip(names, self._stacks, strict=True)}
        return SavedLane(_TRAINER, lane.epoch, lane.state, values)

    def resume(
        self, trial: int, hyperparameters: Hyperparameters, saved: SavedLane, seed: int | None = None
    ) -> None:
        """Put a trial into a free lane, as it was when it was saved.

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
        row, lane = self._place(trial)
        try:
            fill(self._parameters.row(row), saved.values["parameters"])
            fill(self._buffers.row(row), saved.values["buffers"])
            self._optimizer.stack.recall(row, saved.values["optimizer"], self._data.device)
        except (ValueError, KeyError, TypeError) as error:
            self.drop([trial])
            raise MisfitError(in_one_line(error)) from error
        lane.epoch, lane.state = saved.epoch, saved.schedule

    def drop(self, trials: Collection[int]) -> None:
        """Free the lanes of these trials."""
        self._arrange([lane for lane in self._lanes if lane.trial not in trials])

    def run_epoch(self) -> list[EpochResult | LaneFailure]:
        """Train every lane for one epoch; lanes that fail are freed.

        A schedule of the user's own that raises fails its lane alone; a model that does fails all of them.
        """
        order = [lane.trial for lane in self._lanes]
        lrs, ended = self._learning_rates()
        self.drop(ended)
        if self._lanes:
            try:
                with threads_for(self._model, self._data.device):
                    ended |= self._train_within_memory(lrs)
            except Exception as error:  # whatever a user's model raises fails its trials, not the study
                ended |= {lane.trial: _failure(lane, error) for lane in self._lanes}
                self.drop(order)
        return [ended[trial] for trial in order]

    def _learning_rates(self) -> tuple[dict[int, Floats], dict[int, EpochResult | LaneFailure]]:
        """Return the next epoch's learning rates by trial, and the trials whose schedule has none for it."""
        lrs: dict[int, Floats] = {}
        failed: dict[int, EpochResult | LaneFailure] = {}
        for lane in self._lanes:
            try:
                lrs[lane.trial] = lane.schedule.epoch_lrs(lane.epoch, lane.state)
            except Exception as error:  # whatever a user's schedule raises
                failed[lane.trial] = _failure(lane, error)
        return lrs, failed

    @torch.no_grad()
    def model(self, trial: int) -> nn.Module:
        """Return a trial's model as it is now, on its device."""
        [seed] = [lane.seed for lane in self._lanes if lane.trial == trial]
        model, state = self._models.build(seed), self.state_dict(trial)
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            tensor.copy_(state[name])
        return model

    def state_dict(self, trial: int) -> dict[str, Tensor]:
        """Return copies of the parameters and buffers of a trial's model by name."""
        row = [lane.trial for lane in self._lanes].index(trial)
        stacked = {**self._parameters.rows(slice(row, row + 1)), **self._buffers.rows(slice(row, row + 1))}
        return {name: tensor[0].clone() for name, tensor in stacked.items()}

    def _train_within_memory(self, lrs: Mapping[int, Floats]) -> dict[int, EpochResult]:
        """Train an epoch; when memory runs out, anew from its beginning with half of the lanes at a time.

        What else is raised may have passed, like a file that could not be read: it is tried once more.
        """
        self._arrange(sorted(self._lanes, key=lambda lane: lane.place))
        device = self._device_of_copies()
        before = [stack.copy(len(self._lanes), device) for stack in self._stacks]
        tried_again = False
        while True:
            try:
                return self._train_epoch(lrs)
            except Exception as error:
                if is_out_of_memory(error):
                    if not self._halve():
                        raise
                    self._restore(before)
                    continue
                if tried_again:
                    raise
                tried_again = True
                _log.info("an epoch is trained once more after %s", in_one_line(error))
            self._restore(before)

    def _restore(self, copies: Sequence[Mapping[str, Tensor]]) -> None:
        for stack, values in zip(self._stacks, copies, strict=True):
            stack.restore(values)

    def _halve(self) -> bool:
        """Train half as many lanes at once from now on; return whether there was more than one."""
        at_once = min(self._at_once, len(self._lanes))
        if at_once == 1:
            return False
        self._at_once = (at_once + 1) // 2
        torch.cuda.empty_cache()
        _log.warning("memory ran out: %d trials are trained at once from now on", self._at_once)
        return True

    def _device_of_copies(self) -> torch.device:
        """Return where an epoch's beginning is kept: on a GPU as long as it has plenty of memory."""
        size = sum(stack.size_bytes() for stack in self._stacks)
        if self._data.device.type == "cuda" and torch.cuda.mem_get_info(self._data.device)[0] > 4 * size:
            return self._data.device
        return torch.device("cpu")

    @property
    def _stacks(self) -> tuple[Stack, ...]:
        return self._parameters, self._buffers, self._optimizer.stack

    def _train_epoch(self, lrs: Mapping[int, Floats]) -> dict[int, EpochResult]:
        begun = time.perf_counter()
        settings = [lane.settings(lrs[lane.trial]) for lane in self._lanes]
        sums = torch.cat([self._update(rows, settings[rows]) for rows in self._parts()])
        figures = self._validate()
        train_losses = (sums / self.steps_per_epoch).tolist()
        seconds = (time.perf_counter() - begun) / len(self._lanes)
        for lane, loss in zip(self._lanes, figures["loss"], strict=True):
            lane.state = lane.schedule.update(lane.state, loss)
            lane.epoch += 1
        return {
            lane.trial: _result(lane, train_losses[row], _row(figures, row), lrs[lane.trial], seconds)
            for row, lane in enumerate(self._lanes)
        }

    def _parts(self) -> list[slice]:
        """Return the lanes that train together: as many as fit; with random steps, those at one epoch."""
        every = slice(0, len(self._lanes))
        runs = [run for run, _lane in neighbours(self._lanes)] if self._fit.random else [every]
        return [part for run in runs for part in split(run, self._at_once)]

    def _update(self, rows: slice, settings: Sequence[LaneSettings]) -> Tensor:
        """Train lanes for an epoch, and return the sums of their losses ``[lanes]``."""
        first = self._lanes[rows.start]
        parameters, buffers = self._parameters.rows(rows), self._buffers.rows(rows)
        optimizer = self._optimizer.begin_epoch(settings, rows, list(parameters.values()))
        total = torch.zeros(len(settings), device=self._data.device)

        def step(number: Number, batches: Sequence[Batches]) -> None:
            losses, gradient = self._gradient(parameters, buffers, batches)
            with torch.no_grad():
                optimizer(number, gradient)
                total.add_(losses)
            beat()

        seed = derived_seed(first.seed, OTHER_RANDOMNESS, first.epoch)
        with fixed_randomness(seed, self._data.device), self._without_gradients():
            self._make_steps(step, rows)
        return total

    def _make_steps(self, step: Callable[[Number, Sequence[Batches]], None], rows: slice) -> None:
        if self._device_steps is None or self._fit.random or not isinstance(self._data, ResidentData):
            for number, batches in enumerate(self._batches(self._lanes[rows])):
                step(number, batches)
            return
        gathered = DeviceBatches(self._data, [lane.place for lane in self._lanes[rows]])
        count = torch.zeros(1, dtype=torch.int64, device=self._data.device)

        def next_step() -> None:
            step(count, gathered.at(count))
            count.add_(1)

        self._device_steps.run(next_step, self.steps_per_epoch)

    def _without_gradients(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._fit.network.differentiates else torch.inference_mode()

    def _batches(self, lanes: Sequence[Lane]) -> Iterator[list[list[Shared]]]:
        """Yield for each update its batches, and of each what every run of lanes gets."""
        runs = neighbours(lanes)
        streams = [self._data.updates(lane.seed, lane.epoch) for _run, lane in runs]
        for of_runs in zip(*streams, strict=True):
            yield [
                [Shared(run, batch) for (run, _lane), batch in zip(runs, accumulated, strict=True)]
                for accumulated in zip(*of_runs, strict=True)
            ]

    def _gradient(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], batches: Sequence[Batches]
    ) -> tuple[Tensor, Gradient]:
        """Return the losses of an update, and what they ask of the parameters."""
        computed = [self._fit.network.gradient(parameters, buffers, each) for each in batches]
        losses, gradients = zip(*computed, strict=True)
        with torch.no_grad():
            gradient = mean(gradients)
            if self._task.clip_norm is not None:
                gradient = clipped(gradient, self._task.clip_norm)
            return losses[0] if len(losses) == 1 else torch.stack(losses).mean(0), gradient

    def _validate(self) -> dict[str, list[float]]:
        """Return loss and metrics of every lane on the validation split, means over all its examples."""
        parts = [self._figures(rows) for rows in split(slice(0, len(self._lanes)), self._at_once)]
        return {name: [value for part in parts for value in part[name]] for name in parts[0]}

    def _figures(self, rows: slice) -> dict[str, list[float]]:
        parameters, buffers = self._parameters.rows(rows), self._buffers.rows(rows)
        sums: dict[str, Tensor] = {}
        total = 0
        with fixed_randomness(derived_seed(self._seed, VALIDATION), self._data.device):
            for batch, examples in self._data.validation():
                for name, values in self._fit.network.figures(parameters, buffers, batch).items():
                    sums[name] = sums.get(name, 0) + values.double() * examples
                total += examples
                beat()
        return {name: (values / total).tolist() for name, values in sums.items()}

    def _arrange(self, lanes: list[Lane]) -> None:
        """Make the rows of the stacks follow a list of some of the lanes."""
        rows = {lane.trial: row for row, lane in enumerate(self._lanes)}
        order = [rows[lane.trial] for lane in lanes]
        for stack in self._stacks:
            stack.keep(order)
        self._lanes = lanes

    def _place(self, trial: int) -> tuple[int, Lane]:
        """Return a trial's row in the stacks, and its lane."""
        return next((row, lane) for row, lane in enumerate(self._lanes) if lane.trial == trial)

    def _initial_tensors(self, seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the tensors of an untrained model; those of the latest seed are kept."""
        if seed not in self._initial:
            model: nn.Module = self._models.build(seed)
            self._initial = {seed: tensors_of(model, self._fit.trained)}
        return self._initial[seed]


def _row(figures: Mapping[str, list[float]], row: int) -> dict[str, float]:
    return {name: values[row] for name, values in figures.items()}


def _result(
    lane: Lane, train_loss: float, figures: dict[str, float], lrs: Floats, seconds: float
) -> EpochResult:
    """Return what a lane has learned in an epoch, from the figures of its validation."""
    metrics = {f"valid_{name}": value for name, value in figures.items() if name != "loss"}
    return EpochResult(lane.trial, lane.epoch, train_loss, figures["loss"], metrics, float(lrs[-1]), seconds)


def _failure(lane: Lane, error: Exception) -> LaneFailure:
    return LaneFailure(lane.trial, lane.epoch + 1, in_one_line(error), trimmed_traceback(error))
