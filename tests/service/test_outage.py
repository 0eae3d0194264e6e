"""A database that goes away and comes back: workers train on, nothing is lost, nothing is written twice."""

import time
from dataclasses import replace

import pytest
import sqlalchemy as sa

from lrsearch.errors import DatabaseLostError
from lrsearch.results import EpochResult, Outcome
from lrsearch.service.leases import LeaseKeeper
from lrsearch.service.outage import Outage
from lrsearch.service.progress import StopReason
from lrsearch.service.search import Search
from lrsearch.service.studies import open_study, resolved
from lrsearch.spec import spec_from
from lrsearch.storage.address import parse_address
from lrsearch.storage.counters import RENEWALS
from lrsearch.storage.database import Database
from lrsearch.storage.epochs import curves
from lrsearch.storage.slots import Slots
from lrsearch.storage.study_states import set_state
from lrsearch.storage.tables import PAUSED
from tests.service.arrays import FormulaArray

ADDRESS = parse_address("postgresql://user:secret@host/studies")
EPOCHS = 4


def make_spec(trials=4, **changes):
    """Return a resolved specification of a study of four trials of four epochs."""
    content = {
        "name": "s",
        "task": "digits-mlp",
        "trials": trials,
        "epochs": EPOCHS,
        "sampler": "random",
        "pruner": "none",
        "first_trials": False,
        **changes,
    }
    return resolved(spec_from(content, "test"))


class Switch:
    """Cuts a database off and on: while it is off, every statement fails as if the server had gone."""

    def __init__(self, database: Database) -> None:
        self.off = False
        self.refused = 0
        self._database = database
        storage = database.optuna_storage
        self._transact, self._engine = storage._transact, storage.engine
        storage._transact = self._transacted
        self._connect, storage.engine.connect = storage.engine.connect, self._connected

    def _transacted(self, write):
        self._check()
        return self._transact(write)

    def _connected(self):
        self._check()
        return self._connect()

    def _check(self) -> None:
        if self.off:
            self.refused += 1
            raise sa.exc.OperationalError("SELECT 1", {}, ConnectionError("connection refused"))


def test_without_patience_a_call_waits_by_itself() -> None:
    """An error is the caller's, as everywhere else."""

    def call() -> int:
        raise DatabaseLostError("gone")

    with pytest.raises(DatabaseLostError, match="gone"):
        Outage(ADDRESS, None).attempt(call, 0)


def test_an_outage_is_sat_out_and_ends(monkeypatch) -> None:
    """Meanwhile the other value is returned, and the database is tried more and more rarely."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    outage, calls = Outage(ADDRESS, 100.0), []

    def call() -> str:
        calls.append(clock[0])
        if clock[0] < 50:
            raise DatabaseLostError("gone")
        return "answer"

    while outage.attempt(call, "") != "answer":
        assert outage.lasts
        clock[0] += 0.05
    assert not outage.lasts
    assert len(calls) < 20
    assert calls[-1] < 50 + 11


def test_an_outage_beyond_the_patience_is_an_error(monkeypatch) -> None:
    """It says how long it waited, what that follows from, and that nothing is lost; no password."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    outage = Outage(ADDRESS, 30.0)

    def call() -> str:
        raise DatabaseLostError("gone")

    def wait_for_ever() -> None:
        while True:
            outage.attempt(call, "")
            clock[0] += 1.0

    with pytest.raises(DatabaseLostError, match=r"storage_patience_s = 30\b") as refusal:
        wait_for_ever()
    assert 30 < clock[0] < 45
    assert "secret" not in str(refusal.value)


def test_lanes_are_trained_on_while_the_database_is_gone(database) -> None:
    """Their epochs and results are stored when it is back: all of them, each once."""
    switch, spec = Switch(database), make_spec(trials=2)
    seen = []

    def after_epoch(array):
        switch.off = array.epochs >= 2
        seen.append(array.epochs)

    search = Search(database, open_study(database, spec), FormulaArray(after_epoch=after_epoch), 2)
    run = search.run()
    for progress in run:
        if progress.ended_trials == 2 and switch.off:
            switch.off = False
            search._array.after_epoch = None
    uuid = search.study.record.uuid
    assert seen[-1] == EPOCHS
    assert switch.refused > 0
    assert sorted((epoch.trial, epoch.epoch) for epoch in curves(database, uuid)) == [
        (trial, epoch) for trial in range(2) for epoch in range(1, EPOCHS + 1)
    ]
    assert [ended.result.outcome for ended in Slots(database, uuid).results()] == [Outcome.COMPLETE] * 2
    states = {trial.state.name for trial in database.optuna_storage.get_all_trials(1)}
    assert states == {"COMPLETE"}


@pytest.mark.parametrize("at", range(0, 40, 3))
def test_an_outage_at_any_moment_costs_nothing(database, at) -> None:
    """Whatever the worker was doing when the database went away, the budget and the curves are exact."""
    switch, spec = Switch(database), make_spec(trials=5, sampler="tpe")
    study = open_study(database, spec)
    calls = [0]
    check = switch._check

    def counted() -> None:
        calls[0] += 1
        switch.off = at <= calls[0] < at + 4
        check()

    search = Search(database, study, FormulaArray(), 2)
    switch._check = counted
    *_, last = search.run()
    switch.off = False
    switch._check = lambda: None
    uuid = study.record.uuid
    assert last.ended_trials == 5
    results = Slots(database, uuid).results()
    assert sorted(result.slot for result in results) == list(range(5))
    assert sorted((epoch.trial, epoch.epoch) for epoch in curves(database, uuid)) == [
        (trial, epoch) for trial in sorted(r.trial for r in results) for epoch in range(1, EPOCHS + 1)
    ]


def test_a_trial_that_others_took_during_an_outage_is_theirs(database) -> None:
    """Its result here is dropped when the database is back: the new holder's counts."""
    switch, spec = Switch(database), make_spec(trials=1)
    study = open_study(database, spec)
    uuid = study.record.uuid

    def after_epoch(array):
        switch.off = array.epochs >= 2

    search = Search(database, study, FormulaArray(after_epoch=after_epoch), 1)
    run = search.run()
    next(progress for progress in run if progress.ended_trials == 1)
    search._array.after_epoch = None
    switch.off = False
    change = "UPDATE lrsearch_slots SET lease_until = 0"
    database.transaction(lambda connection: connection.exec_driver_sql(change))
    stolen = Slots(database, uuid).claim("thief", 1)
    assert len(stolen) == 1
    next(progress for progress in run if progress.ended_trials == 0)
    assert Slots(database, uuid).results() == []
    assert Slots(database, uuid).renew(stolen) == stolen
    run.close()


def test_a_worker_stops_when_the_outage_outlasts_its_patience(database) -> None:
    """It says so, and does not wait once more for what it cannot give back."""
    switch, spec = Switch(database), make_spec(trials=2, run={"storage_patience_s": 0.3})

    def after_epoch(_array):
        switch.off = True

    begun = time.monotonic()
    search = Search(database, open_study(database, spec), FormulaArray(after_epoch=after_epoch), 1)
    with pytest.raises(DatabaseLostError, match="storage_patience_s"):
        list(search.run())
    assert time.monotonic() - begun < 20


def test_an_outage_ends_only_by_an_answer(database) -> None:
    """What needs no answer does not count as one: the patience goes on running."""
    switch, study = Switch(database), open_study(database, make_spec())
    worker = Search(database, study, FormulaArray(), 1)._worker
    worker.settle()
    switch.off = True
    assert worker._outage.attempt(worker.slots.counts, None) is None
    worker._outage._next_try = 0.0
    assert worker.begin([]) == []
    worker.settle()
    worker.write()
    assert worker._outage.lasts
    assert not worker.is_in_touch


def test_many_epochs_are_written_after_an_outage(database) -> None:
    """However many a trial has had: its claim stands once in a statement of limited length."""
    study = open_study(database, make_spec(trials=1))
    worker = Search(database, study, FormulaArray(), 1)._worker
    [held] = worker.begin(worker.claim(1))
    executed = []
    sa.event.listen(
        database.optuna_storage.engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, parameters, *_: executed.append((statement, parameters)),
    )
    epochs = [EpochResult(held.number, epoch, 1.0, 0.5, {}, 0.1, 0.01) for epoch in range(1, 3001)]
    assert worker.record([(held, epoch, 0.5) for epoch in epochs]) == set()
    assert len(curves(database, study.record.uuid)) == 3000
    renewals = [p for statement, p in executed if statement.startswith("UPDATE lrsearch_slots")]
    assert 0 < max(len(parameters) for parameters in renewals) < 50


def test_a_lost_result_costs_no_other_one(database) -> None:
    """The history is read anew in whole: the trials that had ended before are all there."""
    switch, spec = Switch(database), make_spec(trials=4)
    study = open_study(database, spec)
    uuid = study.record.uuid
    array = FormulaArray()
    search = Search(database, study, array, 1)
    run = search.run()
    next(progress for progress in run if progress.ended_trials == 3)
    array.after_epoch = lambda _array: setattr(switch, "off", True)
    next(progress for progress in run if progress.ended_trials == 4)
    array.after_epoch, switch.off = None, False
    change = "UPDATE lrsearch_slots SET lease_until = 0 WHERE state = 'leased'"
    database.transaction(lambda connection: connection.exec_driver_sql(change))
    assert len(Slots(database, uuid).claim("thief", 1)) == 1
    progress = next(progress for progress in run if progress.ended_trials != 4)
    assert progress.ended_trials == 3
    assert len(search._trained) == 3
    run.close()


def test_a_repeat_waits_until_the_curve_that_it_copies_is_stored(database) -> None:
    """Else it would end COMPLETE with epochs missing."""
    switch, study = Switch(database), open_study(database, make_spec())
    search = Search(database, study, FormulaArray(), 1)
    run = search.run()
    next(progress for progress in run if progress.running and progress.running[0].epoch == 2)
    switch.off = True
    next(run)
    switch.off = False
    assert search._worker._ledger.pending
    assert search._worker.curve(0) is None
    run.close()


def test_leaving_takes_no_longer_than_an_answer(database) -> None:
    """The thread that renews leases does not wait for the database when its worker leaves."""
    switch = Switch(database)
    slots = Slots(database, open_study(database, make_spec()).record.uuid, lease_s=0.3)
    with LeaseKeeper(slots, "w") as keeper:
        keeper.hold(slots.claim("w", 1))
        switch.off = True
        while switch.refused < 2:
            time.sleep(0.01)
        begun = time.monotonic()
    assert time.monotonic() - begun < 5


def test_renewals_go_on_soon_after_an_outage(database, monkeypatch) -> None:
    """Not only when the next one falls due: there may be little left of the leases."""
    monkeypatch.setattr("lrsearch.service.leases.RETRY_S", 0.05)
    switch = Switch(database)
    slots = Slots(database, open_study(database, make_spec()).record.uuid, lease_s=3.0)
    with LeaseKeeper(slots, "w") as keeper:
        keeper.hold(slots.claim("w", 1))
        switch.off = True
        while switch.refused < 6:
            time.sleep(0.01)
        switch.off, before = False, RENEWALS.value
        time.sleep(0.5)
        assert RENEWALS.value > before


def test_a_claim_whose_answer_was_lost_leaves_no_slot_idle(database) -> None:
    """What it has leased is given to the worker once more, and nobody has died of it."""
    slots = Slots(database, open_study(database, make_spec(trials=4)).record.uuid)
    storage, transact = database.optuna_storage, database.optuna_storage._transact
    [first] = slots.claim("w", 1)
    lost = []

    def answer_lost(write):
        answer = transact(write)
        if not lost:
            lost.append(answer)
            raise sa.exc.OperationalError("COMMIT", {}, ConnectionError("connection reset"))
        return answer

    storage._transact = answer_lost
    claims = slots.claim("w", 2, {first.slot})
    storage._transact = transact
    assert [(claim.slot, claim.attempt) for claim in claims] == [(1, 2), (2, 2)]
    assert (slots.counts().free, slots.counts().leased) == (1, 3)
    deaths = sa.text("SELECT sum(deaths) FROM lrsearch_slots")
    assert database.read(lambda connection: connection.scalar(deaths)) == 0


def test_a_pause_is_seen_although_no_trial_may_be_pruned(database, monkeypatch) -> None:
    """Within a few seconds, not only when a trial ends."""
    monkeypatch.setattr("lrsearch.service.worker.LOOK_S", 0.0)
    spec = make_spec(trials=4, epochs=50, first_trials=True, pruner="median")
    study = open_study(database, spec)

    def after_epoch(array):
        if array.epochs == 3:
            set_state(database, study.record.uuid, PAUSED)

    search = Search(database, study, FormulaArray(after_epoch=after_epoch), 2)
    *_, last = search.run()
    assert last.stopped is StopReason.PAUSED
    assert search._array.epochs < 6


def test_a_late_answer_takes_no_newer_claim_away(database) -> None:
    """A worker that has a slot again holds it, whatever it hears of its earlier attempt."""
    worker = Search(database, open_study(database, make_spec()), FormulaArray(), 1)._worker
    [claim] = worker.claim(1)
    worker._held[claim.slot] = replace(claim, attempt=claim.attempt + 2)
    worker.let_go([claim])
    assert worker.held == 1


def test_lanes_that_are_lost_while_the_array_trains_are_dropped_afterwards(database) -> None:
    """Not in the midst of an epoch, in which their rows are used; their results count for nothing."""
    study = open_study(database, make_spec(trials=2))
    dropped_while_training = []

    class Watched(FormulaArray):
        def run_epoch(self):
            self.trains = True
            time.sleep(0.05)
            try:
                return super().run_epoch()
            finally:
                self.trains = False

        def drop(self, trials):
            dropped_while_training.append(getattr(self, "trains", False))
            super().drop(trials)

    search = Search(database, study, Watched(), 2, asks_ahead=True)
    ask = search._ask

    def losing(count):
        if search._array_trains:
            search._give_up_lost({0})
        return ask(count)

    run = search.run()
    next(run)
    search._ask = losing
    progress = next(run)
    assert [lane.number for lane in progress.running] == [1]
    assert dropped_while_training == [False]
    run.close()
