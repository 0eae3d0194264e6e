"""``lrsearch.optimize``: a search from Python, in a script or a notebook."""

import sys
import warnings
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrsearch.api.arguments import as_table, database_at, given, load, new_name, stored_name
from lrsearch.api.confirm import Source
from lrsearch.api.progress_bar import advance, progress_bar
from lrsearch.api.result import Result, stored_result
from lrsearch.errors import SpecError, StudyStoppedError
from lrsearch.foreign_warnings import foreign_warnings_hidden
from lrsearch.review.advice import without_complete_trial
from lrsearch.review.notes import annotate
from lrsearch.service.optimize import load_onto_device, prepare
from lrsearch.service.progress import Progress, StopReason
from lrsearch.service.range_test import RangeTestPlan, find_range, with_range_test, with_stored_bounds
from lrsearch.service.search import Search
from lrsearch.service.studies import open_study, resolved
from lrsearch.service.supervisor import Supervisor
from lrsearch.service.tasks import load_kinds
from lrsearch.service.workforce import number_of_workers
from lrsearch.spec import TASK_TRIALS, StudySpec, spec_from
from lrsearch.storage.database import Database
from lrsearch.storage.masking import masked
from lrsearch.storage.studies import list_studies

if TYPE_CHECKING:
    from lrsearch.tasks.task import Task
    from lrsearch.training.data import TrainingData


def optimize(
    task: "Task | str",
    *,
    trials: int = TASK_TRIALS,
    epochs: int | None = None,
    name: str | None = None,
    optimizer: str | Mapping[str, Any] = "SGD",
    space: Mapping[str, Any] | None = None,
    groups: Mapping[str, Any] | None = None,
    kinds: Sequence[str] | None = None,
    sampler: str = "tpe",
    pruner: str | None = None,
    seed: int = 0,
    range_test: bool = False,
    batch_size: int | None = None,
    device: str = "auto",
    workers: int = 1,
    timeout_s: float | None = None,
    storage: str | None = None,
    data_dir: Path | None = None,
    progress: bool = True,
) -> Result:
    """Search the learning rate and its schedule for a task.

    Args:
        task: a :class:`lrsearch.Task`, or the name of one that comes with lrsearch.
        trials: budget, at least 1.
        epochs: of a trial that is not stopped early; None takes the task's.
        name: a study of this name is gone on with; None starts a new one, named after the task and the time.
        optimizer: name of an optimizer of ``torch.optim``, or the table ``[optimizer]`` of a study file.
        space: the table ``[space]`` of a study file.
        groups: the table ``[groups]`` of a study file.
        kinds: schedule kinds to search; None takes seven.
        sampler: who proposes points.
        pruner: who stops trials early; None takes the sampler's usual one.
        seed: of initial weights, batch order and sampler.
        range_test: whether a range test finds the bounds of lr and the first trials first.
        batch_size: examples per forward pass; None takes the task's.
        device: auto, cpu, mps, cuda or cuda:N.
        workers: processes that train at once, at least 1. More than one find the task by its name, and import
            the script: the call must stand below ``if __name__ == "__main__":``.
        timeout_s: seconds after which the search stops at the next epoch's end, or None.
        storage: URL of the database; None takes ``LRSEARCH_STORAGE``, else ``sqlite:///lrsearch.db``.
        data_dir: folder of the data sets of the tasks that come with lrsearch.
        progress: whether a bar shows how far it is.

    Returns:
        the best trial, ready to be built, and the study.

    Raises:
        InputError: if an argument, or the task, cannot be used.
        StudyStoppedError: if no trial completed.
    """
    _check_workers(workers, task)
    loaded = load(task, data_dir)
    content = {
        "name": name or new_name(loaded.name),
        "task": stored_name(task),
        "trials": trials,
        "seed": seed,
        "sampler": sampler,
        "optimizer": as_table(optimizer),
        "space": {**(space or {}), **given(kinds=None if kinds is None else list(kinds))},
        "run": {"device": device, "workers": workers, **given(timeout_s=timeout_s)},
        **given(epochs=epochs, batch_size=batch_size, pruner=pruner, groups=groups),
    }
    draft = spec_from(content, "lrsearch.optimize")
    load_kinds(draft, allowed=draft.space.kinds or ())
    spec = resolved(draft, loaded)
    database = database_at(storage)
    allowed = (stored_name(task), *(draft.space.kinds or ()))
    shown = None if storage is None else masked(storage)
    source = Source(database, loaded, allowed, data_dir, storage=shown)
    try:
        supervisor = Supervisor(database, spec, number_of_workers(database, spec), allowed, data_dir)
        with foreign_warnings_hidden():
            result = _searched(
                supervisor,
                spec,
                source,
                range_test=range_test,
                progress=progress,
                trials_given=name is not None,
            )
    except BaseException:
        database.close()
        raise
    weakref.finalize(result, database.close)  # the study of the result reads from it
    return result


def _searched(
    supervisor: Supervisor,
    spec: StudySpec,
    source: Source,
    *,
    range_test: bool,
    progress: bool,
    trials_given: bool,
) -> Result:
    database, task = source.database, source.task
    with supervisor:
        data = load_onto_device(spec, task)
        if range_test:
            spec = _with_range_test(database, spec, task, data)
        search = prepare(
            database,
            spec,
            task,
            data,
            lambda: open_study(database, spec, trials_given=trials_given),
            workers=supervisor.workers,
            exits_if_stalled=False,  # a notebook's process is its user's
        )
        last = _run(supervisor, search, progress=progress)
    annotate(database, search.study.record, search.study.spec)
    return _result(search, last, replace(source, study_uuid=search.study.record.uuid))


def _check_workers(workers: int, task: "Task | str") -> None:
    if workers != 1 and not isinstance(task, str):
        raise SpecError(
            f"several workers find the task by its name, but got workers={workers!r} and an object; put the "
            "task into a file and name it, such as lrsearch.optimize('model.py:task', workers=4), or leave "
            "workers at 1"
        )


def _with_range_test(database: Database, spec: StudySpec, task: "Task", data: "TrainingData") -> StudySpec:
    if spec.name in {record.name for record in list_studies(database)}:
        return with_stored_bounds(database, spec)
    return with_range_test(spec, find_range(database, spec, task, data, RangeTestPlan()))


def _run(supervisor: Supervisor, search: Search, *, progress: bool) -> Progress:
    """Run a search behind a bar, and return where it stands at its end."""
    last = None
    with progress_bar(search.study.spec, shown=progress) as bar:
        for note in search.study.notes if progress else ():
            bar.write(note, file=sys.stderr)
        for last in supervisor.run(search):
            for note in last.notes if progress else ():
                bar.write(note, file=sys.stderr)
            advance(bar, last.ended_trials, last.trials, last.best.result.value if last.best else None)
    if last is None:
        raise RuntimeError("a search yields at least its last progress")
    return last


def _result(search: Search, last: Progress, source: Source) -> Result:
    """Return the best trial of a search that has ended, or stopped.

    Raises:
        StudyStoppedError: if no trial is complete.
    """
    spec = search.study.spec
    if last.best is None:
        why = f" The last failure: {last.last_failure}" if last.last_failure else ""
        go_on = f"lrsearch.optimize(..., name={spec.name!r})"
        raise StudyStoppedError(f"{without_complete_trial(spec, last.counts, go_on)}.{why}")
    if last.stopped is StopReason.FAILURES:
        why = f" The last failure: {last.last_failure}" if last.last_failure else ""
        warnings.warn(f"study {spec.name!r} ended early: trials keep failing.{why}", stacklevel=4)
    result = stored_result(source.database, spec, source)
    if result is None:
        raise RuntimeError("a search with a best trial has a complete one")
    return result
