"""What a worker knows of a study: how its trials ended, whoever trained them, and their losses."""

import math
from collections import Counter
from collections.abc import Collection

from lrsearch.results import Outcome
from lrsearch.service.plan import Plan
from lrsearch.service.progress import EndedTrial
from lrsearch.storage.epochs import valid_losses
from lrsearch.storage.slots import Slots

FAILURES_IN_A_ROW = 5


class History:
    """The ended trials of a study in the order of their end, and the losses of all trials.

    Args:
        slots: of the study, where results are stored.
        plan: of the study.
    """

    def __init__(self, slots: Slots, plan: Plan) -> None:
        self._slots = slots
        self._numbers: set[int] = set()
        self.ended: list[EndedTrial] = []
        self.losses: dict[int, dict[int, float]] = {}
        self.refresh(plan, running=())
        self._ended_before = len(self.ended)

    def refresh(self, plan: Plan, running: Collection[int]) -> list[EndedTrial]:
        """Read what other workers did meanwhile, and return the trials that they ended.

        Args:
            plan: of the study.
            running: this worker's own trials, whose losses it knows better.
        """
        news = []
        for slot in self._slots.results():
            if slot.trial is not None and slot.point is not None and slot.trial not in self._numbers:
                news.append(plan.ended(slot.trial, slot.point, slot.result))
                self.add(news[-1])
        for trial, curve in valid_losses(self._slots.database, self._slots.study_uuid).items():
            if trial not in running:
                self.losses[trial] = {epoch: _comparable(loss) for epoch, loss in curve.items()}
        return news

    def restart(self, trial: int) -> None:
        """Forget the losses of a trial that trains from its beginning."""
        self.losses[trial] = {}

    def enter(self, trial: int, epoch: int, loss: float) -> None:
        """Remember a loss."""
        self.losses.setdefault(trial, {})[epoch] = _comparable(loss)

    def add(self, trial: EndedTrial) -> None:
        """Remember how a trial ended."""
        self._numbers.add(trial.number)
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


def _comparable(loss: float) -> float:
    return math.inf if math.isnan(loss) else loss


def _value(trial: EndedTrial) -> float:
    return math.inf if trial.result.value is None else trial.result.value
