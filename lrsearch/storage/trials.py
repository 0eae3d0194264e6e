"""The trials of a study as they are shown: Optuna's, corrected by our slots."""

from datetime import UTC, datetime

from optuna.trial import FrozenTrial

from lrsearch.results import TrialRecord, TrialResult
from lrsearch.storage.database import Database
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import StudyRecord, optuna_study_id


def trial_records(database: Database, record: StudyRecord) -> list[TrialRecord]:
    """Return the trials in a study's slots, by number.

    Where a slot has a result, it decides state, value and the rest; Optuna may not have been told yet. A
    trial without a slot, left behind by a worker that died while asking, is not one of the study's.

    Raises:
        UnknownNameError: the study was deleted.
    """
    slots = Slots(database, record.uuid)
    results = {ended.trial: ended.result for ended in slots.results()}
    bound = slots.trials()
    study_id = optuna_study_id(database, record.uuid)
    trials = database.optuna_storage.get_all_trials(study_id, deepcopy=False)
    mine = sorted((trial for trial in trials if trial.number in bound), key=lambda trial: trial.number)
    return [_merged(trial, results.get(trial.number)) for trial in mine]


def _merged(trial: FrozenTrial, result: TrialResult | None) -> TrialRecord:
    attributes = trial.user_attrs
    return TrialRecord(
        number=trial.number,
        state=trial.state.name if result is None else result.outcome.value,
        value=_value(trial) if result is None else result.value,
        diverged=bool(attributes.get("diverged", False)) if result is None else result.diverged,
        params=dict(trial.params),
        epochs=(trial.last_step or 0) if result is None else result.epochs,
        started_at=_isoformat(trial.datetime_start),
        finished_at=_isoformat(trial.datetime_complete),
        reason=attributes.get("reason") if result is None else result.reason,
        traceback=attributes.get("traceback") if result is None else result.traceback,
    )


def _value(trial: FrozenTrial) -> float | None:
    return trial.values[0] if trial.values else None


def _isoformat(local: datetime | None) -> str | None:
    # Optuna stores UTC and hands out local time, both without a time zone.
    return None if local is None else local.astimezone(UTC).isoformat(timespec="seconds")
