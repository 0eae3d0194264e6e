"""A password in a storage URL: no output, file, table or process title has it."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
import sqlalchemy as sa

import lrsearch as package
from lrsearch.storage.address import parse_address
from lrsearch.storage.database import open_database
from tests.cli.commands import lrsearch, succeed
from tests.fixtures.databases import SECRET

FORMS = (SECRET, quote(SECRET, safe=""), quote(SECRET, safe="+"), "un%likely", "un%25likely")
SLOW_SCRIPT = """
import json, os, time
for epoch in range(1, 1000):
    with open(os.environ["LRSEARCH_REPORT_FILE"], "a") as file:
        print(json.dumps({"epoch": epoch, "valid_loss": 1 / epoch}), file=file)
    time.sleep(0.2)
"""


def leaks(text):
    """Return the forms of the password that stand in a text."""
    return [form for form in FORMS if form in text]


def stored(url):
    """Return all rows of all tables as one text."""
    engine = sa.create_engine(parse_address(url).url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return "\n".join(
            str(row)
            for table in sa.inspect(connection).get_table_names()
            for row in connection.exec_driver_sql(f'SELECT * FROM "{table}"')
        )


def started(*arguments, **environment):
    """Start a command as a user does."""
    variables = os.environ | {"PYTHONPATH": str(Path(package.__file__).parents[1]), **environment}
    return subprocess.Popen(
        [sys.executable, "-m", "lrsearch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables,
        start_new_session=True,
    )


@pytest.mark.slow
def test_no_command_shows_or_keeps_the_password(study_file, secret_url, caplog, monkeypatch):
    """Neither by option nor by variable: not printed, logged at the finest level, written or stored."""
    for logger in ("", "sqlalchemy", "sqlalchemy.pool", "alembic", "psycopg", "stamina"):
        caplog.set_level(logging.DEBUG, logger)
    name, storage = study_file(trials=4, epochs=1), ("--storage", secret_url)
    commands = [
        ("db", "check", *storage),
        ("db", "upgrade", *storage),
        ("optimize", name, *storage),
        ("studies", *storage),
        ("show", "s", *storage),
        ("best", "s", *storage),
        ("extend", "s", "--trials", "+1", *storage),
        ("enqueue", "s", "lr=0.1", *storage),
        ("worker", "--study", "s", *storage),
        ("optimize", "s", *storage),
        ("confirm", "s", "--seeds", "2", *storage),
        ("report", "s", *storage),
        ("export", "s", "-o", "winner.py", *storage),
        ("show", "nobody", *storage),
        ("optimize", "s", "--epochs", "7", *storage),
    ]
    printed = ""
    for words in commands:
        outcome = lrsearch(*words)
        assert "Traceback" not in outcome.err
        printed += outcome.out + outcome.err
    monkeypatch.setenv("LRSEARCH_STORAGE", secret_url)
    printed += succeed("show", "s").out + lrsearch("optimize", "s", "--epochs", "7").err
    assert "s: 5 of 5 trials have ended" in printed
    assert not leaks(printed)
    assert "lrsearch_slots" in caplog.text
    assert not leaks(caplog.text)
    assert not leaks(stored(secret_url))
    written = {path.name: path.read_bytes().decode(errors="replace") for path in Path().glob("*.*")}
    assert "winner.py" in written
    assert [each for each in written if each.endswith(".html")]
    assert not {file: leaks(text) for file, text in written.items() if leaks(text)}


def test_a_lost_database_is_told_without_its_password(secret_url):
    """A connection that breaks for good, and what caused it, with all its causes."""
    with open_database(secret_url, retry_s=0.2) as database:
        error = database_error(database)
    causes = []
    while error is not None:
        causes += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    assert len(causes) >= 4
    assert not leaks("\n".join(causes))


def database_error(database):
    """Return what a call raises while its server refuses all connections to the database."""
    name = sa.make_url(database.address.url).database
    server = sa.make_url(database.address.url).set(database="postgres")
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.exec_driver_sql(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        try:
            database.read(lambda opened: opened.exec_driver_sql("SELECT 1").scalar())
        except Exception as error:
            return error
        finally:
            connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    raise AssertionError("the database answered")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="command lines are read from /proc")
@pytest.mark.parametrize("verb", ["optimize", "worker"])
def test_no_process_shows_the_password(verb, study_file, secret_url):
    """Not in a command line, though the user has typed it, nor in an environment, nor at Ctrl-C."""
    if verb == "optimize":
        study_file(trials=500, epochs=200, run="lanes = 1\nworkers = 2")
        words = ["optimize", "s.toml"]
    else:
        study_file(task="external", trials=500, epochs=900)
        Path("slow.py").write_text(SLOW_SCRIPT)
        words = ["worker", "--study", "s.toml", "--command", f"{sys.executable} slow.py"]
    process = started(*words, f"--storage={secret_url}")
    try:
        shown = seen_while_training(process, secret_url)
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert any(f"{verb}" in text and ":***@" in text for text in shown)
    assert len(shown) >= 3  # the first process and another one, each with its environment
    assert not [text for text in shown if leaks(text)]
    assert process.returncode == 130
    assert "Go on with: " in err
    assert ":***@" in err
    assert not leaks(out + err)


def seen_while_training(process, url):
    """Return the command lines and environments of a process and its descendants, once a trial has begun."""
    deadline = time.monotonic() + 90
    with open_database(url) as database:
        count = sa.text("SELECT count(*) FROM lrsearch_epoch_values")
        while not database.read(lambda connection: connection.scalar(count)):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert len(family) >= 2
    return [
        (Path("/proc") / str(each.pid) / name).read_bytes().decode(errors="replace").replace("\0", " ")
        for each in family
        for name in ("cmdline", "environ")
    ]
