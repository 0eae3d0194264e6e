"""Asks an Optuna study for the next trial."""

from typing import NamedTuple

import optuna

from lrsearch.parameters import Point, SearchSpace
from lrsearch.search.space import suggest


class Asked(NamedTuple):
    """A trial that a study has just begun.

    Args:
        number: of the trial in its study.
        point: the whole point to train, fixed values included.
    """

    number: int
    point: Point


def ask(study: optuna.Study, sampler: optuna.samplers.BaseSampler, space: SearchSpace) -> Asked:
    """Begin a trial whose searched parameters the sampler proposes, stored under canonical names."""
    study.sampler = sampler
    trial = study.ask()
    return Asked(trial.number, suggest(trial, space))
