"""One training in plain PyTorch that notes the learning rates its optimizer has before every update."""

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from lrsearch.code import user_traceback
from lrsearch.errors import DivergenceError, LrsearchError, TaskError
from lrsearch.results import EpochResult
from lrsearch.schedules import Schedule
from lrsearch.tasks.task import Batch, Task
from lrsearch.training.averaging import put_average, put_training_weights
from lrsearch.training.build import build
from lrsearch.training.data import TrainingData
from lrsearch.training.devices import threads_for
from lrsearch.training.eager import build_model, train_epoch, validate
from lrsearch.training.scheduler import ScheduleLR
from lrsearch.training.update import update
from lrsearch.trajectory import Loop, ModelParameter, Trajectory, proving_updates


class LoggedRun:
    """Trains one point with ``torch.optim`` and a scheduler, with the results of ``EagerArray``.

    Args:
        task: what is learned.
        data: the task's data on the training device.
        optimizer: class in ``torch.optim``.
        schedule: with the hyperparameters, and the run that they are for.
        seed: of initial weights, batch order and all other randomness.
        trial: number that the results carry.

    Raises:
        SpecError: if a group's pattern matches no parameter.
    """

    def __init__(
        self,
        task: Task,
        data: TrainingData,
        optimizer: str,
        schedule: Schedule,
        seed: int,
        trial: int = 0,
    ) -> None:
        self._task, self._data, self._seed, self._trial = task, data, seed, trial
        self._log = _Log(build_model(task, seed, data.device), optimizer, schedule)
        self._valid_losses: list[float] = []

    @property
    def model(self) -> nn.Module:
        """The model, as far as it is trained."""
        return self._log.model

    @property
    def schedule(self) -> Schedule:
        """What drives the learning rates."""
        return self._log.scheduler.schedule

    @property
    def lrs(self) -> NDArray[np.float64]:
        """The learning rates before every update so far, ``[updates, groups]``."""
        return np.array(self._log.lrs)

    def epochs(self) -> Iterator[EpochResult]:
        """Train, and yield what each epoch brought.

        Raises:
            DivergenceError: after the epoch whose loss left all bounds.
            TaskError: if the task's code raises.
        """
        untrained = build_model(self._task, self._seed, self._data.device)
        untrained_loss, _metrics = validate(self._task, untrained, self._data, self._seed)
        for epoch in range(self.schedule.epochs):
            try:
                with threads_for(self.model, self._data.device):
                    result = self._train_epoch(epoch)
            except LrsearchError:
                raise
            except Exception as error:  # whatever a user's model raises
                raise TaskError(
                    f"{self._task.name} failed in epoch {epoch + 1}:\n{user_traceback(error)}"
                ) from error
            yield result
            if result.diverged(untrained_loss):
                raise DivergenceError(
                    f"the training diverged in epoch {epoch + 1} of {self.schedule.epochs}: its validation "
                    f"loss is {result.valid_loss:.4g}, and was {untrained_loss:.4g} before any update. "
                    "Another seed or another trial may come to its end"
                )

    def trajectory(self) -> Trajectory:
        """Return the learning rates of the run that prove its schedule."""
        return self._log.trajectory(self._valid_losses, loop_of(self._task))

    def _train_epoch(self, epoch: int) -> EpochResult:
        started = time.perf_counter()
        put_training_weights(self._log.optimizer)
        train_loss = train_epoch(self.model, self._data, self._seed, epoch, self._step)
        put_average(self._task, self.model, self._log.optimizer, self._data, self._seed, epoch)
        valid_loss, metrics = validate(self._task, self.model, self._data, self._seed)
        self._log.scheduler.report(valid_loss)
        self._valid_losses.append(valid_loss)
        seconds = time.perf_counter() - started
        lr = self._last_lr()
        return EpochResult(self._trial, epoch + 1, train_loss, valid_loss, metrics, lr, seconds)

    def _step(self, _number: int, batches: list[Batch]) -> Tensor:
        self._log.note()
        loss = update(self._task, self.model, self._log.optimizer, batches)
        self._log.scheduler.step()
        return loss

    def _last_lr(self) -> float:
        """Return the schedule's learning rate in the last update, whatever the groups make of it."""
        groups = zip(self._log.optimizer.param_groups, self._log.lrs[-1], strict=True)
        scales = ((group.get("lr_scale", 1.0), lr) for group, lr in groups)
        return next((lr / scale for scale, lr in scales if scale), 0.0)


def scheduled(
    model: nn.Module, optimizer: str, schedule: Schedule, valid_losses: Sequence[float], loop: Loop
) -> Trajectory:
    """Return the trajectory of a run that nobody trained: its optimizer and scheduler alone are driven.

    Args:
        model: whose parameters go into the groups; it is not changed, but for frozen parameters.
        optimizer: class in ``torch.optim``.
        schedule: with the hyperparameters, and the run that they are for.
        valid_losses: what a schedule with feedback is told, by epoch; else they may be left out.
        loop: what else the training loop shall do.
    """
    log = _Log(model, optimizer, schedule)
    for epoch in range(schedule.epochs):
        for _step in range(schedule.steps_per_epoch):
            log.note()
            log.optimizer.step(lambda: 0.0)
            log.scheduler.step()
        if valid_losses:
            log.scheduler.report(valid_losses[epoch])
    return log.trajectory(valid_losses, loop)


def one_parameter() -> nn.Module:
    """Return the smallest model that every optimizer takes: a matrix, as Muon wants it."""
    return torch.nn.Linear(1, 1, bias=False)


def loop_of(task: Task) -> Loop:
    """Return what a task asks of a training loop."""
    return Loop(task.clip_norm, task.accumulate, task.amp)


class _Log:
    """An optimizer with its scheduler, and the learning rates that it had."""

    def __init__(self, model: nn.Module, optimizer: str, schedule: Schedule) -> None:
        self.model = model
        self._trainable = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
        self.optimizer: Optimizer
        self.scheduler: ScheduleLR
        self.optimizer, self.scheduler = build(model, optimizer, schedule)
        self.lrs: list[list[float]] = []

    def note(self) -> None:
        """Read the learning rate of every group from the optimizer."""
        self.lrs.append([float(group["lr"]) for group in self.optimizer.param_groups])

    def trajectory(self, valid_losses: Sequence[float], loop: Loop) -> Trajectory:
        """Return those of the learning rates that prove the schedule."""
        schedule, lrs = self.scheduler.schedule, np.array(self.lrs)
        updates = proving_updates(lrs, schedule.steps_per_epoch, schedule.warmup_steps)
        return Trajectory(
            epochs=schedule.epochs,
            steps_per_epoch=schedule.steps_per_epoch,
            lrs={number: tuple(self.lrs[number]) for number in updates},
            parameters=tuple(self._parameters()),
            valid_losses=tuple(valid_losses),
            loop=loop,
        )

    def _parameters(self) -> Iterator[ModelParameter]:
        groups = {
            id(parameter): number
            for number, group in enumerate(self.optimizer.param_groups)
            for parameter in group["params"]
        }
        for name, parameter in self.model.named_parameters():
            yield ModelParameter(name, parameter.ndim, self._trainable[name], groups.get(id(parameter)))
