"""A worker that chooses among the open studies of a database."""

import threading
import time

import pytest

from lrsearch.errors import (
    DatabaseLostError,
    DeviceError,
    InputError,
    SpecError,
    StudyConflictError,
    StudyPausedError,
    UnknownNameError,
    WorkerNameTakenError,
)
from lrsearch.results import Outcome, TrialResult
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


def test_trials_to_begin_go_before_those_that_others_hold(database) -> None:
    """Also where the study whose trials are all held has the higher priority: it needs nobody more."""
    held = submit(database, "held", priority=9, trials=1)
    join_study(database, held, "other", OTHER, "cpu")
    [claim] = Slots(database, held).claim("other", 1)
    submit(database, "plain", trials=1)
    pool = Pool(database, PoolOptions(), print)
    left = []
    for name, progress in pool.run():
        if progress.stopped is not None:
            left.append(name)
        if left == ["plain"]:
            Slots(database, held).finish([(claim, TrialResult(Outcome.FAIL, None, 0))])
        assert left != ["held"]
    assert left == ["plain"]


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overrides": {"run.lanes": "many"}}, "option --lanes: .* whole number from 1 to 4096"),
        ({"overrides": {"run.device": "gpu"}}, "option --device: .* got 'gpu'"),
        ({"overrides": {"run.device": "cuda:99"}}, "'cuda:99' was asked for"),
        ({"timeout_s": -1.0}, "option --timeout-s: .* above 0, but got -1.0"),
    ],
)
def test_options_that_fit_no_study_are_refused(database, options, message) -> None:
    """Once, at the beginning; no study is blamed for them."""
    submit(database, "s", trials=1)
    with pytest.raises((SpecError, DeviceError), match=message):
        worked(database, **options)


@pytest.mark.parametrize("state", [PAUSED, STOPPED, FAILING])
def test_a_study_that_is_not_open_is_refused_if_it_is_named(database, state) -> None:
    """With what opens it; who waits for work waits for it."""
    uuid = submit(database, "s", trials=1)
    set_state(database, uuid, state, "a reason")
    with pytest.raises(StudyPausedError, match=f"is {state}: a reason.*lrsearch resume s"):
        worked(database, studies=("s",))
    waited = []

    def stop_requested() -> bool:
        if len(waited) == 1:
            set_state(database, uuid, OPEN)
        waited.append(1)
        return ended(database, uuid) == 1

    assert worked(database, stop_requested, studies=("s",), forever=True)[0][0] == "s"


def test_a_study_without_gain_is_left_for_good(database, arrays) -> None:
    """Joined again, it would begin trials again, over and over."""
    uuid = submit(database, "s", trials=50, run={"stop_after_no_gain": 3})
    submit(database, "t", trials=1)
    assert sorted(worked(database)) == [("s", StopReason.NO_GAIN), ("t", StopReason.BUDGET)]
    assert len(arrays) == 2
    assert ended(database, uuid) < 50


def test_a_workers_time_is_its_own(database) -> None:
    """It is over all of its studies, whatever their files say of a run on one machine."""
    submit(database, "s", trials=2, run={"timeout_s": 1e-6, "workers": 7})
    assert worked(database) == [("s", StopReason.BUDGET)]
    uuid = submit(database, "t", trials=10_000)
    begun = time.monotonic()
    assert worked(database, timeout_s=0.3) == [("t", StopReason.TIMEOUT)]
    assert worked(database, studies=("s",), forever=True, timeout_s=0.3) == []
    assert time.monotonic() - begun < 10
    assert Slots(database, uuid).counts().leased == 0


def test_a_worker_that_cannot_train_a_study_takes_no_place_in_it(database, monkeypatch) -> None:
    """It has joined by the time at which its losses are found to be others; the next one has room."""
    uuid = submit(database, "s", trials=2, max_workers=1)

    class Other(FormulaArray):
        untrained_loss = 50.0

    assert worked(database, lambda: ended(database, uuid) == 1)[0] == ("s", StopReason.INTERRUPTED)
    monkeypatch.setattr(
        pool_module,
        "prepare",
        lambda database, _spec, _task, _data, open_study, *, name: Search(
            database, open_study(), Other(), 1, name=name
        ),
    )
    places = []
    pool = Pool(database, PoolOptions(name="other"), lambda _note: places.append(workers_alive(database)))
    assert list(pool.run()) == []
    assert [uuid in alive for alive in places] == [False]
    assert (ended(database, uuid), Slots(database, uuid).counts().leased) == (1, 0)


def test_training_goes_on_while_other_studies_cannot_be_looked_for(database, monkeypatch) -> None:
    """An outage is the training's own to sit out: the look for others neither waits nor fails."""
    submit(database, "s", trials=5)
    open_work, asked = pool_module.open_work, []

    def lost(database):
        asked.append(1)
        if len(asked) == 1:
            return open_work(database)
        if len(asked) < 4:
            raise DatabaseLostError("no answer")
        return open_work(database)

    monkeypatch.setattr(pool_module, "open_work", lost)
    monkeypatch.setattr(pool_module, "LOOK_S", 0.0)
    assert worked(database) == [("s", StopReason.BUDGET)]
    assert len(asked) > 4
