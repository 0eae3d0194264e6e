"""Trajectories that were logged while a point of a study was trained, each stored once."""

import json
from dataclasses import asdict

import sqlalchemy as sa

from lrsearch.storage import clock
from lrsearch.storage.database import Database
from lrsearch.storage.tables import LoggedRunRow
from lrsearch.storage.upsert import insert_missing
from lrsearch.trajectory import Loop, ModelParameter, Trajectory


def record_trajectory(database: Database, study_uuid: str, key: str, trajectory: Trajectory) -> None:
    """Store a trajectory; one that is stored under this key already stays as it is.

    Args:
        database: the database.
        study_uuid: our key of the study.
        key: of point, seed and length, from :func:`lrsearch.storage.retrainings.key_of`.
        trajectory: of a run whose losses are all finite.
    """
    payload = json.dumps(asdict(trajectory), allow_nan=False)

    def write(connection: sa.Connection) -> None:
        now = clock.naive_utc(connection)
        row = {"study_uuid": study_uuid, "key": key, "payload": payload, "created_at": now}
        insert_missing(connection, LoggedRunRow, [row])

    database.transaction(write)


def stored_trajectory(database: Database, study_uuid: str, key: str) -> Trajectory | None:
    """Return the trajectory that is stored under this key, or None."""
    query = sa.select(LoggedRunRow.payload).where(
        LoggedRunRow.study_uuid == study_uuid, LoggedRunRow.key == key
    )
    payload = database.read(lambda connection: connection.scalar(query))
    return None if payload is None else _read(payload)


def _read(payload: str) -> Trajectory:
    content = json.loads(payload)
    return Trajectory(
        epochs=content["epochs"],
        steps_per_epoch=content["steps_per_epoch"],
        lrs={int(update): tuple(lrs) for update, lrs in content["lrs"].items()},
        parameters=tuple(ModelParameter(**fields) for fields in content["parameters"]),
        valid_losses=tuple(content["valid_losses"]),
        loop=Loop(**content["loop"]),
    )
