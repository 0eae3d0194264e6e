"""Feedback: the state of a schedule that depends on the validation losses, and the plateau's rule."""

import math
from dataclasses import dataclass
from typing import NamedTuple


class PlateauState(NamedTuple):
    """What ReduceLROnPlateau remembers between two epochs.

    Args:
        lr: learning rate of the next epoch, warm-up not applied.
        best: best metric so far.
        bad_epochs: epochs in a row without improvement.
        cooldown_left: epochs during which bad ones are not counted.
    """

    lr: float
    best: float
    bad_epochs: int = 0
    cooldown_left: int = 0


Losses = tuple[float, ...]  # what a user's own schedule with feedback remembers: those of the epochs so far
State = PlateauState | Losses


@dataclass(frozen=True)
class Plateau:
    """The rule of ``torch.optim.lr_scheduler.ReduceLROnPlateau``, relative threshold.

    Args:
        factor: what the learning rate is multiplied with at a cut, in (0, 1).
        patience: epochs without improvement that are tolerated; the next one cuts.
        threshold: relative improvement that counts as one, at least 0.
        cooldown: epochs after a cut in which bad ones are not counted.
        min_lr: learning rate below which no cut goes.
        mode: ``"min"`` for a metric to minimise, ``"max"`` for one to maximise.
    """

    factor: float
    patience: int
    threshold: float = 1e-4
    cooldown: int = 0
    min_lr: float = 0.0
    mode: str = "min"

    SMALLEST_CUT = 1e-8  # PyTorch's eps: a smaller change of the learning rate is not made

    def start(self, lr: float) -> PlateauState:
        """Return the state before the first epoch."""
        return PlateauState(lr, math.inf if self.mode == "min" else -math.inf)

    def update(self, state: PlateauState, metric: float) -> PlateauState:
        """Return the state after an epoch that ended with this metric."""
        best, bad_epochs = state.best, state.bad_epochs + 1
        if self._improves(metric, best):
            best, bad_epochs = metric, 0
        cooldown_left = state.cooldown_left
        if cooldown_left > 0:
            cooldown_left, bad_epochs = cooldown_left - 1, 0
        if bad_epochs > self.patience:
            return PlateauState(self._cut(state.lr), best, 0, self.cooldown)
        return PlateauState(state.lr, best, bad_epochs, cooldown_left)

    def _improves(self, metric: float, best: float) -> bool:
        if self.mode == "min":
            return metric < best * (1 - self.threshold)
        return metric > best * (1 + self.threshold)

    def _cut(self, lr: float) -> float:
        lower = max(lr * self.factor, self.min_lr)
        return lower if lr - lower > self.SMALLEST_CUT else lr
