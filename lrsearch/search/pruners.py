"""Who stops trials early: decided from memory, for all lanes together, so that their order cannot matter."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from lrsearch.errors import UnknownNameError

ROUNDING = 1e-9  # 47 x (6 / 47) counts as 6

Losses = Mapping[int, Mapping[int, float]]


class Pruner(Protocol):
    """Judges running trials by their validation losses."""

    def decide(self, losses: Losses, candidates: Collection[int]) -> set[int]:
        """Return the trials to stop.

        Args:
            losses: validation loss by trial and epoch (from 1), of all trials of the study, with the latest
                losses of all candidates entered.
            candidates: the running trials that may be stopped, each judged at its latest epoch.
        """
        ...


@dataclass(frozen=True)
class NoPruner:
    """Lets every trial run to its end."""

    def decide(self, losses: Losses, candidates: Collection[int]) -> set[int]:  # noqa: ARG002 # the protocol's
        """Return no trial."""
        return set()


@dataclass(frozen=True)
class RungPruner:
    """Lets only the best part of the trials pass each rung (ASHA, Li et al. 2020, arXiv 1810.05934).

    Args:
        rungs: fraction of the trials that go on, in (0, 1], by epoch.
        least_trials: trials that must have reached a rung before anybody is stopped there.
    """

    rungs: Mapping[int, float]
    least_trials: int

    def decide(self, losses: Losses, candidates: Collection[int]) -> set[int]:
        """Return the candidates that stand on a rung and are not among its best part."""
        return {trial for trial in candidates if self._fails(losses, trial)}

    def _fails(self, losses: Losses, trial: int) -> bool:
        epoch, loss = latest(losses, trial)
        if epoch not in self.rungs:
            return False
        rivals = [curve[epoch] for curve in losses.values() if epoch in curve]
        if len(rivals) < self.least_trials:
            return False
        better = sum(rival < loss for rival in rivals)
        return better >= max(1, int(len(rivals) * self.rungs[epoch] + ROUNDING))


@dataclass(frozen=True)
class MedianPruner:
    """Stops a trial whose best loss so far is worse than the median of the others at the same epoch.

    Args:
        first_epoch: no trial is judged before it.
        least_trials: other trials that must have reached an epoch before anybody is stopped there.
    """

    first_epoch: int
    least_trials: int

    def decide(self, losses: Losses, candidates: Collection[int]) -> set[int]:
        """Return the candidates that are worse than the median."""
        return {trial for trial in candidates if self._fails(losses, trial)}

    def _fails(self, losses: Losses, trial: int) -> bool:
        epoch, _loss = latest(losses, trial)
        others = [curve[epoch] for other, curve in losses.items() if other != trial and epoch in curve]
        if epoch < self.first_epoch or len(others) < self.least_trials:
            return False
        return min(losses[trial].values()) > median(others)


def latest(losses: Losses, trial: int) -> tuple[int, float]:
    """Return the last epoch of a trial and its loss there; epoch 0 if it has none."""
    curve = losses.get(trial, {})
    epoch = max(curve, default=0)
    return epoch, curve.get(epoch, math.inf)


PRUNERS = ("asha", "median", "first-epochs", "none")
REDUCTION_FACTOR = 2  # measured on the digits: 3 stopped trials that would have won, for no saving
FINISHED_PART = 8  # of first-epochs: the best eighth of the trials that came so far goes on


def create_pruner(name: str, epochs: int, trials: int, largest_warmup_fraction: float) -> Pruner:
    """Return the pruner of that name, its settings derived from the budget.

    Nothing is judged before epoch ceil(largest warm-up x epochs) + 1: a trial that still warms up looks worse
    than it is.

    Args:
        name: asha, median, first-epochs or none.
        epochs: epochs of a trial that is not stopped.
        trials: budget of the study.
        largest_warmup_fraction: of all trials of the study.

    Raises:
        UnknownNameError: if there is no such pruner.
    """
    if name not in PRUNERS:
        raise UnknownNameError("pruner", name, PRUNERS)
    first_epoch = math.ceil(largest_warmup_fraction * epochs - ROUNDING) + 1
    if name == "none" or first_epoch >= epochs:
        return NoPruner()
    if name == "asha":
        rungs = successive_rungs(first_epoch, epochs)
        return RungPruner(dict.fromkeys(rungs, 1 / REDUCTION_FACTOR), 2 * REDUCTION_FACTOR)
    if name == "median":
        return MedianPruner(first_epoch, least_trials=5)
    finished = max(1, round(trials / FINISHED_PART))
    return RungPruner({first_epoch: finished / trials}, max(2, round(trials / finished)))


def successive_rungs(first_epoch: int, epochs: int) -> list[int]:
    """Return the epochs first, first x 2, first x 4, ... that lie before the last one."""
    rungs = []
    epoch = first_epoch
    while epoch < epochs:
        rungs.append(epoch)
        epoch *= REDUCTION_FACTOR
    return rungs
