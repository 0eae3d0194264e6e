"""``Result.confirm``: the best trials and baselines on fresh seeds, from Python."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrsearch.api.progress_bar import bar_of
from lrsearch.api.verdict import Verdict, verdict_of
from lrsearch.errors import StudyConflictError
from lrsearch.foreign_warnings import foreign_warnings_hidden
from lrsearch.review.notes import annotate
from lrsearch.service.confirmation import ConfirmationPlan, confirm
from lrsearch.service.optimize import load_onto_device
from lrsearch.service.retraining import RetrainingProgress, Workshop
from lrsearch.service.sameness import check_unchanged
from lrsearch.service.studies import stored_spec
from lrsearch.spec import StudySpec
from lrsearch.storage.database import Database
from lrsearch.storage.retrainings import latest_confirmation
from lrsearch.storage.studies import STEPS_ATTRIBUTE, StudyRecord, find_study, study_attributes
from lrsearch.storage.trials import trial_records

if TYPE_CHECKING:
    from lrsearch.tasks.task import Task


@dataclass(frozen=True)
class Source:
    """With what the trials of a study are trained once more.

    Args:
        database: where the study is; open.
        task: what is learned.
        allowed: references of the user's code that may be imported.
        data_dir: folder of the data sets, or None for the default.
        study_uuid: our key of the study, once there is one.
        storage: URL of the database without its password, where commands must name it; else None.
    """

    database: Database
    task: "Task"
    allowed: tuple[str, ...] = ()
    data_dir: Path | None = None
    study_uuid: str = ""
    storage: str | None = None


def confirmed(source: Source, spec: StudySpec, plan: ConfirmationPlan, *, progress: bool) -> Verdict:
    """Train what is missing of a confirmation, and return what it says.

    Args:
        source: with what it is trained.
        spec: of the study, resolved.
        plan: what is confirmed.
        progress: whether a bar shows how far it is.

    Raises:
        StudyConflictError: if the task has changed since the study began.
    """
    database, record = source.database, find_study(source.database, spec.name)
    spec = _as_stored(record, spec, source.study_uuid)
    attributes = study_attributes(database, record.uuid)
    with foreign_warnings_hidden():
        data = load_onto_device(spec, source.task)
        check_unchanged(attributes, spec, source.task, data)
        workshop = Workshop(database, record.uuid, spec, source.task, data, source.allowed, source.data_dir)
        with bar_of("epoch", "what was trained is stored: the same call goes on", shown=progress) as bar:
            for stage, steps in groupby(confirm(workshop, plan), key=lambda step: step.stage):
                _show(bar, stage, steps)
    annotate(database, record, spec)
    confirmation = latest_confirmation(database, record.uuid)
    if confirmation is None:
        raise RuntimeError("a confirmation that came to its end is stored")
    leading = latest_confirmation(database, record.uuid, spec.epochs)
    records, steps_per_epoch = trial_records(database, record), attributes[STEPS_ATTRIBUTE]
    return verdict_of(confirmation, leading, spec, steps_per_epoch, records, source.storage)


def _as_stored(record: StudyRecord, spec: StudySpec, study_uuid: str) -> StudySpec:
    """Return the specification that a study has by now, on the device and with the workers of the search.

    Raises:
        StudyConflictError: if another study has its name by now.
    """
    if record.uuid != study_uuid:
        raise StudyConflictError(
            f"the study {spec.name!r} of this result was deleted, and another has its name; search again: "
            f"lrsearch.optimize(..., name={spec.name!r})"
        )
    return stored_spec(record).model_copy(update={"run": spec.run})


def _show(bar: Any, stage: str, steps: Iterable[RetrainingProgress]) -> None:
    """Show how far a stage is, until it has ended."""
    bar.set_description(stage, refresh=False)
    bar.total = None
    for step in steps:
        if bar.total != step.of:  # tuning has two parts of its own lengths
            bar.reset(total=step.of)
        bar.update(step.epochs - bar.n)
