"""A genetic algorithm whose population is computed from the study's history."""

import numpy as np

from lrsearch.parameters import SearchSpace
from lrsearch.search.flat_space import FlatSpace, Vector, one_hot
from lrsearch.search.samplers.flat_sampler import FlatSampler, Request
from lrsearch.search.samplers.history import ranked
from lrsearch.search.samplers.quasi_random import sobol_vector

TRIALS_PER_MEMBER = 6  # so that a budget of 64 gives 11 members, and 5 further generations
SMALLEST_POPULATION, LARGEST_POPULATION = 4, 40
TOURNAMENT_SIZE = 3
OVERSHOOT = 0.25  # how far a child may lie beyond its parents, as a part of their distance
FIRST_DEVIATION, LAST_DEVIATION = 0.2, 0.02  # of mutations, in a unit cube
EXPLORATION = 0.25  # part of all choices that is made anew, so that no option is ruled out for good


class GeneticSampler(FlatSampler):
    """Evolves flat coordinates: tournaments, blend crossover (Eshelman & Schaffer 1993), Gaussian mutation.

    The population is the best of all trials that have ended, pruned ones included (see ``history.Rank``), so
    a child replaces the worst member as soon as it is better: no generation waits for its last trial. The
    first points are quasi-random.

    Args:
        space: the tree of parameters; None infers a flat one from the study's own trials.
        seed: of the study; None draws one.
        index: the place of this proposal in the sequence, from 0; None takes the trial's number.
        n_trials: the budget, which sets the population's size and how fast mutations shrink.
    """

    def __init__(
        self,
        space: SearchSpace | None = None,
        *,
        seed: int | None = None,
        index: int | None = None,
        n_trials: int = 64,
    ) -> None:
        super().__init__(space, seed=seed, index=index)
        self._n_trials = n_trials

    @property
    def population_size(self) -> int:
        """The number of trials that may become parents, and of quasi-random points to begin with."""
        return min(max(round(self._n_trials / TRIALS_PER_MEMBER), SMALLEST_POPULATION), LARGEST_POPULATION)

    def vector(self, request: Request) -> Vector:
        """Return a child of two members of the population."""
        population = ranked(request.history)[: self.population_size]
        if request.index < self.population_size or len(population) < 2:
            return sobol_vector(request)
        mother, father = (
            request.space.encode(population[_tournament(len(population), request.rng)].params, np.nan)
            for _parent in range(2)
        )
        child = _crossover(request.space, mother, father, request.rng)
        return _mutate(request.space, child, self._deviation(request.index), request.rng)

    def _deviation(self, index: int) -> float:
        """Return the standard deviation of mutations, which shrinks as the budget is used up."""
        progress = min(index / self._n_trials, 1.0)
        return float(FIRST_DEVIATION * (LAST_DEVIATION / FIRST_DEVIATION) ** progress)


def _tournament(size: int, rng: np.random.Generator) -> int:
    """Return the place of the best of a few members drawn at random from a ranked population."""
    return int(rng.integers(size, size=TOURNAMENT_SIZE).min())


def _crossover(space: FlatSpace, mother: Vector, father: Vector, rng: np.random.Generator) -> Vector:
    """Blend the parents; what only one has comes from that one, what neither has is drawn, options whole."""
    mother_filled = np.where(np.isnan(mother), father, mother)
    father_filled = np.where(np.isnan(father), mother, father)
    share = rng.uniform(-OVERSHOOT, 1 + OVERSHOOT, len(mother))
    child = mother_filled + share * (father_filled - mother_filled)
    for part in space.scores:
        child[part] = (mother_filled, father_filled)[rng.integers(2)][part]
    return np.where(np.isnan(child), rng.random(len(child)), child)


def _mutate(space: FlatSpace, child: Vector, deviation: float, rng: np.random.Generator) -> Vector:
    mutated = _reflected(child + rng.normal(0, deviation, len(child)))
    for part in space.scores:
        size = part.stop - part.start
        anew = rng.random() < EXPLORATION
        mutated[part] = one_hot(int(rng.integers(size)), size) if anew else child[part]
    return mutated


def _reflected(vector: Vector) -> Vector:
    """Fold coordinates back into [0, 1] at its ends."""
    folded: Vector = 1 - np.abs(1 - np.abs(vector) % 2)
    return folded
