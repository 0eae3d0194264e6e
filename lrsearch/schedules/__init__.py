"""Learning-rate schedules as pure functions of the step, and the points of a search that mean them."""

from lrsearch.schedules.hyperparameters import Hyperparameters
from lrsearch.schedules.kinds import DEFAULT_KINDS, KINDS, Kind, Knob, kind_named
from lrsearch.schedules.own import check_same_parameters, declare_unloaded, register
from lrsearch.schedules.plateau import Plateau, PlateauState, State
from lrsearch.schedules.schedule import PyTorchScheduler, Schedule

__all__ = [
    "DEFAULT_KINDS",
    "KINDS",
    "Hyperparameters",
    "Kind",
    "Knob",
    "Plateau",
    "PlateauState",
    "PyTorchScheduler",
    "Schedule",
    "State",
    "check_same_parameters",
    "declare_unloaded",
    "kind_named",
    "register",
]
