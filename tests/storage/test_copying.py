"""Copies of a database: what they keep, what they free, and what is refused."""

import math
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa

from lrsearch.errors import DatabaseLostError, DatabaseSetupError
from lrsearch.results import EpochResult, Outcome, TrialResult
from lrsearch.storage import copying
from lrsearch.storage.address import parse_address
from lrsearch.storage.copying import COPIED_TABLES, back_up, copy_database, restore
from lrsearch.storage.database import Database, check_database, open_database
from lrsearch.storage.epochs import record_epochs
from lrsearch.storage.optuna_tables import NewTrial
from lrsearch.storage.process import this_process
from lrsearch.storage.slot_rows import SlotCounts
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import create_study
from lrsearch.storage.tables import SlotRow
from lrsearch.storage.workers import join_study

DISTRIBUTIONS = {"lr": optuna.distributions.FloatDistribution(1e-3, 1.0, log=True)}


@pytest.fixture
def slots(database: Database) -> Slots:
    """A study of four slots: one diverged trial, one that runs, and two free slots."""
    study = create_study(database, "s", {"text": "ümläut ✓ 'quoted'"}, trials=4)
    slots = Slots(database, study.uuid)
    claims = slots.claim("worker", 2)
    numbers = slots.begin([(claim, NewTrial({"lr": 0.1}, DISTRIBUTIONS)) for claim in claims])
    epochs = [
        EpochResult(numbers[claim.slot], 1, math.nan, math.inf, {"accuracy": 0.1}, 0.1, 0.5)
        for claim in claims
    ]
    record_epochs(slots, [(claim, epoch, math.inf) for claim, epoch in zip(claims, epochs, strict=True)])
    diverged = TrialResult(Outcome.PRUNED, math.inf, 1, diverged=True, traceback="line 1\nline 2")
    assert slots.finish([(claims[0], diverged)]) == []
    slots.settle()
    change = sa.update(SlotRow).where(SlotRow.slot == claims[1].slot).values(checkpoint="array-1.pt")
    database.transaction(lambda connection: connection.execute(change))
    join_study(database, study.uuid, "worker", this_process(), "cpu")
    return slots


def rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Return the rows of every table, in an order of their own."""
    engine = sa.create_engine(parse_address(url).url, poolclass=sa.NullPool)
    found = {}
    with engine.connect() as connection:
        for name in sorted(COPIED_TABLES):
            table = sa.Table(name, sa.MetaData(), autoload_with=connection, resolve_fks=False)
            columns = [table.c[column] for column in sorted(table.c.keys())]
            found[name] = sorted(map(tuple, connection.execute(sa.select(*columns))), key=repr)
    return found


@pytest.mark.usefixtures("slots")
def test_every_row_of_every_table_is_copied(created_url: str, empty_url: str) -> None:
    """But for what a running trial and its worker hold; a copy of the copy is equal."""
    before = rows(created_url)
    copied = copy_database(created_url, empty_url)
    after = rows(empty_url)
    assert rows(created_url) == before
    changed = {"lrsearch_slots", "lrsearch_workers"}
    assert {name: after[name] for name in COPIED_TABLES - changed} == {
        name: before[name] for name in COPIED_TABLES - changed
    }
    assert (copied.studies, copied.released) == (1, 1)
    assert copied.rows == sum(map(len, before.values())) == sum(map(len, after.values()))
    assert sum(map(len, before.values())) > 20
    assert check_database(empty_url).current


def test_a_running_trial_is_free_in_the_copy_and_keeps_its_checkpoint(
    slots: Slots, created_url: str, empty_url: str
) -> None:
    """Its attempt has moved on, so that whoever held it could write nothing; its worker has left."""
    copy_database(created_url, empty_url)
    with open_database(empty_url) as database:
        copy = Slots(database, slots.study_uuid)
        assert copy.counts() == SlotCounts(3, 0, 0, 1)
        [claim] = copy.claim("another", 1)
        assert (claim.slot, claim.attempt, claim.trial, claim.checkpoint) == (1, 3, 1, "array-1.pt")
        left = database.read(
            lambda opened: opened.exec_driver_sql(
                "SELECT count(*) FROM lrsearch_workers WHERE left_at IS NULL"
            ).scalar()
        )
        assert left == 0
    assert slots.counts().leased == 1


@pytest.mark.usefixtures("slots")
def test_new_studies_and_trials_of_the_copy_get_new_numbers(created_url: str, empty_url: str) -> None:
    """Optuna and we can go on inserting, whatever kind of database numbers the rows."""
    copy_database(created_url, empty_url)
    with open_database(empty_url) as database:
        old = optuna.load_study(study_name="s", storage=database.optuna_storage)
        new = optuna.create_study(study_name="new", storage=database.optuna_storage)
        for study in (old, new):
            trial = study.ask()
            trial.suggest_float("x", 0, 1)
            trial.report(1.0, 1)
            trial.set_user_attr("key", "value")
            study.tell(trial, 2.0)
        assert [trial.number for trial in old.trials] == [0, 1, 2]
        assert old.trials[0].intermediate_values == {1: math.inf}
        assert create_study(database, "ours", {}, trials=1).name == "ours"


def test_what_is_written_meanwhile_is_in_the_copy_as_a_whole_or_not_at_all(
    slots: Slots, created_url: str, empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is one moment of the source, which goes on being written; no writer waits for it."""
    copy_table, written = copying._copy_table, []

    def write_between(*arguments: object) -> int:
        count = copy_table(*arguments)  # type: ignore[arg-type]  # as they came
        if not written:
            written.append(True)
            thread = threading.Thread(
                target=create_study, args=(slots.database, "meanwhile", {}), kwargs={"trials": 3}
            )
            thread.start()
            thread.join(20)
            assert not thread.is_alive()
        return count

    monkeypatch.setattr(copying, "_copy_table", write_between)
    assert copy_database(created_url, empty_url).studies == 1
    assert check_database(created_url).studies == 2
    with open_database(empty_url) as database:
        names = [study.study_name for study in database.optuna_storage.get_all_studies()]
    assert names == ["s"]
    assert check_database(empty_url).orphans == ()


@pytest.mark.usefixtures("slots")
def test_a_copy_that_breaks_off_leaves_the_target_empty(
    created_url: str, empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command works once what broke it is mended."""
    release = copying._release

    def broken(connection: sa.Connection) -> int:
        connection.exec_driver_sql("SELECT * FROM nowhere")
        return release(connection)

    with monkeypatch.context() as patch:
        patch.setattr(copying, "_release", broken)
        with pytest.raises(DatabaseLostError, match=r"broke off, and nothing of it was stored.*nowhere"):
            copy_database(created_url, empty_url)
    assert check_database(empty_url).studies == 0
    assert copy_database(created_url, empty_url).studies == 1


@pytest.mark.usefixtures("slots")
def test_a_target_that_holds_anything_is_refused(created_url: str, empty_url: str) -> None:
    """Studies of ours, studies of Optuna's alone, and another program's tables stay as they are."""
    storage = optuna.storages.RDBStorage(parse_address(empty_url).url)
    optuna.create_study(storage=storage, study_name="theirs")
    storage.engine.dispose()
    with pytest.raises(DatabaseSetupError, match="holds studies or tables already"):
        copy_database(created_url, empty_url)
    assert check_database(empty_url).revision is None
    open_database(empty_url).close()
    before = rows(empty_url)
    with pytest.raises(DatabaseSetupError, match="holds studies or tables already"):
        copy_database(created_url, empty_url)
    assert rows(empty_url) == before


def test_a_database_is_not_copied_onto_itself(created_url: str) -> None:
    """By whatever spelling of its URL, a link to its file included."""
    others = [created_url]
    path = parse_address(created_url).path
    if path is not None:
        (path.parent / "link.db").symlink_to(path)
        others += [f"sqlite+pysqlite:///{path.parent}/link.db", f"sqlite:///{path.parent}/./{path.name}"]
    else:
        others.append(created_url.replace("postgresql://", "postgres://"))
    for other in others:
        with pytest.raises(DatabaseSetupError, match="from one database to another"):
            copy_database(created_url, other)


def test_an_older_source_is_refused_with_the_command_that_upgrades_it(
    created_url: str, empty_url: str
) -> None:
    """And nothing is made at the target."""
    engine = sa.create_engine(parse_address(created_url).url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE lrsearch_alembic_version SET version_num = '0001'")
    with pytest.raises(DatabaseSetupError, match="lrsearch db upgrade"):
        copy_database(created_url, empty_url)
    assert check_database(empty_url).optuna_revision is None


@pytest.mark.usefixtures("slots")
def test_a_backup_is_one_whole_file(created_url: str, tmp_path: Path) -> None:
    """Nothing lies beside it; it opens as a database; restoring it changes none of its bytes."""
    folder = tmp_path / "backups"
    folder.mkdir()
    file = folder / "50% of {it}.db"
    copied = back_up(created_url, file, overwrite=False)
    assert list(folder.iterdir()) == [file]
    assert copied.target == str(parse_address(f"sqlite:///{file}"))
    before = file.read_bytes()
    assert restore(file, f"sqlite:///{tmp_path}/restored.db").rows == copied.rows
    assert file.read_bytes() == before
    assert list(folder.iterdir()) == [file]
    assert check_database(f"sqlite:///{file}").studies == 1


@pytest.mark.usefixtures("slots")
def test_a_backup_that_breaks_off_leaves_the_earlier_one(
    created_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a part of a file nor a folder stays behind."""
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "b.db").write_text("the earlier one")
    monkeypatch.setattr(copying, "_release", lambda connection: connection.exec_driver_sql("nonsense"))
    with pytest.raises(DatabaseLostError, match="broke off"):
        back_up(created_url, folder / "b.db", overwrite=True)
    assert [path.name for path in folder.iterdir()] == ["b.db"]
    assert (folder / "b.db").read_text() == "the earlier one"


@pytest.mark.usefixtures("slots")
def test_a_backup_overwrites_only_when_told_and_nothing_that_is_open(
    created_url: str, tmp_path: Path
) -> None:
    """A database that another program has open would be damaged by its log."""
    file = tmp_path / "backup.db"
    back_up(created_url, file, overwrite=False)
    with pytest.raises(DatabaseSetupError, match="--force"):
        back_up(created_url, file, overwrite=False)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("SELECT count(*) FROM trials").fetchall()
        with pytest.raises(DatabaseSetupError, match=r"that a program has open.*locked"):
            back_up(created_url, file, overwrite=True)
        assert connection.execute("SELECT count(*) FROM trials").fetchone() == (2,)
    assert back_up(created_url, file, overwrite=True).studies == 1


def test_a_restore_needs_its_file(empty_url: str, tmp_path: Path) -> None:
    """A file that is none of a database is refused too."""
    with pytest.raises(DatabaseSetupError, match="there is no file"):
        restore(tmp_path / "nothing.db", empty_url)
    (tmp_path / "notes.db").write_text("notes" * 1000)
    with pytest.raises(DatabaseSetupError, match="not a database"):
        restore(tmp_path / "notes.db", empty_url)
