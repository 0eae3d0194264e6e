"""A trainer without training: losses are a function of the hyperparameters and the epoch."""

import math

from lrsearch.results import EpochResult, LaneFailure
from lrsearch.schedules import Hyperparameters
from lrsearch.training.saved_lane import SavedLane


def bowl(hyperparameters: Hyperparameters, epoch: int) -> float:
    """Fall towards the squared distance of lr from 0.1, in decades."""
    return (math.log10(hyperparameters.lr) + 1) ** 2 + 0.6**epoch


class FormulaArray:
    """Follows the protocol of a trial array and counts what it is asked to do.

    Args:
        loss: validation loss by hyperparameters and epoch; what it raises fails the lane.
        after_epoch: called with this array after every epoch, or None.
    """

    device = "cpu"
    steps_per_epoch = 10
    untrained_loss = 100.0

    def __init__(self, loss=bowl, after_epoch=None):
        self.loss, self.after_epoch = loss, after_epoch
        self.lanes: dict[int, list] = {}
        self.started: list[tuple[int, Hyperparameters]] = []
        self.epochs = 0

    def start(self, trial, hyperparameters):
        """Put a trial into a lane."""
        self.started.append((trial, hyperparameters))
        self.lanes[trial] = [hyperparameters, 0]

    def save(self, trial):
        """Return a lane as it is."""
        return SavedLane("formula", self.lanes[trial][1], None, {})

    def resume(self, trial, hyperparameters, saved):
        """Put a trial into a lane as it was."""
        self.start(trial, hyperparameters)
        self.lanes[trial][1] = saved.epoch

    def run_epoch(self):
        """Advance all lanes."""
        self.epochs += 1
        results = [self._advance(trial) for trial in list(self.lanes)]
        if self.after_epoch:
            self.after_epoch(self)
        return results

    def drop(self, trials):
        """Free lanes."""
        for trial in trials:
            self.lanes.pop(trial, None)

    def _advance(self, trial):
        lane = self.lanes[trial]
        lane[1] += 1
        try:
            loss = self.loss(lane[0], lane[1])
        except RuntimeError as error:
            self.drop([trial])
            return LaneFailure(trial, lane[1], f"RuntimeError: {error}")
        return EpochResult(trial, lane[1], loss, loss, {"valid_accuracy": 0.5}, lane[0].lr, 0.01)
