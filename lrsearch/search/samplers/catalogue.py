"""The samplers by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from optuna.samplers import BaseSampler

from lrsearch.errors import SpecError, UnknownNameError
from lrsearch.parameters import Scalar, SearchSpace
from lrsearch.search.samplers.coarse_to_fine import CoarseToFineSampler
from lrsearch.search.samplers.genetic import GeneticSampler
from lrsearch.search.samplers.grid import GridSampler, grid_size
from lrsearch.search.samplers.particle_swarm import ParticleSwarmSampler
from lrsearch.search.samplers.point import PointSampler
from lrsearch.search.samplers.proposing import ProposingSampler
from lrsearch.search.samplers.quasi_random import QuasiRandomSampler
from lrsearch.search.samplers.random_sampler import RandomSampler
from lrsearch.search.samplers.tree_parzen import TreeParzenSampler


@dataclass(frozen=True)
class Order:
    """What a sampler is made for.

    Args:
        space: what the study searches.
        seed: of the study.
        n_trials: the study's budget.
        index: the one slot that the sampler is for, from 0; None where each turn names its own.
    """

    space: SearchSpace
    seed: int
    n_trials: int
    index: int | None


def _grid(order: Order) -> ProposingSampler:
    size = grid_size(order.space)
    if order.n_trials > size:
        raise SpecError(
            f"the grid has {size} points, but trials = {order.n_trials}; set trials = {size} or less, "
            "or give more values (points = n)"
        )
    return GridSampler(order.space, seed=order.seed, index=order.index)


_CREATE: Mapping[str, Callable[[Order], ProposingSampler]] = {
    "tpe": lambda order: TreeParzenSampler(order.space, seed=order.seed, index=order.index),
    "random": lambda order: RandomSampler(order.space, seed=order.seed, index=order.index),
    "quasi-random": lambda order: QuasiRandomSampler(order.space, seed=order.seed, index=order.index),
    "grid": _grid,
    "coarse-to-fine": lambda order: CoarseToFineSampler(order.space, seed=order.seed, index=order.index),
    "genetic": lambda order: GeneticSampler(
        order.space, seed=order.seed, index=order.index, n_trials=order.n_trials
    ),
    "particle-swarm": lambda order: ParticleSwarmSampler(
        order.space, seed=order.seed, index=order.index, n_trials=order.n_trials
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
    sampler = proposing_sampler(name, space, seed=seed, n_trials=n_trials, index=index)
    if point is None:
        return sampler
    space.check_part(point)
    return PointSampler(sampler, space.searched_part(point))


def proposing_sampler(
    name: str, space: SearchSpace, *, seed: int, n_trials: int, index: int | None = None
) -> ProposingSampler:
    """Return the sampler of that name, which proposes points for many slots together.

    Args:
        name: one of ``SAMPLERS``.
        space: what the study searches.
        seed: of the study, at least 0.
        n_trials: the study's budget.
        index: the one slot that the sampler is for, from 0; None where each turn names its own.

    Raises:
        UnknownNameError: if there is no sampler of that name.
        SpecError: if the space does not suit the sampler.
    """
    if name not in _CREATE:
        raise UnknownNameError("sampler", name, SAMPLERS)
    return _CREATE[name](Order(space, seed, n_trials, index))
