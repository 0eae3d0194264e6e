"""What happened to a study in the order in which it did, written down by triggers of its database."""

from dataclasses import dataclass

import sqlalchemy as sa

from benchmarks.chaos.array import WRITER
from lrsearch.storage.database import Database
from lrsearch.storage.workers import list_workers

_TABLES = (
    """CREATE TABLE chaos_slots (id {key}, at_s DOUBLE PRECISION, slot INTEGER, state_before TEXT,
    state TEXT, worker_before TEXT, worker TEXT, attempt_before INTEGER,
    attempt INTEGER, lease_until DOUBLE PRECISION)""",
    """CREATE TABLE chaos_epochs (id {key}, at_s DOUBLE PRECISION, trial INTEGER, epoch INTEGER,
    writer DOUBLE PRECISION, state TEXT, worker TEXT)""",
)
_SLOT_ENTRY = """INSERT INTO chaos_slots (at_s, slot, state_before, state, worker_before, worker,
attempt_before, attempt, lease_until)
VALUES ({now}, NEW.slot, OLD.state, NEW.state, OLD.worker, NEW.worker, OLD.attempt,
    NEW.attempt, NEW.lease_until);"""
_EPOCH_ENTRY = """INSERT INTO chaos_epochs (at_s, trial, epoch, writer, state, worker)
    SELECT {now}, NEW.trial, NEW.epoch, NEW.value, state, worker FROM lrsearch_slots
    WHERE study_uuid = NEW.study_uuid AND trial = NEW.trial;"""
_IS_WRITER = f"NEW.name = '{WRITER}'"

_NOW = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "extract(epoch FROM clock_timestamp())",
}
_KEY = {"sqlite": "INTEGER PRIMARY KEY", "postgresql": "BIGSERIAL PRIMARY KEY"}


@dataclass(frozen=True)
class SlotChange:
    """One change of a slot.

    Args:
        at_s: when, in unix seconds of the database.
        slot: index of the slot.
        state_before: its state before.
        state: its state from then on.
        pid_before: process of the worker that had it last, or None.
        pid: process of the worker that has it, or had it last, from then on; or None.
        attempt_before: how often it had been claimed before.
        attempt: how often it has been claimed since.
        lease_until: end of its lease in unix seconds, or None.
    """

    at_s: float
    slot: int
    state_before: str
    state: str
    pid_before: int | None
    pid: int | None
    attempt_before: int
    attempt: int
    lease_until: float | None


@dataclass(frozen=True)
class EpochWrite:
    """One writing of an epoch.

    Args:
        at_s: when, in unix seconds of the database.
        trial: number of the trial.
        epoch: from 1.
        pid: process that trained it.
        state: of the slot at that moment.
        holder: process of the worker that had the slot at that moment, or None.
    """

    at_s: float
    trial: int
    epoch: int
    pid: int
    state: str
    holder: int | None


@dataclass(frozen=True)
class Journal:
    """Everything that was written down of a study.

    Args:
        slots: changes of slots, the earliest first.
        epochs: writings of epochs, the earliest first.
    """

    slots: tuple[SlotChange, ...]
    epochs: tuple[EpochWrite, ...]


def begin_journal(database: Database) -> None:
    """Write down from now on what happens to the only study of a database."""
    kind = database.address.backend
    tables = [table.format(key=_KEY[kind]) for table in _TABLES]
    triggers = _sqlite_triggers() if kind == "sqlite" else _postgresql_triggers()

    def write(connection: sa.Connection) -> None:
        for statement in (*tables, *triggers):
            connection.exec_driver_sql(statement)

    database.transaction(write)


def read_journal(database: Database, study_uuid: str) -> Journal:
    """Return what was written down of a study."""
    pids = {worker.id: worker.pid for worker in list_workers(database, study_uuid)}

    def read(connection: sa.Connection) -> Journal:
        slots = connection.exec_driver_sql("SELECT * FROM chaos_slots ORDER BY id").all()
        epochs = connection.exec_driver_sql("SELECT * FROM chaos_epochs ORDER BY id").all()
        return Journal(
            tuple(
                SlotChange(
                    at_s=row.at_s,
                    slot=row.slot,
                    state_before=row.state_before,
                    state=row.state,
                    pid_before=pids.get(row.worker_before),
                    pid=pids.get(row.worker),
                    attempt_before=row.attempt_before,
                    attempt=row.attempt,
                    lease_until=row.lease_until,
                )
                for row in slots
            ),
            tuple(
                EpochWrite(row.at_s, row.trial, row.epoch, int(row.writer), row.state, pids.get(row.worker))
                for row in epochs
            ),
        )

    return database.read(read)


def _sqlite_triggers() -> list[str]:
    slot, epoch = (entry.format(now=_NOW["sqlite"]) for entry in (_SLOT_ENTRY, _EPOCH_ENTRY))
    return [
        f"CREATE TRIGGER chaos_slot AFTER UPDATE ON lrsearch_slots BEGIN {slot} END",
        *(
            f"CREATE TRIGGER chaos_epoch_{event} AFTER {event} ON lrsearch_epoch_values "
            f"WHEN {_IS_WRITER} BEGIN {epoch} END"
            for event in ("INSERT", "UPDATE")
        ),
    ]


def _postgresql_triggers() -> list[str]:
    slot, epoch = (entry.format(now=_NOW["postgresql"]) for entry in (_SLOT_ENTRY, _EPOCH_ENTRY))
    function = (
        "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {entry} RETURN NULL; END $$"
    )
    return [
        function.format(name="chaos_slot", entry=slot),
        function.format(name="chaos_epoch", entry=epoch),
        "CREATE TRIGGER chaos_slot AFTER UPDATE ON lrsearch_slots FOR EACH ROW EXECUTE FUNCTION chaos_slot()",
        (
            "CREATE TRIGGER chaos_epoch AFTER INSERT OR UPDATE ON lrsearch_epoch_values FOR EACH ROW "
            f"WHEN ({_IS_WRITER}) EXECUTE FUNCTION chaos_epoch()"
        ),
    ]
