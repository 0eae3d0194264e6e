"""What a worker remembers of a study: how its trials ended, and their losses."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from lrsearch.results import Outcome
from lrsearch.service.progress import EndedTrial

FAILURES_IN_A_ROW = 5


class History:
    """The ended trials of a study in the order of their end, and the losses of all trials.

    Args:
        ended: the trials that ended before.
        losses: validation loss by trial and epoch (from 1).
    """

    def __init__(self, ended: Iterable[EndedTrial], losses: Mapping[int, Mapping[int, float]]) -> None:
        self.ended = list(ended)
        self._ended_before = len(self.ended)
        self.losses: dict[int, dict[int, float]] = {}
        for trial, curve in losses.items():
            for epoch, loss in curve.items():
                self.enter(trial, epoch, loss)

    def restart(self, trial: int) -> None:
        """Forget the losses of a trial that trains from its beginning."""
        self.losses[trial] = {}

    def enter(self, trial: int, epoch: int, loss: float) -> None:
        """Remember a loss; one that is not a number counts as infinite."""
        self.losses.setdefault(trial, {})[epoch] = math.inf if math.isnan(loss) else loss

    def add(self, trial: EndedTrial) -> None:
        """Remember how a trial ended."""
        self.ended.append(trial)

    @property
    def best(self) -> EndedTrial | None:
        """The complete trial with the smallest value; of equal ones the first."""
        complete = [trial for trial in self.ended if trial.result.outcome is Outcome.COMPLETE]
        return min(complete, key=_value, default=None)

    @property
    def trials_without_gain(self) -> int:
        """Number of trials that ended after the best one."""
        best = self.best
        return len(self.ended) - 1 - self.ended.index(best) if best else 0

    @property
    def keeps_failing(self) -> bool:
        """Whether the last trials of this run have all failed: a cause that was mended since is forgiven."""
        latest = self.ended[self._ended_before :][-FAILURES_IN_A_ROW:]
        return len(latest) == FAILURES_IN_A_ROW and all(t.result.outcome is Outcome.FAIL for t in latest)

    @property
    def last_failure(self) -> str | None:
        """Why the last trial that failed did so; None if none has."""
        reasons = [trial.result.reason for trial in self.ended if trial.result.outcome is Outcome.FAIL]
        return reasons[-1] if reasons else None

    def counts(self) -> dict[str, int]:
        """Return the number of ended trials by outcome, and ``diverged`` among the pruned ones."""
        counts = Counter(trial.result.outcome.value for trial in self.ended)
        return {**counts, "diverged": sum(trial.result.diverged for trial in self.ended)}


def _value(trial: EndedTrial) -> float:
    return float("inf") if trial.result.value is None else trial.result.value
