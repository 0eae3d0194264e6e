"""The samplers by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from optuna.samplers import BaseSampler

from lrsearch.errors import SpecError, UnknownNameError
from lrsearch.parameters import Scalar, SearchSpace
from lrsearch.search.samplers.coarse_to_fine import CoarseToFineSampler
from lrsearch.search.samplers.genetic import GeneticSampler
from lrsearch.search.samplers.grid import GridSampler, grid_size
from lrsearch.search.samplers.optuna_samplers import random_sampler, tpe_sampler
from lrsearch.search.samplers.particle_swarm import ParticleSwarmSampler
from lrsearch.search.samplers.point import PointSampler
from lrsearch.search.samplers.quasi_random import QuasiRandomSampler


@dataclass(frozen=True)
class Turn:
    """One request for a point.

    Args:
        space: what the study searches.
        seed: of the study.
        index: the slot that the point is for, from 0.
        n_trials: the study's budget.
    """

    space: SearchSpace
    seed: int
    index: int
    n_trials: int


def _grid(turn: Turn) -> BaseSampler:
    size = grid_size(turn.space)
    if turn.n_trials > size:
        raise SpecError(
            f"the grid has {size} points, but trials = {turn.n_trials}; set trials = {size} or less, "
            "or give more values (points = n)"
        )
    return GridSampler(turn.space, seed=turn.seed, index=turn.index)


_CREATE: Mapping[str, Callable[[Turn], BaseSampler]] = {
    "tpe": lambda turn: tpe_sampler(turn.seed, turn.index),
    "random": lambda turn: random_sampler(turn.seed, turn.index),
    "quasi-random": lambda turn: QuasiRandomSampler(turn.space, seed=turn.seed, index=turn.index),
    "grid": _grid,
    "coarse-to-fine": lambda turn: CoarseToFineSampler(turn.space, seed=turn.seed, index=turn.index),
    "genetic": lambda turn: GeneticSampler(
        turn.space, seed=turn.seed, index=turn.index, n_trials=turn.n_trials
    ),
    "particle-swarm": lambda turn: ParticleSwarmSampler(
        turn.space, seed=turn.seed, index=turn.index, n_trials=turn.n_trials
    ),
}

SAMPLERS = tuple(_CREATE)


def create_sampler(
    name: str,
    space: SearchSpace,
    *,
    seed: int,
    index: int,
    n_trials: int,
    point: Mapping[str, Scalar] | None = None,
) -> BaseSampler:
    """Return the sampler of that name for one trial.

    A new one is made for every trial: what it knows it reads from the study, so all workers know the same.

    Args:
        name: one of ``SAMPLERS``.
        space: what the study searches.
        seed: of the study, at least 0.
        index: the slot that the trial takes, from 0.
        n_trials: the study's budget.
        point: values that the trial must have, by canonical name; the sampler chooses the rest.

    Raises:
        UnknownNameError: if there is no sampler of that name.
        SpecError: if the space does not suit the sampler, or the point does not lie in the space.
    """
    if name not in _CREATE:
        raise UnknownNameError("sampler", name, SAMPLERS)
    sampler = _CREATE[name](Turn(space, seed, index, n_trials))
    if point is None:
        return sampler
    space.check_part(point)
    return PointSampler(sampler, space.searched_part(point))
