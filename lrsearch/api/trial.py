"""``lrsearch.trial``: one trial of a study inside a training script of the user's own."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lrsearch.api.connections import Connection, RankConnection, TrialPruned, connect
from lrsearch.errors import InputError, UnknownNameError
from lrsearch.foreign_warnings import foreign_warnings_hidden
from lrsearch.results import in_one_line
from lrsearch.schedules import Hyperparameters, Schedule
from lrsearch.service.trial_files import TERMINATED, Assignment

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from lrsearch.training.scheduler import ScheduleLR

__all__ = ["Trial", "TrialPruned", "trial"]

Named = Iterable[tuple[str, "nn.Parameter"]]


class Trial:
    """One trial: what to train with, and who is told how it goes.

    Made by :func:`lrsearch.trial`.

    Args:
        connection: where its losses go.
        assignment: what it trains with.
        diverged_above: validation loss above which the training counts as diverged, or None.
    """

    def __init__(
        self, connection: Connection, assignment: Assignment, diverged_above: float | None = None
    ) -> None:
        self._connection, self._assignment = connection, assignment
        self._diverged_above = diverged_above
        self._schedulers: dict[str | None, ScheduleLR] = {}

    def __repr__(self) -> str:
        return f"Trial({self.number} of study {self.study!r}, {self.epochs} epochs)"

    @property
    def study(self) -> str:
        """Name of the study."""
        return self._assignment.study

    @property
    def number(self) -> int:
        """Number of the trial in its study."""
        return self._assignment.number

    @property
    def epochs(self) -> int:
        """Length of the trial, if it is not pruned."""
        return self._assignment.epochs

    @property
    def shared(self) -> bool:
        """Whether all ranks of ``torch.distributed`` train it together."""
        return isinstance(self._connection, RankConnection)

    @property
    def hyperparameters(self) -> Hyperparameters:
        """What to train with.

        Raises:
            InputError: if the study has parts; then each has its own, in :attr:`parts`.
        """
        return self._of(None)

    @property
    def parts(self) -> Mapping[str, Hyperparameters]:
        """What to train each part with, by its name; empty in a study without parts."""
        return {part: each for part, each in self._assignment.hyperparameters.items() if part is not None}

    def build(
        self,
        model: "nn.Module | Named",
        name: str | None = None,
        *,
        steps_per_epoch: int,
        epochs: int | None = None,
    ) -> "tuple[Optimizer, ScheduleLR]":
        """Return an optimizer with this trial's hyperparameters, and its scheduler.

        Call ``scheduler.step()`` after every update; :meth:`report` tells it the validation losses.

        Args:
            model: on its device, or ``(name, parameter)`` pairs such as ``model.named_parameters()``.
            name: of the study's part; None in a study without parts.
            steps_per_epoch: updates of this optimizer in an epoch, at least 1.
            epochs: length of its schedule; None is that of the trial.

        Raises:
            InputError: if the study has no such part, or a group's pattern matches no parameter.
        """
        from lrsearch.training.build import build

        schedule = Schedule(self._of(name), epochs or self.epochs, steps_per_epoch)
        optimizer, scheduler = build(_named(model), self._assignment.optimizer, schedule)
        self._schedulers[name] = scheduler
        self._connection.built(steps_per_epoch, name)
        return optimizer, scheduler

    @foreign_warnings_hidden()
    def report(
        self, epoch: int, valid_loss: float, *, diverged_above: float | None = None, **values: float
    ) -> None:
        """Tell how an epoch went; under ``torch.distributed``, all ranks call it and rank 0's figures count.

        Args:
            epoch: epochs trained so far, from 1, rising.
            valid_loss: loss on the validation split after it; the last one is the trial's value.
            diverged_above: validation loss above which the training counts as diverged; a loss that is not
                finite always does. None takes what :func:`lrsearch.trial` was
                given.
            values: further figures by name, kept beside the loss; they decide nothing.

        Raises:
            TrialPruned: if the trial stops here.
            InputError: if the epoch cannot follow the last one, a figure is no number, or a schedule-free
                optimizer was not told that its weights are judged.
        """
        self._check_judged()
        limit = self._diverged_above if diverged_above is None else diverged_above
        content = {"epoch": epoch, "valid_loss": valid_loss, **self._lr(), **values}
        loss, stop = self._connection.report(
            content if limit is None else {**content, "diverged_above": limit}
        )
        if stop is not None:
            raise TrialPruned(stop)
        for scheduler in self._schedulers.values():
            scheduler.report(loss)

    def _check_judged(self) -> None:
        """Refuse the loss of weights that a schedule-free optimizer trains with and is not judged by."""
        if not self._schedulers:
            return
        from lrsearch.training.averaging import is_training

        if any(is_training(scheduler.optimizer) for scheduler in self._schedulers.values()):
            raise InputError(
                "a schedule-free optimizer is judged by the average that it keeps beside the weights it "
                "trains with: call optimizer.eval() before validating and reporting, and optimizer.train() "
                "before the next update"
            )

    def _of(self, part: str | None) -> Hyperparameters:
        points = self._assignment.hyperparameters
        if part in points:
            return points[part]
        if part is None:
            names = ", ".join(map(repr, self.parts))
            raise InputError(
                f"study {self.study!r} has the parts {names}, each with hyperparameters of its own: "
                f"t.parts[{next(iter(self.parts))!r}], t.build(model, name={next(iter(self.parts))!r}, ...)"
            )
        if not self.parts:
            raise InputError(
                f"study {self.study!r} has no parts, so leave out name = {part!r}; "
                f"or write parts = [{part!r}, ...] into the study file"
            )
        raise UnknownNameError("part", part, self.parts)

    def _lr(self) -> dict[str, float]:
        """Return the learning rate of the last update where there is one optimizer, and it was stepped."""
        scheduler = self._schedulers.get(None)
        return {} if scheduler is None or not scheduler.last_epoch else {"lr": _last_lr(scheduler)}


@contextmanager
def trial(
    study: str | os.PathLike[str] | None = None,
    *,
    storage: str | None = None,
    diverged_above: float | None = None,
    allow_task: Collection[str] = (),
) -> Iterator[Trial]:
    """Begin a trial of a study whose training is a script of the user's, and end it with the block.

    Leaving the block normally makes the trial COMPLETE, with the last reported loss as its value, after
    however many epochs. :class:`lrsearch.TrialPruned` ends the block and the trial, and goes no further.
    Any other exception, and an exit with a code other than 0, makes it FAIL and goes on; KeyboardInterrupt,
    also where a library makes an exit of it, and ``sys.exit()`` give the trial back instead.
    Inside ``lrsearch worker --command`` the trial is the worker's, whatever the arguments say.

    Args:
        study: name of a stored study, or path of a study file; its task is ``"external"``.
        storage: URL of the database; None takes ``LRSEARCH_STORAGE``, else ``sqlite:///lrsearch.db``.
        diverged_above: validation loss above which the training counts as diverged, or None.
        allow_task: references of schedules of your own that the study lists and that may be imported.

    Yields:
        the trial.

    Raises:
        BudgetSpentError: if the study has no trial left to begin.
        InputError: if the study cannot be used, or no epoch was reported.
    """
    connection = connect(None if study is None else os.fspath(study), storage, allow_task)
    with trial_of(connection, diverged_above) as current:
        yield current


@contextmanager
def trial_of(
    connection: Connection,
    diverged_above: float | None = None,
    *,
    frees: tuple[type[Exception], ...] = (),
) -> Iterator[Trial]:
    """Begin the trial of a connection, and end it with the block, as :func:`lrsearch.trial` does.

    Args:
        connection: where the trial comes from and its losses go.
        diverged_above: validation loss above which the training counts as diverged, or None.
        frees: errors after which the trial waits for somebody else, as after Ctrl-C; others make it fail.

    Yields:
        the trial.
    """
    with foreign_warnings_hidden():
        current = Trial(connection, connection.begin(), diverged_above)
    try:
        yield current
    except TrialPruned:
        connection.prune()
    except frees:
        connection.release()
        raise
    except Exception as error:
        connection.fail(in_one_line(error))
        raise
    except SystemExit as left:
        interrupted = isinstance(left.__context__, KeyboardInterrupt)  # a library made an exit of Ctrl-C
        if interrupted or left.code in {None, 0, TERMINATED}:
            connection.release()
        else:
            connection.fail(f"exit code {left.code}")
        raise
    except BaseException:
        connection.release()
        raise
    else:
        connection.complete()


def _last_lr(scheduler: "ScheduleLR") -> float:
    """Return the learning rate that the last update had, before groups scale it."""
    schedule = scheduler.schedule
    if schedule.kind.needs_feedback:  # unchanged since, as the loss that it waits for is not reported yet
        share = max(map(float, scheduler.get_last_lr())) / max(map(float, scheduler.base_lrs))
        return share * schedule.hyperparameters.lr
    step = min(scheduler.last_epoch, schedule.total_steps) - 1
    return float(schedule.lrs(np.array([step], dtype=np.float64))[0])


class _NamedParameters:
    """Named parameters in the place of a model, of which nothing else is asked."""

    def __init__(self, named: Named) -> None:
        self._named = list(named)

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        """Yield names and parameters."""
        yield from self._named


def _named(model: "nn.Module | Named") -> "nn.Module":
    """Return the model inside its wrappers, or pairs of name and parameter in the place of one."""
    from torch import nn
    from torch.nn.parallel import DataParallel, DistributedDataParallel

    if not isinstance(model, nn.Module):
        return cast("nn.Module", _NamedParameters(model))
    if isinstance(model, DataParallel | DistributedDataParallel):
        return _named(model.module)
    compiled = getattr(model, "_orig_mod", None)  # what torch.compile wraps
    return _named(compiled) if isinstance(compiled, nn.Module) else model
