"""What a running search shows of itself: frozen values, one per epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from lrsearch.results import TrialResult
from lrsearch.schedules import Hyperparameters


class StopReason(Enum):
    """Why a run of a study ended."""

    BUDGET = "all trials have ended"
    INTERRUPTED = "interrupted"
    TERMINATED = "the script was ended by a SIGTERM that this worker did not send"
    TIMEOUT = "the timeout was reached"
    NO_GAIN = "the last trials brought no gain"
    FAILURES = "trials keep failing"
    LIMIT = "this worker has run its number of trials"
    PAUSED = "the study was paused"
    STOPPED = "the study was stopped"
    DRAINED = "this worker begins no more trials here"


@dataclass(frozen=True)
class Holder:
    """Who trains a trial.

    Args:
        worker: its name, as in the slots that it holds.
        attempt: how often the trial's slot has been claimed by now.
    """

    worker: str
    attempt: int


@dataclass(frozen=True)
class RunningTrial:
    """A lane as it is shown.

    Args:
        number: of the trial in its study.
        hyperparameters: what it trains with; in a study with parts, of the first one.
        epoch: epochs trained so far.
        valid_loss: after the last of them, or None.
        parts: the hyperparameters of each part by name; empty in a study without parts.
        holder: who trains it, or None where that is not known.
    """

    number: int
    hyperparameters: Hyperparameters
    epoch: int = 0
    valid_loss: float | None = None
    parts: Mapping[str, Hyperparameters] = field(default_factory=dict)
    holder: Holder | None = None


@dataclass(frozen=True)
class EndedTrial:
    """A trial that has just ended.

    Args:
        number: of the trial in its study.
        hyperparameters: what it trained with; in a study with parts, of the first one.
        result: how it ended.
        parts: the hyperparameters of each part by name; empty in a study without parts.
        holder: who trained it, or None where that is not known: it is a worker of another run.
    """

    number: int
    hyperparameters: Hyperparameters
    result: TrialResult
    parts: Mapping[str, Hyperparameters] = field(default_factory=dict)
    holder: Holder | None = None


@dataclass(frozen=True)
class Progress:
    """Where a study stands after an epoch.

    Args:
        trials: budget of the study.
        epochs: epochs of a whole trial.
        ended: number of trials that ended, by outcome, and ``diverged`` among the pruned ones.
        running: the lanes of this worker, or of all workers of a run together.
        best: the best complete trial so far, or None.
        last_failure: reason of the last trial that failed, or None.
        news: trials that ended in this epoch.
        notes: what the user should know, each told once.
        elapsed_s: wall time of this run.
        remaining_s: estimated time left, or None while unknown.
        waiting: only other workers have trials left; this one waits for them, or for their leases' end.
        stopped: why the run ended, on its last value.
        study: its name.
        optimizer: class of the study's, whose defaults go unsaid; None where it is not known.
        worker: who says so, or the first one of several.
    """

    trials: int
    epochs: int
    ended: Mapping[str, int]
    running: tuple[RunningTrial, ...] = ()
    best: EndedTrial | None = None
    last_failure: str | None = None
    news: tuple[EndedTrial, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    elapsed_s: float = 0.0
    remaining_s: float | None = None
    waiting: bool = False
    stopped: StopReason | None = None
    study: str = ""
    optimizer: str | None = None
    worker: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """Number of ended trials by how they ended, the diverged ones apart from the pruned."""
        diverged = self.ended.get("diverged", 0)
        pruned = self.ended.get("PRUNED", 0) - diverged
        counts = {**self.ended, "PRUNED": pruned, "diverged": diverged}
        return {name.lower(): count for name, count in sorted(counts.items()) if count}

    @property
    def ended_trials(self) -> int:
        """Number of trials that ended, however they did."""
        return sum(count for outcome, count in self.ended.items() if outcome != "diverged")
