"""Begins trials in claimed slots, ours and Optuna's together.

Optuna's trials are numbered one after the other, so that all workers of a study wait for each other here. Who
waits has locked no slot, whose lease could not be renewed then; and who is next keeps the others no longer
than one statement and its commit take.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from lrsearch.results import Claim
from lrsearch.storage import clock, leases
from lrsearch.storage.optuna_tables import NewTrial, attribute_rows, insert_trials, param_rows

_BEGIN = sa.text(
    """
    WITH given AS (
        SELECT * FROM json_to_recordset(CAST(:slots AS json)) AS given(slot int, attempt int, point text)
    ), held AS (
        SELECT slots.slot, slots.trial, given.point
        FROM lrsearch_slots AS slots JOIN given USING (slot, attempt)
        WHERE slots.study_uuid = :study_uuid AND slots.state = 'leased' FOR UPDATE OF slots
    ), new AS (
        SELECT slot, point, row_number() OVER (ORDER BY slot) AS place FROM held WHERE trial IS NULL
    ), begun AS (
        INSERT INTO trials (number, study_id, state, datetime_start)
        SELECT (SELECT count(*) FROM trials WHERE study_id = :study_id) + place - 1, :study_id, 'RUNNING',
            timezone('UTC', clock_timestamp())
        FROM new ORDER BY place RETURNING trial_id, number
    ), placed AS (
        SELECT slot, trial_id, number FROM new JOIN
            (SELECT trial_id, number, row_number() OVER (ORDER BY number) AS place FROM begun) AS numbered
            USING (place)
    ), params AS (
        INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)
        SELECT trial_id, param_name, param_value, distribution_json
        FROM json_to_recordset(CAST(:params AS json)) AS given_params(
            slot int, param_name text, param_value double precision, distribution_json text)
        JOIN placed USING (slot)
    ), attributes AS (
        INSERT INTO trial_user_attributes (trial_id, key, value_json)
        SELECT trial_id, key, value_json
        FROM json_to_recordset(CAST(:attributes AS json)) AS given_attributes(
            slot int, key text, value_json text)
        JOIN placed USING (slot)
    )
    UPDATE lrsearch_slots AS slots
    SET trial = coalesce(slots.trial, placed.number), point = coalesce(held.point, slots.point),
        lease_until = extract(epoch FROM clock_timestamp()) + :lease_s
    FROM held LEFT JOIN placed USING (slot)
    WHERE slots.study_uuid = :study_uuid AND slots.slot = held.slot
    RETURNING slots.slot, slots.trial, placed.trial_id, slots.lease_until
    """
)


@dataclass(frozen=True)
class Begun:
    """Trials that have begun.

    Args:
        numbers: of the trials, by slot; slots whose claim is lost are absent.
        ids: Optuna's ids of those that are new, by number.
        now: the database's time, in unix seconds; None if no claim is held.
    """

    numbers: dict[int, int]
    ids: dict[int, int]
    now: float | None


def begin_trials(
    connection: sa.Connection,
    study_uuid: str,
    study_id: int,
    beginnings: Sequence[tuple[Claim, NewTrial]],
    lease_s: float,
) -> Begun:
    """Begin trials in slots that are still held, and renew their leases.

    A slot that has a trial already keeps it: a transaction that is repeated may find its own commit.

    Args:
        connection: a connection in a transaction that holds the lock of Optuna's study.
        study_uuid: our key of the study.
        study_id: Optuna's id of the study.
        beginnings: a claim, and the trial to begin in its slot.
        lease_s: how long the leases last from then on, in seconds.
    """
    if connection.dialect.name == "postgresql":
        return _begin_in_one_statement(connection, study_uuid, study_id, beginnings, lease_s)
    rows = connection.execute(
        leases.renew(study_uuid, [claim for claim, _trial in beginnings], lease_s)
    ).all()
    if not rows:
        return Begun({}, {}, None)
    now = max(row.lease_until for row in rows) - lease_s
    held = {(row.slot, row.attempt): row.trial for row in rows}
    numbers = {slot: trial for (slot, _attempt), trial in held.items() if trial is not None}
    new = [
        (claim.slot, trial)
        for claim, trial in beginnings
        if (claim.slot, claim.attempt) in held and claim.slot not in numbers
    ]
    ids = insert_trials(connection, study_id, [trial for _slot, trial in new], clock.from_unix_seconds(now))
    begun = {slot: number for number, (slot, _trial) in zip(sorted(ids), new, strict=True)}
    changes = [
        {"slot": slot, "trial": begun[slot], "point": json.dumps(dict(trial.params))} for slot, trial in new
    ]
    leases.change_each(connection, study_uuid, changes)
    return Begun(numbers | begun, ids, now)


def _begin_in_one_statement(
    connection: sa.Connection,
    study_uuid: str,
    study_id: int,
    beginnings: Sequence[tuple[Claim, NewTrial]],
    lease_s: float,
) -> Begun:
    slots = [
        {"slot": claim.slot, "attempt": claim.attempt, "point": json.dumps(dict(trial.params))}
        for claim, trial in beginnings
    ]
    by_slot = [(claim.slot, trial) for claim, trial in beginnings]
    given = {
        "slots": slots,
        "params": param_rows(by_slot, "slot"),
        "attributes": attribute_rows(by_slot, "slot"),
    }
    rows = connection.execute(
        _BEGIN,
        {
            "study_uuid": study_uuid,
            "study_id": study_id,
            "lease_s": lease_s,
            **{name: json.dumps(value) for name, value in given.items()},
        },
    ).all()
    numbers = {row.slot: row.trial for row in rows}
    ids = {row.trial: row.trial_id for row in rows if row.trial_id is not None}
    return Begun(numbers, ids, max(row.lease_until for row in rows) - lease_s if rows else None)
