"""A training that hangs: its leases run out, its trials are given up, and its process ends."""

import subprocess
import sys
import time

import pytest

from lrsearch.service.leases import EXIT_STALLED, LeaseKeeper
from lrsearch.storage.counters import RENEWALS
from lrsearch.storage.database import Database, open_database
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import create_study, find_study
from lrsearch.training.pulse import beat

PROGRAM = """
import sys, time
from lrsearch.service.search import Search
from lrsearch.service.studies import open_study
from lrsearch.storage.database import open_database
from tests.service.arrays import FormulaArray
from tests.service.test_outage import make_spec

with open_database(sys.argv[1]) as database:
    spec = make_spec(trials=2, run={"stall_timeout_s": 0.5})
    array = FormulaArray(after_epoch=lambda _array: time.sleep(60))
    list(Search(database, open_study(database, spec), array, 1).run())
"""


@pytest.fixture
def slots(database: Database) -> Slots:
    """The slots of a study of one trial."""
    return Slots(database, create_study(database, "s", {}, trials=1).uuid)


def test_a_training_without_steps_is_given_up(slots: Slots) -> None:
    """Another worker takes its trial at once, and that counts as a death."""
    [claim] = slots.claim("w", 1)
    with LeaseKeeper(slots, "w", stall_timeout_s=0.2, exits=False) as keeper, keeper.training():
        keeper.hold([claim])
        time.sleep(0.6)
    [again] = Slots(slots.database, slots.study_uuid).claim("other", 1)
    assert again.attempt == claim.attempt + 1


def test_a_slow_training_is_left_alone(slots: Slots) -> None:
    """As long as one step follows another."""
    [claim] = slots.claim("w", 1)
    with LeaseKeeper(slots, "w", stall_timeout_s=0.4, exits=False) as keeper, keeper.training():
        keeper.hold([claim])
        for _step in range(10):
            time.sleep(0.1)
            beat()
    assert Slots(slots.database, slots.study_uuid).claim("other", 1) == []


def test_renewed_leases_are_counted(database: Database) -> None:
    """For a worker's figures: all that it holds, three times in a lease."""
    slots = Slots(database, create_study(database, "s", {}, trials=2).uuid, lease_s=0.3)
    before = RENEWALS.value
    with LeaseKeeper(slots, "w") as keeper:
        keeper.hold(slots.claim("w", 2))
        time.sleep(0.5)
    assert RENEWALS.value >= before + 4
    assert (RENEWALS.value - before) % 2 == 0


def test_a_worker_that_waits_does_not_hang(slots: Slots) -> None:
    """Only while it trains are steps expected of it."""
    [claim] = slots.claim("w", 1)
    with LeaseKeeper(slots, "w", stall_timeout_s=0.2, exits=False) as keeper:
        keeper.hold([claim])
        time.sleep(0.6)
    assert Slots(slots.database, slots.study_uuid).claim("other", 1) == []


def test_a_process_whose_training_hangs_ends(created_sqlite_url: str) -> None:
    """With an exit code of its own and a message that says what to change; nothing of it stays held."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, created_sqlite_url], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == EXIT_STALLED
    assert "no step of the training has finished for 0.5 s (run.stall_timeout_s)" in done.stderr
    with open_database(created_sqlite_url) as database:
        slots = Slots(database, find_study(database, "s").uuid)
        assert [claim.slot for claim in slots.claim("next", 2)] == [0, 1]


def test_what_was_given_up_is_not_taken_back(database: Database) -> None:
    """Renewals that fall due while the training still hangs leave its trials to others."""
    slots = Slots(database, create_study(database, "s", {}, trials=1).uuid, lease_s=0.6)
    [claim] = slots.claim("w", 1)
    with LeaseKeeper(slots, "w", stall_timeout_s=0.2, exits=False) as keeper, keeper.training():
        keeper.hold([claim])
        time.sleep(1.2)
        [again] = Slots(database, slots.study_uuid).claim("other", 1)
    assert again.attempt == claim.attempt + 1
