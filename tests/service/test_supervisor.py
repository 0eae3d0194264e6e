"""Several worker processes on one machine: an exact budget, all news once, and nothing held at the end."""

import os
import signal
import time

import pytest

from lrsearch.results import Outcome
from lrsearch.service import supervisor as module
from lrsearch.service.optimize import load_onto_device, prepare
from lrsearch.service.progress import StopReason
from lrsearch.service.search import Search
from lrsearch.service.studies import open_study, resolved
from lrsearch.service.supervisor import Supervisor
from lrsearch.spec import spec_from
from lrsearch.storage.database import open_database
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import find_study
from lrsearch.storage.workers import list_workers
from lrsearch.tasks.catalogue import load_task

LONGEST_S = 60.0


@pytest.fixture
def database(created_sqlite_url):
    """Return an open SQLite database with tables."""
    with open_database(created_sqlite_url) as opened:
        yield opened


def make_spec(trials=6, epochs=30, **run):
    """Return a resolved specification: random trials of the digits, one after the other in each worker."""
    content = {
        "name": "s",
        "task": "digits-mlp",
        "trials": trials,
        "epochs": epochs,
        "sampler": "random",
        "pruner": "none",
        "first_trials": False,
        "space": {"warmup_fraction": 0.0, "kinds": ["constant", "LinearLR", "WSD"]},
        "run": {"lanes": 1, "device": "cpu", **run},
    }
    return resolved(spec_from(content, "test"))


class Patient:
    """A search that goes on only when the other workers have trials too, as they would have in a longer one.

    Args:
        search: that waits after its trials have begun.
        workers: processes in all.
    """

    def __init__(self, search: Search, database, workers: int) -> None:
        self.search, self.study = search, search.study
        self._database, self._workers = database, workers

    def run(self, stop_requested):
        """Yield the search's progress."""
        own = self.search.run(stop_requested)
        yield next(own)
        deadline = time.monotonic() + LONGEST_S
        while len(holders(self._database)) < self._workers and time.monotonic() < deadline:
            time.sleep(0.05)
        yield from own


def holders(database):
    """Return the names of the workers that have claimed slots."""
    from sqlalchemy import select

    from lrsearch.storage.tables import SlotRow

    names = database.read(lambda connection: connection.scalars(select(SlotRow.worker)).all())
    return {name for name in names if name is not None}


def prepared(database, spec, workers):
    """Return this process's part in a study, which waits for the other workers."""
    task = load_task(spec.task, None)
    data = load_onto_device(spec, task)
    search = prepare(database, spec, task, data, lambda: open_study(database, spec), workers=workers)
    return Patient(search, database, workers)


def slots(database):
    """Return the study's slots."""
    return Slots(database, find_study(database, "s").uuid)


def pids(database):
    """Return the process ids of the study's other workers."""
    workers = list_workers(database, find_study(database, "s").uuid)
    return [worker.pid for worker in workers if worker.pid != os.getpid()]


@pytest.mark.parametrize("workers", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_workers_together_end_exactly_the_budget(database, workers):
    """Each trains some of the trials, every end is told once, and lanes of several are shown at once."""
    spec = make_spec(epochs=40)  # long enough for all to be seen at once
    with Supervisor(database, spec, workers) as supervisor:
        shown = list(supervisor.run(prepared(database, spec, workers)))
    *_, last = shown
    assert last.stopped is StopReason.BUDGET
    assert [each.stopped for each in shown[:-1]] == [None] * (len(shown) - 1)
    assert last.ended == {"COMPLETE": 6, "diverged": 0} or last.counts == {"complete": 5, "diverged": 1}
    assert sorted(trial.number for each in shown for trial in each.news) == list(range(6))
    assert max(len(each.running) for each in shown) == workers
    assert len(holders(database)) == workers
    assert slots(database).counts().done == 6
    values = {result.trial: result.result.value for result in slots(database).results()}
    assert last.best.result.value == min(values.values())
    assert [note for each in shown for note in each.notes] == []
    assert {each.waiting for each in shown if each.running} == {False}


def test_a_worker_that_is_killed_costs_nothing_but_time(database):
    """The others go on, a note says so once, and its trial is claimed again at once."""
    spec, notes, killed = make_spec(trials=4), [], []
    started = time.monotonic()
    with Supervisor(database, spec, 2) as supervisor:
        for last in supervisor.run(prepared(database, spec, 2)):
            notes += last.notes
            if len(last.running) == 2 and not killed:
                killed = pids(database)
                os.kill(killed[0], signal.SIGKILL)
    assert len(killed) == 1
    [note] = notes
    assert "the search goes on without it: it was killed by SIGKILL, as when memory runs out" in note
    outcomes = [result.result.outcome for result in slots(database).results()]
    assert outcomes == [Outcome.COMPLETE] * 4
    assert last.stopped is StopReason.BUDGET
    assert time.monotonic() - started < LONGEST_S


def test_an_exception_leaves_no_process_and_no_lease(database):
    """As a second Ctrl-C raises it in the middle of an epoch; nobody has died of it."""
    spec = make_spec(epochs=2000)

    def interrupted():
        with Supervisor(database, spec, 2) as supervisor:
            for progress in supervisor.run(prepared(database, spec, 2)):
                if len(progress.running) == 2:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    [pid] = pids(database)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    counts = slots(database).counts()
    assert (counts.leased, counts.free) == (0, 6)


@pytest.mark.slow
def test_the_first_worker_decides_when_the_run_ends(database):
    """The others release their trials, and the last value says why."""
    spec, asked = make_spec(epochs=2000), []
    with Supervisor(database, spec, 2) as supervisor:
        for last in supervisor.run(prepared(database, spec, 2), lambda: bool(asked)):
            if len(last.running) == 2:
                asked.append(last)
    assert last.stopped is StopReason.INTERRUPTED
    counts = slots(database).counts()
    assert (counts.leased, counts.free) == (0, 6)


def test_a_study_that_is_at_its_end_needs_no_other_worker(database):
    """They are ended before they have begun."""
    spec = make_spec(trials=1, epochs=1)
    for workers in (1, 2):
        task = load_task(spec.task, None)
        data = load_onto_device(spec, task)
        with Supervisor(database, spec, workers) as supervisor:
            search = prepare(database, spec, task, data, lambda: open_study(database, spec), workers=workers)
            *_, last = supervisor.run(search)
    assert last.ended == {"COMPLETE": 1, "diverged": 0}
    assert last.stopped is StopReason.BUDGET
    assert pids(database) == []


def test_one_worker_starts_no_process(database, monkeypatch):
    """It is the search itself."""
    monkeypatch.setattr(module, "OtherWorker", None)
    spec = make_spec(trials=1, epochs=1)
    with Supervisor(database, spec, 1) as supervisor:
        *_, last = supervisor.run(prepared(database, spec, 1))
    assert last.ended == {"COMPLETE": 1, "diverged": 0}
