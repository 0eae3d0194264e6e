"""What a worker follows: a study's specification, and what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from lrsearch.parameters import Point, Scalar, SearchSpace
from lrsearch.schedules import Hyperparameters
from lrsearch.search.first_trials import first_trials
from lrsearch.search.pruners import Pruner, create_pruner
from lrsearch.spec import StudySpec, largest_warmup_fraction, search_space


@dataclass(frozen=True)
class Plan:
    """A resolved specification, its search space, its pruner, and the points that are never pruned.

    Args:
        spec: resolved.
        space: what may be tried.
        pruner: who stops trials early.
        protected: searched parts of the first trials.
    """

    spec: StudySpec
    space: SearchSpace
    pruner: Pruner
    protected: tuple[Point, ...]

    @classmethod
    def of(cls, spec: StudySpec) -> Self:
        """Return the plan of a resolved specification."""
        pruner = create_pruner(
            spec.pruner or "none", spec.epochs or 1, spec.trials, largest_warmup_fraction(spec)
        )
        return cls(spec, search_space(spec), pruner, tuple(first_trials(spec).points.values()))

    @property
    def epochs(self) -> int:
        """Length of a trial that is not stopped."""
        return self.spec.epochs or 1

    def hyperparameters(self, part: Mapping[str, Scalar]) -> Hyperparameters:
        """Return the hyperparameters of a trial, from the searched part of its point."""
        frozen = self.spec.groups.frozen if self.spec.groups else ()
        return Hyperparameters.from_point(self.space.with_fixed(part), frozen)
