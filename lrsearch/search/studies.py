"""Asks an Optuna study for the next trial."""

from typing import NamedTuple

import optuna
from optuna.samplers import BaseSampler

from lrsearch.parameters import Point, SearchSpace
from lrsearch.search.samplers import SLOT_ATTRIBUTE
from lrsearch.search.space import suggest


class Asked(NamedTuple):
    """A trial that a study has just begun.

    Args:
        number: of the trial in its study.
        point: the whole point to train, fixed values included.
    """

    number: int
    point: Point


def ask(study: optuna.Study, sampler: BaseSampler, space: SearchSpace, slot: int) -> Asked:
    """Begin a trial whose searched parameters the sampler proposes, stored under canonical names.

    Args:
        study: Optuna's.
        sampler: made for this trial.
        space: what may be proposed.
        slot: of the budget; stored with the trial, since sequences and swarms are ordered by slots.
    """
    study.sampler = sampler
    trial = study.ask()
    trial.set_user_attr(SLOT_ATTRIBUTE, slot)
    return Asked(trial.number, suggest(trial, space))
