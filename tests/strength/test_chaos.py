"""Studies whose workers die, stand still, lose the database or have a wrong clock: nothing is lost or double.

Short versions of ``python -m benchmarks.chaos``, which says what is compared after a run.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from benchmarks import postgresql
from benchmarks.chaos.run import Aftermath, Ordeal, run
from benchmarks.postgresql import Server, empty_database

pytestmark = pytest.mark.slow

ORDEAL = Ordeal("kill", workers=3, trials=24, epochs=10, epoch_s=0.05, every_s=0.5, lease_s=2.0, down_s=4.0)


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that no other test uses."""
    with postgresql.server() as started:
        yield started


def check(aftermath: Aftermath) -> None:
    """Compare everything with everything, and the outcomes with the budget."""
    assert aftermath.violations == ()
    assert sum(aftermath.outcomes.values()) == aftermath.ordeal.trials


def test_workers_that_are_killed_cost_no_trial(storage_url: str) -> None:
    """A random one every half second: each slot ends once, and Optuna knows the same."""
    aftermath = run(ORDEAL, storage_url)
    check(aftermath)
    assert aftermath.attempts > ORDEAL.trials
    assert aftermath.recovery_s


def test_a_worker_that_wakes_up_late_writes_nothing(storage_url: str) -> None:
    """It stands still for longer than a lease, others take its trials, and each later write is refused."""
    slow = replace(ORDEAL, scenario="freeze", epochs=15, epoch_s=0.1, lease_s=1.0)
    aftermath = run(slow, storage_url)
    check(aftermath)
    assert aftermath.recovery_s


def test_leases_do_not_depend_on_a_workers_clock(storage_url: str) -> None:
    """One is an hour fast, one an hour slow: nobody loses a trial."""
    aftermath = run(replace(ORDEAL, scenario="clock"), storage_url)
    check(aftermath)
    assert aftermath.attempts == ORDEAL.trials


def test_connections_that_are_cut_cost_nothing(postgresql_url: str) -> None:
    """All of them, every half second: no worker ends, and no trial begins again."""
    aftermath = run(replace(ORDEAL, scenario="cut"), postgresql_url)
    check(aftermath)
    assert aftermath.attempts == ORDEAL.trials


@pytest.mark.parametrize("late", [False, True])
def test_a_server_that_comes_back_finds_all_workers_where_they_were(own_server: Server, late: bool) -> None:
    """It is gone for longer than a lease, also while workers wait for each other: no trial is taken away."""
    with empty_database(own_server.url) as url:
        aftermath = run(replace(ORDEAL, scenario="restart", late=late), url, own_server)
    check(aftermath)
    assert aftermath.attempts == ORDEAL.trials
    assert aftermath.seconds > ORDEAL.down_s
