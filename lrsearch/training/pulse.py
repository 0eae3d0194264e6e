"""A sign of life of this process's training, which another thread can read: steps that have finished."""

import itertools

_steps = itertools.count(1)
_finished = 0


def beat() -> None:
    """Note that a step has finished: an update, or a batch of a validation."""
    global _finished  # one process trains one array; threads only read it
    _finished = next(_steps)


def beats() -> int:
    """Return how many steps this process has finished."""
    return _finished
