"""Optuna's trials, many at once: the rows that Optuna writes, numbers without gaps, readable by its tools."""

import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from lrsearch.results import Claim, EpochResult, Outcome, TrialResult
from lrsearch.storage import optuna_tables
from lrsearch.storage.database import Database, open_database
from lrsearch.storage.epochs import forget_epochs, record_epochs
from lrsearch.storage.optuna_tables import NewTrial
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import create_study

DISTRIBUTIONS = {
    "lr": FloatDistribution(1e-3, 5.0, log=True),
    "kind": CategoricalDistribution(("StepLR", "WSD")),
    "warmup": CategoricalDistribution((True, False)),
    "patience": IntDistribution(0, 5),
}
POINTS: list[dict[str, Any]] = [
    {"lr": 0.1, "kind": "WSD", "warmup": False},
    {"lr": 0.1 + 0.2, "kind": "StepLR", "warmup": True, "patience": 3},
    {"lr": 5.0},
    {"lr": 0.001, "patience": 0},
]
RESULTS = [
    TrialResult(Outcome.COMPLETE, 0.25, 2),
    TrialResult(Outcome.PRUNED, 0.5, 2),
    TrialResult(Outcome.PRUNED, math.inf, 2, diverged=True),
    TrialResult(Outcome.FAIL, None, 2, reason="ValueError: bad batch"),
]
STORED = (
    optuna_tables.trials,
    optuna_tables.trial_params,
    optuna_tables.trial_user_attributes,
    optuna_tables.trial_values,
    optuna_tables.trial_intermediate_values,
)


@pytest.fixture
def slots(database: Database) -> Slots:
    """Twelve free slots of a new study."""
    return Slots(database, create_study(database, "study", {}, trials=12).uuid)


def new_trials(claims: Sequence[Claim]) -> list[tuple[Claim, NewTrial]]:
    """Return a new trial for each claim."""
    points = [POINTS[claim.slot % len(POINTS)] for claim in claims]
    return [
        (claim, NewTrial(point, DISTRIBUTIONS, {"slot": claim.slot}))
        for claim, point in zip(claims, points, strict=True)
    ]


def live(slots: Slots) -> None:
    """Begin four trials, train two epochs each, and end each in another way."""
    claims = slots.claim("worker", 4)
    numbers = slots.begin(new_trials(claims))
    assert numbers == {0: 0, 1: 1, 2: 2, 3: 3}
    for epoch in (1, 2):
        reports = []
        for claim, result in zip(claims, RESULTS, strict=True):
            value = 1.0 if result.value is None or epoch == 1 else result.value
            reports.append((claim, EpochResult(claim.slot, epoch, 1.0, 0.5, {}, 0.1, 1.0), value))
        assert record_epochs(slots, reports) == []
    assert slots.finish(list(zip(claims, RESULTS, strict=True))) == []
    slots.settle()
    assert slots.counts().done == 4


def optunas_rows(database: Database) -> list[list[tuple[Any, ...]]]:
    """Return what Optuna's tables say of all trials but when."""

    def read(connection: sa.Connection) -> list[list[tuple[Any, ...]]]:
        tables = []
        for table in STORED:
            columns = [column for column in table.c if not column.name.startswith("datetime")]
            rows = connection.execute(sa.select(*columns)).all()
            tables.append(sorted((tuple(row) for row in rows), key=repr))
        return tables

    return database.read(read)


def test_both_ways_leave_the_same_rows(slots: Slots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written at once is what Optuna's own interface writes, which unknown tables are left to."""
    live(slots)
    with open_database(f"sqlite:///{tmp_path}/other.db") as other:
        monkeypatch.setattr(optuna_tables, "REVISION", "v9.0.0")
        assert not other.knows_optunas_tables
        live(Slots(other, create_study(other, "study", {}, trials=12).uuid))
        assert optunas_rows(other) == optunas_rows(slots.database)


def test_a_trial_is_as_optuna_would_have_asked_for_it(slots: Slots) -> None:
    """Suggesting the same values in an Optuna study gives equal trials, states, values and times apart."""
    live(slots)
    plain = optuna.create_study()
    for point, result in zip(POINTS, RESULTS, strict=True):
        template = optuna.trial.create_trial(
            params=point,
            distributions={name: DISTRIBUTIONS[name] for name in point},
            value=result.value if result.outcome is Outcome.COMPLETE else None,
            state=optuna.trial.TrialState[result.outcome.value],
        )
        plain.add_trial(template)
    study = optuna.load_study(study_name="study", storage=slots.database.optuna_storage)
    for ours, theirs in zip(study.trials, plain.trials, strict=True):
        assert (ours.number, ours.params, ours.distributions) == (
            theirs.number,
            theirs.params,
            theirs.distributions,
        )
        assert ours.state == theirs.state
        assert ours.datetime_start <= ours.datetime_complete


def test_optunas_own_tools_read_everything(slots: Slots) -> None:
    """The data frame, the best trial and the search space are those of the trials."""
    live(slots)
    study = optuna.load_study(study_name="study", storage=slots.database.optuna_storage)
    frame = study.trials_dataframe()
    assert list(frame["number"]) == [0, 1, 2, 3]
    assert list(frame["params_lr"]) == [point["lr"] for point in POINTS]
    assert list(frame["user_attrs_slot"]) == [0, 1, 2, 3]
    assert study.best_trial.number == 0
    assert list(optuna.search_space.intersection_search_space(study.trials)) == ["kind", "lr", "warmup"]
    assert study.ask().number == 4


@pytest.mark.parametrize("batch", [1, 5])
def test_numbers_have_no_gaps_whoever_begins_trials(created_url: str, batch: int) -> None:
    """Three workers and Optuna itself at once: every number once, in the order of Optuna's ids."""
    with open_database(created_url) as database:
        uuid = create_study(database, "study", {}, trials=30).uuid
    errors: list[BaseException] = []

    def begin() -> None:
        with open_database(created_url) as database:
            slots = Slots(database, uuid)
            while claims := slots.claim("worker", batch):
                assert len(slots.begin(new_trials(claims))) == len(claims)

    def ask() -> None:
        with open_database(created_url) as database:
            study = optuna.load_study(study_name="study", storage=database.optuna_storage)
            for _ in range(5):
                study.ask()

    def guarded(work: Any) -> None:
        try:
            work()
        except BaseException as error:  # reported below, in the main thread
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (begin, begin, begin, ask)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with open_database(created_url) as database:
        trials = optuna_tables.trials
        query = sa.select(trials.c.number).order_by(trials.c.trial_id)
        assert database.read(lambda connection: list(connection.scalars(query))) == list(range(35))


def test_beginning_twice_is_beginning_once(slots: Slots) -> None:
    """A transaction whose answer was lost is repeated, and finds the trials that it began."""
    claims = slots.claim("worker", 3)
    assert slots.begin(new_trials(claims)) == slots.begin(new_trials(claims)) == {0: 0, 1: 1, 2: 2}
    study = optuna.load_study(study_name="study", storage=slots.database.optuna_storage)
    assert len(study.trials) == 3


def test_who_lost_a_slot_begins_no_trial_in_it(slots: Slots) -> None:
    """The other claims of the same call begin theirs."""
    lost, kept = slots.claim("worker", 2)
    slots.release([lost])
    assert slots.begin(new_trials([lost, kept])) == {1: 0}
    assert slots.begin([]) == {}
    assert [begun.slot for begun in slots.begun()] == [1]


def test_several_trials_are_forgotten_at_once(slots: Slots) -> None:
    """Of two trials that begin anew nothing is left, of others everything."""
    claims = slots.claim("worker", 3)
    slots.begin(new_trials(claims))
    epochs = [(claim, EpochResult(claim.slot, 1, 1.0, 0.5, {}, 0.1, 1.0), 0.5) for claim in claims]
    record_epochs(slots, epochs)
    assert forget_epochs(slots, [(claim, 0) for claim in claims[:2]]) == []
    slots.release(claims[2:])
    assert forget_epochs(slots, [(claim, 0) for claim in claims[2:]]) == claims[2:]
    study = optuna.load_study(study_name="study", storage=slots.database.optuna_storage)
    assert [len(trial.intermediate_values) for trial in study.trials] == [0, 0, 1]


def test_what_is_done_is_read_once(slots: Slots) -> None:
    """Begun trials come with their results until all below them are known to be done."""
    live(slots)
    (running,) = slots.claim("worker", 1)
    slots.begin(new_trials([running]))
    first = [(begun.slot, begun.trial, begun.point, begun.result) for begun in slots.begun()]
    ended = list(zip(range(4), range(4), POINTS, RESULTS, strict=True))
    assert first == [*ended, (4, 4, POINTS[0], None)]
    assert [begun.slot for begun in slots.begun()] == [4]
    assert [begun.slot for begun in Slots(slots.database, slots.study_uuid).begun()] == [0, 1, 2, 3, 4]
    (later,) = slots.claim("worker", 1)
    slots.begin(new_trials([later]))
    slots.finish([(later, RESULTS[0])])
    slots.settle()
    assert [(begun.slot, begun.result) for begun in slots.begun()] == [(5, RESULTS[0]), (4, None)]
