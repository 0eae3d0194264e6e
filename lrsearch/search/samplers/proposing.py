"""What all samplers of ours have in common: they propose whole points, for many slots at once."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from secrets import randbits
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from lrsearch.errors import SpecError, suggestion
from lrsearch.parameters import Point, Scalar, SearchSpace
from lrsearch.search.samplers.history import Attempt, attempts
from lrsearch.search.space import distributions


@dataclass(frozen=True)
class Turn:
    """A slot that needs a point.

    Args:
        index: its place in the sampler's sequence, from 0.
        prescribed: values that the point must have, by canonical name.
    """

    index: int
    prescribed: Mapping[str, Scalar] = field(default_factory=dict)


class ProposingSampler(BaseSampler):
    """A sampler that proposes whole points of a space from what a study has tried.

    Nothing is kept in the process: random numbers come from seed and index alone. So any worker, in any
    order, proposes the same.

    Args:
        space: the tree of parameters.
        seed: of the study; None draws one.
        index: the place of this sampler's one proposal in the sequence, from 0; None takes the trial's
            number.
    """

    learns = True
    """Whether proposals depend on the trials before; if not, studies with several objectives are welcome."""

    def __init__(self, space: SearchSpace, *, seed: int | None = None, index: int | None = None) -> None:
        self._space = space
        self._seed = randbits(32) if seed is None else seed
        self._index = index

    @abstractmethod
    def propose(self, turns: Sequence[Turn], history: Sequence[Attempt]) -> list[Point]:
        """Return the searched part of a point for each turn, each proposed with those before it in mind.

        Args:
            turns: in the order of their indices.
            history: the trials that have begun, in the order of their indices, with parameters that lie in
                the space. A sampler that does not learn looks at none.
        """

    def infer_relative_search_space(
        self,
        study: Study,  # noqa: ARG002 # Optuna's signature
        trial: FrozenTrial,  # noqa: ARG002 # Optuna's signature
    ) -> dict[str, BaseDistribution]:
        """Return the distributions of all parameters, conditional ones included."""
        return distributions(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the parameters of the next point: those of the chosen options only."""
        return self.sample_beside({}, study, trial, search_space)

    def sample_beside(
        self,
        prescribed: Mapping[str, Scalar],
        study: Study,
        trial: FrozenTrial,
        search_space: Mapping[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Return the parameters of the next point that has the prescribed values.

        Args:
            prescribed: values by name; the sampler chooses the rest.
            study: the study that asks.
            trial: the trial that is being sampled.
            search_space: distributions by name; parameters outside it are left out.
        """
        history = attempts(study, without=trial) if self.learns else []
        [point] = self.propose([Turn(self._place(trial), prescribed)], history)
        return {name: value for name, value in point.items() if name in search_space}

    def sample_independent(
        self,
        study: Study,  # noqa: ARG002 # Optuna's signature
        trial: FrozenTrial,  # noqa: ARG002 # Optuna's signature
        param_name: str,
        param_distribution: BaseDistribution,  # noqa: ARG002 # Optuna's signature
    ) -> Any:
        """Refuse a parameter: all that exist were proposed.

        Raises:
            SpecError: always.
        """
        known = [parameter.name for parameter in self._space.searched]
        raise SpecError(f"{param_name} is not in the sampler's space.{suggestion(param_name, known)}")

    def _place(self, trial: FrozenTrial) -> int:
        return trial.number if self._index is None else self._index
