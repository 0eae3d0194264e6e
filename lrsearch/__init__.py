"""Finds the learning rate and the learning-rate schedule that train a PyTorch model best."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrsearch.api.optimize import optimize as optimize
    from lrsearch.api.range_test import range_test as range_test
    from lrsearch.api.result import Result as Result
    from lrsearch.api.suggestion import suggest_schedule as suggest_schedule
    from lrsearch.api.trial import TrialPruned as TrialPruned
    from lrsearch.api.trial import trial as trial
    from lrsearch.errors import BudgetSpentError as BudgetSpentError
    from lrsearch.parameters import Choice as Choice
    from lrsearch.parameters import Range as Range
    from lrsearch.schedules.own import schedule as schedule
    from lrsearch.tasks.datasets import DatasetSplit as DatasetSplit
    from lrsearch.tasks.task import Split as Split
    from lrsearch.tasks.task import Splits as Splits
    from lrsearch.tasks.task import Task as Task

__version__ = "0.1.0"

# Loaded when first asked for: the command line starts without torch and Optuna.
_HOMES = {
    "BudgetSpentError": "lrsearch.errors",
    "DatasetSplit": "lrsearch.tasks.datasets",
    "Choice": "lrsearch.parameters",
    "Range": "lrsearch.parameters",
    "Result": "lrsearch.api.result",
    "Split": "lrsearch.tasks.task",
    "Splits": "lrsearch.tasks.task",
    "Task": "lrsearch.tasks.task",
    "TrialPruned": "lrsearch.api.trial",
    "optimize": "lrsearch.api.optimize",
    "range_test": "lrsearch.api.range_test",
    "schedule": "lrsearch.schedules.own",
    "suggest_schedule": "lrsearch.api.suggestion",
    "trial": "lrsearch.api.trial",
}

__all__ = ["__version__", *_HOMES]  # names of the table above


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lrsearch.foreign_warnings import foreign_warnings_hidden

    with foreign_warnings_hidden():  # importing Optuna, for one, warns in a notebook
        return getattr(import_module(_HOMES[name]), name)
