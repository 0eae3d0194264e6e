"""All that is stored about a study, read once, for those who show it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby

from lrsearch.lr_range import RangeTest
from lrsearch.results import EpochResult, TrialRecord
from lrsearch.retrainings import Audit, Confirmation
from lrsearch.spec import StudySpec
from lrsearch.storage.database import Database
from lrsearch.storage.epochs import curves
from lrsearch.storage.range_tests import list_range_tests
from lrsearch.storage.retrainings import latest_audit, latest_confirmation
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import ORIGIN_ATTRIBUTE, STEPS_ATTRIBUTE, StudyRecord, study_attributes
from lrsearch.storage.trials import trial_records
from lrsearch.storage.workers import WorkerRecord, list_workers


@dataclass(frozen=True)
class StudyFacts:
    """All that is stored about a study.

    Args:
        spec: resolved specification.
        created_at: UTC in ISO 8601.
        trials: by number.
        curves: epochs of each trial that has any, by number.
        workers: processes that trained it, the oldest first.
        worker_of: the worker's id by number of the trial; trials whose worker is not known are absent.
        steps_per_epoch: optimizer updates in an epoch; None before the first run.
        origin: versions by package, and digests of its data and its model; empty before the first run.
        range_test: the newest of its task and optimizer, or None.
        confirmation: the newest with runs as long as the study's, or None.
        audit: the newest, or None.
    """

    spec: StudySpec
    created_at: str
    trials: tuple[TrialRecord, ...]
    curves: Mapping[int, tuple[EpochResult, ...]] = field(default_factory=dict)
    workers: tuple[WorkerRecord, ...] = ()
    worker_of: Mapping[int, str] = field(default_factory=dict)
    steps_per_epoch: int | None = None
    origin: Mapping[str, str] = field(default_factory=dict)
    range_test: RangeTest | None = None
    confirmation: Confirmation | None = None
    audit: Audit | None = None


def study_facts(database: Database, record: StudyRecord, spec: StudySpec) -> StudyFacts:
    """Return all that is stored about a study.

    Args:
        database: where it is stored.
        record: the study.
        spec: its resolved specification.

    Raises:
        UnknownNameError: the study was deleted.
    """
    attributes = study_attributes(database, record.uuid)
    epochs = groupby(curves(database, record.uuid), key=lambda epoch: epoch.trial)
    return StudyFacts(
        spec=spec,
        created_at=record.created_at,
        trials=tuple(trial_records(database, record)),
        curves={trial: tuple(results) for trial, results in epochs},
        workers=tuple(list_workers(database, record.uuid)),
        worker_of=Slots(database, record.uuid).workers_by_trial(),
        steps_per_epoch=attributes.get(STEPS_ATTRIBUTE),
        origin=attributes.get(ORIGIN_ATTRIBUTE, {}),
        range_test=_range_test(database, spec),
        confirmation=latest_confirmation(database, record.uuid, spec.epochs),
        audit=latest_audit(database, record.uuid),
    )


def _range_test(database: Database, spec: StudySpec) -> RangeTest | None:
    for stored in list_range_tests(database, spec.task):
        if stored.test.settings["optimizer"] == spec.optimizer.name:
            return stored.test
    return None
