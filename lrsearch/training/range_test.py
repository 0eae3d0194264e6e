"""Runs the learning-rate range test: the rate rises with every update, for several seeds side by side."""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lrsearch.errors import SpecError, TaskError
from lrsearch.lr_range import Growth, LaneCurve, LossWatch, RangeTest
from lrsearch.schedules import Hyperparameters
from lrsearch.tasks.randomness import fixed_randomness
from lrsearch.tasks.task import Batch, Task
from lrsearch.training.data import OTHER_RANDOMNESS, TrainingData, derived_seed
from lrsearch.training.devices import threads_for
from lrsearch.training.eager import build_model
from lrsearch.training.groups import parameter_groups, set_lr
from lrsearch.training.optimizers import build_optimizer
from lrsearch.training.update import update


@dataclass(frozen=True)
class RangeTestStep:
    """How far a range test has come.

    Args:
        step: updates whose loss is known, from 1.
        steps: updates of the whole test.
        lr: learning rate of the latest of them.
        losses: loss after it by lane, in the order of the seeds; None where the lane has diverged.
    """

    step: int
    steps: int
    lr: float
    losses: tuple[float | None, ...]


@dataclass
class _Lane:
    """One seed in training."""

    seed: int
    model: nn.Module
    optimizer: Optimizer
    batches: Generator[list[Batch]]
    watch: LossWatch = field(default_factory=LossWatch)
    untrained_loss: float = math.nan
    losses: list[float] = field(default_factory=list)
    diverged: bool = False

    def add(self, loss: float) -> None:
        """Take the loss that the update before the last has led to; the very first is the untrained one."""
        first = math.isnan(self.untrained_loss)
        self.diverged = self.watch.diverges(loss)
        if first:
            self.untrained_loss = loss
        elif math.isfinite(loss):
            self.losses.append(loss)

    def curve(self) -> LaneCurve:
        """Return what the lane measured."""
        return LaneCurve(self.seed, self.untrained_loss, tuple(self.losses), self.diverged)


def run_range_test(
    task: Task,
    data: TrainingData,
    growth: Growth,
    optimizer: str,
    hyperparameters: Hyperparameters,
    seeds: Sequence[int],
) -> Iterator[RangeTestStep | RangeTest]:
    """Train fresh models while the learning rate grows, and yield each step; the last item is the test.

    A loss is paired with the learning rate of the update before it, the first that it can show. An epoch
    that ends is followed by the next one's order. A lane ends when it diverges (see ``LossWatch``), the test
    when all have. Models of the caller's and the global random numbers are left as they are, also while the
    caller holds an item.

    Args:
        task: what is learned.
        data: the task's data on the training device.
        growth: of the learning rate.
        optimizer: its class in ``torch.optim``.
        hyperparameters: the optimizer's knobs, the groups' factors on the learning rate, and what is frozen;
            their own learning rate and schedule play no part.
        seeds: one lane each: of initial weights, batch order and all other randomness.

    Raises:
        SpecError: if there are no seeds, two are equal, or a group's pattern matches no parameter.
        TaskError: if the untrained model's loss is not finite, or not what can be trained with.
    """
    _check_seeds(seeds)
    lanes = [_start(task, data, growth, optimizer, hyperparameters, seed) for seed in seeds]
    try:
        yield from _steps(task, data, growth, lanes)
    finally:
        for lane in lanes:
            lane.batches.close()
    settings = _settings(data, optimizer, hyperparameters, lanes[0].optimizer)
    yield RangeTest(task.name, growth, tuple(lane.curve() for lane in lanes), settings)


def _steps(task: Task, data: TrainingData, growth: Growth, lanes: list[_Lane]) -> Iterator[RangeTestStep]:
    """Make every update of every lane, and one more, which only shows what the last has led to."""
    lrs = [*growth.lrs().tolist(), growth.high]
    for step, lr in enumerate(lrs):
        running = [lane for lane in lanes if not lane.diverged]
        with threads_for(lanes[0].model, data.device):
            losses = [_update(task, data, lane, step, lr) for lane in running]
        for lane, loss in zip(running, losses, strict=True):
            lane.add(float(loss))
        if step == 0:
            _check_untrained(task, lanes)
            continue
        shown = tuple(None if lane.diverged else lane.losses[-1] for lane in lanes)
        yield RangeTestStep(step, growth.steps, lrs[step - 1], shown)
        if all(lane.diverged for lane in lanes):
            return


def _start(
    task: Task, data: TrainingData, growth: Growth, name: str, hyperparameters: Hyperparameters, seed: int
) -> _Lane:
    model = build_model(task, seed, data.device).train()
    groups = parameter_groups(model, hyperparameters)
    optimizer = build_optimizer(name, groups, growth.low, hyperparameters.optimizer)
    return _Lane(seed, model, optimizer, _endless(data, seed))


def _endless(data: TrainingData, seed: int) -> Generator[list[Batch]]:
    for epoch in count():
        yield from data.updates(seed, epoch)


def _update(task: Task, data: TrainingData, lane: _Lane, step: int, lr: float) -> Tensor:
    """Update a lane once, and return the loss before; NaN if the model no longer works without exceptions."""
    set_lr(lane.optimizer, lr)
    try:
        with fixed_randomness(derived_seed(lane.seed, OTHER_RANDOMNESS, step), data.device):
            return update(task, lane.model, lane.optimizer, next(lane.batches))
    except Exception:  # whatever a user's model raises when its weights are NaN is divergence
        if step == 0 or _finite(lane.model):
            raise
        return torch.tensor(math.nan)


def _finite(model: nn.Module) -> bool:
    return all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds or len(set(seeds)) < len(seeds):
        raise SpecError(f"a range test needs at least one seed, all different, but got {list(seeds)}")


def _check_untrained(task: Task, lanes: list[_Lane]) -> None:
    for lane in lanes:
        if lane.diverged:
            raise TaskError(
                f"{task.name}: the loss must be finite before the first update, but with seed {lane.seed} it "
                f"is {lane.untrained_loss}; check inputs, targets, loss and initial weights"
            )


def _settings(
    data: TrainingData, optimizer: str, hyperparameters: Hyperparameters, built: Optimizer
) -> dict[str, Any]:
    """Return what decided the losses beside task, growth and seeds, as plain JSON values."""
    return {
        "optimizer": optimizer,
        "optimizer_knobs": dict(hyperparameters.optimizer),
        "lr_scales": dict(hyperparameters.lr_scales),
        "layer_decay": hyperparameters.layer_decay,
        "frozen": list(hyperparameters.frozen),
        "groups": [
            {"name": group.get("name", "*"), "lr_scale": group.get("lr_scale", 1.0)}
            for group in built.param_groups
        ],
        "steps_per_epoch": data.steps_per_epoch,
        "device": str(data.device),
    }
