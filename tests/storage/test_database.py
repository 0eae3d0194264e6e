"""Opening a database: the first start, the refusals, the upgrade and the status."""

import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from lrsearch.errors import DatabaseSetupError
from lrsearch.storage import clock, lock, migrations
from lrsearch.storage.address import parse_address
from lrsearch.storage.database import (
    Database,
    check_database,
    open_database,
    open_existing,
    upgrade_database,
)
from lrsearch.storage.optuna_tables import OPTUNA_TABLES
from lrsearch.storage.retry import driver_error
from lrsearch.storage.tables import VERSION_TABLE, Base, StudyRow

NEXT_MIGRATION = '''"""Add a column."""

import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "HEAD"


def upgrade() -> None:
    with op.batch_alter_table("lrsearch_workers") as table:
        table.add_column(sa.Column("note", sa.Text(), nullable=True))
'''


def test_an_empty_database_gets_both_sets_of_tables(storage_url: str) -> None:
    """After the first start, Optuna's tables and ours exist and are current."""
    assert not check_database(storage_url).current
    with open_database(storage_url) as database:
        tables = set(sa.inspect(database.optuna_storage.engine).get_table_names())
    assert tables == OPTUNA_TABLES | set(Base.metadata.tables) | {VERSION_TABLE}
    status = check_database(storage_url)
    assert status.current
    assert status.revision == status.head == migrations.head_revision()
    assert (status.studies, status.orphans) == (0, ())


def test_looking_at_a_missing_file_does_not_make_it(sqlite_url: str) -> None:
    """A status of what is not there yet says so, and changes nothing."""
    status = check_database(sqlite_url)
    assert (status.revision, status.optuna_revision, status.current) == (None, None, False)
    assert not parse_address(sqlite_url).path.exists()  # type: ignore[union-attr]  # SQLite has a path


@pytest.mark.slow
def test_workers_that_start_at_once_create_the_tables_once(storage_url: str) -> None:
    """Six processes open the same empty database, and all of them succeed."""
    code = "import sys; from lrsearch.storage.database import open_database as go; go(sys.argv[1]).close()"
    workers = [_python(code, storage_url) for _ in range(6)]
    errors = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 6, "\n".join(errors)
    assert check_database(storage_url).current


def test_a_current_database_is_opened_without_lock_or_ddl(
    created_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers do not queue up behind each other, and a schema that is current is not touched."""
    monkeypatch.delattr(lock, "FileLock")
    monkeypatch.delattr(lock, "ADVISORY_LOCK")
    statements: list[str] = []
    with _listening(statements):
        open_database(created_url).close()
    assert any("lrsearch_studies" in statement for statement in statements)
    assert not [text for text in statements if text.split()[0].upper() in ("CREATE", "ALTER", "DROP")]


def test_an_optuna_database_is_taken_as_it_is(storage_url: str) -> None:
    """Our tables are added beside Optuna's, whose studies go on in other processes."""
    storage = optuna.storages.RDBStorage(parse_address(storage_url).url)
    study = optuna.create_study(storage=storage, study_name="older")
    study.tell(study.ask(), 1.0)
    with open_database(storage_url) as database:
        assert optuna.load_study(study_name="older", storage=database.optuna_storage).best_value == 1.0
    study.tell(study.ask(), 0.5)
    assert study.best_value == 0.5
    storage.engine.dispose()


def test_tables_that_a_killed_process_left_half_made_are_completed(storage_url: str) -> None:
    """A first start that died between the tables is made up for by the next one."""
    with _connected(storage_url) as connection:
        optuna.storages._rdb.models.StudyModel.__table__.create(connection)
    open_database(storage_url).close()
    assert check_database(storage_url).current


def test_sqlite_is_opened_for_several_processes(created_sqlite_url: str) -> None:
    """Every connection has the modes under which readers and writers get along."""
    with open_database(created_sqlite_url) as database:
        modes = database.read(
            lambda connection: [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "busy_timeout")
            ]
        )
    assert modes == ["wal", 1, 30_000]


def test_the_clock_gives_unix_seconds(database: Database) -> None:
    """It does not run backwards, and agrees with this machine's, on which the test's databases run."""
    first, second = (database.read(clock.unix_seconds) for _ in range(2))
    assert first <= second
    assert abs(first - time.time()) < 3600


def test_a_transaction_is_all_or_nothing(database: Database) -> None:
    """What a failing transaction wrote before it failed is gone."""

    def write(connection: sa.Connection) -> None:
        connection.exec_driver_sql(
            "INSERT INTO lrsearch_studies (uuid, spec, created_at) VALUES ('u', '{}', CURRENT_TIMESTAMP)"
        )
        raise KeyError("a mistake")

    with pytest.raises(KeyError):
        database.transaction(write)
    count = sa.text("SELECT count(*) FROM lrsearch_studies")
    assert database.read(lambda connection: connection.scalar(count)) == 0


def test_a_transaction_on_sqlite_reads_what_it_may_change(created_sqlite_url: str) -> None:
    """Two threads count on from what they read, and none of their steps is lost."""
    with open_database(created_sqlite_url) as database:
        start = "INSERT INTO lrsearch_studies (uuid, spec, created_at) VALUES ('u', '0', CURRENT_TIMESTAMP)"
        database.transaction(lambda connection: connection.exec_driver_sql(start).close())

        def count(connection: sa.Connection) -> None:
            spec = int(connection.exec_driver_sql("SELECT spec FROM lrsearch_studies").scalar_one())
            connection.exec_driver_sql(f"UPDATE lrsearch_studies SET spec = '{spec + 1}'")

        def work() -> None:
            for _ in range(30):
                database.transaction(count)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        query = sa.text("SELECT spec FROM lrsearch_studies")
        assert database.read(lambda connection: connection.scalar(query)) == "60"


@pytest.mark.slow
def test_the_lock_of_the_first_start_is_held_by_one_process(database: Database) -> None:
    """While one process holds it, another one waits."""
    code = (
        "import sys; from lrsearch.storage.lock import initialisation_lock as lock;"
        "from lrsearch.storage.address import parse_address as parse\n"
        "print('ready', flush=True)\n"
        "with lock(parse(sys.argv[1])): print('held')"
    )
    with database.initialisation_lock():
        other = _python(code, database.address.url)
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(timeout=1)
    assert other.communicate() == ("held\n", "")


def test_a_lock_that_is_never_let_go_is_reported(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that stands still while it holds the lock does not stop the others for ever."""
    monkeypatch.setattr(lock, "TIMEOUT_S", 1)
    stuck = pytest.raises(DatabaseSetupError, match="another one has been at it for 1 s")
    with database.initialisation_lock(), stuck, database.initialisation_lock():
        pytest.fail("two hold the lock")


def test_an_older_schema_of_ours_is_refused_until_it_is_upgraded(
    created_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not migrated on opening, because other workers may be running; the message has the command."""
    head = migrations.head_revision()
    _release_next_migration(tmp_path, monkeypatch)
    with pytest.raises(DatabaseSetupError, match=f"revision {head}, and this version needs 9999") as refusal:
        open_database(created_url)
    assert f"lrsearch db upgrade --storage {parse_address(created_url)}" in str(refusal.value)
    assert not check_database(created_url).current
    assert upgrade_database(created_url).revision == "9999"
    with open_database(created_url) as database:
        columns = sa.inspect(database.optuna_storage.engine).get_columns("lrsearch_workers")
    assert "note" in {column["name"] for column in columns}


def test_an_older_schema_of_optunas_is_refused_until_it_is_upgraded(created_url: str) -> None:
    """One command upgrades both sets of tables."""
    _stamp(created_url, "alembic_version", "v3.0.0.d")
    with pytest.raises(DatabaseSetupError, match=r"optuna's tables of revision v3\.0\.0\.d") as refusal:
        open_database(created_url)
    assert f"lrsearch db upgrade --storage {parse_address(created_url)}" in str(refusal.value)
    status = upgrade_database(created_url)
    assert status.current
    assert status.optuna_revision != "v3.0.0.d"


@pytest.mark.parametrize("version", ["4.9.0", "3.6.1", "10.0.0.dev", "unknown"])
def test_a_database_of_an_older_optuna_is_refused_until_it_is_upgraded(
    created_url: str, version: str
) -> None:
    """Its programs store local times in the same tables; newer ones do not, nor do unnumbered ones."""
    with _connected(created_url) as connection:
        connection.exec_driver_sql(f"UPDATE version_info SET library_version = '{version}'")
    if version in {"10.0.0.dev", "unknown"}:
        assert check_database(created_url).current
        open_database(created_url).close()
        return
    readings = [
        lambda url: open_existing(url, read_only=True),
        lambda url: open_existing(url, read_only=False),
    ]
    for act in (open_database, *readings):
        with pytest.raises(DatabaseSetupError, match=f"made by Optuna {version}.*Stop all") as refusal:
            act(created_url)
        assert f"lrsearch db upgrade --storage {parse_address(created_url)}" in str(refusal.value)
    status = check_database(created_url)
    assert (status.current, status.of_local_times, status.optuna_version) == (False, True, version)
    status = upgrade_database(created_url)
    assert (status.current, status.of_local_times) == (True, False)
    assert status.optuna_version == optuna.__version__
    open_database(created_url).close()


def test_our_tables_are_not_put_beside_an_older_optunas(storage_url: str) -> None:
    """A database of Optuna's alone that an older Optuna made stays as it is."""
    optuna.storages.RDBStorage(parse_address(storage_url).url).engine.dispose()
    with _connected(storage_url) as connection:
        connection.exec_driver_sql("UPDATE version_info SET library_version = '4.8.0'")
    with pytest.raises(DatabaseSetupError, match="store local times"):
        open_database(storage_url)
    with _connected(storage_url) as connection:
        assert set(sa.inspect(connection).get_table_names()) == OPTUNA_TABLES
    assert upgrade_database(storage_url).current


@pytest.mark.parametrize(("table", "product"), [(VERSION_TABLE, "lrsearch"), ("alembic_version", "optuna")])
def test_a_newer_schema_is_refused(created_url: str, table: str, product: str) -> None:
    """Neither opening nor upgrading touches tables that this version does not know."""
    _stamp(created_url, table, "9999")
    for act in (open_database, upgrade_database):
        with pytest.raises(DatabaseSetupError, match=f"pip install --upgrade {product}"):
            act(created_url)
    assert not check_database(created_url).current


def test_upgrading_an_empty_database_creates_it(storage_url: str) -> None:
    """The command may come before the first study."""
    assert upgrade_database(storage_url).current


def test_a_database_of_another_program_is_refused(storage_url: str) -> None:
    """Its tables are named, and nothing is added to them."""
    with _connected(storage_url) as connection:
        connection.exec_driver_sql("CREATE TABLE invoices (id INTEGER)")
    for act in (open_database, upgrade_database, check_database):
        with pytest.raises(DatabaseSetupError, match="invoices"):
            act(storage_url)
    with _connected(storage_url) as connection:
        assert sa.inspect(connection).get_table_names() == ["invoices"]


def test_a_look_at_a_sqlite_file_changes_no_byte(sqlite_url: str, tmp_path: Path) -> None:
    """Neither a status nor a refusal turns on the log beside the file that we work with."""
    with _connected(sqlite_url) as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=DELETE")
        connection.exec_driver_sql("CREATE TABLE invoices (id INTEGER)")
    before = (tmp_path / "studies.db").read_bytes()
    for act in (open_database, check_database):
        with pytest.raises(DatabaseSetupError, match="invoices"):
            act(sqlite_url)
    assert (tmp_path / "studies.db").read_bytes() == before


def test_a_file_that_is_no_database_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    """A wrong file is left as it is."""
    text = "name = 'mnist'\n" * 100
    (tmp_path / "studies.db").write_text(text)
    _assert_refused(sqlite_url, "not a database. The file is not a SQLite database")
    assert (tmp_path / "studies.db").read_text() == text


def test_a_read_only_file_is_refused() -> None:
    """Studies are written while they run."""
    with _as_ordinary_user() as folder:
        url = f"sqlite:///{folder}/studies.db"
        open_database(url).close()
        (folder / "studies.db").chmod(0o444)
        _assert_refused(url, "make the file and its folder writable")


@pytest.mark.parametrize("exists", [True, False])
def test_a_file_in_a_read_only_folder_is_refused(exists: bool) -> None:
    """SQLite writes its log beside the file, so that the folder counts too."""
    with _as_ordinary_user() as folder:
        url = f"sqlite:///{folder}/studies.db"
        if exists:
            open_database(url).close()
        folder.chmod(0o555)
        _assert_refused(url, "writable")


def test_a_server_that_does_not_answer_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address without a server is taken for a mistake, not for an outage that is waited for."""
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waited for a server"))
    _assert_refused(
        "postgresql://user:secret@127.0.0.1:9/studies", "Check host, port, user, password and database"
    )


def test_a_wrong_password_is_reported_without_it(created_postgresql_url: str) -> None:
    """The server's words are kept, the password is not."""
    url = sa.make_url(created_postgresql_url).set(password="sesame")
    _assert_refused(url.render_as_string(hide_password=False), "password authentication failed")


def test_a_missing_postgresql_database_is_reported(postgresql_url: str) -> None:
    """The server is right and the name is wrong."""
    url = sa.make_url(postgresql_url).set(database="elsewhere")
    _assert_refused(url.render_as_string(hide_password=False), '"elsewhere" does not exist')


@pytest.mark.parametrize("url_fixture", ["postgresql_url", "created_postgresql_url"])
def test_a_role_that_may_only_read_is_refused(url_fixture: str, request: pytest.FixtureRequest) -> None:
    """Both when the tables are to be created and when they exist."""
    url = request.getfixturevalue(url_fixture)
    with _connected(url) as connection, _reader(connection) as role:
        reading = sa.make_url(url).set(username=role, password="sesame")
        _assert_refused(reading.render_as_string(hide_password=False), "permission denied")


def test_a_database_opened_for_reading_refuses_every_change(created_url: str) -> None:
    """Of Optuna's tables and of ours, by whatever way; what is stored is read as ever."""
    with open_database(created_url) as database:
        optuna.create_study(study_name="s", storage=database.optuna_storage)
    with open_existing(created_url, read_only=True) as database:
        storage = database.optuna_storage
        changes: list[Callable[[], object]] = [
            lambda: optuna.create_study(study_name="new", storage=storage),
            lambda: optuna.delete_study(study_name="s", storage=storage),
            lambda: storage.set_study_user_attr(storage.get_study_id_from_name("s"), "a", 1),
            lambda: database.transaction(lambda connection: connection.execute(sa.delete(StudyRow))),
        ]
        for change in changes:
            with pytest.raises((SQLAlchemyError, StorageInternalError)) as refusal:
                change()
            assert re.search(r"read-?only", str(driver_error(refusal.value)))
        assert [study.study_name for study in storage.get_all_studies()] == ["s"]
        assert storage.get_study_user_attrs(storage.get_study_id_from_name("s")) == {}


@pytest.mark.parametrize("read_only", [True, False])
def test_opening_what_must_exist_creates_nothing(storage_url: str, read_only: bool) -> None:
    """Neither a file nor tables, not even beside Optuna's; the message has the command that makes them."""
    with pytest.raises(DatabaseSetupError, match="lrsearch db upgrade --storage"):
        open_existing(storage_url, read_only=read_only)
    path = parse_address(storage_url).path
    assert path is None or not path.exists()
    optuna.storages.RDBStorage(parse_address(storage_url).url).engine.dispose()
    with pytest.raises(DatabaseSetupError, match="lrsearch db upgrade --storage"):
        open_existing(storage_url, read_only=read_only)
    with _connected(storage_url) as connection:
        assert set(sa.inspect(connection).get_table_names()) == OPTUNA_TABLES


@pytest.mark.parametrize("read_only", [True, False])
def test_opening_what_must_exist_upgrades_nothing(created_url: str, read_only: bool) -> None:
    """An older schema is refused with the command that upgrades it."""
    _stamp(created_url, VERSION_TABLE, "0001")
    with pytest.raises(DatabaseSetupError, match="lrsearch db upgrade --storage"):
        open_existing(created_url, read_only=read_only)
    assert check_database(created_url).revision == "0001"


def test_a_file_that_may_only_be_read_can_be_opened_for_it() -> None:
    """No byte of it changes, whatever its name."""
    with _as_ordinary_user() as folder:
        path = folder / "50% of {it} #1.db"
        open_database(f"sqlite:///{path}").close()
        path.chmod(0o444)
        before = path.read_bytes()
        with open_existing(f"sqlite:///{path}", read_only=True) as database:
            assert database.optuna_storage.get_all_studies() == []
        assert path.read_bytes() == before


def test_a_role_that_may_only_read_can_open_a_database_for_it(created_postgresql_url: str) -> None:
    """Nothing is tried that needs more."""
    with _connected(created_postgresql_url) as connection, _reader(connection) as role:
        url = sa.make_url(created_postgresql_url).set(username=role, password="sesame")
        with open_existing(url.render_as_string(hide_password=False), read_only=True) as database:
            assert database.optuna_storage.get_all_studies() == []


def test_no_rendering_of_a_database_shows_its_password(created_postgresql_url: str) -> None:
    """Neither the database, nor its status, nor what they are made of."""
    password = str(sa.make_url(created_postgresql_url).password)
    with open_database(created_postgresql_url) as database:
        shown = [database, database.address, database.optuna_storage, database.masked_url]
        shown.append(check_database(created_postgresql_url))
        assert not [text for text in map(repr, shown) if password in text]
        assert database.masked_url == str(sa.make_url(created_postgresql_url))


def _assert_refused(url: str, words: str) -> None:
    with pytest.raises(DatabaseSetupError) as refusal:
        open_database(url)
    message = str(refusal.value)
    assert words in message
    assert "sesame" not in message
    assert "secret" not in message
    assert len(message) < 400
    assert "\n" not in message
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__


def _python(code: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def _listening(statements: list[str]) -> Iterator[None]:
    def listen(*call: object) -> None:
        statements.append(str(call[2]))

    sa.event.listen(sa.Engine, "before_cursor_execute", listen)
    yield
    sa.event.remove(sa.Engine, "before_cursor_execute", listen)


@contextmanager
def _connected(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(parse_address(url).url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection


@contextmanager
def _reader(connection: sa.Connection) -> Iterator[str]:
    role = "lrsearch_reader"
    connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN PASSWORD 'sesame'")
    connection.exec_driver_sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    yield role
    connection.exec_driver_sql(f"DROP OWNED BY {role}")
    connection.exec_driver_sql(f"DROP ROLE {role}")


@contextmanager
def _as_ordinary_user() -> Iterator[Path]:
    """Give a folder of one's own to a user whom permissions bind, unlike root."""
    folder = Path(tempfile.mkdtemp(prefix="lrs", dir="/tmp"))
    root = os.geteuid() == 0
    if root:
        nobody = pwd.getpwnam("nobody").pw_uid
        os.chown(folder, nobody, -1)
        os.seteuid(nobody)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def _stamp(url: str, table: str, revision: str) -> None:
    with _connected(url) as connection:
        connection.exec_driver_sql(f"UPDATE {table} SET version_num = '{revision}'")


def _release_next_migration(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head, scripts = str(migrations.head_revision()), folder / "migrations"
    shutil.copytree(migrations.script_location(), scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "9999_add_a_column.py").write_text(NEXT_MIGRATION.replace("HEAD", head))
    monkeypatch.setattr(migrations, "script_location", lambda: scripts)
