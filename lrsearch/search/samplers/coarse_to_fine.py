"""The way of experience: try the magnitudes of the learning rate, then halve the interval around the best."""

import math
from itertools import pairwise

from lrsearch.errors import SpecError
from lrsearch.parameters import Range, SearchSpace
from lrsearch.search.flat_space import Vector
from lrsearch.search.samplers.flat_sampler import FlatSampler, Request
from lrsearch.search.samplers.history import Attempt, ranked

SCANNED = "lr"
ROUNDING = 1e-9


class CoarseToFineSampler(FlatSampler):
    """Scans the learning rate from coarse to fine and draws all other parameters at random.

    First the powers of ten within the bounds, upwards. Then each proposal halves an interval beside the best
    learning rate so far, the wider of the two, the upper one if both are equal: so it goes up where training
    is slow, and down where it diverged.

    Args:
        space: the tree of parameters; None infers a flat one from the study's own trials, and samples at
            random as long as they have no ``lr``.
        seed: of the study; None draws one.
        index: the place of this proposal in the sequence, from 0; None takes the trial's number.

    Raises:
        SpecError: if the space does not search a range of learning rates.
    """

    def __init__(
        self, space: SearchSpace | None = None, *, seed: int | None = None, index: int | None = None
    ) -> None:
        if space is not None and _scanned(space) is None:
            raise SpecError(
                "coarse-to-fine scans a range of learning rates: set lr = { low = ..., high = ... }"
            )
        super().__init__(space, seed=seed, index=index)

    def vector(self, request: Request) -> Vector:
        """Return a random vector with the next learning rate of the scan."""
        vector = request.rng.random(request.space.dimension)
        parameter = _scanned(request.space.space)
        if parameter is not None:
            vector[request.space.coordinate(SCANNED)] = _next_position(parameter, request)
        return vector


def _scanned(space: SearchSpace) -> Range | None:
    domains = [parameter.domain for parameter in space.searched if parameter.name == SCANNED]
    return next((domain for domain in domains if isinstance(domain, Range)), None)


def magnitudes(lr: Range) -> list[float]:
    """Return the powers of ten within a range; three evenly spaced values if there are fewer than two."""
    if lr.low > 0:
        exponents = range(
            math.ceil(math.log10(lr.low) - ROUNDING), math.floor(math.log10(lr.high) + ROUNDING) + 1
        )
        powers = [10.0**exponent for exponent in exponents]
        if len(powers) > 1:
            return [min(max(power, lr.low), lr.high) for power in powers]
    return [float(lr.at(position)) for position in (0.0, 0.5, 1.0)]


def _next_position(lr: Range, request: Request) -> float:
    scan = magnitudes(lr)
    if request.index < len(scan):
        return lr.position(scan[request.index])
    tried = [attempt for attempt in request.history if SCANNED in attempt.params]
    return _refined(lr, tried)


def _refined(lr: Range, tried: list[Attempt]) -> float:
    """Return the middle of the wider gap beside the best position, running trials counted as neighbours."""
    positions = {0.0, 1.0} | {_position(lr, attempt) for attempt in tried}
    order = ranked(tried)
    if not order:
        return _middle_of_widest(sorted(positions))
    best = _position(lr, order[0])
    if order[0].rank is not None and order[0].rank.diverged:
        ceiling = min(_position(lr, attempt) for attempt in order)
        return (max((p for p in positions if p < ceiling), default=ceiling) + ceiling) / 2
    lower = max((p for p in positions if p < best), default=best)
    upper = min((p for p in positions if p > best), default=best)
    return (best + upper) / 2 if upper - best >= best - lower - ROUNDING else (best + lower) / 2


def _middle_of_widest(positions: list[float]) -> float:
    gaps = [(upper - lower, lower) for lower, upper in pairwise(positions)]
    width, lower = max(gaps)
    return lower + width / 2


def _position(lr: Range, attempt: Attempt) -> float:
    return lr.position(attempt.params[SCANNED])
