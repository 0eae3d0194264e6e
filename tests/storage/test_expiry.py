"""Slots of workers that are known to be dead."""

import pytest

from lrsearch.results import Outcome
from lrsearch.storage.expiry import expire_leases, release_slots
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import create_study


@pytest.fixture
def slots(database):
    """Return the four slots of a study, of which two are a dead worker's and one a living one's."""
    record = create_study(database, "s", {"name": "s", "trials": 4}, 4, [])
    slots = Slots(database, record.uuid)
    slots.claim("dead", 2)
    slots.claim("alive", 1)
    return slots


def test_a_dead_workers_slots_are_claimed_again_at_once(slots):
    """After the free ones; the leases of others hold, and the dead worker's own claims are lost."""
    assert expire_leases(slots.database, slots.study_uuid, "dead") == 2
    assert [claim.slot for claim in slots.claim("next", 9)] == [0, 1, 3]
    assert expire_leases(slots.database, slots.study_uuid, "dead") == 0


def test_deaths_count(slots):
    """A trial on which workers die four times ends as FAIL."""
    for number in range(4):
        slots.claim(f"worker {number}", 9)
        for name in ("dead", f"worker {number}"):
            expire_leases(slots.database, slots.study_uuid, name)
    slots.claim("last", 9)
    results = slots.results()
    assert [(result.slot, result.result.outcome) for result in results] == [
        (slot, Outcome.FAIL) for slot in (0, 1, 3)
    ]


def test_a_worker_that_was_ended_on_purpose_has_not_died(slots):
    """Its slots are free, however often."""
    for _time in range(6):
        assert release_slots(slots.database, slots.study_uuid, "dead") == 2
        assert slots.counts().free == 3
        assert [claim.slot for claim in slots.claim("dead", 2)] == [0, 1]
    assert slots.results() == []
