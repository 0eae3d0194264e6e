"""What all samplers over flat coordinates have in common."""

from abc import abstractmethod
from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.search_space import intersection_search_space
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from lrsearch.parameters import Point, Scalar, SearchSpace
from lrsearch.search.flat_space import FlatSpace, Vector
from lrsearch.search.samplers.history import Attempt, attempts
from lrsearch.search.samplers.proposing import ProposingSampler, Turn
from lrsearch.search.samplers.translation import Translation, domain


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


class FlatSampler(ProposingSampler):
    """A sampler that proposes vectors of a flat space.

    Args:
        space: the tree of parameters; None infers a flat one from the study's own trials.
        seed: of the study; None draws one.
        index: the place of this sampler's one proposal in the sequence, from 0; None takes the trial's
            number.
    """

    def __init__(
        self, space: SearchSpace | None = None, *, seed: int | None = None, index: int | None = None
    ) -> None:
        super().__init__(space or SearchSpace(()), seed=seed, index=index)
        self._inferred = space is None

    @abstractmethod
    def vector(self, request: Request) -> Vector:
        """Return the vector to try next, each coordinate in [0, 1]; scores are probabilities."""

    def propose(self, turns: Sequence[Turn], history: Sequence[Attempt]) -> list[Point]:
        """Return a point for each turn; those before it count as running trials."""
        flat, points = FlatSpace(self._space), []
        seen = list(history) if self.learns else []
        for turn in turns:
            points.append(self._point(flat, turn, tuple(seen)))
            if self.learns:
                insort(seen, Attempt(turn.index, points[-1], None), key=lambda attempt: attempt.index)
        return points

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the distributions of all parameters, conditional ones included."""
        if not self._inferred:
            return super().infer_relative_search_space(study, trial)
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        return intersection_search_space(study.get_trials(deepcopy=False, states=states), include_pruned=True)

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
        seen = attempts(study, without=trial) if self.learns else []
        history = tuple(replace(each, params=translation.point(each.params)) for each in seen)
        turn = Turn(self._place(trial), translation.point(prescribed))
        params = translation.params(self._point(translation.flat, turn, history))
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

    def _point(self, flat: FlatSpace, turn: Turn, history: tuple[Attempt, ...]) -> Point:
        rng = np.random.default_rng([self._seed, turn.index])
        request = Request(flat, self._seed, turn.index, rng, history)
        return flat.decode(flat.encode(turn.prescribed, filling=self.vector(request)), rng)

    def _translation(self, search_space: Mapping[str, BaseDistribution]) -> Translation:
        if self._inferred:
            return Translation.of_distributions(search_space)
        return Translation(FlatSpace(self._space))

    def _check_objectives(self, study: Study) -> None:
        if self.learns and len(study.directions) > 1:
            raise ValueError(f"{type(self).__name__} needs a study with one objective, not several")
