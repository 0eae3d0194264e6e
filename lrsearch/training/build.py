"""From hyperparameters to what a training loop needs: an optimizer and its scheduler."""

from torch import nn
from torch.optim import Optimizer

from lrsearch.schedules import Schedule
from lrsearch.training.groups import parameter_groups
from lrsearch.training.optimizers import build_optimizer
from lrsearch.training.scheduler import ScheduleLR


def build(model: nn.Module, optimizer: str, schedule: Schedule) -> tuple[Optimizer, ScheduleLR]:
    """Return the optimizer of a model's parameters, in their groups, and its scheduler.

    Args:
        model: on its device; parameters that the hyperparameters freeze lose ``requires_grad``.
        optimizer: class in ``torch.optim``.
        schedule: with the hyperparameters, and the run that they are for.

    Raises:
        SpecError: if a group's pattern matches no parameter.
    """
    point = schedule.hyperparameters
    groups = parameter_groups(model, point)
    built = build_optimizer(optimizer, groups, point.lr, point.optimizer)
    return built, ScheduleLR(built, schedule)
