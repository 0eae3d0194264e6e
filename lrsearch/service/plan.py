"""What a worker follows: a study's specification, and what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from lrsearch.parameters import Point, Scalar, SearchSpace
from lrsearch.results import TrialResult
from lrsearch.schedules import Hyperparameters
from lrsearch.search.first_trials import first_trials
from lrsearch.search.pruners import Pruner, create_pruner
from lrsearch.service.progress import EndedTrial, RunningTrial
from lrsearch.spec import StudySpec, hyperparameters_by_part, largest_warmup_fraction, search_space


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

    def running(self, number: int, searched: Mapping[str, Scalar]) -> RunningTrial:
        """Return a trial that begins, from the searched values of its point."""
        hyperparameters, parts = self._meaning(searched)
        return RunningTrial(number, hyperparameters, parts=parts)

    def ended(self, number: int, searched: Mapping[str, Scalar], result: TrialResult) -> EndedTrial:
        """Return a trial that has ended, from the searched values of its point."""
        hyperparameters, parts = self._meaning(searched)
        return EndedTrial(number, hyperparameters, result, parts)

    def _meaning(
        self, searched: Mapping[str, Scalar]
    ) -> tuple[Hyperparameters, Mapping[str, Hyperparameters]]:
        by_part = hyperparameters_by_part(self.spec, searched)
        named = {name: each for name, each in by_part.items() if name is not None}
        return next(iter(by_part.values())), named
