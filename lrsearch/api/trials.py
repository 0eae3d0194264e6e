"""All trials of a study in one call, trained by a function of the user's or of an adapter."""

import gc
import logging
import sys
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import optuna

from lrsearch.api.arguments import as_table, database_at, given, new_name
from lrsearch.api.connections import WorkerConnection, number_of_processes
from lrsearch.api.progress_bar import advance, progress_bar
from lrsearch.api.result import Result, stored_result
from lrsearch.api.trial import Trial, trial_of
from lrsearch.errors import InputError, StudyStoppedError
from lrsearch.results import Outcome
from lrsearch.review.advice import without_complete_trial
from lrsearch.service.progress import StopReason
from lrsearch.service.studies import OpenStudy, check_open, open_study, resolved
from lrsearch.service.tasks import load_kinds
from lrsearch.service.worker import WAIT_S, Worker
from lrsearch.spec import EXTERNAL, spec_from
from lrsearch.storage.database import Database
from lrsearch.storage.studies import find_study
from lrsearch.storage.trials import trial_records


class StudyArguments(TypedDict, total=False):
    """What a search in one call takes of the study, as :func:`lrsearch.optimize` takes it."""

    name: str | None
    optimizer: str | Mapping[str, Any]
    space: Mapping[str, Any] | None
    groups: Mapping[str, Any] | None
    kinds: Sequence[str] | None
    sampler: str
    pruner: str | None
    storage: str | None
    progress: bool


def train_trials(
    train: Callable[[Trial], None],
    caller: str,
    *,
    trials: int,
    epochs: int,
    name: str | None = None,
    optimizer: str | Mapping[str, Any] = "SGD",
    space: Mapping[str, Any] | None = None,
    groups: Mapping[str, Any] | None = None,
    kinds: Sequence[str] | None = None,
    sampler: str = "tpe",
    pruner: str | None = None,
    seed: int = 0,
    storage: str | None = None,
    progress: bool = True,
) -> Result:
    """Create a study, or go on with one, and train its trials one after the other until the budget is spent.

    An exception of the function makes its trial FAIL and ends the search, which its name can go on with.

    Args:
        train: trains a trial, and reports its epochs.
        caller: name of the function that users call, for messages.
        trials: budget, at least 1.
        epochs: of a trial that is not stopped early, at least 1.
        name: a study of this name is gone on with; None starts a new one, named after caller and time.
        optimizer: name of an optimizer, or the table ``[optimizer]`` of a study file.
        space: the table ``[space]`` of a study file.
        groups: the table ``[groups]`` of a study file.
        kinds: schedule kinds to search; None takes seven.
        sampler: who proposes points.
        pruner: who stops trials early; None takes the sampler's usual one.
        seed: of the sampler.
        storage: URL of the database; None takes ``LRSEARCH_STORAGE``, else ``sqlite:///lrsearch.db``.
        progress: whether a bar shows how far it is.

    Raises:
        InputError: if an argument cannot be used, or several processes train together.
        StudyStoppedError: if no trial completed.
        StudyPausedError: if the study is paused or stopped meanwhile.
    """
    content = {
        "name": name or new_name(caller.removeprefix("lrsearch.").removesuffix(".optimize")),
        "task": EXTERNAL,
        "trials": trials,
        "epochs": epochs,
        "seed": seed,
        "sampler": sampler,
        "optimizer": as_table(optimizer),
        "space": {**(space or {}), **given(kinds=None if kinds is None else list(kinds))},
        **given(pruner=pruner, groups=groups),
    }
    check_alone(caller, number_of_processes())
    optuna.logging.set_verbosity(logging.WARNING)
    draft = spec_from(content, caller)
    allowed = draft.space.kinds or ()
    load_kinds(draft, allowed)
    database = database_at(storage)
    try:
        study = open_study(database, resolved(draft), trials_given=name is not None)
        with progress_bar(study.spec, shown=progress) as bar:
            for note in study.notes if progress else ():
                bar.write(note, file=sys.stderr)
            _show(bar, database, study)
            _train_all(train, study, database, lambda: _show(bar, database, study))
        result = _result(database, study, f"{caller}(..., name={study.record.name!r})")
    except BaseException:
        database.close()
        raise
    weakref.finalize(result, database.close)  # the study of the result reads from it
    return result


def check_alone(caller: str, processes: int) -> None:
    """Refuse several processes that would train a trial together: each would have a search of its own.

    Args:
        caller: name of the function that users call.
        processes: number of those that would train together.

    Raises:
        InputError: if there are several.
    """
    if processes > 1:
        raise InputError(
            f"{caller} trains each trial in one process, but {processes} would train together. Let torchrun "
            "start a script of your own, which takes its trial with lrsearch.trial() after "
            "torch.distributed.init_process_group()"
        )


def _train_all(
    train: Callable[[Trial], None], study: OpenStudy, database: Database, show: Callable[[], None]
) -> None:
    """Train trials until the budget is spent; those of others are waited for, and taken over if they die."""
    with Worker(database, study, "script") as worker:
        while (reason := _reason_to_stop(worker)) is None:
            connection = WorkerConnection(worker)
            if connection.claim():
                with trial_of(connection, frees=(InputError,)) as current:  # a mistake costs no trial
                    train(current)
                gc.collect()  # a trainer and its model refer to each other: memory of a device becomes free
            else:
                time.sleep(WAIT_S)
            show()
    if reason in {StopReason.PAUSED, StopReason.FAILURES, StopReason.STOPPED}:
        check_open(find_study(database, study.record.name))


def _reason_to_stop(worker: Worker) -> StopReason | None:
    worker.catch_up(running=())  # else a pause would be seen one trial later
    return worker.reason_to_stop(lambda: False, busy=False)


def _show(bar: Any, database: Database, study: OpenStudy) -> None:
    if bar.disable:
        return
    records = trial_records(database, study.record)
    values = [each.value for each in records if each.state == Outcome.COMPLETE.value]
    best = min((each for each in values if each is not None), default=None)
    advance(bar, sum(each.finished_at is not None for each in records), study.spec.trials, best)


def _result(database: Database, study: OpenStudy, go_on: str) -> Result:
    """Return the best trial of a study whose budget is spent.

    Raises:
        StudyStoppedError: if no trial is complete.
    """
    result = stored_result(database, study.spec)
    if result is not None:
        return result
    counts = Counter(
        "diverged" if each.diverged else each.state.lower() for each in trial_records(database, study.record)
    )
    raise StudyStoppedError(f"{without_complete_trial(study.spec, counts, go_on)}.")
