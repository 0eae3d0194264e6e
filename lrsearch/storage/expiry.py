"""Takes the slots of a worker that is known to be dead, without waiting for its leases to run out."""

import sqlalchemy as sa

from lrsearch.storage.database import Database
from lrsearch.storage.leases import KNOWN_DEAD
from lrsearch.storage.tables import FREE, LEASED, SlotRow


def expire_leases(database: Database, study_uuid: str, worker: str) -> int:
    """Let a worker's leases have run out, as if it had been silent for long: its death counts.

    Args:
        database: the database.
        study_uuid: our key of the study.
        worker: its name, as given to ``Slots.claim``; should it live all the same, it loses its trials.

    Returns:
        The number of slots that it held.
    """
    return database.transaction(lambda connection: expire_leases_within(connection, study_uuid, worker))


def expire_leases_within(connection: sa.Connection, study_uuid: str, worker: str) -> int:
    """Let a worker's leases have run out, in a running transaction; see :func:`expire_leases`."""
    return _change(connection, study_uuid, worker, lease_until=KNOWN_DEAD)


def release_slots(database: Database, study_uuid: str, worker: str) -> int:
    """Give back the slots of a worker that was ended on purpose, as it would have done itself.

    Args:
        database: the database.
        study_uuid: our key of the study.
        worker: its name, as given to ``Slots.claim``.

    Returns:
        The number of slots that it held.
    """
    free = {"state": FREE, "worker": None, "lease_until": None}
    return database.transaction(lambda connection: _change(connection, study_uuid, worker, **free))


def _change(connection: sa.Connection, study_uuid: str, holder: str, **values: object) -> int:
    change = (
        sa.update(SlotRow)
        .where(SlotRow.study_uuid == study_uuid, SlotRow.state == LEASED, SlotRow.worker == holder)
        .values(**values)
        .returning(SlotRow.slot)
    )
    return len(connection.execute(change).all())
