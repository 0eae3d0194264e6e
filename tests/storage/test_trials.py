"""Trials as they are shown: Optuna's, with our results where we have them; and the workers beside them."""

import math
import time
from dataclasses import replace
from datetime import UTC, datetime

import optuna
import pytest

from lrsearch.errors import WorkerNameTakenError
from lrsearch.results import EpochResult, Outcome, TrialRecord, TrialResult
from lrsearch.storage.database import Database
from lrsearch.storage.epochs import record_epochs
from lrsearch.storage.process import ProcessIdentity
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import StudyRecord, create_study
from lrsearch.storage.trials import trial_records
from lrsearch.storage.workers import join_study, leave_study, list_workers, see_worker


@pytest.fixture
def record(database: Database) -> StudyRecord:
    """A new study with three slots."""
    return create_study(database, "study", {}, trials=3)


@pytest.fixture
def study(database: Database, record: StudyRecord) -> optuna.Study:
    """Optuna's side of the same study."""
    return optuna.load_study(study_name=record.name, storage=database.optuna_storage)


def test_a_study_without_trials_has_no_records(database: Database, record: StudyRecord) -> None:
    """Free slots are no trials."""
    assert trial_records(database, record) == []


def test_a_running_trial_shows_what_it_has(
    database: Database, record: StudyRecord, study: optuna.Study
) -> None:
    """Parameters, start and epochs so far; neither value nor end."""
    slots, trial = Slots(database, record.uuid), study.ask()
    lr = trial.suggest_float("lr", 0, 1)
    (claim,) = slots.claim("worker", 1)
    slots.bind(claim, trial.number, {"lr": lr})
    record_epochs(slots, [(claim, EpochResult(0, 2, 1.0, 0.5, {}, lr, 1.0), 0.5)])
    (shown,) = trial_records(database, record)
    assert shown == TrialRecord(
        0, "RUNNING", None, diverged=False, params={"lr": lr}, epochs=2, started_at=shown.started_at
    )


@pytest.mark.parametrize(
    "result",
    [
        TrialResult(Outcome.COMPLETE, 0.25, 3),
        TrialResult(Outcome.PRUNED, math.inf, 2, diverged=True),
        TrialResult(Outcome.FAIL, None, 1, reason="ValueError: bad batch"),
        TrialResult(Outcome.COMPLETE, 0.25, 3, reason="repeats trial 0"),
    ],
)
def test_our_result_counts_before_and_after_optuna_is_told(
    database: Database,
    record: StudyRecord,
    study: optuna.Study,
    monkeypatch: pytest.MonkeyPatch,
    result: TrialResult,
) -> None:
    """The record is the same, but for the end's time, which is Optuna's."""
    slots, trial = Slots(database, record.uuid), study.ask()
    (claim,) = slots.claim("worker", 1)
    slots.bind(claim, trial.number, {})
    record_epochs(slots, [(claim, EpochResult(0, 1, 1.0, 0.5, {}, 0.1, 1.0), 0.5)])
    monkeypatch.setattr(Database, "knows_optunas_tables", False)  # else it is told at once
    slots.finish([(claim, result)])
    (before,) = trial_records(database, record)
    slots.settle()
    (after,) = trial_records(database, record)
    assert (before.finished_at, after.finished_at is None) == (None, False)
    assert replace(after, finished_at=None) == before
    shown = (before.state, before.value, before.epochs, before.diverged, before.reason)
    assert shown == (result.outcome.value, result.value, result.epochs, result.diverged, result.reason)


def test_a_trial_without_a_slot_is_none_of_the_studys(
    database: Database, record: StudyRecord, study: optuna.Study
) -> None:
    """Queued by hand in the dashboard, or left behind by a worker that died while asking."""
    study.tell(study.ask(), 0.75)
    study.enqueue_trial({"lr": 0.5})
    assert trial_records(database, record) == []


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "UTC"])
def test_times_are_utc_wherever_they_are_read(
    database: Database, record: StudyRecord, study: optuna.Study, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna stores UTC and hands out local time; the record says UTC, and says so."""
    trial, slots = study.ask(), Slots(database, record.uuid)
    (claim,) = slots.claim("worker", 1)
    slots.bind(claim, trial.number, {})
    slots.finish([(claim, TrialResult(Outcome.COMPLETE, 1.0, 1))])
    slots.settle()
    try:
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        (shown,) = trial_records(database, record)
    finally:
        monkeypatch.undo()
        time.tzset()
    for moment in (shown.started_at, shown.finished_at):
        assert moment is not None
        assert moment.endswith("+00:00")
        assert abs((datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()) < 3600


def test_workers_are_listed_with_their_last_sign_of_life(database: Database, record: StudyRecord) -> None:
    """In the order in which they began; a worker that begins again under its name replaces itself."""
    join_study(database, record.uuid, "b", ProcessIdentity("machine", "host", 1, 0.0), "cuda:0")
    time.sleep(0.005)  # SQLite's clock counts milliseconds
    join_study(database, record.uuid, "a", ProcessIdentity("machine", "host", 2, 0.0), "cpu")
    join_study(database, "another study", "c", ProcessIdentity("machine", "host", 3, 0.0), "cpu")
    first = list_workers(database, record.uuid)
    assert [(worker.id, worker.host, worker.pid, worker.device) for worker in first] == [
        ("b", "host", 1, "cuda:0"),
        ("a", "host", 2, "cpu"),
    ]
    assert all(worker.seen_at == worker.started_at for worker in first)
    see_worker(database, "b")
    seen, other = list_workers(database, record.uuid)
    assert seen.seen_at >= seen.started_at == first[0].started_at
    assert other == first[1]
    with pytest.raises(WorkerNameTakenError, match="process 1 on host"):
        join_study(database, record.uuid, "b", ProcessIdentity("machine", "host", 4, 0.0), "cuda:1")
    leave_study(database, record.uuid, "b")
    join_study(database, record.uuid, "b", ProcessIdentity("machine", "host", 4, 0.0), "cuda:1")
    assert {worker.pid for worker in list_workers(database, record.uuid)} == {2, 4}
