"""Studies: Optuna's name and trials, our UUID, specification and budget."""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

import optuna
import sqlalchemy as sa
from optuna.exceptions import ExperimentalWarning

from lrsearch.errors import StudyConflictError, UnknownNameError
from lrsearch.storage import clock, optuna_tables
from lrsearch.storage.database import Database
from lrsearch.storage.leases import grow, insert_free_slots
from lrsearch.storage.optuna_tables import UUID_ATTRIBUTE, TrialIds
from lrsearch.storage.orphans import delete_rows
from lrsearch.storage.tables import OPEN, StudyRow
from lrsearch.storage.upsert import insert_missing

METRIC_NAME = "valid_loss"

# Attributes of Optuna's study. Of a part: followed by "/" and its name.
STEPS_ATTRIBUTE = "lrsearch:steps_per_epoch"
# With what a study began: versions by package, and digests of its data and its model.
ORIGIN_ATTRIBUTE = "lrsearch:origin"

# A study has this name, and its UUID behind it, until it is complete.
UNFINISHED = "lrsearch-unfinished-"


@dataclass(frozen=True)
class StudyRecord:
    """A stored study.

    Args:
        uuid: our key of the study, which a rename does not change.
        name: its present name in Optuna.
        spec: its specification, as plain JSON values.
        created_at: UTC in ISO 8601.
        run: what its file said of runs, as plain JSON values: no part of its identity.
        state: ``open``, ``paused``, ``failing`` or ``stopped``; see ``StudyRow``.
        state_reason: why it is in that state, in words, or None.
        priority: workers that choose a study take the highest first.
        max_workers: workers that train it at once at most, or None.
    """

    uuid: str
    name: str
    spec: Mapping[str, Any]
    created_at: str
    run: Mapping[str, Any] = field(default_factory=dict)
    state: str = OPEN
    state_reason: str | None = None
    priority: int = 0
    max_workers: int | None = None


def create_study(
    database: Database,
    name: str,
    spec: Mapping[str, Any],
    trials: int,
    points: Sequence[Mapping[str, Any]] = (),
    run: Mapping[str, Any] | None = None,
) -> StudyRecord:
    """Create a study with a budget of free slots; one that exists under this name is returned as it is.

    Args:
        database: the database.
        name: the study's name.
        spec: its specification, as plain JSON values.
        trials: number of slots.
        points: parameters by canonical name that the first slots prescribe.
        run: what its file says of runs, as plain JSON values.

    Raises:
        StudyConflictError: a study of this name exists that lrsearch did not make.
    """
    with database.initialisation_lock():
        names = _uuids_by_name(database)
        if name not in names:
            for unfinished in filter(_is_unfinished, names):
                optuna.delete_study(study_name=unfinished, storage=database.optuna_storage)
            uuid = str(uuid4())
            _create_unfinished(database, uuid)
            rows = partial(_insert_rows, uuid=uuid, spec=spec, trials=trials, points=points, run=run)
            database.transaction(lambda connection: _publish(connection, uuid, name, rows))
    return find_study(database, name)


def find_study(database: Database, name: str) -> StudyRecord:
    """Return the study of this name.

    Raises:
        UnknownNameError: there is none.
        StudyConflictError: there is one that lrsearch did not make here, or a copy of one.
    """
    uuids = _uuids_by_name(database)
    if name not in uuids:
        raise UnknownNameError("study", name, [known for known, uuid in uuids.items() if uuid])
    row = _rows(database).get(uuids[name] or "")
    if row is None:
        raise StudyConflictError(
            f"lrsearch runs the studies that it made in this database; {name!r} is another program's, or was "
            "copied from another database. Choose another name for yours."
        )
    twins = _twins(uuids, name)
    if twins:
        raise StudyConflictError(
            f"each study has slots of its own, and {name!r} and {twins[0]!r} share theirs: one is a copy. "
            "Delete the copy: optuna delete-study --study-name NAME --storage URL"
        )
    return _record(name, row)


def list_studies(database: Database) -> list[StudyRecord]:
    """Return all studies that lrsearch made here, in the order of Optuna's ids."""
    rows = _rows(database)
    names = _uuids_by_name(database).items()
    return [_record(name, rows[uuid]) for name, uuid in names if uuid in rows]


def study_spec(database: Database, uuid: str) -> Mapping[str, Any]:
    """Return the specification that is stored for a study now.

    Raises:
        UnknownNameError: no study has this UUID.
    """
    return database.read(lambda connection: _spec(connection, uuid))


def change_study(
    database: Database, uuid: str, change: Callable[[Mapping[str, Any]], tuple[Mapping[str, Any], int]]
) -> None:
    """Change a study's specification and let its budget grow with it, both or neither.

    Args:
        database: the database.
        uuid: our key of the study.
        change: from the stored specification to the new one and its number of slots; run again if the
            connection is lost.

    Raises:
        UnknownNameError: no study has this UUID.
    """

    def write(connection: sa.Connection) -> None:
        spec, trials = change(_spec(connection, uuid, lock=True))
        changed = sa.update(StudyRow).where(StudyRow.uuid == uuid).values(spec=_to_json(spec))
        connection.execute(changed)
        grow(connection, uuid, trials)

    database.transaction(write)


def _spec(connection: sa.Connection, uuid: str, *, lock: bool = False) -> Mapping[str, Any]:
    query = sa.select(StudyRow.spec).where(StudyRow.uuid == uuid)
    spec = connection.scalar(query.with_for_update() if lock else query)
    if spec is None:
        raise UnknownNameError("study", uuid, connection.scalars(sa.select(StudyRow.uuid)))
    stored: Mapping[str, Any] = json.loads(spec)
    return stored


def delete_study(database: Database, name: str) -> None:
    """Delete a study: Optuna's rows and ours.

    Raises:
        UnknownNameError: there is none.
        StudyConflictError: lrsearch did not make it.
    """
    uuids = _uuids_by_name(database)
    uuid = uuids.get(name)
    if uuid is None:
        find_study(database, name)  # raises: there is no such study, or it is another program's
        return
    if not _twins(uuids, name):
        # Ours first: a study without them can still be deleted by its name.
        database.transaction(lambda connection: delete_rows(connection, uuid))
    optuna.delete_study(study_name=name, storage=database.optuna_storage)


def study_attributes(database: Database, uuid: str) -> Mapping[str, Any]:
    """Return the user attributes that Optuna has of a study, by name.

    Raises:
        UnknownNameError: the study was deleted.
    """
    return database.optuna_storage.get_study_user_attrs(optuna_study_id(database, uuid))


def optuna_study_id(database: Database, uuid: str) -> int:
    """Return Optuna's present id of a study, which a rename changes.

    Raises:
        UnknownNameError: the study was deleted.
    """
    return database.read(TrialIds(uuid).study_id)


def _create_unfinished(database: Database, uuid: str) -> None:
    study = optuna.create_study(
        study_name=f"{UNFINISHED}{uuid}", storage=database.optuna_storage, direction="minimize"
    )
    study.set_user_attr(UUID_ATTRIBUTE, uuid)
    with warnings.catch_warnings():
        # Metric names are experimental in Optuna 5; without one, its dashboard labels the value "Objective".
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([METRIC_NAME])


def _publish(
    connection: sa.Connection, uuid: str, name: str, insert: Callable[[sa.Connection], None]
) -> None:
    # The name appears together with our rows: a process that dies half-way leaves nothing under it.
    studies = optuna_tables.studies
    unfinished = studies.c.study_name == f"{UNFINISHED}{uuid}"
    connection.execute(sa.update(studies).where(unfinished).values(study_name=name))
    insert(connection)


def _insert_rows(
    connection: sa.Connection,
    *,
    uuid: str,
    spec: Mapping[str, Any],
    trials: int,
    points: Sequence[Mapping[str, Any]],
    run: Mapping[str, Any] | None,
) -> None:
    row = {"uuid": uuid, "spec": _to_json(spec), "created_at": clock.naive_utc(connection)}
    row |= {"run": _to_json(run or {}), "state": OPEN, "priority": 0}
    insert_missing(connection, StudyRow, [row])
    insert_free_slots(connection, uuid, range(trials), points)


def _uuids_by_name(database: Database) -> dict[str, str | None]:
    studies = database.optuna_storage.get_all_studies()
    return {study.study_name: study.user_attrs.get(UUID_ATTRIBUTE) for study in studies}


def _is_unfinished(name: str) -> bool:
    return name.startswith(UNFINISHED)


def _twins(uuids: Mapping[str, str | None], name: str) -> list[str]:
    return [other for other, uuid in uuids.items() if other != name and uuid == uuids[name]]


def _rows(database: Database) -> dict[str, sa.Row[Any]]:
    rows = database.read(lambda connection: connection.execute(sa.select(StudyRow.__table__)).all())
    return {row.uuid: row for row in rows}


def _record(name: str, row: sa.Row[Any]) -> StudyRecord:
    return StudyRecord(
        uuid=row.uuid,
        name=name,
        spec=json.loads(row.spec),
        created_at=clock.isoformat(row.created_at),
        run=json.loads(row.run or "{}"),
        state=row.state,
        state_reason=row.state_reason,
        priority=row.priority,
        max_workers=row.max_workers,
    )


def _to_json(spec: Mapping[str, Any]) -> str:
    return json.dumps(dict(spec), allow_nan=False)
