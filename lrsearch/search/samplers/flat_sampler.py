"""What all samplers over flat coordinates have in common."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from secrets import randbits
from typing import Any
from zlib import crc32

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.search_space import intersection_search_space
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from lrsearch.parameters import Scalar, SearchSpace
from lrsearch.search.flat_space import FlatSpace, Vector
from lrsearch.search.samplers.history import Attempt, attempts
from lrsearch.search.samplers.translation import Translation, domain
from lrsearch.search.space import distributions


@dataclass(frozen=True)
class Request:
    """Everything that decides one vector.

    Args:
        space: the flat space to sample in.
        seed: of the study.
        index: the vector's place in the sequence, from 0.
        rng: random numbers that depend on seed and index alone.
        history: the other trials in the order of their indices, with parameters that lie in the space;
            empty if the sampler does not look at it.
    """

    space: FlatSpace
    seed: int
    index: int
    rng: np.random.Generator
    history: tuple[Attempt, ...] = ()


class FlatSampler(BaseSampler):
    """A sampler that proposes vectors of a flat space.

    Nothing is kept in the process: what a vector depends on is read from the study each time, and random
    numbers come from seed and index alone. So any worker, in any order, proposes the same.

    Args:
        space: the tree of parameters; None infers a flat one from the study's own trials.
        seed: of the study; None draws one.
        index: the place of this proposal in the sequence, from 0; None takes the trial's number.
    """

    learns = True
    """Whether proposals depend on the trials before; if not, studies with several objectives are welcome."""

    def __init__(
        self, space: SearchSpace | None = None, *, seed: int | None = None, index: int | None = None
    ) -> None:
        self._space = space
        self._seed = randbits(32) if seed is None else seed
        self._index = index

    @abstractmethod
    def vector(self, request: Request) -> Vector:
        """Return the vector to try next, each coordinate in [0, 1]; scores are probabilities."""

    def infer_relative_search_space(
        self,
        study: Study,
        trial: FrozenTrial,  # noqa: ARG002 # Optuna's signature
    ) -> dict[str, BaseDistribution]:
        """Return the distributions of all parameters, conditional ones included."""
        if self._space is not None:
            return distributions(self._space)
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        return intersection_search_space(study.get_trials(deepcopy=False, states=states), include_pruned=True)

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
            prescribed: values by name; the vector decides the rest.
            study: the study that asks.
            trial: the trial that is being sampled.
            search_space: distributions by name; parameters outside it are left out.
        """
        self._check_objectives(study)
        if not search_space:
            return {}
        translation = self._translation(search_space)
        request = self._request(study, trial, translation)
        vector = translation.flat.encode(translation.point(prescribed), filling=self.vector(request))
        params = translation.params(translation.flat.decode(vector, request.rng))
        return {name: value for name, value in params.items() if name in search_space}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a random value for a parameter that the space does not know."""
        self._check_objectives(study)
        translation = Translation.of_distributions({param_name: param_distribution})
        key = crc32(param_name.encode())  # Python's own hash of a text differs between processes
        position = np.random.default_rng([self._seed, self._place(trial), key]).random()
        return translation.params({param_name: domain(param_distribution).at(position)})[param_name]

    def _translation(self, search_space: Mapping[str, BaseDistribution]) -> Translation:
        if self._space is not None:
            return Translation(FlatSpace(self._space))
        return Translation.of_distributions(search_space)

    def _request(self, study: Study, trial: FrozenTrial, translation: Translation) -> Request:
        index = self._place(trial)
        history: tuple[Attempt, ...] = ()
        if self.learns:
            seen = attempts(study, without=trial)
            history = tuple(replace(each, params=translation.point(each.params)) for each in seen)
        rng = np.random.default_rng([self._seed, index])
        return Request(translation.flat, self._seed, index, rng, history)

    def _place(self, trial: FrozenTrial) -> int:
        return trial.number if self._index is None else self._index

    def _check_objectives(self, study: Study) -> None:
        if self.learns and len(study.directions) > 1:
            raise ValueError(f"{type(self).__name__} needs a study with one objective, not several")
