"""The database from the command line: created, checked, refused; its password is never shown."""

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from lrsearch.cli.parameters import command
from lrsearch.errors import DatabaseLostError
from lrsearch.storage import migrations
from lrsearch.storage.database import open_database
from lrsearch.storage.sqlite import WriteAheadConnection
from lrsearch.storage.tables import VERSION_TABLE
from tests.cli.commands import lrsearch, refused, succeed

SECRET = "t0p%2Fs3cret"
NOBODY = f"postgresql://user:{SECRET}@127.0.0.1:1/studies"

# Every command that opens a database.
COMMANDS = [
    ["optimize", "digits-tpe"],
    ["studies"],
    ["show", "s"],
    ["best", "s"],
    ["trials", "s"],
    ["curves", "s"],
    ["extend", "s", "--trials", "+1"],
    ["enqueue", "s", "lr=0.1"],
    ["delete", "s", "--yes"],
    ["dashboard"],
    ["dashboard", "--writable"],
    ["db", "upgrade"],
    ["db", "check"],
    ["db", "clean"],
    ["db", "backup", "copy.db"],
    ["db", "copy", "--to", "sqlite:///copy.db"],
]


def test_clean_deletes_what_a_deletion_elsewhere_left():
    """A study that was deleted through Optuna leaves our rows; check names the command that deletes them."""
    succeed("optimize", "digits-tpe", "--trials", "1", "--epochs", "1", "--quiet")
    with open_database() as database:
        optuna.delete_study(study_name="digits-tpe", storage=database.optuna_storage)
    assert "lrsearch db clean" in succeed("db", "check").out
    assert succeed("db", "clean").out == "Deleted what was left of 1 studies.\n"
    assert "orphans" not in succeed("db", "check").out


def test_a_study_is_backed_up_restored_and_copied(finished, monkeypatch):
    """Each says what it copied and where to; the copies list the same trials."""
    shown = succeed("trials", finished, "--format", "json").out
    out = succeed("db", "backup", "backup.db").out
    assert re.fullmatch(
        r"Copied 1 study \(\d+ rows\) from sqlite:///lrsearch\.db to sqlite:///backup\.db\.\n", out
    )
    assert "--force" in refused("db", "backup", "backup.db")
    assert succeed("db", "backup", "backup.db", "--force").out == out
    monkeypatch.setenv("LRSEARCH_STORAGE", "sqlite:///restored.db")
    assert "from sqlite:///backup.db to sqlite:///restored.db" in succeed("db", "restore", "backup.db").out
    assert "holds studies or tables already" in refused("db", "restore", "backup.db")
    assert "to sqlite:///copied.db" in succeed("db", "copy", "--to", "sqlite:///copied.db").out
    for name in ("backup", "restored", "copied"):
        url = f"sqlite:///{name}.db"
        assert succeed("trials", finished, "--format", "json", "--storage", url).out == shown
    assert "from one database to another" in refused("db", "copy", "--to", "sqlite:///./restored.db")
    assert "there is no file 'nothing.db'" in refused("db", "restore", "nothing.db")


def test_a_copy_needs_a_database_that_exists(tmp_path):
    """A misspelled name makes no empty copy, nor a file of that name."""
    for words in (["db", "backup", "copy.db"], ["db", "copy", "--to", "sqlite:///copy.db"]):
        refused(*words, "--storage", "sqlite:///misspelled.db")
    assert {path.name for path in tmp_path.glob("*.db")} == {"lrsearch.db"}


def test_upgrade_creates_the_tables_and_check_says_they_are_current():
    """In a file that does not exist; the second upgrade changes nothing."""
    storage = ["--storage", "sqlite:///new.db"]
    outcome = lrsearch("db", "check", *storage)
    assert outcome.code == 2
    assert "no tables yet" in outcome.out
    assert "lrsearch db upgrade --storage sqlite:///new.db" in outcome.err
    assert not Path("new.db").exists()
    out = succeed("db", "upgrade", *storage).out
    assert out.startswith("sqlite:///new.db: tables are at revision ")
    assert succeed("db", "upgrade", *storage).out == out
    lines = dict(line.split(maxsplit=1) for line in succeed("db", "check", *storage).out.splitlines())
    assert lines["database"] == "sqlite:///new.db"
    assert lines["revision"].startswith(migrations.head_revision())
    assert lines["studies"] == "0"


def test_check_counts_studies(finished):
    """Those that lrsearch made."""
    assert "studies   1" in succeed("db", "check").out
    assert finished in succeed("studies").out


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    ("revision", "advice"),
    [("0001", "lrsearch db upgrade --storage sqlite:///lrsearch.db"), ("0099", "a newer one made")],
)
def test_check_does_not_count_studies_of_other_tables(revision, advice):
    """Older ones are to be upgraded, newer ones need a newer lrsearch; nobody reads of 0 studies."""
    with closing(sqlite3.connect("lrsearch.db")) as connection, connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = ?", (revision,))
    outcome = lrsearch("db", "check")
    assert outcome.code == 2
    assert f"revision  {revision} (this version needs " in outcome.out
    assert "studies" not in outcome.out
    assert advice in outcome.err
    assert ("db upgrade" in outcome.err) == (revision == "0001")


def test_the_variable_names_the_database_and_the_option_goes_first(monkeypatch):
    """An empty variable is none."""
    monkeypatch.setenv("LRSEARCH_STORAGE", "sqlite:///variable.db")
    assert "sqlite:///variable.db" in succeed("db", "upgrade").out
    assert "sqlite:///option.db" in succeed("db", "upgrade", "--storage", "sqlite:///option.db").out
    monkeypatch.setenv("LRSEARCH_STORAGE", "")
    assert "sqlite:///lrsearch.db" in succeed("db", "upgrade").out


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_a_server_that_does_not_answer_is_refused_without_its_password(words, monkeypatch):
    """By every command, from option or variable: what was tried, what to check."""
    for storage in (["--storage", NOBODY], []):
        outcome = lrsearch(*words, *storage)
        assert outcome.code == 2
        assert "postgresql://user:***@127.0.0.1:1/studies" in outcome.err
        assert "host, port, user, password and database" in outcome.err
        assert "Traceback" not in outcome.err
        for text in (SECRET, "t0p/s3cret", "s3cret"):
            assert text not in outcome.out + outcome.err
        monkeypatch.setenv("LRSEARCH_STORAGE", NOBODY)


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://user:{SECRET}@host/studies",
        f"postgres//user:{SECRET}@host/studies",
        f"postgresql://user:{SECRET}@host:port/studies",
        f"postgresql://user:{SECRET}@@host/studies",
        f"postgresql://127.0.0.1:1/studies?user=u&password={SECRET}",
        f"sqlite://user:{SECRET}@host/studies.db",
    ],
)
def test_a_storage_that_cannot_be_is_refused_without_its_password(url):
    """Misspelled dialects, hosts and ports too."""
    outcome = lrsearch("studies", "--storage", url)
    assert outcome.code == 2
    assert "***" in outcome.err
    assert "s3cret" not in outcome.out + outcome.err
    assert "Traceback" not in outcome.err


def test_a_printed_command_hides_the_password():
    """What stands there for pasting keeps the secret; the variable is the place for it."""
    assert command("optimize", "a b", NOBODY) == (
        "lrsearch optimize 'a b' --storage 'postgresql://user:***@127.0.0.1:1/studies'"
    )
    assert command("show", "s", None) == "lrsearch show s"


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to be looked at" * 100, b"\x00" * 4096]
)
def test_a_file_that_is_no_database_is_refused(content):
    """And stays as it is."""
    Path("notes.db").write_bytes(content)
    message = refused("optimize", "digits-tpe", "--storage", "sqlite:///notes.db")
    assert "notes.db" in message
    assert Path("notes.db").read_bytes() == content


def test_another_programs_database_is_refused():
    """Its tables are named."""
    with closing(sqlite3.connect("other.db")) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    assert "recipes" in refused("studies", "--storage", "sqlite:///other.db")


@pytest.mark.parametrize("url", ["sqlite:///no/such/folder/x.db", "sqlite:///.", "sqlite://", "lrsearch.db"])
def test_a_url_that_names_no_file_is_refused(url):
    """With an example that would."""
    message = refused("studies", "--storage", url)
    assert ".db" in message or "mkdir -p" in message


def test_a_database_that_may_only_be_read_is_refused(finished, monkeypatch):
    """Before anything is trained; the study is not touched."""
    before = Path("lrsearch.db").read_bytes()
    connect = WriteAheadConnection.__init__

    def read_only(connection, *arguments, **options):
        connect(connection, *arguments, **options)
        connection.execute("PRAGMA query_only = ON")

    with monkeypatch.context() as patch:
        patch.setattr(WriteAheadConnection, "__init__", read_only)
        message = refused("optimize", finished, "--trials", "6")
    assert "readonly" in message
    assert "writable" in message
    assert Path("lrsearch.db").read_bytes() == before


def test_what_only_looks_needs_a_file_that_may_be_read(finished, monkeypatch):
    """Of a file that may not be written, the same is shown, and no byte of it changes."""
    looks = (["studies"], ["show", finished], ["best", finished], ["trials", finished], ["curves", finished])
    shown = [succeed(*words).out for words in looks]
    before = Path("lrsearch.db").read_bytes()
    monkeypatch.setattr("os.access", lambda _path, mode: mode != os.W_OK)
    connect = WriteAheadConnection.__init__
    monkeypatch.setattr(WriteAheadConnection, "__init__", lambda *_arguments, **_options: connect(None))
    assert [succeed(*words).out for words in looks] == shown
    assert Path("lrsearch.db").read_bytes() == before


def test_tables_of_an_older_version_are_refused_with_the_command_that_mends_them(finished, monkeypatch):
    """By every command but the one that mends; check says which revision is there."""
    current = migrations.head_revision()
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "head_revision", lambda: "9999")
        for words in (["optimize", finished], ["studies"], ["delete", finished, "--yes"]):
            message = refused(*words)
            assert f"revision {current}" in message
            assert "lrsearch db upgrade --storage sqlite:///lrsearch.db" in message
        outcome = lrsearch("db", "check")
        assert outcome.code == 2
        assert f"revision  {current} (this version needs 9999)" in outcome.out
        assert "lrsearch db upgrade" in outcome.err
    assert "5 of 5" in succeed("show", finished).out


def test_a_database_of_an_older_optuna_is_refused_and_its_upgrade_says_what_it_did(finished):
    """Check and every other command name the version and the command that helps; the study is as before."""
    with closing(sqlite3.connect("lrsearch.db")) as connection, connection:
        connection.execute("UPDATE version_info SET library_version = '4.9.0'")
    for words in (["optimize", finished], ["studies"], ["show", finished]):
        message = refused(*words)
        assert "Optuna 4.9.0" in message
        assert "lrsearch db upgrade --storage sqlite:///lrsearch.db" in message
    outcome = lrsearch("db", "check")
    assert outcome.code == 2
    assert "by Optuna 4.9.0" in outcome.out
    assert "stop them, then run: lrsearch db upgrade" in outcome.err
    out = succeed("db", "upgrade").out
    assert f"It was one of Optuna 4.9.0 and is one of Optuna {optuna.__version__} now." in out
    assert "It was" not in succeed("db", "upgrade").out
    assert "5 of 5" in succeed("show", finished).out


def test_a_database_that_is_lost_is_no_bad_input(monkeypatch):
    """Exit code 1, and the command that goes on once it is back."""

    def lost(*_arguments):
        raise DatabaseLostError("postgresql://user:***@host/x has not answered for 60 s")

    monkeypatch.setattr("lrsearch.storage.studies.list_studies", lost)
    outcome = lrsearch("studies")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == "Error: postgresql://user:***@host/x has not answered for 60 s\n"
