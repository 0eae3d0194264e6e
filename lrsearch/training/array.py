"""What every trainer of many trials offers the search."""

from collections.abc import Collection
from typing import Protocol

from torch import nn

from lrsearch.results import EpochResult, LaneFailure
from lrsearch.schedules import Hyperparameters
from lrsearch.training.saved_lane import SavedLane


class TrialArray(Protocol):
    """Trains the trials in its lanes, an epoch at a time.

    A trial's losses depend on its hyperparameters and its seed alone: the same alone, in any array, in any
    lane, started at any time.
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

    def start(self, trial: int, hyperparameters: Hyperparameters, seed: int | None = None) -> None:
        """Put a trial into a free lane, untrained.

        Args:
            trial: its number.
            hyperparameters: what it trains with.
            seed: of its weights, batch order and all other randomness; None for the array's.
        """
        ...

    def save(self, trial: int) -> SavedLane:
        """Return a copy of all that a trial's training goes on from."""
        ...

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
            MisfitError: if it was saved by another kind of array, or its tensors have other shapes; the lane
                is free then.
        """
        ...

    def model(self, trial: int) -> nn.Module:
        """Return a trial's model as it is now, on its device."""
        ...

    def run_epoch(self) -> list[EpochResult | LaneFailure]:
        """Train every lane for one epoch and return what each learned, in the order of the trials' start."""
        ...

    def drop(self, trials: Collection[int]) -> None:
        """Free the lanes of these trials."""
        ...
