"""Our own tables: what Optuna lacks, keyed by a study's own UUID, without foreign keys to Optuna's tables.

A foreign key would forbid Optuna to delete its studies, and a rename in the dashboard gives a study new ids.
Times named ``*_at`` are naive UTC, as Optuna stores its own.
"""

from datetime import datetime

from sqlalchemy import Double, Index, MetaData, String, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

PREFIX = "lrsearch_"
VERSION_TABLE = "lrsearch_alembic_version"

FREE, LEASED, TOLD, DONE = "free", "leased", "told", "done"
OPEN, PAUSED, FAILING, STOPPED = "open", "paused", "failing", "stopped"

# SQLite changes a table by copying it, which needs a name for every constraint.
NAMING_CONVENTION = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

_BEGUN = text("trial IS NOT NULL")

# In the place of a study's UUID, for a worker that has none now and waits for work.
BETWEEN_STUDIES = ""

UUID_LENGTH = 36
NAME_LENGTH = 255


class Base(DeclarativeBase):
    """The base of all our tables."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class StudyRow(Base):
    """One study: its specification as JSON. Its name is Optuna's, which may change.

    ``run`` holds what its file said of runs, which is no part of its identity. Workers train it while it is
    ``open``; ``paused`` they give its trials back, ``stopped`` they begin no more, and ``failing`` is a pause
    that they made themselves, with the reason.
    """

    __tablename__ = "lrsearch_studies"

    uuid: Mapped[str] = mapped_column(String(UUID_LENGTH), primary_key=True)
    spec: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    run: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(8), server_default=OPEN)
    state_reason: Mapped[str | None] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(server_default="0")
    max_workers: Mapped[int | None]


class SlotRow(Base):
    """One of the trials that a study may run.

    ``free`` may be claimed; ``leased`` is held by a worker until ``lease_until`` (the database's clock, unix
    seconds, as is ``ended_at``); ``told`` has a result that Optuna may not know yet; ``done`` has one that it
    knows. ``attempt`` counts claims and fences out earlier holders; ``deaths`` counts leases that ran out;
    ``checkpoint`` names the file from which the trial goes on.
    """

    __tablename__ = "lrsearch_slots"
    # Workers look for free, expired and told slots, and for those that have begun: few among many.
    __table_args__ = (
        Index(None, "study_uuid", "state", "slot"),
        Index("ix_lrsearch_slots_begun", "study_uuid", "slot", postgresql_where=_BEGUN, sqlite_where=_BEGUN),
    )

    study_uuid: Mapped[str] = mapped_column(String(UUID_LENGTH), primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    state: Mapped[str] = mapped_column(String(8), default=FREE)
    attempt: Mapped[int] = mapped_column(default=0)
    deaths: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    lease_until: Mapped[float | None] = mapped_column(Double)
    point: Mapped[str | None] = mapped_column(Text)
    trial: Mapped[int | None]
    outcome: Mapped[str | None] = mapped_column(String(8))
    value: Mapped[float | None] = mapped_column(Double)
    epochs: Mapped[int | None]
    diverged: Mapped[bool | None]
    reason: Mapped[str | None] = mapped_column(Text)
    traceback: Mapped[str | None] = mapped_column(Text)
    ended_at: Mapped[float | None] = mapped_column(Double)
    checkpoint: Mapped[str | None] = mapped_column(String(NAME_LENGTH))


class EpochValueRow(Base):
    """One figure of one epoch of one trial; NULL stands for NaN."""

    __tablename__ = "lrsearch_epoch_values"

    study_uuid: Mapped[str] = mapped_column(String(UUID_LENGTH), primary_key=True)
    trial: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    value: Mapped[float | None] = mapped_column(Double)


class WorkerRow(Base):
    """One process that claims slots of a study; a row for each study that it has worked on.

    ``machine``, ``pid`` and ``process_started`` say which process it is, so that another one of the same
    machine can tell whether it lives.
    """

    __tablename__ = "lrsearch_workers"

    id: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    study_uuid: Mapped[str] = mapped_column(String(UUID_LENGTH), primary_key=True)
    host: Mapped[str] = mapped_column(String(NAME_LENGTH))
    pid: Mapped[int]
    device: Mapped[str] = mapped_column(String(NAME_LENGTH))
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    machine: Mapped[str] = mapped_column(String(NAME_LENGTH), server_default="")
    process_started: Mapped[float | None] = mapped_column(Double)
    left_at: Mapped[datetime | None]


class RangeTestRow(Base):
    """One learning-rate range test: of a task, not of a study. The payload is JSON."""

    __tablename__ = "lrsearch_range_tests"

    id: Mapped[int] = mapped_column(primary_key=True)
    uuid: Mapped[str] = mapped_column(String(UUID_LENGTH), unique=True)
    task: Mapped[str] = mapped_column(String(NAME_LENGTH))
    payload: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class RetrainingRow(Base):
    """One point of a study that was trained to its end outside of the search. The payload is JSON.

    ``key`` is a digest of point, seed, length, and whether the test split was read.
    """

    __tablename__ = "lrsearch_retrainings"

    study_uuid: Mapped[str] = mapped_column(String(UUID_LENGTH), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    payload: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class LoggedRunRow(Base):
    """The learning rates that were logged while a point of a study was trained. The payload is JSON.

    ``key`` is a digest of point, seed and length: what it stands for is trained once.
    """

    __tablename__ = "lrsearch_logged_runs"

    study_uuid: Mapped[str] = mapped_column(String(UUID_LENGTH), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    payload: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class ExaminationRow(Base):
    """One confirmation or audit of a study: which retrainings it compares. The payload is JSON."""

    __tablename__ = "lrsearch_examinations"

    uuid: Mapped[str] = mapped_column(String(UUID_LENGTH), primary_key=True)
    study_uuid: Mapped[str] = mapped_column(String(UUID_LENGTH))
    kind: Mapped[str] = mapped_column(String(16))
    payload: Mapped[str] = mapped_column(Text)
    finished_at: Mapped[float] = mapped_column(Double)
