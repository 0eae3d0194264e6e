"""Who proposes the next point: Optuna's samplers, and those for spaces of schedules that Optuna lacks."""

from lrsearch.search.samplers.catalogue import SAMPLERS, create_sampler
from lrsearch.search.samplers.coarse_to_fine import CoarseToFineSampler
from lrsearch.search.samplers.genetic import GeneticSampler
from lrsearch.search.samplers.grid import GridSampler, grid_size
from lrsearch.search.samplers.history import DIVERGED_ATTRIBUTE, SLOT_ATTRIBUTE
from lrsearch.search.samplers.particle_swarm import ParticleSwarmSampler
from lrsearch.search.samplers.point import PointSampler
from lrsearch.search.samplers.quasi_random import QuasiRandomSampler

__all__ = [
    "DIVERGED_ATTRIBUTE",
    "SAMPLERS",
    "SLOT_ATTRIBUTE",
    "CoarseToFineSampler",
    "GeneticSampler",
    "GridSampler",
    "ParticleSwarmSampler",
    "PointSampler",
    "QuasiRandomSampler",
    "create_sampler",
    "grid_size",
]
