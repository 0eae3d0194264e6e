"""A worker that chooses among the open studies of a database."""

import threading
import time

import pytest

from lrsearch.errors import (
    DeviceError,
    InputError,
    StudyConflictError,
    StudyPausedError,
    UnknownNameError,
    WorkerNameTakenError,
)
from lrsearch.results import Outcome
from lrsearch.service import pool as pool_module
from lrsearch.service.pool import Pool, PoolOptions
from lrsearch.service.progress import StopReason
from lrsearch.service.search import Search
from lrsearch.service.studies import open_study
from lrsearch.storage.database import Database, open_database
from lrsearch.storage.process import ProcessIdentity
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import optuna_study_id
from lrsearch.storage.study_states import set_share, set_state, study_state
from lrsearch.storage.tables import FAILING, OPEN, PAUSED, STOPPED
from lrsearch.storage.workers import join_study, workers_alive
from lrsearch.training.devices import resolve_device
from tests.service.arrays import FormulaArray
from tests.service.test_outage import make_spec

OTHER = ProcessIdentity("another machine", "host", 1, 0.0)


@pytest.fixture(autouse=True)
def arrays(monkeypatch, tmp_path):
    """Training by formula, and the arrays that were made."""
    made = []

    def prepare(database, _spec, _task, _data, open_study, *, name):
        made.append(FormulaArray(after_epoch=lambda _array: time.sleep(0.002)))
        return Search(database, open_study(), made[-1], 1, name=name)

    monkeypatch.setattr(pool_module, "prepare", prepare)
    monkeypatch.setattr(pool_module, "load_onto_device", lambda _spec, _task: None)
    monkeypatch.setattr(pool_module, "check_same_data", lambda *_arguments: None)
    monkeypatch.setattr(pool_module, "POLL_S", 0.05)
    monkeypatch.setattr(pool_module, "LOOK_S", 0.05)
    monkeypatch.setenv("LRSEARCH_CHECKPOINT_DIR", str(tmp_path / "checkpoints"))
    return made


def submit(database: Database, name: str, *, priority=None, max_workers=None, **changes) -> str:
    """Store a study, and return our key of it."""
    study = open_study(database, make_spec(name=name, **changes))
    set_share(database, study.record.uuid, priority=priority, max_workers=max_workers)
    return study.record.uuid


def worked(database: Database, stop_requested=lambda: False, **options) -> list[tuple[str, StopReason]]:
    """Let a worker work, and return what it has left and why."""
    notes: list[str] = []
    pool = Pool(database, PoolOptions(**options), notes.append)
    left = [(name, p.stopped) for name, p in pool.run(stop_requested) if p.stopped is not None]
    worked.notes = notes
    return left


def ended(database: Database, uuid: str) -> int:
    """Return how many trials of a study have ended."""
    return Slots(database, uuid).counts().ended


def test_the_highest_priority_goes_first(database) -> None:
    """Then the others, until there is no work."""
    for name, priority in (("low", 1), ("high", 9), ("plain", None)):
        submit(database, name, priority=priority, trials=2)
    assert worked(database) == [(name, StopReason.BUDGET) for name in ("high", "low", "plain")]
    assert worked(database) == []


def test_a_worker_takes_the_studies_that_it_is_told(database) -> None:
    """Others are left alone, and an unknown one is refused at once."""
    submit(database, "a", trials=1)
    other = submit(database, "b", trials=1)
    assert worked(database, studies=("a",)) == [("a", StopReason.BUDGET)]
    assert ended(database, other) == 0
    with pytest.raises(UnknownNameError, match="unknown study 'c'"):
        worked(database, studies=("c",))


def test_a_study_that_comes_later_with_a_higher_priority_is_preferred(database, arrays) -> None:
    """The trials that run are trained to their end, and the rest of the study comes after it."""
    first = submit(database, "first", trials=30)
    pool = Pool(database, PoolOptions(), print)
    left = []
    for name, progress in pool.run():
        if progress.ended_trials == 2 and not left and len(arrays) == 1:
            submit(database, "urgent", priority=1, trials=1)
        if progress.stopped is not None:
            left.append((name, progress.stopped))
    assert left == [
        ("first", StopReason.DRAINED),
        ("urgent", StopReason.BUDGET),
        ("first", StopReason.BUDGET),
    ]
    results = Slots(database, first).results()
    assert [result.result.outcome for result in results] == [Outcome.COMPLETE] * 30


def test_no_more_workers_join_than_a_study_allows(database) -> None:
    """Those beyond go to other studies, and come when there is room."""
    full = submit(database, "full", priority=5, max_workers=1, trials=2)
    free = submit(database, "free", trials=2)
    join_study(database, full, "other", OTHER, "cpu")
    assert worked(database, studies=("free",)) == [("free", StopReason.BUDGET)]
    begun = time.monotonic()
    assert worked(database, lambda: time.monotonic() - begun > 0.5) == []
    assert (ended(database, full), ended(database, free)) == (0, 2)


def test_max_workers_holds_when_many_come_at_once(created_url) -> None:
    """However many ask at the same moment, as many join as are allowed."""
    with open_database(created_url) as database:
        uuid = submit(database, "s", max_workers=2)
    joined, gate = [], threading.Barrier(6)

    def join(number: int) -> None:
        with open_database(created_url) as database:
            gate.wait()
            try:
                join_study(database, uuid, f"w{number}", ProcessIdentity("m", "host", number, 0.0), "cpu")
            except InputError:
                return
            joined.append(number)

    threads = [threading.Thread(target=join, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(joined) == 2


@pytest.mark.parametrize("state", [PAUSED, STOPPED, FAILING])
def test_a_study_that_is_not_open_gets_no_workers(database, state) -> None:
    """Until it is resumed."""
    uuid = submit(database, "s", trials=1)
    set_state(database, uuid, state)
    assert worked(database) == []
    set_state(database, uuid, OPEN)
    assert worked(database) == [("s", StopReason.BUDGET)]


@pytest.mark.parametrize(("state", "reason"), [(PAUSED, StopReason.PAUSED), (STOPPED, StopReason.STOPPED)])
def test_a_pause_or_a_stop_reaches_workers_that_train(database, state, reason) -> None:
    """Paused, the trial is given back; stopped, it ends, and no other begins."""
    uuid = submit(database, "s", trials=9)
    pool = Pool(database, PoolOptions(), print)
    left = None
    for _name, progress in pool.run():
        if progress.running and progress.running[0].epoch == 2:
            set_state(database, uuid, state)
        left = progress.stopped or left
    assert left is reason
    counts = Slots(database, uuid).counts()
    assert counts.leased == 0
    assert counts.ended == (1 if state == STOPPED else 0)


def test_trials_that_keep_failing_pause_the_study(database, monkeypatch) -> None:
    """With the reason, for all workers; who optimizes it explicitly lets it go on."""
    uuid = submit(database, "s", trials=20)

    def failing(database, _spec, _task, _data, open_study, *, name):
        def fail(_hyperparameters, _epoch):
            raise RuntimeError("the cable is out")

        return Search(database, open_study(), FormulaArray(fail), 1, name=name)

    monkeypatch.setattr(pool_module, "prepare", failing)
    assert worked(database) == [("s", StopReason.FAILURES)]
    assert ended(database, uuid) == 5
    state = study_state(database, uuid)
    assert (state.name, state.reason) == (FAILING, "RuntimeError: the cable is out")
    reopened = open_study(database, make_spec(name="s", trials=20))
    assert "kept failing: RuntimeError: the cable is out" in reopened.notes[0]
    assert study_state(database, uuid).name == OPEN


def test_a_paused_study_is_not_run_by_accident(database) -> None:
    """The message says how it goes on."""
    uuid = submit(database, "my study", trials=1)
    set_state(database, uuid, PAUSED)
    with pytest.raises(StudyPausedError, match="lrsearch resume 'my study'"):
        open_study(database, make_spec(name="my study", trials=1))


def test_two_workers_of_one_name_are_refused(database) -> None:
    """The study stays untouched."""
    uuid = submit(database, "s", trials=1)
    join_study(database, uuid, "node-1", OTHER, "cpu")
    with pytest.raises(WorkerNameTakenError, match="process 1 on host"):
        worked(database, name="node-1", studies=("s",))
    assert Slots(database, uuid).counts().free == 1


def test_a_worker_leaves_when_it_has_no_work(database) -> None:
    """It counts as alive no more, so that its name is free."""
    submit(database, "s", trials=1)
    worked(database, name="node-1")
    assert workers_alive(database) == {}


def test_a_study_of_a_newer_version_is_refused(database) -> None:
    """What this one does not understand is named, with the version that made it."""
    uuid = submit(database, "s", trials=1)
    change = """UPDATE lrsearch_studies SET spec = replace(spec, '"seed": 0', '"seed": 0, "novelty": 1')"""
    database.transaction(lambda connection: connection.exec_driver_sql(change))
    study_id = optuna_study_id(database, uuid)
    database.optuna_storage.set_study_user_attr(study_id, "lrsearch:origin", {"lrsearch": "99.0"})
    with pytest.raises(StudyConflictError, match=r"made by lrsearch 99.0.*novelty.*pip install --upgrade"):
        worked(database, studies=("s",))
    assert Slots(database, uuid).counts().free == 1


def test_a_worker_that_waits_takes_what_comes(database) -> None:
    """With forever it does not leave when there is no work."""
    done = []

    def stop_requested() -> bool:
        if not done:
            done.append(submit(database, "late", trials=1))
        return ended(database, done[0]) == 1

    assert worked(database, stop_requested, forever=True)[0][0] == "late"


def test_the_device_that_a_study_asks_for_must_exist(database, monkeypatch) -> None:
    """Named, the study is refused; else it is left to others, which is told once."""
    uuid = submit(database, "gpu", trials=1, run={"device": "cuda"})

    def load(spec, _task):
        resolve_device(spec.run.device)

    monkeypatch.setattr(pool_module, "load_onto_device", load)
    with pytest.raises(DeviceError, match="cuda"):
        worked(database, studies=("gpu",))
    assert worked(database) == []
    assert len(worked.notes) == 1
    assert "study 'gpu' is left to others" in worked.notes[0]
    assert Slots(database, uuid).counts().free == 1
    assert worked(database, overrides={"run.device": "cpu"}) == [("gpu", StopReason.BUDGET)]
