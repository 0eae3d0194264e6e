"""Where studies stand, as counted in the database."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from lrsearch.results import Outcome, TrialResult
from lrsearch.storage import clock
from lrsearch.storage.process import ProcessIdentity
from lrsearch.storage.slots import LEASE_S, Slots
from lrsearch.storage.standings import standings, worker_names, workers_named
from lrsearch.storage.studies import create_study
from lrsearch.storage.tables import SlotRow, WorkerRow
from lrsearch.storage.workers import join_study


@pytest.fixture
def study(database):
    """A study of eight slots."""
    return create_study(database, "study", {"task": "digits"}, 8)


def end(slots, *results):
    """Let worker-1 end a slot with each result."""
    slots.finish(list(zip(slots.claim("worker-1", len(results)), results, strict=True)))


def change(database, row, **values):
    """Change all rows of a table."""
    database.transaction(lambda connection: connection.execute(sa.update(row).values(**values)))


def stand(database, study):
    """Return where the study stands."""
    return standings(database, [study.uuid])[study.uuid]


def see(database, seconds_ago):
    """Let all workers have been seen so long ago."""
    now = database.read(clock.naive_utc)
    change(database, WorkerRow, seen_at=now - timedelta(seconds=seconds_ago))


def test_a_new_study_has_free_slots_alone(database, study):
    """No worker, no value, no rate."""
    found = stand(database, study)
    assert found.slots == {"free": 8}
    assert (found.best_value, found.ended_lately, found.workers) == (None, 0, ())


def test_slots_are_counted_by_how_they_ended(database, study):
    """Diverged trials stand apart from the pruned; the best value is a complete trial's."""
    slots = Slots(database, study.uuid)
    end(
        slots,
        TrialResult(Outcome.COMPLETE, 0.5, 3),
        TrialResult(Outcome.COMPLETE, 0.25, 3),
        TrialResult(Outcome.PRUNED, 0.125, 1),
        TrialResult(Outcome.PRUNED, float("inf"), 1, diverged=True),
        TrialResult(Outcome.FAIL, None, 0, reason="broken"),
    )
    slots.claim("worker-2", 2)
    found = stand(database, study)
    assert found.slots == {"complete": 2, "pruned": 1, "diverged": 1, "fail": 1, "running": 2, "free": 1}
    assert found.best_value == 0.25
    assert found.ended_lately == 5


def test_a_lease_that_ran_out_is_no_running_trial(database, study):
    """Its worker is silent."""
    Slots(database, study.uuid, lease_s=-1.0).claim("worker-1", 2)
    Slots(database, study.uuid).claim("worker-2", 1)
    assert stand(database, study).slots == {"expired": 2, "running": 1, "free": 5}


def test_the_rate_is_that_of_the_last_ten_minutes(database, study):
    """What ended before counts only if nothing has ended since."""
    slots = Slots(database, study.uuid)
    end(slots, TrialResult(Outcome.COMPLETE, 0.5, 3))
    change(database, SlotRow, ended_at=SlotRow.ended_at - 2400.0)
    assert (stand(database, study).ended_lately, stand(database, study).window_s) == (1, 3600.0)
    end(slots, TrialResult(Outcome.COMPLETE, 0.5, 3), TrialResult(Outcome.COMPLETE, 0.5, 3))
    assert (stand(database, study).ended_lately, stand(database, study).window_s) == (2, 600.0)


def test_the_rate_of_workers_that_have_just_begun_is_over_their_time(database, study):
    """A minute's trials are not spread over ten."""
    join_study(database, study.uuid, "worker-1", ProcessIdentity("machine", "host", 1, 0.0), "cpu")
    now = database.read(clock.naive_utc)
    change(database, WorkerRow, started_at=now - timedelta(seconds=60))
    end(Slots(database, study.uuid), TrialResult(Outcome.COMPLETE, 0.5, 3))
    assert stand(database, study).window_s == pytest.approx(60.0, abs=5.0)


def test_a_worker_is_alive_while_it_is_seen_within_a_lease(database, study):
    """By the database's clock, and unless it has left."""
    join_study(database, study.uuid, "worker-1", ProcessIdentity("machine", "host", 7, 0.0), "cuda:0")
    Slots(database, study.uuid).claim("worker-1", 3)
    [worker] = stand(database, study).workers
    assert (worker.name, worker.host, worker.pid, worker.device, worker.held) == (
        "worker-1",
        "host",
        7,
        "cuda:0",
        3,
    )
    assert worker.alive
    see(database, LEASE_S + 5)
    assert not stand(database, study).workers[0].alive
    see(database, 1)
    change(database, WorkerRow, left_at=database.read(clock.naive_utc))
    assert not stand(database, study).workers[0].alive


def test_studies_are_told_apart(database, study):
    """Each has its own slots and workers, and a worker of two studies stands in both."""
    other = create_study(database, "other", {"task": "digits"}, 3)
    for each in (study, other):
        join_study(database, each.uuid, "worker-1", ProcessIdentity("machine", "host", 7, 0.0), "cpu")
    Slots(database, other.uuid).claim("worker-1", 1)
    found = standings(database, [study.uuid, other.uuid])
    assert found[study.uuid].slots == {"free": 8}
    assert found[other.uuid].slots == {"free": 2, "running": 1}
    assert {each.study_uuid: each.held for each in workers_named(database, "worker-1")} == {
        study.uuid: 0,
        other.uuid: 1,
    }
    assert worker_names(database) == ["worker-1"]
    assert workers_named(database, "nobody") == []
