"""Roles of PostgreSQL as the documentation makes them: what each can do, and what it cannot."""

import contextlib
import re
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest
import sqlalchemy as sa

from lrsearch.storage.address import parse_address
from lrsearch.storage.copying import COPIED_TABLES, VERSION_TABLES
from tests.cli.commands import lrsearch, refused, serving, succeed
from tests.fixtures.databases import with_role

PAGE = Path(__file__).parents[2] / "docs" / "database.md"
WORKER, READER = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)


@contextlib.contextmanager
def role(url, statements):
    """Run statements of the documentation under names of this test's own; yield the role's URL."""
    name, database = f"lrsearch_{uuid4().hex[:12]}", sa.make_url(url).database
    [documented] = re.findall(r"^CREATE ROLE (\w+)", statements)
    text = statements.replace(documented, name).replace("DATABASE studies", f"DATABASE {database}")
    text = re.sub("PASSWORD '.*?'", "PASSWORD 'sesame'", text)
    admin = sa.create_engine(parse_address(url).url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        for statement in filter(str.strip, text.split(";")):
            connection.exec_driver_sql(statement)
        try:
            yield with_role(url, name, "sesame")
        finally:
            connection.exec_driver_sql(f"DROP OWNED BY {name}")
            connection.exec_driver_sql(f"DROP ROLE {name}")


def refusals(url):
    """Return the tables that a role cannot insert into, update, delete from or drop, by what it tried."""
    engine = sa.create_engine(parse_address(url).url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    words, found = [], {"INSERT": set(), "UPDATE": set(), "DELETE": set(), "DROP": set()}
    with engine.connect() as connection:
        for table in COPIED_TABLES | VERSION_TABLES:
            [column, *_] = sa.inspect(connection).get_columns(table)
            name = column["name"]
            tries = {
                "INSERT": f"INSERT INTO {table} SELECT * FROM {table} WHERE false",
                "UPDATE": f"UPDATE {table} SET {name} = {name} WHERE false",
                "DELETE": f"DELETE FROM {table} WHERE false",
                "DROP": f"DROP TABLE {table} CASCADE",
            }
            for verb, statement in tries.items():
                try:
                    connection.exec_driver_sql(statement)
                except sa.exc.ProgrammingError as error:
                    words.append(str(error))
                    found[verb].add(table)
    assert all("permission denied" in text or "must be owner" in text for text in words)
    return found


def test_a_worker_role_runs_a_study_and_cannot_change_the_tables(study_file, created_postgresql_url):
    """Searching, looking, widening and deleting; neither new tables nor other revisions."""
    name = study_file(trials=2, epochs=1)
    with role(created_postgresql_url, WORKER) as url:
        storage = ("--storage", url)
        succeed("optimize", name, *storage, "--quiet")
        assert "2 of 2 trials have ended" in succeed("optimize", "s", *storage, "--quiet").out
        succeed("extend", "s", "--trials", "+1", *storage)
        succeed("optimize", "s", *storage, "--quiet")
        assert len(succeed("trials", "s", "--format", "json", *storage).json) == 3
        assert succeed("db", "check", *storage)
        every = COPIED_TABLES | VERSION_TABLES
        assert refusals(url) == {
            "INSERT": VERSION_TABLES,
            "UPDATE": VERSION_TABLES,
            "DELETE": VERSION_TABLES,
            "DROP": every,
        }
        engine = sa.create_engine(parse_address(url).url, poolclass=sa.NullPool)
        with (
            engine.connect() as connection,
            pytest.raises(sa.exc.ProgrammingError, match="permission denied"),
        ):
            connection.exec_driver_sql("CREATE TABLE mine (id INTEGER)")
        succeed("delete", "s", "--yes", *storage)


def test_a_reading_role_sees_all_and_changes_nothing(study_file, created_postgresql_url):
    """Every command that only looks, a backup too; a search is refused in a few words."""
    name = study_file(trials=2, epochs=1)
    succeed("optimize", name, "--storage", created_postgresql_url, "--quiet")
    with role(created_postgresql_url, READER) as url:
        storage = ("--storage", url)
        for words in (
            ["studies"],
            ["status"],
            ["status", "s"],
            ["show", "s"],
            ["best", "s"],
            ["trials", "s"],
            ["curves", "s"],
            ["report", "s", "-o", "report.html"],
            ["plot", "s", "curves", "-o", "curves.html"],
            ["db", "check"],
            ["db", "backup", "backup.db"],
        ):
            succeed(*words, *storage)
        assert "s" in succeed("studies", "--storage", "sqlite:///backup.db").out
        for words in (["optimize", "s", "--trials", "3"], ["extend", "s", "--trials", "+1"]):
            assert "permission denied" in refused(*words, *storage)
        assert lrsearch("delete", "s", "--yes", *storage).code == 2
        every = COPIED_TABLES | VERSION_TABLES
        assert refusals(url) == dict.fromkeys(("INSERT", "UPDATE", "DELETE", "DROP"), every)
    assert len(succeed("trials", "s", "--format", "json", "--storage", created_postgresql_url).json) == 2


@pytest.mark.slow
def test_a_reading_role_is_enough_for_the_dashboard(study_file, created_postgresql_url):
    """It shows the studies; told to be writable, it still cannot change any."""
    succeed("optimize", study_file(trials=1, epochs=1), "--storage", created_postgresql_url, "--quiet")
    with (
        role(created_postgresql_url, READER) as url,
        serving("s", LRSEARCH_STORAGE=url) as server,
        urlopen(f"{server.address.partition('/dashboard')[0]}/api/studies") as answer,
    ):
        assert b'"study_name": "s"' in answer.read()
        request = Request(f"{server.address.partition('/dashboard')[0]}/api/studies/1", method="DELETE")
        with pytest.raises(HTTPError, match="403"):
            urlopen(request)
