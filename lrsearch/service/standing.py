"""Where a study stands, read from its database by a process that trains nothing itself."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lrsearch.parameters import Scalar
from lrsearch.service.history import History
from lrsearch.service.plan import Plan
from lrsearch.service.progress import Progress, RunningTrial, StopReason
from lrsearch.service.studies import OpenStudy, stored_spec
from lrsearch.storage.database import Database
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import study_spec


class Standing:
    """A study as others train it.

    Args:
        database: where the study is stored.
        study: the study, opened.
    """

    def __init__(self, database: Database, study: OpenStudy) -> None:
        self._database, self._study = database, study
        self._slots = Slots(database, study.record.uuid)
        self._stored, self._plan = study.record.spec, Plan.of(study.spec)
        self._history = History(self._slots, self._plan)
        self._started, self._ended_before = time.monotonic(), len(self._history.ended)

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was first looked at."""
        return time.monotonic() - self._started

    @property
    def is_spent(self) -> bool:
        """Whether no trial of the budget is left."""
        counts = self._slots.counts()
        return counts.free + counts.leased == 0

    def progress(self, notes: Sequence[str] = (), stopped: StopReason | None = None) -> Progress:
        """Return where the study stands now, with the trials that have ended since the last call.

        Args:
            notes: what the user should know.
            stopped: why the run ended, for its last value.
        """
        self._follow_changes()
        news = self._history.refresh(self._plan, running=())
        running = [
            self._running(slot.trial, slot.point) for slot in self._slots.begun() if slot.result is None
        ]
        return Progress(
            trials=self._plan.spec.trials,
            epochs=self._plan.epochs,
            ended=self._history.counts(),
            running=tuple(running),
            best=self._history.best,
            last_failure=self._history.last_failure,
            news=tuple(news),
            notes=tuple(notes),
            elapsed_s=self.elapsed_s,
            remaining_s=self._remaining_s(running),
            stopped=stopped,
        )

    def _follow_changes(self) -> None:
        """Follow a budget that grew, or bounds that were widened, meanwhile."""
        stored = study_spec(self._database, self._study.record.uuid)
        if stored != self._stored:
            self._stored = stored
            self._plan = Plan.of(stored_spec(replace(self._study.record, spec=stored)))

    def _running(self, number: int, point: Mapping[str, Scalar]) -> RunningTrial:
        losses = self._history.losses.get(number, {})
        epoch = max(losses, default=0)
        return replace(self._plan.running(number, point), epoch=epoch, valid_loss=losses.get(epoch))

    def _remaining_s(self, running: Sequence[RunningTrial]) -> float | None:
        done = len(self._history.ended) - self._ended_before
        done_in_part = done + sum(trial.epoch for trial in running) / self._plan.epochs
        left = self._plan.spec.trials - self._ended_before - done_in_part
        return self.elapsed_s * left / done_in_part if done_in_part > 0 else None
