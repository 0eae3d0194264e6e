"""A trial array that trains nothing: an epoch sleeps, and its loss is a formula."""

import math
import os
import time
from collections.abc import Collection

from lrsearch.results import EpochResult
from lrsearch.schedules import Hyperparameters

WRITER = "writer"
"""The metric with the process that trained the epoch."""


def loss_after(lr: float, epoch: int) -> float:
    """Return the loss after an epoch: it falls towards the squared distance of lr from 0.1, in decades."""
    return (math.log10(lr) + 1) ** 2 + float(0.6**epoch)


class SleepingArray:
    """Follows the protocol of a trial array.

    Args:
        epoch_s: seconds that an epoch of all lanes takes, at least 0.
    """

    device = "cpu"
    steps_per_epoch = 10
    untrained_loss = 100.0

    def __init__(self, epoch_s: float) -> None:
        self._epoch_s = epoch_s
        self._lanes: dict[int, tuple[Hyperparameters, int]] = {}

    def start(self, trial: int, hyperparameters: Hyperparameters) -> None:
        """Put a trial into a lane."""
        self._lanes[trial] = hyperparameters, 0

    def run_epoch(self) -> list[EpochResult]:
        """Advance all lanes."""
        time.sleep(self._epoch_s)
        self._lanes = {trial: (point, epoch + 1) for trial, (point, epoch) in self._lanes.items()}
        return [self._result(trial, point.lr, epoch) for trial, (point, epoch) in self._lanes.items()]

    def drop(self, trials: Collection[int]) -> None:
        """Free lanes."""
        for trial in trials:
            self._lanes.pop(trial, None)

    def _result(self, trial: int, lr: float, epoch: int) -> EpochResult:
        loss = loss_after(lr, epoch)
        return EpochResult(trial, epoch, loss, loss, {WRITER: float(os.getpid())}, lr, self._epoch_s)
