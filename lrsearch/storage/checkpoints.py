"""Which checkpoint a slot's trial goes on from: a name in its row, written by its holder alone."""

from collections.abc import Sequence

import sqlalchemy as sa

from lrsearch.results import Claim
from lrsearch.storage import leases
from lrsearch.storage.database import Database
from lrsearch.storage.slots import Slots
from lrsearch.storage.tables import FREE, LEASED, SlotRow


def name_checkpoint(slots: Slots, claims: Sequence[Claim], name: str) -> None:
    """Let the trials in claimed slots go on from a file, whoever trains them next; lost claims stay.

    Args:
        slots: the study's.
        claims: of the trials in the file.
        name: of the file in the study's folder.
    """
    change = leases.change_held(slots.study_uuid, claims, checkpoint=name)
    slots.database.transaction(lambda connection: connection.execute(change).all())


def named_checkpoints(database: Database, study_uuid: str) -> set[str]:
    """Return the files from which trials of a study may still go on."""
    query = sa.select(SlotRow.checkpoint).where(
        SlotRow.study_uuid == study_uuid,
        SlotRow.state.in_((FREE, LEASED)),
        SlotRow.checkpoint.is_not(None),
    )
    return {name for name in database.read(lambda connection: connection.scalars(query).all()) if name}
