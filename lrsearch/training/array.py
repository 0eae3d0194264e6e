"""What every trainer of many trials offers the search."""

from collections.abc import Collection
from typing import Protocol

from lrsearch.results import EpochResult, LaneFailure
from lrsearch.schedules import Hyperparameters


class TrialArray(Protocol):
    """Trains the trials in its lanes, an epoch at a time.

    A trial's losses depend on its hyperparameters and the study's seed alone: the same alone, in any array,
    in any lane, started at any time.
    """

    @property
    def device(self) -> str:
        """Name of the device that trains, such as ``cuda:0``."""
        ...

    @property
    def untrained_loss(self) -> float:
        """Validation loss of the model before any update."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer updates in an epoch."""
        ...

    def start(self, trial: int, hyperparameters: Hyperparameters) -> None:
        """Put a trial into a free lane, untrained."""
        ...

    def run_epoch(self) -> list[EpochResult | LaneFailure]:
        """Train every lane for one epoch and return what each learned, in the order of the trials' start."""
        ...

    def drop(self, trials: Collection[int]) -> None:
        """Free the lanes of these trials."""
        ...
