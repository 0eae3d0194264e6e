"""The frozen values that cross floors: what training reports and what a trial ends as."""

import math
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

DIVERGENCE_FACTOR = 3
INNERMOST_CALLS = 8
LONGEST_TRACEBACK = 4000


class Outcome(Enum):
    """How a trial ended, in Optuna's words."""

    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"


@dataclass(frozen=True)
class EpochResult:
    """What one lane learned in one epoch.

    Args:
        trial: number of the trial in its study.
        epoch: epochs trained so far, from 1 (Optuna's ``step``).
        train_loss: mean loss over the epoch's updates.
        valid_loss: loss on the validation split after the epoch.
        metrics: further validation figures by name, such as ``valid_accuracy``.
        lr: learning rate of the epoch's last update.
        seconds: wall time of the epoch, validation included.
    """

    trial: int
    epoch: int
    train_loss: float
    valid_loss: float
    metrics: Mapping[str, float]
    lr: float
    seconds: float

    def diverged(self, untrained_loss: float) -> bool:
        """Return whether the run has left all bounds: a loss is not finite, or 3 times the untrained one."""
        finite = math.isfinite(self.train_loss) and math.isfinite(self.valid_loss)
        return not finite or self.valid_loss > DIVERGENCE_FACTOR * untrained_loss


@dataclass(frozen=True)
class LaneFailure:
    """A lane whose training raised an exception: its trial ends FAIL.

    Args:
        trial: number of the trial in its study.
        epoch: the epoch that could not be finished, from 1.
        reason: the exception in one line.
        traceback: where it was raised, or None.
    """

    trial: int
    epoch: int
    reason: str
    traceback: str | None = field(default=None, compare=False)


def in_one_line(error: BaseException) -> str:
    """Return an exception as the reason of a failure: its type and the first line of its message."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def storable(text: str) -> str:
    """Return a text without what databases refuse: halves of characters, and the character 0."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def trimmed_traceback(error: BaseException) -> str:
    """Return where an exception was raised: its innermost calls, with an upper limit of characters."""
    lines = traceback.format_exception(error, limit=-INNERMOST_CALLS)
    return "".join(lines)[-LONGEST_TRACEBACK:]


@dataclass(frozen=True)
class TrialResult:
    """How a trial ended.

    Args:
        outcome: COMPLETE, PRUNED or FAIL.
        value: validation loss after the last epoch (``inf`` if diverged, None if failed).
        epochs: epochs trained.
        diverged: the loss left all bounds.
        reason: why it failed, or which trial with the same learning-rate trajectory it repeats.
        traceback: where the exception was raised that made it fail, or None.
    """

    outcome: Outcome
    value: float | None
    epochs: int
    diverged: bool = False
    reason: str | None = None
    traceback: str | None = None


@dataclass(frozen=True)
class Claim:
    """A worker's hold on one slot of a study's budget.

    Args:
        slot: index of the slot, from 0.
        attempt: how often the slot was claimed; the fencing token of every write.
        point: parameters by canonical name that the slot prescribes, complete or in part; None if free.
        trial: number of the trial that already started in this slot, or None.
        checkpoint: name of the file from which that trial goes on, or None.
    """

    slot: int
    attempt: int
    point: Mapping[str, Any] | None = None
    trial: int | None = None
    checkpoint: str | None = None


@dataclass(frozen=True)
class TrialRecord:
    """A stored trial as it is shown: all that the database knows but its curve.

    Args:
        number: number of the trial in its study, from 0.
        state: COMPLETE, PRUNED, FAIL, RUNNING or WAITING.
        value: validation loss after the last epoch, or None.
        diverged: the loss left all bounds.
        params: searched parameters by canonical name.
        epochs: epochs trained.
        started_at: start, UTC in ISO 8601, or None.
        finished_at: end, UTC in ISO 8601, or None.
        reason: why it failed, or which trial it repeats.
        traceback: where the exception was raised that made it fail, or None.
    """

    number: int
    state: str
    value: float | None
    diverged: bool
    params: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 0
    started_at: str | None = None
    finished_at: str | None = None
    reason: str | None = None
    traceback: str | None = None
