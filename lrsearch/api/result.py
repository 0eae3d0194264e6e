"""What a search from Python gives back."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna

from lrsearch.results import Outcome, TrialRecord
from lrsearch.review.listing import trial_table
from lrsearch.review.wording import described, number, pytorch_lines
from lrsearch.schedules import Hyperparameters, Schedule
from lrsearch.spec import StudySpec, hyperparameters
from lrsearch.storage.database import Database
from lrsearch.storage.studies import STEPS_ATTRIBUTE, find_study
from lrsearch.storage.trials import trial_records

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn
    from torch.optim import Optimizer

    from lrsearch.training.scheduler import ScheduleLR


@dataclass(frozen=True, repr=False)
class Result:
    """The best trial of a study, ready to be built, and the study.

    Args:
        best: its hyperparameters.
        value: its validation loss after the last epoch.
        trial: its number.
        spec: what was searched.
        steps_per_epoch: optimizer updates in an epoch of the search.
        study: Optuna's.
        records: all trials.
    """

    best: Hyperparameters
    value: float
    trial: int
    spec: StudySpec
    steps_per_epoch: int
    study: optuna.Study
    records: tuple[TrialRecord, ...]

    @property
    def trials(self) -> "pd.DataFrame":
        """All trials, a row each, with a column for every parameter (``params.lr``)."""
        import pandas as pd  # here, because it takes half a second

        rows, columns = trial_table(self.records)
        return pd.DataFrame(rows, columns=columns)

    def schedule(self, *, epochs: int | None = None, steps_per_epoch: int | None = None) -> Schedule:
        """Return the best trial's schedule, stretched to another run if one is given."""
        return Schedule(self.best, epochs or self.spec.epochs or 1, steps_per_epoch or self.steps_per_epoch)

    def build(
        self, model: "nn.Module", *, epochs: int | None = None, steps_per_epoch: int | None = None
    ) -> tuple["Optimizer", "ScheduleLR"]:
        """Return the best trial's optimizer of a model's parameters, in their groups, and its scheduler.

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

    def __repr__(self) -> str:
        return (
            f"Study {self.spec.name}: best trial {self.trial} of {len(self.records)}, "
            f"validation loss {number(self.value)}\n  {described(self.best, self.spec.optimizer.name)}"
        )


def stored_result(database: Database, spec: StudySpec) -> Result | None:
    """Return the best complete trial of a stored study without parts; None if there is none.

    Args:
        database: where the study is; it must stay open as long as Optuna's study of the result is read.
        spec: of the study, resolved.
    """
    records = tuple(trial_records(database, find_study(database, spec.name)))
    complete = [each for each in records if each.state == Outcome.COMPLETE.value and each.value is not None]
    best = min(complete, key=lambda each: (each.value, each.number), default=None)
    if best is None:
        return None
    study = optuna.load_study(study_name=spec.name, storage=database.optuna_storage)
    return Result(
        best=hyperparameters(spec, best.params),
        value=best.value or 0.0,
        trial=best.number,
        spec=spec,
        steps_per_epoch=study.user_attrs[STEPS_ATTRIBUTE],
        study=study,
        records=records,
    )
