"""Tells Optuna what our rows say: they decide, and its trials follow."""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from optuna.trial import TrialState

from lrsearch.results import TrialResult
from lrsearch.storage.optuna_tables import TrialEnd, TrialIds, end_trials


def tell(connection: sa.Connection, ids: TrialIds, results: Mapping[int, TrialResult], now: datetime) -> None:
    """Tell Optuna how trials ended, in a running transaction; what it was told first stays.

    Args:
        connection: a connection in a transaction.
        ids: of Optuna's trials.
        results: by number of the trial.
        now: naive UTC.
    """
    known = ids.of(connection, results)
    end_trials(connection, [trial_end(known[number], results[number]) for number in known], now)


def trial_end(trial_id: int, result: TrialResult) -> TrialEnd:
    """Return a result in Optuna's terms."""
    attributes = {"diverged": result.diverged, "reason": result.reason, "traceback": result.traceback}
    given = {name: value for name, value in attributes.items() if value}
    return TrialEnd(trial_id, TrialState[result.outcome.value], result.value, given)
