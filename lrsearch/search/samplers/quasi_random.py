"""Points that fill the space more evenly than random ones."""

import numpy as np

from lrsearch.search.flat_space import Vector
from lrsearch.search.samplers.flat_sampler import FlatSampler, Request


class QuasiRandomSampler(FlatSampler):
    """Samples the points of a scrambled Sobol sequence (Owen 1998, as in ``scipy.stats.qmc.Sobol``).

    Args:
        space: the tree of parameters; None infers a flat one from the study's own trials.
        seed: of the study, and of the scrambling; None draws one.
        index: the place in the sequence, from 0; None takes the trial's number.
    """

    learns = False

    def vector(self, request: Request) -> Vector:
        """Return the sequence's vector at the index."""
        return sobol_vector(request)


def sobol_vector(request: Request) -> Vector:
    """Return the Sobol sequence's vector at a request's index, scrambled by its seed."""
    from scipy.stats import qmc  # here, because its import takes a fifth of the start of every command

    rng = np.random.default_rng(request.seed)
    sequence = qmc.Sobol(request.space.dimension, scramble=True, seed=rng)
    if request.index > 0:  # SciPy cannot go forward by nothing
        sequence.fast_forward(request.index)
    return request.space.even(sequence.random(1)[0])
