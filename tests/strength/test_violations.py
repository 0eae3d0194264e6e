"""The comparison after a run finds what is wrong: each kind of damage, done to a study without any."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos.crew import Hit
from benchmarks.chaos.journal import begin_journal
from benchmarks.chaos.run import STUDY, Ordeal, study_spec
from benchmarks.chaos.violations import Remains, read_remains, unhurt, violations
from benchmarks.chaos.worker import Task, search
from lrsearch.service.studies import open_study
from lrsearch.storage.database import Database, open_database

ORDEAL = Ordeal("kill", workers=1, trials=3, epochs=3, epoch_s=0.0, lanes=3)


def train(url: str, folder: Path) -> None:
    """Make a study, and let one worker train it to its end."""
    with open_database(url) as database:
        open_study(database, study_spec(ORDEAL))
        begin_journal(database)
    search(Task(url, STUDY, ORDEAL.lanes, ORDEAL.epoch_s, ORDEAL.lease_s, folder, 60.0))


@pytest.fixture(scope="module")
def trained_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a study that one worker has trained to its end."""
    folder = tmp_path_factory.mktemp("trained")
    train(f"sqlite:///{folder}/studies.db", folder)
    return folder / "studies.db"


@pytest.fixture
def trained(trained_file: Path, tmp_path: Path) -> Iterator[Database]:
    """A database with such a study, to be damaged."""
    with open_database(f"sqlite:///{shutil.copy(trained_file, tmp_path)}") as database:
        yield database


def remains_of(database: Database, *statements: str) -> Remains:
    """Do damage, and return what is left."""

    def damage(connection):
        for statement in statements:
            connection.exec_driver_sql(statement)

    database.transaction(damage)
    return read_remains(database.address.url, database, study_spec(ORDEAL), [], ORDEAL.lease_s)


def test_nothing_is_wrong_with_a_study_that_nobody_disturbed(created_url: str, tmp_path: Path) -> None:
    """No line at all."""
    train(created_url, tmp_path)
    with open_database(created_url) as database:
        remains = remains_of(database)
    assert violations(remains) == []
    assert len(remains.journal.epochs) == len(remains.optuna_trials) * ORDEAL.epochs


CHANGED = "(at_s, slot, state_before, state, worker_before, worker, attempt_before, attempt, lease_until)"


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE lrsearch_slots SET state = 'told' WHERE slot = 1", "slot 1 is told"),
        ("DELETE FROM lrsearch_slots WHERE slot = 2", "2 slots instead of 3"),
        ("DELETE FROM chaos_slots WHERE state = 'done' AND slot = 0", "slot 0 was given 0 results"),
        (
            f"INSERT INTO chaos_slots {CHANGED} VALUES (1, 1, 'done', 'free', NULL, NULL, 1, 1, NULL)",
            "slot 1 went from done back to free",
        ),
        (
            f"INSERT INTO chaos_slots {CHANGED} VALUES (1, 1, 'leased', 'leased', NULL, NULL, 2, 1, 3)",
            "slot 1 went from attempt 2 back to 1",
        ),
        (
            f"INSERT INTO chaos_slots {CHANGED} VALUES (1, 1, 'leased', 'leased', NULL, NULL, 1, 2, 3)",
            "slot 1 was taken from None, which was alive",
        ),
        (
            f"INSERT INTO chaos_slots {CHANGED} VALUES (1, 1, 'free', 'leased', NULL, NULL, 1, 2, 3601)",
            "slot 1 was leased for 3600.0 s instead of 3",
        ),
        ("UPDATE trials SET state = 'RUNNING' WHERE number = 1", "Optuna's trial 1 is RUNNING"),
        ("UPDATE trial_values SET value = 7.5", "and for Optuna"),
        (
            "UPDATE trial_intermediate_values SET intermediate_value = 7.5",
            "Optuna has another curve of trial",
        ),
        ("UPDATE lrsearch_slots SET trial = 9 WHERE slot = 0", "belongs to no slot"),
        ("UPDATE lrsearch_slots SET trial = 9 WHERE slot = 0", "Optuna lacks trial 9 of slot 0"),
        ("DELETE FROM lrsearch_epoch_values WHERE epoch = 1 AND name = 'lr'", "and has lr of [2, 3]"),
        (
            "UPDATE lrsearch_epoch_values SET value = 7.5 WHERE name = 'valid_loss'",
            "has the loss 7.5 in epoch",
        ),
        ("UPDATE lrsearch_slots SET value = 7.5", "has the value 7.5 after the losses"),
        ("UPDATE lrsearch_slots SET epochs = 2, outcome = 'COMPLETE'", "is complete after 2 epochs"),
        ("UPDATE chaos_epochs SET writer = 1", "was written by 1 while its slot was leased by"),
        ("UPDATE chaos_epochs SET state = 'free'", "while its slot was free by"),
        ("UPDATE lrsearch_slots SET outcome = 'FAIL'", "failed after 0 deaths"),
        ("UPDATE lrsearch_slots SET point = '{}'", "the point {} was tried 3 times"),
    ],
)
def test_each_damage_is_found(trained: Database, damage: str, found: str) -> None:
    """The line names what is wrong."""
    assert any(found in line for line in violations(remains_of(trained, damage)))


def test_blows_that_hit_nothing_are_no_test(trained: Database) -> None:
    """Workers were killed, and no trial had to begin again."""
    remains = remains_of(trained)
    assert unhurt(remains, []) == []
    assert unhurt(remains, [Hit(1, 0.0)]) == ["1 blows and 3 attempts: they hit no trial"]
