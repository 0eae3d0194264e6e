"""Independent draws: the baseline, and the beginning of others."""

from collections.abc import Sequence

import numpy as np

from lrsearch.parameters import Choice, Parameter, Point, Scalar, SearchSpace
from lrsearch.search.samplers.history import Attempt
from lrsearch.search.samplers.proposing import ProposingSampler, Turn
from lrsearch.search.space import domain_of


class RandomSampler(ProposingSampler):
    """Draws every parameter on its own, as ``optuna.samplers.RandomSampler`` does, with the same numbers.

    Args:
        space: the tree of parameters.
        seed: of the study; None draws one.
        index: the place of this sampler's one proposal in the sequence, from 0; None takes the trial's
            number.
    """

    learns = False

    def propose(self, turns: Sequence[Turn], history: Sequence[Attempt]) -> list[Point]:  # noqa: ARG002
        """Return a random point for each turn."""
        return [random_point(self._space, self._seed, turn) for turn in turns]


def random_point(space: SearchSpace, seed: int, turn: Turn) -> Point:
    """Return the searched part of a point that is random but for the prescribed values."""
    rng = np.random.RandomState(trial_seed(seed, turn.index))

    def choose(parameter: Parameter) -> Scalar:
        if parameter.name in turn.prescribed:
            return turn.prescribed[parameter.name]
        domain = domain_of(parameter)
        if not isinstance(domain, Choice):
            return domain.at(rng.random_sample()) if domain.low < domain.high else domain.at(0.0)
        if len(domain.options) == 1:
            return domain.options[0]
        return domain.options[int(rng.random_sample(len(domain.options)).argmax())]

    return space.searched_part(space.walk(choose))


def trial_seed(seed: int, index: int) -> int:
    """Return a seed of 32 bits that depends on the study's seed and the trial's index alone."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
