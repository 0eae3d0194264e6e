"""A point of a study, ready to be built in PyTorch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrsearch.review.wording import pytorch_lines
from lrsearch.schedules import Hyperparameters, Schedule
from lrsearch.spec import StudySpec

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from lrsearch.training.scheduler import ScheduleLR


@dataclass(frozen=True, repr=False)
class Configuration:
    """A point of a study, ready to be built in PyTorch.

    Args:
        best: its hyperparameters.
        spec: what was searched.
        steps_per_epoch: optimizer updates in an epoch of the search.
    """

    best: Hyperparameters
    spec: StudySpec
    steps_per_epoch: int

    def schedule(self, *, epochs: int | None = None, steps_per_epoch: int | None = None) -> Schedule:
        """Return its schedule, stretched to another run if one is given."""
        return Schedule(self.best, epochs or self.spec.epochs or 1, steps_per_epoch or self.steps_per_epoch)

    def build(
        self, model: "nn.Module", *, epochs: int | None = None, steps_per_epoch: int | None = None
    ) -> tuple["Optimizer", "ScheduleLR"]:
        """Return its optimizer of a model's parameters, in their groups, and its scheduler.

        Call ``scheduler.step()`` after every update, and ``scheduler.report(valid_loss)`` after every epoch:
        schedules with feedback need it, the others pass over it.

        Args:
            model: on its device.
            epochs: length of the run to come; None is that of the search.
            steps_per_epoch: optimizer updates in an epoch of the run to come; None is that of the search.
        """
        from lrsearch.training.build import build

        schedule = self.schedule(epochs=epochs, steps_per_epoch=steps_per_epoch)
        return build(model, self.spec.optimizer.name, schedule)

    def code(self, *, epochs: int | None = None, steps_per_epoch: int | None = None) -> str:
        """Return the lines of PyTorch that build the same without lrsearch."""
        run = self.schedule(epochs=epochs, steps_per_epoch=steps_per_epoch)
        # Where scripts and other libraries count the updates, they count the last, smaller batch too.
        loader = "" if self.spec.batch_size is None else " (a DataLoader: with drop_last=True)"
        head = f"# for {run.epochs} epochs of {run.steps_per_epoch} updates{loader}"
        lines = pytorch_lines(self.spec.optimizer.name, self.best, run.epochs, run.steps_per_epoch)
        return "\n".join([head, *lines])
