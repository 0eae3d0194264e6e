"""The loop: exact budgets, pruning, divergence, failures, interruption, repetition."""

import math
import os
import subprocess
import sys
import threading
import time

import optuna
import pytest

from lrsearch.errors import SpecError
from lrsearch.schedules import Hyperparameters
from lrsearch.service.progress import StopReason
from lrsearch.service.search import Search
from lrsearch.service.studies import enqueue, extend, open_study, resolved, stored_spec
from lrsearch.spec import spec_from
from lrsearch.storage.database import open_database
from lrsearch.storage.epochs import curves
from lrsearch.storage.process import ProcessIdentity, this_machine
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import find_study
from lrsearch.storage.trials import trial_records
from lrsearch.storage.workers import join_study, list_workers
from tests.service.arrays import FormulaArray, bowl

LONG_S = 120.0


def make_spec(**keys):
    """Return a resolved specification of a small study."""
    content = {
        "name": "s",
        "task": "digits-mlp",
        "trials": 12,
        "epochs": 5,
        "sampler": "random",
        "pruner": "none",
    }
    space = {"warmup_fraction": 0.0}
    return resolved(spec_from({**content, "first_trials": False, "space": space, **keys}, "test"))


@pytest.fixture
def database(sqlite_url):
    """Return an open SQLite database."""
    with open_database(sqlite_url) as opened:
        yield opened


@pytest.fixture
def any_database(storage_url):
    """Return an open database of each backend."""
    with open_database(storage_url) as opened:
        yield opened


PRINT_PROCESS = """
from lrsearch.storage.process import this_process
print(this_process().pid, this_process().started)
"""


def search(database, spec, array, lanes=1, lease_s=LONG_S):
    """Return a search over a formula instead of a training."""
    return Search(database, open_study(database, spec), array, lanes, lease_s)


def run(database, spec, array=None, lanes=1, **options):
    """Run a search to its end and return its last progress."""
    *_, last = search(database, spec, array or FormulaArray(), lanes).run(**options)
    return last


def trials_of(database, name="s"):
    """Return the study's trials as Optuna has them."""
    return optuna.load_study(study_name=name, storage=database.optuna_storage).trials


def records_of(database, spec):
    """Return the study's trials as we show them."""
    return trial_records(database, open_study(database, spec).record)


@pytest.mark.parametrize("lanes", [1, 5])
def test_a_study_ends_with_exactly_its_budget(any_database, lanes):
    """Twelve slots make twelve complete trials, each with value, curve and slot, whatever the lanes."""
    last = run(any_database, make_spec(), lanes=lanes)
    trials = trials_of(any_database)
    assert last.stopped is StopReason.BUDGET
    assert last.ended == {"COMPLETE": 12, "diverged": 0}
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 12
    assert sorted(trial.user_attrs["slot"] for trial in trials) == list(range(12))
    for trial in trials:
        expected = [bowl(Hyperparameters(trial.params["lr"]), epoch) for epoch in range(1, 6)]
        assert list(trial.intermediate_values.values()) == pytest.approx(expected)
        assert trial.value == pytest.approx(expected[-1])
    assert last.best.result.value == min(trial.value for trial in trials)


def test_a_finished_study_is_not_trained_again(database):
    """Running the same command again trains nothing."""
    run(database, make_spec())
    array = FormulaArray()
    last = run(database, make_spec(), array)
    assert array.started == []
    assert last.stopped is StopReason.BUDGET
    assert len(trials_of(database)) == 12


def test_points_do_not_depend_on_the_lanes(database):
    """A slot's point is the sampler's for that slot, however many lanes share the work."""
    run(database, make_spec(name="one"), lanes=1)
    run(database, make_spec(name="many"), lanes=4)
    one, many = (
        {trial.user_attrs["slot"]: (trial.params, trial.value) for trial in trials_of(database, name)}
        for name in ("one", "many")
    )
    assert one == many


def test_an_interrupted_study_goes_on_with_the_released_trials(any_database):
    """Released trials keep number and point, are trained from their beginning, and the budget stays exact."""
    array = FormulaArray()
    last = run(any_database, make_spec(), array, lanes=3, stop_requested=lambda: array.epochs >= 7)
    before = {trial.number: (trial.state.name, trial.params) for trial in trials_of(any_database)}
    running = [number for number, (state, _params) in before.items() if state == "RUNNING"]
    assert last.stopped is StopReason.INTERRUPTED
    assert last.ended_trials == 3
    assert len(running) == 3

    second = FormulaArray()
    last = run(any_database, make_spec(), second, lanes=3)
    after = {trial.number: (trial.state.name, trial.params) for trial in trials_of(any_database)}
    assert last.stopped is StopReason.BUDGET
    assert len(after) == 12
    assert {state for state, _params in after.values()} == {"COMPLETE"}
    assert [number for number, _point in second.started[:3]] == running
    for number in running:
        assert after[number][1] == before[number][1]


def test_a_timeout_releases_what_runs(database):
    """The run ends at an epoch's end, and the study can go on."""
    spec = make_spec(run={"timeout_s": 0.05})
    array = FormulaArray(after_epoch=lambda _array: time.sleep(0.03))
    last = run(database, spec, array)
    assert last.stopped is StopReason.TIMEOUT
    assert last.ended_trials < 12
    assert run(database, make_spec()).ended_trials == 12


def test_a_dead_workers_trial_is_continued(any_database):
    """When a worker dies without a word, its slot is free again as soon as its lease runs out."""
    spec = make_spec(trials=3)
    dead = search(any_database, spec, FormulaArray(), lease_s=0.5)
    dead._worker.slots.renew = lambda claims: list(claims)  # as a killed process: it renews no more
    generator = dead.run()
    next(generator)
    [number] = [trial.number for trial in trials_of(any_database) if trial.state.name == "RUNNING"]
    died_with = trials_of(any_database)[number].params
    array = FormulaArray()
    waited = [progress.waiting for progress in search(any_database, spec, array, lease_s=0.5).run()]
    assert any(waited)
    assert (number, died_with["lr"]) in [(trial, point.lr) for trial, point in array.started]
    assert [trial.state.name for trial in trials_of(any_database)] == ["COMPLETE"] * 3
    generator.close()
    assert [trial.state.name for trial in trials_of(any_database)] == ["COMPLETE"] * 3


def test_a_worker_that_lost_its_lease_writes_nothing_more(database):
    """A worker that comes back late leaves the trial to its new holder."""
    spec = make_spec(trials=1, epochs=4)
    uuid = open_study(database, spec).record.uuid
    late = search(database, spec, FormulaArray()).run()
    next(late)
    next(late)
    database.transaction(lambda c: c.exec_driver_sql("UPDATE lrsearch_slots SET lease_until = 0"))
    [stolen] = Slots(database, uuid).claim("thief", 1)
    progress = next(late)
    assert progress.running == ()
    late.close()
    assert Slots(database, uuid).renew([stolen]) == [stolen]
    assert {result.epoch for result in curves(database, uuid)} == {1}


def test_several_workers_share_one_study_exactly(any_database, storage_url):
    """Two workers at once: every slot ends once, no trial is run twice."""
    spec = make_spec(trials=20)
    open_study(any_database, spec)
    arrays = [FormulaArray(after_epoch=lambda _array: time.sleep(0.002)) for _worker in range(2)]

    def work(array):
        with open_database(storage_url) as own:
            run(own, spec, array, lanes=2)

    workers = [threading.Thread(target=work, args=(array,)) for array in arrays]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    started = [number for array in arrays for number, _point in array.started]
    assert sorted(started) == list(range(20))
    assert [trial.state.name for trial in trials_of(any_database)] == ["COMPLETE"] * 20
    assert all(array.started for array in arrays)


def test_a_diverged_trial_ends_at_once_and_teaches_the_sampler(any_database):
    """It is told as pruned with the value inf, marked, and its slot is used up."""

    def cliff(hyperparameters, epoch):
        return math.nan if hyperparameters.lr > 0.5 and epoch >= 2 else bowl(hyperparameters, epoch)

    spec = make_spec(trials=20)
    last = run(any_database, spec, FormulaArray(cliff), lanes=3)
    above = [trial for trial in trials_of(any_database) if trial.params["lr"] > 0.5]
    assert last.ended["diverged"] == len(above) > 0
    for trial in above:
        assert trial.state.name == "PRUNED"
        assert list(trial.intermediate_values) == [1, 2]
        assert trial.value == trial.intermediate_values[2] == math.inf
        assert trial.user_attrs["diverged"] is True
    shown = {record.number: record.diverged for record in records_of(any_database, spec)}
    assert [number for number, diverged in shown.items() if diverged] == [trial.number for trial in above]


def test_a_loss_three_times_the_untrained_one_has_diverged(database):
    """The bound is the untrained model's loss, here 100, times three."""
    losses = {"flat": 299.0, "high": 301.0}
    for name, loss in losses.items():
        last = run(database, make_spec(name=name, trials=1), FormulaArray(lambda _h, _e, loss=loss: loss))
        assert last.ended["diverged"] == (name == "high")


def test_a_failing_trial_uses_up_its_slot_and_the_others_go_on(database):
    """An exception in the training ends its trial as FAIL with the reason."""

    def fragile(hyperparameters, epoch):
        if hyperparameters.lr > 0.5:
            raise RuntimeError("too high")
        return bowl(hyperparameters, epoch)

    spec = make_spec(trials=20)
    last = run(database, spec, FormulaArray(fragile), lanes=2)
    failed = [trial for trial in trials_of(database) if trial.params["lr"] > 0.5]
    assert last.ended["FAIL"] == len(failed) > 0
    assert last.ended_trials == 20
    assert {trial.state.name for trial in failed} == {"FAIL"}
    assert {trial.user_attrs["reason"] for trial in failed} == {"RuntimeError: too high"}


def test_a_study_whose_trials_all_fail_is_stopped(database):
    """Five failures in a row end the run: the task is broken, not the learning rate."""

    def broken(_hyperparameters, _epoch):
        raise RuntimeError("no such layer")

    last = run(database, make_spec(trials=50), FormulaArray(broken))
    assert last.stopped is StopReason.FAILURES
    assert last.ended == {"FAIL": 5, "diverged": 0}
    assert last.last_failure == "RuntimeError: no such layer"
    mended = run(database, make_spec(trials=50))
    assert mended.stopped is StopReason.BUDGET
    assert mended.ended == {"FAIL": 5, "COMPLETE": 45, "diverged": 0}


def test_a_study_without_gain_ends_early(database):
    """stop_after_no_gain counts the trials that ended after the best one, over all runs."""
    spec = make_spec(trials=50, run={"stop_after_no_gain": 6})
    array = FormulaArray()
    last = run(database, spec, array)
    assert last.stopped is StopReason.NO_GAIN
    assert last.ended_trials == last.best.number + 1 + 6
    again = FormulaArray()
    assert run(database, spec, again).stopped is StopReason.NO_GAIN
    assert again.started == []


def test_pruning_saves_epochs_and_spares_the_best(database):
    """ASHA stops most trials early; the best random point is still found."""
    full, pruned = FormulaArray(), FormulaArray()
    best = run(database, make_spec(name="full", trials=30, epochs=9), full, lanes=4).best
    last = run(database, make_spec(name="pruned", trials=30, epochs=9, pruner="asha"), pruned, lanes=4)
    assert pruned.epochs < full.epochs
    assert last.ended["PRUNED"] > last.ended["COMPLETE"] > 0
    assert last.best.hyperparameters == best.hyperparameters


def test_first_trials_come_first_and_are_never_pruned(database):
    """The recipes take the first slots and run to their end, however poor they are."""

    def poor_recipes(hyperparameters, epoch):
        recipe = hyperparameters.lr == 0.1 or abs(hyperparameters.lr - math.sqrt(1e-3 * 5)) < 1e-12
        return 50.0 if recipe else bowl(hyperparameters, epoch)

    spec = make_spec(
        trials=20,
        epochs=9,
        pruner="asha",
        first_trials=True,
        space={"warmup_fraction": {"low": 0, "high": 0.1}},
    )
    run(database, spec, FormulaArray(poor_recipes), lanes=4)
    trials = trials_of(database)
    assert [trial.params["kind"] for trial in trials[:4]] == [
        "ReduceLROnPlateau",
        "LinearLR",
        "CosineAnnealingLR",
        "WSD",
    ]
    assert [trial.state.name for trial in trials[:4]] == ["COMPLETE"] * 4
    assert "PRUNED" in {trial.state.name for trial in trials[4:]}


def test_the_order_of_lanes_cannot_matter_to_pruning(database):
    """Lanes in lockstep enter their losses first, then the poorer ones stop, whatever their order."""
    outcomes = []
    for name, seed in [("a", 0), ("b", 0)]:
        array = FormulaArray()
        if name == "b":
            plain = array.run_epoch
            array.run_epoch = lambda plain=plain: plain()[::-1]
        run(database, make_spec(name=name, seed=seed, trials=9, epochs=9, pruner="asha"), array, lanes=9)
        outcomes.append([(trial.state.name, trial.value) for trial in trials_of(database, name)])
    assert outcomes[0] == outcomes[1]
    assert sum(state == "PRUNED" for state, _value in outcomes[0]) == 7


@pytest.mark.parametrize("lanes", [1, 4])
def test_a_point_with_the_same_learning_rates_is_not_trained_twice(database, lanes):
    """It takes over the earlier trial's result and says so, in the same array and later."""
    spec = make_spec(
        trials=6,
        epochs=10,
        sampler="grid",
        space={
            "lr": [0.1, 0.2],
            "warmup_fraction": 0.0,
            "kinds": ["StepLR"],
            "StepLR": {"step_fraction": [0.30, 0.31, 0.32], "gamma": 0.5},
        },
    )
    array = FormulaArray()
    last = run(database, spec, array, lanes=lanes)
    records = records_of(database, spec)
    repeated = [record for record in records if record.reason]
    assert len(array.started) == 2
    assert last.ended_trials == len(records) == 6
    assert len(repeated) == 4
    assert {record.reason.rsplit(" ", 1)[0] for record in repeated} == {"same learning rates as trial"}
    for lr in (0.1, 0.2):
        assert len({record.value for record in records if record.params["lr"] == lr}) == 1


def test_an_enqueued_point_is_trained_next(database):
    """What it names is taken, what it leaves open is sampled."""
    spec = make_spec()
    open_study(database, spec)
    assert enqueue(database, "s", {"lr": 0.25, "kind": "StepLR"}) == 0
    run(database, spec)
    first = trials_of(database)[0]
    assert (first.params["lr"], first.params["kind"]) == (0.25, "StepLR")
    assert set(first.params) == {"lr", "kind", "StepLR.gamma", "StepLR.step_fraction"}


@pytest.mark.parametrize(("fraction", "warmup"), [(0.0, False), (0.1, True)])
def test_an_enqueued_warmup_may_be_zero(database, fraction, warmup):
    """Where warm-up is zero or a range, its fraction alone says which."""
    spec = make_spec(space={"warmup_fraction": {"low": 0.05, "high": 0.2, "or_zero": True}})
    open_study(database, spec)
    enqueue(database, "s", {"kind": "StepLR", "warmup_fraction": fraction})
    run(database, spec)
    first = trials_of(database)[0].params
    assert first["warmup"] is warmup
    assert first.get("warmup_fraction", 0.0) == fraction


def test_an_extended_study_keeps_its_trials_and_searches_wider(any_database):
    """More slots, wider bounds, the old trials; Optuna's shared search space still has lr."""
    run(any_database, make_spec(space={"lr": {"low": 0.01, "high": 0.1, "log": True}}))
    before = [(trial.number, trial.value) for trial in trials_of(any_database)]
    wider = extend(any_database, "s", trials=30, lr_high=10.0)
    assert wider.trials == 42
    run(any_database, wider)
    trials = trials_of(any_database)
    assert [(trial.number, trial.value) for trial in trials[:12]] == before
    assert len(trials) == 42
    assert max(trial.params["lr"] for trial in trials) > 0.1
    assert "lr" in optuna.search_space.intersection_search_space(trials)


@pytest.mark.parametrize(
    "sampler", ["tpe", "random", "quasi-random", "genetic", "particle-swarm", "coarse-to-fine"]
)
def test_every_sampler_runs_and_resumes(database, sampler):
    """An interrupted study of any sampler ends with its budget."""
    spec = make_spec(sampler=sampler, pruner="asha", trials=16, epochs=6)
    array = FormulaArray()
    run(database, spec, array, lanes=3, stop_requested=lambda: array.epochs >= 5)
    last = run(database, spec, lanes=3)
    assert last.ended_trials == 16
    assert last.best.result.value < 1.0


def test_a_worker_is_known_and_seen_while_it_works(database):
    """The database knows each worker's process and device, and when it was last seen."""
    spec = make_spec(trials=4)
    array = FormulaArray(after_epoch=lambda _array: time.sleep(0.05))
    *_, last = search(database, spec, array, lease_s=0.3).run()
    assert last.stopped is StopReason.BUDGET
    [worker] = list_workers(database, open_study(database, spec).record.uuid)
    assert (worker.pid, worker.device) == (os.getpid(), "cpu")
    assert worker.seen_at > worker.started_at


def test_progress_tells_where_the_study_stands(database):
    """Running lanes, counts, best and time left are those of the moment, from a trial's first epoch on."""
    seen = list(search(database, make_spec(trials=3), FormulaArray(), lanes=2).run())
    epochs = [tuple(lane.epoch for lane in progress.running) for progress in seen]
    first = [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), ()]
    second = [(0,), (1,), (2,), (3,), (4,), ()]
    assert epochs == [*first, *second, ()]
    assert [len(progress.news) for progress in seen] == [0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 1, 0]
    assert [progress.ended_trials for progress in seen] == [0] * 5 + [2] * 6 + [3] * 2
    assert not any(progress.waiting for progress in seen[:-1])
    assert seen[-1].stopped is StopReason.BUDGET


def test_a_restarted_trial_begins_with_an_empty_curve(database):
    """Epochs of the interrupted attempt are forgotten, ours and Optuna's, before the trial trains again."""
    spec = make_spec(trials=1, run={"checkpoint_max_gb": 0.0})
    array = FormulaArray()
    run(database, spec, array, stop_requested=lambda: array.epochs >= 3)
    assert list(trials_of(database)[0].intermediate_values) == [1, 2, 3]
    again = FormulaArray(lambda _hyperparameters, _epoch: math.nan)
    run(database, spec, again)
    assert list(trials_of(database)[0].intermediate_values) == [1]
    assert [result.epoch for result in curves(database, open_study(database, spec).record.uuid)] == [1]


def test_a_trial_that_cannot_start_fails_alone(database):
    """An exception while a lane is built is a FAIL with its reason, not the end of the worker."""

    class Fragile(FormulaArray):
        def start(self, trial, hyperparameters):
            if trial == 1:
                raise RuntimeError("out of memory")
            super().start(trial, hyperparameters)

    last = run(database, make_spec(trials=4), Fragile())
    assert last.ended == {"COMPLETE": 3, "FAIL": 1, "diverged": 0}
    assert last.last_failure == "RuntimeError: out of memory"


def test_an_asked_trial_without_a_slot_is_none_of_the_studys(database):
    """A worker killed inside ask leaves a trial without a whole point: it counts for nothing."""
    spec = make_spec(trials=3)
    open_study(database, spec)
    half = optuna.load_study(study_name="s", storage=database.optuna_storage).ask()
    half.suggest_float("lr", 1e-3, 5.0, log=True)
    last = run(database, spec)
    assert last.ended_trials == 3
    assert [record.number for record in records_of(database, spec)] == [1, 2, 3]
    assert run(database, spec).ended_trials == 3


def test_a_failing_worker_releases_all_it_claimed(database):
    """Whatever ends a run, no slot stays leased: the next run need not wait."""
    spec = make_spec(trials=6)
    worker = search(database, spec, FormulaArray(), lanes=4)
    worker._key = lambda _hyperparameters: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        list(worker.run())
    counts = Slots(database, open_study(database, spec).record.uuid).counts()
    assert (counts.free, counts.leased) == (6, 0)


def test_a_worker_learns_what_others_did(database):
    """Their results count in its progress, and what they trained is not trained again."""
    space = {"lr": [0.1, 0.2, 0.3, 0.4], "warmup_fraction": 0.0, "kinds": ["constant"]}
    spec = make_spec(trials=12, sampler="random", space=space)
    first = search(database, spec, FormulaArray())
    generator = first.run()
    next(generator)
    other = FormulaArray()
    stop = {"after": 5}
    run(database, spec, other, stop_requested=lambda: other.epochs >= stop["after"])
    *_, last = generator
    mine = [point.lr for _trial, point in first._array.started]
    theirs = [point.lr for _trial, point in other.started[:1]]
    assert last.ended_trials == 12
    assert last.best.result.value == min(trial.value for trial in trials_of(database))
    assert not set(mine[1:]) & set(theirs)


def test_a_repeat_of_a_pruned_trial_has_its_curve(database):
    """Optuna sees the same intermediate values and the same value, so no sampler takes it for worse."""
    space = {"lr": [0.1, 2.0], "warmup_fraction": 0.0, "kinds": ["constant"]}
    spec = make_spec(trials=24, epochs=9, pruner="asha", space=space)
    run(database, spec, FormulaArray(lambda h, e: bowl(h, e) + h.lr))
    by_lr = {}
    for trial in trials_of(database):
        by_lr.setdefault(trial.params["lr"], []).append((trial.state, trial.value, trial.intermediate_values))
    assert len(by_lr) == 2
    for same in by_lr.values():
        assert all(trial == same[0] for trial in same)


def test_repeats_of_a_failed_trial_try_themselves(database):
    """One transient failure is one FAIL, not one for every trial that waited."""
    failures = []

    def once(hyperparameters, epoch):
        if not failures:
            failures.append(epoch)
            raise RuntimeError("transient")
        return bowl(hyperparameters, epoch)

    space = {"lr": 0.1, "warmup_fraction": 0.0, "kinds": ["constant"]}
    last = run(database, make_spec(trials=6, space=space), FormulaArray(once), lanes=6)
    assert last.ended == {"FAIL": 1, "COMPLETE": 5, "diverged": 0}


def test_a_renamed_study_goes_on(database):
    """A rename in a dashboard copies the study and deletes the old one: a worker and the next run follow."""
    spec = make_spec(trials=6)
    generator = search(database, spec, FormulaArray()).run()
    next(generator)
    storage = database.optuna_storage
    optuna.copy_study(
        from_study_name="s", from_storage=storage, to_storage=storage, to_study_name="a (final) name"
    )
    optuna.delete_study(study_name="s", storage=storage)
    *_, last = generator
    assert last.ended == {"COMPLETE": 6, "diverged": 0}
    renamed = stored_spec(find_study(database, "a (final) name"))
    assert run(database, renamed).ended_trials == 6
    assert extend(database, "a (final) name", trials=1).trials == 7
    states = [trial.state.name for trial in trials_of(database, "a (final) name")]
    assert states == ["COMPLETE"] * 6


def test_a_running_worker_follows_a_wider_study(database):
    """More trials and wider bounds reach a worker that was started before, with the points that need them."""
    spec = make_spec(trials=3, space={"lr": {"low": 0.01, "high": 0.1, "log": True}})
    generator = search(database, spec, FormulaArray()).run()
    next(generator)
    extend(database, "s", trials=2, lr_high=10.0)
    enqueue(database, "s", {"lr": 5.0})
    *_, last = generator
    assert (last.trials, last.ended_trials) == (5, 5)
    assert 5.0 in [trial.params["lr"] for trial in trials_of(database)]


def test_a_budget_grows_by_all_that_was_asked_for(database, sqlite_url):
    """Two extensions at once both count."""
    open_study(database, make_spec(trials=4))

    def more():
        with open_database(sqlite_url) as own:
            extend(own, "s", trials=50)

    workers = [threading.Thread(target=more) for _worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    record = find_study(database, "s")
    counts = Slots(database, record.uuid).counts()
    assert record.spec["trials"] == counts.free == 154


@pytest.mark.parametrize("sampler", ["grid", "coarse-to-fine"])
def test_a_scan_takes_no_points_but_its_own(database, sampler):
    """Enqueued points and first trials would displace points of the scan: they are refused."""
    space = {"lr": {"low": 0.01, "high": 1.0, "log": True, "points": 3}, "warmup_fraction": 0.0}
    constant = {**space, "kinds": ["constant"]}
    open_study(database, make_spec(trials=3, sampler=sampler, space=constant))
    with pytest.raises(SpecError, match="nothing can be enqueued"):
        enqueue(database, "s", {"lr": 0.1})
    with pytest.raises(SpecError, match="first_trials must be false"):
        make_spec(trials=3, sampler=sampler, space=constant, first_trials=True)


def test_a_waiting_worker_takes_over_at_once_from_one_that_died_here(any_database):
    """It does not wait for the leases of a process of its own machine that has ended."""
    spec = make_spec(trials=1)
    study = open_study(any_database, spec)
    worker = search(any_database, spec, FormulaArray())
    ended = subprocess.run([sys.executable, "-c", PRINT_PROCESS], check=True, capture_output=True, text=True)
    pid, started = ended.stdout.split()
    process = ProcessIdentity(this_machine(), "host", int(pid), float(started))
    join_study(any_database, study.record.uuid, "dead", process, "cpu")
    Slots(any_database, study.record.uuid).claim("dead", 1)
    begun = time.monotonic()
    *_, last = worker.run()
    assert last.ended_trials == 1
    assert time.monotonic() - begun < LONG_S / 4
