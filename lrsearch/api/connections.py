"""Where a script's trial comes from and its losses go: a database, a worker's files, or rank 0."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lrsearch.errors import BudgetSpentError, DatabaseLostError, InputError, LrsearchError
from lrsearch.results import Outcome, in_one_line
from lrsearch.service.trial_files import (
    REPORT_FILE,
    TERMINATED,
    TRIAL_FILE,
    Assignment,
    Report,
    append,
    asked_to_stop,
    check_order,
)

if TYPE_CHECKING:
    from lrsearch.service.external import ExternalTrial
    from lrsearch.service.worker import Worker

Value = TypeVar("Value")


class TrialPruned(Exception):  # noqa: N818 # named as Optuna names its own: it ends a trial and is no error
    """Raised inside a training script when its trial stops: pruned, diverged, or taken over by another."""


class Connection(Protocol):
    """A script's way to its trial: ``begin``, then reports, then one of the last four."""

    def begin(self) -> Assignment:
        """Begin a trial, and return what to train with."""
        ...

    def built(self, steps_per_epoch: int, part: str | None) -> None:
        """Tell how many updates an epoch of a part's optimizer has."""
        ...

    def report(self, content: dict[str, Any]) -> tuple[float, str | None]:
        """Tell an epoch's figures; return the loss that counts, and why the trial stops, or None."""
        ...

    def prune(self) -> None:
        """End the trial as PRUNED."""
        ...

    def fail(self, reason: str) -> None:
        """End the trial as FAIL."""
        ...

    def complete(self) -> None:
        """End the trial with its last loss as its value."""
        ...

    def release(self) -> None:
        """Give the trial back: it begins anew where it is claimed next."""
        ...


class WorkerConnection:
    """A trial that a worker of this process claims.

    Args:
        worker: entered as a context, and left by who made it.
    """

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._open = ExitStack()  # what is left with the trial
        self._trial: ExternalTrial | None = None

    def claim(self) -> bool:
        """Claim a slot and begin its trial; return whether the study has one that can be begun now."""
        from lrsearch.service.external import next_trial

        self._trial = next_trial(self._worker)
        return self._trial is not None

    def begin(self) -> Assignment:
        """Return the trial that was claimed, or claim one.

        Raises:
            BudgetSpentError: if the study has none that can be begun now.
        """
        from lrsearch.service.external import budget_spent

        if self._trial is None and not self.claim():
            raise budget_spent(self._worker)
        return self._held.assignment

    @property
    def _held(self) -> "ExternalTrial":
        if self._trial is None:
            raise RuntimeError("no trial was begun")
        return self._trial

    def built(self, steps_per_epoch: int, part: str | None) -> None:
        """Store how many updates an epoch has."""
        self._held.built(steps_per_epoch, part)

    def report(self, content: dict[str, Any]) -> tuple[float, str | None]:
        """Store an epoch; return its loss, and why the trial stops."""
        report = Report.of(content)
        return report.valid_loss, self._held.report(report)

    def prune(self) -> None:
        """Store that the trial was pruned."""
        with self._open:
            self._held.prune()
            self._held.finish()

    def fail(self, reason: str) -> None:
        """Store why the trial failed."""
        try:
            with self._open:
                self._held.finish(reason)
        except DatabaseLostError:  # the error that ends the block is raised; the lease runs out by itself
            self._worker.is_lost = True

    def complete(self) -> None:
        """Store the last loss as the trial's value.

        Raises:
            InputError: if nothing was reported; then the trial has failed.
        """
        with self._open:
            ended = self._held.finish()
        if ended is not None and ended.result.outcome is Outcome.FAIL:
            raise InputError(f"trial {ended.number}: {ended.result.reason}: t.report(epoch, valid_loss)")

    def release(self) -> None:
        """Give the slot back."""
        with self._open:
            self._held.release()


class DatabaseConnection(WorkerConnection):
    """A trial that this process claims in the database itself, as a worker of its own.

    Args:
        study: a study file's path or a stored study's name.
        url: of the database, or None for the default.
        allowed: references of the user's own schedules that may be imported.
    """

    def __init__(self, study: str, url: str | None, allowed: Collection[str] = ()) -> None:
        self._study, self._url, self._allowed = study, url, allowed
        self._trial = None

    def begin(self) -> Assignment:
        """Claim a slot and begin its trial.

        Raises:
            BudgetSpentError: if the study has none left to begin.
        """
        from lrsearch.service.external import open_external, open_storage
        from lrsearch.service.studies import check_same_kinds
        from lrsearch.service.tasks import load_kinds
        from lrsearch.service.worker import Worker

        with ExitStack() as opened:
            database = opened.enter_context(open_storage(self._study, self._url))
            study = open_external(database, self._study, self._allowed)
            load_kinds(study.spec, self._allowed)
            check_same_kinds(study.record)
            self._worker = opened.enter_context(Worker(database, study, "script"))
            assignment = super().begin()
            self._open = opened.pop_all()
        return assignment


class FileConnection:
    """A trial that ``lrsearch worker`` holds for this script.

    SIGTERM ends the block, wherever it is, and says nothing about the trial. The worker's raises TrialPruned:
    it knows why it asked. Anybody else's raises SystemExit, with the exit code by which the worker sees it.

    Args:
        trial_file: what to train with.
        report_file: how it goes.
        allowed: references of the user's own schedules that may be imported.
    """

    _begun: set[Path] = set()  # noqa: RUF012 # of the whole process: a worker runs it for one trial

    def __init__(self, trial_file: Path, report_file: Path, allowed: Collection[str] = ()) -> None:
        self._trial_file, self._report_file, self._allowed = trial_file, report_file, allowed
        self._epoch = self._epochs = 0
        self._handler: Any = None
        self._stop: str | None = None
        self._asked = False  # whether the worker sent SIGTERM

    def begin(self) -> Assignment:
        """Read what to train with.

        Raises:
            BudgetSpentError: if this process has begun the trial before.
        """
        if self._trial_file in self._begun:
            raise BudgetSpentError(
                "lrsearch worker runs this script once for every trial, and this process has had its own; "
                "begin one trial and leave"
            )
        assignment = Assignment.read(self._trial_file, self._allowed)
        self._begun.add(self._trial_file)
        self._epochs = assignment.epochs
        if threading.current_thread() is threading.main_thread():  # elsewhere Python takes no handlers
            self._handler = signal.signal(signal.SIGTERM, self._on_stop)
        return assignment

    def built(self, steps_per_epoch: int, part: str | None) -> None:
        """Write how many updates an epoch has."""
        append(self._report_file, {"steps_per_epoch": steps_per_epoch, "part": part})

    def report(self, content: dict[str, Any]) -> tuple[float, str | None]:
        """Write an epoch; return its loss, and why the trial stops."""
        report = Report.of(content)
        if self._stop is None:
            check_order(report.epoch, self._epoch, self._epochs)
            append(self._report_file, report.line())
            self._epoch = report.epoch
        if report.diverged and self._stop is None:
            self._stop = f"diverged at epoch {report.epoch}, with validation loss {report.valid_loss:.4g}"
        return report.valid_loss, self._stop

    def prune(self) -> None:
        """Write that the trial was pruned; where the worker asked for it, it needs no word."""
        self._end(**({} if self._asked else {"state": Outcome.PRUNED.value}))

    def fail(self, reason: str) -> None:
        """Write why the trial failed."""
        self._end(state=Outcome.FAIL.value, reason=reason)

    def complete(self) -> None:
        """Write that the trial is complete, whatever the process comes to afterwards.

        Raises:
            InputError: if nothing was reported.
        """
        if self._epoch:
            self._end(state=Outcome.COMPLETE.value)
            return
        self._end()
        raise InputError("no epoch was reported; call t.report(epoch, valid_loss) after every epoch")

    def release(self) -> None:
        """Leave the rest to the worker, which sees the exit code."""
        self._end()

    def _end(self, **state: str) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)
        if state:
            append(self._report_file, state)

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        if not asked_to_stop(self._report_file):
            raise SystemExit(TERMINATED)
        self._asked, self._stop = True, "the worker asked the script to stop"
        raise TrialPruned(self._stop)


class RankConnection:
    """The trial of rank 0, shared with all ranks of ``torch.distributed``.

    Rank 0 alone opens the database or the files. What it gets, or the error that it meets, is broadcast, so
    that no rank waits for ever.

    Args:
        connection: rank 0's; the other ranks do not use theirs.
        distributed: the module ``torch.distributed``, initialised.
        allowed: references of the user's own schedules that may be imported.
    """

    def __init__(self, connection: Connection, distributed: Any, allowed: Collection[str] = ()) -> None:
        self._connection, self._distributed, self._allowed = connection, distributed, allowed
        self._first = distributed.get_rank() == 0

    def begin(self) -> Assignment:
        """Begin one trial for all ranks."""
        assignment = self._shared(self._connection.begin)
        if not self._first:
            assignment.load_kinds(self._allowed)
        return assignment

    def built(self, steps_per_epoch: int, part: str | None) -> None:
        """Tell how many updates an epoch has."""
        self._shared(lambda: self._connection.built(steps_per_epoch, part))

    def report(self, content: dict[str, Any]) -> tuple[float, str | None]:
        """Report rank 0's figures; all ranks get its loss and its decision."""
        return self._shared(lambda: self._connection.report(content))

    def prune(self) -> None:
        """End the trial as PRUNED."""
        self._shared(self._connection.prune)

    def fail(self, reason: str) -> None:
        """End the trial as FAIL if this is rank 0; alone, for the others may not come here."""
        if self._first:
            self._connection.fail(reason)

    def complete(self) -> None:
        """End the trial with its last loss as its value."""
        self._shared(self._connection.complete)

    def release(self) -> None:
        """Give the trial back if this is rank 0; alone, for the others may not come here."""
        if self._first:
            self._connection.release()

    def _shared(self, action: Callable[[], Value]) -> Value:
        """Return what an action of rank 0 returns, on all ranks; raise on all of them what it raises."""
        outcome: list[Any] = [None, None, False]
        failure: BaseException | None = None
        if self._first:
            try:
                outcome[0] = action()
            except BaseException as error:  # raised below, after the other ranks know
                failure = error
                outcome = [None, in_one_line(error), isinstance(error, TrialPruned)]
        self._distributed.broadcast_object_list(outcome, src=0)
        if failure is not None:
            raise failure
        value, reason, pruned = outcome
        if reason is not None:
            raise (TrialPruned if pruned else LrsearchError)(f"rank 0: {reason}")
        return value  # type: ignore[no-any-return]  # what was broadcast has no type


def connect(study: str | None, url: str | None, allowed: Collection[str]) -> Connection:
    """Return this process's way to a trial.

    Args:
        study: a study file's path or a stored study's name; a worker's study goes before it.
        url: of the database, or None for the default.
        allowed: references of the user's own schedules that may be imported.

    Raises:
        InputError: if there is no study, or torchrun's processes do not know each other yet.
    """
    connection = _connect(study, url, allowed)
    distributed = _distributed()
    return connection if distributed is None else RankConnection(connection, distributed, allowed)


def number_of_processes() -> int:
    """Return how many processes train together with this one, itself included."""
    module = sys.modules.get("torch.distributed")
    if module is not None and module.is_available() and module.is_initialized():
        return int(module.get_world_size())
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def _connect(study: str | None, url: str | None, allowed: Collection[str]) -> Connection:
    files = [os.environ.get(name) for name in (TRIAL_FILE, REPORT_FILE)]
    if files[0] and files[1]:
        return FileConnection(Path(files[0]), Path(files[1]), allowed)
    if study is None:
        raise InputError(
            "lrsearch.trial() takes its study from lrsearch worker; elsewhere name a stored study or a study "
            'file: lrsearch.trial("gan.toml")'
        )
    return DatabaseConnection(study, url or os.environ.get("LRSEARCH_STORAGE") or None, allowed)


def _distributed() -> Any:
    """Return ``torch.distributed`` if this is one of several processes that train together, else None."""
    processes = number_of_processes()
    if processes == 1:
        return None
    module = sys.modules.get("torch.distributed")
    if module is not None and module.is_available() and module.is_initialized():
        return module
    raise InputError(
        f"torchrun started {processes} processes, which share one trial; call "
        "torch.distributed.init_process_group() before lrsearch.trial()"
    )
