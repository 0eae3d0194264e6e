"""Whether workers train a study: its state, its priority, and how many may train it at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lrsearch.storage.database import Database
from lrsearch.storage.tables import FAILING, OPEN, StudyRow


@dataclass(frozen=True)
class StudyState:
    """Whether workers train a study.

    Args:
        name: ``open``; ``paused``: workers give its trials back; ``stopped``: they begin no more; or
            ``failing``: a pause that they made themselves.
        reason: why, in words, or None.
    """

    name: str = OPEN
    reason: str | None = None


def study_state(database: Database, study_uuid: str) -> StudyState:
    """Return the state of a study; of one that was deleted, that it is open."""
    query = sa.select(StudyRow.state, StudyRow.state_reason).where(StudyRow.uuid == study_uuid)
    row = database.read(lambda connection: connection.execute(query).first())
    return StudyState() if row is None else StudyState(row.state, row.state_reason)


def set_state(database: Database, study_uuid: str, state: str, reason: str | None = None) -> None:
    """Change the state of a study.

    Args:
        database: where it is stored.
        study_uuid: our key of the study.
        state: ``OPEN``, ``PAUSED`` or ``STOPPED``.
        reason: why, in words, or None.
    """
    _change(database, study_uuid, {"state": state, "state_reason": reason})


def pause_failing(database: Database, study_uuid: str, reason: str) -> None:
    """Pause an open study whose trials keep failing; one that somebody has paused or stopped stays so.

    Args:
        database: where it is stored.
        study_uuid: our key of the study.
        reason: why the last trial failed.
    """
    change = (
        sa.update(StudyRow)
        .where(StudyRow.uuid == study_uuid, StudyRow.state == OPEN)
        .values(state=FAILING, state_reason=reason)
    )
    database.transaction(lambda connection: connection.execute(change))


def set_share(database: Database, study_uuid: str, *, priority: int | None, max_workers: int | None) -> None:
    """Change how workers share themselves among studies; None leaves what is.

    Args:
        database: where the study is stored.
        study_uuid: our key of the study.
        priority: workers that choose a study take the highest first.
        max_workers: workers that train it at once at most; 0 for as many as there are.
    """
    changes: dict[str, Any] = {} if priority is None else {"priority": priority}
    if max_workers is not None:
        changes["max_workers"] = max_workers or None
    if changes:
        _change(database, study_uuid, changes)


def _change(database: Database, study_uuid: str, values: Mapping[str, Any]) -> None:
    change = sa.update(StudyRow).where(StudyRow.uuid == study_uuid).values(**values)
    database.transaction(lambda connection: connection.execute(change))
