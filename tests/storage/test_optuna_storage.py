"""Optuna's storage as we extend it: its own test suite, and what it does not promise."""

import contextlib
import inspect
import pickle
import re
from collections.abc import Callable, Iterator

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.search_space import IntersectionSearchSpace, intersection_search_space
from optuna.storages import RDBStorage, _CachedStorage
from optuna.study import StudyDirection
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import TrialState

from lrsearch.storage import optuna_tables
from lrsearch.storage.address import parse_address
from lrsearch.storage.optuna_storage import RETRIED_CALLS, ReliableStorage

MINIMIZE = [StudyDirection.MINIMIZE]


@pytest.fixture
def storage(created_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReliableStorage]:
    """A storage without studies, of each kind in turn; copies of it made by pickling are closed too."""
    storages: list[ReliableStorage] = []
    restore = RDBStorage.__setstate__

    def remember(self: ReliableStorage, state: dict[object, object]) -> None:
        restore(self, state)
        storages.append(self)

    monkeypatch.setattr(ReliableStorage, "__setstate__", remember)
    # A server in CI may want a password, which a storage refuses to pickle; the driver finds it here too.
    url = sa.make_url(created_url)
    monkeypatch.setenv("PGPASSWORD", str(url.password or ""))
    without = sa.URL.create(url.drivername, url.username, None, url.host, url.port, url.database, url.query)
    storages.append(_open(without.render_as_string()))
    yield storages[0]
    for opened in storages:
        opened.engine.dispose()


class TestOptunasOwnSuite(StorageTestCase):
    """What Optuna asks of each of its storages."""


def test_every_call_that_optuna_makes_is_retried() -> None:
    """Neither the public interface nor what Optuna's cache calls behind it is left out."""
    behind_cache = set(re.findall(r"self\._backend\.(\w+)", inspect.getsource(_CachedStorage)))
    public = {name for name, _ in inspect.getmembers(optuna.storages.BaseStorage, inspect.isfunction)}
    without_database = {
        "check_trial_is_updatable",
        "get_heartbeat_interval",
        "get_heartbeat_stale_trial_callback",
        "remove_session",
    }
    wanted = {name for name in behind_cache | public if not name.startswith("__")} - without_database
    assert wanted == (wanted & set(RETRIED_CALLS)) | {"set_trial_state_values"}


def test_our_description_of_optunas_tables_is_theirs(storage: ReliableStorage) -> None:
    """Each column that we name exists, in the revision of the schema that the module says."""
    inspector = sa.inspect(storage.engine)
    ours = [table for table in vars(optuna_tables).values() if isinstance(table, sa.TableClause)]
    for table in ours:
        stored = {column["name"] for column in inspector.get_columns(table.name)}
        assert stored >= set(table.c.keys())
    assert set(inspector.get_table_names()) >= optuna_tables.OPTUNA_TABLES
    assert storage.get_head_version() in (optuna_tables.__doc__ or "")


def test_a_waiting_trial_starts_once(storage: ReliableStorage) -> None:
    """The second worker to start it is told that it is taken."""
    trial_id = _waiting_trial(storage)
    assert storage.set_trial_state_values(trial_id, TrialState.RUNNING)
    assert not storage.set_trial_state_values(trial_id, TrialState.RUNNING)


@pytest.mark.parametrize("value", [1.5, float("inf"), float("-inf")])
def test_a_trials_end_is_stored_as_optuna_stores_it(storage: ReliableStorage, value: float) -> None:
    """State, value and time read back through Optuna's own code are those of Optuna's own method."""
    study_id = storage.create_new_study(MINIMIZE)
    ours, theirs = storage.create_new_trial(study_id), storage.create_new_trial(study_id)
    storage.set_trial_state_values(ours, TrialState.COMPLETE, [value])
    RDBStorage.set_trial_state_values(storage, theirs, TrialState.COMPLETE, [value])
    one, other = storage.get_trial(ours), storage.get_trial(theirs)
    assert one.values == other.values == [value]
    assert one.datetime_complete is not None
    assert other.datetime_complete is not None
    assert abs(one.datetime_complete - other.datetime_complete).total_seconds() < 60


def test_a_commit_whose_answer_was_lost_is_recognised(
    storage: ReliableStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repeated call finds the trial as it was told, and does not take it for another worker's."""
    trial_id = storage.create_new_trial(storage.create_new_study(MINIMIZE))
    _lose_first_answer(storage, monkeypatch)
    assert storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.25])
    assert storage.get_trial(trial_id).values == [0.25]


def test_another_workers_end_is_not_taken_for_our_own(
    storage: ReliableStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeated call that finds another value raises what Optuna promises."""
    trial_id = storage.create_new_trial(storage.create_new_study(MINIMIZE))
    storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0])
    _lose_first_answer(storage, monkeypatch)
    with pytest.raises(UpdateFinishedTrialError):
        storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.25])


def test_values_of_many_trials_are_reported_together(storage: ReliableStorage) -> None:
    """Optuna reads back what it would have written itself, infinity and NaN too, and again after a repeat."""
    study_id = storage.create_new_study(MINIMIZE)
    ours, theirs = storage.create_new_trial(study_id), storage.create_new_trial(study_id)
    values = dict(enumerate([0.5, float("inf"), float("-inf"), float("nan")]))
    for step, value in values.items():
        storage.set_trial_intermediate_value(theirs, step, value)
    reports = [(ours, step, value) for step, value in values.items()]
    for _ in range(2):
        storage.transaction(lambda connection: optuna_tables.report_values(connection, reports))
    assert repr(storage.get_trial(ours).intermediate_values) == repr(values)
    assert repr(storage.get_trial(theirs).intermediate_values) == repr(values)


def test_a_widened_range_is_stored_in_every_trial_of_the_study(storage: ReliableStorage) -> None:
    """The new range includes the old ones; other parameters and other studies keep theirs."""
    study, other = _study_with_ranges(storage, (1, 2), (1, 2)), _study_with_ranges(storage, (1, 2))
    study_id = storage.get_study_id_from_name(study.study_name)
    union = storage.widen_distribution(study_id, "lr", FloatDistribution(0.5, 1.5))
    assert union == FloatDistribution(0.5, 2)
    fresh = _fresh(storage)
    trials = fresh.get_all_trials(study_id)
    assert [trial.distributions["lr"] for trial in trials] == [union, union]
    assert trials[0].distributions["momentum"] == FloatDistribution(0, 1)
    assert other.trials[0].distributions["lr"] == FloatDistribution(1, 2)
    fresh.engine.dispose()


def test_widening_keeps_a_parameter_in_the_shared_search_space(storage: ReliableStorage) -> None:
    """Samplers, whose cache saw the narrow range, find the wide one; Optuna's own storage would lose it."""
    study = _study_with_ranges(storage, (1, 2), (1, 2))
    space = IntersectionSearchSpace()
    assert space.calculate(study)["lr"] == FloatDistribution(1, 2)
    study_id = storage.get_study_id_from_name(study.study_name)
    wide = storage.widen_distribution(study_id, "lr", FloatDistribution(0.5, 4))
    _run_trial(study, 0.5, 4)
    assert space.calculate(study)["lr"] == wide
    assert intersection_search_space(study.get_trials(deepcopy=False))["lr"] == wide


def test_a_range_widened_elsewhere_reaches_the_caches_of_a_running_study(storage: ReliableStorage) -> None:
    """Another process widened the range and ran a trial; this one's cached trials follow when it reads it."""
    study = _study_with_ranges(storage, (1, 2), (1, 2))
    space = IntersectionSearchSpace()
    space.calculate(study)
    other = _fresh(storage)
    study_id = other.get_study_id_from_name(study.study_name)
    wide = other.widen_distribution(study_id, "lr", FloatDistribution(0.5, 4))
    _run_trial(optuna.load_study(study_name=study.study_name, storage=other), 0.5, 4)
    assert space.calculate(study)["lr"] == wide
    other.engine.dispose()


@pytest.mark.parametrize(
    "distribution",
    [FloatDistribution(1, 2, log=True), IntDistribution(1, 2), CategoricalDistribution([1, 2])],
)
def test_a_range_does_not_change_its_kind(storage: ReliableStorage, distribution: object) -> None:
    """Only bounds move: other kinds would reinterpret the stored values, so they are refused."""
    study = _study_with_ranges(storage, (1, 2))
    study_id = storage.get_study_id_from_name(study.study_name)
    with pytest.raises(ValueError, match="Cannot set different"):
        storage.widen_distribution(study_id, "lr", distribution)  # type: ignore[arg-type]  # a parameter's type
    assert study.trials[0].distributions["lr"] == FloatDistribution(1, 2)


def test_a_storage_with_a_password_is_not_pickled(created_postgresql_url: str) -> None:
    """A pickle would carry the password to wherever it is sent."""
    url = sa.make_url(created_postgresql_url)
    password = url.password or "secret"
    storage = _open(url.set(password=password).render_as_string(hide_password=False))
    with pytest.raises(pickle.PicklingError) as refusal:
        pickle.dumps(storage)
    assert str(password) not in str(refusal.value)
    assert str(password) not in repr(storage)
    storage.engine.dispose()


def test_a_brace_in_the_path_is_only_a_brace(tmp_path: object) -> None:
    """Optuna formats the URL it is given, as if a brace named a field."""
    storage = ReliableStorage(parse_address(f"sqlite:///{tmp_path}/a{{b}}.db"))
    assert storage.get_all_studies() == []
    storage.engine.dispose()


def _open(url: str) -> ReliableStorage:
    return ReliableStorage(parse_address(url), skip_table_creation=True, skip_compatibility_check=True)


def _fresh(storage: ReliableStorage) -> ReliableStorage:
    return _open(storage.address.url)


def _waiting_trial(storage: ReliableStorage) -> int:
    study_id = storage.create_new_study(MINIMIZE)
    return storage.create_new_trial(study_id, optuna.trial.create_trial(state=TrialState.WAITING))


def _study_with_ranges(storage: ReliableStorage, *ranges: tuple[float, float]) -> optuna.Study:
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    for low, high in ranges:
        _run_trial(study, low, high)
    return study


def _run_trial(study: optuna.Study, low: float, high: float) -> None:
    trial = study.ask()
    trial.suggest_float("lr", low, high)
    trial.suggest_float("momentum", 0, 1)
    study.tell(trial, 1.0)


def _lose_first_answer(storage: ReliableStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first transaction end, if it can, and then report a lost connection."""
    transact, calls = storage._transact, []

    def lossy(write: Callable[[sa.Connection], bool]) -> bool:
        calls.append(write)
        if len(calls) > 1:
            return transact(write)
        with contextlib.suppress(UpdateFinishedTrialError):
            transact(write)
        raise sa.exc.OperationalError("COMMIT", {}, ConnectionError("answer lost"))

    monkeypatch.setattr(storage, "_transact", lossy)
