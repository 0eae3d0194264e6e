"""Optuna's trials, begun, reported and ended by its own interface: one by one, whatever its tables are."""

import math

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from lrsearch.results import TrialResult
from lrsearch.storage.optuna_tables import NewTrial
from lrsearch.storage.settling import trial_end


def begin_trial(storage: BaseStorage, study_id: int, trial: NewTrial) -> int:
    """Begin a trial and return its number."""
    template = optuna.trial.create_trial(
        state=TrialState.RUNNING,
        params=dict(trial.params),
        distributions={name: trial.distributions[name] for name in trial.params},
        user_attrs=dict(trial.user_attrs),
    )
    return storage.get_trial_number_from_id(storage.create_new_trial(study_id, template))


def report_value(storage: BaseStorage, study_id: int, number: int, step: int, value: float) -> None:
    """Write an intermediate value of a trial."""
    trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
    storage.set_trial_intermediate_value(trial_id, step, value)


def end_trial(storage: BaseStorage, study_id: int, number: int, result: TrialResult) -> None:
    """Tell Optuna how a trial ended; what it was told first stays."""
    trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
    trial, end = storage.get_trial(trial_id), trial_end(trial_id, result)
    if trial.state.is_finished():
        return
    value = end.value if end.state is TrialState.COMPLETE else None
    if end.state is TrialState.PRUNED:
        value = _last_reported(trial)
    try:
        for name, attribute in end.user_attrs.items():
            storage.set_trial_user_attr(trial_id, name, attribute)
        storage.set_trial_state_values(trial_id, end.state, None if value is None else [value])
    except UpdateFinishedTrialError:
        return  # another worker was faster


def _last_reported(trial: FrozenTrial) -> float | None:
    value = math.nan if trial.last_step is None else trial.intermediate_values[trial.last_step]
    return None if math.isnan(value) else value
