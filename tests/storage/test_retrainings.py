"""Retrainings in the database: each once, and the confirmations and audits that compare them."""

import math
import time

import pytest
import sqlalchemy as sa

from lrsearch.retrainings import Candidate, Retraining, Run
from lrsearch.storage.database import Database
from lrsearch.storage.retrainings import (
    key_of,
    latest_audit,
    latest_confirmation,
    record_audit,
    record_confirmation,
    record_retrainings,
    stored_retrainings,
)
from lrsearch.storage.studies import create_study, delete_study
from lrsearch.storage.tables import ExaminationRow, RetrainingRow

POINT = {"lr": 0.1, "kind": "StepLR", "StepLR.gamma": 0.5, "nesterov": True}
RUN = Run(POINT, 3, 2, test=True)
ENDED = Retraining(POINT, 3, 2, (1.0, 0.5), {"valid_accuracy": 0.9}, {"loss": 0.6})


@pytest.fixture
def uuid(database: Database) -> str:
    """A study's key."""
    return create_study(database, "s", {"trials": 1}, 1).uuid


@pytest.mark.parametrize(
    "retraining",
    [
        ENDED,
        Retraining(POINT, 3, 2, (math.inf,), diverged=True),
        Retraining(POINT, 3, 2, (), reason="ValueError: no"),
        Retraining(POINT, 3, 1, (0.5,), {"valid_f1": math.inf}, {"loss": 0.5, "f1": -math.inf}),
    ],
)
def test_a_retraining_comes_back_as_it_was(database: Database, uuid: str, retraining: Retraining) -> None:
    """Infinite figures included, for which JSON has no word."""
    record_retrainings(database, uuid, {"k": retraining})
    assert stored_retrainings(database, uuid, ["k", "other"]) == {"k": retraining}


def test_not_a_number_comes_back_too(database: Database, uuid: str) -> None:
    """As a run that ends with NaN leaves it."""
    record_retrainings(database, uuid, {"k": Retraining(POINT, 3, 2, (math.nan,), diverged=True)})
    (loss,) = stored_retrainings(database, uuid, ["k"])["k"].valid_losses
    assert math.isnan(loss)


def test_the_last_of_two_retrainings_of_one_run_stays(database: Database, uuid: str) -> None:
    """What failed once may succeed later; two that succeed agree."""
    failed = Retraining(POINT, 3, 2, (1.0,), reason="OSError: no space left")
    record_retrainings(database, uuid, {"k": failed})
    record_retrainings(database, uuid, {"k": ENDED, "l": ENDED})
    assert stored_retrainings(database, uuid, ["k", "l"]) == {"k": ENDED, "l": ENDED}


def test_a_run_is_known_by_all_that_decides_it() -> None:
    """Point, seed, length, and whether the test split is read; not by the order of the point's values."""
    other = [
        Run({**POINT, "lr": 0.2}, 3, 2, test=True),
        Run(POINT, 4, 2, test=True),
        Run(POINT, 3, 3, test=True),
        Run(POINT, 3, 2),
    ]
    assert len({key_of(run) for run in (RUN, *other)}) == 5
    assert key_of(Run(dict(reversed(POINT.items())), 3, 2, test=True)) == key_of(RUN)


def test_the_newest_confirmation_comes_back_with_its_runs(database: Database, uuid: str) -> None:
    """Candidates in their order, runs in that of the seeds."""
    assert latest_confirmation(database, uuid) is None
    candidates = [Candidate("trial 1", POINT, 1, 0.4), Candidate("the recipe", {**POINT, "lr": 0.2})]
    runs = {
        each.name: [Retraining(each.point, seed, 2, (1.0, seed / 10)) for seed in (1, 2)]
        for each in candidates
    }
    for each in candidates:
        keys = [key_of(Run(each.point, seed, 2, test=True)) for seed in (1, 2)]
        record_retrainings(database, uuid, dict(zip(keys, runs[each.name], strict=True)))
    record_confirmation(database, uuid, candidates[:1], [1], 2, [])
    time.sleep(0.01)
    record_confirmation(database, uuid, candidates, [1, 2], 2, ["tuned"])
    found = latest_confirmation(database, uuid)
    assert found is not None
    assert found.candidates == tuple(candidates)
    assert (found.seeds, found.epochs, found.notes) == ((1, 2), 2, ("tuned",))
    assert found.runs == {name: tuple(mine) for name, mine in runs.items()}
    assert found.finished_at.endswith("+00:00")


def test_a_study_is_judged_by_the_confirmation_with_the_most_seeds(database: Database, uuid: str) -> None:
    """Of its own length of runs: to look at a smaller or a longer one again does not change the verdict."""
    candidate = Candidate("trial 1", POINT, 1, 0.4)
    for epochs in (2, 3):
        runs = [Run(POINT, seed, epochs, test=True) for seed in (1, 2, 3)]
        ended = {key_of(run): Retraining(POINT, run.seed, epochs, (1.0,) * epochs) for run in runs}
        record_retrainings(database, uuid, ended)
    for seeds, epochs in (([1, 2, 3], 2), ([1, 2], 2), ([1, 2, 3], 3)):
        record_confirmation(database, uuid, [candidate], seeds, epochs, [])
        time.sleep(0.01)  # the clock's next millisecond
    leading, newest = latest_confirmation(database, uuid, 2), latest_confirmation(database, uuid)
    assert leading is not None
    assert newest is not None
    assert (leading.seeds, leading.epochs) == ((1, 2, 3), 2)
    assert newest.epochs == 3
    assert latest_confirmation(database, uuid, 4) is None


def test_the_newest_audit_comes_back_with_its_runs(database: Database, uuid: str) -> None:
    """By number of the trial."""
    assert latest_audit(database, uuid) is None
    record_retrainings(database, uuid, {key_of(RUN): ENDED})
    record_audit(database, uuid, [4, 7], {7: key_of(RUN)})
    found = latest_audit(database, uuid)
    assert found is not None
    assert (found.stopped, found.runs) == ((4, 7), {7: ENDED})


def test_a_study_is_deleted_with_its_retrainings(database: Database, uuid: str) -> None:
    """And those of another study stay."""
    other = create_study(database, "other", {"trials": 1}, 1).uuid
    for each in (uuid, other):
        record_retrainings(database, each, {"k": ENDED})
        record_audit(database, each, [4], {4: "k"})
    delete_study(database, "s")
    for row in (RetrainingRow, ExaminationRow):
        query = sa.select(row.study_uuid)
        left = database.read(lambda connection, query=query: connection.scalars(query).all())
        assert left == [other]
