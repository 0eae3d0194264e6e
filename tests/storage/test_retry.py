"""Waiting for a database that is locked or gone for a while, and giving up in the end."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import StorageInternalError

from lrsearch.errors import DatabaseLostError
from lrsearch.storage import retry
from lrsearch.storage.address import parse_address
from lrsearch.storage.counters import RETRIES
from lrsearch.storage.database import Database, open_database
from lrsearch.storage.retry import is_busy, is_transient, with_retries

ADDRESS = parse_address("postgresql://user:secret@host/studies")


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry more often than in earnest."""
    monkeypatch.setattr(retry, "FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(retry, "LONGEST_DELAY_S", 0.05)


def lost(message: str = "connection lost") -> sa.exc.OperationalError:
    """Return an error as SQLAlchemy raises it when the server is gone."""
    return sa.exc.OperationalError("SELECT 1", {}, ConnectionError(message))


class Flaky:
    """A call that fails the first ``failures`` times, and counts how often it is made."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.calls = failures, error, 0

    def __call__(self) -> str:
        """Fail, or answer."""
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return "answer"


def test_a_lost_connection_is_tried_again() -> None:
    """The call is repeated until it answers."""
    call = Flaky(3, lost())
    assert with_retries(call, ADDRESS, retry_s=60) == "answer"
    assert call.calls == 4


def test_repeated_calls_are_counted() -> None:
    """For a worker's figures; a call that answers at once is none."""
    before = RETRIES.value
    with_retries(Flaky(0, lost()), ADDRESS, retry_s=60)
    assert RETRIES.value == before
    with_retries(Flaky(3, lost()), ADDRESS, retry_s=60)
    assert RETRIES.value == before + 3


def test_a_lost_connection_inside_optunas_error_is_tried_again() -> None:
    """Optuna wraps the driver's error, so the whole chain of causes is looked at."""
    wrapped = StorageInternalError("an error in the commit")
    wrapped.__cause__ = lost()
    assert with_retries(Flaky(1, wrapped), ADDRESS, retry_s=60) == "answer"


@pytest.mark.parametrize("error", [sa.exc.ProgrammingError("SELEC", {}, Exception("?")), KeyError("study")])
def test_an_error_that_stays_is_raised_at_once(error: Exception) -> None:
    """A mistake does not pass by itself, so nobody waits for that."""
    call = Flaky(1, error)
    with pytest.raises(type(error)):
        with_retries(call, ADDRESS, retry_s=60)
    assert call.calls == 1


def test_after_the_time_is_up_the_database_counts_as_lost() -> None:
    """The message names the masked database, the driver's words without the password, and what to do."""
    with pytest.raises(DatabaseLostError) as refusal:
        with_retries(Flaky(10**9, lost("no route for\n\tsecret")), ADDRESS, retry_s=0.1)
    assert str(ADDRESS) in str(refusal.value)
    assert "no route for ***" in str(refusal.value)
    assert "run the same command again" in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_only_the_outermost_call_repeats() -> None:
    """Calls within calls would otherwise multiply their waiting times."""
    inner = Flaky(2, lost())
    outer_calls = []

    def outer() -> str:
        outer_calls.append(1)
        return with_retries(inner, ADDRESS, retry_s=60)

    assert with_retries(outer, ADDRESS, retry_s=60) == "answer"
    assert len(outer_calls) == inner.calls == 3


def test_wrong_sql_on_sqlite_is_not_taken_for_a_lost_connection(sqlite_url: str) -> None:
    """SQLite's driver says OperationalError for both, so its codes decide."""
    engine = sa.create_engine(sqlite_url)
    with engine.connect() as connection, pytest.raises(sa.exc.OperationalError) as refusal:
        connection.exec_driver_sql("SELECT * FROM missing")
    assert not is_transient(refusal.value)
    engine.dispose()


def test_a_killed_connection_is_replaced_in_the_middle_of_a_transaction(created_postgresql_url: str) -> None:
    """The transaction runs again from its start, on a new connection, and takes effect once."""
    attempts: list[int] = []

    def write(connection: sa.Connection) -> int:
        attempts.append(int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()))
        connection.exec_driver_sql(
            "INSERT INTO lrsearch_studies (uuid, spec, created_at) VALUES ('u', '{}', now())"
        )
        if len(attempts) == 1:
            connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
        return attempts[-1]

    with open_database(created_postgresql_url) as database:
        assert database.transaction(write) == attempts[1] != attempts[0]
        count = sa.text("SELECT count(*) FROM lrsearch_studies")
        assert database.read(lambda connection: connection.scalar(count)) == 1


@pytest.mark.slow
def test_optuna_runs_on_while_its_connections_are_killed(created_postgresql_url: str) -> None:
    """All trials of a study end although every connection is cut again and again."""
    url = created_postgresql_url
    with open_database(url) as database, _killing_connections(url) as kills:
        study = optuna.create_study(storage=database.optuna_storage, sampler=optuna.samplers.RandomSampler())
        for _ in range(10):
            trial = study.ask()
            trial.report(trial.suggest_float("lr", 0, 1), step=1)
            study.tell(trial, 1.0)
        ended = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    assert len(ended) == 10
    assert sum(kills) > 0


def test_a_locked_sqlite_file_is_waited_for(created_sqlite_url: str) -> None:
    """A transaction that finds the file locked is repeated until the other process is done."""
    tries = []
    with _impatient(created_sqlite_url, retry_s=60) as database, _locked(database) as release:

        def let_go(_context: object) -> None:
            tries.append(1)
            if len(tries) == 3:
                release()

        sa.event.listen(database.optuna_storage.engine, "handle_error", let_go)
        database.transaction(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
    assert len(tries) >= 3


def test_a_sqlite_file_that_stays_locked_is_given_up(created_sqlite_url: str) -> None:
    """Optuna's calls end with the same error as ours, caused by the driver's."""
    with _impatient(created_sqlite_url, retry_s=0.2) as database, _locked(database):
        with pytest.raises(DatabaseLostError, match="database is locked") as refusal:
            optuna.create_study(storage=database.optuna_storage)
        assert is_busy(refusal.value)


@contextmanager
def _killing_connections(url: str) -> Iterator[list[int]]:
    """Cut all other connections to a database every few milliseconds; count them."""
    engine = sa.create_engine(parse_address(url).url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    kill = sa.text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    kills: list[int] = []
    stop = threading.Event()

    def repeat() -> None:
        with engine.connect() as connection:
            while not stop.wait(0.03):
                kills.append(connection.scalar(kill) or 0)

    killer = threading.Thread(target=repeat)
    killer.start()
    try:
        yield kills
    finally:
        stop.set()
        killer.join()


@contextmanager
def _impatient(url: str, retry_s: float) -> Iterator[Database]:
    """Open a SQLite file whose connections do not wait for locks themselves."""
    with open_database(url, retry_s=retry_s) as database:
        engine = database.optuna_storage.engine
        engine.dispose()
        sa.event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout=0"))
        yield database


@contextmanager
def _locked(database: Database) -> Iterator[Callable[[], object]]:
    """Hold the write lock of a SQLite file; yields what lets it go."""
    path = database.address.path or Path()
    with sqlite3.connect(path, isolation_level=None, check_same_thread=False) as other:
        other.execute("BEGIN IMMEDIATE")
        yield lambda: other.execute("ROLLBACK")
    other.close()
