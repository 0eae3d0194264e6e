"""Range tests: the curve, its settings and what it suggested, kept by task."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from lrsearch.errors import SpecError
from lrsearch.lr_range import RangeTest, find_zones, suggestions
from lrsearch.storage import clock
from lrsearch.storage.database import Database
from lrsearch.storage.tables import NAME_LENGTH, RangeTestRow
from lrsearch.storage.upsert import insert_missing


@dataclass(frozen=True)
class RangeTestRecord:
    """A stored range test.

    Args:
        uuid: our key of it.
        task: name of the task.
        created_at: UTC in ISO 8601.
        test: growth, settings and curve.
        zones: what was found, as plain JSON values: the fields of ``Zones``.
        suggestions: what was suggested, as plain JSON values: the fields of ``Suggestions``.
    """

    uuid: str
    task: str
    created_at: str
    test: RangeTest
    zones: Mapping[str, Any]
    suggestions: Mapping[str, Any]


def record_range_test(database: Database, test: RangeTest) -> RangeTestRecord:
    """Store a range test with its zones and suggestions.

    Args:
        database: the database.
        test: growth, settings and curve.

    Raises:
        SpecError: the task's name is too long for the database.
    """
    if len(test.task) > NAME_LENGTH:
        raise SpecError(
            f"a task's name has at most {NAME_LENGTH} characters, but got {len(test.task)}: {test.task}"
        )
    uuid, payload = str(uuid4()), json.dumps(_payload(test), allow_nan=False)

    def write(connection: sa.Connection) -> Any:
        # Under the same key when it is repeated, because the answer to its commit may be lost.
        row = {"uuid": uuid, "task": test.task, "payload": payload, "created_at": clock.naive_utc(connection)}
        insert_missing(connection, RangeTestRow, [row])
        return connection.execute(_query().where(RangeTestRow.uuid == uuid)).one()

    return _record(database.transaction(write))


def list_range_tests(database: Database, task: str | None = None) -> list[RangeTestRecord]:
    """Return all range tests, or those of one task, the newest first."""
    query = _query().order_by(RangeTestRow.id.desc())
    if task is not None:
        query = query.where(RangeTestRow.task == task)
    return [_record(row) for row in database.read(lambda connection: connection.execute(query).all())]


def _query() -> sa.Select[Any]:
    return sa.select(RangeTestRow.__table__)


def _payload(test: RangeTest) -> dict[str, Any]:
    return {
        "range_test": test.to_json(),
        "zones": asdict(find_zones(test)),
        "suggestions": asdict(suggestions(test)),
    }


def _record(row: sa.Row[Any]) -> RangeTestRecord:
    payload = json.loads(row.payload)
    test = RangeTest.from_json(payload["range_test"])
    created_at = clock.isoformat(row.created_at)
    return RangeTestRecord(row.uuid, row.task, created_at, test, payload["zones"], payload["suggestions"])
