"""Tells Optuna what our rows say: they decide, and its trials follow."""

from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from lrsearch.results import Outcome, TrialResult
from lrsearch.storage.database import Database

_UNHELD = TrialResult(Outcome.FAIL, value=None, epochs=0, reason="its worker died before it began")


def end_trial(database: Database, study: optuna.Study, number: int, result: TrialResult) -> None:
    """Tell Optuna how a trial ended, unless it knows: what was told first stays.

    Args:
        database: the database.
        study: Optuna's study.
        number: number of the trial.
        result: a PRUNED trial's value is the last that was reported.
    """
    storage = database.optuna_storage
    study_id = storage.get_study_id_from_name(study.study_name)
    trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
    if storage.get_trial(trial_id).state.is_finished():
        return
    value = result.value if result.outcome is Outcome.COMPLETE else None
    try:
        for name, attribute in _attributes(result).items():
            storage.set_trial_user_attr(trial_id, name, attribute)
        study.tell(number, value, state=TrialState[result.outcome.value], skip_if_finished=True)
    except UpdateFinishedTrialError:
        return  # another worker was faster


def fail_unheld_trials(database: Database, study: optuna.Study, held: set[int], begun_before: float) -> None:
    """End running trials that no slot names: their workers died between asking for them and binding them.

    Left alone, they would keep Optuna's sampler away from their parameters for ever.

    Args:
        database: the database.
        study: Optuna's study.
        held: numbers of the trials that slots name.
        begun_before: later trials are left alone, in unix seconds: their workers may be about to bind them.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        # Optuna hands out local time without a time zone, which is what timestamp() takes it for.
        begun = None if trial.datetime_start is None else trial.datetime_start.timestamp()
        if trial.number not in held and begun is not None and begun < begun_before:
            end_trial(database, study, trial.number, _UNHELD)


def _attributes(result: TrialResult) -> dict[str, Any]:
    attributes = {"diverged": result.diverged, "reason": result.reason}
    return {name: value for name, value in attributes.items() if value}
