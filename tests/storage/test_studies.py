"""Studies: created once, found under whatever name they have, and deleted whole."""

import math
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrsearch.errors import StudyConflictError, UnknownNameError
from lrsearch.results import EpochResult
from lrsearch.storage import studies
from lrsearch.storage.database import Database, check_database, open_database
from lrsearch.storage.epochs import record_epochs, valid_losses
from lrsearch.storage.optuna_tables import UUID_ATTRIBUTE
from lrsearch.storage.orphans import delete_orphans
from lrsearch.storage.process import ProcessIdentity
from lrsearch.storage.slot_rows import SlotCounts
from lrsearch.storage.slots import Slots
from lrsearch.storage.studies import (
    change_study,
    create_study,
    delete_study,
    find_study,
    list_studies,
    optuna_study_id,
)
from lrsearch.storage.tables import Base
from lrsearch.storage.trials import trial_records
from lrsearch.storage.workers import join_study

SPEC = {"task": "mnist-mlp", "trials": 3, "space": {"lr": {"low": 1e-3, "high": 5.0}}}

numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def test_a_new_study_is_optunas_and_ours(database: Database) -> None:
    """Optuna sees a study that minimizes the validation loss; we see its specification and free slots."""
    record = create_study(database, "digits", SPEC, trials=3)
    assert (record.name, record.spec) == ("digits", SPEC)
    assert record.created_at.endswith("+00:00")
    study = _load(database, "digits")
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    assert study.metric_names == ["valid_loss"]
    assert study.user_attrs == {UUID_ATTRIBUTE: record.uuid}
    assert Slots(database, record.uuid).counts() == SlotCounts(free=3, leased=0, told=0, done=0)


def test_the_first_slots_prescribe_the_given_points(database: Database) -> None:
    """A study's first trials appear together with it, whoever creates it first."""
    record = create_study(database, "digits", SPEC, trials=3, points=[{"lr": 0.1}, {"lr": 0.2}])
    claims = Slots(database, record.uuid).claim("worker", 3)
    assert [claim.point for claim in claims] == [{"lr": 0.1}, {"lr": 0.2}, None]


def test_creating_a_study_again_returns_it_unchanged(database: Database) -> None:
    """Neither another specification nor another budget replaces what exists; the caller compares."""
    first = create_study(database, "digits", SPEC, trials=3)
    assert create_study(database, "digits", {"task": "other"}, trials=9) == first
    assert Slots(database, first.uuid).counts().free == 3


@pytest.mark.slow
def test_workers_that_create_a_study_at_once_share_it(created_url: str) -> None:
    """Four processes get the same study, with one set of slots."""
    code = (
        "import sys; from lrsearch.storage.database import open_database\n"
        "from lrsearch.storage.studies import create_study\n"
        "with open_database(sys.argv[1]) as database: print(create_study(database, 'a', {}, 5).uuid)"
    )
    command = [sys.executable, "-c", code, created_url]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    uuids = {worker.communicate()[0].strip() for worker in workers}
    assert len(uuids) == 1
    with open_database(created_url) as database:
        assert Slots(database, uuids.pop()).counts().free == 5


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=st.dictionaries(texts, json_values, max_size=4))
def test_a_specification_comes_back_as_it_was(database: Database, spec: Mapping[str, Any]) -> None:
    """All that JSON can say survives, on both databases."""
    record = create_study(database, "digits", {}, trials=1)
    change_study(database, record.uuid, lambda _stored: (spec, 3))
    assert find_study(database, "digits").spec == spec


def test_a_specification_is_json(database: Database) -> None:
    """NaN is not, so that no reader of the table stumbles over it."""
    with pytest.raises(ValueError, match="JSON"):
        create_study(database, "digits", {"lr": math.nan}, trials=1)
    assert list_studies(database) == []


def test_replacing_the_specification_of_an_unknown_study_is_refused(database: Database) -> None:
    """A specification without a study would be lost."""
    with pytest.raises(UnknownNameError, match="unknown study 'nobody'"):
        change_study(database, "nobody", lambda stored: (stored, 1))


def test_an_unknown_name_is_answered_with_those_that_exist(database: Database) -> None:
    """Only names of our studies help; Optuna's others cannot be run."""
    create_study(database, "digits", SPEC, trials=1)
    optuna.create_study(study_name="theirs", storage=database.optuna_storage)
    for act in (find_study, delete_study):
        with pytest.raises(UnknownNameError, match="Did you mean 'digits'") as refusal:
            act(database, "digit")
        assert "theirs" not in str(refusal.value)


def test_a_study_of_another_program_is_left_alone(database: Database) -> None:
    """It is neither adopted nor found nor deleted nor listed."""
    optuna.create_study(study_name="theirs", storage=database.optuna_storage)
    with pytest.raises(StudyConflictError, match="Choose another name"):
        create_study(database, "theirs", SPEC, trials=1)
    for act in (find_study, delete_study):
        with pytest.raises(StudyConflictError, match="another program's"):
            act(database, "theirs")
    assert list_studies(database) == []
    assert _load(database, "theirs").user_attrs == {}


def test_a_creation_that_was_interrupted_leaves_the_name_free(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies half-way leaves nothing under the name, and the next creation cleans up."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(studies, "_publish", die)
        with pytest.raises(KeyboardInterrupt):
            create_study(database, "digits", SPEC, trials=3)
    assert list_studies(database) == []
    record = create_study(database, "digits", SPEC, trials=3)
    assert optuna.get_all_study_names(database.optuna_storage) == ["digits"]
    assert Slots(database, record.uuid).counts().free == 3


def test_studies_are_listed_with_their_names(database: Database) -> None:
    """One entry for each study, in the order of their creation."""
    records = [create_study(database, name, {"name": name}, trials=1) for name in ("b", "a", "c")]
    assert list_studies(database) == records
    assert database.optuna_storage.get_study_id_from_name("a") == optuna_study_id(database, records[1].uuid)


def test_a_renamed_study_keeps_its_rows(database: Database) -> None:
    """A rename, as Optuna's dashboard does it by copying and deleting, changes all ids and loses nothing."""
    record = create_study(database, "before", SPEC, trials=2)
    slots = Slots(database, record.uuid)
    _run_one_epoch(database, slots, "before")
    _rename(database, "before", "after")
    renamed = find_study(database, "after")
    assert (renamed.uuid, renamed.spec) == (record.uuid, SPEC)
    with pytest.raises(UnknownNameError):
        find_study(database, "before")
    assert slots.counts().leased == 1
    assert valid_losses(database, record.uuid) == {0: {1: 0.5}}
    # The record that was read before still leads to the trials.
    assert [trial.number for trial in trial_records(database, record)] == [0]
    claim = slots.claim("worker", 1)[0]
    assert claim.slot == 1


def test_epochs_of_a_renamed_study_are_still_recorded(database: Database) -> None:
    """A worker that runs on through a rename writes to the study under its new ids."""
    record = create_study(database, "before", SPEC, trials=2)
    slots = Slots(database, record.uuid)
    claim, trial = _run_one_epoch(database, slots, "before")
    _rename(database, "before", "after")
    epoch = EpochResult(trial, 2, 0.4, 0.25, {}, 0.1, 1.0)
    assert record_epochs(slots, [(claim, epoch, 0.25)]) == []
    assert _load(database, "after").trials[trial].intermediate_values == {1: 0.5, 2: 0.25}


def test_copies_of_a_study_are_told_apart_by_the_user(database: Database) -> None:
    """Two studies of Optuna's cannot share one set of slots; deleting the copy helps, and keeps the rows."""
    record = create_study(database, "first", SPEC, trials=2)
    storage = database.optuna_storage
    optuna.copy_study(
        from_study_name="first", from_storage=storage, to_storage=storage, to_study_name="second"
    )
    for name in ("first", "second"):
        with pytest.raises(StudyConflictError, match="one is a copy"):
            find_study(database, name)
    delete_study(database, "second")
    assert find_study(database, "first") == record


def test_a_study_copied_from_another_database_is_not_ours(database: Database) -> None:
    """It carries a UUID, but its specification and slots are elsewhere; it can be deleted all the same."""
    study = optuna.create_study(study_name="copied", storage=database.optuna_storage)
    study.set_user_attr(UUID_ATTRIBUTE, "of-elsewhere")
    with pytest.raises(StudyConflictError, match="copied from another database"):
        create_study(database, "copied", SPEC, trials=1)
    delete_study(database, "copied")
    assert optuna.get_all_study_names(database.optuna_storage) == []


def test_a_deleted_study_is_gone_whole(database: Database) -> None:
    """No row of it is left, in Optuna's tables or ours; another study keeps all of its own."""
    create_study(database, "kept", SPEC, trials=2)
    before = _row_counts(database)
    record = create_study(database, "digits", SPEC, trials=2)
    _run_one_epoch(database, Slots(database, record.uuid), "digits")
    join_study(database, record.uuid, "worker", ProcessIdentity("machine", "host", 1, 0.0), "cpu")
    assert _row_counts(database) != before
    delete_study(database, "digits")
    assert _row_counts(database) == before
    assert [record.name for record in list_studies(database)] == ["kept"]


def test_rows_of_a_study_that_was_deleted_elsewhere_are_found(created_url: str) -> None:
    """Optuna's dashboard deletes its own rows only; the status names ours, and they can be deleted."""
    with open_database(created_url) as database:
        create_study(database, "kept", SPEC, trials=1)
        record = create_study(database, "digits", SPEC, trials=1)
        optuna.delete_study(study_name="digits", storage=database.optuna_storage)
        assert check_database(created_url).orphans == (record.uuid,)
        assert check_database(created_url).studies == 1
        with pytest.raises(UnknownNameError):
            trial_records(database, record)
        assert database.transaction(delete_orphans) == (record.uuid,)
        assert check_database(created_url).orphans == ()
        assert Slots(database, find_study(database, "kept").uuid).counts().free == 1


def _load(database: Database, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=database.optuna_storage)


def _run_one_epoch(database: Database, slots: Slots, name: str) -> tuple[Any, int]:
    claim, trial = slots.claim("worker", 1)[0], _load(database, name).ask()
    assert slots.bind(claim, trial.number, {"lr": 0.1})
    epoch = EpochResult(trial.number, 1, 0.6, 0.5, {}, 0.1, 1.0)
    assert record_epochs(slots, [(claim, epoch, 0.5)]) == []
    return claim, trial.number


def _rename(database: Database, old: str, new: str) -> None:
    storage = database.optuna_storage
    optuna.copy_study(from_study_name=old, from_storage=storage, to_storage=storage, to_study_name=new)
    optuna.delete_study(study_name=old, storage=storage)


def _row_counts(database: Database) -> dict[str, int | None]:
    names = sa.inspect(database.optuna_storage.engine).get_table_names()
    assert set(names) >= set(Base.metadata.tables)
    counts = [sa.select(sa.func.count()).select_from(sa.table(name)) for name in names]
    return dict(zip(names, database.read(lambda c: [c.scalar(count) for count in counts]), strict=True))
