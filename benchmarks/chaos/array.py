"""A trial array that trains nothing: an epoch sleeps, and its loss is a formula."""

import math
import os
import time
from collections.abc import Collection
from dataclasses import dataclass

import torch

from lrsearch.results import EpochResult
from lrsearch.schedules import Hyperparameters
from lrsearch.training.saved_lane import SavedLane

DECAY = 0.6
TRAINER = "sleeping"
WRITER = "writer"
"""The metric with the process that trained the epoch."""


def loss_after(lr: float, epoch: int) -> float:
    """Return the loss after an epoch: it falls towards the squared distance of lr from 0.1, in decades."""
    return (math.log10(lr) + 1) ** 2 + float(DECAY**epoch)


@dataclass(frozen=True)
class Lane:
    """A trial in training.

    Args:
        hyperparameters: what it trains with.
        epoch: epochs trained.
        excess: what is left to learn, a number that each epoch makes smaller: a trial that went on from
            another epoch's checkpoint, or another trial's, would have other losses.
    """

    hyperparameters: Hyperparameters
    epoch: int = 0
    excess: float = 1.0

    def after_an_epoch(self) -> "Lane":
        """Return the lane as it is after one more epoch."""
        return Lane(self.hyperparameters, self.epoch + 1, DECAY * self.excess)


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
        self._lanes: dict[int, Lane] = {}

    def start(self, trial: int, hyperparameters: Hyperparameters) -> None:
        """Put a trial into a lane."""
        self._lanes[trial] = Lane(hyperparameters)

    def save(self, trial: int) -> SavedLane:
        """Return what a trial goes on from."""
        lane = self._lanes[trial]
        excess = torch.tensor(lane.excess, dtype=torch.float64)
        return SavedLane(TRAINER, lane.epoch, None, {"excess": excess})

    def resume(self, trial: int, hyperparameters: Hyperparameters, saved: SavedLane) -> None:
        """Put a trial into a lane as it was saved."""
        self._lanes[trial] = Lane(hyperparameters, saved.epoch, float(saved.values["excess"]))

    def run_epoch(self) -> list[EpochResult]:
        """Advance all lanes."""
        time.sleep(self._epoch_s)
        self._lanes = {trial: lane.after_an_epoch() for trial, lane in self._lanes.items()}
        return [self._result(trial, lane) for trial, lane in self._lanes.items()]

    def drop(self, trials: Collection[int]) -> None:
        """Free lanes."""
        for trial in trials:
            self._lanes.pop(trial, None)

    def _result(self, trial: int, lane: Lane) -> EpochResult:
        lr = lane.hyperparameters.lr
        loss = (math.log10(lr) + 1) ** 2 + lane.excess
        return EpochResult(trial, lane.epoch, loss, loss, {WRITER: float(os.getpid())}, lr, self._epoch_s)
