"""Trials that a script of the user's trains: begun, reported epoch by epoch, pruned and ended here."""

import logging
import math
import shlex
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import optuna

from lrsearch.errors import BudgetSpentError, DatabaseSetupError, InputError, UnknownNameError
from lrsearch.results import Outcome, TrialResult, storable
from lrsearch.service.progress import EndedTrial, RunningTrial
from lrsearch.service.studies import OpenStudy, open_study, reopen, resolved, stored_spec
from lrsearch.service.tasks import load_kinds
from lrsearch.service.trial_files import Assignment, Report, check_order
from lrsearch.service.worker import HeldTrial, Worker
from lrsearch.spec import EXTERNAL, StudySpec, blamed_on, hyperparameters_by_part, read_spec
from lrsearch.spec.resolution import PART_SEPARATOR
from lrsearch.storage.address import DEFAULT_URL, parse_address
from lrsearch.storage.counters import EPOCHS
from lrsearch.storage.database import Database, open_database
from lrsearch.storage.epochs import record_epochs
from lrsearch.storage.masking import masked
from lrsearch.storage.studies import STEPS_ATTRIBUTE, find_study, list_studies

LARGEST_STEPS = 10**12
NOTHING_REPORTED = "no epoch was reported: report epoch and validation loss after every epoch"


class ExternalTrial:
    """One trial of a study that a script trains, from its beginning to its end.

    Args:
        worker: that holds it.
        held: the trial.
    """

    def __init__(self, worker: Worker, held: HeldTrial) -> None:
        self._worker, self._held = worker, held
        self._last: Report | None = None
        self._ending: TrialResult | None = None
        self._stop: str | None = None
        self._seen = time.monotonic()

    @property
    def assignment(self) -> Assignment:
        """What the script is to train with."""
        spec = self._worker.plan.spec
        points = hyperparameters_by_part(spec, self._held.searched)
        return Assignment(spec.name, self._held.number, self._worker.plan.epochs, spec.optimizer.name, points)

    @property
    def shown(self) -> RunningTrial:
        """The trial as it is shown while it runs."""
        if self._last is None:
            return self._held.shown
        return replace(self._held.shown, epoch=self._last.epoch, valid_loss=self._last.valid_loss)

    def report(self, report: Report) -> str | None:
        """Store an epoch, and return why the trial stops with it; None if it goes on.

        It stops if it is pruned, if it has diverged, or if its lease was lost. Later reports change nothing.

        Raises:
            InputError: if the epoch cannot follow the last one.
        """
        if self._stop is not None:
            return self._stop
        check_order(report.epoch, self._last.epoch if self._last else 0, self._worker.plan.epochs)
        if not self._record(report):
            self._stop = f"trial {self._held.number} was taken over by another worker, as its lease ran out"
            return self._stop
        self._last = report
        if report.diverged:
            self._ending = TrialResult(Outcome.PRUNED, math.inf, report.epoch, diverged=True)
            self._stop = self._described("diverged")
        elif self._is_pruned(report.epoch):
            self.prune()
        return self._stop

    def prune(self) -> None:
        """End the trial as PRUNED, whatever follows."""
        if self._ending is None:
            value, epochs = (self._last.valid_loss, self._last.epoch) if self._last else (None, 0)
            self._ending = TrialResult(Outcome.PRUNED, value, epochs)
            self._stop = self._described("was pruned")

    def built(self, steps_per_epoch: int, part: str | None) -> None:
        """Store the optimizer updates of an epoch, which the lines of PyTorch of a trial are made with.

        Raises:
            InputError: if it is no number of updates up to 10^12, or the study has no such part.
        """
        if isinstance(steps_per_epoch, bool) or not isinstance(steps_per_epoch, int) or steps_per_epoch < 1:
            raise InputError(f"steps_per_epoch must be a whole number from 1, but got {steps_per_epoch!r}")
        if steps_per_epoch > LARGEST_STEPS:
            raise InputError(f"steps_per_epoch must be at most {LARGEST_STEPS}")
        if not isinstance(part, str | None) or part not in self.assignment.hyperparameters:
            raise UnknownNameError("part", str(part), self._worker.plan.spec.parts or ())
        name = STEPS_ATTRIBUTE if part is None else f"{STEPS_ATTRIBUTE}{PART_SEPARATOR}{part}"
        study = self._worker.optuna_study()
        if study.user_attrs.get(name) != steps_per_epoch:
            study.set_user_attr(name, steps_per_epoch)

    def finish(self, failure: str | None = None) -> EndedTrial | None:
        """Store how the trial ended; None if its lease was lost.

        Args:
            failure: why it failed; None if it came to its end, with the last loss as its value.
        """
        ended = self._worker.end([(self._held, self._result(failure))])
        self._worker.settle()
        return ended.get(self._held.number)

    def release(self) -> None:
        """Give the trial back: it keeps its point, and begins anew where it is claimed next."""
        self._worker.release([self._held.claim])

    def _record(self, report: Report) -> bool:
        now = time.monotonic()
        seconds, self._seen = now - self._seen, now
        value = math.inf if report.diverged else report.valid_loss
        self._worker.history.enter(self._held.number, report.epoch, value)
        result = report.result(self._held.number, seconds)
        EPOCHS.add()
        return not record_epochs(self._worker.slots, [(self._held.claim, result, value)])

    def _is_pruned(self, epoch: int) -> bool:
        number = self._held.number
        if self._held.protected or epoch >= self._worker.plan.epochs:
            return False
        self._worker.catch_up(running=[number])
        return number in self._worker.plan.pruner.decide(self._worker.history.losses, {number})

    def _result(self, failure: str | None) -> TrialResult:
        if self._ending is not None:
            return self._ending
        epochs = self._last.epoch if self._last else 0
        if failure is None and self._last is not None:
            return TrialResult(Outcome.COMPLETE, self._last.valid_loss, epochs)
        return TrialResult(Outcome.FAIL, None, epochs, reason=storable(failure or NOTHING_REPORTED))

    def _described(self, what: str) -> str:
        if self._last is None:
            return f"trial {self._held.number} {what} before its first report"
        at = f"at epoch {self._last.epoch}, with validation loss {self._last.valid_loss:.4g}"
        return f"trial {self._held.number} {what} {at}"


def next_trial(worker: Worker) -> ExternalTrial | None:
    """Claim a slot and begin its trial; None if no slot is free now."""
    while claims := worker.claim(1):
        worker.catch_up(running=())
        for held in worker.begin(claims):
            return ExternalTrial(worker, held)
    return None


def budget_spent(worker: Worker) -> BudgetSpentError:
    """Return the error that says why no trial can be begun now, and what helps."""
    spec, running, url = worker.plan.spec, worker.slots.counts().leased, worker.database.masked_url
    more = ["lrsearch", "extend", spec.name, "--trials", "+10"]
    more += ["--storage", url] if url != DEFAULT_URL else []
    state = "have ended."
    if running:
        state = (
            f"have begun, and {running} of them run elsewhere; of those that died, a script takes over what "
            "was killed on its own machine, and lrsearch worker, which stays, what another machine left."
        )
    return BudgetSpentError(
        f"all {spec.trials} trials of study {spec.name!r} {state} Add some: {shlex.join(more)}"
    )


def is_study_file(study: str) -> bool:
    """Return whether a text names a study file, and not a stored study."""
    return study.endswith(".toml") or Path(study).is_file()


def open_storage(study: str, url: str | None) -> Database:
    """Open the database of a study; a SQLite file that does not exist is made for a study file alone.

    Args:
        study: a study file's path or a stored study's name.
        url: of the database, or None for the default.

    Raises:
        DatabaseSetupError: if the database cannot be used, or a stored study is asked of none.
    """
    path = parse_address(url).path
    if not is_study_file(study) and path is not None and not path.exists():
        raise DatabaseSetupError(
            f"there is no database {masked(url or DEFAULT_URL)} yet, so no stored study {study!r}. "
            "Give the path of a study file instead, which makes both"
        )
    return open_database(url)


def open_external(
    database: Database, study: str, allowed: Collection[str] = (), timeout_s: float | None = None
) -> OpenStudy:
    """Create or open a study whose training is a script of the user's.

    Args:
        database: where it is stored.
        study: a study file's path or a stored study's name.
        allowed: references of the user's own schedules that may be imported; a file's are, as it leaves open
            what the code says.
        timeout_s: seconds after which a worker stops, or None.

    Raises:
        UnknownNameError: if there is no such study.
        CodeNotAllowedError: if the file names code that the user did not.
        InputError: if lrsearch itself trains the study's task.
    """
    optuna.logging.set_verbosity(logging.WARNING)
    overrides = {} if timeout_s is None else {"run.timeout_s": timeout_s}
    stored = {record.name for record in list_studies(database)}
    if study in stored or not is_study_file(study):
        record = find_study(database, study)
        with blamed_on(f"study {study!r}", overrides):
            spec = stored_spec(record, overrides)
        _check_external(spec)
        return OpenStudy(record, spec, reopen(database, record))
    draft = read_spec(Path(study), overrides)
    _check_external(draft)
    load_kinds(draft, allowed)
    with blamed_on(study, overrides):
        spec = resolved(draft)
    return open_study(database, spec)


def _check_external(spec: StudySpec) -> None:
    if spec.task != EXTERNAL:
        raise InputError(
            f"a script trains the trials of studies with task = {EXTERNAL!r}; study {spec.name!r} has task = "
            f"{spec.task!r}, which is trained by: lrsearch optimize {shlex.quote(spec.name)}"
        )
