"""A particle swarm whose particles are computed from the study's history."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lrsearch.parameters import SearchSpace
from lrsearch.search.flat_space import FlatSpace, Vector
from lrsearch.search.samplers.flat_sampler import FlatSampler, Request
from lrsearch.search.samplers.history import Attempt, ranked
from lrsearch.search.samplers.quasi_random import sobol_vector

INERTIA = 0.7298  # Clerc & Kennedy 2002: constriction for a total attraction of 4.1
ATTRACTION = 1.49618  # to the particle's own best, and as much to the swarm's
FIRST_SPEED, LAST_SPEED = 0.3, 0.1  # highest velocity of a coordinate, in a unit cube
TRIALS_PER_PARTICLE = 5  # so that a budget of 64 gives 13 particles of 5 positions each
SMALLEST_SWARM, LARGEST_SWARM = 4, 40
EXPLORATION = 0.25  # part of all choices that is made anew, so that no option is ruled out for good


class ParticleSwarmSampler(FlatSampler):
    """Moves particles towards their own best and the swarm's best (Kennedy & Eberhart 1995).

    Trial i is a position of particle i modulo the swarm's size. Position and velocity are recovered from the
    particle's last two trials; scores of options are probabilities (Kennedy & Eberhart 1997). Every trial
    that has ended counts, pruned ones included (see ``history.Rank``). The first positions are quasi-random.

    Args:
        space: the tree of parameters; None infers a flat one from the study's own trials.
        seed: of the study; None draws one.
        index: the place of this proposal in the sequence, from 0; None takes the trial's number.
        n_trials: the budget, which sets the swarm's size and how fast its velocities shrink.
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
    def swarm_size(self) -> int:
        """The number of particles."""
        return min(max(round(self._n_trials / TRIALS_PER_PARTICLE), SMALLEST_SWARM), LARGEST_SWARM)

    def vector(self, request: Request) -> Vector:
        """Return the next position of the particle whose turn it is."""
        particle = request.index % self.swarm_size
        own = [
            each
            for each in request.history
            if each.index % self.swarm_size == particle and each.index < request.index
        ]
        best = ranked(request.history)[:1]
        if not own or not best:
            return sobol_vector(request)
        position, velocity = _motion(request, particle, own)
        velocity = INERTIA * velocity
        for goal in (ranked(own)[:1], best):
            velocity += _pull(request, position, goal)
        speed = self._highest_speed(request.index)
        return _as_probabilities(request.space, (position + velocity.clip(-speed, speed)).clip(0, 1))

    def _highest_speed(self, index: int) -> float:
        """Return the limit of each coordinate's velocity, which shrinks as the budget is used up."""
        progress = min(index / self._n_trials, 1.0)
        return float(FIRST_SPEED * (LAST_SPEED / FIRST_SPEED) ** progress)


def _motion(request: Request, particle: int, own: Sequence[Attempt]) -> tuple[Vector, Vector]:
    """Return a particle's position and velocity.

    Coordinates that a trial does not have stay as they were. The first velocity is half the way to a random
    place, as in Standard PSO 2006: at rest, the best particle would repeat its trial.
    """
    position = request.space.encode(own[0].params, sobol_vector(replace(request, index=particle)))
    velocity = (request.rng.random(len(position)) - position) / 2
    for part in request.space.scores:
        velocity[part] = 0.0  # options are explored all along
    for attempt in own[1:]:
        before, position = position, request.space.encode(attempt.params, position)
        velocity = position - before
    return position, velocity


def _pull(request: Request, position: Vector, best: Sequence[Attempt]) -> Vector:
    """Return the change of velocity towards the best trial, if there is one."""
    goals = [request.space.encode(attempt.params, filling=position) for attempt in best]
    share = ATTRACTION * request.rng.random(len(position))
    return sum((share * (goal - position) for goal in goals), np.zeros(len(position)))


def _as_probabilities(space: FlatSpace, position: Vector) -> Vector:
    for part in space.scores:
        scores = position[part]
        share = scores / scores.sum() if scores.any() else 0
        position[part] = (1 - EXPLORATION) * share + EXPLORATION / len(scores)
    return position
