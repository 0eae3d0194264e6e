"""Retrainings of a study, each stored once, and the confirmations and audits that compare them."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from lrsearch.retrainings import Audit, Candidate, Confirmation, Retraining, Run
from lrsearch.storage import clock
from lrsearch.storage.database import Database
from lrsearch.storage.tables import ExaminationRow, RetrainingRow
from lrsearch.storage.upsert import insert_missing, upsert

CONFIRMATION, AUDIT = "confirmation", "audit"


def key_of(run: Run) -> str:
    """Return the digest under which the retraining of a run is stored."""
    content = _without_none(asdict(run) | {"point": dict(run.point)})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def record_retrainings(database: Database, study_uuid: str, retrainings: Mapping[str, Retraining]) -> None:
    """Store retrainings by key; one that is stored already is overwritten, as it may have failed."""

    def write(connection: sa.Connection) -> None:
        now = clock.naive_utc(connection)
        rows = [
            {"study_uuid": study_uuid, "key": key, "payload": _written(retraining), "created_at": now}
            for key, retraining in retrainings.items()
        ]
        upsert(connection, RetrainingRow, rows, key=("study_uuid", "key"))

    database.transaction(write)


def stored_retrainings(database: Database, study_uuid: str, keys: Iterable[str]) -> dict[str, Retraining]:
    """Return those of the retrainings with these keys that are stored, by key."""
    wanted = set(keys)
    query = sa.select(RetrainingRow.key, RetrainingRow.payload).where(RetrainingRow.study_uuid == study_uuid)
    rows = database.read(lambda connection: connection.execute(query).all())
    return {row.key: _read(row.payload) for row in rows if row.key in wanted}


def record_confirmation(
    database: Database,
    study_uuid: str,
    candidates: Sequence[Candidate],
    seeds: Sequence[int],
    epochs: int,
    notes: Sequence[str],
    *,
    same_weights: bool = False,
) -> None:
    """Store that a study was confirmed; the runs of its candidates are retrainings with the test split."""
    payload = {
        "candidates": [_without_none(asdict(candidate)) for candidate in candidates],
        "seeds": list(seeds),
        "epochs": epochs,
        "notes": list(notes),
        "same_weights": same_weights,
    }
    _record(database, study_uuid, CONFIRMATION, payload)


def latest_confirmation(
    database: Database, study_uuid: str, epochs: int | None = None
) -> Confirmation | None:
    """Return the confirmation that a study is judged by, or None: with the most seeds, of these the newest.

    Args:
        database: the database.
        study_uuid: our key of the study.
        epochs: length of the study's runs; None takes the newest confirmation, whatever it is.
    """
    rows = _newest_first(database, study_uuid, CONFIRMATION)
    read = [(json.loads(row.payload), row) for row in rows]
    if epochs is not None:
        read = [(payload, row) for payload, row in read if payload["epochs"] == epochs]
        read.sort(key=lambda found: -len(found[0]["seeds"]))
    if not read:
        return None
    payload, row = read[0]
    candidates = tuple(Candidate(**fields) for fields in payload["candidates"])
    seeds, epochs = tuple(payload["seeds"]), payload["epochs"]
    keys = {each.name: [key_of(each.run(seed, epochs)) for seed in seeds] for each in candidates}
    runs = stored_retrainings(database, study_uuid, (key for mine in keys.values() for key in mine))
    return Confirmation(
        candidates=candidates,
        seeds=seeds,
        epochs=epochs,
        runs={name: tuple(runs[key] for key in mine) for name, mine in keys.items()},
        notes=tuple(payload["notes"]),
        finished_at=_isoformat(row.finished_at),
        same_weights=payload.get("same_weights", False),
    )


def record_audit(
    database: Database, study_uuid: str, stopped: Sequence[int], sample: Mapping[int, str]
) -> None:
    """Store that stopped trials of a study were audited.

    Args:
        database: the database.
        study_uuid: our key of the study.
        stopped: numbers of all trials that were stopped.
        sample: keys of the retrainings of those that were trained to their end, by number.
    """
    _record(database, study_uuid, AUDIT, {"stopped": list(stopped), "sample": dict(sample)})


def latest_audit(database: Database, study_uuid: str) -> Audit | None:
    """Return the newest audit of a study, or None."""
    rows = _newest_first(database, study_uuid, AUDIT)
    if not rows:
        return None
    row, payload = rows[0], json.loads(rows[0].payload)
    sample = {int(trial): key for trial, key in payload["sample"].items()}
    runs = stored_retrainings(database, study_uuid, sample.values())
    return Audit(
        stopped=tuple(payload["stopped"]),
        runs={trial: runs[key] for trial, key in sample.items()},
        finished_at=_isoformat(row.finished_at),
    )


def _record(database: Database, study_uuid: str, kind: str, payload: Mapping[str, Any]) -> None:
    uuid = str(uuid4())

    def write(connection: sa.Connection) -> None:
        # Under the same key when it is repeated, because the answer to its commit may be lost.
        row = {
            "uuid": uuid,
            "study_uuid": study_uuid,
            "kind": kind,
            "payload": json.dumps(payload, allow_nan=False),
            "finished_at": clock.unix_seconds(connection),
        }
        insert_missing(connection, ExaminationRow, [row])

    database.transaction(write)


def _newest_first(database: Database, study_uuid: str, kind: str) -> Sequence[sa.Row[str, float]]:
    query = (
        sa.select(ExaminationRow.payload, ExaminationRow.finished_at)
        .where(ExaminationRow.study_uuid == study_uuid, ExaminationRow.kind == kind)
        .order_by(ExaminationRow.finished_at.desc())
    )
    return database.read(lambda connection: connection.execute(query).all())


def _written(retraining: Retraining) -> str:
    content = asdict(retraining)
    for name in ("metrics", "test"):
        content[name] = {figure: _finite(value) for figure, value in content[name].items()}
    content["valid_losses"] = [_finite(loss) for loss in retraining.valid_losses]
    return json.dumps(content, allow_nan=False)


def _read(payload: str) -> Retraining:
    content = json.loads(payload)
    for name in ("metrics", "test"):
        content[name] = {figure: _number(value) for figure, value in content[name].items()}
    content["valid_losses"] = tuple(map(_number, content["valid_losses"]))
    return Retraining(**content)


def _without_none(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return content as it was written before it could name an optimizer, where it names none."""
    return {name: value for name, value in content.items() if name != "optimizer" or value is not None}


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)  # "nan", "inf", "-inf": JSON has no word for them


def _number(value: float | str) -> float:
    return float(value)


def _isoformat(unix_seconds: float) -> str:
    return clock.isoformat(clock.from_unix_seconds(unix_seconds))
