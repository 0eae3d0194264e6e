"""What a study has tried so far, as the samplers see it: one order of all trials, good to bad."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lrsearch.results import Outcome, TrialResult

SLOT_ATTRIBUTE = "slot"
DIVERGED_ATTRIBUTE = "diverged"
SEEN_STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.FAIL)


class Rank(NamedTuple):
    """How good a finished trial is; the smaller the better.

    Args:
        group: 0 complete, 1 pruned, 2 diverged.
        epochs: epochs that a pruned or diverged trial lasted, negative: longer is better.
        loss: its value, or the last one that it reported; negative if the study maximizes.
    """

    group: int
    epochs: int
    loss: float

    @property
    def diverged(self) -> bool:
        """Whether the trial's loss left all bounds."""
        return self.group == _DIVERGED


_COMPLETE, _PRUNED, _DIVERGED = range(3)


@dataclass(frozen=True)
class Attempt:
    """A trial that has begun.

    Args:
        index: its place in the sampler's sequence: its slot, or its number where slots are not used.
        params: searched parameters by name.
        rank: None while it runs, and if it failed: then nothing is known but that the place was tried.
    """

    index: int
    params: dict[str, Any]
    rank: Rank | None


def attempts(study: Study, without: FrozenTrial) -> list[Attempt]:
    """Return the trials of a study in the order of their indices.

    Args:
        study: with one objective.
        without: the trial that is being sampled; it is left out.
    """
    trials = study.get_trials(deepcopy=False, states=SEEN_STATES)
    sign = -1 if study.direction is StudyDirection.MAXIMIZE else 1
    seen = [
        Attempt(trial.user_attrs.get(SLOT_ATTRIBUTE, trial.number), trial.params, rank(trial, sign))
        for trial in trials
        if trial.number != without.number
    ]
    return sorted(seen, key=lambda attempt: attempt.index)


def rank(trial: FrozenTrial, sign: int = 1) -> Rank | None:
    """Return the rank of a trial: complete ones by value, pruned ones by epochs and value, diverged last.

    Args:
        trial: of a study with one objective.
        sign: 1 if small values are good, -1 if large ones are.
    """
    if trial.state not in {TrialState.COMPLETE, TrialState.PRUNED}:
        return None
    epochs = max(trial.intermediate_values, default=0)
    complete = trial.state is TrialState.COMPLETE
    value = trial.value if complete else trial.intermediate_values.get(epochs)
    if trial.user_attrs.get(DIVERGED_ATTRIBUTE, False) or not math.isfinite(value or 0.0):
        return Rank(_DIVERGED, -epochs, math.inf)
    loss = math.inf if value is None else sign * value
    return Rank(_COMPLETE, 0, loss) if complete else Rank(_PRUNED, -epochs, loss)


def rank_of(result: TrialResult) -> Rank | None:
    """Return the rank of a result: complete ones by value, pruned ones by epochs and value, diverged last."""
    if result.outcome is Outcome.FAIL:
        return None
    value = math.inf if result.value is None else result.value
    if result.diverged or not math.isfinite(result.value or 0.0):
        return Rank(_DIVERGED, -result.epochs, math.inf)
    complete = result.outcome is Outcome.COMPLETE
    return Rank(_COMPLETE, 0, value) if complete else Rank(_PRUNED, -result.epochs, value)


def ranked(seen: Iterable[Attempt]) -> list[Attempt]:
    """Return the attempts that have a rank, the best first."""
    known = [(attempt.rank, attempt.index, attempt) for attempt in seen if attempt.rank is not None]
    return [attempt for _rank, _index, attempt in sorted(known, key=lambda entry: entry[:2])]
