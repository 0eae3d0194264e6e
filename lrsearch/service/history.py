"""What a worker knows of a study: how its trials ended, whoever trained them, and their losses."""

import math
from collections import Counter
from collections.abc import Collection, Mapping

from lrsearch.parameters import Scalar
from lrsearch.results import Outcome
from lrsearch.search.samplers import Attempt, rank_of
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
        self._attempts: dict[int, Attempt] = {}  # by number of the trial, as are all that follow
        self._running: dict[int, Attempt] = {}
        self._counts: Counter[str] = Counter(diverged=0)
        self._best_place: int | None = None
        self.last_failure: str | None = None
        """Why the last trial that failed did so; None if none has."""
        self.ended: list[EndedTrial] = []
        self.losses: dict[int, dict[int, float]] = {}
        self.refresh(plan, running=())
        self._ended_before = len(self.ended)

    def refresh(self, plan: Plan, running: Collection[int]) -> list[EndedTrial]:
        """Read what other workers did meanwhile, and return the trials that they ended.

        Read are the trials that had not ended when this was last called: so it costs the same, however many
        have.

        Args:
            plan: of the study.
            running: this worker's own trials, whose losses it knows better.
        """
        begun = [slot for slot in self._slots.begun() if slot.trial not in self._attempts]
        changed = [slot.trial for slot in begun if slot.trial not in running]
        if changed:  # read before anything is remembered: the database may go away in between
            self._read_losses(changed)
        news, self._running = [], {}
        for slot in begun:
            if slot.result is None:
                self._running[slot.trial] = Attempt(slot.slot, dict(slot.point), None)
            else:
                news.append(plan.ended(slot.trial, slot.point, slot.result))
                self.add(slot.slot, slot.point, news[-1])
        return news

    def restart(self, trial: int, epoch: int = 0) -> None:
        """Forget the losses of a trial that goes on from an epoch, or begins anew, after it."""
        before = self.losses.get(trial, {})
        self.losses[trial] = {each: loss for each, loss in before.items() if each <= epoch}

    def enter(self, trial: int, epoch: int, loss: float) -> None:
        """Remember a loss."""
        self.losses.setdefault(trial, {})[epoch] = _comparable(loss)

    def add(self, slot: int, point: Mapping[str, Scalar], trial: EndedTrial) -> None:
        """Remember how the trial in a slot, with a searched part of a point, ended."""
        result = trial.result
        self._running.pop(trial.number, None)
        self._attempts[trial.number] = Attempt(slot, dict(point), rank_of(result))
        if result.outcome is Outcome.COMPLETE and (self.best is None or _value(trial) < _value(self.best)):
            self._best_place = len(self.ended)
        self.ended.append(trial)
        self._counts[result.outcome.value] += 1
        self._counts["diverged"] += result.diverged
        if result.outcome is Outcome.FAIL:
            self.last_failure = result.reason

    def attempts(self) -> list[Attempt]:
        """Return all trials that have begun, by slot, as the samplers see them."""
        begun = (*self._attempts.values(), *self._running.values())
        return sorted(begun, key=lambda attempt: attempt.index)

    @property
    def best(self) -> EndedTrial | None:
        """The complete trial with the smallest value; of equal ones the first."""
        return None if self._best_place is None else self.ended[self._best_place]

    @property
    def trials_without_gain(self) -> int:
        """Number of trials that ended after the best one."""
        return 0 if self._best_place is None else len(self.ended) - 1 - self._best_place

    @property
    def keeps_failing(self) -> bool:
        """Whether the last trials of this run have all failed: a cause that was mended since is forgiven."""
        latest = self.ended[max(self._ended_before, len(self.ended) - FAILURES_IN_A_ROW) :]
        return len(latest) == FAILURES_IN_A_ROW and all(t.result.outcome is Outcome.FAIL for t in latest)

    def counts(self) -> dict[str, int]:
        """Return the number of ended trials by outcome, and ``diverged`` among the pruned ones."""
        return dict(self._counts)

    def _read_losses(self, trials: Collection[int]) -> None:
        curves = valid_losses(self._slots.database, self._slots.study_uuid, trials)
        for trial in trials:
            self.losses[trial] = {epoch: _comparable(loss) for epoch, loss in curves.get(trial, {}).items()}


def _comparable(loss: float) -> float:
    return math.inf if math.isnan(loss) else loss


def _value(trial: EndedTrial) -> float:
    return math.inf if trial.result.value is None else trial.result.value
