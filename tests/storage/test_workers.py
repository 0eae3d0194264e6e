"""Who works on a study: joining, leaving, names, limits, and the dead of this machine."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest
import sqlalchemy as sa

from lrsearch.errors import WorkerNameTakenError, WorkersFullError
from lrsearch.results import Outcome
from lrsearch.storage import clock, workers
from lrsearch.storage.database import Database, open_database
from lrsearch.storage.process import ProcessIdentity, this_process
from lrsearch.storage.slots import LEASE_S, Slots
from lrsearch.storage.studies import StudyRecord, create_study
from lrsearch.storage.study_states import set_share
from lrsearch.storage.tables import WorkerRow
from lrsearch.storage.workers import (
    free_the_dead,
    join_study,
    leave_study,
    list_workers,
    see_worker,
    workers_alive,
)

DEAD_PID = 2**22 + 1  # above the largest id that Linux gives


def elsewhere(pid: int) -> ProcessIdentity:
    """Return a process of another machine."""
    return ProcessIdentity("another machine", "node", pid, 100.0)


def dead(pid: int = DEAD_PID) -> ProcessIdentity:
    """Return a process of this machine that has ended."""
    return replace(this_process(), pid=pid)


@pytest.fixture
def study(database: Database) -> StudyRecord:
    """A study of four trials."""
    return create_study(database, "s", {"name": "s"}, trials=4)


def age(database: Database, worker: str, seconds: float) -> None:
    """Let a worker have been seen so long ago."""

    def write(connection: sa.Connection) -> None:
        seen = clock.naive_utc(connection) - timedelta(seconds=seconds)
        connection.execute(sa.update(WorkerRow).where(WorkerRow.id == worker).values(seen_at=seen))

    database.transaction(write)


def at_once(url: str, count: int, action: Callable[[Database, int], None]) -> list[BaseException | None]:
    """Let threads do something at the same moment, each with connections of its own; return their errors."""
    barrier = Barrier(count)

    def run(number: int) -> BaseException | None:
        with open_database(url) as database:
            barrier.wait(timeout=60)
            try:
                action(database, number)
            except (WorkersFullError, WorkerNameTakenError) as error:
                return error
            return None

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))


def test_a_worker_is_alive_from_its_joining_to_its_leaving(database: Database, study: StudyRecord) -> None:
    """It is listed ever after."""
    assert workers_alive(database) == {}
    join_study(database, study.uuid, "a", elsewhere(1), "cuda:0")
    join_study(database, study.uuid, "b", elsewhere(2), "cpu")
    assert workers_alive(database) == {study.uuid: {"a", "b"}}
    leave_study(database, study.uuid, "a")
    assert workers_alive(database) == {study.uuid: {"b"}}
    assert [worker.id for worker in list_workers(database, study.uuid)] == ["a", "b"]


def test_a_worker_that_is_silent_for_longer_than_a_lease_is_not_alive(
    database: Database, study: StudyRecord
) -> None:
    """Until it is seen again."""
    join_study(database, study.uuid, "a", elsewhere(1), "cpu")
    age(database, "a", LEASE_S - 10)
    assert workers_alive(database) == {study.uuid: {"a"}}
    age(database, "a", LEASE_S + 10)
    assert workers_alive(database) == {}
    see_worker(database, "a")
    assert workers_alive(database) == {study.uuid: {"a"}}


def test_a_worker_that_has_left_is_not_seen_again(database: Database, study: StudyRecord) -> None:
    """In the study that it has left; one that it has joined since knows that it lives."""
    other = create_study(database, "other", {"name": "other"}, trials=1)
    join_study(database, study.uuid, "a", elsewhere(1), "cpu")
    leave_study(database, study.uuid, "a")
    join_study(database, other.uuid, "a", elsewhere(1), "cpu")
    age(database, "a", LEASE_S + 10)
    [before] = list_workers(database, study.uuid)
    see_worker(database, "a")
    assert list_workers(database, study.uuid) == [before]
    assert workers_alive(database) == {other.uuid: {"a"}}


def test_a_worker_may_join_again_what_it_has_left(database: Database, study: StudyRecord) -> None:
    """As the same worker, which began just now."""
    join_study(database, study.uuid, "a", elsewhere(1), "cpu")
    leave_study(database, study.uuid, "a")
    join_study(database, study.uuid, "a", elsewhere(1), "cuda:0")
    assert workers_alive(database) == {study.uuid: {"a"}}
    assert [worker.device for worker in list_workers(database, study.uuid)] == ["cuda:0"]


# Names


def test_two_live_workers_have_two_names(database: Database, study: StudyRecord) -> None:
    """The second one is refused, in whatever study, with the process that has the name; nothing is stored."""
    other = create_study(database, "other", {"name": "other"}, trials=1)
    join_study(database, study.uuid, "gpu-1", elsewhere(7), "cpu")
    for uuid in (study.uuid, other.uuid):
        with pytest.raises(WorkerNameTakenError, match=r"'gpu-1' is that of process 7 on node.*--name"):
            join_study(database, uuid, "gpu-1", elsewhere(8), "cuda:0")
    assert [(worker.pid, worker.device) for worker in list_workers(database, study.uuid)] == [(7, "cpu")]
    assert list_workers(database, other.uuid) == []


def test_a_name_is_free_when_its_worker_has_left_is_silent_or_is_dead_here(
    database: Database, study: StudyRecord
) -> None:
    """So that a worker that is started again under its name need not wait where its end is known."""
    join_study(database, study.uuid, "a", elsewhere(1), "cpu")
    leave_study(database, study.uuid, "a")
    join_study(database, study.uuid, "a", elsewhere(2), "cpu")
    age(database, "a", LEASE_S + 10)
    join_study(database, study.uuid, "a", dead(), "cpu")
    join_study(database, study.uuid, "a", this_process(), "cpu")
    with pytest.raises(WorkerNameTakenError):
        join_study(database, study.uuid, "a", elsewhere(3), "cpu")


def test_of_many_workers_that_come_at_once_with_one_name_one_gets_it(created_url: str) -> None:
    """Each joins a study of its own, so that no study's lock keeps them apart."""
    with open_database(created_url) as database:
        uuids = [create_study(database, f"s{n}", {"name": f"s{n}"}, trials=1).uuid for n in range(8)]

    def join(database: Database, number: int) -> None:
        join_study(database, uuids[number], "one-name", elsewhere(number), "cpu")

    errors = at_once(created_url, 8, join)
    assert [type(error) for error in errors if error] == [WorkerNameTakenError] * 7


# Limits


def test_a_study_has_no_more_workers_than_it_allows(database: Database, study: StudyRecord) -> None:
    """Those that are alive count, but not who asks; 0 lifts the limit."""
    set_share(database, study.uuid, priority=None, max_workers=2)
    join_study(database, study.uuid, "a", elsewhere(1), "cpu")
    join_study(database, study.uuid, "b", elsewhere(2), "cpu")
    join_study(database, study.uuid, "b", elsewhere(2), "cpu")
    with pytest.raises(WorkersFullError, match="max_workers = 2"):
        join_study(database, study.uuid, "c", elsewhere(3), "cpu")
    leave_study(database, study.uuid, "a")
    join_study(database, study.uuid, "c", elsewhere(3), "cpu")
    age(database, "b", LEASE_S + 10)
    join_study(database, study.uuid, "d", elsewhere(4), "cpu")
    with pytest.raises(WorkersFullError):
        join_study(database, study.uuid, "e", elsewhere(5), "cpu")
    set_share(database, study.uuid, priority=None, max_workers=0)
    join_study(database, study.uuid, "e", elsewhere(5), "cpu")
    assert workers_alive(database) == {study.uuid: {"c", "d", "e"}}


def test_workers_of_other_studies_do_not_count(database: Database, study: StudyRecord) -> None:
    """Nor do the dead of this machine."""
    other = create_study(database, "other", {"name": "other"}, trials=1)
    set_share(database, study.uuid, priority=None, max_workers=1)
    join_study(database, other.uuid, "a", elsewhere(1), "cpu")
    join_study(database, study.uuid, "b", dead(), "cpu")
    join_study(database, study.uuid, "c", elsewhere(3), "cpu")
    with pytest.raises(WorkersFullError):
        join_study(database, study.uuid, "a", elsewhere(1), "cpu")


def test_of_many_workers_that_come_at_once_as_many_join_as_may(created_url: str) -> None:
    """Three of twelve, whoever comes first."""
    with open_database(created_url) as database:
        study = create_study(database, "s", {"name": "s"}, trials=1)
        set_share(database, study.uuid, priority=None, max_workers=3)

    def join(database: Database, number: int) -> None:
        join_study(database, study.uuid, f"worker-{number}", elsewhere(number), "cpu")

    errors = at_once(created_url, 12, join)
    assert sum(error is None for error in errors) == 3
    assert all(error is None or isinstance(error, WorkersFullError) for error in errors)
    with open_database(created_url) as database:
        joined = {f"worker-{number}" for number, error in enumerate(errors) if error is None}
        assert workers_alive(database) == {study.uuid: joined}


# The dead of this machine


def test_the_trials_of_the_dead_are_free_at_once(database: Database, study: StudyRecord) -> None:
    """Of this machine: those of workers that live, that have left, or that are elsewhere stay as they are."""
    slots = Slots(database, study.uuid)
    for name, process in (("dead", dead()), ("here", this_process()), ("elsewhere", elsewhere(1))):
        join_study(database, study.uuid, name, process, "cpu")
        slots.claim(name, 1)
    assert free_the_dead(database, study.uuid) == 1
    assert free_the_dead(database, study.uuid) == 0
    assert [claim.slot for claim in slots.claim("next", 9)] == [0, 3]
    assert workers_alive(database) == {study.uuid: {"here", "elsewhere"}}


def test_a_death_of_which_a_neighbour_knows_counts(database: Database, study: StudyRecord) -> None:
    """A trial on which four workers have died ends as FAIL, however soon each death is known."""
    slots = Slots(database, study.uuid)
    for number in range(4):
        join_study(database, study.uuid, f"w{number}", dead(DEAD_PID + number), "cpu")
        assert 0 in {claim.slot for claim in slots.claim(f"w{number}", 9)}
        free_the_dead(database, study.uuid)
    slots.claim("last", 9)
    assert {result.result.outcome for result in slots.results()} == {Outcome.FAIL}


def test_a_worker_that_is_started_again_does_not_wait_for_itself(
    database: Database, study: StudyRecord
) -> None:
    """What its name held is free when it joins: its leases would last two minutes, and nobody renews them."""
    slots = Slots(database, study.uuid)
    join_study(database, study.uuid, "node-1", dead(), "cpu")
    slots.claim("node-1", 4)
    join_study(database, study.uuid, "node-1", this_process(), "cpu")
    assert [claim.attempt for claim in slots.claim("node-1", 4)] == [2, 2, 2, 2]


def test_a_worker_that_begins_again_under_its_name_keeps_what_it_claims(
    database: Database, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if a neighbour has just found its predecessor dead, and is about to free its trials."""
    slots = Slots(database, study.uuid)
    join_study(database, study.uuid, "node-1", dead(), "cpu")
    slots.claim("node-1", 1)
    looked = 0
    is_dead_here = workers.is_dead_here

    def is_dead(machine: str, pid: int, started: float | None) -> bool:
        nonlocal looked
        verdict = is_dead_here(machine, pid, started)
        looked += 1
        if looked == 1:
            with monkeypatch.context() as undisturbed:
                undisturbed.setattr(workers, "is_dead_here", is_dead_here)
                with open_database(database.address.url) as another:
                    join_study(another, study.uuid, "node-1", this_process(), "cpu")
                    Slots(another, study.uuid).claim("node-1", 4)
        return verdict

    monkeypatch.setattr(workers, "is_dead_here", is_dead)
    assert free_the_dead(database, study.uuid) == 0
    assert looked > 0
    assert workers_alive(database) == {study.uuid: {"node-1"}}
    assert slots.claim("next", 9) == []


def test_to_look_for_the_dead_writes_nothing_where_none_is(
    database: Database, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every worker looks once in forty seconds: thousands must not wait for each other's locks."""
    join_study(database, study.uuid, "a", this_process(), "cpu")
    monkeypatch.setattr(Database, "transaction", None)
    assert free_the_dead(database, study.uuid) == 0


def test_workers_are_alive_by_the_databases_clock(
    database: Database, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever this process takes the time to be."""
    join_study(database, study.uuid, "a", elsewhere(1), "cpu")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    assert workers_alive(database) == {study.uuid: {"a"}}
