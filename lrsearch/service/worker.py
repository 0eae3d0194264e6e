"""A worker: one process's part in a study, from the claim of a slot to the result that it leaves there."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

import optuna

from lrsearch.errors import DatabaseLostError
from lrsearch.parameters import Point, Scalar
from lrsearch.results import Claim, EpochResult, TrialResult
from lrsearch.search.samplers import SLOT_ATTRIBUTE, Turn, proposing_sampler
from lrsearch.search.space import distributions
from lrsearch.service.checkpoint_folder import checkpoint_folder
from lrsearch.service.checkpoints import Checkpoints, digest_of
from lrsearch.service.history import History
from lrsearch.service.leases import LeaseKeeper
from lrsearch.service.ledger import Ledger
from lrsearch.service.outage import Outage
from lrsearch.service.plan import Plan
from lrsearch.service.progress import EndedTrial, Holder, Progress, RunningTrial, StopReason
from lrsearch.service.studies import OpenStudy, stored_spec
from lrsearch.storage.checkpoints import name_checkpoint, named_checkpoints
from lrsearch.storage.counters import EPOCHS
from lrsearch.storage.database import Database
from lrsearch.storage.epochs import curves, forget_epochs
from lrsearch.storage.optuna_tables import NewTrial
from lrsearch.storage.process import this_process
from lrsearch.storage.slots import LEASE_S, Slots
from lrsearch.storage.studies import optuna_study_id, study_spec
from lrsearch.storage.study_states import pause_failing, study_state
from lrsearch.storage.tables import FAILING, OPEN, PAUSED, STOPPED
from lrsearch.storage.workers import free_the_dead, join_study, leave_study, new_name

if TYPE_CHECKING:
    from lrsearch.training.saved_lane import SavedLane

WAIT_S = 0.5
LOOK_S = 2.0


@dataclass(frozen=True)
class HeldTrial:
    """A trial that a worker holds.

    Args:
        claim: of its slot.
        searched: the searched values of its point.
        shown: the trial as it is shown when it begins.
        protected: whether it is one of the study's first trials, which are not pruned.
        digest: of all that decides its losses.
        saved: what it goes on from; None if it begins at its first epoch.
    """

    claim: Claim
    searched: Point
    shown: RunningTrial
    protected: bool
    digest: str = ""
    saved: "SavedLane | None" = None

    @property
    def number(self) -> int:
        """Number of the trial in its study."""
        return self.shown.number

    def ended(self, result: TrialResult) -> EndedTrial:
        """Return the trial as it has ended."""
        return EndedTrial(
            self.number, self.shown.hyperparameters, result, self.shown.parts, self.shown.holder
        )


class Worker:
    """What a process holds of a study, and what it knows of the rest.

    As a context it keeps its leases alive; on leaving, whatever it still holds is released.

    Args:
        database: where the study is stored.
        study: the study, opened.
        device: what it trains on, for people.
        lease_s: how long its claims last without being renewed, in seconds.
        patience_s: how long it goes on without the database, in seconds; None where every call waits for it.
        exits_if_stalled: whether the process ends if its training hangs.
        name: of the worker, which no other that is alive may have; None for one made of host and process.

    Raises:
        WorkerNameTakenError: if a worker of this name is alive.
        WorkersFullError: if the study has as many workers as it allows.
    """

    def __init__(
        self,
        database: Database,
        study: OpenStudy,
        device: str,
        lease_s: float = LEASE_S,
        *,
        patience_s: float | None = None,
        exits_if_stalled: bool = True,
        name: str | None = None,
    ) -> None:
        self.database, self.study = database, study
        self.slots = Slots(database, study.record.uuid, lease_s)
        self.plan = Plan.of(study.spec)
        self.history = History(self.slots, self.plan)
        self._stored = study.record.spec
        self._optuna: tuple[int, optuna.Study] | None = None
        self._name = name or new_name()
        self.is_lost = False  # whether the database has not answered for too long: nobody asks it again
        join_study(database, study.record.uuid, self._name, this_process(), device)
        free_the_dead(database, study.record.uuid)
        self.state = study_state(database, study.record.uuid)
        stall_timeout_s = study.spec.run.stall_timeout_s
        self.keeper = LeaseKeeper(self.slots, self._name, stall_timeout_s, exits=exits_if_stalled)
        self._notes: list[str] = []
        run, folder = study.spec.run, checkpoint_folder(database.address, study.spec.run.checkpoint_dir)
        self.checkpoints = Checkpoints(
            folder / study.record.uuid, study.record.uuid, self._name, run, self._notes.append
        )
        self._outage = Outage(database.address, patience_s)
        if patience_s is None:
            database.wait_for(study.spec.run.storage_patience_s)
        self._ledger = Ledger(self.slots, self._outage)
        self._held: dict[int, Claim] = {}  # by slot
        self._interrupted = False
        self._caught_up_s = time.monotonic()
        self._history_is_wrong = False
        self._unconfirmed: set[int] = set()  # slots of trials whose end is not written yet
        self._started = time.monotonic()
        self._ended_before = len(self.history.ended)

    def __enter__(self) -> Self:
        self._started, self._ended_before = time.monotonic(), len(self.history.ended)
        self.keeper.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, DatabaseLostError) or self.is_lost:
                return  # its leases run out by themselves
            self._outage.try_now()
            self.release([claim for claim in self._held.values() if not self._ledger.holds(claim)])
            while self._ledger.pending and not self._interrupted:  # who wants to leave waits for nothing
                time.sleep(WAIT_S)
                self.write()
            self._outage.attempt(self.slots.settle, None)
            self._sweep()
            uuid = self.study.record.uuid
            self._outage.attempt(lambda: leave_study(self.database, uuid, self._name), None)
        finally:
            self.keeper.__exit__(kind, error, trace)

    @property
    def name(self) -> str:
        """Its name, as in the slots that it holds."""
        return self._name

    @property
    def is_stopped(self) -> bool:
        """Whether somebody has stopped the study: its running trials end, and no more begin."""
        return self.state.name == STOPPED

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
            self._interrupted = True
            return StopReason.INTERRUPTED
        if self.state.name in {PAUSED, FAILING}:
            return StopReason.PAUSED if self.state.name == PAUSED else StopReason.FAILURES
        if self.is_stopped and not busy:
            return StopReason.STOPPED
        if run.timeout_s is not None and time.monotonic() - self._started >= run.timeout_s:
            return StopReason.TIMEOUT
        if self.history.keeps_failing:
            self._pause_failing()
            return StopReason.FAILURES
        if run.stop_after_no_gain is not None and self.history.trials_without_gain >= run.stop_after_no_gain:
            return StopReason.NO_GAIN
        spent = not busy and self._outage.attempt(self.slots.all_ended, otherwise=False)
        return StopReason.BUDGET if spent else None

    def catch_up(self, running: Collection[int]) -> list[EndedTrial]:
        """Follow what happened outside, and return the trials that others ended.

        Args:
            running: this worker's own trials, whose losses it knows better.
        """
        return self._outage.attempt(lambda: self._caught_up(running), [])

    @property
    def is_behind(self) -> bool:
        """Whether it has not looked for some seconds what happened outside, as that the study was paused."""
        return time.monotonic() - self._caught_up_s >= LOOK_S

    def _caught_up(self, running: Collection[int]) -> list[EndedTrial]:
        uuid = self.study.record.uuid
        stored, self.state = study_spec(self.database, uuid), study_state(self.database, uuid)
        if stored != self._stored:
            spec = stored_spec(replace(self.study.record, spec=stored))
            run = self.plan.spec.run
            self._stored, self.plan = stored, Plan.of(spec.model_copy(update={"run": run}))
        self._caught_up_s = time.monotonic()
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
        none: list[Claim] = []
        if self.state.name != OPEN:
            return none
        claims = self._outage.attempt(lambda: self._claimed(limit), none)
        self._held |= {claim.slot: claim for claim in claims}
        self.keeper.hold(self._held.values())
        return claims

    def _claimed(self, limit: int) -> list[Claim]:
        """Return claims; where there are none, those of workers of this machine that have died since."""
        claims = self.slots.claim(self._name, limit, self._held)
        if not claims and not self._held and free_the_dead(self.database, self.study.record.uuid):
            claims = self.slots.claim(self._name, limit, self._held)
        return claims

    def let_go(self, claims: Iterable[Claim]) -> None:
        """Renew the leases of claims no more: they have ended, or were lost."""
        for claim in claims:
            held = self._held.get(claim.slot)
            if held is not None and held.attempt == claim.attempt:
                del self._held[claim.slot]
        self.keeper.hold(self._held.values())

    def release(self, claims: Iterable[Claim]) -> None:
        """Give slots back: their trials keep their points for the next holder."""
        released = list(claims)
        if released:
            self._ledger.release(released)
            self.write()

    def settle(self) -> None:
        """Tell Optuna results that it may not know: those of workers that have died."""
        if self.slots.settling_is_due:
            self._outage.attempt(self.slots.settle, None)

    def write(self) -> set[int]:
        """Write what the database does not know yet, if it answers; return the slots that were lost.

        Raises:
            DatabaseLostError: it has not answered for longer than is waited.
        """
        written = self._ledger.write()
        self.let_go((*written.closed, *written.lost))
        lost = {claim.slot for claim in written.lost}
        self._history_is_wrong |= bool(
            lost & self._unconfirmed
        )  # others go on with trials that had ended here
        if self._history_is_wrong:
            history = self._outage.attempt(self._whole_history, None)
            self._history_is_wrong = history is None
            self.history = history or self.history
        if not self._ledger.pending:
            self._unconfirmed.clear()
        return lost

    def _whole_history(self) -> History:
        self.slots.look_at_all()
        return History(self.slots, self.plan)

    @property
    def is_in_touch(self) -> bool:
        """Whether the database has answered last, and knows all that this worker has learned."""
        return not self._outage.lasts and not self._ledger.pending

    # Trials

    def begin(self, claims: Sequence[Claim]) -> list[HeldTrial]:
        """Return the trials for claims, by slot: those that their slots have, else new ones.

        The points of new trials are proposed together. Claims that were lost meanwhile have no trial.
        """
        if not claims:
            return []  # without a question, nothing says that the database is back
        held = self._outage.attempt(lambda: self._begun(claims), None)
        if held is None:  # they are claimed anew: the database may or may not have their trials
            self.release(claims)
            return []
        begun = {trial.claim.slot for trial in held}
        self.let_go(claim for claim in claims if claim.slot not in begun)
        return held

    def _begun(self, claims: Sequence[Claim]) -> list[HeldTrial]:
        again = [claim for claim in claims if claim.trial is not None and claim.point is not None]
        new = [claim for claim in claims if claim.trial is None or claim.point is None]
        return sorted((*self._restarted(again), *self._asked(new)), key=lambda trial: trial.claim.slot)

    def record(self, epochs: Sequence[tuple[HeldTrial, EpochResult, float]]) -> set[int]:
        """Store epochs of trials that it holds, and return the slots that were lost.

        Args:
            epochs: each with its trial, and the value that Optuna gets to see: the validation loss, or
                ``inf`` if it diverged.
        """
        EPOCHS.add(len(epochs))
        self._ledger.enter((held.claim, epoch, value) for held, epoch, value in epochs)
        return self.write()

    def curve(self, trial: int) -> list[EpochResult] | None:
        """Return all epochs of a trial; None while the database does not answer, or know all of them."""
        if self._ledger.pending:
            return None
        uuid = self.study.record.uuid
        return self._outage.attempt(lambda: curves(self.database, uuid, trial), None)

    def end(self, endings: Sequence[tuple[HeldTrial, TrialResult]]) -> dict[int, EndedTrial]:
        """Store how trials ended, and return them by number; those whose lease was lost are absent."""
        self._ledger.end((held.claim, result) for held, result in endings)
        lost = self.write()
        ended = {}
        for held, result in endings:
            if held.claim.slot not in lost:
                ended[held.number] = held.ended(result)
                self.history.add(held.claim.slot, held.searched, ended[held.number])
        if self._ledger.pending:
            self._unconfirmed |= {held.claim.slot for held, _result in endings}
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
            notes=self._take_notes(),
            elapsed_s=elapsed_s,
            remaining_s=elapsed_s * left / done_in_part if done_in_part > 0 else None,
            waiting=not running and not news,
            study=self.plan.spec.name,
            optimizer=self.plan.spec.optimizer.name,
            worker=self._name,
        )

    def _restarted(self, claims: Sequence[Claim]) -> list[HeldTrial]:
        """Return the trials that slots have: they go on from their checkpoints, or begin anew."""
        again = [
            self._recalled(self._held_trial(claim, claim.trial, claim.point))
            for claim in claims
            if claim.trial is not None and claim.point is not None
        ]
        self.checkpoints.forget_read()
        lost = {each.slot for each in forget_epochs(self.slots, [(t.claim, t.shown.epoch) for t in again])}
        held = [trial for trial in again if trial.claim.slot not in lost]
        for trial in held:
            self.history.restart(trial.number, trial.shown.epoch)
        return held

    def _recalled(self, trial: HeldTrial) -> HeldTrial:
        """Return a trial with what it goes on from, if that is all there."""
        saved = self.checkpoints.read(trial.claim, trial.digest)
        losses = self.history.losses.get(trial.number, {})
        if saved is None or any(epoch not in losses for epoch in range(1, saved.epoch + 1)):
            return trial
        shown = replace(trial.shown, epoch=saved.epoch, valid_loss=losses[saved.epoch])
        return replace(trial, shown=shown, saved=saved)

    def begin_anew(self, trial: HeldTrial) -> HeldTrial:
        """Return a trial as it is without its checkpoint; if it was lost, its next epoch says so."""
        nothing: list[Claim] = []
        self._outage.attempt(lambda: forget_epochs(self.slots, [(trial.claim, 0)]), nothing)
        self.history.restart(trial.number)
        return replace(trial, shown=replace(trial.shown, epoch=0, valid_loss=None), saved=None)

    # Checkpoints

    def save(self, lanes: Sequence[tuple[HeldTrial, "SavedLane"]]) -> None:
        """Write a checkpoint of trials that it holds, from which whoever trains them next goes on."""
        if not lanes:
            return
        name = self.checkpoints.write({(held.number, held.digest): saved for held, saved in lanes})
        if name is not None:
            claims = [held.claim for held, _saved in lanes]
            self._outage.attempt(lambda: name_checkpoint(self.slots, claims, name), None)
            self._sweep()

    def _pause_failing(self) -> None:
        """Pause the study, so that a broken task does not use up its budget, here or elsewhere."""
        uuid, reason = self.study.record.uuid, self.history.last_failure or "no reason was given"
        self._outage.attempt(lambda: pause_failing(self.database, uuid, reason), None)

    def _sweep(self) -> None:
        """Delete the checkpoints that no trial goes on from."""
        uuid = self.study.record.uuid
        named = self._outage.attempt(lambda: named_checkpoints(self.database, uuid), None)
        if named is not None:
            all_ended = self._outage.attempt(self.slots.all_ended, otherwise=False)
            self.checkpoints.sweep(named, all_ended=all_ended)

    def _asked(self, claims: Sequence[Claim]) -> list[HeldTrial]:
        """Return new trials, their points proposed by the study's sampler."""
        if not claims:
            return []
        space, spec = self.plan.space, self.plan.spec
        for claim in claims:
            space.check_part(claim.point or {})
        turns = [Turn(claim.slot, space.searched_part(claim.point or {})) for claim in claims]
        sampler = proposing_sampler(spec.sampler, space, seed=spec.seed, n_trials=spec.trials)
        points = sampler.propose(turns, self.history.attempts())
        known = distributions(space)
        trials = [
            NewTrial(point, known, {SLOT_ATTRIBUTE: turn.index})
            for turn, point in zip(turns, points, strict=True)
        ]
        numbers = self.slots.begin(list(zip(claims, trials, strict=True)))
        return [
            self._held_trial(claim, numbers[claim.slot], trial.params)
            for claim, trial in zip(claims, trials, strict=True)
            if claim.slot in numbers
        ]

    def _take_notes(self) -> tuple[str, ...]:
        notes = (*self._notes, *self._outage.take_notes())
        self._notes.clear()
        return notes

    def _held_trial(self, claim: Claim, number: int, searched: Mapping[str, Scalar]) -> HeldTrial:
        shown = replace(self.plan.running(number, searched), holder=Holder(self._name, claim.attempt))
        spec = self.plan.spec
        digest = digest_of(
            shown.hyperparameters, spec.task, spec.epochs, spec.batch_size, spec.optimizer.name, spec.seed
        )
        return HeldTrial(claim, dict(searched), shown, searched in self.plan.protected, digest)
