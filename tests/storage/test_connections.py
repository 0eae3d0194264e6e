"""Connections that lie idle, that are lost, and whose owner stands still within a transaction."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from lrsearch.storage import idle_connections, postgresql
from lrsearch.storage.database import Database, open_database
from lrsearch.storage.optuna_tables import NewTrial
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import create_study
from lrsearch.storage.tables import StudyRow

LOSE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@pytest.fixture
def server_database(created_postgresql_url: str) -> Iterator[Database]:
    """An open database on PostgreSQL, without studies."""
    with open_database(created_postgresql_url) as opened:
        yield opened


def count_studies(database: Database) -> int:
    """Ask the database for something."""
    count = sa.select(sa.func.count()).select_from(StudyRow)
    return database.read(lambda connection: connection.execute(count).scalar_one())


def lose_connections(url: str) -> None:
    """End all sessions of a database but one's own."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(LOSE)


def test_a_connection_that_was_lost_while_it_lay_idle_is_replaced(
    server_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call fails, not even one that is not repeated."""
    assert count_studies(server_database) == 0
    lose_connections(server_database.address.url)
    monkeypatch.setattr(idle_connections, "IDLE_S", 0.0)
    with server_database.optuna_storage.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 7").scalar() == 7


def test_a_connection_that_is_lost_between_two_uses_is_replaced_too(server_database: Database) -> None:
    """The call that meets it is repeated."""
    assert count_studies(server_database) == 0
    lose_connections(server_database.address.url)
    assert count_studies(server_database) == 0


def test_who_stands_still_within_a_transaction_keeps_nobody_waiting(
    created_postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends its session, others have their turn, and it repeats all when it goes on."""
    monkeypatch.setattr(postgresql, "LONGEST_PAUSE_S", 0.2)
    tries = []

    def pause(connection: sa.Connection) -> int:
        connection.exec_driver_sql("LOCK TABLE lrsearch_studies IN ACCESS EXCLUSIVE MODE")
        tries.append(1)
        if len(tries) == 1:
            with open_database(created_postgresql_url) as other:  # which reads that table
                begun = time.monotonic()
                count_studies(other)
                assert time.monotonic() - begun < 5
        return count(connection, "SELECT count(*) FROM lrsearch_studies")

    with open_database(created_postgresql_url) as database:
        assert database.transaction(pause) == 0
    assert len(tries) == 2


def test_who_waits_for_its_turn_to_begin_a_trial_has_locked_no_slot(server_database: Database) -> None:
    """Another program holds the lock of Optuna's study: leases can be renewed as long as that takes."""
    slots = Slots(server_database, create_study(server_database, "study", {}, trials=1).uuid)
    (claim,) = slots.claim("worker", 1)
    engine = sa.create_engine(server_database.address.url, poolclass=sa.NullPool)
    with ThreadPoolExecutor(1) as thread:
        with engine.begin() as other:
            other.exec_driver_sql("SELECT * FROM studies FOR UPDATE")
            waiting = thread.submit(slots.begin, [(claim, NewTrial({}, {}))])
            while not count(other, WAITING):
                time.sleep(0.01)
            assert other.exec_driver_sql("SELECT slot FROM lrsearch_slots FOR UPDATE NOWAIT").all() == [(0,)]
        assert waiting.result() == {0: 0}


def count(connection: sa.Connection, query: str) -> int:
    """Return the number that a query asks for."""
    return int(connection.exec_driver_sql(query).scalar_one())
