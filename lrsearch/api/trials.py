"""All trials of a study in one call, trained by a function of the user's or of an adapter."""

import logging
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna

from lrsearch.api.arguments import as_table, database_at, given, new_name
from lrsearch.api.result import Result, stored_result
from lrsearch.api.trial import Trial, trial
from lrsearch.errors import BudgetSpentError, StudyStoppedError
from lrsearch.review.advice import without_complete_trial
from lrsearch.service.studies import open_study, resolved
from lrsearch.service.tasks import load_kinds
from lrsearch.spec import EXTERNAL, StudySpec, spec_from
from lrsearch.storage.studies import find_study
from lrsearch.storage.trials import trial_records


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

    Raises:
        InputError: if an argument cannot be used.
        StudyStoppedError: if no trial completed.
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
    optuna.logging.set_verbosity(logging.WARNING)
    draft = spec_from(content, caller)
    load_kinds(draft, allowed=draft.space.kinds or ())
    with database_at(storage) as database:
        study = open_study(database, resolved(draft), trials_given=name is not None)
    while True:
        try:
            with trial(study.record.name, storage=storage, allow_task=draft.space.kinds or ()) as current:
                train(current)
        except BudgetSpentError:
            break
    return _result(study.spec, storage, f"{caller}(..., name={study.record.name!r})")


def _result(spec: StudySpec, storage: str | None, go_on: str) -> Result:
    """Return the best trial of a study whose budget is spent.

    Raises:
        StudyStoppedError: if no trial is complete.
    """
    database = database_at(storage)
    result = stored_result(database, spec)
    if result is not None:
        weakref.finalize(result, database.close)  # the study of the result reads from it
        return result
    with database:
        counts = Counter(
            "diverged" if each.diverged else each.state.lower()
            for each in trial_records(database, find_study(database, spec.name))
        )
    raise StudyStoppedError(f"{without_complete_trial(spec, counts, go_on)}.")
