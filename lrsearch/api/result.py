"""What a search from Python gives back."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import optuna

from lrsearch.api.configuration import Configuration
from lrsearch.errors import SpecError
from lrsearch.results import Outcome, TrialRecord
from lrsearch.review.listing import trial_table
from lrsearch.review.wording import described, number
from lrsearch.spec import StudySpec, hyperparameters
from lrsearch.storage.database import Database
from lrsearch.storage.studies import STEPS_ATTRIBUTE, find_study
from lrsearch.storage.trials import trial_records

if TYPE_CHECKING:
    import pandas as pd

    from lrsearch.api.confirm import Source
    from lrsearch.api.verdict import Verdict


@dataclass(frozen=True, repr=False)
class Result(Configuration):
    """The best trial of a study, ready to be built, and the study.

    Args:
        best: its hyperparameters.
        spec: what was searched.
        steps_per_epoch: optimizer updates in an epoch of the search.
        value: its validation loss after the last epoch.
        trial: its number.
        study: Optuna's.
        records: all trials.
        source: with what trials are trained once more; None where code of the user's has trained them.
    """

    value: float
    trial: int
    study: optuna.Study
    records: tuple[TrialRecord, ...]
    source: "Source | None" = field(default=None, compare=False)

    @property
    def trials(self) -> "pd.DataFrame":
        """All trials, a row each, with a column for every parameter (``params.lr``)."""
        import pandas as pd  # here, because it takes half a second

        rows, columns = trial_table(self.records)
        return pd.DataFrame(rows, columns=columns)

    def confirm(
        self,
        *,
        top: int = 5,
        seeds: int = 10,
        epochs: int | None = None,
        rivals: bool = False,
        progress: bool = True,
    ) -> "Verdict":
        """Train the best trials and baselines on fresh seeds, and say what can be recommended.

        Device and number of workers are those of the search. What is trained is stored: after Ctrl-C the same
        call goes on.

        Args:
            top: the best trials that take part, at least 1.
            seeds: fresh seeds, at least 4; half select the winner, half report.
            epochs: of every run; None is the length of the search's.
            rivals: whether schedule-free optimizers, tuned as long as the search was, take part.
            progress: whether a bar shows how far it is.

        Raises:
            SpecError: if a number is too small, rivals are not installed, or training is code of the user's
                that only the user can call again.
        """
        from lrsearch.api.confirm import confirmed
        from lrsearch.service.confirmation import ConfirmationPlan

        if self.source is None:
            raise SpecError(
                "a confirmation trains points once more, and cannot do so in study "
                f"{self.spec.name!r}, whose trials were trained by code of your own. Train what "
                "result.build(model) gives under other seeds, or search a lrsearch.Task"
            )
        plan = ConfirmationPlan(top, seeds, epochs, rivals)
        return confirmed(self.source, self.spec, plan, progress=progress)

    def __getstate__(self) -> dict[str, object]:
        """Leave out the source: no other process has a task's functions and the database's connections."""
        return {**self.__dict__, "source": None}

    def __repr__(self) -> str:
        return (
            f"Study {self.spec.name}: best trial {self.trial} of {len(self.records)}, "
            f"validation loss {number(self.value)}\n  {described(self.best, self.spec.optimizer.name)}"
        )


def stored_result(database: Database, spec: StudySpec, source: "Source | None" = None) -> Result | None:
    """Return the best complete trial of a stored study without parts; None if there is none.

    Args:
        database: where the study is; it must stay open as long as Optuna's study of the result is read.
        spec: of the study, resolved.
        source: with what trials are trained once more, or None.
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
        source=source,
    )
