"""Who proposes the next point: Optuna's samplers, and those for spaces of schedules that Optuna lacks."""

from lrsearch.search.samplers.catalogue import SAMPLERS, create_sampler, proposing_sampler
from lrsearch.search.samplers.coarse_to_fine import CoarseToFineSampler
from lrsearch.search.samplers.genetic import GeneticSampler
from lrsearch.search.samplers.grid import GridSampler, grid_size
from lrsearch.search.samplers.history import DIVERGED_ATTRIBUTE, SLOT_ATTRIBUTE, Attempt, rank_of
from lrsearch.search.samplers.particle_swarm import ParticleSwarmSampler
from lrsearch.search.samplers.point import PointSampler
from lrsearch.search.samplers.proposing import ProposingSampler, Turn
from lrsearch.search.samplers.quasi_random import QuasiRandomSampler
from lrsearch.search.samplers.random_sampler import RandomSampler
from lrsearch.search.samplers.tree_parzen import TreeParzenSampler

__all__ = [
    "DIVERGED_ATTRIBUTE",
    "SAMPLERS",
    "SLOT_ATTRIBUTE",
    "Attempt",
    "CoarseToFineSampler",
    "GeneticSampler",
    "GridSampler",
    "ParticleSwarmSampler",
    "PointSampler",
    "ProposingSampler",
    "QuasiRandomSampler",
    "RandomSampler",
    "TreeParzenSampler",
    "Turn",
    "create_sampler",
    "grid_size",
    "proposing_sampler",
    "rank_of",
]
