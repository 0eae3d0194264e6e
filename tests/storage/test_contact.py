"""When a worker may judge that others are dead: after a whole lease in touch with the database."""

import pytest

from lrsearch.storage.contact import Contact
from lrsearch.storage.database import Database
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import create_study

LEASE_S = 100.0
START = 1_000_000.0


def in_touch(*seconds: float) -> bool:
    """Return whether answers at these times make a whole lease in touch."""
    contact = Contact(LEASE_S)
    for second in seconds:
        contact.heard(START + second)
    return contact.lasts_a_lease


def test_a_whole_lease_in_touch_is_enough() -> None:
    """Answers follow one another closely for as long as a lease lasts."""
    assert in_touch(0, 40, 80, 100)


@pytest.mark.parametrize(
    "seconds",
    [
        (),
        (0,),
        (0, 40, 80, 99),
        (0, 40, 80, 131),  # an outage, or a sleep, of more than half a lease
        (0, 40, 80, 120, 3600, 3640),
        (0, 40, 80, 100, -3600),  # the database's clock was set back
    ],
)
def test_less_is_not(seconds: tuple[float, ...]) -> None:
    """After the start, and after every gap, the time begins anew."""
    assert not in_touch(*seconds)


def test_after_a_gap_it_takes_a_lease_again() -> None:
    """Then the others have had their time."""
    assert in_touch(0, 3600, 3640, 3680, 3700)


def test_a_lease_that_ran_out_is_not_taken_by_one_who_has_just_come(database: Database) -> None:
    """Its holder may only have been cut off, and renews it once it is back."""
    uuid = create_study(database, "study", {}, trials=1).uuid
    holder, newcomer = Slots(database, uuid, lease_s=LEASE_S), Slots(database, uuid, lease_s=LEASE_S)
    held = holder.claim("holder", 1)
    _move_the_leases(database, -2 * LEASE_S)
    assert newcomer.claim("newcomer", 1) == []
    assert holder.renew(held) == held


def test_nor_does_it_end_as_a_failure(database: Database) -> None:
    """A slot on which many workers died is not given up while its holder may live."""
    uuid = create_study(database, "study", {}, trials=1).uuid
    holder = Slots(database, uuid, lease_s=LEASE_S, max_retries=0)
    held = holder.claim("holder", 1)
    _move_the_leases(database, -2 * LEASE_S)
    newcomer = Slots(database, uuid, lease_s=LEASE_S, max_retries=0)
    newcomer.claim("newcomer", 1)
    newcomer.settle()
    assert holder.renew(held) == held


def test_one_who_has_been_there_for_a_lease_takes_it(database: Database) -> None:
    """The trial of a dead worker does not wait for ever."""
    uuid = create_study(database, "study", {}, trials=1).uuid
    holder, other = Slots(database, uuid, lease_s=LEASE_S), Slots(database, uuid, lease_s=0.0)
    [held] = holder.claim("holder", 1)
    _move_the_leases(database, -2 * LEASE_S)
    other.renew([])
    [taken] = other.claim("other", 1)
    assert (taken.slot, taken.attempt) == (held.slot, held.attempt + 1)
    assert holder.renew([held]) == []


def _move_the_leases(database: Database, seconds: float) -> None:
    change = f"UPDATE lrsearch_slots SET lease_until = lease_until + {seconds}"
    database.transaction(lambda connection: connection.exec_driver_sql(change))


def test_answers_that_cross_each_other_are_no_gap() -> None:
    """Two threads ask: one that is heard a little late takes nothing back."""
    assert in_touch(0, 40, 39.9, 80, 79.5, 100, 99.999)
