"""Rows of ours whose study was deleted elsewhere, as by Optuna's dashboard."""

import json

import sqlalchemy as sa

from lrsearch.storage.optuna_tables import UUID_ATTRIBUTE, study_user_attributes
from lrsearch.storage.tables import (
    BETWEEN_STUDIES,
    EpochValueRow,
    ExaminationRow,
    LoggedRunRow,
    RetrainingRow,
    SlotRow,
    StudyRow,
    WorkerRow,
)

_ROWS_OF_STUDIES = (SlotRow, EpochValueRow, WorkerRow, RetrainingRow, LoggedRunRow, ExaminationRow)


def count_studies(connection: sa.Connection) -> int:
    """Return how many studies have both Optuna's rows and ours."""
    known = set(connection.scalars(sa.select(StudyRow.uuid)))
    return len(known & carried(connection))


def orphans(connection: sa.Connection) -> tuple[str, ...]:
    """Return the UUIDs that our rows name and no study of Optuna's carries."""
    named: set[str] = set(connection.scalars(sa.select(StudyRow.uuid)))
    for row in _ROWS_OF_STUDIES:
        named.update(connection.scalars(sa.select(row.study_uuid).distinct()))
    return tuple(sorted(named - carried(connection) - {BETWEEN_STUDIES}))


def carried(connection: sa.Connection) -> set[str]:
    """Return the UUIDs that studies of Optuna's carry."""
    attributes = sa.select(study_user_attributes.c.value_json).where(
        study_user_attributes.c.key == UUID_ATTRIBUTE
    )
    return {str(json.loads(value)) for value in connection.scalars(attributes)}


def delete_rows(connection: sa.Connection, study_uuid: str) -> None:
    """Delete all our rows of one study."""
    for row in _ROWS_OF_STUDIES:
        connection.execute(sa.delete(row).where(row.study_uuid == study_uuid))
    connection.execute(sa.delete(StudyRow).where(StudyRow.uuid == study_uuid))


def delete_orphans(connection: sa.Connection) -> tuple[str, ...]:
    """Delete our rows of every study that was deleted elsewhere, and return their UUIDs."""
    found = orphans(connection)
    for study_uuid in found:
        delete_rows(connection, study_uuid)
    return found
