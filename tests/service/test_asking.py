"""How a worker asks: many trials at once, ahead of time, and with the others' losses in view."""

import math
import threading
import time

import optuna
import pytest
import sqlalchemy as sa

from lrsearch.service.history import History
from lrsearch.service.plan import Plan
from lrsearch.service.progress import StopReason
from lrsearch.service.search import Search
from lrsearch.service.studies import open_study, resolved
from lrsearch.service.worker import Worker
from lrsearch.spec import spec_from
from lrsearch.storage import optuna_tables
from lrsearch.storage.database import open_database
from lrsearch.storage.slots import Slots
from lrsearch.storage.study_states import set_state
from lrsearch.storage.tables import STOPPED
from lrsearch.storage.trials import trial_records
from tests.service.arrays import FormulaArray, bowl


def make_spec(**keys):
    """Return a resolved specification of a small study."""
    content = {"name": "s", "task": "digits-mlp", "trials": 12, "epochs": 4, "sampler": "random"}
    space = {"warmup_fraction": 0.0}
    content |= {"pruner": "none", "first_trials": False, "space": space}
    return resolved(spec_from({**content, **keys}, "test"))


@pytest.fixture
def database(created_sqlite_url):
    """Return an open SQLite database."""
    with open_database(created_sqlite_url) as opened:
        yield opened


def params_of(database, name="s"):
    """Return the parameters of a study's trials, by slot."""
    study = optuna.load_study(study_name=name, storage=database.optuna_storage)
    return {trial.user_attrs["slot"]: trial.params for trial in study.trials}


class Watching(FormulaArray):
    """Notes the thread that trains, and how many slots were leased when each epoch ended.

    Args:
        slots: of the study.
        expected: slots that a trial's last epoch waits to see leased.
    """

    def __init__(self, slots, expected):
        super().__init__()
        self.slots, self.expected, self.threads, self.leased = slots, expected, set(), []

    def run_epoch(self):
        """Advance all lanes, in their last epoch not before the next trials were asked for."""
        self.threads.add(threading.current_thread())
        last = any(lane[1] == 3 for lane in self.lanes.values())
        deadline = time.monotonic() + 5
        while last and self.slots.counts().leased < self.expected and time.monotonic() < deadline:
            time.sleep(0.005)
        self.leased.append(self.slots.counts().leased)
        return super().run_epoch()


def test_trials_are_asked_for_while_the_last_epoch_trains(database):
    """The lanes that end with an epoch have their successors before it is over; the budget stays exact."""
    spec = make_spec(trials=6)
    study = open_study(database, spec)
    array = Watching(Slots(database, study.record.uuid), expected=4)
    *_, last = Search(database, study, array, lanes=2, asks_ahead=True).run()
    assert array.leased[:8] == [2, 2, 2, 4, 2, 2, 2, 4]
    assert threading.current_thread() not in array.threads
    assert last.stopped is StopReason.BUDGET
    assert last.ended == {"COMPLETE": 6, "diverged": 0}
    assert [number for number, _point in array.started] == list(range(6))


@pytest.mark.parametrize(("device", "ahead"), [("cpu", False), ("cuda:0", True)])
def test_only_beside_another_device_is_asking_worth_a_thread(database, device, ahead):
    """On a CPU, asking would take the time from the training."""
    spec = make_spec(trials=2)
    array = FormulaArray(after_epoch=lambda _array: threads.add(threading.current_thread()))
    array.device, threads = device, set()
    list(Search(database, open_study(database, spec), array, lanes=1).run())
    assert (threading.current_thread() in threads) is not ahead


def test_asking_ahead_changes_no_point(database):
    """The same slots get the same points, whenever they are asked for."""
    for name, ahead in (("s", True), ("t", False)):
        spec = make_spec(name=name)
        list(Search(database, open_study(database, spec), FormulaArray(), 3, asks_ahead=ahead).run())
    assert params_of(database, "s") == params_of(database, "t")


def test_what_was_asked_ahead_is_released_and_continued(database):
    """An interrupted run leaves its points to the next one, those that never trained included."""
    spec, array = make_spec(), FormulaArray()
    stopped = Search(database, open_study(database, spec), array, 3, asks_ahead=True)
    list(stopped.run(stop_requested=lambda: array.epochs >= 4))
    before = params_of(database)
    counts = Slots(database, stopped.study.record.uuid).counts()
    assert (len(before), counts.leased, counts.ended) == (6, 0, 3)
    *_, last = Search(database, open_study(database, spec), FormulaArray(), 3).run()
    after = params_of(database)
    assert last.ended_trials == 12
    assert {slot: after[slot] for slot in before} == before


def test_what_was_asked_ahead_does_not_begin_in_a_study_that_is_stopped(database):
    """Its running trials end; those that were asked for keep their points for later."""
    spec = make_spec()
    uuid = open_study(database, spec).record.uuid

    def loss(
        hyperparameters, epoch
    ):  # the first trial ends early: the one in its place ends after the others
        return math.nan if hyperparameters == array.started[0][1] else bowl(hyperparameters, epoch)

    def stop(_array):
        if array.epochs == spec.epochs:
            set_state(database, uuid, STOPPED)

    array = FormulaArray(loss, after_epoch=stop)
    *_, last = Search(database, open_study(database, spec), array, 3, asks_ahead=True).run()
    assert last.stopped is StopReason.STOPPED
    assert [number for number, _point in array.started] == [0, 1, 2, 3]
    counts = Slots(database, uuid).counts()
    assert (counts.ended, counts.leased, counts.free) == (4, 0, 8)
    assert len(params_of(database)) == 6


def test_a_worker_that_begins_no_more_trials_asks_for_none(database):
    """What it would have asked for is left to others, who have the place."""
    spec, array = make_spec(), FormulaArray()
    search = Search(database, open_study(database, spec), array, 3, asks_ahead=True)
    *_, last = search.run(drain_requested=lambda: array.epochs >= 1)
    assert last.stopped is StopReason.DRAINED
    assert len(params_of(database)) == 3


def test_a_failure_of_the_trainer_ends_the_run(database):
    """What an array raises in its thread comes out of the search, and no slot stays leased."""

    class Broken(FormulaArray):
        def run_epoch(self):
            raise RuntimeError("device lost")

    search = Search(database, open_study(database, make_spec()), Broken(), 3, asks_ahead=True)
    with pytest.raises(RuntimeError, match="device lost"):
        list(search.run())
    assert Slots(database, search.study.record.uuid).counts().leased == 0


@pytest.mark.parametrize("sampler", ["tpe", "genetic"])
def test_a_refill_is_one_transaction_for_all_lanes(database, sampler):
    """Claiming and beginning take as many commits for eight lanes as for one."""
    commits, counted = [], []
    sa.event.listen(database.optuna_storage.engine, "commit", counted.append)
    for name, lanes in (("s", 1), ("t", 8)):
        spec = make_spec(name=name, sampler=sampler, trials=8)
        with Worker(database, open_study(database, spec), "cpu") as worker:
            before = len(counted)
            assert len(worker.begin(worker.claim(lanes))) == lanes
            commits.append(len(counted) - before)
    assert commits == [2, 2]


def test_a_study_runs_on_tables_that_are_not_known(database, monkeypatch):
    """With another revision of Optuna's tables everything goes by its interface, and ends the same."""
    list(Search(database, open_study(database, make_spec()), FormulaArray(), 3).run())
    monkeypatch.setattr(optuna_tables, "REVISION", "v9.0.0")
    spec = make_spec(name="t")
    *_, last = Search(database, open_study(database, spec), FormulaArray(), 3).run()
    assert last.ended_trials == 12
    one, other = (
        [
            (each.params, each.state, each.value, each.epochs)
            for each in trial_records(database, open_study(database, made).record)
        ]
        for made in (make_spec(), spec)
    )
    assert one == other


# --- What a worker knows of the others.


def test_others_losses_are_seen_after_every_epoch(database):
    """A worker that trains on sees what another one reported meanwhile, without a refill of its own."""
    spec = make_spec(trials=2)
    first = Search(database, open_study(database, spec), FormulaArray(), 1)
    second = Search(database, open_study(database, spec), FormulaArray(), 1)
    one, two = first.run(), second.run()
    for running in (one, two):
        next(running)  # both have begun
    next(two)
    next(one)
    assert sorted(first._history.losses[1]) == [1]
    next(two)
    next(one)
    assert sorted(first._history.losses[1]) == [1, 2]
    two.close()
    one.close()


def test_a_restarted_trials_curve_is_read_anew(database):
    """Epochs that were deleted since are forgotten, and the new ones replace them."""
    spec = make_spec(trials=1, run={"checkpoint_max_gb": 0})
    study = open_study(database, spec)
    slots, plan = Slots(database, study.record.uuid), Plan.of(spec)
    array = FormulaArray()
    list(Search(database, study, array, 1).run(stop_requested=lambda: array.epochs >= 3))
    watcher = History(slots, plan)
    assert sorted(watcher.losses[0]) == [1, 2, 3]
    generator = Search(database, study, FormulaArray(lambda h, e: 2 * bowl(h, e)), 1).run()
    next(generator)
    watcher.refresh(plan, running=())
    assert watcher.losses[0] == {}
    next(generator)
    watcher.refresh(plan, running=())
    assert sorted(watcher.losses[0]) == [1]
    generator.close()


def test_the_same_is_known_whenever_it_is_read(database):
    """A history that was read after every epoch equals one that is read at the end."""
    spec = make_spec(sampler="tpe", pruner="asha", trials=20)
    study = open_study(database, spec)
    plan = Plan.of(spec)
    followed = History(Slots(database, study.record.uuid), plan)
    news = []
    for _progress in Search(database, study, FormulaArray(), 3).run():
        news += followed.refresh(plan, running=())
    fresh = History(Slots(database, study.record.uuid), plan)
    assert len(news) == 20
    assert followed.ended == fresh.ended == news
    assert followed.losses == fresh.losses
    assert followed.attempts() == fresh.attempts()
    assert (followed.best, followed.counts()) == (fresh.best, fresh.counts())
    assert followed.trials_without_gain == fresh.trials_without_gain


def test_running_trials_of_all_workers_are_known_to_the_sampler(database):
    """They count as attempts without a rank; ended ones have one, in the order of the slots."""
    spec = make_spec(trials=4)
    study = open_study(database, spec)
    other = Search(database, study, FormulaArray(), 2).run()
    next(other)
    with Worker(database, study, "cpu") as worker:
        worker.begin(worker.claim(1))
        worker.catch_up(running=())
        known = [(attempt.index, attempt.rank) for attempt in worker.history.attempts()]
    assert known == [(0, None), (1, None), (2, None)]
    other.close()
