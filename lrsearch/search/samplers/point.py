"""Trials with prescribed values: first trials, and points that somebody put into the queue."""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from lrsearch.parameters import Scalar
from lrsearch.search.samplers.proposing import ProposingSampler


class PointSampler(BaseSampler):
    """Gives parameters their prescribed values and lets another sampler choose the rest.

    A sampler of ours chooses the rest as if it had chosen the prescribed values too: where the kind is
    prescribed, it gives the knobs of that kind.

    Args:
        base: chooses what is not prescribed.
        point: values by canonical name, a whole point or a part of one.
    """

    def __init__(self, base: BaseSampler, point: Mapping[str, Scalar]) -> None:
        self._base = base
        self._point = dict(point)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the base's distributions without the prescribed parameters."""
        space = self._base.infer_relative_search_space(study, trial)
        return {name: each for name, each in space.items() if name not in self._point}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the base's parameters beside the prescribed ones."""
        if isinstance(self._base, ProposingSampler):
            return self._base.sample_beside(self._point, study, trial, search_space)
        return self._base.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the prescribed value, or the base's."""
        if param_name in self._point:
            return self._point[param_name]
        return self._base.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Let the base prepare."""
        self._base.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Let the base finish."""
        self._base.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Let the base draw a new seed."""
        self._base.reseed_rng()
