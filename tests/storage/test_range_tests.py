"""Range tests in the database: stored whole, listed by task, and brought to databases that lack the table."""

import json
import math
from dataclasses import asdict

import pytest
import sqlalchemy as sa
from alembic import command

from lrsearch.errors import DatabaseSetupError, SpecError
from lrsearch.lr_range import EXPONENTIAL, Growth, LaneCurve, RangeTest, find_zones, lane_curve, suggestions
from lrsearch.storage import migrations
from lrsearch.storage.database import Database, open_database, upgrade_database
from lrsearch.storage.range_tests import list_range_tests, record_range_test
from lrsearch.storage.studies import create_study, list_studies
from lrsearch.storage.tables import RangeTestRow


def example(task: str = "digits-mlp", steps: int = 60) -> RangeTest:
    """Return a range test with a fall, a rise and a lane that ends in NaN."""
    growth = Growth(EXPONENTIAL, 1e-5, 10.0, steps)
    losses = [2.3 - 2 / (1 + (0.01 / lr) ** 2) + lr**2 for lr in growth.lrs()]
    lanes = (lane_curve(0, 2.3, losses), lane_curve(1, 2.3, [*losses[:-5], math.nan]))
    return RangeTest(task, growth, lanes, {"optimizer": "SGD", "knobs": {"momentum": 0.9}, "frozen": ["a.*"]})


def test_a_range_test_comes_back_as_it_was(database: Database) -> None:
    """Curve, settings, zones and suggestions."""
    test = example()
    record = record_range_test(database, test)
    assert list_range_tests(database) == [record]
    assert record.task == "digits-mlp"
    assert record.test == test
    assert record.created_at.endswith("+00:00")
    assert record.zones == json.loads(json.dumps(asdict(find_zones(test))))
    assert record.suggestions == json.loads(json.dumps(asdict(suggestions(test))))
    assert record.suggestions["lr"] == suggestions(test).lr


def test_a_range_test_that_suggests_nothing_is_stored_too(database: Database) -> None:
    """A flat curve is a finding."""
    flat = RangeTest("flat", Growth(EXPONENTIAL, 1e-5, 10.0, 20), (LaneCurve(0, 1.0, (1.0,) * 20),))
    record = record_range_test(database, flat)
    assert record.suggestions["lr"] is None
    assert "never falls" in record.zones["hints"][0]


def test_range_tests_are_listed_by_task_and_the_newest_first(database: Database) -> None:
    """However fast they follow each other."""
    tasks = ["a", "b", "a", "c", "a"]
    uuids = [record_range_test(database, example(task)).uuid for task in tasks]
    assert [record.uuid for record in list_range_tests(database)] == uuids[::-1]
    assert [record.uuid for record in list_range_tests(database, "a")] == [uuids[4], uuids[2], uuids[0]]
    assert list_range_tests(database, "d") == []


def test_a_commit_whose_answer_was_lost_stores_one_range_test(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction is repeated whole, and is the same one."""
    once = Database.transaction

    def twice(self, write):
        once(self, write)
        return once(self, write)

    monkeypatch.setattr(Database, "transaction", twice)
    record = record_range_test(database, example())
    assert list_range_tests(database) == [record]


def test_a_range_test_does_not_need_its_study(database: Database) -> None:
    """It belongs to a task: studies come and go beside it."""
    record_range_test(database, example())
    create_study(database, "digits", {}, trials=1)
    assert len(list_range_tests(database)) == 1
    assert [study.name for study in list_studies(database)] == ["digits"]


def test_a_task_name_that_does_not_fit_is_refused(database: Database) -> None:
    """SQLite would keep it and PostgreSQL would not."""
    with pytest.raises(SpecError, match="at most 255 characters, but got 256"):
        record_range_test(database, example("x" * 256))


def test_an_older_database_is_upgraded_with_its_studies(created_url: str) -> None:
    """Its owner is told the command; afterwards studies are as they were and range tests can be stored."""
    with open_database(created_url) as database:
        before = create_study(database, "digits", {"task": "digits-mlp"}, trials=3)
        database.transaction(_downgrade)
    with pytest.raises(DatabaseSetupError, match=r"of revision 0001, .* lrsearch db upgrade"):
        open_database(created_url)
    status = upgrade_database(created_url)
    assert status.current
    assert status.revision == migrations.head_revision()
    with open_database(created_url) as database:
        assert list_studies(database) == [before]
        record_range_test(database, example())
        assert len(list_range_tests(database)) == 1


def _downgrade(connection: sa.Connection) -> None:
    command.downgrade(migrations.alembic_config(connection), "0001")
    assert RangeTestRow.__tablename__ not in sa.inspect(connection).get_table_names()
