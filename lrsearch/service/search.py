"""The loop: claims slots of a study's budget, trains them in lanes, prunes, tells and refills."""

import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from uuid import uuid4

import optuna

from lrsearch.parameters import Point
from lrsearch.results import Claim, EpochResult, LaneFailure, Outcome, TrialRecord, TrialResult
from lrsearch.schedules import Hyperparameters, Schedule
from lrsearch.search.first_trials import first_trials
from lrsearch.search.pruners import create_pruner
from lrsearch.search.samplers import create_sampler
from lrsearch.search.studies import ask
from lrsearch.service.history import History
from lrsearch.service.leases import LeaseKeeper
from lrsearch.service.progress import EndedTrial, Progress, RunningTrial, StopReason
from lrsearch.service.studies import OpenStudy
from lrsearch.spec import largest_warmup_fraction, search_space
from lrsearch.storage.database import Database
from lrsearch.storage.epochs import record_epochs, valid_losses
from lrsearch.storage.slots import LEASE_S, Slots
from lrsearch.storage.trials import trial_records
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
        self._spec, self._record = study.spec, study.record
        self._epochs = study.spec.epochs or 1
        self._space = search_space(study.spec)
        self._slots = Slots(database, study.record.uuid, lease_s)
        self._study = optuna.load_study(study_name=study.record.name, storage=database.optuna_storage)
        self._study.set_user_attr("lrsearch:steps_per_epoch", array.steps_per_epoch)
        self._pruner = create_pruner(
            study.spec.pruner, self._epochs, study.spec.trials, largest_warmup_fraction(study.spec)
        )
        self._protected = list(first_trials(study.spec).points.values())
        host, pid = socket.gethostname(), os.getpid()
        self._worker = f"{host}:{pid}:{uuid4().hex[:8]}"
        register_worker(database, study.record.uuid, self._worker, host, pid, array.device)
        self._history = self._load_history()
        self._trained = {
            self._key(trial.hyperparameters): trial
            for trial in self._history.ended
            if trial.result.outcome is not Outcome.FAIL
        }
        self._lanes: dict[int, _Lane] = {}
        self._repeats: dict[int, list[_Lane]] = {}  # by the running trial whose learning rates they share

    def run(self, stop_requested: Callable[[], bool] = lambda: False) -> Iterator[Progress]:
        """Train until the budget is used up, and yield where the study stands after every epoch.

        Slots of trials that still run when it stops are released: they keep their points, and the next run
        restarts them.

        Args:
            stop_requested: asked after every epoch; true ends the run.
        """
        started, done_before = time.monotonic(), len(self._history.ended)
        with LeaseKeeper(self._slots, self._worker) as keeper:
            try:
                while (reason := self._reason_to_stop(stop_requested, started)) is None:
                    news = self._step(keeper)
                    yield self._progress(news, time.monotonic() - started, done_before)
                    if not self._lanes and not news:
                        time.sleep(WAIT_S)
            finally:
                keeper.hold(())
                self._slots.release(self._claims())
                self._slots.settle(self._study)
        final = self._progress([], time.monotonic() - started, done_before)
        yield replace(final, stopped=reason)

    def _step(self, keeper: LeaseKeeper) -> list[EndedTrial]:
        """Fill the free lanes, train all for one epoch, and return the trials that ended."""
        news = self._fill_lanes()
        keeper.hold(self._claims())
        if self._lanes:
            news += self._train()
            keeper.hold(self._claims())
        return news

    def _reason_to_stop(self, stop_requested: Callable[[], bool], started: float) -> StopReason | None:
        run = self._spec.run
        if stop_requested():
            return StopReason.INTERRUPTED
        if run.timeout_s is not None and time.monotonic() - started >= run.timeout_s:
            return StopReason.TIMEOUT
        if self._history.keeps_failing:
            return StopReason.FAILURES
        if run.stop_after_no_gain is not None and self._history.trials_without_gain >= run.stop_after_no_gain:
            return StopReason.NO_GAIN
        counts = self._slots.counts()
        return None if self._lanes or counts.free + counts.leased else StopReason.BUDGET

    def _claims(self) -> list[Claim]:
        repeats = [lane for lanes in self._repeats.values() for lane in lanes]
        return [lane.claim for lane in (*self._lanes.values(), *repeats)]

    # Beginning trials

    def _fill_lanes(self) -> list[EndedTrial]:
        """Claim slots for the free lanes; return the trials that only repeat ended ones."""
        free = self._lane_count - len(self._lanes)
        claims = self._slots.claim(self._worker, free) if free else []
        ended = [self._place(lane) for claim in claims if (lane := self._begin(claim))]
        if any(ended):
            self._slots.settle(self._study)
        return [trial for trial in ended if trial]

    def _begin(self, claim: Claim) -> _Lane | None:
        """Return the lane for a claim: its own trial if it has one, else a new one; None if it was lost."""
        if claim.trial is not None and claim.point is not None:
            self._history.restart(claim.trial)
            return self._lane(claim, claim.trial, self._space.complete(claim.point))
        sampler = create_sampler(
            self._spec.sampler,
            self._space,
            seed=self._spec.seed,
            index=claim.slot,
            n_trials=self._spec.trials,
            point=claim.point,
        )
        number, point = ask(self._study, sampler, self._space, claim.slot)
        if not self._slots.bind(claim, number, self._space.searched_part(point)):
            return None
        return self._lane(claim, number, point)

    def _lane(self, claim: Claim, number: int, point: Point) -> _Lane:
        hyperparameters = Hyperparameters.from_point(point)
        protected = self._space.searched_part(point) in self._protected
        return _Lane(claim, RunningTrial(number, hyperparameters), self._key(hyperparameters), protected)

    def _place(self, lane: _Lane) -> EndedTrial | None:
        """Start a trial, unless one with the same learning rates has ended or is running."""
        if lane.key in self._trained:
            return self._end(lane, _repeated(self._trained[lane.key]))
        for running in self._lanes.values():
            if running.key == lane.key:
                self._repeats.setdefault(running.shown.number, []).append(lane)
                return None
        self._array.start(lane.shown.number, lane.shown.hyperparameters)
        self._lanes[lane.shown.number] = lane
        return None

    def _key(self, hyperparameters: Hyperparameters) -> _Key:
        schedule = Schedule(hyperparameters, self._epochs, self._array.steps_per_epoch)
        return (schedule.trajectory(), *sorted(hyperparameters.optimizer.items()))

    # Training and ending them

    def _train(self) -> list[EndedTrial]:
        """Train all lanes for an epoch, record it, decide for all together, and return the ended trials."""
        results = self._array.run_epoch()
        epochs = [result for result in results if isinstance(result, EpochResult)]
        diverged = {r.trial for r in epochs if r.diverged(self._array.untrained_loss)}
        self._record_epochs(epochs, diverged)
        pruned = self._pruner.decide(self._history.losses, self._candidates(epochs) - diverged)
        endings = {r.trial: _failed(r) for r in results if isinstance(r, LaneFailure)}
        for result in epochs:
            ending = _ending(result, self._epochs, result.trial in diverged, result.trial in pruned)
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
        del self._lanes[trial]
        self._slots.release([repeat.claim for repeat in self._repeats.pop(trial, [])])

    def _candidates(self, results: list[EpochResult]) -> set[int]:
        """Return the trials that may be pruned: neither at their end nor protected."""
        return {
            result.trial
            for result in results
            if result.epoch < self._epochs
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
            repeats = [self._end(repeat, _repeated(ended)) for repeat in self._repeats.pop(trial, [])]
            news += [ended, *(repeat for repeat in repeats if repeat)]
        if endings:
            self._slots.settle(self._study)
        return news

    def _end(self, lane: _Lane, result: TrialResult) -> EndedTrial | None:
        """Store how a trial ended; None if its lease was lost meanwhile."""
        if not self._slots.finish(lane.claim, result):
            return None
        ended = EndedTrial(lane.shown.number, lane.shown.hyperparameters, result)
        self._history.add(ended)
        if result.outcome is not Outcome.FAIL:
            self._trained.setdefault(lane.key, ended)
        return ended

    # Remembering and showing

    def _load_history(self) -> History:
        records = trial_records(self._database, self._record)
        finished = [record for record in records if record.state in {outcome.value for outcome in Outcome}]
        finished.sort(key=lambda record: record.finished_at or "")
        ended = [self._ended(record) for record in finished if record.params or not self._space.searched]
        return History(ended, valid_losses(self._database, self._record.uuid))

    def _ended(self, record: TrialRecord) -> EndedTrial:
        hyperparameters = Hyperparameters.from_point(self._space.complete(record.params))
        outcome = Outcome(record.state)
        result = TrialResult(outcome, record.value, record.epochs, record.diverged, record.reason)
        return EndedTrial(record.number, hyperparameters, result)

    def _progress(self, news: list[EndedTrial], elapsed_s: float, done_before: int) -> Progress:
        running = tuple(lane.shown for lane in self._lanes.values())
        ended = len(self._history.ended)
        done = ended - done_before + sum(trial.epoch for trial in running) / self._epochs
        left = self._spec.trials - done_before - done
        return Progress(
            trials=self._spec.trials,
            epochs=self._epochs,
            ended=self._history.counts(),
            running=running,
            best=self._history.best,
            last_failure=self._history.last_failure,
            news=tuple(news),
            elapsed_s=elapsed_s,
            remaining_s=elapsed_s * left / done if done > 0 else None,
            waiting=not running,
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


def _repeated(ended: EndedTrial) -> TrialResult:
    reason = ended.result.reason or f"same learning rates as trial {ended.number}"
    return replace(ended.result, reason=reason)
