"""The budget: who may run which trial, what survives a worker's death, and when a slot has ended."""

import math
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from lrsearch.results import Claim, EpochResult, Outcome, TrialResult
from lrsearch.storage.database import Database, open_database
from lrsearch.storage.epochs import record_epochs
from lrsearch.storage.optuna_tables import trials as optuna_trials
from lrsearch.storage.slot_rows import SlotCounts, SlotResult
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import create_study
from lrsearch.storage.tables import SlotRow

COMPLETE = TrialResult(Outcome.COMPLETE, value=0.25, epochs=3)
PRUNED = TrialResult(Outcome.PRUNED, value=0.5, epochs=1)
DIVERGED = TrialResult(Outcome.PRUNED, value=math.inf, epochs=2, diverged=True)
FAILED = TrialResult(Outcome.FAIL, value=None, epochs=0, reason="ValueError: bad batch")


@pytest.fixture
def slots(database: Database) -> Slots:
    """Four free slots of a new study."""
    return Slots(database, create_study(database, "study", {}, trials=4).uuid)


@pytest.fixture
def study(slots: Slots) -> optuna.Study:
    """Optuna's side of the same study."""
    return load(slots.database)


def load(database: Database) -> optuna.Study:
    """Return Optuna's study, with a sampler that needs no history."""
    return optuna.load_study(
        study_name="study", storage=database.optuna_storage, sampler=optuna.samplers.RandomSampler(seed=0)
    )


def start(slots: Slots, study: optuna.Study, worker: str = "worker") -> tuple[Claim, int]:
    """Claim a slot and bind a new trial to it."""
    claim, trial = slots.claim(worker, 1)[0], study.ask()
    assert slots.bind(claim, trial.number, {"lr": trial.suggest_float("lr", 0, 1)})
    return claim, trial.number


def finish(slots: Slots, claim: Claim, result: TrialResult) -> bool:
    """Store one result; return whether it was stored."""
    return slots.finish([(claim, result)]) == []


def expire(slots: Slots) -> None:
    """Let all leases run out, as if their workers had died long ago."""
    past = sa.update(SlotRow).where(SlotRow.study_uuid == slots.study_uuid, SlotRow.lease_until.is_not(None))
    slots.database.transaction(lambda connection: connection.execute(past.values(lease_until=0.0)))


def age(database: Database, number: int) -> None:
    """Set the start of one of Optuna's trials back by an hour."""
    begun = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1)
    change = sa.update(optuna_trials).where(optuna_trials.c.number == number).values(datetime_start=begun)
    database.transaction(lambda connection: connection.execute(change))


def test_the_lowest_free_slots_are_claimed_first(slots: Slots) -> None:
    """Claims come in order, up to the limit and up to what is left."""
    assert slots.claim("a", 3) == [Claim(0, 1), Claim(1, 1), Claim(2, 1)]
    assert slots.claim("b", 3) == [Claim(3, 1)]
    assert slots.claim("c", 3) == []
    assert slots.counts() == SlotCounts(free=0, leased=4, told=0, done=0)


def test_workers_that_claim_at_once_get_different_slots(created_url: str) -> None:
    """Four threads claim one slot at a time until none is left; no slot is claimed twice."""
    with open_database(created_url) as database:
        slots = Slots(database, create_study(database, "study", {}, trials=60).uuid)
        claims: list[Claim] = []

        def work(index: int) -> None:
            while claimed := slots.claim(f"worker {index}", 1):
                claims.extend(claimed)

        _in_threads(4, work)
        assert sorted(claims, key=lambda claim: claim.slot) == [Claim(slot, 1) for slot in range(60)]


def test_a_budget_grows_and_never_shrinks(slots: Slots) -> None:
    """New slots are added behind the old ones, which keep their state."""
    slots.claim("a", 1)
    slots.grow(6)
    slots.grow(2)
    assert slots.counts() == SlotCounts(free=5, leased=1, told=0, done=0)
    assert [claim.slot for claim in slots.claim("b", 9)] == [1, 2, 3, 4, 5]


def test_slots_of_other_studies_are_untouched(slots: Slots) -> None:
    """Each study has its own budget."""
    other = Slots(slots.database, create_study(slots.database, "other", {}, trials=2).uuid)
    claims = slots.claim("a", 9)
    expire(slots)
    assert [claim.slot for claim in other.claim("b", 9)] == [0, 1]
    assert other.renew(claims[2:]) == []
    assert other.counts() == SlotCounts(free=0, leased=2, told=0, done=0)


def test_a_released_slot_is_continued_by_its_next_holder(slots: Slots, study: optuna.Study) -> None:
    """Trial and point stay with the slot, and the trial keeps running in Optuna."""
    claim, trial = start(slots, study)
    slots.release([claim])
    assert slots.counts().free == 4
    (again,) = slots.claim("other", 1)
    assert again == Claim(0, attempt=2, point=study.trials[trial].params, trial=trial)
    assert study.trials[trial].state == TrialState.RUNNING


def test_a_slot_whose_worker_died_is_continued_by_the_next(slots: Slots, study: optuna.Study) -> None:
    """Its lease runs out, and it is claimed with trial and point."""
    _, trial = start(slots, study)
    expire(slots)
    assert [claim.slot for claim in slots.claim("a", 4)] == [0, 1, 2, 3]
    expire(slots)
    first, *others = slots.claim("b", 4)
    assert (first.slot, first.attempt, first.trial) == (0, 3, trial)
    assert all(claim.attempt == 2 for claim in others)


def test_the_slots_of_the_dead_are_taken_before_free_ones(slots: Slots) -> None:
    """Their trials go on at once, not at the end of the study."""
    slots.claim("other", 3)
    past = sa.update(SlotRow).where(SlotRow.study_uuid == slots.study_uuid, SlotRow.slot == 2)
    slots.database.transaction(lambda connection: connection.execute(past.values(lease_until=0.0)))
    newcomer = Slots(slots.database, slots.study_uuid)
    assert [claim.slot for claim in newcomer.claim("a", 1)] == [2]
    assert [claim.slot for claim in newcomer.claim("a", 3)] == [3]


def test_a_worker_does_not_take_over_from_itself(slots: Slots) -> None:
    """It trains on what it holds: its next write renews a lease that ran out, or finds it lost."""
    (mine,) = slots.claim("a", 1)
    expire(slots)
    assert [claim.slot for claim in slots.claim("a", 4, held=[mine.slot])] == [1, 2, 3]
    assert slots.renew([mine]) == [mine]


def test_the_dead_are_looked_for_once_a_second_while_slots_are_free(slots: Slots) -> None:
    """A claim of a free slot costs no look for dead workers just after another one."""
    slots.claim("slow", 1)
    expire(slots)
    assert [claim.slot for claim in slots.claim("a", 2)] == [1, 2]
    assert [claim.slot for claim in slots.claim("a", 2)] == [0, 3]


def test_a_late_worker_keeps_what_nobody_took(slots: Slots) -> None:
    """A lease that ran out is renewed unless another worker has claimed the slot: no live trial is lost."""
    claims = slots.claim("slow", 2)
    expire(slots)
    assert slots.renew(claims) == claims
    assert slots.claim("other", 4) == [Claim(2, 1), Claim(3, 1)]


def test_a_late_worker_changes_nothing_once_its_slot_is_taken(slots: Slots, study: optuna.Study) -> None:
    """Every write names the attempt, so that only the last holder's counts."""
    old, trial = start(slots, study)
    expire(slots)
    slots.claim("other", 3)
    (new,) = slots.claim("other", 1)
    assert slots.renew([old, new]) == [new]
    assert not slots.bind(old, trial + 1, {})
    assert not finish(slots, old, FAILED)
    slots.release([old])
    assert slots.counts() == SlotCounts(free=0, leased=4, told=0, done=0)
    assert finish(slots, new, COMPLETE)
    assert slots.results() == [SlotResult(0, trial, study.trials[trial].params, COMPLETE)]


def test_a_released_claim_is_lost(slots: Slots) -> None:
    """Who gave a slot back does not hold it any more, even if nobody else does."""
    (claim,) = slots.claim("a", 1)
    slots.release([claim])
    assert slots.renew([claim]) == []
    assert not finish(slots, claim, COMPLETE)


@pytest.mark.parametrize("max_retries", [0, 2])
def test_a_slot_on_which_workers_keep_dying_fails(database: Database, max_retries: int) -> None:
    """One death more than is allowed ends it as FAIL, with the epochs it had and a reason."""
    slots = Slots(database, create_study(database, "study", {}, trials=1).uuid, max_retries=max_retries)
    study = load(database)
    claim, trial = start(slots, study)
    record_epochs(slots, [(claim, EpochResult(trial, 1, 1.0, 0.5, {}, 0.1, 1.0), 0.5)])
    for _ in range(max_retries):
        expire(slots)
        assert [claim.trial for claim in slots.claim("next", 1)] == [trial]
    expire(slots)
    assert slots.claim("next", 1) == []
    (ended,) = slots.results()
    assert (ended.trial, ended.result.outcome, ended.result.epochs) == (trial, Outcome.FAIL, 1)
    assert f"died {max_retries + 1} times" in str(ended.result.reason)
    slots.settle()
    assert study.trials[trial].state == TrialState.FAIL
    assert "died" in study.trials[trial].user_attrs["reason"]


def test_giving_a_slot_back_is_no_death(database: Database) -> None:
    """Workers that are stopped in order may be stopped any number of times."""
    slots = Slots(database, create_study(database, "study", {}, trials=1).uuid, max_retries=0)
    for attempt in range(1, 6):
        (claim,) = slots.claim("worker", 1)
        assert claim.attempt == attempt
        slots.release([claim])
    assert slots.counts().free == 1


def test_the_last_death_is_noticed_by_whoever_settles(database: Database) -> None:
    """A study ends even if nobody claims any more; a slot that had no trial yet has none in its result."""
    slots = Slots(database, create_study(database, "study", {}, trials=1).uuid, max_retries=0)
    slots.claim("worker", 1)
    expire(slots)
    slots.settle()
    assert slots.counts() == SlotCounts(free=0, leased=0, told=0, done=1)
    assert [ended.trial for ended in slots.results()] == [None]


def test_finishing_twice_is_finishing_once(slots: Slots, study: optuna.Study) -> None:
    """A transaction whose answer was lost is repeated, and finds the result that it stored."""
    claim, trial = start(slots, study)
    assert finish(slots, claim, COMPLETE)
    assert finish(slots, claim, COMPLETE)
    assert slots.results() == [SlotResult(0, trial, study.trials[trial].params, COMPLETE)]
    slots.settle()
    assert finish(slots, claim, COMPLETE)


@pytest.mark.parametrize("result", [COMPLETE, PRUNED, DIVERGED, FAILED])
def test_a_result_comes_back_as_it_was(slots: Slots, study: optuna.Study, result: TrialResult) -> None:
    """Infinite values, missing values and reasons included."""
    claim, trial = start(slots, study)
    finish(slots, claim, result)
    assert slots.results() == [SlotResult(0, trial, study.trials[trial].params, result)]


@pytest.mark.parametrize("value", [None, math.nan])
def test_a_complete_trial_has_a_value(slots: Slots, value: float | None) -> None:
    """Optuna would store another outcome than ours."""
    (claim,) = slots.claim("worker", 1)
    with pytest.raises(ValueError, match="COMPLETE trial has a value"):
        finish(slots, claim, replace(COMPLETE, value=value))
    assert slots.counts().told == 0


@pytest.mark.parametrize("at_once", [True, False])
def test_optuna_is_told_what_we_know(
    slots: Slots, study: optuna.Study, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """Outcome, value, divergence and reason: at once, or on settling where tables are unknown to us."""
    monkeypatch.setattr(Database, "knows_optunas_tables", at_once)
    for result in (COMPLETE, PRUNED, DIVERGED, FAILED):
        claim, trial = start(slots, study)
        for epoch in range(1, result.epochs + 1):
            last = EpochResult(trial, epoch, 1.0, 0.5, {}, 0.1, 1.0)
            record_epochs(slots, [(claim, last, result.value or 0.0)])
        finish(slots, claim, result)
    assert (slots.counts().told, slots.counts().done) == ((0, 4) if at_once else (4, 0))
    slots.settle()
    told = [(trial.state.name, trial.value, trial.user_attrs) for trial in load(slots.database).trials]
    assert told == [
        ("COMPLETE", 0.25, {}),
        ("PRUNED", 0.5, {}),
        ("PRUNED", math.inf, {"diverged": True}),
        ("FAIL", None, {"reason": "ValueError: bad batch"}),
    ]
    assert slots.counts() == SlotCounts(free=0, leased=0, told=0, done=4)


def test_settling_again_changes_nothing(slots: Slots, study: optuna.Study) -> None:
    """Any worker may settle at any time."""
    claim, _ = start(slots, study)
    finish(slots, claim, COMPLETE)
    slots.settle()
    before = repr(load(slots.database).trials)
    slots.settle()
    slots.settle()
    assert repr(load(slots.database).trials) == before


def test_what_optuna_was_told_first_stays(slots: Slots, study: optuna.Study) -> None:
    """A visitor of the dashboard ended the trial: Optuna's row stays, ours counts, and nothing breaks."""
    claim, trial = start(slots, study)
    study.tell(trial, 99.0)
    finish(slots, claim, COMPLETE)
    slots.settle()
    assert study.trials[trial].value == 99.0
    assert slots.results()[0].result == COMPLETE
    assert slots.counts().done == 1


@pytest.mark.slow
def test_workers_that_settle_at_once_do_not_disturb_each_other(
    created_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four threads tell the same twelve results, and each trial is told once."""
    with open_database(created_url) as database:
        monkeypatch.setattr(Database, "knows_optunas_tables", False)
        slots = Slots(database, create_study(database, "study", {}, trials=12).uuid)
        study = load(database)
        for _ in range(12):
            finish(slots, start(slots, study)[0], COMPLETE)
        monkeypatch.undo()
        _in_threads(4, lambda _: slots.settle())
        assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
        assert slots.counts().done == 12


def test_trials_that_no_slot_names_are_ended(slots: Slots, study: optuna.Study) -> None:
    """A worker that died between asking and binding leaves a zombie, which repels Optuna's sampler."""
    _, held = start(slots, study)
    released, kept = start(slots, study)
    slots.release([released])
    zombie, young = study.ask().number, study.ask().number
    for number in (held, kept, zombie):
        age(slots.database, number)
    slots.settle()
    states = {trial.number: trial.state for trial in load(slots.database).trials}
    running = [number for number, state in states.items() if state == TrialState.RUNNING]
    assert running == [held, kept, young]
    assert states[zombie] == TrialState.FAIL


def test_the_age_of_a_trial_does_not_depend_on_the_time_zone(
    slots: Slots, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna hands out local times; far east or west, a young trial stays young."""
    young = study.ask().number
    try:
        for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            slots.settle()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert load(slots.database).trials[young].state == TrialState.RUNNING


def test_points_are_queued_in_the_lowest_free_slots(slots: Slots, study: optuna.Study) -> None:
    """Neither claimed slots nor slots with a trial or a point are given another one."""
    released, _ = start(slots, study)
    slots.claim("worker", 1)
    slots.release([released])
    assert [slots.enqueue({"lr": lr}) for lr in (0.5, 0.25, 0.125)] == [2, 3, None]
    claims = slots.claim("worker", 3)
    assert [(claim.slot, claim.point) for claim in claims[1:]] == [(2, {"lr": 0.5}), (3, {"lr": 0.25})]


def test_results_come_in_the_order_of_their_end(slots: Slots) -> None:
    """Not by slot: who stops a study without gain asks what came last. Each brings its point."""
    claims = slots.claim("worker", 3)
    for claim, trial in zip(claims, (7, 8, 9), strict=True):
        slots.bind(claim, trial, {"lr": trial / 10})
    for claim in reversed(claims):
        finish(slots, claim, COMPLETE)
        time.sleep(0.01)
    assert [(ended.slot, ended.trial, ended.point) for ended in slots.results()] == [
        (2, 9, {"lr": 0.9}),
        (1, 8, {"lr": 0.8}),
        (0, 7, {"lr": 0.7}),
    ]
    assert slots.trials() == {7, 8, 9}


@pytest.mark.slow
def test_a_budget_is_exact_although_workers_die(created_url: str) -> None:
    """Four workers abandon a third of their claims; each slot ends once, with one trial of Optuna's."""
    with open_database(created_url) as database:
        uuid = create_study(database, "study", {}, trials=30).uuid

    def work(seed: int) -> None:
        fate = random.Random(seed)
        with open_database(created_url) as database:
            slots, study = Slots(database, uuid, lease_s=1.5, max_retries=1000), load(database)
            while slots.counts().ended < 30:
                for claim in slots.claim(f"worker {seed}", fate.randint(1, 3)):
                    if fate.random() < 0.15:
                        continue  # dies before it has a trial
                    trial = study.ask().number if claim.trial is None else claim.trial
                    if not slots.bind(claim, trial, {}) or fate.random() < 0.15:
                        continue  # dies in training
                    finish(slots, claim, replace(COMPLETE, value=float(claim.slot)))
                slots.settle()
            slots.settle()

    _in_threads(4, work)
    with open_database(created_url) as database:
        slots, study = Slots(database, uuid), load(database)
        results = slots.results()
        assert slots.counts() == SlotCounts(free=0, leased=0, told=0, done=30)
        assert sorted(ended.slot for ended in results) == list(range(30))
        complete = study.get_trials(states=[TrialState.COMPLETE])
        assert Counter(trial.value for trial in complete) == Counter(map(float, range(30)))
        assert {trial.number for trial in complete} == {ended.trial for ended in results}


@pytest.mark.slow
def test_no_waiting_trial_is_given_to_two_processes(created_sqlite_url: str, tmp_path: Path) -> None:
    """Optuna's own queue on SQLite, emptied by four processes: each trial starts once."""
    code = (
        "import sys, pathlib, time; from optuna.trial import TrialState\n"
        "from lrsearch.storage.database import open_database\n"
        "with open_database(sys.argv[1]) as database:\n"
        "    storage = database.optuna_storage\n"
        "    study_id = storage.get_study_id_from_name('study')\n"
        "    print('ready', flush=True)\n"
        "    while not pathlib.Path(sys.argv[2]).exists(): time.sleep(0.001)\n"
        "    while waiting := storage.get_all_trials(study_id, states=(TrialState.WAITING,)):\n"
        "        if storage.set_trial_state_values(waiting[0]._trial_id, TrialState.RUNNING):\n"
        "            print(waiting[0].number)\n"
    )
    with open_database(created_sqlite_url) as database:
        study = optuna.create_study(study_name="study", storage=database.optuna_storage)
        for lr in range(60):
            study.enqueue_trial({"lr": lr})
    command = [sys.executable, "-c", code, created_sqlite_url, str(tmp_path / "go")]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    started = [int(number) for worker in workers for number in worker.communicate()[0].split()]
    assert sorted(started) == list(range(60))


def test_slots_are_readable_by_hand(created_sqlite_url: str) -> None:
    """The tables are plain: any SQL client sees which worker holds what."""
    with open_database(created_sqlite_url) as database:
        slots = Slots(database, create_study(database, "study", {}, trials=2).uuid)
        slots.enqueue({"lr": 0.5})
        slots.claim("host-1-cuda:0", 1)
        path = database.address.path or Path()
    with sqlite3.connect(path) as connection:
        query = "SELECT slot, state, attempt, worker, point FROM lrsearch_slots ORDER BY slot"
        rows = connection.execute(query).fetchall()
    connection.close()
    assert rows == [(0, "leased", 1, "host-1-cuda:0", '{"lr": 0.5}'), (1, "free", 0, None, None)]


def _in_threads(count: int, work: object) -> None:
    errors: list[BaseException] = []

    def guarded(index: int) -> None:
        try:
            work(index)  # type: ignore[operator]  # a function of the thread's index
        except BaseException as error:  # reported below, in the main thread
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
