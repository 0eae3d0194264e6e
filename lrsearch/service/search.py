"""The loop: claims slots of a study's budget, trains them in lanes, prunes, tells and refills."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from lrsearch.results import EpochResult, LaneFailure, Outcome, TrialResult, in_one_line, trimmed_traceback
from lrsearch.schedules import Hyperparameters, Schedule
from lrsearch.service.history import History
from lrsearch.service.plan import Plan
from lrsearch.service.progress import EndedTrial, Progress, RunningTrial, StopReason
from lrsearch.service.sameness import LOSS_ATTRIBUTE, check_same_beginning
from lrsearch.service.studies import OpenStudy
from lrsearch.service.worker import WAIT_S, HeldTrial, Worker
from lrsearch.storage.database import Database
from lrsearch.storage.slots import LEASE_S
from lrsearch.storage.studies import STEPS_ATTRIBUTE
from lrsearch.training.array import TrialArray
from lrsearch.training.saved_lane import MisfitError, SavedLane

_log = logging.getLogger(__name__)

_Key = tuple[object, ...]


@dataclass(frozen=True)
class _Lane:
    """A trial that this worker trains, what is shown of it, and the learning rates that it has."""

    held: HeldTrial
    shown: RunningTrial
    key: _Key


class Search:
    """One worker's part in a study.

    Args:
        database: where the study is stored.
        study: the study, opened.
        array: trains the lanes.
        lanes: trials trained at once, at least 1.
        lease_s: how long this worker's claims last without being renewed, in seconds.
        asks_ahead: whether the points that follow are asked for while the array trains, in a thread of its
            own; None does so if it trains elsewhere than on the CPU, which asking would take time from.
        exits_if_stalled: whether the process ends if no step finishes for ``run.stall_timeout_s``; its trials
            are given up in any case.
        name: of the worker, which no other that is alive may have; None for one made of host and process.

    Raises:
        StudyConflictError: if the task has changed since the study began.
        WorkerNameTakenError: if a worker of this name is alive.
        WorkersFullError: if the study has as many workers as it allows.
    """

    def __init__(
        self,
        database: Database,
        study: OpenStudy,
        array: TrialArray,
        lanes: int,
        lease_s: float = LEASE_S,
        *,
        asks_ahead: bool | None = None,
        exits_if_stalled: bool = True,
        name: str | None = None,
    ) -> None:
        self.study = study
        patience_s = study.spec.run.storage_patience_s
        self._worker = Worker(
            database,
            study,
            array.device,
            lease_s,
            patience_s=patience_s,
            exits_if_stalled=exits_if_stalled,
            name=name,
        )
        self._array, self._lane_count = array, lanes
        self._trained: dict[_Key, EndedTrial] = {}
        self._known_history = self._history
        self._remember(self._history.ended)
        self._record_beginning()
        self._lanes: dict[int, _Lane] = {}  # by trial
        self._repeats: dict[int, list[_Lane]] = {}  # by the running trial whose learning rates they share
        self._asks_ahead = not array.device.startswith("cpu") if asks_ahead is None else asks_ahead
        self._asked: list[HeldTrial] = []  # ahead: for lanes that become free
        self._array_trains = False  # in its thread
        self._lost_meanwhile: set[int] = set()  # slots
        self._drains = False  # no more trials begin

    def run(
        self,
        stop_requested: Callable[[], bool] = lambda: False,
        drain_requested: Callable[[], bool] = lambda: False,
    ) -> Iterator[Progress]:
        """Train until the budget is used up, and yield where the study stands.

        A value comes after every epoch, and whenever trials have begun. Slots of trials that still run when
        it stops are released, and the next run goes on with them from their checkpoint. While the database
        does not answer, the lanes are trained on, and what they learn is stored when it is back.

        Args:
            stop_requested: asked after every epoch; true ends the run.
            drain_requested: asked after every epoch; once true, no more trials begin, and the run ends with
                the last of those that are running.

        Raises:
            DatabaseLostError: the database has not answered for longer than the study's patience.
        """
        with self._worker, ThreadPoolExecutor(1, "lrsearch-training") as thread:
            while (reason := self._reason_to_stop(stop_requested)) is None:
                self._drains = self._worker.is_stopped or drain_requested()
                if self._drains and not self._lanes:
                    reason = StopReason.DRAINED
                    break
                before = len(self._lanes)
                news = [] if self._drains else self._fill_lanes()
                if news or len(self._lanes) > before:
                    yield self._progress(news)
                if self._lanes:
                    yield self._progress(self._train(thread))
                    if self._worker.checkpoints.due:
                        self._save()
                elif not news:
                    yield self._progress([])
                    time.sleep(WAIT_S)
            if self._worker.checkpoints.wanted:
                self._save()
        yield replace(self._progress([]), stopped=reason)

    def _record_beginning(self) -> None:
        """Store steps and loss with which a study begins; refuse others of a study that has begun.

        Raises:
            StudyConflictError: if the task has changed.
        """
        study, array = self._worker.optuna_study(), self._array
        attributes = study.user_attrs
        check_same_beginning(attributes, self._plan.spec, array.steps_per_epoch, array.untrained_loss)
        beginning = {STEPS_ATTRIBUTE: array.steps_per_epoch, LOSS_ATTRIBUTE: array.untrained_loss}
        for name in beginning.keys() - attributes.keys():
            study.set_user_attr(name, beginning[name])

    @property
    def _plan(self) -> Plan:
        return self._worker.plan

    @property
    def _history(self) -> History:
        return self._worker.history

    def _reason_to_stop(self, stop_requested: Callable[[], bool]) -> StopReason | None:
        reason = self._worker.reason_to_stop(stop_requested, busy=bool(self._lanes))
        if reason is StopReason.BUDGET:
            self._catch_up()
        return reason

    def _catch_up(self) -> None:
        self._give_up_lost(self._worker.write())
        if self._history is not self._known_history:  # trials that had ended here are others' now
            self._known_history = self._history
            self._trained.clear()
            self._remember(self._history.ended)
        self._remember(self._worker.catch_up(running=self._lanes))

    @property
    def is_in_touch(self) -> bool:
        """Whether the database has answered last, and knows all that this worker has learned."""
        return self._worker.is_in_touch

    def _remember(self, ended: Iterable[EndedTrial]) -> None:
        for trial in ended:
            if trial.result.outcome is not Outcome.FAIL:
                self._trained.setdefault(self._key(trial.hyperparameters), trial)

    def _progress(self, news: list[EndedTrial]) -> Progress:
        return self._worker.progress([lane.shown for lane in self._lanes.values()], news)

    # Beginning trials

    def _fill_lanes(self) -> list[EndedTrial]:
        """Begin trials in the free lanes; return those that ended at once: repeated or not startable."""
        free = self._lane_count - len(self._lanes)
        begun, self._asked = self._asked[:free], self._asked[free:]
        begun += self._ask(free - len(begun))
        repeats: list[tuple[_Lane, EndedTrial]] = []
        failed: list[tuple[_Lane, TrialResult]] = []
        running = {lane.key: trial for trial, lane in self._lanes.items()}
        for lane in map(self._lane, begun):
            if lane.key in self._trained:
                repeats.append((self._anew(lane), self._trained[lane.key]))
            elif lane.key in running:
                self._repeats.setdefault(running[lane.key], []).append(self._anew(lane))
            elif (failure := self._start(lane)) is not None:
                failed.append((lane, failure))
            else:
                running[lane.key] = lane.shown.number
        ended = [*self._end(failed).values(), *self._repeat(repeats)]
        if ended:
            self._worker.settle()
        return ended

    def _ask(self, count: int) -> list[HeldTrial]:
        """Claim slots and return their trials, all asked for together."""
        claims = self._worker.claim(count) if count > 0 else []
        if claims or not self._lanes:  # else only the last lanes of the budget are running out
            self._catch_up()
        return self._worker.begin(claims)

    def _lane(self, held: HeldTrial) -> _Lane:
        return _Lane(held, held.shown, self._key(held.shown.hyperparameters))

    def _start(self, lane: _Lane) -> TrialResult | None:
        """Put a trial into a free lane; return how it ended if that failed."""
        number, hyperparameters = lane.shown.number, lane.shown.hyperparameters
        try:
            with self._worker.keeper.training():
                if lane.held.saved is not None:
                    lane = self._resumed(lane, lane.held.saved)
                if lane.shown.epoch == 0:
                    self._array.start(number, hyperparameters)
        except Exception as error:  # whatever a user's model raises fails its trial, not the study
            where = trimmed_traceback(error)
            return TrialResult(Outcome.FAIL, None, 0, reason=in_one_line(error), traceback=where)
        self._lanes[number] = lane
        return None

    def _anew(self, lane: _Lane) -> _Lane:
        """Return a lane without the epochs of its checkpoint, as those of another one take their place."""
        return lane if lane.held.saved is None else self._lane(self._worker.begin_anew(lane.held))

    def _resumed(self, lane: _Lane, saved: SavedLane) -> _Lane:
        """Put a trial into a free lane as it was saved; return it as it begins anew if that is no use."""
        try:
            self._array.resume(lane.shown.number, lane.shown.hyperparameters, saved)
        except MisfitError as error:
            _log.warning("trial %d begins anew, as its checkpoint does not fit: %s", lane.shown.number, error)
            return self._lane(self._worker.begin_anew(lane.held))
        return replace(lane, held=replace(lane.held, saved=None))  # it takes memory

    def _save(self) -> None:
        """Write a checkpoint of the lanes, from which others go on if this worker cannot."""
        if not self._worker.is_in_touch:  # a trial goes on only from epochs that are stored
            return
        advanced = [lane for lane in self._lanes.values() if lane.shown.epoch > 0]
        with self._worker.keeper.training():  # a file system may hang, too
            self._worker.save([(lane.held, self._array.save(lane.shown.number)) for lane in advanced])

    def _key(self, hyperparameters: Hyperparameters) -> _Key:
        schedule = Schedule(hyperparameters, self._plan.epochs, self._array.steps_per_epoch)
        groups = (*hyperparameters.lr_scales.items(), hyperparameters.layer_decay, *hyperparameters.frozen)
        return (schedule.trajectory(), *sorted(hyperparameters.optimizer.items()), *groups)

    # Training and ending them

    def _train(self, thread: Executor) -> list[EndedTrial]:
        """Train all lanes for an epoch, record it, decide for all together, and return the ended trials."""
        results = [result for result in self._run_epoch(thread) if result.trial in self._lanes]
        epochs = [result for result in results if isinstance(result, EpochResult)]
        diverged = {r.trial for r in epochs if r.diverged(self._array.untrained_loss)}
        self._record_epochs(epochs, diverged)
        candidates = self._candidates(epochs) - diverged
        if candidates or self._worker.is_behind:  # else nothing is decided by what others did
            self._catch_up()
        pruned = self._plan.pruner.decide(self._history.losses, candidates)
        endings = {r.trial: _failed(r) for r in results if isinstance(r, LaneFailure)}
        for result in epochs:
            ending = _ending(result, self._plan.epochs, result.trial in diverged, result.trial in pruned)
            if ending is not None:
                endings[result.trial] = ending
        return self._end_lanes({trial: end for trial, end in endings.items() if trial in self._lanes})

    def _run_epoch(self, thread: Executor) -> list[EpochResult | LaneFailure]:
        """Train all lanes for an epoch, and meanwhile ask for the trials that follow those sure to end."""
        if not self._asks_ahead:
            with self._worker.keeper.training():
                return self._array.run_epoch()
        self._array_trains = True
        epoch = thread.submit(self._array.run_epoch)
        ending = sum(lane.shown.epoch + 1 >= self._plan.epochs for lane in self._lanes.values())
        free = self._lane_count - len(self._lanes)
        try:
            self._asked += [] if self._drains else self._ask(ending + free - len(self._asked))
        finally:
            with self._worker.keeper.training():
                wait([epoch])
            self._array_trains = False
            self._give_up_lost(self._lost_meanwhile)
            self._lost_meanwhile = set()
        return epoch.result()

    def _record_epochs(self, results: list[EpochResult], diverged: set[int]) -> None:
        """Store an epoch of all lanes in one transaction, and give up the lanes whose lease was lost."""
        reports = []
        for result in results:
            value = math.inf if result.trial in diverged else result.valid_loss
            self._history.enter(result.trial, result.epoch, value)
            lane = self._lanes[result.trial]
            shown = replace(lane.shown, epoch=result.epoch, valid_loss=result.valid_loss)
            self._lanes[result.trial] = replace(lane, shown=shown)
            reports.append((lane.held, result, value))
        self._give_up_lost(self._worker.record(reports))

    def _give_up_lost(self, slots: set[int]) -> None:
        """Drop the trials in slots that another worker has by now; while the array trains, afterwards."""
        if self._array_trains:
            self._lost_meanwhile |= slots
            return
        for trial in [number for number, lane in self._lanes.items() if lane.held.claim.slot in slots]:
            self._give_up(trial)

    def _give_up(self, trial: int) -> None:
        """Drop a trial whose lease was lost: another worker continues it."""
        self._array.drop([trial])
        self._worker.let_go([self._lanes.pop(trial).held.claim])
        self._worker.release(repeat.held.claim for repeat in self._repeats.pop(trial, []))

    def _candidates(self, results: list[EpochResult]) -> set[int]:
        """Return the trials that may be pruned: neither at their end nor protected."""
        return {
            result.trial
            for result in results
            if result.epoch < self._plan.epochs
            and result.trial in self._lanes
            and not self._lanes[result.trial].held.protected
        }

    def _end_lanes(self, endings: Mapping[int, TrialResult]) -> list[EndedTrial]:
        """End trials and those that waited for one with their learning rates."""
        if not endings:
            return []
        self._array.drop(endings.keys())
        ended = self._end([(self._lanes[trial], result) for trial, result in endings.items()])
        for trial in endings:
            if trial in ended:
                del self._lanes[trial]
            else:
                self._give_up(trial)
        news = [*ended.values(), *self._repeat(self._waiting_for(ended.values()))]
        self._worker.settle()
        return news

    def _waiting_for(self, ended: Iterable[EndedTrial]) -> list[tuple[_Lane, EndedTrial]]:
        """Return the trials that repeat others; where the other one has failed, let them go."""
        repeats = []
        for trial in ended:
            waiting = self._repeats.pop(trial.number, [])
            if trial.result.outcome is Outcome.FAIL:
                self._worker.release(lane.held.claim for lane in waiting)
            else:
                repeats += [(lane, trial) for lane in waiting]
        return repeats

    def _repeat(self, repeats: Sequence[tuple[_Lane, EndedTrial]]) -> list[EndedTrial]:
        """Give trials the curves and the results of others with the same learning rates."""
        reports, endings = [], []
        for lane, ended in repeats:
            curve = self._worker.curve(ended.number)
            if curve is None:  # the database does not answer
                self._worker.release([lane.held.claim])
                continue
            for epoch in curve:
                last = epoch.epoch == ended.result.epochs
                value = math.inf if ended.result.diverged and last else epoch.valid_loss
                self._history.enter(lane.shown.number, epoch.epoch, value)
                reports.append((lane.held, replace(epoch, trial=lane.shown.number), value))
            reason = ended.result.reason or f"same learning rates as trial {ended.number}"
            endings.append((lane, replace(ended.result, reason=reason)))
        self._give_up_lost(self._worker.record(reports))
        return list(self._end(endings).values())

    def _end(self, endings: Sequence[tuple[_Lane, TrialResult]]) -> dict[int, EndedTrial]:
        """Store how trials ended, and return them by number; those whose lease was lost are absent."""
        ended = self._worker.end([(lane.held, result) for lane, result in endings])
        self._remember(ended.values())
        return ended


def _ending(result: EpochResult, epochs: int, diverged: bool, pruned: bool) -> TrialResult | None:
    """Return how a trial ended with this epoch, or None if it goes on."""
    if diverged:
        return TrialResult(Outcome.PRUNED, math.inf, result.epoch, diverged=True)
    if result.epoch >= epochs:
        return TrialResult(Outcome.COMPLETE, result.valid_loss, result.epoch)
    return TrialResult(Outcome.PRUNED, result.valid_loss, result.epoch) if pruned else None


def _failed(failure: LaneFailure) -> TrialResult:
    epochs = failure.epoch - 1
    return TrialResult(Outcome.FAIL, None, epochs, reason=failure.reason, traceback=failure.traceback)
