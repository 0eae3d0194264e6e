"""A process that trains nothing itself, and reads from the database how others train a study."""

import time
from collections.abc import Sequence
from dataclasses import replace

from lrsearch.service.history import History
from lrsearch.service.outage import Outage
from lrsearch.service.plan import Plan
from lrsearch.service.progress import Progress, RunningTrial, StopReason
from lrsearch.service.studies import OpenStudy, stored_spec
from lrsearch.storage.database import Database
from lrsearch.storage.slot_rows import BegunSlot
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import study_spec


class Onlooker:
    """Watches a study. While its database does not answer, the study stands where it stood.

    Args:
        database: where the study is stored.
        study: the study, opened; its ``storage_patience_s`` is how long the database may stay away.
    """

    def __init__(self, database: Database, study: OpenStudy) -> None:
        self._database, self._study = database, study
        self._slots = Slots(database, study.record.uuid)
        self._stored, self._plan = study.record.spec, Plan.of(study.spec)
        # With slots of its own: those that it has found done are not shown to the same object again.
        self._history = History(Slots(database, study.record.uuid), self._plan)
        self._started, self._ended_before = time.monotonic(), len(self._history.ended)
        self._told = self._ended_before
        self._outage = Outage(database.address, study.spec.run.storage_patience_s)
        self._running: list[RunningTrial] = []

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was first looked at."""
        return time.monotonic() - self._started

    def is_spent(self) -> bool:
        """Return whether no trial of the budget is left.

        Raises:
            DatabaseLostError: the database has not answered for too long.
        """
        return self._outage.attempt(self._slots.all_ended, otherwise=False)

    def progress(self, notes: Sequence[str] = (), stopped: StopReason | None = None) -> Progress:
        """Return where the study stands now, with the trials that have ended since the last call.

        Args:
            notes: what the user should know.
            stopped: why the run ended, for its last value.

        Raises:
            DatabaseLostError: the database has not answered for too long.
        """
        self._outage.attempt(self._read, None)
        news, self._told = self._history.ended[self._told :], len(self._history.ended)
        return Progress(
            trials=self._plan.spec.trials,
            epochs=self._plan.epochs,
            ended=self._history.counts(),
            running=tuple(self._running),
            best=self._history.best,
            last_failure=self._history.last_failure,
            news=tuple(news),
            notes=(*notes, *self._outage.take_notes()),
            elapsed_s=self.elapsed_s,
            remaining_s=self._remaining_s(),
            optimizer=self._plan.spec.optimizer.name,
            stopped=stopped,
        )

    def _read(self) -> None:
        stored = study_spec(self._database, self._study.record.uuid)
        if stored != self._stored:  # a budget that grew, or bounds that were widened
            self._stored = stored
            self._plan = Plan.of(stored_spec(replace(self._study.record, spec=stored)))
        begun = [slot for slot in self._slots.begun() if slot.result is None]
        ended = {trial.number for trial in self._history.refresh(self._plan, running=())}
        self._running = [self._shown(slot) for slot in begun if slot.trial not in ended]

    def _shown(self, slot: BegunSlot) -> RunningTrial:
        losses = self._history.losses.get(slot.trial, {})
        epoch = max(losses, default=0)
        shown = self._plan.running(slot.trial, slot.point)
        return replace(shown, epoch=epoch, valid_loss=losses.get(epoch))

    def _remaining_s(self) -> float | None:
        done = len(self._history.ended) - self._ended_before
        done_in_part = done + sum(trial.epoch for trial in self._running) / self._plan.epochs
        left = self._plan.spec.trials - self._ended_before - done_in_part
        return self.elapsed_s * left / done_in_part if done_in_part > 0 else None
