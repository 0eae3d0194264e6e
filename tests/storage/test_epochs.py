"""Curves: stored for all lanes at once, by the holders of the slots alone, and read back as they were."""

import math
from dataclasses import replace

import optuna
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrsearch.errors import UnknownNameError
from lrsearch.results import Claim, EpochResult
from lrsearch.storage.database import Database
from lrsearch.storage.epochs import curves, record_epochs, valid_losses
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import create_study
from lrsearch.storage.tables import EpochValueRow, SlotRow

EPOCH = EpochResult(
    trial=0, epoch=1, train_loss=0.75, valid_loss=0.5, metrics={"valid_accuracy": 0.9}, lr=0.1, seconds=2.0
)

# Without negative zero, which SQLite stores as zero.
any_float = st.floats(width=64).map(lambda value: value + 0.0)


@pytest.fixture
def slots(database: Database) -> Slots:
    """Three free slots of a new study."""
    return Slots(database, create_study(database, "study", {}, trials=3).uuid)


@pytest.fixture
def study(slots: Slots) -> optuna.Study:
    """Optuna's side of the same study."""
    return optuna.load_study(study_name="study", storage=slots.database.optuna_storage)


@pytest.fixture
def claims(slots: Slots, study: optuna.Study) -> list[Claim]:
    """All slots claimed, with trials 0, 1 and 2."""
    found = slots.claim("worker", 3)
    for claim in found:
        assert slots.bind(claim, study.ask().number, {})
    return found


def test_an_epoch_of_all_lanes_is_one_transaction(
    slots: Slots, study: optuna.Study, claims: list[Claim]
) -> None:
    """Our curves and Optuna's intermediate values are written with a single commit."""
    commits: list[sa.Connection] = []
    sa.event.listen(slots.database.optuna_storage.engine, "commit", commits.append)
    epochs = [(claim, replace(EPOCH, trial=claim.slot), 0.5 + claim.slot) for claim in claims]
    assert record_epochs(slots, epochs) == []
    assert len(commits) == 1
    assert [epoch for _, epoch, _ in epochs] == curves(slots.database, slots.study_uuid)
    assert [trial.intermediate_values for trial in study.trials] == [{1: 0.5}, {1: 1.5}, {1: 2.5}]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.tuples(any_float, any_float, any_float, any_float, any_float),
    metrics=st.dictionaries(st.from_regex(r"valid_[a-k_]{1,9}\Z"), any_float, max_size=3),
)
def test_curves_come_back_as_they_were(
    slots: Slots, claims: list[Claim], values: tuple[float, ...], metrics: dict[str, float]
) -> None:
    """Every double survives both databases, NaN and infinities included; the last writing counts."""
    train_loss, valid_loss, lr, seconds, reported = values
    # The same names in every example, as a value that is not written again stays.
    metrics = {"valid_accuracy": 0.5, **{f"valid_{i}": value for i, value in enumerate(metrics.values())}}
    epoch = EpochResult(0, 1, train_loss, valid_loss, metrics, lr, seconds)
    assert record_epochs(slots, [(claims[0], epoch, reported)]) == []
    (stored,) = curves(slots.database, slots.study_uuid)
    written = {name: stored.metrics[name] for name in metrics}
    assert repr(replace(stored, metrics=written)) == repr(epoch)
    assert repr(valid_losses(slots.database, slots.study_uuid)) == repr({0: {1: valid_loss}})


def test_recording_again_is_recording_once(slots: Slots, study: optuna.Study, claims: list[Claim]) -> None:
    """A transaction whose answer was lost is repeated, and a resumed trial repeats its last epoch."""
    for _ in range(2):
        assert record_epochs(slots, [(claims[0], EPOCH, 0.5)]) == []
    better = replace(EPOCH, valid_loss=0.25)
    assert record_epochs(slots, [(claims[0], better, 0.25)]) == []
    assert curves(slots.database, slots.study_uuid) == [better]
    assert study.trials[0].intermediate_values == {1: 0.25}


def test_a_lost_claim_records_nothing(slots: Slots, study: optuna.Study, claims: list[Claim]) -> None:
    """The other lanes' epochs are stored; the caller learns which lane to drop."""
    slots.release([claims[1]])
    epochs = [(claim, replace(EPOCH, trial=claim.slot), 0.5) for claim in claims]
    assert record_epochs(slots, epochs) == [claims[1]]
    assert sorted(valid_losses(slots.database, slots.study_uuid)) == [0, 2]
    assert [trial.intermediate_values for trial in study.trials] == [{1: 0.5}, {}, {1: 0.5}]


def test_recording_renews_the_leases(slots: Slots, claims: list[Claim]) -> None:
    """A worker that reports its epochs needs no other sign of life."""
    change = sa.update(SlotRow).values(lease_until=0.0)
    slots.database.transaction(lambda connection: connection.execute(change))
    record_epochs(slots, [(claim, replace(EPOCH, trial=claim.slot), 0.5) for claim in claims])
    assert slots.claim("other", 3) == []


def test_a_diverged_epoch_is_infinite_to_optuna_and_itself_to_us(
    slots: Slots, study: optuna.Study, claims: list[Claim]
) -> None:
    """Samplers need a value that is bad; the curve shows what was measured."""
    diverged = replace(EPOCH, train_loss=math.inf, valid_loss=math.nan)
    record_epochs(slots, [(claims[0], diverged, math.inf)])
    assert study.trials[0].intermediate_values == {1: math.inf}
    (stored,) = curves(slots.database, slots.study_uuid)
    assert stored.train_loss == math.inf
    assert math.isnan(stored.valid_loss)
    # On both databases alike: SQLite has no NaN.
    query = sa.select(EpochValueRow.name).where(EpochValueRow.value.is_(None))
    assert slots.database.read(lambda connection: connection.scalars(query).all()) == ["valid_loss"]


def test_curves_are_ordered_by_trial_and_epoch(slots: Slots, claims: list[Claim]) -> None:
    """However the lanes were mixed when they ran."""
    for epoch in (2, 1):
        for claim in reversed(claims):
            record_epochs(slots, [(claim, replace(EPOCH, trial=claim.slot, epoch=epoch), 0.5)])
    stored = [(epoch.trial, epoch.epoch) for epoch in curves(slots.database, slots.study_uuid)]
    assert stored == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]
    assert valid_losses(slots.database, slots.study_uuid) == {trial: {1: 0.5, 2: 0.5} for trial in range(3)}


def test_an_epoch_of_another_trial_is_refused(slots: Slots, claims: list[Claim]) -> None:
    """A mix-up of lanes would write one trial's curve into another's; then nothing is written at all."""
    with pytest.raises(ValueError, match="slot 1 is bound to trial 1, got an epoch of trial 0"):
        record_epochs(slots, [(claims[0], EPOCH, 0.5), (claims[1], EPOCH, 0.5)])
    assert curves(slots.database, slots.study_uuid) == []


def test_a_metric_does_not_overwrite_a_loss(slots: Slots, claims: list[Claim]) -> None:
    """Names that every epoch has are not given away to metrics."""
    taken = replace(EPOCH, metrics={"valid_loss": 0.0})
    with pytest.raises(ValueError, match="got the metric 'valid_loss'"):
        record_epochs(slots, [(claims[0], taken, 0.5)])


def test_a_study_that_was_deleted_while_it_ran_is_noticed(
    slots: Slots, study: optuna.Study, claims: list[Claim]
) -> None:
    """Its rows are not written for nobody."""
    optuna.delete_study(study_name=study.study_name, storage=slots.database.optuna_storage)
    with pytest.raises(UnknownNameError, match="unknown study"):
        record_epochs(slots, [(claims[0], EPOCH, 0.5)])
    assert curves(slots.database, slots.study_uuid) == []


def test_no_lanes_need_no_database(slots: Slots) -> None:
    """An empty array has nothing to store."""
    slots.database.close()
    statements: list[object] = []
    sa.event.listen(
        slots.database.optuna_storage.engine, "before_cursor_execute", lambda *call: statements.append(call)
    )
    assert record_epochs(slots, []) == []
    assert statements == []
