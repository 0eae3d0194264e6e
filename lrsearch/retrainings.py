"""What is trained once more after a search, as frozen values: for a confirmation, or for an audit."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Point = Mapping[str, Any]
"""All values of a point by canonical name, as ``Hyperparameters.to_point`` gives them; JSON-able."""


def same_point(point: Point, other: Point) -> bool:
    """Return whether two points are one, but for the rounding of their numbers."""
    return point.keys() == other.keys() and all(
        math.isclose(value, other[name], rel_tol=1e-9)
        if isinstance(value, float) and isinstance(other[name], float)
        else value == other[name]
        for name, value in point.items()
    )


@dataclass(frozen=True)
class Run:
    """A training outside of the search that is wanted.

    Args:
        point: what to train with.
        seed: of its initial weights, batch order and all other randomness.
        epochs: its length, at least 1.
        test: whether to read the test split at its end.
        optimizer: class of the optimizer, where it is not the study's; else None.
    """

    point: Point
    seed: int
    epochs: int
    test: bool = False
    optimizer: str | None = None


@dataclass(frozen=True)
class Retraining:
    """A point that was trained to its end outside of the search, under a seed.

    Args:
        point: what it was trained with.
        seed: of its initial weights, batch order and all other randomness.
        epochs: length of the run.
        valid_losses: on the validation split, by epoch; fewer than ``epochs`` where it diverged or failed.
        metrics: further validation figures after the last epoch, such as ``valid_accuracy``.
        test: figures on the test split after the last epoch: ``loss`` and the task's metrics; empty where the
            task has no test split, it was not to be read, or the run did not reach its end.
        diverged: the loss left all bounds.
        reason: why it failed, in one line; None if it did not.
    """

    point: Point
    seed: int
    epochs: int
    valid_losses: tuple[float, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    test: Mapping[str, float] = field(default_factory=dict)
    diverged: bool = False
    reason: str | None = None

    @property
    def value(self) -> float:
        """Validation loss after the last epoch; ``inf`` where it diverged or failed."""
        ended = not self.diverged and self.reason is None and len(self.valid_losses) == self.epochs
        return self.valid_losses[-1] if ended else math.inf


@dataclass(frozen=True)
class Candidate:
    """A configuration that a confirmation compares with others.

    Args:
        name: how it is called: ``trial 12``, or what a baseline is.
        point: its hyperparameters.
        trial: its number in the study; None for a baseline.
        search_value: validation loss that the search found for it; None for a baseline.
        optimizer: class of a rival's optimizer, which is not the study's; None for all others.
        recipe: of a first trial, what it is called: a well-known recipe that no sampler proposed; else None.
    """

    name: str
    point: Point
    trial: int | None = None
    search_value: float | None = None
    optimizer: str | None = None
    recipe: str | None = None

    @property
    def title(self) -> str:
        """Its name, and of a first trial the recipe's."""
        return self.name if self.recipe is None else f"{self.name} (a first trial: {self.recipe})"

    @property
    def is_rival(self) -> bool:
        """Whether it has another optimizer than the study, and so is compared and never the winner."""
        return self.optimizer is not None

    @property
    def is_baseline(self) -> bool:
        """Whether it is a well-known configuration of the study's own optimizer."""
        return self.trial is None and not self.is_rival

    def run(self, seed: int, epochs: int) -> Run:
        """Return its training under a fresh seed, with one reading of the test split."""
        return Run(self.point, seed, epochs, test=True, optimizer=self.optimizer)


@dataclass(frozen=True)
class Confirmation:
    """The best trials of a study, baselines and rivals, trained on fresh seeds.

    Args:
        candidates: the best trials, best first, then the baselines, then the rivals.
        seeds: fresh ones; the first half of them selects the winner, the others report.
        epochs: length of every run.
        runs: of each candidate by name, in the order of the seeds.
        notes: what a reader should know: how a baseline was tuned, which one was left out and why.
        finished_at: UTC in ISO 8601.
        same_weights: whether all seeds began with the same initial weights.
    """

    candidates: tuple[Candidate, ...]
    seeds: tuple[int, ...]
    epochs: int
    runs: Mapping[str, tuple[Retraining, ...]]
    notes: tuple[str, ...]
    finished_at: str
    same_weights: bool = False

    @property
    def selecting(self) -> int:
        """How many seeds, counted from the first, select the winner."""
        return len(self.seeds) // 2


@dataclass(frozen=True)
class Audit:
    """Stopped trials of a study, trained to their end under the seed of the study.

    Args:
        stopped: numbers of all trials that the pruner had stopped.
        runs: of the sampled ones, by number.
        finished_at: UTC in ISO 8601.
    """

    stopped: tuple[int, ...]
    runs: Mapping[int, Retraining]
    finished_at: str
