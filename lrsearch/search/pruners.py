"""Who stops trials early: decided from memory, for all lanes together, so that their order cannot matter."""

import math
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
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
            losses: validation loss by trial and epoch (from 1, rising), of all trials of the study, with the
                latest losses of all candidates entered.
            candidates: the running trials that may be stopped, each judged at its latest epoch.
        """
        ...


@dataclass(frozen=True)
class Standing:
    """Where a trial stands among those that have reached its latest epoch.

    Args:
        epoch: its latest, from 1.
        rank: number of trials that were better there.
        rivals: losses of all trials there, its own among them, in rising order.
    """

    epoch: int
    rank: int
    rivals: Sequence[float]


def standings(losses: Losses, trials: Collection[int]) -> dict[int, Standing]:
    """Return where trials stand, in one pass over all losses; trials without a loss are left out."""
    reached = {trial: max(losses[trial]) for trial in trials if losses.get(trial)}
    rivals: dict[int, list[float]] = {epoch: [] for epoch in reached.values()}
    for curve in losses.values():
        for epoch, loss in curve.items():
            if epoch in rivals:
                rivals[epoch].append(loss)
    for there in rivals.values():
        there.sort()
    return {
        trial: Standing(epoch, bisect_left(rivals[epoch], losses[trial][epoch]), rivals[epoch])
        for trial, epoch in reached.items()
    }


def best_so_far(losses: Losses) -> dict[int, dict[int, float]]:
    """Return for every trial and epoch the lowest loss up to it; a loss that diverged stays infinite."""
    lowest = {}
    for trial, curve in losses.items():
        lowest[trial] = dict(zip(curve, accumulate(curve.values(), min), strict=True))
        last = max(curve, default=0)
        if curve.get(last) == math.inf:
            lowest[trial][last] = math.inf
    return lowest


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
        field = standings(losses, candidates)
        return {trial for trial, standing in field.items() if self._fails(standing)}

    def _fails(self, standing: Standing) -> bool:
        reached = len(standing.rivals)
        if standing.epoch not in self.rungs or reached < self.least_trials:
            return False
        return standing.rank >= max(1, int(reached * self.rungs[standing.epoch] + ROUNDING))


@dataclass(frozen=True)
class PercentilePruner:
    """Lets a trial go on at an epoch only if it is among the best part of all trials; the part shrinks.

    After a fraction x of its epochs this part is ``best_part`` (1 - x) of all trials that have begun, rounded
    up. Trials are compared by their best loss so far, as one whose learning rate has just risen again looks
    worse than it is. Those stopped before count as worse than any that has come so far.

    Args:
        epochs: of a trial that is not stopped.
        first_epoch: no trial is judged before it.
        best_part: in (0, 1].
        least_trials: trials that must have reached an epoch before anybody is stopped there.
    """

    epochs: int
    first_epoch: int
    best_part: float
    least_trials: int

    def decide(self, losses: Losses, candidates: Collection[int]) -> set[int]:
        """Return the candidates that are not among the best part at their epochs."""
        begun = sum(map(bool, losses.values()))
        field = standings(best_so_far(losses), candidates)
        return {trial for trial, standing in field.items() if self._fails(standing, begun)}

    def _fails(self, standing: Standing, begun: int) -> bool:
        judged = self.first_epoch <= standing.epoch < self.epochs
        if not judged or len(standing.rivals) < self.least_trials:
            return False
        part = self.best_part * (1 - standing.epoch / self.epochs)
        return standing.rank >= math.ceil(part * begun - ROUNDING)


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
        field = standings(losses, candidates)
        return {trial for trial, standing in field.items() if self._fails(losses[trial], standing)}

    def _fails(self, curve: Mapping[int, float], standing: Standing) -> bool:
        if standing.epoch < self.first_epoch or len(standing.rivals) - 1 < self.least_trials:
            return False
        others = [*standing.rivals[: standing.rank], *standing.rivals[standing.rank + 1 :]]
        return min(curve.values()) > median(others)


@dataclass(frozen=True)
class LeadersGoOn:
    """Stops whom another pruner stops, but nobody who is already better than all complete trials.

    Args:
        pruner: the other one.
        epochs: of a trial that is not stopped.
    """

    pruner: Pruner
    epochs: int

    def decide(self, losses: Losses, candidates: Collection[int]) -> set[int]:
        """Return those whom the other one stops, without those whose latest loss is the lowest so far."""
        ended = [curve[self.epochs] for curve in losses.values() if self.epochs in curve]
        to_beat = min(ended, default=-math.inf)
        stopped = self.pruner.decide(losses, candidates)
        return {trial for trial in stopped if losses[trial][max(losses[trial])] >= to_beat}


PRUNERS = ("percentile", "asha", "median", "first-epochs", "none")
BEST_PART = 0.4  # of percentile: a third of all epochs is spent (python -m benchmarks.pruning)
REDUCTION_FACTOR = 2  # measured on the digits: 3 stopped trials that would have won, for no saving
LEAST_TRIALS = 4  # before anybody is stopped
FINISHED_PART = 8  # of first-epochs: the best eighth of the trials that came so far goes on


def create_pruner(name: str, epochs: int, trials: int, largest_warmup_fraction: float) -> Pruner:
    """Return the pruner of that name, its settings derived from the budget.

    Whatever its rule, nobody is stopped whose latest loss is already below those of all complete trials.
    Nothing is judged before epoch ceil(largest warm-up x epochs) + 1: a trial that still warms up looks worse
    than it is. Percentile begins half-way through the longest warm-up: its first cut is so mild that waiting
    longer costs epochs and saves no winner (``python -m benchmarks.pruning``).

    Args:
        name: one of ``PRUNERS``.
        epochs: epochs of a trial that is not stopped.
        trials: budget of the study.
        largest_warmup_fraction: of all trials of the study.

    Raises:
        UnknownNameError: if there is no such pruner.
    """
    if name not in PRUNERS:
        raise UnknownNameError("pruner", name, PRUNERS)
    warmup_epochs = largest_warmup_fraction * epochs - ROUNDING
    early = name == "percentile"
    first_epoch = max(1, math.ceil(warmup_epochs / 2)) if early else math.ceil(warmup_epochs) + 1
    if name == "none" or first_epoch >= epochs:
        return NoPruner()
    return LeadersGoOn(_rule(name, epochs, trials, first_epoch), epochs)


def _rule(name: str, epochs: int, trials: int, first_epoch: int) -> Pruner:
    if name == "percentile":
        return PercentilePruner(epochs, first_epoch, BEST_PART, LEAST_TRIALS)
    if name == "asha":
        rungs = successive_rungs(first_epoch, epochs)
        return RungPruner(dict.fromkeys(rungs, 1 / REDUCTION_FACTOR), LEAST_TRIALS)
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
