"""The loop: claims slots of a study's budget, trains them in lanes, prunes, tells and refills."""

import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from uuid import uuid4

import optuna

from lrsearch.parameters import Point
from lrsearch.results import Claim, EpochResult, LaneFailure, Outcome, TrialResult, in_one_line
from lrsearch.schedules import Hyperparameters, Schedule
from lrsearch.search.samplers import create_sampler
from lrsearch.search.studies import ask
from lrsearch.service.history import History
from lrsearch.service.leases import LeaseKeeper
from lrsearch.service.plan import Plan
from lrsearch.service.progress import EndedTrial, Progress, RunningTrial, StopReason
from lrsearch.service.studies import OpenStudy, stored_spec
from lrsearch.storage.database import Database
from lrsearch.storage.epochs import curves, forget_epochs, record_epochs
from lrsearch.storage.slots import LEASE_S, Slots
from lrsearch.storage.studies import optuna_study_id, study_spec
from lrsearch.storage.workers import register_worker
from lrsearch.training.array import TrialArray

WAIT_S = 0.5

_Key = tuple[object, ...]


@dataclass(frozen=True)
class _Lane:
    """A trial that this worker holds: its claim, what is shown of it, and whether it may be pruned."""

    claim: Claim
    shown: RunningTrial
    key: _Key
    protected: bool


class Search:
    """One worker's part in a study.

    Args:
        database: where the study is stored.
        study: the study, opened.
        array: trains the lanes.
        lanes: trials trained at once, at least 1.
        lease_s: how long this worker's claims last without being renewed, in seconds.
    """

    def __init__(
        self, database: Database, study: OpenStudy, array: TrialArray, lanes: int, lease_s: float = LEASE_S
    ) -> None:
        self.study = study
        self._database, self._array, self._lane_count = database, array, lanes
        self._slots = Slots(database, study.record.uuid, lease_s)
        self._stored, self._plan = study.record.spec, Plan.of(study.spec)
        self._history = History(self._slots, self._plan)
        self._trained: dict[_Key, EndedTrial] = {}
        self._remember(self._history.ended)
        self._optuna: tuple[int, optuna.Study] | None = None
        self._optuna_study().set_user_attr("lrsearch:steps_per_epoch", array.steps_per_epoch)
        host, pid = socket.gethostname(), os.getpid()
        self._worker = f"{host}:{pid}:{uuid4().hex[:8]}"
        register_worker(database, study.record.uuid, self._worker, host, pid, array.device)
        self._keeper = LeaseKeeper(self._slots, self._worker)
        self._held: dict[int, Claim] = {}  # by slot
        self._lanes: dict[int, _Lane] = {}  # by trial
        self._repeats: dict[int, list[_Lane]] = {}  # by the running trial whose learning rates they share

    def run(self, stop_requested: Callable[[], bool] = lambda: False) -> Iterator[Progress]:
        """Train until the budget is used up, and yield where the study stands.

        A value comes after every epoch, and whenever trials have begun. Slots of trials that still run when
        it stops are released: they keep their points, and the next run restarts them.

        Args:
            stop_requested: asked after every epoch; true ends the run.
        """
        started, done_before = time.monotonic(), len(self._history.ended)

        def progress(news: list[EndedTrial]) -> Progress:
            return self._progress(news, time.monotonic() - started, done_before)

        with self._keeper:
            try:
                while (reason := self._reason_to_stop(stop_requested, started)) is None:
                    before = len(self._held)
                    news = self._fill_lanes()
                    if news or len(self._held) > before:
                        yield progress(news)
                    if self._lanes:
                        yield progress(self._train())
                    elif not news:
                        yield progress([])
                        time.sleep(WAIT_S)
            finally:
                self._release(list(self._held.values()))
                self._slots.settle(self._optuna_study())
        yield replace(progress([]), stopped=reason)

    def _reason_to_stop(self, stop_requested: Callable[[], bool], started: float) -> StopReason | None:
        run = self._plan.spec.run
        if stop_requested():
            return StopReason.INTERRUPTED
        if run.timeout_s is not None and time.monotonic() - started >= run.timeout_s:
            return StopReason.TIMEOUT
        if self._history.keeps_failing:
            return StopReason.FAILURES
        if run.stop_after_no_gain is not None and self._history.trials_without_gain >= run.stop_after_no_gain:
            return StopReason.NO_GAIN
        if self._lanes:
            return None
        counts = self._slots.counts()
        if counts.free + counts.leased:
            return None
        self._catch_up()
        return StopReason.BUDGET

    # What others may have changed

    def _catch_up(self) -> None:
        """Follow what happened outside: other workers' trials, a wider study."""
        stored = study_spec(self._database, self.study.record.uuid)
        if stored != self._stored:
            spec = stored_spec(replace(self.study.record, spec=stored))
            run = self._plan.spec.run
            self._stored, self._plan = stored, Plan.of(spec.model_copy(update={"run": run}))
        self._remember(self._history.refresh(self._plan, running=self._lanes))

    def _remember(self, ended: Iterable[EndedTrial]) -> None:
        for trial in ended:
            if trial.result.outcome is not Outcome.FAIL:
                self._trained.setdefault(self._key(trial.hyperparameters), trial)

    def _optuna_study(self) -> optuna.Study:
        """Return Optuna's study, which a rename in a dashboard replaces by another one."""
        study_id = optuna_study_id(self._database, self.study.record.uuid)
        if self._optuna is None or self._optuna[0] != study_id:
            name = self._database.optuna_storage.get_study_name_from_id(study_id)
            study = optuna.load_study(study_name=name, storage=self._database.optuna_storage)
            self._optuna = (study_id, study)
        return self._optuna[1]

    def _hold(self, claims: Iterable[Claim]) -> None:
        self._held |= {claim.slot: claim for claim in claims}
        self._keeper.hold(self._held.values())

    def _let_go(self, claim: Claim) -> None:
        self._held.pop(claim.slot, None)
        self._keeper.hold(self._held.values())

    def _release(self, claims: Iterable[Claim]) -> None:
        released = list(claims)
        for claim in released:
            self._let_go(claim)
        if released:
            self._slots.release(released)

    # Beginning trials

    def _fill_lanes(self) -> list[EndedTrial]:
        """Claim slots for the free lanes; return the trials that ended at once: repeated or not startable."""
        free = self._lane_count - len(self._lanes)
        if not free:
            return []
        claims = self._slots.claim(self._worker, free)
        self._hold(claims)
        if claims or not self._lanes:  # else only the last lanes of the budget are running out
            self._catch_up()
        ended = [self._place(lane) for claim in claims if (lane := self._begin(claim))]
        if any(ended):
            self._slots.settle(self._optuna_study())
        return [trial for trial in ended if trial]

    def _begin(self, claim: Claim) -> _Lane | None:
        """Return the lane for a claim: its own trial if it has one, else a new one; None if it was lost."""
        space, spec = self._plan.space, self._plan.spec
        if claim.trial is not None and claim.point is not None:
            self._history.restart(claim.trial)
            if forget_epochs(self._slots, claim):
                return self._lane(claim, claim.trial, space.with_fixed(claim.point))
            self._let_go(claim)
            return None
        sampler = create_sampler(
            spec.sampler, space, seed=spec.seed, index=claim.slot, n_trials=spec.trials, point=claim.point
        )
        number, point = ask(self._optuna_study(), sampler, space, claim.slot)
        if self._slots.bind(claim, number, space.searched_part(point)):
            return self._lane(claim, number, point)
        self._let_go(claim)
        return None

    def _lane(self, claim: Claim, number: int, point: Point) -> _Lane:
        part = self._plan.space.searched_part(point)
        hyperparameters, protected = self._plan.hyperparameters(part), part in self._plan.protected
        return _Lane(claim, RunningTrial(number, hyperparameters), self._key(hyperparameters), protected)

    def _place(self, lane: _Lane) -> EndedTrial | None:
        """Start a trial, unless one with the same learning rates has ended or is running."""
        if lane.key in self._trained:
            return self._repeat(lane, self._trained[lane.key])
        for running in self._lanes.values():
            if running.key == lane.key:
                self._repeats.setdefault(running.shown.number, []).append(lane)
                return None
        try:
            self._array.start(lane.shown.number, lane.shown.hyperparameters)
        except Exception as error:  # whatever a user's model raises fails its trial, not the study
            return self._end(lane, TrialResult(Outcome.FAIL, None, 0, reason=in_one_line(error)))
        self._lanes[lane.shown.number] = lane
        return None

    def _key(self, hyperparameters: Hyperparameters) -> _Key:
        schedule = Schedule(hyperparameters, self._plan.epochs, self._array.steps_per_epoch)
        return (schedule.trajectory(), *sorted(hyperparameters.optimizer.items()))

    # Training and ending them

    def _train(self) -> list[EndedTrial]:
        """Train all lanes for an epoch, record it, decide for all together, and return the ended trials."""
        results = self._array.run_epoch()
        epochs = [result for result in results if isinstance(result, EpochResult)]
        diverged = {r.trial for r in epochs if r.diverged(self._array.untrained_loss)}
        self._record_epochs(epochs, diverged)
        candidates = self._candidates(epochs) - diverged
        pruned = self._plan.pruner.decide(self._history.losses, candidates)
        endings = {r.trial: _failed(r) for r in results if isinstance(r, LaneFailure)}
        for result in epochs:
            ending = _ending(result, self._plan.epochs, result.trial in diverged, result.trial in pruned)
            if ending is not None:
                endings[result.trial] = ending
        return self._end_lanes({trial: end for trial, end in endings.items() if trial in self._lanes})

    def _record_epochs(self, results: list[EpochResult], diverged: set[int]) -> None:
        """Store an epoch of all lanes in one transaction, and give up the lanes whose lease was lost."""
        reports = []
        for result in results:
            value = math.inf if result.trial in diverged else result.valid_loss
            self._history.enter(result.trial, result.epoch, value)
            lane = self._lanes[result.trial]
            shown = replace(lane.shown, epoch=result.epoch, valid_loss=result.valid_loss)
            self._lanes[result.trial] = replace(lane, shown=shown)
            reports.append((lane.claim, result, value))
        lost = record_epochs(self._slots, reports)
        for trial in [number for number, lane in self._lanes.items() if lane.claim in lost]:
            self._give_up(trial)

    def _give_up(self, trial: int) -> None:
        """Drop a trial whose lease was lost: another worker continues it."""
        self._array.drop([trial])
        self._let_go(self._lanes.pop(trial).claim)
        self._release(repeat.claim for repeat in self._repeats.pop(trial, []))

    def _candidates(self, results: list[EpochResult]) -> set[int]:
        """Return the trials that may be pruned: neither at their end nor protected."""
        return {
            result.trial
            for result in results
            if result.epoch < self._plan.epochs
            and result.trial in self._lanes
            and not self._lanes[result.trial].protected
        }

    def _end_lanes(self, endings: Mapping[int, TrialResult]) -> list[EndedTrial]:
        self._array.drop(endings.keys())
        news = []
        for trial, result in endings.items():
            ended = self._end(self._lanes[trial], result)
            if ended is None:
                self._give_up(trial)
                continue
            del self._lanes[trial]
            news += [ended, *self._end_repeats(ended)]
        if endings:
            self._slots.settle(self._optuna_study())
        return news

    def _end_repeats(self, ended: EndedTrial) -> list[EndedTrial]:
        """End the trials that waited for one with their learning rates; if it failed, let them go."""
        repeats = self._repeats.pop(ended.number, [])
        if ended.result.outcome is Outcome.FAIL:
            self._release(repeat.claim for repeat in repeats)
            return []
        return [trial for repeat in repeats if (trial := self._repeat(repeat, ended))]

    def _repeat(self, lane: _Lane, ended: EndedTrial) -> EndedTrial | None:
        """Give a trial the curve and the result of one with the same learning rates."""
        reason = ended.result.reason or f"same learning rates as trial {ended.number}"
        for epoch in curves(self._database, self.study.record.uuid, ended.number):
            last = epoch.epoch == ended.result.epochs
            value = math.inf if ended.result.diverged and last else epoch.valid_loss
            self._history.enter(lane.shown.number, epoch.epoch, value)
            record_epochs(self._slots, [(lane.claim, replace(epoch, trial=lane.shown.number), value)])
        return self._end(lane, replace(ended.result, reason=reason))

    def _end(self, lane: _Lane, result: TrialResult) -> EndedTrial | None:
        """Store how a trial ended; None if its lease was lost meanwhile."""
        finished = self._slots.finish(lane.claim, result)
        self._let_go(lane.claim)
        if not finished:
            return None
        ended = EndedTrial(lane.shown.number, lane.shown.hyperparameters, result)
        self._history.add(ended)
        self._remember([ended])
        return ended

    def _progress(self, news: list[EndedTrial], elapsed_s: float, done_before: int) -> Progress:
        running = tuple(lane.shown for lane in self._lanes.values())
        ended = len(self._history.ended)
        done = ended - done_before + sum(trial.epoch for trial in running) / self._plan.epochs
        left = self._plan.spec.trials - done_before - done
        return Progress(
            trials=self._plan.spec.trials,
            epochs=self._plan.epochs,
            ended=self._history.counts(),
            running=running,
            best=self._history.best,
            last_failure=self._history.last_failure,
            news=tuple(news),
            elapsed_s=elapsed_s,
            remaining_s=elapsed_s * left / done if done > 0 else None,
            waiting=not running and not news,
        )


def _ending(result: EpochResult, epochs: int, diverged: bool, pruned: bool) -> TrialResult | None:
    """Return how a trial ended with this epoch, or None if it goes on."""
    if diverged:
        return TrialResult(Outcome.PRUNED, math.inf, result.epoch, diverged=True)
    if result.epoch >= epochs:
        return TrialResult(Outcome.COMPLETE, result.valid_loss, result.epoch)
    return TrialResult(Outcome.PRUNED, result.valid_loss, result.epoch) if pruned else None


def _failed(failure: LaneFailure) -> TrialResult:
    return TrialResult(Outcome.FAIL, None, failure.epoch - 1, reason=failure.reason)
