"""A worker: one process's part in a study, from the claim of a slot to the result that it leaves there."""

import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self
from uuid import uuid4

import optuna

from lrsearch.parameters import Point
from lrsearch.results import Claim, TrialResult
from lrsearch.search.samplers import create_sampler
from lrsearch.search.studies import ask
from lrsearch.service.history import History
from lrsearch.service.leases import LeaseKeeper
from lrsearch.service.plan import Plan
from lrsearch.service.progress import EndedTrial, Progress, RunningTrial, StopReason
from lrsearch.service.studies import OpenStudy, stored_spec
from lrsearch.storage.database import Database
from lrsearch.storage.epochs import forget_epochs
from lrsearch.storage.slots import LEASE_S, Slots
from lrsearch.storage.studies import optuna_study_id, study_spec
from lrsearch.storage.workers import register_worker

STEPS_ATTRIBUTE = "lrsearch:steps_per_epoch"  # of Optuna's study; of a part: followed by "/" and its name


@dataclass(frozen=True)
class HeldTrial:
    """A trial that a worker holds.

    Args:
        claim: of its slot.
        number: of the trial in its study.
        searched: the searched values of its point.
        protected: whether it is one of the study's first trials, which are not pruned.
    """

    claim: Claim
    number: int
    searched: Point
    protected: bool


class Worker:
    """What a process holds of a study, and what it knows of the rest.

    As a context it keeps its leases alive; on leaving, whatever it still holds is released.

    Args:
        database: where the study is stored.
        study: the study, opened.
        device: what it trains on, for people.
        lease_s: how long its claims last without being renewed, in seconds.
    """

    def __init__(self, database: Database, study: OpenStudy, device: str, lease_s: float = LEASE_S) -> None:
        self.database, self.study = database, study
        self.slots = Slots(database, study.record.uuid, lease_s)
        self.plan = Plan.of(study.spec)
        self.history = History(self.slots, self.plan)
        self._stored = study.record.spec
        self._optuna: tuple[int, optuna.Study] | None = None
        host, pid = socket.gethostname(), os.getpid()
        self._name = f"{host}:{pid}:{uuid4().hex[:8]}"
        register_worker(database, study.record.uuid, self._name, host, pid, device)
        self._keeper = LeaseKeeper(self.slots, self._name)
        self._held: dict[int, Claim] = {}  # by slot
        self._started = time.monotonic()
        self._ended_before = len(self.history.ended)

    def __enter__(self) -> Self:
        self._started, self._ended_before = time.monotonic(), len(self.history.ended)
        self._keeper.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.release(list(self._held.values()))
            self.settle()
        finally:
            self._keeper.__exit__(kind, error, trace)

    @property
    def held(self) -> int:
        """Number of slots that it holds."""
        return len(self._held)

    def reason_to_stop(self, stop_requested: Callable[[], bool], *, busy: bool) -> StopReason | None:
        """Return why this run of the study ends now; None if it goes on.

        Args:
            stop_requested: whether the user wants it to end.
            busy: whether trials of its own are running, which the budget's end lets go on.
        """
        run = self.plan.spec.run
        if stop_requested():
            return StopReason.INTERRUPTED
        if run.timeout_s is not None and time.monotonic() - self._started >= run.timeout_s:
            return StopReason.TIMEOUT
        if self.history.keeps_failing:
            return StopReason.FAILURES
        if run.stop_after_no_gain is not None and self.history.trials_without_gain >= run.stop_after_no_gain:
            return StopReason.NO_GAIN
        counts = self.slots.counts() if not busy else None
        return StopReason.BUDGET if counts is not None and counts.free + counts.leased == 0 else None

    def catch_up(self, running: Collection[int]) -> list[EndedTrial]:
        """Follow what happened outside, and return the trials that others ended.

        Args:
            running: this worker's own trials, whose losses it knows better.
        """
        stored = study_spec(self.database, self.study.record.uuid)
        if stored != self._stored:
            spec = stored_spec(replace(self.study.record, spec=stored))
            run = self.plan.spec.run
            self._stored, self.plan = stored, Plan.of(spec.model_copy(update={"run": run}))
        return self.history.refresh(self.plan, running)

    def optuna_study(self) -> optuna.Study:
        """Return Optuna's study, which a rename in a dashboard replaces by another one."""
        study_id = optuna_study_id(self.database, self.study.record.uuid)
        if self._optuna is None or self._optuna[0] != study_id:
            name = self.database.optuna_storage.get_study_name_from_id(study_id)
            study = optuna.load_study(study_name=name, storage=self.database.optuna_storage)
            self._optuna = (study_id, study)
        return self._optuna[1]

    # Slots

    def claim(self, limit: int) -> list[Claim]:
        """Claim up to ``limit`` slots, and keep their leases alive."""
        claims = self.slots.claim(self._name, limit)
        self._held |= {claim.slot: claim for claim in claims}
        self._keeper.hold(self._held.values())
        return claims

    def let_go(self, claim: Claim) -> None:
        """Renew a claim's lease no more: it has ended, or was lost."""
        self._held.pop(claim.slot, None)
        self._keeper.hold(self._held.values())

    def release(self, claims: Iterable[Claim]) -> None:
        """Give slots back: their trials keep their points for the next holder."""
        released = list(claims)
        for claim in released:
            self.let_go(claim)
        if released:
            self.slots.release(released)

    def settle(self) -> None:
        """Tell Optuna all results that it does not know."""
        self.slots.settle(self.optuna_study())

    # Trials

    def begin(self, claim: Claim) -> HeldTrial | None:
        """Return the trial for a claim: the one that its slot has, else a new one; None if it was lost."""
        if claim.trial is not None and claim.point is not None:
            held = self._held_trial(claim, claim.trial, dict(claim.point))
            self.history.restart(claim.trial)
            kept = forget_epochs(self.slots, claim)
        else:
            held = self._asked(claim)
            kept = self.slots.bind(claim, held.number, held.searched)
        if kept:
            return held
        self.let_go(claim)
        return None

    def end(self, trial: HeldTrial, result: TrialResult) -> EndedTrial | None:
        """Store how a trial ended; None if its lease was lost meanwhile."""
        finished = self.slots.finish(trial.claim, result)
        self.let_go(trial.claim)
        if not finished:
            return None
        ended = self.plan.ended(trial.number, trial.searched, result)
        self.history.add(ended)
        return ended

    def progress(self, running: Sequence[RunningTrial], news: Sequence[EndedTrial] = ()) -> Progress:
        """Return where the study stands.

        Args:
            running: this worker's trials.
            news: trials that have just ended.
        """
        elapsed_s = time.monotonic() - self._started
        done = len(self.history.ended) - self._ended_before
        done_in_part = done + sum(trial.epoch for trial in running) / self.plan.epochs
        left = self.plan.spec.trials - self._ended_before - done_in_part
        return Progress(
            trials=self.plan.spec.trials,
            epochs=self.plan.epochs,
            ended=self.history.counts(),
            running=tuple(running),
            best=self.history.best,
            last_failure=self.history.last_failure,
            news=tuple(news),
            elapsed_s=elapsed_s,
            remaining_s=elapsed_s * left / done_in_part if done_in_part > 0 else None,
            waiting=not running and not news,
        )

    def _asked(self, claim: Claim) -> HeldTrial:
        """Return a new trial, its point proposed by the study's sampler."""
        space, spec = self.plan.space, self.plan.spec
        sampler = create_sampler(
            spec.sampler, space, seed=spec.seed, index=claim.slot, n_trials=spec.trials, point=claim.point
        )
        number, point = ask(self.optuna_study(), sampler, space, claim.slot)
        return self._held_trial(claim, number, space.searched_part(point))

    def _held_trial(self, claim: Claim, number: int, searched: Point) -> HeldTrial:
        return HeldTrial(claim, number, searched, searched in self.plan.protected)
